//! A declared service: who has its receive right, whether a process runs for it, and when the next may start.
//!
//! The port of a declared service is made once, when the name server starts, and never dies while it lives. The receive right is either
//! *held* here, while nobody serves the name, or *out*, with the task that checked in; a port-destroyed request on it brings it back
//! when that task drops it or dies, with all messages that were not received yet. So a sender never notices a restart.
//!
//! ```text
//!                     message waiting                 check in
//!        held, listened to ------> held, child started ------> out
//!          ^        ^                   | died, or took too long |
//!          |        '---- delay over ---' (child killed)         | dropped, or its task died
//!          '-----------------------------------------------------'
//! ```
//!
//! Readiness of a port is a level, not an edge: a held port with a message would wake the server at once, again and again. Invariant: a
//! held port is *listened to* exactly while a message on it could start or hurry something (`Service::wants_to_listen`); every
//! change of state goes through [`Service::settle`], which compares that with what the server was told last.
//!
//! Time is passed in, as the time since the server started.

use std::time::Duration;

use umach_name_api::protocol::Kind;

use crate::config::{Backoff, ServiceConfig};

/// The task that did something, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Who {
    /// Task id.
    pub task: u64,
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
}

/// What the server should do about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Spawn its command and report [`Service::started`] or [`Service::start_failed`].
    Start,
    /// Kill its child. The death is reported as any other.
    Kill,
    /// Report messages that wait on the held port ([`Service::demanded`]).
    Listen,
    /// Do not, for now.
    Ignore,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// It exited with status 0.
    pub clean: bool,
    /// For people: "exited with status 1".
    pub how: String,
}

#[derive(Debug)]
enum Port<R> {
    Held(R),
    Out(Who),
}

#[derive(Debug)]
struct Child {
    task: u64,
    pid: u32,
    since: Duration,
    checked_in: bool,
    killed: bool,
}

/// One declared service. `R` is its receive right.
#[derive(Debug)]
pub struct Service<R> {
    /// Its section of the configuration.
    pub config: ServiceConfig,
    port: Port<R>,
    child: Option<Child>,
    /// The child must have checked in by then.
    check_in_by: Option<Duration>,
    /// No start before.
    not_before: Option<Duration>,
    /// Endings in a row that count as failures.
    failures: u32,
    listening: bool,
    detail: String,
}

