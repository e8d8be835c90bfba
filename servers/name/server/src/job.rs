//! A job: a command that the name server starts, and the services that its process serves.
//!
//! Jobs come from two sources, the configuration and tasks (`NameSpace::create_server`), and are the same thing from then on; what differs is who says that
//! a job exists, and that is the registry's affair.
//!
//! The port of a service is made once and lives as long as the service. Its receive right is either *held* here, while nobody serves the name, or *out*, with
//! the task that checked in; a port-destroyed request on it brings it back when that task drops it or dies, with all messages that were not
//! received yet. So a sender never notices a restart.
//!
//! ```text
//!                     message waiting                 check in
//!        held, listened to ------> held, child started ------> out
//!          ^        ^                   | died, or took too long |
//!          |        '---- delay over ---' (child killed)         | dropped, or its task died
//!          '-----------------------------------------------------'
//! ```
//!
//! A job that is not *on demand* is started with its first message like any other, and from then on again whenever it has ended: as soon as all its services
//! are held, without waiting for a message.
//!
//! Readiness of a port is a level, not an edge: a held port with a message would wake the server at once, again and again. Invariant: a
//! held port is *listened to* exactly while a message on it could start or hurry something (`Job::wants_to_listen`); every
//! change of state goes through [`Job::settle`], which compares that with what the server was told last.
//!
//! Time is passed in, as the time since the server started.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use umach_name_api::protocol::Kind;

use crate::config::{Backoff, JobConfig};

/// A service of a job. No id is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u64);

/// The task that did something, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Who {
    /// Task id.
    pub task: u64,
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What the server should do about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Spawn its command and report [`Job::started`] or [`Job::start_failed`].
    Start,
    /// Kill its child. The death is reported as any other.
    Kill,
    /// Report messages that wait on the held port of this service ([`Job::demanded`]).
    Listen(ServiceId),
    /// Do not, for now.
    Ignore(ServiceId),
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
struct Service<R> {
    port: Port<R>,
    /// Somebody waits for it: the child must have checked it in by then.
    check_in_by: Option<Duration>,
    listening: bool,
}

#[derive(Debug)]
struct Child {
    task: u64,
    pid: u32,
    since: Duration,
    checked_in: bool,
    /// What it was killed for.
    killed: Option<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Late,
    JobEnded,
}

/// How many tasks that check in during a start are remembered.
const EARLY: usize = 16;

/// One job. `R` is the receive right of a service.
#[derive(Debug)]
pub struct Job<R> {
    /// What to start, and how.
    pub config: JobConfig,
    services: BTreeMap<ServiceId, Service<R>>,
    child: Option<Child>,
    /// A start was asked for and not reported yet: the tasks that have checked in since. The child can be quicker than the report.
    starting: Option<VecDeque<u64>>,
    /// The child, started again without a message, must have checked something in by then.
    check_in_by: Option<Duration>,
    /// No start before.
    not_before: Option<Duration>,
    /// Endings in a row that count as failures.
    failures: u32,
    /// A process of it ran, or a service of it was served.
    begun: bool,
    ended: bool,
    detail: String,
}

