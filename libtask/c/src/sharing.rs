//! Memory that is there already and is to be shared: `mach_make_memory_entry` on the caller's own range, `vm_remap` without a copy.
//!
//! In Linux private memory cannot be mapped a second time. So the first time that a range is to be shared, its bytes move into a region of the
//! kernel process's, which takes the range's place: same addresses, same bytes, same protection. From then on it is shared memory, also with a forked child.
//!
//! 1. Only private memory of no file: what `vm_allocate`, `malloc` (large blocks) and messages give. Not the stack that this thread runs on, nor the heap.
//! 2. What another thread writes into the range while it moves may be lost: the program waits for its own threads.
//! 3. While such a range is mapped this library keeps a right to its region, for the next time. `vm_deallocate` of any of it gives that up.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use libtask::{Code, Name, RightKind};

use crate::fork::ForkLock;
use crate::memory::access;
use crate::process::space;
use crate::regions::Region;
use crate::{ool, probe};

/// `VM_PROT_READ` and `VM_PROT_WRITE`.
const READ: i32 = 1;
const WRITE: i32 = 2;

struct Shared {
    end: usize,
    entry: Name,
}

/// Ranges that were moved, by their starts.
static SHARED: ForkLock<BTreeMap<usize, Shared>> = ForkLock::new(BTreeMap::new());
/// Whether there were ever any.
static ANY: AtomicBool = AtomicBool::new(false);

fn overlapping(shared: &BTreeMap<usize, Shared>, start: usize, end: usize) -> Option<usize> {
    shared.range(..end).next_back().filter(|(_, range)| range.end > start).map(|(&at, _)| at)
}

/// One more reference to a right.
fn again(entry: Name) -> Result<Name, Code> {
    space()?.port_mod_refs(entry, RightKind::Send, 1)?;
    Ok(entry)
}

/// A right to the memory of a range of whole pages, which is shared from here on.
///
/// # Errors
/// `KERN_INVALID_ADDRESS`: not all of it is there. `KERN_PROTECTION_FAILURE`: it may not be read, or not written as `prot` asks. `KERN_NOT_SUPPORTED`: it is no
/// private memory, or part of what is shared.
pub(crate) fn entry(start: usize, size: usize, prot: i32) -> Result<Name, Code> {
    let end = start.checked_add(size).ok_or(Code::KERN_INVALID_ADDRESS)?;
    let mut shared = SHARED.lock();
    if let Some(at) = overlapping(&shared, start, end) {
        let range = &shared[&at];
        return if at == start && end <= range.end { again(range.entry) } else { Err(Code::KERN_NOT_SUPPORTED) };
    }
    let pieces = pieces(start, end)?;
    if pieces.iter().any(|piece| piece.prot & READ == 0 || prot & WRITE & !piece.prot != 0) {
        return Err(Code::KERN_PROTECTION_FAILURE);
    }
    let here = std::ptr::from_ref(&pieces) as usize;
    if pieces.iter().any(|piece| !piece.is_private_memory() || (piece.start..piece.end).contains(&here)) {
        return Err(Code::KERN_NOT_SUPPORTED);
    }
    let space = space()?;
    let (_, name, file) = space.region_create(size as u64, true)?;
    if let Err(code) = move_into(&file, start, &pieces) {
        let _ = space.port_deallocate(name);
        return Err(code);
    }
    let given = again(name)?;
    shared.insert(start, Shared { end, entry: name });
    ANY.store(true, Ordering::Release);
    Ok(given)
}

/// Makes a range shared memory, so that forked children share it. What is so already stays as it is.
pub(crate) fn share(start: usize, size: usize) -> Result<(), Code> {
    let pieces = pieces(start, start.checked_add(size).ok_or(Code::KERN_INVALID_ADDRESS)?)?;
    for piece in pieces.iter().filter(|piece| !piece.shared) {
        let entry = entry(piece.start, piece.end - piece.start, 0)?;
        // One reference stays with the range.
        let _ = space()?.port_deallocate(entry);
    }
    Ok(())
}

/// Whether any of a range is shared memory.
pub(crate) fn is_shared(start: usize, size: usize) -> Result<bool, Code> {
    if !ANY.load(Ordering::Acquire) {
        return Ok(false);
    }
    let pieces = pieces(start, start.checked_add(size).ok_or(Code::KERN_INVALID_ADDRESS)?)?;
    Ok(pieces.iter().any(|piece| piece.shared))
}

/// What is mapped there, cut to the range, without a gap.
fn pieces(start: usize, end: usize) -> Result<Vec<Region>, Code> {
    let mut pieces = Vec::new();
    let mut at = start;
    for region in Region::all().ok_or(Code::KERN_FAILURE)? {
        if region.end <= at || at >= end {
            continue;
        }
        if region.start > at {
            break;
        }
        let piece = Region { start: at, end: region.end.min(end), ..region };
        at = piece.end;
        pieces.push(piece);
    }
    if at >= end { Ok(pieces) } else { Err(Code::KERN_INVALID_ADDRESS) }
}

/// Copies the pieces into the file and maps it in their place.
fn move_into(file: &File, start: usize, pieces: &[Region]) -> Result<(), Code> {
    let page = ool::page();
    let offset = |at: usize| (at - start) as u64;
    for piece in pieces {
        for at in (piece.start..piece.end).step_by(page) {
            // SAFETY: a page that can be read, as the list of mappings says; the program does not unmap it while it shares it.
            let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, page) };
            // What was never written takes no memory.
            if bytes.iter().any(|&byte| byte != 0) {
                file.write_all_at(bytes, offset(at)).map_err(|_| Code::KERN_RESOURCE_SHORTAGE)?;
            }
        }
    }
    for piece in pieces {
        probe::forget(piece.start, piece.end);
        let (at, len, kind) = (piece.start as *mut libc::c_void, piece.end - piece.start, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: the same bytes at the same place; the program said that this memory is to be shared.
        let made = unsafe { libc::mmap(at, len, access(piece.prot), kind, file.as_raw_fd(), offset(piece.start) as libc::off_t) };
        if made == libc::MAP_FAILED {
            // What has moved so far is memory like before.
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        ool::disown(piece.start, piece.end);
    }
    Ok(())
}

/// A range is unmapped.
pub(crate) fn unmapped(start: usize, end: usize) {
    if !ANY.load(Ordering::Acquire) {
        return;
    }
    let mut gone = Vec::new();
    let mut shared = SHARED.lock();
    while let Some(at) = overlapping(&shared, start, end) {
        gone.extend(shared.remove(&at));
    }
    drop(shared);
    let Ok(space) = space() else { return };
    for range in gone {
        let _ = space.port_deallocate(range.entry);
    }
}

/// So that the child finds it in order.
pub(crate) fn before_fork() {
    SHARED.before_fork();
}

/// The names mean nothing in a child.
pub(crate) fn after_fork(child: bool) {
    SHARED.after_fork();
    if child {
        SHARED.lock().clear();
    }
}
