//! A task for the child of a fork: made before it by the parent, taken over after it by the child.
//!
//! As in XNU the child's space is a new one, with copies of the special and registered ports and nothing else. What the parent's handles stand for
//! is not the child's: they answer with [`Error::Forked`] there.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::MutexGuard;

use crate::connect;
use crate::control::TaskControl;
use crate::error::{Error, Result};
use crate::sys;
use crate::task::Task;
use crate::transport::Attached;

/// A task that waits for its process. One of the two calls must follow in each process, and nothing else of this library before it.
#[derive(Debug)]
pub struct ChildOfFork {
    lane: OwnedFd,
    control: TaskControl,
    /// So that no other thread holds it when the process is copied.
    current: MutexGuard<'static, Option<Task>>,
}

impl Task {
    /// Makes a task for the child of a fork that is about to happen. It inherits the special and registered ports of this one.
    pub fn before_fork(&self) -> Result<ChildOfFork> {
        let label = self.label().unwrap_or_default();
        let (control, lane) = self.create_task(&label, true)?;
        let Attached::Fd(lane) = lane else {
            return Err(Error::mach(umach_abi::Code::KERN_NOT_SUPPORTED, "forking a task of an in-process kernel"));
        };
        let lane = sys::process::above_standard(lane).map_err(|e| Error::io("moving a new task's lane", e))?;
        Ok(ChildOfFork { lane, control, current: connect::hold_current() })
    }
}

impl ChildOfFork {
    /// In the child: becomes that task, which is also what [`Task::current`] gives from then on.
    pub fn in_child(self) -> Result<Task> {
        let ChildOfFork { lane, control, mut current } = self;
        // The control right is the parent's, and so is what the parent's handles hold.
        mem::forget(control);
        mem::forget(current.take());
        let task = Task::from_lane(lane)?;
        *current = Some(task.clone());
        Ok(task)
    }
    /// In the parent. If there is no child, its task ends with its lane.
    pub fn in_parent(self) {}
}
