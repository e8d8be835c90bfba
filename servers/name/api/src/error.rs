//! What can go wrong for a client of the name server.

use std::time::Duration;

use umach_abi::{Code, Explanation};

use crate::protocol::Refusal;

/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. `Display` is one readable line with what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name server did not do it.
    #[error("{call}{}: {reason} ({}); {}", On(name), code.name().unwrap_or("unknown code"), code.advice())]
    Refused {
        /// What was asked.
        call: &'static str,
        /// Of which name, if of one.
        name: Option<String>,
        /// A `BOOTSTRAP_*` code; `KERN_INVALID_ARGUMENT` for a name that cannot be one; `KERN_INVALID_CAPABILITY` for a right that is dead.
        code: Code,
        /// The particulars.
        reason: String,
    },
    /// This task was given no bootstrap port.
    #[error(
        "this task has no name server (its bootstrap port is null); start it with `umach run -- COMMAND`, or under a service's spawner"
    )]
    NoNameServer,
    /// The name server died, or dropped the request.
    #[error("{call}{}: the name server is gone; whoever started it must start it again", On(name))]
    ServerGone {
        /// What was asked.
        call: &'static str,
        /// Of which name, if of one.
        name: Option<String>,
    },
    /// The name did not appear in time.
    #[error("{name:?} did not appear within {waited:?}; check that its server runs, or wait longer (umach names lists what is there)")]
    NotInTime {
        /// The name.
        name: String,
        /// How long.
        waited: Duration,
    },
    /// The watch is over: the name server dropped it because its queue was full, or the name space or the name server is gone.
    #[error("the watch has ended: events were not read fast enough, or the name server is gone; list the names and watch again")]
    WatchEnded,
    /// The name server that was to be started has ended, or something else was started.
    #[error("the name server did not start; see what it printed")]
    NotStarted,
    /// The answer is not one of the protocol's.
    #[error("{call}: the answer has the wrong contents ({why}); client and name server are of different versions")]
    Answer {
        /// What was asked.
        call: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The call could not be made at all.
    #[error(transparent)]
    Task(#[from] libtask::Error),
}

struct On<'a>(&'a Option<String>);

impl std::fmt::Display for On<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

impl Error {
    pub(crate) fn refused(call: &'static str, name: Option<&str>, refusal: Refusal) -> Error {
        Error::Refused { call, name: name.map(str::to_owned), code: refusal.code(), reason: refusal.reason }
    }
    /// Mach's code for it.
    pub fn code(&self) -> Code {
        match self {
            Error::Refused { code, .. } => *code,
            Error::NoNameServer => Code::KERN_NOT_FOUND,
            Error::ServerGone { .. } => Code::MIG_SERVER_DIED,
            Error::NotInTime { .. } => Code::KERN_OPERATION_TIMED_OUT,
            Error::WatchEnded | Error::NotStarted => Code::KERN_TERMINATED,
            Error::Answer { .. } => Code::MIG_TYPE_ERROR,
            Error::Task(error) => error.code(),
        }
    }
    /// All that is known about it (`umach explain`).
    pub fn explanation(&self) -> Option<&'static Explanation> {
        match self {
            Error::Refused { code, .. } => code.explanation(),
            Error::Task(error) => error.explanation(),
            other => other.own_explanation(),
        }
    }
    /// There is no such name (now).
    pub fn is_unknown(&self) -> bool {
        self.code() == Code::BOOTSTRAP_UNKNOWN_SERVICE
    }
}

umach_abi::explanations! { Error besides [Refused, Task]:
    NoNameServer = NAMES_NO_SERVER, "this task has no name server: its bootstrap port is null",
        "the kernel process runs without a name server, or whoever started this task gave it none",
        "start one with `umach serve name &`, or start the program with `umach run -- COMMAND`";
    ServerGone = NAMES_SERVER_GONE, "the name server died, or dropped the request",
        "it was killed or crashed; every name that it knew is gone with it",
        "whoever started it must start it again, and servers register again";
    NotInTime = NAMES_NOT_IN_TIME, "the name did not appear in time",
        "its server does not run, takes long to start, or registers another name",
        "check that its server runs, or wait longer (umach names lists what is there)";
    WatchEnded = NAMES_WATCH_ENDED, "the watch is over",
        "events were not read fast enough (1024 are kept), or the name server is gone",
        "list the names and watch again";
    NotStarted = NAMES_NOT_STARTED, "the name server that was to be started did not start",
        "it ended at once, or another program was started",
        "see what it printed";
    Answer = NAMES_ANSWER, "the answer is not one that a name server gives",
        "client and name server are of different versions, or the right is another server's",
        "use the same build on both sides";
}
