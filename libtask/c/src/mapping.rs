//! Memory objects of the caller's address space: `vm_map`, `vm_remap`, and memory entries, which are regions of the kernel process.

use std::ffi::c_int;
use std::io::Write;
use std::os::fd::AsRawFd;

use libtask::{Code, Name, RightKind};

use crate::memory::{ANYWHERE, OVERWRITE, access, advise, allocate, check_flags, check_protection, copy, inherit, map, own};
use crate::process::{check_out, code, current, put, space};
use crate::regions::Region;
use crate::{ool, probe, sharing};

/// `MAP_MEM_NAMED_CREATE`: the entry is new memory, to be shared.
const NAMED_CREATE: i32 = 0x02_0000;
/// `MAP_MEM_VM_COPY`: the entry is a snapshot of the caller's memory.
const VM_COPY: i32 = 0x20_0000;

/// Maps fresh memory, or a memory entry.
#[allow(clippy::too_many_arguments)] // Mach's own argument list
#[unsafe(no_mangle)]
unsafe extern "C" fn vm_map(
    task: u32,
    at: *mut usize,
    size: usize,
    mask: usize,
    flags: c_int,
    object: u32,
    offset: usize,
    copy: c_int,
    prot: i32,
    max_prot: i32,
    inheritance: u32,
) -> i32 {
    code((|| {
        own(task)?;
        check_out(at)?;
        check_flags(flags)?;
        check_protection([prot, max_prot], inheritance)?;
        let whole = ool::pages(size).filter(|&whole| whole > 0).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        // SAFETY: not null: the caller's wish, and later room for what became of it.
        let wanted = unsafe { at.read_unaligned() };
        let (place, flags) = placed(wanted, whole, mask, flags)?;
        let made = if object == 0 {
            let kind = if inheritance == inherit::SHARE { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            map(place, whole, flags, access(prot), kind | libc::MAP_ANONYMOUS, -1, 0)?
        } else {
            if !offset.is_multiple_of(ool::page()) {
                return Err(Code::KERN_INVALID_ARGUMENT);
            }
            let (have, shared, file) = space()?.region_map(Name(object)).map_err(|_| Code::KERN_INVALID_OBJECT)?;
            let end = offset.checked_add(whole).ok_or(Code::KERN_INVALID_ARGUMENT)?;
            if end > ool::pages(have as usize).unwrap_or(0) {
                return Err(Code::KERN_INVALID_ARGUMENT);
            }
            // A snapshot cannot be written by all who have it: each gets a copy.
            let kind = if shared && copy == 0 { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            map(place, whole, flags, access(prot), kind, file.as_raw_fd(), offset as u64)?
        };
        inherited(made, whole, inheritance)?;
        // SAFETY: as above.
        unsafe { put(at, made) }
    })())
}

/// Where a mapping is to be, and with which flags: a place with its low bits clear is looked for beforehand.
fn placed(wanted: usize, size: usize, mask: usize, flags: c_int) -> Result<(usize, c_int), Code> {
    if flags & ANYWHERE == 0 || mask < ool::page() {
        return Ok((wanted, flags));
    }
    Ok((aligned(size, mask)?, flags & !ANYWHERE | OVERWRITE))
}

/// A new mapping that a forked child is not to have.
fn inherited(at: usize, size: usize, inheritance: u32) -> Result<(), Code> {
    if inheritance == inherit::NONE { advise(at, size, libc::MADV_DONTFORK) } else { Ok(()) }
}

/// A place for `size` bytes none of whose `mask` bits are set. Something is mapped there, to be replaced.
fn aligned(size: usize, mask: usize) -> Result<usize, Code> {
    let step = mask.checked_add(1).filter(|step| step.is_power_of_two()).ok_or(Code::KERN_INVALID_ARGUMENT)?;
    let all = size.checked_add(step).ok_or(Code::KERN_NO_SPACE)?;
    let start = map(0, all, ANYWHERE, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
    let place = start.next_multiple_of(step);
    ool::release(start, place - start);
    ool::release(place + size, start + all - place - size);
    Ok(place)
}

#[allow(clippy::too_many_arguments)] // Mach's own argument list
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_map(
    task: u32,
    at: *mut usize,
    size: usize,
    mask: usize,
    flags: c_int,
    object: u32,
    offset: usize,
    copy: c_int,
    prot: i32,
    max_prot: i32,
    inheritance: u32,
) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_map(task, at, size, mask, flags, object, offset, copy, prot, max_prot, inheritance) }
}

/// The caller's memory at a second place: a copy, or the same memory, which is shared from then on.
#[allow(clippy::too_many_arguments)] // Mach's own argument list
#[unsafe(no_mangle)]
unsafe extern "C" fn vm_remap(
    task: u32,
    at: *mut usize,
    size: usize,
    mask: usize,
    flags: c_int,
    from_task: u32,
    from: usize,
    copies: c_int,
    prot: *mut i32,
    max_prot: *mut i32,
    inheritance: u32,
) -> i32 {
    code((|| {
        own(task)?;
        own(from_task)?;
        check_out(at)?;
        check_out(prot)?;
        check_out(max_prot)?;
        check_flags(flags)?;
        check_protection([0, 0], inheritance)?;
        let start = from & !(ool::page() - 1);
        // Whole pages from the first on; those around the range only if the caller wants to hear where in them it is.
        let offset = if flags & RETURN_DATA_ADDR != 0 { from - start } else { 0 };
        let whole = size.checked_add(offset).filter(|_| size > 0).and_then(ool::pages).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let region = Region::at(start).filter(|region| region.start <= start).ok_or(Code::KERN_INVALID_ADDRESS)?;
        // SAFETY: not null: the caller's wish.
        let wanted = unsafe { at.read_unaligned() };
        let place = Place { wanted, size: whole, mask, flags };
        let made = if copies != 0 { place.copy_of(start, region.prot)? } else { place.same_as(start, &region)? };
        inherited(made, whole, inheritance)?;
        // SAFETY: the caller's word.
        unsafe { put(prot, region.prot).and_then(|()| put(max_prot, 7)).and_then(|()| put(at, made + offset)) }
    })())
}

/// `VM_FLAGS_RETURN_DATA_ADDR`.
const RETURN_DATA_ADDR: c_int = 0x10_0000;

/// Where `vm_remap` is to put something.
struct Place {
    wanted: usize,
    size: usize,
    mask: usize,
    flags: c_int,
}

impl Place {
    fn map(&self, access: c_int, kind: c_int, fd: c_int) -> Result<usize, Code> {
        let (at, flags) = placed(self.wanted, self.size, self.mask, self.flags)?;
        map(at, self.size, flags, access, kind, fd, 0)
    }

    /// Made elsewhere, so that nothing is replaced by half a copy, and then moved there.
    fn copy_of(&self, start: usize, prot: i32) -> Result<usize, Code> {
        probe::check(start, self.size, false)?;
        let room = self.elsewhere(|| allocate(self.size))?;
        let made = copy(start, room, self.size).and_then(|()| self.take(room));
        let made = made.inspect_err(|_| drop_memory(room, self.size))?;
        // SAFETY: this call's own new pages.
        unsafe { libc::mprotect(made as *mut libc::c_void, self.size, access(prot)) };
        Ok(made)
    }

    /// A mapping that touches the wanted place nowhere: Linux likes to use what has become free.
    fn elsewhere(&self, make: impl Fn() -> Result<usize, Code>) -> Result<usize, Code> {
        let start = self.wanted & !(ool::page() - 1);
        let mut in_the_way = Vec::new();
        let made = loop {
            match make() {
                Ok(made) if self.flags & ANYWHERE == 0 && made.abs_diff(start) < self.size => in_the_way.push(made),
                result => break result,
            }
        };
        in_the_way.into_iter().for_each(|made| drop_memory(made, self.size));
        made
    }

    /// Moves a mapping of this size there.
    fn take(&self, room: usize) -> Result<usize, Code> {
        if self.flags & ANYWHERE != 0 && self.mask < ool::page() {
            return Ok(room);
        }
        // Refuses what is there already, if that is not to go.
        let at = self.map(libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: from this call's own mapping to another of its own.
        let moved = unsafe { libc::mremap(room as *mut libc::c_void, self.size, self.size, flags, at as *mut libc::c_void) };
        if moved == libc::MAP_FAILED { Err(Code::KERN_NO_SPACE) } else { Ok(at) }
    }

    fn same_as(&self, start: usize, region: &Region) -> Result<usize, Code> {
        match sharing::entry(start, self.size, 0) {
            Ok(right) => {
                let space = space()?;
                let file = space.region_map(right);
                // The mapping is enough.
                let _ = space.port_deallocate(right);
                self.map(access(region.prot), libc::MAP_SHARED, file?.2.as_raw_fd())
            }
            // Shared memory that did not become so here, or some of what did.
            Err(Code::KERN_NOT_SUPPORTED) if region.shared && region.end - start >= self.size => {
                let made = self.elsewhere(|| {
                    // SAFETY: with an old size of 0 Linux maps shared memory a second time and changes nothing at the first place.
                    let made = unsafe { libc::mremap(start as *mut libc::c_void, 0, self.size, libc::MREMAP_MAYMOVE) };
                    if made == libc::MAP_FAILED { Err(Code::KERN_NOT_SUPPORTED) } else { Ok(made as usize) }
                })?;
                self.take(made).inspect_err(|_| drop_memory(made, self.size))
            }
            Err(code) => Err(code),
        }
    }
}

fn drop_memory(at: usize, size: usize) {
    ool::release(at, size);
}

#[allow(clippy::too_many_arguments)] // Mach's own argument list
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_remap(
    task: u32,
    at: *mut usize,
    size: usize,
    mask: usize,
    flags: c_int,
    from_task: u32,
    from: usize,
    copies: c_int,
    prot: *mut i32,
    max_prot: *mut i32,
    inheritance: u32,
) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_remap(task, at, size, mask, flags, from_task, from, copies, prot, max_prot, inheritance) }
}

