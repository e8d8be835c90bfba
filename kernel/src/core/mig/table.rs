//! Which routines there are: number, name, form and whether they are served.

use super::super::Core;
use super::reply::Reply;
use super::{Call, clock, host, ports, semaphores, tasks};
use umach_abi::Code;

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

/// The subsystems, each from its first routine on.
pub(super) const SUBSYSTEMS: &[&[Routine]] = &[host::ROUTINES, clock::ROUTINES, ports::ROUTINES, tasks::ROUTINES, semaphores::ROUTINES];

/// Subsystems of XNU's of which nothing can be served: they are about memory, threads and devices that the kernel process does not see.
const UNSERVED: &[(i32, i32)] = &[
    (400, 26),  // host_priv
    (600, 2),   // host_security
    (3600, 31), // thread_act
    (3800, 33), // vm_map
    (4800, 29), // mach_vm
    (4900, 5),  // memory_entry
    (5400, 8),  // mach_voucher
];

static NOT_SERVED: Routine = Routine::unserved(0, "");

/// The routine with this id.
pub(super) fn find(id: i32) -> Option<&'static Routine> {
    for routines in SUBSYSTEMS {
        let at = id.checked_sub(routines[0].id).and_then(|at| usize::try_from(at).ok());
        if let Some(routine) = at.and_then(|at| routines.get(at)) {
            return Some(routine);
        }
    }
    UNSERVED.iter().any(|&(first, count)| (first..first + count).contains(&id)).then_some(&NOT_SERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positions_and_are_found() {
        for routines in SUBSYSTEMS {
            for (at, routine) in routines.iter().enumerate() {
                assert_eq!(routine.id, routines[0].id + at as i32, "{}", routine.name);
                assert_eq!(find(routine.id).map(|found| found.name), Some(routine.name));
                assert!(!routine.name.is_empty());
            }
        }
        for (id, found) in [(199, false), (235, false), (3243, false), (3800, true), (i32::MIN, false), (i32::MAX, false)] {
            assert_eq!(find(id).is_some(), found, "{id}");
        }
    }

    #[test]
    fn arrays_have_a_count_before_them() {
        let all = SUBSYSTEMS.iter().flat_map(|routines| routines.iter());
        for routine in all.filter(|routine| routine.array.is_some()) {
            assert!(routine.fixed >= 4, "{}", routine.name);
        }
    }
}
