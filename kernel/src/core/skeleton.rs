//! Temporary signatures.
#![allow(unused_variables, missing_docs)]
use super::*;
use umach_abi::control::{Head, Request};
use umach_abi::{Code, Features};

#[derive(Debug, Clone, Copy)]
pub struct Config { pub pid: u32, pub features: Features, pub limits: Limits }
#[derive(Debug)]
pub struct Core { _config: Config }
impl Core {
    pub fn new(config: Config) -> Core { Core { _config: config } }
    /// A peer connected at the listening socket (or is a private kernel's first task): makes a task and its first lane.
    /// `trusted`: may have the host's control right.
    pub fn connect(&mut self, peer: Peer, trusted: bool) -> Result<LaneId, Code> { unimplemented!() }
    /// The first packet on the first lane of a task made by TaskCreate came from this process.
    pub fn identify(&mut self, lane: LaneId, peer: Peer) { unimplemented!() }
    /// A decoded request. On a violation the shell logs and calls `end_task`.
    pub fn request(&mut self, lane: LaneId, head: Head, request: &Request<'_>, effects: &mut Effects) -> Result<(), Violation> { unimplemented!() }
    /// The far end of this lane is closed. If it was the task's first lane, the task ends.
    pub fn hang_up(&mut self, lane: LaneId, effects: &mut Effects) { unimplemented!() }
    /// The task's process is dead (pidfd), or it broke the protocol.
    pub fn end_task(&mut self, task: TaskId, effects: &mut Effects) { unimplemented!() }
    /// `attach` of the answer for `lane` could not be made: the shell must NOT send that answer; the core undoes and answers with KERN_RESOURCE_SHORTAGE.
    pub fn attach_failed(&mut self, lane: LaneId, attach: Attach, effects: &mut Effects) { unimplemented!() }
    /// Result of `Effect::CheckSeals`.
    pub fn seals_checked(&mut self, region: RegionId, sealed: bool, effects: &mut Effects) { unimplemented!() }
    /// Does at most `budget` pieces of outstanding teardown; true if more is left (call again soon, between requests).
    pub fn work(&mut self, budget: usize, effects: &mut Effects) -> bool { unimplemented!() }
    pub fn task_of(&self, lane: LaneId) -> Option<TaskId> { unimplemented!() }
    /// Tasks alive (for a private kernel that ends with its last task).
    pub fn tasks(&self) -> usize { unimplemented!() }
    /// Whole-state invariants; Err says which is broken.
    pub fn check(&self) -> Result<(), String> { unimplemented!() }
}
