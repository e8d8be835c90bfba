//! `vm_*` and `mach_vm_*` on the caller's own address space. Another task's is out of reach: `KERN_NOT_SUPPORTED`.

use std::ffi::c_int;

use libtask::Code;

use crate::process::{check_out, code, is_self, put};
use crate::{ool, probe, sharing};

mod prot {
    pub(super) const READ: i32 = 1;
    pub(super) const WRITE: i32 = 2;
    pub(super) const EXECUTE: i32 = 4;
}

/// `VM_FLAGS_ANYWHERE`: at a place of the system's choice.
pub(crate) const ANYWHERE: c_int = 1;
/// `VM_FLAGS_OVERWRITE`: in place of what is there.
pub(crate) const OVERWRITE: c_int = 0x4000;

pub(crate) fn own(task: u32) -> Result<(), Code> {
    match task {
        0 => Err(Code::KERN_INVALID_ARGUMENT),
        _ if is_self(task) => Ok(()),
        _ => Err(Code::KERN_NOT_SUPPORTED),
    }
}

/// The whole pages around a range.
fn around(at: usize, size: usize) -> Result<(usize, usize), Code> {
    let end = at.checked_add(size).and_then(ool::pages).ok_or(Code::KERN_INVALID_ARGUMENT)?;
    let start = at & !(ool::page() - 1);
    Ok((start, end - start))
}

pub(crate) fn access(prot: i32) -> c_int {
    let bit = |mach: i32, linux: c_int| if prot & mach != 0 { linux } else { 0 };
    bit(prot::READ, libc::PROT_READ) | bit(prot::WRITE, libc::PROT_WRITE) | bit(prot::EXECUTE, libc::PROT_EXEC)
}

fn failed() -> Code {
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOMEM) => Code::KERN_NO_SPACE,
        Some(libc::EEXIST) => Code::KERN_NO_SPACE,
        Some(libc::EACCES | libc::EPERM) => Code::KERN_PROTECTION_FAILURE,
        _ => Code::KERN_INVALID_ARGUMENT,
    }
}

/// A mapping of `fd` (none: fresh memory) at `at` or, if `flags` say so, anywhere.
pub(crate) fn map(at: usize, size: usize, flags: c_int, access: c_int, kind: c_int, fd: c_int, offset: u64) -> Result<usize, Code> {
    let (start, size) = if flags & ANYWHERE != 0 { (0, ool::pages(size).ok_or(Code::KERN_NO_SPACE)?) } else { around(at, size)? };
    let place = match () {
        () if flags & ANYWHERE != 0 => 0,
        () if flags & OVERWRITE != 0 => libc::MAP_FIXED,
        () => libc::MAP_FIXED_NOREPLACE,
    };
    if flags & ANYWHERE == 0 && start == 0 {
        return Err(Code::KERN_INVALID_ADDRESS);
    }
    if flags & ANYWHERE == 0 {
        let end = start.saturating_add(size);
        probe::forget(start, end);
        if flags & OVERWRITE != 0 {
            ool::disown(start, end);
        }
    }
    // SAFETY: anywhere, or where nothing is, or where the program says that what is there goes.
    let made = unsafe { libc::mmap(start as *mut libc::c_void, size, access, kind | place, fd, offset as libc::off_t) };
    if made == libc::MAP_FAILED { Err(failed()) } else { Ok(made as usize) }
}

