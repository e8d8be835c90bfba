//! The server: one thread, one loop, ports and processes around the pure [`Registry`].
//!
//! Three kinds of port are received on: bootstrap ports (the root's, one per subset, and the server ports of declared servers), a port for the kernel's notifications, and the
//! held ports of services, whose messages are *not* the server's to read. So the loop waits on a set of all of them with a
//! receive that takes nothing: a buffer of no size and `RCV_LARGE` leave the message queued and tell which port has it. If it is a service's
//! port, the service is started; else messages are received from a second set, which holds the server's own ports only.
//!
//! ```text
//!  all ports --wait, take nothing--> a service's? start it (and stop listening to it until that is decided)
//!                                    ours?        receive up to BATCH from `ours`, which takes turns between its members
//! ```
//!
//! Nothing here waits for a client: answers go to send-once rights, events are sent only if there is room, and a watcher without room is
//! dropped. The receive right of a service has a port-destroyed request on it before it is handed out, so it comes back on every path:
//! the server drops it, dies, or never receives the answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libtask::interface::handle;
use libtask::raw::{MsgBuffer, Options, special};
use libtask::{Message, Notification, PortOptions, PortSet, ReceiveRight, Received, SendRight, Sink, Task};
use umach_abi::limits::QLIMIT_DEFAULT;
use umach_abi::{Code, Name};
use umach_name_api::protocol::{Event, NameSpace, Spawner};

use crate::children::Children;
use crate::config::{Config, ServiceConfig};
use crate::job::{ServiceId, Step};
use crate::policy::Allow;
use crate::registry::jobs::JobId;
use crate::registry::{Effect, ROOT, Registry, SpaceId, WatchId};
use crate::requests::Requests;

/// Messages handled before anything else gets a turn.
const BATCH: usize = 32;
/// Id of the only message on the stop port.
const STOP: i32 = 1;

/// What a port of the server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Space(SpaceId),
    Server(JobId),
    Notify,
    Stop,
    /// The bell of starts that are done.
    Started,
    Service(ServiceId),
}

/// A name server that has its ports and is ready to [`Server::run`].
#[derive(Debug)]
pub struct Server {
    pub(crate) task: Task,
    /// Every port: to wait on, never to receive from.
    all: PortSet,
    /// The server's own ports.
    ours: PortSet,
    pub(crate) notify: ReceiveRight,
    stop: ReceiveRight,
    /// Rung by [`Children::start`].
    bell: ReceiveRight,
    /// Bootstrap ports.
    pub(crate) spaces: HashMap<SpaceId, ReceiveRight>,
    /// Server ports.
    servers: HashMap<JobId, ReceiveRight>,
    /// A send right to the root's bootstrap port.
    root: SendRight,
    /// Queue limits of services that do not have the usual one.
    queues: HashMap<ServiceId, u32>,
    pub(crate) roles: HashMap<Name, Role>,
    pub(crate) registry: Registry<SendRight, ReceiveRight>,
    /// Where the events of the registry's watches go.
    pub(crate) watchers: HashMap<WatchId, Sink<Event>>,
    pub(crate) effects: Vec<Effect>,
    children: Children,
    started: Instant,
    stopping: bool,
}

/// Ends a running server from outside.
#[derive(Debug)]
pub struct Stop(SendRight);

impl Stop {
    /// Asks it to end: services are ended too, and `run` returns. A server that is gone already is fine.
    pub fn stop(&self) {
        // The queue can only be full of this very request.
        let _ = self.0.try_send(Message::new(STOP));
    }
}

