//! The in-process kernel: tasks without processes, for programs and tests that need no daemon.

pub use umach_kernel::core::{Direct, Limits};
use umach_kernel::local;

use crate::error::{Error, Result};
use crate::task::Task;
use crate::transport::Link;

/// A kernel in this process. Its tasks are logical: they share the process and nothing else, and every rule holds between them. It lives as
/// long as one of its tasks or this handle.
#[derive(Debug, Clone)]
pub struct LocalKernel {
    kernel: local::LocalKernel,
}

impl LocalKernel {
    /// A new kernel with the default limits.
    pub fn start() -> LocalKernel {
        LocalKernel::with_limits(Limits::default())
    }
    /// A new kernel with limits of one's own.
    pub fn with_limits(limits: Limits) -> LocalKernel {
        LocalKernel { kernel: local::LocalKernel::new(limits) }
    }
    /// The same, and when its tasks may send to each other directly, whatever the environment says.
    pub fn with_direct(limits: Limits, direct: Direct) -> LocalKernel {
        LocalKernel { kernel: local::LocalKernel::with_direct(limits, direct) }
    }
    /// A new task. It has no bootstrap port; [`Task::set_bootstrap`] gives it one.
    pub fn task(&self, label: &str) -> Result<Task> {
        let lane = self.kernel.connect().map_err(|code| Error::mach(code, "making a task"))?;
        let task = Task::hello(Link::Local(lane))?;
        task.set_label(label)?;
        Ok(task)
    }
    /// Tasks alive.
    pub fn tasks(&self) -> usize {
        self.kernel.tasks()
    }
    /// Checks all the kernel's invariants; `Err` says which is broken.
    pub fn check(&self) -> Result<(), String> {
        self.kernel.check()
    }
    /// Memory objects that exist.
    pub fn regions(&self) -> usize {
        self.kernel.regions()
    }
}

/// Runs `f` with a kernel of its own.
pub fn run_local<T>(f: impl FnOnce(&LocalKernel) -> T) -> T {
    f(&LocalKernel::start())
}