/// Fresh memory of zeros.
pub(crate) fn allocate(size: usize) -> Result<usize, Code> {
    if size == 0 {
        return Ok(0);
    }
    map(0, size, ANYWHERE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
}

pub(crate) fn deallocate(at: usize, size: usize) {
    ool::release(at, size);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn vm_allocate(task: u32, at: *mut usize, size: usize, flags: c_int) -> i32 {
    code((|| {
        own(task)?;
        check_out(at)?;
        if size == 0 {
            // SAFETY: the caller's word, so below.
            return unsafe { put(at, 0) };
        }
        // SAFETY: as above.
        let wanted = unsafe { at.read_unaligned() };
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let made = map(wanted, size, flags, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0)?;
        // SAFETY: as above.
        unsafe { put(at, made) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn vm_deallocate(task: u32, at: usize, size: usize) -> i32 {
    code((|| {
        own(task)?;
        let (start, whole) = around(at, size)?;
        sharing::unmapped(start, start.saturating_add(whole));
        if ool::release(at, size) { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn vm_protect(task: u32, at: usize, size: usize, set_maximum: c_int, prot: i32) -> i32 {
    code((|| {
        own(task)?;
        let (start, size) = around(at, size)?;
        if set_maximum != 0 {
            // Linux keeps no maximum that could be lowered.
            return Err(Code::KERN_NOT_SUPPORTED);
        }
        let end = start.saturating_add(size);
        probe::forget(start, end);
        ool::disown(start, end);
        // SAFETY: the program's own memory; what it does with it is its affair.
        match unsafe { libc::mprotect(start as *mut libc::c_void, size, access(prot)) } {
            0 => Ok(()),
            _ if std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM) => Err(Code::KERN_INVALID_ADDRESS),
            _ => Err(failed()),
        }
    })())
}

/// Linux has one way of inheriting that can be asked for: none.
#[unsafe(no_mangle)]
extern "C" fn vm_inherit(task: u32, at: usize, size: usize, inheritance: u32) -> i32 {
    code((|| {
        own(task)?;
        let (start, size) = around(at, size)?;
        let advice = match inheritance {
            1 => libc::MADV_DOFORK,
            2 => libc::MADV_DONTFORK,
            0 => return Err(Code::KERN_NOT_SUPPORTED),
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        // SAFETY: changes what a fork does, no byte.
        if unsafe { libc::madvise(start as *mut libc::c_void, size, advice) } == 0 { Ok(()) } else { Err(Code::KERN_INVALID_ADDRESS) }
    })())
}

/// Copies within this process; a range that is not there gives a code.
pub(crate) fn copy(from: usize, to: usize, size: usize) -> Result<(), Code> {
    let part = |at: usize| libc::iovec { iov_base: at as *mut libc::c_void, iov_len: size };
    let (local, remote) = (part(to), part(from));
    // SAFETY: asks about this process.
    let own = unsafe { libc::getpid() };
    if size == 0 {
        return Ok(());
    }
    if !probe::readable(from as *const u8, size) {
        return Err(Code::KERN_INVALID_ADDRESS);
    }
    // SAFETY: Linux copies, and checks both ranges as it goes; the program says that the bytes at `to` are to be replaced.
    let copied = unsafe { libc::process_vm_readv(own, &local, 1, &remote, 1, 0) };
    if copied == size as isize { Ok(()) } else { Err(Code::KERN_PROTECTION_FAILURE) }
}

#[unsafe(no_mangle)]
extern "C" fn vm_copy(task: u32, from: usize, size: usize, to: usize) -> i32 {
    code(own(task).and_then(|()| copy(from, to, size)))
}

/// A copy of a range, in memory that the program gives back with `vm_deallocate`.
#[unsafe(no_mangle)]
unsafe extern "C" fn vm_read(task: u32, at: usize, size: usize, data: *mut usize, count: *mut u32) -> i32 {
    code((|| {
        own(task)?;
        check_out(data)?;
        check_out(count)?;
        let len = u32::try_from(size).map_err(|_| Code::KERN_INVALID_ARGUMENT)?;
        let room = allocate(size)?;
        if let Err(code) = copy(at, room, size) {
            ool::release(room, size);
            return Err(code);
        }
        // SAFETY: the caller's word.
        unsafe { put(data, room).and_then(|()| put(count, len)) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn vm_read_overwrite(task: u32, at: usize, size: usize, data: usize, done: *mut usize) -> i32 {
    code((|| {
        own(task)?;
        check_out(done)?;
        copy(at, data, size)?;
        // SAFETY: the caller's word.
        unsafe { put(done, size) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn vm_write(task: u32, at: usize, data: usize, count: u32) -> i32 {
    code(own(task).and_then(|()| copy(data, at, count as usize)))
}

/// Wiring is `mlock`'s affair; the host right is not looked at.
#[unsafe(no_mangle)]
extern "C" fn vm_wire(_host: u32, task: u32, at: usize, size: usize, access: i32) -> i32 {
    code((|| {
        own(task)?;
        let (start, size) = around(at, size)?;
        let at = start as *const libc::c_void;
        // SAFETY: changes no byte.
        let done = unsafe { if access != 0 { libc::mlock(at, size) } else { libc::munlock(at, size) } };
        if done == 0 { Ok(()) } else { Err(Code::KERN_RESOURCE_SHORTAGE) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_allocate(task: u32, at: *mut usize, size: usize, flags: c_int) -> i32 {
    // SAFETY: passed on; so below.
    unsafe { vm_allocate(task, at, size, flags) }
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_deallocate(task: u32, at: usize, size: usize) -> i32 {
    vm_deallocate(task, at, size)
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_protect(task: u32, at: usize, size: usize, set_maximum: c_int, prot: i32) -> i32 {
    vm_protect(task, at, size, set_maximum, prot)
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_inherit(task: u32, at: usize, size: usize, inheritance: u32) -> i32 {
    vm_inherit(task, at, size, inheritance)
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_copy(task: u32, from: usize, size: usize, to: usize) -> i32 {
    vm_copy(task, from, size, to)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_read(task: u32, at: usize, size: usize, data: *mut usize, count: *mut u32) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_read(task, at, size, data, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_read_overwrite(task: u32, at: usize, size: usize, data: usize, done: *mut usize) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_read_overwrite(task, at, size, data, done) }
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_write(task: u32, at: usize, data: usize, count: u32) -> i32 {
    vm_write(task, at, data, count)
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_wire(host: u32, task: u32, at: usize, size: usize, access: i32) -> i32 {
    vm_wire(host, task, at, size, access)
}
