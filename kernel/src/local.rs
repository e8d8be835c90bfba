//! The in-process kernel: the same core, the same packets, behind a mutex instead of a socket.
//!
//! A program or a test that needs no other process makes a [`LocalKernel`]; each logical task of it starts with the lane that
//! [`LocalKernel::connect`] gives and speaks the control protocol on it, byte for byte as it would on a socket:
//!
//! * [`LocalLane::send`] hands one request packet in and never blocks; the core has worked it off when it returns.
//! * [`LocalLane::receive`] waits for the one answer. Giving up is `Cancel`, as everywhere; then there is one answer still to read.
//! * Dropping a lane is hanging up; dropping a task's first lane ends the task.
//!
//! Theory: all threads enter through one mutex, so the core sees one transition at a time. What a transition wants done is done
//! before the mutex is released, except waking and dropping, which come after it. Each lane has a mailbox with room for its one answer.
//!
//! Lock order: `Shared::state`, then a `Mailbox`. Nothing that a caller owns is dropped while either is held, because dropping a lane takes
//! the first.
//!
//! Logical tasks share one process, so suspending and killing it makes no sense: `TaskTerminate` takes a task's rights and closes its lanes,
//! `TaskSuspend` only counts.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use umach_abi::control::Request;
use umach_abi::{Code, Features};

use crate::core::{Attach, Config, Core, Direct, Effect, Effects, LaneId, Limits, Peer, RegionId};
use crate::machine;
use crate::plane::{self, Plane};
use crate::shell::checker::Checker;
use crate::shell::objects;

/// Pieces of teardown done at the end of each call at most, so that dropping a huge task is spread over a few calls.
const WORK_PER_CALL: usize = 4096;

/// A kernel inside this process. Clones are the same kernel.
#[derive(Clone)]
pub struct LocalKernel {
    shared: Arc<Shared>,
}

/// One lane into a [`LocalKernel`], for one thread at a time (a `Cancel` may come from another).
pub struct LocalLane {
    id: LaneId,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
}

/// What came back for a request.
#[derive(Debug)]
pub struct Answer {
    /// The whole packet.
    pub packet: Vec<u8>,
    /// What came along, in order; as many as the packet's head says.
    pub attached: Vec<Attached>,
}

/// One thing attached to an answer. On a socket both are file descriptors.
#[derive(Debug)]
pub enum Attached {
    /// The memfd of a region, a link, an arena or an attention page, or a socket between two tasks.
    Fd(OwnedFd),
    /// A new lane (answers of `LaneOpen` and `TaskCreate`).
    Lane(LocalLane),
}

struct Shared {
    state: Mutex<State>,
    peer: Peer,
}

struct State {
    core: Core,
    lanes: HashMap<LaneId, Arc<Mailbox>>,
    regions: HashMap<RegionId, OwnedFd>,
    plane: Plane,
    effects: Effects,
    checker: Checker,
}

struct Mailbox {
    inside: Mutex<Inside>,
    wake: Condvar,
}

struct Inside {
    answer: Option<Answer>,
    closed: bool,
    /// Written to when there is an answer, or the lane is closed.
    bell: Option<OwnedFd>,
    /// First lane of a task made by `TaskCreate` that has sent nothing yet.
    embryo: bool,
}

impl LocalKernel {
    /// A new kernel with nobody in it. When its tasks may send to each other directly, the environment says (`UMACH_DIRECT`).
    pub fn new(limits: Limits) -> LocalKernel {
        let direct = Direct::from_environment().unwrap_or_else(|why| {
            tracing::warn!(why, "using the default");
            Direct::default()
        });
        LocalKernel::with_direct(limits, direct)
    }

