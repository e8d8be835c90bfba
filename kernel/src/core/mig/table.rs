//! Which routines there are: number, name, form and whether they are served.

use super::routine::Routine;
use super::{clock, host, ports, semaphores, tasks};

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
