//! The server: a few threads that receive on one port set.
//!
//! Theory: a fixed pool and no event loop, because what takes time here is Linux reading and writing files, which cannot be polled. Each
//! thread receives, works, and answers by the client's send-once right, which never waits; so a slow file holds up one thread and a
//! slow client none. Which client's request comes next is [`crate::turns`]' affair.
//!
//! 1. **No answer waits for a client**: answers go to send-once rights, or to send rights with a deadline of zero.
//! 2. **Whatever a client sends gets an answer or is dropped**; nothing in a message is believed but what the kernel process says of it.
//! 3. **A handle closes by no-senders only**, so dying clients need no care of their own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use libtask::{Message, Next, Notification, ReceiveRight, Received, SendRight, Task, interface};
use umach_file_api::error::{Failure, Fault, FileError, Subject};
use umach_file_api::protocol::Access;
use umach_name_api::Names;

use crate::charge::{Charges, HandleLimits};
use crate::handle::{Handle, Handles, Node};
use crate::operate::{Lending, Operator};
use crate::tree::Directory;
use crate::turns::{Place, Turns};

/// Threads by default: enough that a slow disk leaves somebody for the others.
pub const THREADS: usize = 4;
/// Lent bytes by default: a few of the longest reads for some clients at once.
pub const LENT: u64 = 1 << 30;
/// Requests of one task that wait beyond those under work: as many as a task has threads in the kernel process by default, so that only who does
/// not wait for answers is ever refused.
const PARKED: usize = 64;
/// No request carries more rights or memory than this.
const PARTS_MAX: usize = 1;
/// Queue of the root's port, which all new clients share.
const ROOT_QUEUE: u32 = 256;
/// Descriptors left to the rest of the process: its lanes, and what messages under work bring along.
const RESERVED_DESCRIPTORS: usize = 256;
/// After this many failed receives in a row something is wrong that waiting does not mend.
const FAILURES_MAX: usize = 1000;

/// What is served, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory to export.
    pub path: PathBuf,
    /// Give out the root for reading only.
    pub read_only: bool,
    /// Do not enter mount points beneath the root.
    pub one_file_system: bool,
    /// Threads that serve.
    pub threads: usize,
    /// Bytes lent with long reads that clients have not received yet; beyond them, reads are short and copied.
    pub lent: u64,
    /// Limits on handles; `None`: shares of what the process's descriptor limit allows.
    pub handles: Option<HandleLimits>,
}

