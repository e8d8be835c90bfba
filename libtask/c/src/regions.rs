//! What is mapped where in this process, as Linux tells (`/proc/self/maps`): `vm_region` and its relatives.

use std::ffi::c_int;
use std::fs::File;
use std::io::{BufRead, BufReader};

use libtask::Code;

use crate::memory::own;
use crate::ool;
use crate::process::{check_out, code, put};

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
    pub(crate) fn at(address: usize) -> Option<Region> {
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

/// What of a region is in memory, in pages.
#[derive(Debug, Default)]
struct Resident {
    all: u32,
    /// Used by nobody else, and changed.
    private: u32,
    dirty: u32,
    swapped: u32,
}

impl Resident {
    /// Nothing is known of one that has changed meanwhile.
    fn of(region: &Region) -> Resident {
        let mut found = Resident::default();
        let Ok(file) = File::open("/proc/self/smaps") else { return found };
        let head = format!("{:08x}-{:08x} ", region.start, region.end);
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        for line in lines.skip_while(|line| !line.starts_with(&head)).skip(1) {
            let Some((what, rest)) = line.split_once(':') else { break };
            // The next one's first line has a colon too, behind its addresses.
            if what.contains('-') {
                break;
            }
            let kilobytes = rest.split_ascii_whitespace().next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
            let pages = u32::try_from((kilobytes << 10) / ool::page()).unwrap_or(u32::MAX);
            match what {
                "Rss" => found.all = pages,
                "Private_Clean" | "Private_Dirty" => {
                    found.private += pages;
                    found.dirty += if what == "Private_Dirty" { pages } else { 0 };
                }
                "Swap" => found.swapped = pages,
                _ => {}
            }
        }
        found
    }
}

/// `SM_*`.
fn share_mode(region: &Region) -> u32 {
    match region {
        Region { shared: true, .. } => 4,
        Region { named: true, .. } => 1,
        Region { prot: 0, .. } => 3,
        _ => 2,
    }
}

/// Two numbers of sixteen bits as one of C's.
fn halves(low: u32, high: u32) -> i32 {
    (low | high << 16) as i32
}

const BASIC_INFO_64: c_int = 9;
const BASIC_INFO: c_int = 10;
const TOP_INFO: c_int = 12;
const EXTENDED_INFO: c_int = 13;

/// Nothing maps less than Linux lets `mprotect` make of it.
const MAX_PROTECTION: i32 = 7;
/// `VM_INHERIT_SHARE` and `VM_INHERIT_COPY`: what a fork does.
fn inheritance(region: &Region) -> i32 {
    i32::from(!region.shared)
}

impl Region {
    fn info(&self, flavor: c_int) -> Result<Vec<i32>, Code> {
        let offset = [self.offset as i32, (self.offset >> 32) as i32];
        let basic = [self.prot, MAX_PROTECTION, inheritance(self), i32::from(self.shared), 0];
        Ok(match flavor {
            BASIC_INFO_64 => basic.into_iter().chain(offset).chain([0, 0]).collect(),
            BASIC_INFO => basic.into_iter().chain([offset[0], 0, 0]).collect(),
            TOP_INFO => {
                let resident = Resident::of(self);
                let shared = resident.all.saturating_sub(resident.private);
                vec![0, 1, resident.private as i32, shared as i32, share_mode(self) as i32]
            }
            EXTENDED_INFO => [self.prot].into_iter().chain(self.pages()).chain([0]).collect(),
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        })
    }

    /// From the tag to the share mode, which two of XNU's structures have alike.
    fn pages(&self) -> [i32; 7] {
        let resident = Resident::of(self);
        let kind = u32::from(self.named) | share_mode(self) << 8;
        [0, resident.all as i32, 0, resident.swapped as i32, resident.dirty as i32, 1, halves(0, kind)]
    }

    /// `vm_region_submap_info_64`: there are no submaps.
    fn submap_info(&self) -> Vec<i32> {
        let head = [self.prot, MAX_PROTECTION, inheritance(self), self.offset as i32, (self.offset >> 32) as i32];
        head.into_iter().chain(self.pages()).chain([0, 0, 0, 0, 0, 0, 0]).collect()
    }
}

/// Stores what is told of a region. `info` gets as many integers as there are or, if the call has shorter forms, as it has room for.
///
/// # Safety
/// The pointers are null or have room for what they say.
unsafe fn store(
    region: &Region,
    words: &[i32],
    least: usize,
    (at, size, info, count): (*mut usize, *mut usize, *mut i32, *mut u32),
) -> Result<(), Code> {
    // SAFETY: not null (the callers have seen that): how much room there is.
    let room = unsafe { count.read_unaligned() } as usize;
    if room < least {
        return Err(Code::KERN_INVALID_ARGUMENT);
    }
    let given = words.len().min(room);
    // SAFETY: the caller's word; `info` has room for as many integers as it said.
    unsafe {
        info.cast::<u8>().copy_from(words.as_ptr().cast(), 4 * given);
        put(count, given as u32)?;
        put(at, region.start)?;
        put(size, region.end - region.start)
    }
}

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
        [at, size].into_iter().try_for_each(|at| check_out(at))?;
        check_out(info)?;
        check_out(count)?;
        // SAFETY: not null, so the caller's number.
        let region = Region::at(unsafe { at.read_unaligned() }).ok_or(Code::KERN_INVALID_ADDRESS)?;
        let words = region.info(flavor)?;
        // SAFETY: passed on; a null object is allowed.
        unsafe {
            store(&region, &words, words.len(), (at, size, info, count))?;
            if object.is_null() { Ok(()) } else { put(object, 0) }
        }
    })())
}

/// The same with more, whatever `depth` asks: nothing is nested.
#[unsafe(no_mangle)]
unsafe extern "C" fn vm_region_recurse_64(
    task: u32,
    at: *mut usize,
    size: *mut usize,
    depth: *mut u32,
    info: *mut i32,
    count: *mut u32,
) -> i32 {
    /// The two shorter forms that programs may have been compiled for: without the long number of the object, and without reusable pages.
    const SHORTEST: usize = 16;
    code((|| {
        own(task)?;
        [at, size].into_iter().try_for_each(|at| check_out(at))?;
        [depth, count].into_iter().try_for_each(|at| check_out(at))?;
        check_out(info)?;
        // SAFETY: not null, so the caller's number.
        let region = Region::at(unsafe { at.read_unaligned() }).ok_or(Code::KERN_INVALID_ADDRESS)?;
        // SAFETY: passed on.
        unsafe { store(&region, &region.submap_info(), SHORTEST, (at, size, info, count)).and_then(|()| put(depth, 0)) }
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

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_vm_region_recurse(
    task: u32,
    at: *mut usize,
    size: *mut usize,
    depth: *mut u32,
    info: *mut i32,
    count: *mut u32,
) -> i32 {
    // SAFETY: passed on.
    unsafe { vm_region_recurse_64(task, at, size, depth, info, count) }
}
