//! Exception ports of single threads, which are told before the task's.
//!
//! They are this library's own: it knows in which thread a fault is, and the kernel process does not. A fault's handler reads them, so they are words in memory that is
//! never freed, found by the number that Linux gave the thread.

use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use libtask::raw::ExceptionRow;
use libtask::{Code, Name, RightKind};
use umach_abi::exception::{KINDS, check_behavior, check_mask, kinds};

use crate::fork::ForkLock;
use crate::process::space;

/// Who is told, and how; packed into one word, 0 for nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Handler {
    /// A send right, one reference for each row that has it.
    pub(super) port: Name,
    pub(super) behavior: u32,
    pub(super) flavor: u32,
}

impl Handler {
    /// Flags of a behaviour are its upper three bits.
    fn to_word(self) -> u64 {
        let behavior = u64::from(self.behavior & 7 | self.behavior >> 29 << 3);
        u64::from(self.port.0) | behavior << 32 | u64::from(self.flavor) << 40
    }
    fn from_word(word: u64) -> Handler {
        let behavior = (word >> 32) as u32;
        Handler { port: Name(word as u32), behavior: behavior & 7 | (behavior >> 3 & 7) << 29, flavor: (word >> 40) as u32 }
    }
}

/// A thread's, or free if its number is 0.
struct Ports {
    tid: AtomicI32,
    rows: [AtomicU64; KINDS as usize],
    next: *const Ports,
}

/// The one that was made last; each is there for good.
static ALL: AtomicPtr<Ports> = AtomicPtr::new(ptr::null_mut());
/// Held by who changes anything.
static CHANGING: ForkLock<()> = ForkLock::new(());

fn all() -> impl Iterator<Item = &'static Ports> {
    let mut at = ALL.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: null or a leaked box.
        let ports = unsafe { at.as_ref() }?;
        at = ports.next;
        Some(ports)
    })
}

fn find(tid: i32) -> Option<&'static Ports> {
    all().find(|ports| ports.tid.load(Ordering::Acquire) == tid)
}

/// Who is told of faults of this kind in a thread. To be asked anywhere.
pub(super) fn handler(tid: i32, kind: u32) -> Option<Handler> {
    let row = find(tid)?.rows.get(kind as usize)?;
    Some(Handler::from_word(row.load(Ordering::Acquire))).filter(|handler| handler.port.is_valid())
}

/// The one of a thread, made if there is none; for who holds `CHANGING`.
fn made(tid: i32) -> &'static Ports {
    if let Some(ports) = find(tid).or_else(|| find(0)) {
        ports.tid.store(tid, Ordering::Release);
        return ports;
    }
    let next = ALL.load(Ordering::Relaxed);
    let ports = Box::leak(Box::new(Ports { tid: AtomicI32::new(tid), rows: Default::default(), next }));
    ALL.store(ptr::from_mut(ports), Ordering::Release);
    ports
}

fn references(port: Name, count: i32) -> Result<(), Code> {
    if port.is_valid() { space()?.port_mod_refs(port, RightKind::Send, count) } else { Ok(()) }
}

/// Those that are alike are told as one, with a reference each.
pub(super) fn get(tid: i32, mask: u32) -> Result<Vec<ExceptionRow>, Code> {
    check_mask(mask)?;
    let _one = CHANGING.lock();
    Ok(rows(tid, mask))
}

fn rows(tid: i32, mask: u32) -> Vec<ExceptionRow> {
    let ports = find(tid);
    let mut rows: Vec<ExceptionRow> = Vec::new();
    for kind in kinds(mask) {
        let word = ports.map_or(0, |ports| ports.rows[kind].load(Ordering::Relaxed));
        let Handler { port, behavior, flavor } = Handler::from_word(word);
        match rows.iter_mut().find(|row| (row.port, row.behavior, row.flavor) == (port, behavior, flavor)) {
            Some(row) => row.mask |= 1 << kind,
            None => rows.push(ExceptionRow { mask: 1 << kind, port, behavior, flavor }),
        }
    }
    // A right that is dead by now has a name all the same.
    for row in &rows {
        let _ = references(row.port, 1);
    }
    rows
}

/// What was there before is given, with references.
pub(super) fn swap(tid: i32, mask: u32, new: Handler, give: bool) -> Result<Vec<ExceptionRow>, Code> {
    check_mask(mask)?;
    if new.port.is_valid() {
        check_behavior(new.behavior)?;
    }
    if new.port == Name::DEAD {
        return Err(Code::KERN_INVALID_CAPABILITY);
    }
    let _one = CHANGING.lock();
    references(new.port, kinds(mask).count() as i32)?;
    let before = if give { rows(tid, mask) } else { Vec::new() };
    let ports = made(tid);
    let word = if new.port.is_valid() { new.to_word() } else { 0 };
    for kind in kinds(mask) {
        let old = Handler::from_word(ports.rows[kind].swap(word, Ordering::AcqRel));
        let _ = references(old.port, -1);
    }
    Ok(before)
}

/// The thread has ended.
pub(crate) fn end(tid: i32) {
    let _one = CHANGING.lock();
    if let Some(ports) = find(tid) {
        for row in &ports.rows {
            let _ = references(Handler::from_word(row.swap(0, Ordering::AcqRel)).port, -1);
        }
        ports.tid.store(0, Ordering::Release);
    }
}

pub(crate) fn before_fork() {
    CHANGING.before_fork();
}

/// In the child the names mean nothing.
pub(crate) fn after_fork(child: bool) {
    CHANGING.after_fork();
    if child {
        for ports in all() {
            ports.rows.iter().for_each(|row| row.store(0, Ordering::Relaxed));
            ports.tid.store(0, Ordering::Relaxed);
        }
    }
}
