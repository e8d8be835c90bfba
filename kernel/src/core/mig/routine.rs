//! The form of a routine: what it is called on, what its request has, and who serves it.

use umach_abi::Code;

use super::super::Core;
use super::Call;
use super::reply::Reply;

/// What a routine is called on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// A task's control right, for its space (`KERN_INVALID_TASK` if it is something else).
    Space,
    /// A task's control right.
    Task,
    /// A task's control or name right.
    AnyTask,
    /// The host, by either right.
    Host,
    Clock,
    Semaphore,
}

/// A descriptor that a request has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    /// A send right, which may be null.
    Send,
    /// A send-once right, which may be null.
    SendOnce,
    /// A right of any kind.
    Right,
    /// Memory.
    Memory,
    /// An array of send rights.
    Sends,
}

impl Want {
    pub(super) const fn size(self) -> usize {
        match self {
            Want::Send | Want::SendOnce | Want::Right => 12,
            Want::Memory | Want::Sends => 16,
        }
    }
}

/// Serves a call.
pub(super) type Run = fn(&mut Core, &mut Call<'_>) -> Result<Reply, Code>;

/// A row of the table.
#[derive(Debug)]
pub(super) struct Routine {
    pub(super) id: i32,
    /// As XNU calls it: for tracers and readers.
    pub(super) name: &'static str,
    pub(super) target: Target,
    pub(super) wants: &'static [Want],
    /// Bytes of arguments behind the NDR record, the count of an array included.
    pub(super) fixed: usize,
    /// An array at the end: bytes of an element, and how many there can be.
    pub(super) array: Option<(usize, usize)>,
    /// Or what is answered instead.
    pub(super) run: Result<Run, Code>,
}

impl Routine {
    /// One whose arguments are `fixed` bytes.
    pub(super) const fn new(id: i32, name: &'static str, target: Target, fixed: usize, run: Run) -> Routine {
        Routine { id, name, target, wants: &[], fixed, array: None, run: Ok(run) }
    }
    /// One that exists in XNU and cannot be served.
    pub(super) const fn unserved(id: i32, name: &'static str) -> Routine {
        Routine { id, name, target: Target::Task, wants: &[], fixed: 0, array: None, run: Err(Code::KERN_NOT_SUPPORTED) }
    }
    /// One that XNU's kernel has no more.
    pub(super) const fn removed(id: i32, name: &'static str) -> Routine {
        Routine { run: Err(Code::MIG_BAD_ID), ..Routine::unserved(id, name) }
    }
    /// The same with descriptors.
    pub(super) const fn with(self, wants: &'static [Want]) -> Routine {
        Routine { wants, ..self }
    }
    /// The same with an array at the end.
    pub(super) const fn and_array(self, element: usize, most: usize) -> Routine {
        Routine { array: Some((element, most)), ..self }
    }
    pub(super) fn has_arguments(&self) -> bool {
        self.fixed > 0
    }
}
