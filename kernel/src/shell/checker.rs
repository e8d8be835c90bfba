//! The whole-state checker, run between requests. A look at everything costs as much as there is, so a large state is looked at less often:
//! checks take a fifth of the time at most, except that short ones are always made.

use std::time::{Duration, Instant};

use crate::core::Core;

/// Checks shorter than this follow every request.
const SHORT: Duration = Duration::from_micros(50);

/// Decides when to look.
#[derive(Debug)]
pub(crate) struct Checker {
    on: bool,
    last: Option<(Instant, Duration)>,
}

impl Checker {
    /// On in debug builds, and wherever `UMACH_CHECK=1`; `UMACH_CHECK=0` turns it off.
    pub(crate) fn from_environment() -> Checker {
        let on = match std::env::var_os("UMACH_CHECK") {
            Some(value) => value == "1",
            None => cfg!(debug_assertions),
        };
        Checker { on, last: None }
    }

    /// After a request. A broken invariant is our bug, and going on would hand rights to the wrong tasks.
    #[inline]
    pub(crate) fn look(&mut self, core: &Core) {
        if self.on {
            self.look_now_and_then(core);
        }
    }

    fn look_now_and_then(&mut self, core: &Core) {
        let start = Instant::now();
        if self.last.is_some_and(|(end, took)| took > SHORT && start.duration_since(end) < took * 4) {
            return;
        }
        if let Err(broken) = core.check() {
            panic!("an invariant of the kernel's state is broken: {broken}");
        }
        let end = Instant::now();
        self.last = Some((end, end.duration_since(start)));
    }
}
