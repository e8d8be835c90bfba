//! Memory objects of the caller's address space: `vm_map`, `vm_remap`, `vm_region`, and memory entries, which are regions of the kernel process.

use std::ffi::c_int;
use std::io::Write;
use std::os::fd::AsRawFd;

use libtask::{Code, Name, RightKind};

use crate::memory::{ANYWHERE, access, allocate, copy, map, own};
use crate::process::{check_out, code, current, put, space};
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
    _max_prot: i32,
    _inheritance: u32,
) -> i32 {
    code((|| {
        own(task)?;
        check_out(at)?;
        let whole = ool::pages(size).filter(|&whole| whole > 0).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        // SAFETY: not null: the caller's wish, and later room for what became of it.
        let mut place = unsafe { at.read_unaligned() };
        let mut flags = flags;
        if flags & ANYWHERE != 0 && mask >= ool::page() {
            place = aligned(whole, mask)?;
            flags = flags & !ANYWHERE | crate::memory::OVERWRITE;
        }
        let made = if object == 0 {
            map(place, whole, flags, access(prot), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?
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
        // SAFETY: as above.
        unsafe { put(at, made) }
    })())
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
    _mask: usize,
    flags: c_int,
    from_task: u32,
    from: usize,
    copies: c_int,
    prot: *mut i32,
    max_prot: *mut i32,
    _inheritance: u32,
) -> i32 {
    code((|| {
        own(task)?;
        own(from_task)?;
        check_out(at)?;
        check_out(prot)?;
        check_out(max_prot)?;
        let whole = ool::pages(size).filter(|&whole| whole > 0).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        if flags & ANYWHERE == 0 {
            return Err(Code::KERN_NOT_SUPPORTED);
        }
        let start = from & !(ool::page() - 1);
        let region = Region::at(start).filter(|region| region.start <= start).ok_or(Code::KERN_INVALID_ADDRESS)?;
        let made = if copies != 0 {
            let room = allocate(whole)?;
            copy(start, room, whole).inspect_err(|_| drop_memory(room, whole))?;
            room
        } else {
            match sharing::entry(start, whole, 0) {
                Ok(right) => second_place(right, whole, region.prot)?,
                // Shared memory that did not become so here.
                Err(Code::KERN_NOT_SUPPORTED) if region.shared => {
                    // SAFETY: with an old size of 0 Linux maps shared memory a second time and changes nothing at the first place.
                    let made = unsafe { libc::mremap(start as *mut libc::c_void, 0, whole, libc::MREMAP_MAYMOVE) };
                    if made == libc::MAP_FAILED {
                        return Err(Code::KERN_NOT_SUPPORTED);
                    }
                    made as usize
                }
                Err(code) => return Err(code),
            }
        };
        // SAFETY: the caller's word.
        unsafe { put(prot, region.prot).and_then(|()| put(max_prot, 7)).and_then(|()| put(at, made + (from - start))) }
    })())
}

/// Maps a region somewhere. The mapping is enough: the right goes.
fn second_place(right: Name, size: usize, prot: i32) -> Result<usize, Code> {
    let space = space()?;
    let file = space.region_map(right);
    let _ = space.port_deallocate(right);
    map(0, size, ANYWHERE, access(prot), libc::MAP_SHARED, file?.2.as_raw_fd(), 0)
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

/// A range of pages that are alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) prot: i32,
    pub(crate) shared: bool,
    pub(crate) offset: u64,
    /// Of a file, or with a name: stack, heap and the like.
    pub(crate) named: bool,
}

impl Region {
    /// All of this process's, in order.
    pub(crate) fn all() -> Option<Vec<Region>> {
        ool::let_go();
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        Some(maps.lines().filter_map(Region::parse).collect())
    }
    /// The first that ends behind an address.
    fn at(address: usize) -> Option<Region> {
        Region::all()?.into_iter().find(|region| region.end > address)
    }
    /// Neither shared nor anybody else's.
    pub(crate) fn is_private_memory(&self) -> bool {
        !self.shared && !self.named
    }
    fn parse(line: &str) -> Option<Region> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let flags = words.next()?.as_bytes();
        let hex = |text| usize::from_str_radix(text, 16).ok();
        let bit = |n: usize, letter: u8, bit: i32| if flags.get(n) == Some(&letter) { bit } else { 0 };
        Some(Region {
            start: hex(start)?,
            end: hex(end)?,
            prot: bit(0, b'r', 1) | bit(1, b'w', 2) | bit(2, b'x', 4),
            shared: flags.get(3) == Some(&b's'),
            offset: hex(words.next()?)? as u64,
            // Device, inode, and a name if there is one.
            named: words.nth(2).is_some(),
        })
    }
}

const BASIC_INFO_64: c_int = 9;
const BASIC_INFO: c_int = 10;

/// What is told of the region at an address, or the next one behind it.
#[unsafe(no_mangle)]
unsafe extern "C" fn vm_region_64(
    task: u32,
    at: *mut usize,
    size: *mut usize,
    flavor: c_int,
    info: *mut i32,
    count: *mut u32,
    object: *mut u32,
) -> i32 {
    code((|| {
        own(task)?;
        check_out(at)?;
        check_out(size)?;
        check_out(info)?;
        check_out(count)?;
        // SAFETY: not null, so the caller's numbers.
        let (address, room) = unsafe { (at.read_unaligned(), count.read_unaligned() as usize) };
        let region = Region::at(address).ok_or(Code::KERN_INVALID_ADDRESS)?;
        const COPY: i32 = 1;
        let mut words = vec![region.prot, 7, COPY, i32::from(region.shared), 0, region.offset as i32];
        match flavor {
            BASIC_INFO_64 => words.extend([(region.offset >> 32) as i32, 0, 0]),
            BASIC_INFO => words.extend([0, 0]),
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        }
        if room < words.len() {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        // SAFETY: the caller's word; `info` has room for as many integers as it said.
        unsafe {
            info.copy_from(words.as_ptr(), words.len());
            put(count, words.len() as u32)?;
            put(at, region.start)?;
            put(size, region.end - region.start)?;
            if object.is_null() { Ok(()) } else { put(object, 0) }
        }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn vm_region(
    task: u32,
    at: *mut usize,
    size: *mut usize,
    flavor: c_int,
    info: *mut i32,
    count: *mut u32,
    object: *mut u32,
) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_region_64(task, at, size, flavor, info, count, object) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_region(
    task: u32,
    at: *mut usize,
    size: *mut usize,
    flavor: c_int,
    info: *mut i32,
    count: *mut u32,
    object: *mut u32,
) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_region_64(task, at, size, flavor, info, count, object) }
}
