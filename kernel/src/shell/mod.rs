//! The shell around the core: sockets, descriptors, signals. The daemon as a library.
//!
//! One thread around one level-triggered epoll set. A turn of it takes the events that are there; serves *one* request of each lane that has
//! one; does what the core then asks for; and ends with one slice of whatever teardown is outstanding. So no task gets more than its
//! turn, and the death of a large one is spread between the requests of the others.
//!
//! What holds:
//! 1. Nothing here waits for a task: every call on a socket says MSG_DONTWAIT, and on a memory object that a task can write only calls are
//!    made that cannot block on it ([`objects`]).
//! 2. A lane owes at most one answer; it is never lost, and never queued behind another (`conn`).
//! 3. Descriptors go from the kernel process to tasks only. Where Linux cannot refuse them on the way up (before 6.16) this is weaker, and
//!    the log says so.
//! 4. No errno ends the kernel process: shortage is waited out, anything else ends the lane that it happened on.
//! 5. When nobody asks for anything, nothing runs: there is no timer unless something is pending.
//! 6. A protocol error ends the task that made it, and the log says who and what.
//!
//! Files, in the order to read them: `sys` (system calls), `identity`, `conn` (lanes), `listen` and `lobby` (newcomers), [`objects`] and
//! `reaper` (memory), `poll`, `table`, `event_loop`, `effects`, `looking` (lanes' memory).

pub(crate) mod checker;
mod conn;
mod effects;
mod event_loop;
mod identity;
mod limits;
mod listen;
mod lobby;
mod log;
mod looking;
pub mod objects;
mod poll;
mod reaper;
mod signals;
pub(crate) mod sys;
mod table;

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::core::{Direct, Limits};

pub use log::init_log;

/// What a kernel process is to be.
#[derive(Debug)]
pub struct ShellConfig {
    /// Where to listen; `None`: nowhere, which makes sense with `lane` only.
    pub socket: Option<PathBuf>,
    /// The kernel process's end of the first task's lane: one of a `SOCK_SEQPACKET` pair. Its maker is the first task, and is trusted.
    pub lane: Option<OwnedFd>,
    /// End when the last task is gone.
    pub exit_when_idle: bool,
    /// A name for people, in the log.
    pub label: Option<String>,
    /// What each task may hold.
    pub limits: Limits,
    /// When tasks may send to each other directly.
    pub direct: Direct,
    /// Gets one line, `ready`, when tasks can connect; then it is closed.
    pub ready: Option<OwnedFd>,
    /// How long a connection may wait with its Hello.
    pub hello_within: Duration,
}

impl Default for ShellConfig {
    fn default() -> ShellConfig {
        ShellConfig {
            socket: None,
            lane: None,
            exit_when_idle: false,
            label: None,
            limits: Limits::default(),
            direct: Direct::default(),
            ready: None,
            hello_within: Duration::from_secs(10),
        }
    }
}

/// Why a kernel process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// Another one is there.
    #[error("another kernel{} runs at {}; use that one, end it, or choose another place with --socket", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
        /// Its process, if known.
        pid: Option<u32>,
    },
    /// The directory for the socket will not do.
    #[error("directory {} cannot hold the kernel's socket: {why}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to try.
        why: String,
    },
    /// Longer than Linux takes.
    #[error("socket path {} is longer than the 107 bytes that Linux takes; choose a shorter one with --socket", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something failed on the socket or its lock.
    #[error("cannot {what} the socket {}: {source}", path.display())]
    Socket {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What Linux said.
        source: io::Error,
    },
    /// The descriptor given for the first lane will not do.
    #[error("descriptor {number} cannot be the first task's lane: {why}")]
    Lane {
        /// Which.
        number: RawFd,
        /// Why.
        why: String,
    },
    /// Linux refused something without which nothing works.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What Linux said.
        source: io::Error,
    },
}

/// Runs a kernel until SIGTERM or SIGINT, or with `exit_when_idle` until its last task is gone. Takes the calling thread, and holds these
/// signals back in it meanwhile.
pub fn run(config: ShellConfig) -> Result<(), ShellError> {
    event_loop::Shell::start(config)?.run()
}

/// Takes over a descriptor that the process inherited under this number, as told on its command line. To be called once for each. A standard
/// descriptor (0 to 2) is moved away, and /dev/null takes its place.
pub fn adopt_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    sys::adopt(number)
}