impl Config {
    /// Exports `path` for reading and writing.
    pub fn new(path: impl AsRef<Path>) -> Config {
        let path = path.as_ref().to_path_buf();
        Config { path, read_only: false, one_file_system: false, threads: THREADS, lent: LENT, handles: None }
    }
}

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory to export cannot be used.
    #[error("exporting {path:?}: {source}")]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Box<FileError>,
    },
    /// Something of Linux that the server relies on is missing.
    #[error("the server needs {what}, which does not work here ({why}); use Linux 5.6 or later with /proc mounted")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// How it failed.
        why: String,
    },
    /// The kernel process refused, or is gone.
    #[error("serving files: {0}")]
    Ipc(#[from] libtask::Error),
    /// The name could not be had.
    #[error("publishing the file server: {0}")]
    Name(#[from] Box<umach_name_api::Error>),
    /// A thread of the server could not be started.
    #[error("starting a thread: {0}; lower `threads`")]
    Thread(#[source] std::io::Error),
    /// A bug: a thread panicked; the message is on standard error.
    #[error("a thread of the file server panicked; report it with the message on standard error")]
    Panicked,
}

/// Becomes the service `name` of this task's name server, with the requests that wait there already, and serves until the kernel process is gone.
pub fn serve(task: &Task, config: &Config, name: &str) -> Result<(), ServeError> {
    Server::named(task, config, name)?.run()
}

/// A file server, ready to run.
#[derive(Debug)]
pub struct Server {
    shared: Shared,
    threads: usize,
    root: SendRight,
}

/// Ends a [`Server`] that runs; copies may be given to any thread.
#[derive(Debug)]
pub struct Stopper {
    right: SendRight,
    threads: usize,
}

/// What a server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Handles that clients hold.
    pub handles: usize,
    /// Requests answered so far.
    pub requests: u64,
}

#[derive(Debug)]
struct Shared {
    operator: Operator,
    stop: ReceiveRight,
    turns: Mutex<Turns<Job>>,
    requests: Arc<AtomicU64>,
}

/// A request that waits for its turn.
#[derive(Debug)]
struct Job {
    handle: Arc<Handle>,
    request: Received,
}

impl Server {
    /// Opens the tree and makes the server's ports.
    pub fn new(task: &Task, config: &Config) -> Result<Server, ServeError> {
        Server::on(task, config, task.new_port()?)
    }

    /// The same as the service `name` of this task's name server.
    pub fn named(task: &Task, config: &Config, name: &str) -> Result<Server, ServeError> {
        let port = Names::from_bootstrap(task).and_then(|names| names.check_in(name)).map_err(Box::new)?;
        Server::on(task, config, port)
    }

    /// The same with the root on a port that exists already: one that the name server has kept, with the requests that came meanwhile.
    pub fn on(task: &Task, config: &Config, port: ReceiveRight) -> Result<Server, ServeError> {
        let root = Directory::open_root(&config.path, config.one_file_system).map_err(|failure| root_error(&config.path, failure))?;
        check_platform(&root)?;
        let limits = config.handles.unwrap_or_else(default_limits);
        let set = task.new_set()?;
        let stop = task.new_port()?;
        stop.set_queue_limit(config.threads.clamp(1, 64) as u32)?;
        set.insert(&stop)?;
        port.set_queue_limit(ROOT_QUEUE)?;
        let handles = Handles::new(task, set);
        let right = port.make_send()?;
        let access = if config.read_only { Access::READ } else { Access::READ | Access::WRITE };
        handles.install(Node::Directory(Arc::new(root)), access, port)?;
        let threads = config.threads.clamp(1, 64);
        let lending = Lending::new(task, config.lent)?;
        let operator = Operator { task: task.clone(), handles, charges: Charges::new(limits), lending };
        let turns = Mutex::new(Turns::new(threads / 2, PARKED));
        let shared = Shared { operator, stop, turns, requests: Arc::default() };
        Ok(Server { shared, threads, root: right })
    }

    /// A send right to the root of the tree: register it, or hand it to a client, who makes a `Dir` of it.
    pub fn root(&self) -> SendRight {
        self.root.duplicate()
    }
    /// What ends it.
    pub fn stopper(&self) -> Result<Stopper, ServeError> {
        Ok(Stopper { right: self.shared.stop.make_send()?, threads: self.threads })
    }
    /// A function that tells what the server is doing, from any thread; it keeps nothing of the server alive but two counters.
    pub fn watch(&self) -> impl Fn() -> Stats + Send + Sync + 'static {
        let (charges, requests) = (self.shared.operator.charges.clone(), self.shared.requests.clone());
        move || Stats { handles: charges.total(), requests: requests.load(Ordering::Relaxed) }
    }

    /// Serves until stopped or until the kernel process is gone. All handles die with it.
    pub fn run(self) -> Result<(), ServeError> {
        let shared = &self.shared;
        let stopper = self.stopper()?;
        thread::scope(|scope| {
            let mut workers = Vec::new();
            let mut result = Ok(());
            for n in 0..self.threads {
                let end = EndAll(&stopper);
                let started = thread::Builder::new().name(format!("file-server-{n}")).spawn_scoped(scope, move || {
                    let result = shared.work();
                    // Only a worker that was told to stop leaves the others alone.
                    if result.is_ok() {
                        std::mem::forget(end);
                    }
                    result
                });
                match started {
                    Ok(worker) => workers.push(worker),
                    Err(error) => {
                        stopper.stop();
                        result = Err(ServeError::Thread(error));
                        break;
                    }
                }
            }
            for worker in workers {
                let ended = worker.join().unwrap_or(Err(ServeError::Panicked));
                result = result.and(ended);
            }
            result
        })
    }
}

