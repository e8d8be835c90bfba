//! A task's connection to the kernel process.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use umach_abi::control::{self, Call, Hello, Reply};
use umach_abi::{Code, Features, Name, RightKind, VERSION};

use crate::aio::Hub;
use crate::control::{Host, HostControl, TaskControl};
use crate::direct::Plane;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::interface::Interface;
use crate::raw;
use crate::receive::{PortOptions, PortSet, ReceiveRight};
use crate::right::{Held, SendRight};
use crate::sys;
use crate::transport::pool::{Loan, Need, Pool, Release};
use crate::transport::{Attached, Lane, Link, attaches};

/// This process's (or, in an in-process kernel, this logical task's) connection to the kernel: a space of rights.
///
/// A `Task` is a handle: clones are the same task. Every right keeps its task connected, and the task ends when the last handle and the last
/// right are dropped, or the process dies. Threads may use one task at once; each that is inside the kernel at the same time has a lane
/// of its own, which the library opens and keeps.
///
/// ```
/// libtask::run_local(|kernel| {
///     let task = kernel.task("hello")?;
///     let port = task.new_port()?;
///     port.make_send()?.send(libtask::Message::new(7).bytes(b"hello"))?;
///     assert_eq!(port.receive()?.bytes(), b"hello");
///     Ok::<(), libtask::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct Task(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pool: Pool,
    /// See [`sys::fork`].
    token: u64,
    id: u64,
    features: Features,
    local: bool,
    pub(crate) task_self: Name,
    pub(crate) task_name: Name,
    pub(crate) host: Name,
    pub(crate) plane: Plane,
    pub(crate) files: Files,
    pub(crate) hub: Arc<Hub>,
    /// An answer said that there are events to pull.
    pub(crate) events_wait: Arc<AtomicBool>,
}

impl Task {
    /// This process's task, made once and kept for the life of the process.
    ///
    /// A process that was started by [`Task::spawn`] finds its lane in `UMACH_LANE`. Otherwise the kernel process is looked for at
    /// `UMACH_SOCKET`, else at `$XDG_RUNTIME_DIR/umach/socket`, else at `/tmp/umach-<uid>/socket`. If there is none, a private one is
    /// started, with a line on standard error saying so; `UMACH_PRIVATE=0` forbids that.
    pub fn current() -> Result<Task> {
        crate::connect::current()
    }
    /// A new task at the kernel process that listens on the socket `path`.
    pub fn connect(path: &Path) -> Result<Task> {
        crate::connect::at(path)
    }
    /// A new task behind a lane that somebody else got from the kernel process (see [`crate::spawn`]).
    pub fn from_lane(fd: OwnedFd) -> Result<Task> {
        Task::hello(Link::Socket(sys::socket::Socket::new(fd)))
    }
    /// Starts a private kernel process and becomes its first task. It ends with its last task.
    ///
    /// The program is `UMACHD` if set, else `umachd` or `umach` beside this executable, else in `PATH`.
    pub fn private_kernel() -> Result<Task> {
        crate::connect::private_kernel()
    }

    /// Speaks the first words on a task's first lane.
    pub(crate) fn hello(link: Link) -> Result<Task> {
        let token = sys::fork::token();
        let local = link.is_local();
        let events_wait = Arc::new(AtomicBool::new(false));
        let mut lane = Lane::new(link, events_wait.clone());
        let hello = Hello { version: VERSION, features: Features::all().bits() };
        let answer = lane.request(&hello)?.map_err(|code| Error::mach(code, "the first words with the kernel process"))?;
        let (task_self, bootstrap) = (answer.task_self, answer.bootstrap);
        let inner = Inner {
            token,
            id: answer.task,
            features: Features::from_bits_truncate(answer.features),
            local,
            task_self,
            task_name: answer.task_name,
            host: answer.host,
            pool: Pool::new(lane, task_self),
            plane: Plane::default(),
            files: Files::default(),
            hub: Arc::default(),
            events_wait,
        };
        let task = Task(Arc::new(inner));
        if task.features().contains(Features::FILES) {
            task.0.files.open(&task)?;
        }
        if bootstrap.is_valid() {
            // A reference that nobody here counts would keep the name alive; `bootstrap` asks for one of its own.
            drop(SendRight::adopt(&task, bootstrap));
        }
        Ok(task)
    }

    /// The task's id: never used again while the kernel process lives. Messages show it as [`crate::Sender::task`].
    pub fn id(&self) -> u64 {
        self.0.id
    }
    /// What the kernel process can do beyond the base.
    pub fn features(&self) -> Features {
        self.0.features
    }
    /// Whether the kernel is inside this process.
    pub fn is_local(&self) -> bool {
        self.0.local
    }
    /// Names the task for people, in at most 64 bytes. A spawned task starts with its spawner's label for it.
    pub fn set_label(&self, label: &str) -> Result<()> {
        self.control_request("labelling the task", &control::TaskSetLabel { task: self.0.task_self, label: label.as_bytes() })
    }
    /// The task's label.
    pub fn label(&self) -> Result<String> {
        self.ask("reading the task's label", &control::TaskLabel { task: self.0.task_self }, |answer, _| {
            String::from_utf8_lossy(answer.label).into_owned()
        })
    }