impl<R> Job<R> {
    /// A job that is not running and has no services yet.
    pub fn new(config: JobConfig) -> Job<R> {
        Job {
            config,
            services: BTreeMap::new(),
            child: None,
            starting: None,
            check_in_by: None,
            not_before: None,
            failures: 0,
            begun: false,
            ended: false,
            detail: String::new(),
        }
    }
    /// Adds a service, with its receive right.
    pub fn add(&mut self, id: ServiceId, receive: R, steps: &mut Vec<Step>) {
        self.services.insert(id, Service { port: Port::Held(receive), check_in_by: None, listening: false });
        self.settle(steps);
    }
    /// Takes a service away; its receive right goes with it if it is held.
    pub fn remove(&mut self, id: ServiceId, steps: &mut Vec<Step>) {
        self.services.remove(&id);
        self.settle(steps);
    }
    /// Its services.
    pub fn services(&self) -> impl Iterator<Item = ServiceId> + '_ {
        self.services.keys().copied()
    }
    /// A service's receive right, while it is held.
    pub fn held(&self, id: ServiceId) -> Option<&R> {
        match &self.services.get(&id)?.port {
            Port::Held(right) => Some(right),
            Port::Out(_) => None,
        }
    }
    /// Who has a service's receive right, while it is out.
    pub fn server(&self, id: ServiceId) -> Option<Who> {
        match self.services.get(&id)?.port {
            Port::Held(_) => None,
            Port::Out(who) => Some(who),
        }
    }
    /// A process of it runs, or a service of it is served.
    pub fn is_active(&self) -> bool {
        self.is_running() || self.services.values().any(|service| matches!(service.port, Port::Out(_)))
    }
    /// Whether a process of it runs, or will in a moment.
    pub fn is_running(&self) -> bool {
        self.starting.is_some() || self.child.is_some()
    }
    /// Whether it has ever been active and has something to be active for.
    pub fn is_useful(&self) -> bool {
        self.begun && !self.services.is_empty()
    }
    /// What to say of a service in lists: the kind, the pid, and the detail.
    pub fn describe(&self, id: ServiceId, now: Duration) -> (Kind, u32, String) {
        match (self.server(id), &self.child, self.not_before) {
            (Some(who), ..) => (Kind::Active, who.pid, String::new()),
            (None, Some(child), _) if !child.checked_in => (Kind::Starting, child.pid, self.detail.clone()),
            (None, None, _) if self.starting.is_some() => (Kind::Starting, 0, self.detail.clone()),
            (None, _, Some(at)) => {
                let detail = format!("{}; next start in {:?} at the earliest", self.detail, round(at.saturating_sub(now)));
                (Kind::BackingOff, 0, detail)
            }
            (None, ..) => (Kind::OnDemand, 0, self.detail.clone()),
        }
    }
    /// A message waits on a service's held port.
    pub fn demanded(&mut self, id: ServiceId, now: Duration, steps: &mut Vec<Step>) {
        let wanted = self.services.get(&id).is_some_and(|service| self.wants_to_listen(service));
        if let Some(service) = self.services.get_mut(&id).filter(|_| wanted) {
            // From here on something is under way, with a deadline.
            service.check_in_by = Some(now + self.config.check_in_within);
            self.start(steps);
        }
        self.settle(steps);
    }
    /// The command was spawned as task `task`.
    pub fn started(&mut self, task: u64, pid: u32, now: Duration, steps: &mut Vec<Step>) {
        let checked_in = self.starting.take().is_some_and(|early| early.contains(&task));
        self.begun = true;
        self.child = Some(Child { task, pid, since: now, checked_in, killed: None });
        let by = now + self.config.check_in_within;
        let awaited = self.services.values_mut().filter_map(|service| service.check_in_by.as_mut());
        if awaited.map(|deadline| *deadline = by).count() == 0 && !checked_in {
            self.check_in_by = Some(by);
        }
        if self.ended {
            self.kill(Reason::JobEnded, steps);
        }
        self.settle(steps);
    }
    /// The command could not be spawned.
    pub fn start_failed(&mut self, why: String, now: Duration, steps: &mut Vec<Step>) {
        self.starting = None;
        self.forget_deadlines();
        self.detail = why;
        self.fail(now);
        self.settle(steps);
    }
    /// Hands a service's receive right to `who`. `Err` says who has it already.
    pub fn check_in(&mut self, id: ServiceId, who: Who, steps: &mut Vec<Step>) -> Result<R, Who> {
        let service = self.services.get_mut(&id).expect("the registry knows which services there are");
        let right = match std::mem::replace(&mut service.port, Port::Out(who)) {
            Port::Held(right) => right,
            Port::Out(server) => {
                service.port = Port::Out(server);
                return Err(server);
            }
        };
        service.check_in_by = None;
        self.check_in_by = None;
        self.begun = true;
        if let Some(child) = self.child.as_mut().filter(|child| child.task == who.task) {
            child.checked_in = true;
        }
        if let Some(early) = &mut self.starting {
            if early.len() == EARLY {
                early.pop_front();
            }
            early.push_back(who.task);
        }
        self.settle(steps);
        Ok(right)
    }
    /// A service's receive right came back.
    pub fn returned(&mut self, id: ServiceId, right: R, steps: &mut Vec<Step>) {
        if let Some(service) = self.services.get_mut(&id) {
            service.port = Port::Held(right);
        }
        self.settle(steps);
    }
    /// The child is dead and reaped.
    pub fn child_ended(&mut self, ending: Ending, now: Duration, steps: &mut Vec<Step>) {
        let Some(child) = self.child.take() else { return };
        self.forget_deadlines();
        let late = match child.killed {
            Some(Reason::Late) => format!(" after it did not check in within {:?}", self.config.check_in_within),
            Some(Reason::JobEnded) | None => String::new(),
        };
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
    /// The job is over: no service is left, nothing is started any more, and a process that runs is killed.
    pub fn end(&mut self, steps: &mut Vec<Step>) {
        self.ended = true;
        self.services.clear();
        self.kill(Reason::JobEnded, steps);
    }
    /// When [`Job::tick`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let services = self.services.values().filter_map(|service| service.check_in_by);
        services.chain(self.check_in_by).chain(self.not_before).min()
    }
    /// Time has passed.
    pub fn tick(&mut self, now: Duration, steps: &mut Vec<Step>) {
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
        }
        let deadlines = self.services.values().filter_map(|service| service.check_in_by).chain(self.check_in_by);
        if deadlines.min().is_some_and(|at| at <= now) {
            self.forget_deadlines();
            self.kill(Reason::Late, steps);
        }
        self.settle(steps);
    }
    /// Whether a message on the port should be reported now.
    fn wants_to_listen(&self, service: &Service<R>) -> bool {
        let dying = self.child.as_ref().is_some_and(|child| child.killed.is_some());
        matches!(service.port, Port::Held(_)) && service.check_in_by.is_none() && self.not_before.is_none() && !dying
    }
    /// Whether to start it without waiting for a message.
    fn wants_to_run(&self) -> bool {
        let all_held = self.services.values().all(|service| matches!(service.port, Port::Held(_)));
        !self.config.on_demand && !self.ended && self.is_useful() && self.not_before.is_none() && all_held
    }
    /// Tells the server what has changed. A right that is out cannot be listened to; it left the set when it moved.
    fn settle(&mut self, steps: &mut Vec<Step>) {
        if self.wants_to_run() {
            self.start(steps);
        }
        let wanted: Vec<bool> = self.services.values().map(|service| self.wants_to_listen(service)).collect();
        for ((id, service), wanted) in self.services.iter_mut().zip(wanted) {
            if wanted && !service.listening {
                steps.push(Step::Listen(*id));
            } else if !wanted && service.listening && matches!(service.port, Port::Held(_)) {
                steps.push(Step::Ignore(*id));
            }
            service.listening = wanted;
        }
    }
    fn start(&mut self, steps: &mut Vec<Step>) {
        if !self.is_running() {
            self.starting = Some(VecDeque::new());
            steps.push(Step::Start);
        }
    }
    fn kill(&mut self, reason: Reason, steps: &mut Vec<Step>) {
        if let Some(child) = self.child.as_mut().filter(|child| child.killed.is_none()) {
            child.killed = Some(reason);
            steps.push(Step::Kill);
        }
    }
    fn forget_deadlines(&mut self) {
        self.check_in_by = None;
        self.services.values_mut().for_each(|service| service.check_in_by = None);
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
#[path = "job_tests.rs"]
mod tests;
