//! The harness of the tests that look at umach from outside, and the table of what they hold.
//!
//! A conformance test is a function of a [`World`]: a kernel of its own, fresh tasks on demand, and the certainty that nothing is left at the
//! end. [`world_tests!`] makes one `#[test]` of it per [`Mode`], so that the very same function checks the in-process kernel, the kernel
//! process. `UMACH_TEST_MODE=local` (or `process`) runs one mode only. Whether tasks send to each other directly is what `UMACH_DIRECT` says, which
//! every kernel reads: `cargo xtask test` runs everything with several values of it.
//!
//! Invariants of every test run through [`run`]:
//!
//! 1. Nothing waits without a deadline: the test as a whole has [`DEADLINE`], receives have [`SOON`].
//! 2. The kernel belongs to the test alone, lives in a temporary directory if it is a process, and is ended by its own process id.
//! 3. When the test's tasks are gone, the host shows what it showed before: tasks, ports, sets, names, messages, regions, lanes and bytes;
//!    and the kernel process has as many descriptors as before.
//! 4. The kernel process ends in order, and its log shows no panic.
#![forbid(unsafe_code)]

mod chance;
pub mod crash;
pub mod kernel;
pub mod rows;
pub mod scenario;
pub mod world;

use std::time::{Duration, Instant};

pub use chance::Chance;
pub use rows::conformance_table;
pub use world::World;

/// Longest life of a test.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Milliseconds that a receive waits for what must come.
pub const SOON: u32 = 20_000;

/// Where a test runs: how messages are carried between its tasks. A new one is added here and in [`world_tests!`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel is in this process, and tasks are logical.
    Local,
    /// A private `umachd`; each task is a connection to its socket.
    Process,
}

impl Mode {
    /// All of them.
    pub const ALL: &[Mode] = &[Mode::Local, Mode::Process];

    /// As `UMACH_TEST_MODE` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Local => "local",
            Mode::Process => "process",
        }
    }

    fn is_wanted(self) -> bool {
        let Ok(wanted) = std::env::var("UMACH_TEST_MODE") else { return true };
        if wanted.is_empty() {
            return true;
        }
        let known: Vec<_> = Mode::ALL.iter().map(|mode| mode.name()).collect();
        for name in wanted.split(',') {
            assert!(known.contains(&name), "UMACH_TEST_MODE={wanted}: {name} is not one of {}", known.join(", "));
        }
        wanted.split(',').any(|name| name == self.name())
    }
}

/// Makes a test per mode of each function named, `<mode>::<function>`, and `TESTS`, the list of the functions' names.
///
/// A function that is not listed is never called, which the compiler reports.
#[macro_export]
macro_rules! world_tests {
    (@mode $module:ident $mode:ident $($test:ident)*) => {
        mod $module {
            $(#[test]
            fn $test() {
                $crate::run($crate::Mode::$mode, stringify!($test), super::$test);
            })*
        }
    };
    ($($test:ident),* $(,)?) => {
        pub(crate) const TESTS: &[&str] = &[$(stringify!($test)),*];
        $crate::world_tests!(@mode local Local $($test)*);
        $crate::world_tests!(@mode process Process $($test)*);
    };
}

/// Runs one test in one mode, and looks for what it left behind.
pub fn run(mode: Mode, name: &'static str, test: fn(&World)) {
    run_with(mode, &[], name, test);
}

/// The same on a kernel with limits of the test's own.
pub fn run_with(mode: Mode, limits: &[kernel::Limit], name: &'static str, test: fn(&World)) {
    if !mode.is_wanted() {
        eprintln!("{name}: left out, UMACH_TEST_MODE does not name {}", mode.name());
        return;
    }
    // A thread of its own, so that a test that hangs fails by name. The thread is then left to itself; the kernel process ends with this one's
    // handle on it.
    let world = World::start(mode, limits);
    let kernel = world.kernel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        test(&world);
        world.end();
    });
    let thread = thread.expect("start a thread for the test");
    let end = Instant::now() + DEADLINE;
    while !thread.is_finished() {
        if Instant::now() > end {
            kernel.kill();
            panic!("{name} ({}, {}) did not end within {} s", mode.name(), direct(), DEADLINE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Err(panic) = thread.join() {
        kernel.kill();
        eprintln!("{name} failed ({}, {})\n{}", mode.name(), direct(), kernel.log());
        std::panic::resume_unwind(panic);
    }
}

/// Whether tasks send to each other directly, as the kernels of the tests learn it.
fn direct() -> String {
    let chosen = std::env::var("UMACH_DIRECT").ok().filter(|mode| !mode.is_empty());
    chosen.map_or_else(|| "UMACH_DIRECT not set".to_owned(), |mode| format!("UMACH_DIRECT={mode}"))
}

/// Waits until `what` holds; fails by name if it never does.
#[track_caller]
pub fn eventually(name: &str, mut what: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_millis(SOON.into());
    while !what() {
        assert!(Instant::now() < end, "never happened: {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