    /// A new port; this task receives on it.
    pub fn new_port(&self) -> Result<ReceiveRight> {
        self.new_port_with(PortOptions::default())
    }
    /// A new port with a queue limit or a context of its own.
    pub fn new_port_with(&self, options: PortOptions) -> Result<ReceiveRight> {
        ReceiveRight::construct(self, options)
    }
    /// A new port that serves the interface `I`: `new_port_of::<dyn Adder>()`.
    pub fn new_port_of<I: ?Sized + Interface>(&self) -> Result<ReceiveRight<I>> {
        Ok(self.new_port()?.typed())
    }
    /// A new empty port set.
    pub fn new_set(&self) -> Result<PortSet> {
        PortSet::construct(self)
    }
    /// A send right to the bootstrap port: usually the name server. Fails with `KERN_NOT_FOUND` if this task was given none.
    pub fn bootstrap(&self) -> Result<SendRight> {
        self.special("looking up the bootstrap port", umach_abi::rights::special::BOOTSTRAP)
    }
    /// Changes this task's bootstrap port, which the tasks that it spawns inherit.
    pub fn set_bootstrap<I: ?Sized>(&self, right: &SendRight<I>) -> Result<()> {
        let right = right.duplicate().untyped();
        self.set_special("setting the bootstrap port", self.0.task_self, umach_abi::rights::special::BOOTSTRAP, Some(&right))
    }
    /// The control right of this task itself.
    pub fn control(&self) -> Result<TaskControl> {
        Ok(TaskControl::new(self.special("looking up the control port", umach_abi::rights::special::KERNEL)?))
    }
    /// The right that shows what the kernel process is.
    pub fn host(&self) -> Result<Host> {
        Ok(Host::new(self.special("looking up the host port", umach_abi::rights::special::HOST)?))
    }
    /// The right that shows every task and port. Only for tasks that came in through the listening socket as the kernel's own user or as root,
    /// and for the first task of a private kernel.
    pub fn host_control(&self) -> Result<HostControl> {
        let name = self.ask("asking for the host's control right", &control::HostControl {}, |answer, _| answer.name)?;
        Ok(HostControl::new(SendRight::adopt(self, name)))
    }
    /// The three registered rights, which spawned tasks inherit.
    pub fn registered(&self) -> Result<[Option<SendRight>; 3]> {
        let names = self.ask("looking up registered ports", &control::PortsLookup { task: self.0.task_self }, |answer, _| {
            [answer.first, answer.second, answer.third]
        })?;
        Ok(names.map(|name| name.is_valid().then(|| SendRight::adopt(self, name))))
    }
    /// Registers copies of three send rights.
    pub fn register(&self, rights: [Option<&SendRight>; 3]) -> Result<()> {
        self.register_for(self.0.task_self, rights)
    }
    /// Every request of the protocol with bare names: Mach's own calls, one to one.
    pub fn raw(&self) -> raw::Space<'_> {
        raw::Space::new(self)
    }

    pub(crate) fn register_for(&self, task: Name, rights: [Option<&SendRight>; 3]) -> Result<()> {
        let [first, second, third] = rights.map(|right| right.map_or(Name::NULL, SendRight::name));
        self.control_request("registering ports", &control::PortsRegister { task, first, second, third })
    }

    fn special(&self, what: &'static str, which: u32) -> Result<SendRight> {
        let name = self.ask(what, &control::TaskGetSpecialPort { task: self.0.task_self, which }, |answer, _| answer.name)?;
        if !name.is_valid() {
            return Err(Error::mach(Code::KERN_NOT_FOUND, what));
        }
        Ok(SendRight::adopt(self, name))
    }

    pub(crate) fn set_special(&self, what: &'static str, task: Name, which: u32, right: Option<&SendRight>) -> Result<()> {
        let right = right.map_or(Name::NULL, SendRight::name);
        self.control_request(what, &control::TaskSetSpecialPort { task, which, right })
    }

    /// A lane for one request.
    pub(crate) fn lane(&self, need: Need) -> Result<Loan<'_>> {
        self.check_fork()?;
        self.0.pool.take(need)
    }

    pub(crate) fn check_fork(&self) -> Result<()> {
        if sys::fork::token() == self.0.token { Ok(()) } else { Err(Error::Forked) }
    }

    /// A request that is answered at once; `read` sees the answer's fields and what came attached.
    pub(crate) fn ask<C: Call, T>(
        &self,
        what: &'static str,
        call: &C,
        read: impl for<'r> FnOnce(C::Answer<'r>, &mut Vec<Attached>) -> T,
    ) -> Result<T> {
        self.request(call, read)?.map_err(|code| Error::mach(code, what))
    }

    /// The same with the refusal apart from the connection's failures.
    pub(crate) fn request<C: Call, T>(
        &self,
        call: &C,
        read: impl for<'r> FnOnce(C::Answer<'r>, &mut Vec<Attached>) -> T,
    ) -> Result<Result<T, Code>> {
        // What may give a receive right up.
        if const { C::OP == control::PortDestroy::OP || C::OP == control::PortDestruct::OP || C::OP == control::PortModRefs::OP } {
            self.0.plane.forget_reply_ports();
        }
        let read = self.request_alone(call, read);
        if self.0.events_wait.load(std::sync::atomic::Ordering::Relaxed) && C::OP < control::Events::OP && !self.0.pool.is_held_here() {
            self.0.plane.settle_if_free(self);
        }
        read
    }

    fn request_alone<C: Call, T>(
        &self,
        call: &C,
        read: impl for<'r> FnOnce(C::Answer<'r>, &mut Vec<Attached>) -> T,
    ) -> Result<Result<T, Code>> {
        self.request_within(call, Need::Prompt, crate::transport::Wait::FOREVER, read)
    }

    /// A request whose answer may be kept back.
    pub(crate) fn request_within<C: Call, T>(
        &self,
        call: &C,
        need: Need,
        wait: crate::transport::Wait,
        read: impl for<'r> FnOnce(C::Answer<'r>, &mut Vec<Attached>) -> T,
    ) -> Result<Result<T, Code>> {
        let mut lane = self.lane(need)?;
        lane.begin(call);
        let head = lane.exchange(wait, attaches::<C>())?;
        if !head.status.is_ok() {
            return Ok(Err(head.status));
        }
        let mut attached = std::mem::take(&mut lane.attached);
        let answer = Reply::take(lane.fields()).map_err(Error::Protocol)?;
        let read = read(answer, &mut attached);
        attached.clear();
        lane.attached = attached;
        Ok(Ok(read))
    }

    pub(crate) fn control_request(&self, what: &'static str, call: &impl Call) -> Result<()> {
        self.ask(what, call, |_, _| ())
    }

    /// The same for a request about one right.
    pub(crate) fn ask_on<C: Call, T>(
        &self,
        what: &'static str,
        held: &Held,
        call: &C,
        read: impl for<'r> FnOnce(C::Answer<'r>, &mut Vec<Attached>) -> T,
    ) -> Result<T> {
        self.request(call, read)?.map_err(|code| Error::on(code, what, held.kind(), held.name()))
    }

    /// If this thread holds a lane, gives a right back with that one. False: it holds none, and nothing has happened.
    pub(crate) fn release_with_lane(&self, kind: RightKind, name: Name) -> bool {
        let held = self.0.pool.is_held_here();
        if held {
            self.0.pool.release(Release { kind, name, guard: None });
        }
        held
    }

    /// Gives one right back.
    pub(crate) fn release(&self, kind: RightKind, name: Name, guard: Option<u64>) {
        // A forked child holds nothing.
        if self.check_fork().is_err() || (kind == RightKind::SendOnce && self.0.plane.drop_reply(self, name)) {
            return;
        }
        let name = self.0.plane.forget_reply(name).unwrap_or(name);
        if kind == RightKind::Receive {
            self.0.plane.forget_reply_ports();
        }
        if matches!(kind, RightKind::Receive | RightKind::PortSet) {
            self.0.hub.leave_polled(name);
        }
        self.0.pool.release(Release { kind, name, guard });
        if matches!(kind, RightKind::Receive | RightKind::PortSet) && !self.0.pool.is_held_here() {
            self.0.plane.ended(self, name);
            // What was queued there may have brought news; nobody can be told if asking for it fails.
            let _ = self.0.plane.look(self);
        }
    }
}

impl PartialEq for Task {
    fn eq(&self, other: &Task) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Task {}

impl Hash for Task {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0.id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn port_of_a_reply_is_dropped_by_who_holds_the_only_lane() {
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let kernel = crate::LocalKernel::start();
            let task = kernel.task("holder").expect("a task");
            let port = task.raw().port_allocate(RightKind::Receive).expect("a port");
            let lane = task.lane(Need::Prompt).expect("a lane");
            // Another would have to be waited for, by the one that has to give it back.
            task.0.plane.drop_port(&task, port);
            drop(lane);
            let _ = done.send(task.raw().port_type(port).is_ok());
        });
        let is_left = ended.recv_timeout(Duration::from_secs(20)).expect("nobody waits for a lane");
        assert!(!is_left);
    }
}