/// Why the server could not start, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A declared service cannot be declared.
    #[error("cannot declare the service {name:?}: {reason}")]
    Declare {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The kernel process refused something that the server cannot do without, or is gone.
    #[error(transparent)]
    Task(#[from] libtask::Error),
}

type Result<T, E = ServerError> = std::result::Result<T, E>;

impl Server {
    /// Makes the server's ports. From here on clients may send to [`Server::bootstrap`]; they are answered when the server runs.
    pub fn new(task: &Task, config: Config) -> Result<Server> {
        let Config { limits, mut policy, services } = config;
        policy.owner = rustix::process::geteuid().as_raw();
        if rustix::process::getuid().as_raw() != policy.owner || rustix::process::getgid() != rustix::process::getegid() {
            // Whoever started it so has lent it rights that commands of others would inherit.
            policy.create_server = Allow::Nobody;
        }
        let bootstrap = new_bootstrap(task)?;
        let root = bootstrap.make_send()?;
        let (notify, stop, bell) = (task.new_port()?, task.new_port()?, task.new_port()?);
        let mut server = Server {
            task: task.clone(),
            all: task.new_set()?,
            ours: task.new_set()?,
            queues: HashMap::new(),
            roles: HashMap::new(),
            registry: Registry::new(limits, policy),
            watchers: HashMap::new(),
            effects: Vec::new(),
            children: Children::new(bell.make_send()?),
            started: Instant::now(),
            stopping: false,
            spaces: HashMap::new(),
            servers: HashMap::new(),
            root,
            notify,
            stop,
            bell,
        };
        for (port, role) in [(&server.notify, Role::Notify), (&server.stop, Role::Stop), (&server.bell, Role::Started)] {
            server.all.insert(port)?;
            server.ours.insert(port)?;
            server.roles.insert(port.name(), role);
        }
        server.open_space(ROOT, bootstrap)?;
        for (name, config) in services {
            server.configure(&name, config)?;
        }
        server.settle();
        Ok(server)
    }
    /// A send right to the root's bootstrap port. Give it to the tasks that should use this name server ([`Task::set_bootstrap`], or when
    /// spawning them).
    pub fn bootstrap(&self) -> SendRight {
        self.root.duplicate()
    }
    /// A handle that ends the server from another thread.
    pub fn stopper(&self) -> Result<Stop> {
        Ok(Stop(self.stop.make_send()?))
    }
    /// Tells the spawner, if there is one that waits for it on this task's own bootstrap port, where the server is.
    pub fn announce(&self) {
        match self.task.bootstrap() {
            Ok(spawner) => match spawner.typed::<dyn Spawner>().client().with_deadline(Duration::ZERO).ready(self.root.duplicate().typed())
            {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "nobody waits for the name server to be ready"),
            },
            Err(error) => tracing::debug!(%error, "started without a bootstrap port"),
        }
    }
    /// Makes this the name server of every task that comes in through the kernel's listening socket from now on. Only for the kernel's own user,
    /// root, and the first task of a private kernel.
    pub fn publish(&self) -> Result<()> {
        let what = "making the name server known to new tasks";
        let host = self.task.host_control()?;
        let set = self.task.raw().of(host.right().name()).task_set_special_port(special::BOOTSTRAP, self.root.name());
        set.map_err(|code| libtask::Error::Mach { code, what, on: Some(self.root.label()) }.into())
    }
    /// Serves until [`Stop::stop`], or until the kernel process is gone. Services that it started are ended before it returns.
    pub fn run(mut self) -> Result<()> {
        let mut result = Ok(());
        while !self.stopping && result.is_ok() {
            result = self.turn();
        }
        self.children.end_all();
        result
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for one thing to do and does it.
    fn turn(&mut self) -> Result<()> {
        let deadlines = [self.registry.deadline(), self.children.deadline()];
        let timeout = deadlines.into_iter().flatten().min().map(|at| at.saturating_sub(self.now()));
        if let Some(port) = self.wait(timeout)? {
            match self.roles.get(&port) {
                Some(Role::Service(id)) => self.registry.service_demanded(*id, self.now(), &mut self.effects),
                _ => self.receive()?,
            }
        }
        let now = self.now();
        self.registry.tick(now, &mut self.effects);
        for (id, ending) in self.children.reap(now) {
            self.registry.job_ended(id, ending, now, &mut self.effects);
        }
        self.settle();
        Ok(())
    }

    /// Waits until a port has a message and says which. Nothing is received.
    fn wait(&self, timeout: Option<Duration>) -> Result<Option<Name>> {
        let mut options = Options::RCV | Options::RCV_LARGE | Options::RCV_LARGE_IDENTITY;
        options.set(Options::RCV_TIMEOUT, timeout.is_some());
        // Rounded up: a wait that ends just before its deadline would be followed by many short ones.
        let timeout = timeout.map_or(0, |timeout| timeout.as_nanos().div_ceil(1_000_000).min(u32::MAX.into()) as u32);
        let mut buffer = MsgBuffer::default();
        match self.task.raw().mach_msg(&mut buffer, options, 0, self.all.name(), timeout, Name::NULL).plain() {
            Code::MACH_RCV_TOO_LARGE => Ok(Some(buffer.header().local)),
            Code::MACH_RCV_TIMED_OUT | Code::MACH_RCV_INTERRUPTED => Ok(None),
            Code::KERN_TERMINATED => Err(libtask::Error::KernelGone.into()),
            code => Err(libtask::Error::Mach { code, what: "waiting for requests", on: Some(self.all.label()) }.into()),
        }
    }

    /// Receives what is there on the server's own ports, [`BATCH`] messages at most. The kernel puts a port that was served behind the others of its
    /// sets, so a flood on one port hides neither the other ports nor the services.
    fn receive(&mut self) -> Result<()> {
        for _ in 0..BATCH {
            match self.ours.try_receive() {
                Ok(Some(message)) => self.message(message),
                Ok(None) => break,
                // The message is consumed; what of it could not be delivered is lost, and its sender told by that.
                Err(error) if matches!(error.code().plain(), Code::MACH_RCV_HEADER_ERROR | Code::MACH_RCV_BODY_ERROR) => {
                    tracing::warn!(%error, "a request could not be received whole");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn message(&mut self, mut message: Received) {
        match (self.roles.get(&message.port()).copied(), message.take_notification()) {
            (Some(Role::Space(space)), Some(Notification::NoSenders { .. })) => self.space_unheld(space),
            (Some(Role::Server(job)), Some(Notification::NoSenders { .. })) => self.server_unheld(job),
            (Some(Role::Notify), Some(Notification::DeadName(dead))) => {
                if !self.children.task_died(dead.name()) {
                    self.registry.port_died(dead.name().0, &mut self.effects);
                }
            }
            (Some(Role::Notify), Some(Notification::PortDestroyed)) => self.take_back(message),
            (Some(Role::Stop), None) if message.id() == STOP => self.stopping = true,
            (Some(Role::Started), None) => self.take_started(),
            (Some(Role::Space(space)), None) => {
                // Whether a method asks to stop is nothing that this interface's methods do.
                let _ = handle::<dyn NameSpace, _>(&mut Requests { server: self, space, job: None }, message);
            }
            (Some(Role::Server(job)), None) => {
                let Some(space) = self.registry.space_of(job) else { return };
                let _ = handle::<dyn NameSpace, _>(&mut Requests { server: self, space, job: Some(job) }, message);
            }
            // Send-once rights that were replaced or dropped, names that were deleted: nothing to do.
            (_, notification) => tracing::debug!(?notification, ?message, "ignored"),
        }
        self.settle();
    }

    /// Starts are done.
    fn take_started(&mut self) {
        let now = self.now();
        for (id, child) in self.children.started(&self.notify) {
            let name = self.registry.look_at(id).map_or("", |(name, _)| name);
            match &child {
                Ok((task, pid)) => tracing::info!(name, task, pid, "service started"),
                Err(why) => tracing::warn!(name, why, "service not started"),
            }
            self.registry.job_started(id, child, now, &mut self.effects);
        }
    }

    /// A service's receive right came back.
    fn take_back(&mut self, mut message: Received) {
        let Ok(right) = message.take_receive(0) else { return };
        let Some(&Role::Service(id)) = self.roles.get(&right.name()) else { return };
        // Its server may have changed this.
        let queue = self.queues.get(&id).copied().unwrap_or(QLIMIT_DEFAULT);
        if let Err(error) = right.set_queue_limit(queue) {
            tracing::warn!(%error, "the queue limit of a service that came back");
        }
        self.registry.service_returned(id, right, &mut self.effects);
    }

    /// Does what the registry wants done, until it wants nothing more.
    fn settle(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Tell(watch, event) => {
                        let told = self.watchers.get(&watch).map(|events| events.try_send(event));
                        if let Some(Err(error)) = told {
                            tracing::debug!(%error, ?watch, "watcher dropped");
                            self.registry.end_watch(watch);
                        }
                    }
                    Effect::Job(id, step) => self.step(id, step),
                    Effect::ServiceGone(key) => drop(self.roles.remove(&Name(key))),
                    Effect::ServerGone(job) => {
                        if let Some(port) = self.servers.remove(&job) {
                            self.roles.remove(&port.name());
                        }
                    }
                    Effect::SpaceGone(space) => {
                        // Again, if it died first and is forgotten now.
                        if let Some(port) = self.spaces.remove(&space) {
                            self.roles.remove(&port.name());
                        }
                    }
                }
            }
        }
        if self.watchers.len() > self.registry.watches() {
            let registry = &self.registry;
            self.watchers.retain(|watch, _| registry.watcher(*watch).is_some());
        }
    }

    fn step(&mut self, id: JobId, step: Step) {
        // It may be gone since this was wanted.
        let Some((name, job)) = self.registry.look_at(id) else { return };
        match step {
            Step::Listen(service) | Step::Ignore(service) => {
                let Some(port) = job.held(service) else { return };
                let done = if matches!(step, Step::Listen(_)) { self.all.insert(port) } else { self.all.remove(port) };
                if let Err(error) = done {
                    tracing::warn!(%error, name, ?step, "the port of a service");
                }
            }
            Step::Start => {
                let right = bootstrap_of(self.servers.get(&id), &self.root);
                match right {
                    Ok(right) => {
                        self.children.start(&self.task, &right, id, name, &job.config);
                        self.registry.server_held(id);
                    }
                    Err(error) => {
                        let why = format!("cannot make its bootstrap port: {error}");
                        self.registry.job_started(id, Err(why), self.now(), &mut self.effects);
                    }
                }
            }
            Step::Kill => {
                tracing::info!(name, "service killed: it did not check in in time, or its server was undone");
                self.children.kill(id);
            }
        }
    }

    /// The last right to a subset's bootstrap port is gone; or it was, and another one has been made since.
    fn space_unheld(&mut self, space: SpaceId) {
        let Some(port) = self.spaces.get(&space) else { return };
        if port.status().is_ok_and(|status| status.has_send_rights) {
            // Told again when that one goes.
            if let Err(error) = port.on_no_senders(port) {
                tracing::warn!(%error, "a name space that will not be seen to end");
            }
            return;
        }
        self.registry.space_ended(space, &mut self.effects);
    }

    /// The last right to a server port is gone; or it was, and another one has been made since.
    fn server_unheld(&mut self, job: JobId) {
        let Some(port) = self.servers.get(&job) else { return };
        if port.status().is_ok_and(|status| status.has_send_rights) {
            // Who made it asked to be told again.
            return;
        }
        self.registry.server_unheld(job, &mut self.effects);
    }

    fn configure(&mut self, name: &str, config: ServiceConfig) -> Result<()> {
        let queue = config.queue;
        let port = self.task.new_port_with(PortOptions { queue_limit: Some(queue), ..PortOptions::default() })?;
        let (send, key) = (port.make_send()?, port.name());
        let id = self
            .registry
            .configure(name, key.0, send, config, port, &mut self.effects)
            .map_err(|refusal| ServerError::Declare { name: name.to_owned(), reason: refusal.reason })?;
        self.roles.insert(key, Role::Service(id));
        self.queues.insert(id, queue);
        Ok(())
    }

    /// Starts to serve a server port.
    pub(crate) fn open_server(&mut self, job: JobId, port: ReceiveRight) -> libtask::Result<()> {
        self.open(&port, Role::Server(job))?;
        self.servers.insert(job, port);
        Ok(())
    }

    /// Starts to serve a bootstrap port.
    pub(crate) fn open_space(&mut self, space: SpaceId, port: ReceiveRight) -> libtask::Result<()> {
        self.open(&port, Role::Space(space))?;
        self.spaces.insert(space, port);
        Ok(())
    }

    fn open(&mut self, port: &ReceiveRight, role: Role) -> libtask::Result<()> {
        self.all.insert(port)?;
        self.ours.insert(port)?;
        self.roles.insert(port.name(), role);
        Ok(())
    }
}

/// What a job's process finds its name space through: the server port, if there is one.
fn bootstrap_of(server: Option<&ReceiveRight>, root: &SendRight) -> libtask::Result<SendRight> {
    let Some(port) = server else { return Ok(root.duplicate()) };
    let right = port.make_send()?;
    // That nobody held the port any more may have been told already.
    port.on_no_senders(port)?;
    Ok(right)
}

/// A port that many clients may send to at once.
pub(crate) fn new_bootstrap(task: &Task) -> libtask::Result<ReceiveRight> {
    task.new_port_with(PortOptions { queue_limit: Some(256), ..PortOptions::default() })
}