/// `VM_PROT_*`, in a permission.
const PROTECTION: i32 = 7;

/// A right to memory: new memory that its holders share, a snapshot of the caller's, or the caller's own, which is shared from then on (`sharing`). With a
/// parent: the same right once more, for what begins where its memory does.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_make_memory_entry_64(task: u32, size: *mut u64, at: u64, permission: i32, entry: *mut u32, parent: u32) -> i32 {
    code((|| {
        own(task)?;
        check_out(size)?;
        check_out(entry)?;
        // SAFETY: not null, so the caller's number.
        let wanted = unsafe { size.read_unaligned() };
        let whole = usize::try_from(wanted).ok().and_then(ool::pages).filter(|&whole| whole > 0).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let name = if parent != 0 {
            let (have, _, _) = space()?.region_map(Name(parent)).map_err(|_| Code::KERN_INVALID_ARGUMENT)?;
            match () {
                () if at != 0 => return Err(Code::KERN_NOT_SUPPORTED),
                () if whole as u64 > have.next_multiple_of(ool::page() as u64) => return Err(Code::KERN_INVALID_ARGUMENT),
                () => space()?.port_mod_refs(Name(parent), RightKind::Send, 1)?,
            }
            Name(parent)
        } else if permission & NAMED_CREATE != 0 {
            space()?.region_create(whole as u64, true)?.1
        } else if permission & VM_COPY != 0 {
            let start = at as usize & !(ool::page() - 1);
            snapshot(start, whole)?
        } else {
            let start = at as usize & !(ool::page() - 1);
            sharing::entry(start, whole, permission & PROTECTION)?
        };
        // SAFETY: the caller's word.
        unsafe { put(size, whole as u64).and_then(|()| put(entry, name.0)) }
    })())
}

fn snapshot(start: usize, size: usize) -> Result<Name, Code> {
    if !probe::readable(start as *const u8, size) {
        return Err(Code::KERN_INVALID_ADDRESS);
    }
    let mut writer = current()?.region_writer(size as u64).map_err(|error| error.code())?;
    // SAFETY: readable as of now; the program may not unmap it meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, size) };
    writer.write_all(bytes).map_err(|_| Code::KERN_RESOURCE_SHORTAGE)?;
    let region = writer.seal().map_err(|error| error.code())?;
    region.into_right().into_raw().map_err(|error| error.code())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_make_memory_entry(task: u32, size: *mut u64, at: u64, permission: i32, entry: *mut u32, parent: u32) -> i32 {
    // SAFETY: passed on.
    unsafe { mach_make_memory_entry_64(task, size, at, permission, entry, parent) }
}