    /// A new kernel whose tasks may send to each other directly when `direct` says.
    pub fn with_direct(limits: Limits, direct: Direct) -> LocalKernel {
        let pid = std::process::id();
        let peer = Peer { pid, uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
        let core = Core::new(Config { pid, features: Features::empty(), limits, direct, machine: machine::here() });
        let state = State {
            core,
            lanes: HashMap::new(),
            regions: HashMap::new(),
            plane: Plane::default(),
            effects: Effects::new(),
            checker: Checker::from_environment(),
        };
        LocalKernel { shared: Arc::new(Shared { state: Mutex::new(state), peer }) }
    }

    /// The first lane of a new task, which may ask for the host's control right. Fails when there are too many tasks.
    pub fn connect(&self) -> Result<LocalLane, Code> {
        let mut state = self.shared.state.lock();
        let id = state.core.connect(self.shared.peer, true)?;
        Ok(state.add_lane(&self.shared, id, false))
    }

    /// Tasks alive.
    pub fn tasks(&self) -> usize {
        self.shared.state.lock().core.tasks()
    }

    /// Region objects (memfds) that this kernel holds: a leak check for tests.
    pub fn regions(&self) -> usize {
        self.shared.state.lock().regions.len()
    }

    /// Links whose memory this kernel holds.
    pub fn links(&self) -> usize {
        self.shared.state.lock().plane.links()
    }

    /// Finishes all outstanding teardown and checks the whole state. `Err` says which invariant is broken.
    pub fn check(&self) -> Result<(), String> {
        let mut done = Done::default();
        let mut state = self.shared.state.lock();
        while state.work(&self.shared, &mut done) {}
        state.core.check()
        // The mutex is released before `done` is dropped: locals go in reverse order.
    }
}

impl LocalLane {
    /// Hands one request packet in. Never blocks. A packet that breaks the protocol ends the task, as on a socket: then, and on a lane
    /// that is closed already, later calls fail with `BrokenPipe`.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let mut done = Done::default();
        let mut state = self.shared.state.lock();
        let unread = {
            let mut inside = self.mailbox.inside.lock();
            if inside.closed {
                return Err(closed());
            }
            if std::mem::take(&mut inside.embryo) {
                state.core.identify(self.id, self.shared.peer);
            }
            inside.answer.is_some()
        };
        let mut effects = std::mem::take(&mut state.effects);
        let blame = match Request::decode(packet) {
            Ok((_, request)) if unread && !matches!(request, Request::Cancel(_)) => {
                Some("a request before the last answer was read".to_owned())
            }
            Ok((head, request)) => state.core.request(self.id, head, &request, &mut effects).err().map(|violation| violation.to_string()),
            Err(malformed) => Some(malformed.to_string()),
        };
        if let Some(why) = blame {
            tracing::warn!(lane = ?self.id, why, "protocol error ends a task");
            if let Some(task) = state.core.task_of(self.id) {
                state.core.end_task(task, &mut effects);
            }
        }
        state.execute(&self.shared, &mut effects, &mut done);
        state.effects = effects;
        state.work(&self.shared, &mut done);
        let State { core, checker, .. } = &mut *state;
        checker.look(core);
        drop(state);
        Ok(())
    }