/// When a worker fails or panics, the server ends as a whole: it is not to limp on with fewer threads unnoticed.
struct EndAll<'s>(&'s Stopper);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Stopper {
    /// Lets each thread finish what it works on and end.
    pub fn stop(&self) {
        for _ in 0..self.threads {
            // A full queue holds as many of these as there are threads; a dead port means that it has ended.
            let _ = self.right.try_send(Message::new(0));
        }
    }
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, Turns<Job>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's life: the answer to one request and the wait for the next are one step.
    fn work(&self) -> Result<(), ServeError> {
        let mut failures = 0;
        loop {
            let served = self.operator.handles.set().serve(|received| {
                failures = 0;
                self.turn(received)
            });
            match served {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error, libtask::Error::KernelGone) || error.is_port_gone() => return Err(error.into()),
                Err(error) => {
                    // A message that could not be delivered, say; it is gone, and its sender knows.
                    tracing::warn!(%error, "receiving a request");
                    failures += 1;
                    if failures > FAILURES_MAX {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    /// One message, and then whatever parked request has its turn now: nobody else would come back for that.
    fn turn(&self, received: &mut Received) -> Next {
        let mut next = self.arrive(received);
        if !matches!(next, Next::Stop) && self.turns().has_ready() {
            settle(next, received);
            next = self.catch_up();
        }
        next
    }

    /// Works off parked requests. What came meanwhile has its chance between two of them.
    fn catch_up(&self) -> Next {
        loop {
            let Some((task, mut job)) = self.turns().take() else { return Next::Continue };
            settle(self.perform(task, &job.handle, &mut job.request), &mut job.request);
            drop(job);
            match self.operator.handles.set().try_receive() {
                Ok(Some(mut received)) => match self.arrive(&mut received) {
                    Next::Stop => return Next::Stop,
                    next => settle(next, &mut received),
                },
                Ok(None) => {}
                // The wait for the next message fails in the same way, and deals with it.
                Err(error) => tracing::debug!(%error, "looking for a request"),
            }
        }
    }

    /// Sorts out what came: a notification, a request to refuse, to work on now, or to park.
    fn arrive(&self, received: &mut Received) -> Next {
        if received.came_on(&self.stop) {
            return Next::Stop;
        }
        let id = received.context();
        if let Some(notification) = received.notification() {
            if let Notification::NoSenders { .. } = notification {
                self.operator.handles.close(id);
            }
            return Next::Continue;
        }
        let refuse = |received: &Received, fault: Fault| interface::refuse(received, &Failure::from(fault));
        let Some(handle) = self.operator.handles.get(id) else {
            return refuse(received, Fault::Stale);
        };
        if received.parts() > PARTS_MAX {
            return refuse(received, Fault::BadRequest);
        }
        let task = received.sender().task;
        let mut turns = self.turns();
        match turns.place(task) {
            Place::Run => {
                drop(turns);
                self.perform(task, &handle, received)
            }
            // Under the lock: whoever finishes a request of this task from now on finds this one. What it lends stays where the client put it.
            Place::Park => {
                turns.park(task, Job { handle, request: received.take_message() });
                Next::Continue
            }
            Place::Busy => {
                drop(turns);
                refuse(received, Fault::Busy)
            }
        }
    }

    fn perform(&self, task: u64, handle: &Handle, request: &mut Received) -> Next {
        let next = self.operator.answer(handle, request);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.turns().finish(task);
        next
    }
}

/// Answers at once instead of with the next receive. That a client is gone, or does not want to listen, is its own affair; the answer's rights are released.
fn settle(next: Next, received: &mut Received) {
    if let Next::Reply(message) = next
        && received.wants_reply()
        && let Err(error) = received.reply(message)
    {
        tracing::debug!(%error, "an answer found nobody");
    }
}

fn root_error(path: &Path, failure: Failure) -> ServeError {
    ServeError::Root { path: path.to_path_buf(), source: Box::new(FileError::new(failure, Subject::new("open directory", b"."))) }
}

/// Fails at the start, with a sentence, rather than at every request without one.
fn check_platform(root: &Directory) -> Result<(), ServeError> {
    let errno = |failure: Failure| std::io::Error::from_raw_os_error(failure.errno).to_string();
    root.subdirectory(b".").map_err(|failure| ServeError::Missing { what: "openat2", why: errno(failure) })?;
    std::fs::metadata("/proc/self/fd").map_err(|error| ServeError::Missing { what: "/proc/self/fd", why: error.to_string() })?;
    Ok(())
}

/// Shares of what the process may open: half for one task, most for one user, so that somebody else always finds room.
fn default_limits() -> HandleLimits {
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let total = soft.map_or(usize::MAX, |soft| soft as usize).saturating_sub(RESERVED_DESCRIPTORS).clamp(64, 100_000);
    HandleLimits { task: (total / 2).min(4096), user: total - total / 8, total }
}

/// Raises this process's descriptor limit as far as it goes. For programs that do little else than serve.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused at worst, and then the old limit stands and the server's shares are smaller.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
