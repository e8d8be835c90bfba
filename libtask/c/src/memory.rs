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

/// `VM_FLAGS_*` that programs may pass: those two; what means nothing here (purgeable, within 4 GiB, at random, uncached, superpages and the like); and a tag.
const FLAGS: c_int = ANYWHERE | OVERWRITE | 0xfe | 0x1000 | 0x7_0000 | 0x90_0000 | 0xff00_0000u32 as c_int;

/// Access: the three kinds, and the flags beside them (`VM_PROT_COPY`).
const PROTECTION: i32 = 7;
const PROTECTION_FLAGS: i32 = 0x10;

pub(crate) fn check_flags(flags: c_int) -> Result<(), Code> {
    if flags & !FLAGS == 0 { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
}

/// What `vm_map` and its relatives are told of access and inheritance.
pub(crate) fn check_protection(protections: [i32; 2], inheritance: u32) -> Result<(), Code> {
    let known = protections.iter().all(|prot| prot & !PROTECTION == 0) && inheritance <= inherit::NONE;
    if known { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
}

/// `VM_INHERIT_*`.
pub(crate) mod inherit {
    pub(crate) const SHARE: u32 = 0;
    pub(crate) const COPY: u32 = 1;
    pub(crate) const NONE: u32 = 2;
}

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
    let size = ool::pages(size).ok_or(Code::KERN_INVALID_ARGUMENT)?;
    // Where it begins counts, not where it would end: as in XNU.
    let start = if flags & ANYWHERE != 0 { 0 } else { at & !(ool::page() - 1) };
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
            sharing::unmapped(start, end);
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
        check_flags(flags)?;
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
        let empty = size == 0;
        let (start, size) = around(at, size)?;
        if prot & !(PROTECTION | PROTECTION_FLAGS) != 0 {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if empty {
            return Ok(());
        }
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

/// A range that a forked child is to share moves into shared memory (`sharing`), which cannot become private again.
#[unsafe(no_mangle)]
extern "C" fn vm_inherit(task: u32, at: usize, size: usize, inheritance: u32) -> i32 {
    code((|| {
        own(task)?;
        let empty = size == 0;
        let (start, size) = around(at, size)?;
        match inheritance {
            inherit::SHARE | inherit::COPY | inherit::NONE if empty => Ok(()),
            inherit::SHARE => sharing::share(start, size).and_then(|()| advise(start, size, libc::MADV_DOFORK)),
            inherit::COPY if sharing::is_shared(start, size)? => Err(Code::KERN_NOT_SUPPORTED),
            inherit::COPY => advise(start, size, libc::MADV_DOFORK),
            inherit::NONE => advise(start, size, libc::MADV_DONTFORK),
            _ => Err(Code::KERN_INVALID_ARGUMENT),
        }
    })())
}

/// Tells Linux what a range is for.
pub(crate) fn advise(start: usize, size: usize, advice: c_int) -> Result<(), Code> {
    // SAFETY: the advice that is given here changes what a fork or an access does, and bytes only where the program said that it does not need them.
    if unsafe { libc::madvise(start as *mut libc::c_void, size, advice) } == 0 { Ok(()) } else { Err(Code::KERN_INVALID_ADDRESS) }
}

/// Copies within this process; a range that is not there gives a code. What is at `to` afterwards was at `from` before, also if the two overlap.
pub(crate) fn copy(from: usize, to: usize, size: usize) -> Result<(), Code> {
    if size == 0 {
        return Ok(());
    }
    probe::check(from, size, false)?;
    probe::check(to, size, true)?;
    if from.abs_diff(to) >= size {
        return copy_apart(from, to, size);
    }
    // Piece by piece through a buffer, from that end at which nothing is overwritten before it is read.
    let mut piece = vec![0u8; size.min(PIECE)];
    let count = size.div_ceil(PIECE);
    for n in 0..count {
        let n = if from < to { count - 1 - n } else { n };
        let (at, len) = (n * PIECE, PIECE.min(size - n * PIECE));
        copy_apart(from + at, piece.as_mut_ptr() as usize, len)?;
        copy_apart(piece.as_ptr() as usize, to + at, len)?;
    }
    Ok(())
}

/// How much of ranges that overlap is copied at a time.
const PIECE: usize = 1 << 20;

fn copy_apart(from: usize, to: usize, size: usize) -> Result<(), Code> {
    // SAFETY: asks about this process.
    let own = unsafe { libc::getpid() };
    let mut done = 0;
    while done < size {
        let part = |at: usize| libc::iovec { iov_base: (at + done) as *mut libc::c_void, iov_len: size - done };
        let (local, remote) = (part(to), part(from));
        // SAFETY: Linux copies, and checks both ranges as it goes; the program says that the bytes at `to` are to be replaced.
        match unsafe { libc::process_vm_readv(own, &local, 1, &remote, 1, 0) } {
            // Linux copies at most some 2 GiB at a time.
            copied @ 1.. => done += copied as usize,
            _ => return Err(Code::KERN_INVALID_ADDRESS),
        }
    }
    Ok(())
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

/// `VM_SYNC_*`.
mod sync {
    pub(super) const ASYNCHRONOUS: u32 = 1;
    pub(super) const SYNCHRONOUS: u32 = 2;
    pub(super) const INVALIDATE: u32 = 4;
    pub(super) const CONTIGUOUS: u32 = 0x20;
}

/// Writes what is mapped of files back. Gaps are passed over, unless the caller wants to hear of them.
#[unsafe(no_mangle)]
extern "C" fn vm_msync(task: u32, at: usize, size: usize, flags: u32) -> i32 {
    code((|| {
        own(task)?;
        let both = sync::ASYNCHRONOUS | sync::SYNCHRONOUS;
        if flags & both == both {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let empty = size == 0;
        let (start, size) = around(at, size)?;
        if empty {
            return Ok(());
        }
        let how = if flags & sync::SYNCHRONOUS != 0 { libc::MS_SYNC } else { libc::MS_ASYNC };
        let invalidate = if flags & sync::INVALIDATE != 0 { libc::MS_INVALIDATE } else { 0 };
        // SAFETY: writes back; changes no byte of this process's.
        let done = unsafe { libc::msync(start as *mut libc::c_void, size, how | invalidate) } == 0;
        if done || flags & sync::CONTIGUOUS == 0 { Ok(()) } else { Err(Code::KERN_INVALID_ADDRESS) }
    })())
}

/// How a range will be used (`VM_BEHAVIOR_*`).
#[unsafe(no_mangle)]
extern "C" fn vm_behavior_set(task: u32, at: usize, size: usize, behavior: c_int) -> i32 {
    code((|| {
        own(task)?;
        let empty = size == 0;
        let (start, size) = around(at, size)?;
        let advice = match behavior {
            0 => libc::MADV_NORMAL,
            1 => libc::MADV_RANDOM,
            2 | 3 => libc::MADV_SEQUENTIAL,
            4 => libc::MADV_WILLNEED,
            // In XNU the bytes stay.
            5 => libc::MADV_COLD,
            // They may go; what is private of no file can.
            6 | 8 => libc::MADV_FREE,
            11 => libc::MADV_PAGEOUT,
            7 | 9 | 10 => return Ok(()),
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        match advise(start, size, advice) {
            _ if empty => Ok(()),
            // Advice that does not fit this memory has no effect.
            Err(_) if std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
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

#[unsafe(no_mangle)]
extern "C" fn mach_vm_msync(task: u32, at: usize, size: usize, flags: u32) -> i32 {
    vm_msync(task, at, size, flags)
}

#[unsafe(no_mangle)]
extern "C" fn mach_vm_behavior_set(task: u32, at: usize, size: usize, behavior: c_int) -> i32 {
    vm_behavior_set(task, at, size, behavior)
}