    /// A descriptor that is readable once an answer has come or the lane was closed, as a lane's socket would be; reading it makes it wait for the next.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK)?;
        let mut inside = self.mailbox.inside.lock();
        inside.bell = Some(bell.try_clone()?);
        if inside.closed || inside.answer.is_some() {
            inside.ring();
        }
        Ok(bell)
    }

    /// Waits for the answer to the request in flight. `None`: `deadline` has passed, and the request goes on. Without a deadline, for
    /// ever. A closed lane fails with `BrokenPipe`.
    pub fn receive(&self, deadline: Option<Instant>) -> io::Result<Option<Answer>> {
        let mut inside = self.mailbox.inside.lock();
        loop {
            if let Some(answer) = inside.answer.take() {
                return Ok(Some(answer));
            }
            if inside.closed {
                return Err(closed());
            }
            match deadline {
                None => self.mailbox.wake.wait(&mut inside),
                Some(deadline) => {
                    let late = self.mailbox.wake.wait_until(&mut inside, deadline).timed_out();
                    if late && inside.answer.is_none() && !inside.closed {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl Inside {
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // It can only fail when it counts to the end of all numbers, and then it is readable.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the kernel closed this lane: its task has ended")
}

impl Drop for LocalLane {
    fn drop(&mut self) {
        let mut done = Done::default();
        let mut state = self.shared.state.lock();
        let mut effects = std::mem::take(&mut state.effects);
        if state.lanes.remove(&self.id).is_some() {
            state.core.hang_up(self.id, &mut effects);
        }
        let unread = self.mailbox.inside.lock().answer.take();
        state.execute(&self.shared, &mut effects, &mut done);
        state.effects = effects;
        state.work(&self.shared, &mut done);
        drop(state);
        drop(unread);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // All lanes are gone, so all tasks are ending; what is left of that is done here, or charges would be lost. There is nobody to answer.
        while self.core.work(WORK_PER_CALL, &mut self.effects) {
            self.effects.clear();
        }
    }
}

impl State {
    fn add_lane(&mut self, shared: &Arc<Shared>, id: LaneId, embryo: bool) -> LocalLane {
        let mailbox =
            Arc::new(Mailbox { inside: Mutex::new(Inside { answer: None, closed: false, bell: None, embryo }), wake: Condvar::new() });
        self.lanes.insert(id, mailbox.clone());
        LocalLane { id, shared: shared.clone(), mailbox }
    }

    /// One slice of outstanding teardown; true if more is left.
    fn work(&mut self, shared: &Arc<Shared>, done: &mut Done) -> bool {
        let mut effects = std::mem::take(&mut self.effects);
        let more = self.core.work(WORK_PER_CALL, &mut effects);
        self.execute(shared, &mut effects, done);
        self.effects = effects;
        more
    }

    /// Does what the core asked for, and what comes of that.
    fn execute(&mut self, shared: &Arc<Shared>, effects: &mut Effects, done: &mut Done) {
        while !effects.is_empty() {
            let mut later = Effects::new();
            let (mut dropped, mut links) = (Vec::new(), Vec::new());
            for effect in effects.drain(..) {
                match effect {
                    Effect::Answer { lane, packet, attach } => match self.attach_all(shared, lane, &attach, done) {
                        Ok(attached) => self.deliver(lane, Answer { packet, attached }, done),
                        Err(failed) => self.core.attach_failed(lane, failed, &mut later),
                    },
                    Effect::CheckSeals { region, size } => {
                        let sealed = self.regions.get(&region).is_some_and(|fd| objects::is_sealed(fd.as_fd(), size));
                        self.core.seals_checked(region, sealed, &mut later);
                    }
                    // Only a kernel process keeps alarms.
                    Effect::Alarm(_) => {}
                    Effect::ReadProcess(_) => {
                        // Logical tasks are all this process.
                        let used = machine::usage(shared.peer.pid, None::<&OwnedFd>);
                        self.core.process_read(&used, &mut later);
                    }
                    Effect::FillRegion { region, bytes } => match objects::filled_region(&bytes) {
                        Ok(fd) => drop(self.regions.insert(region, fd)),
                        Err(why) => tracing::warn!(%why, "memory for an answer could not be made"),
                    },
                    Effect::ReadClocks => self.core.clocks_read(machine::clocks(), &mut later),
                    Effect::DropRegion(region) => dropped.push(region),
                    Effect::CloseLane(lane) => {
                        if let Some(mailbox) = self.lanes.remove(&lane) {
                            let mut inside = mailbox.inside.lock();
                            inside.closed = true;
                            inside.ring();
                            drop(inside);
                            done.wake.push(mailbox);
                        }
                    }
                    Effect::Attention { task, control, mail } => self.plane.ring(task, control, mail),
                    Effect::DropLink(link) => links.push(link),
                    Effect::LinkBroken { .. } => plane::log_broken(&effect),
                    Effect::TaskGone(task) => self.plane.drop_task(task),
                    Effect::Signal { .. } => {}
                }
            }
            // Last, so that the answer that delivers a region's last right still finds it.
            for region in dropped {
                self.regions.remove(&region);
            }
            for link in links {
                done.dropped.extend(self.plane.drop_link(link).into_iter().map(Attached::Fd));
            }
            *effects = later;
        }
    }

    /// All attachments of an answer, or the one that could not be made.
    fn attach_all(&mut self, shared: &Arc<Shared>, lane: LaneId, attach: &[Attach], done: &mut Done) -> Result<Vec<Attached>, Attach> {
        let mut attached = Vec::with_capacity(attach.len());
        for &one in attach {
            let made = match one {
                Attach::Region(id) => self.regions.get(&id).and_then(|fd| fd.try_clone().ok()).map(Attached::Fd),
                Attach::NewRegion { id, size, shared } => objects::create_region(size, shared).ok().and_then(|fd| {
                    let copy = fd.try_clone().ok()?;
                    self.regions.insert(id, fd);
                    Some(Attached::Fd(copy))
                }),
                Attach::NewLane(id) => {
                    let embryo = self.core.task_of(id) != self.core.task_of(lane);
                    Some(Attached::Lane(self.add_lane(shared, id, embryo)))
                }
                other => self.plane.attach(other).ok().map(Attached::Fd),
            };
            match made {
                Some(made) => attached.push(made),
                None => {
                    done.dropped.append(&mut attached);
                    return Err(one);
                }
            }
        }
        Ok(attached)
    }

    fn deliver(&mut self, lane: LaneId, answer: Answer, done: &mut Done) {
        let Some(mailbox) = self.lanes.get(&lane) else {
            // Its owner has just dropped it.
            done.dropped.extend(answer.attached);
            return;
        };
        let mut inside = mailbox.inside.lock();
        debug_assert!(inside.answer.is_none(), "a lane owes one answer at most");
        inside.answer = Some(answer);
        inside.ring();
        drop(inside);
        done.wake.push(mailbox.clone());
    }
}

/// What is left to do once the state's mutex is released.
#[derive(Default)]
struct Done {
    wake: Vec<Arc<Mailbox>>,
    dropped: Vec<Attached>,
}

impl Drop for Done {
    fn drop(&mut self) {
        for mailbox in self.wake.drain(..) {
            mailbox.wake.notify_all();
        }
    }
}

impl fmt::Debug for LocalKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKernel")
    }
}

impl fmt::Debug for LocalLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalLane({:?})", self.id)
    }
}