impl<R> Service<R> {
    /// A service that is not running. [`Service::settle`] gives its first step.
    pub fn new(config: ServiceConfig, receive: R) -> Service<R> {
        Service {
            config,
            port: Port::Held(receive),
            child: None,
            check_in_by: None,
            not_before: None,
            failures: 0,
            listening: false,
            detail: String::new(),
        }
    }
    /// The receive right, while it is held.
    pub fn held(&self) -> Option<&R> {
        match &self.port {
            Port::Held(right) => Some(right),
            Port::Out(_) => None,
        }
    }
    /// Who has the receive right, while it is out.
    pub fn server(&self) -> Option<Who> {
        match &self.port {
            Port::Held(_) => None,
            Port::Out(who) => Some(*who),
        }
    }
    /// What to say in lists: the kind, the pid, and the detail.
    pub fn describe(&self, now: Duration) -> (Kind, u32, String) {
        match (&self.port, &self.child, self.not_before) {
            (Port::Out(who), ..) => (Kind::Active, who.pid, String::new()),
            (Port::Held(_), Some(child), _) if !child.checked_in => (Kind::Starting, child.pid, self.detail.clone()),
            (Port::Held(_), _, Some(at)) => {
                let detail = format!("{}; next start in {:?} at the earliest", self.detail, round(at.saturating_sub(now)));
                (Kind::BackingOff, 0, detail)
            }
            (Port::Held(_), ..) => (Kind::OnDemand, 0, self.detail.clone()),
        }
    }
    /// A message waits on the held port.
    pub fn demanded(&mut self, now: Duration, steps: &mut Vec<Step>) {
        if self.wants_to_listen() {
            // From here on something is under way, with a deadline.
            self.check_in_by = Some(now + self.config.check_in_within);
            if self.child.is_none() {
                steps.push(Step::Start);
            }
        }
        self.settle(steps);
    }
    /// The command was spawned as task `task`.
    pub fn started(&mut self, task: u64, pid: u32, now: Duration, steps: &mut Vec<Step>) {
        self.child = Some(Child { task, pid, since: now, checked_in: false, killed: false });
        self.check_in_by = Some(now + self.config.check_in_within);
        self.settle(steps);
    }
    /// The command could not be spawned.
    pub fn start_failed(&mut self, why: String, now: Duration, steps: &mut Vec<Step>) {
        self.check_in_by = None;
        self.detail = why;
        self.fail(now);
        self.settle(steps);
    }
    /// Hands the receive right to `who`. `Err` says who has it already.
    pub fn check_in(&mut self, who: Who, steps: &mut Vec<Step>) -> Result<R, Who> {
        let right = match std::mem::replace(&mut self.port, Port::Out(who)) {
            Port::Held(right) => right,
            Port::Out(server) => {
                self.port = Port::Out(server);
                return Err(server);
            }
        };
        self.check_in_by = None;
        if let Some(child) = self.child.as_mut().filter(|child| child.task == who.task) {
            child.checked_in = true;
        }
        self.settle(steps);
        Ok(right)
    }
    /// The receive right came back.
    pub fn returned(&mut self, right: R, steps: &mut Vec<Step>) {
        self.port = Port::Held(right);
        self.settle(steps);
    }
    /// The child is dead and reaped.
    pub fn child_ended(&mut self, ending: Ending, now: Duration, steps: &mut Vec<Step>) {
        let Some(child) = self.child.take() else { return };
        self.check_in_by = None;
        let late =
            if child.killed { format!(" after it did not check in within {:?}", self.config.check_in_within) } else { String::new() };
        self.detail = format!("process {} {}{late}", child.pid, ending.how);
        let ran = now.saturating_sub(child.since);
        if child.checked_in && ran >= self.config.backoff.healthy_after {
            self.failures = 0;
            self.not_before = None;
        } else if child.checked_in && ending.clean {
            // It did some work and left on purpose: the pace is limited, the delay does not grow.
            self.failures = 0;
            self.not_before = Some(now + self.config.backoff.first);
        } else {
            self.fail(now);
        }
        self.settle(steps);
    }
    /// When [`Service::tick`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        [self.check_in_by, self.not_before].into_iter().flatten().min()
    }
    /// Time has passed.
    pub fn tick(&mut self, now: Duration, steps: &mut Vec<Step>) {
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
        }
        if self.check_in_by.is_some_and(|at| at <= now) {
            self.check_in_by = None;
            if let Some(child) = self.child.as_mut().filter(|child| !child.killed) {
                child.killed = true;
                steps.push(Step::Kill);
            }
        }
        self.settle(steps);
    }
    /// Whether a message on the port should be reported now.
    fn wants_to_listen(&self) -> bool {
        let dying = self.child.as_ref().is_some_and(|child| child.killed);
        matches!(self.port, Port::Held(_)) && self.check_in_by.is_none() && self.not_before.is_none() && !dying
    }
    /// Tells the server if it should listen or no longer. A right that is out cannot be listened to; it left the set when it moved.
    pub fn settle(&mut self, steps: &mut Vec<Step>) {
        let wanted = self.wants_to_listen();
        if wanted && !self.listening {
            steps.push(Step::Listen);
        } else if !wanted && self.listening && matches!(self.port, Port::Held(_)) {
            steps.push(Step::Ignore);
        }
        self.listening = wanted;
    }
    fn fail(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + delay(&self.config.backoff, self.failures));
    }
}

/// The delay after the n-th failure in a row: doubling from `first`, capped at `max`.
pub fn delay(backoff: &Backoff, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    backoff.first.saturating_mul(1 << doublings).min(backoff.max)
}

/// Cuts what nobody reads.
fn round(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
