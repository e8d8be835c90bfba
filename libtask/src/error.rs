//! What can go wrong: one enum, each value saying what was attempted, on which right, and what to try.

use std::fmt;
use std::io;

use umach_abi::control::Malformed;
use umach_abi::{Code, Explanation, Name, RightKind};

use crate::message::Message;

/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A right as errors and traces show it: `send 0x103`. It is a label, not the right.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RightLabel {
    /// Its kind.
    pub kind: RightKind,
    /// Its name in this task.
    pub name: Name,
}

impl RightLabel {
    pub(crate) fn new(kind: RightKind, name: Name) -> RightLabel {
        RightLabel { kind, name }
    }
}

pub(crate) fn kind_name(kind: RightKind) -> &'static str {
    match kind {
        RightKind::Send => "send",
        RightKind::Receive => "receive",
        RightKind::SendOnce => "send-once",
        RightKind::PortSet => "set",
        RightKind::DeadName => "dead",
    }
}

impl fmt::Display for RightLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", kind_name(self.kind), self.name)
    }
}

impl fmt::Debug for RightLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why something failed. `Display` is one readable line; [`Error::code`] is Mach's number for it; [`Error::advice`] says what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel process refused, or gave one of Mach's codes.
    #[error("{what}{}: {code}; {}", OnRight(on), code.advice())]
    Mach {
        /// The code.
        code: Code,
        /// What was attempted.
        what: &'static str,
        /// On which right, if on one.
        on: Option<RightLabel>,
    },
    /// The connection to the kernel process is over: it ended, or it ended this task. Every right of this task is gone.
    #[error("the kernel process is gone, or has ended this task; every right is lost: connect again")]
    KernelGone,
    /// The process was forked after the task had connected. The child is not the task.
    #[error("this process was forked from the task's; rights do not survive a fork: spawn tasks with Task::spawn, or connect anew")]
    Forked,
    /// No kernel process could be found or started.
    #[error("no kernel process: {why}; start one with `umach kernel`, or name its socket in UMACH_SOCKET")]
    NoKernel {
        /// What was tried and how it failed.
        why: String,
    },
    /// Linux refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Linux's error.
        #[source]
        source: io::Error,
    },
    /// The kernel process answered what the protocol does not allow; a bug in it or here.
    #[error("the kernel process broke the protocol: {0}")]
    Protocol(Malformed),
    /// A body could not be written or read as the type asked for.
    #[error("message {id}: body of {len} bytes is not {what}: {why}")]
    Body {
        /// The message's id.
        id: i32,
        /// Bytes of body.
        len: usize,
        /// The type.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// A server did not carry out a call, for a reason that is none of its interface's errors: it knows no such method, or could not read the arguments.
    #[error("{method}: {code} (the server says: {reason}); {}", code.advice())]
    Failure {
        /// What was called: interface and method.
        method: &'static str,
        /// `MIG_BAD_ID` for an unknown method, `MIG_TYPE_ERROR` for arguments of other types, or the server's own.
        code: Code,
        /// The particulars, in the server's words.
        reason: String,
    },
    /// The message has no such part at this index.
    #[error("message {id}: part {index} is {found}, not {wanted}")]
    Part {
        /// The message's id.
        id: i32,
        /// Index counted in the order in which rights and memory were added.
        index: usize,
        /// What is there.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A future has to wait, and no runtime was attached to its task that would wake it; or the one that was is over.
    #[error(
        "no async runtime watches this task's messages; attach one: libtask::tokio::attach(&task), libtask::smol::attach(&task), or Task::attach"
    )]
    NotAttached,
    /// An open file did not come with its message.
    #[error("no open file: {why}")]
    File {
        /// Why not.
        why: &'static str,
    },
    /// Memory that came with a message is not what the kernel process must have checked; it was not mapped.
    #[error("memory refused: {why}")]
    Memory {
        /// What is wrong with it.
        why: String,
    },
}

struct OnRight<'a>(&'a Option<RightLabel>);

impl fmt::Display for OnRight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(on) => write!(f, " on {on}"),
            None => Ok(()),
        }
    }
}

impl Error {
    pub(crate) fn mach(code: Code, what: &'static str) -> Error {
        Error::Mach { code, what, on: None }
    }
    pub(crate) fn on(code: Code, what: &'static str, kind: RightKind, name: Name) -> Error {
        Error::Mach { code, what, on: Some(RightLabel::new(kind, name)) }
    }
    /// A future's deadline has passed.
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(crate) fn late() -> Error {
        Error::mach(Code::MACH_RCV_TIMED_OUT, "waiting with a deadline")
    }
    pub(crate) fn io(what: &'static str, source: impl Into<io::Error>) -> Error {
        Error::Io { what, source: source.into() }
    }
    /// Mach's code for this error. What Mach has no code for: `KERN_TERMINATED` when the kernel process is gone, `KERN_INVALID_TASK` after
    /// a fork, `MIG_TYPE_ERROR` for a body or part of another type, `KERN_FAILURE` for the rest.
    pub fn code(&self) -> Code {
        match self {
            Error::Mach { code, .. } | Error::Failure { code, .. } => *code,
            Error::KernelGone => Code::KERN_TERMINATED,
            Error::Forked => Code::KERN_INVALID_TASK,
            Error::Body { .. } | Error::Part { .. } => Code::MIG_TYPE_ERROR,
            Error::Memory { .. } => Code::KERN_MEMORY_FAILURE,
            Error::File { .. } => Code::KERN_NOT_FOUND,
            Error::NotAttached => Code::KERN_NOT_WAITING,
            Error::NoKernel { .. } | Error::Io { .. } | Error::Protocol(_) => Code::KERN_FAILURE,
        }
    }
    /// All that is known about it (`umach explain`): Mach's code for what the kernel process refused, else this variant's own text. `None` for a code
    /// that is none of the table's.
    pub fn explanation(&self) -> Option<&'static Explanation> {
        match self {
            Error::Mach { code, .. } | Error::Failure { code, .. } => code.explanation(),
            other => other.own_explanation(),
        }
    }
    /// What to try.
    pub fn advice(&self) -> &'static str {
        self.explanation().map_or("report it", |known| known.advice)
    }
    /// A deadline passed: the queue stayed full, or no message came.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.code().plain(), Code::MACH_SEND_TIMED_OUT | Code::MACH_RCV_TIMED_OUT)
    }
    /// The port that was sent to is dead (or its right was never one that can send).
    pub fn is_dead(&self) -> bool {
        matches!(self.code().plain(), Code::MACH_SEND_INVALID_DEST)
    }
    /// The server dropped the request without an answer, usually by dying.
    pub fn is_server_died(&self) -> bool {
        self.code() == Code::MIG_SERVER_DIED
    }
    /// The server is there and knows no such method: it is older, or another interface's.
    pub fn is_unknown_method(&self) -> bool {
        matches!(self, Error::Failure { code: Code::MIG_BAD_ID, .. })
    }
    /// The port that was received on was destroyed or moved away.
    pub fn is_port_gone(&self) -> bool {
        matches!(self.code().plain(), Code::MACH_RCV_PORT_CHANGED | Code::MACH_RCV_PORT_DIED | Code::MACH_RCV_INVALID_NAME)
    }
}

umach_abi::explanations! { Error besides [Mach, Failure]:
    KernelGone = LIBTASK_KERNEL_GONE, "the kernel process is gone, or has ended this task; every right of it is lost",
        "umach kernel was stopped or crashed, `umach kill` ended the task, or the task broke the protocol (the kernel's log says so)",
        "connect again, and look the services up again";
    Forked = LIBTASK_FORKED, "a child of the task's process used the task",
        "rights do not survive a fork: the child is a process of its own and not the task",
        "spawn tasks with Task::spawn, or connect anew in the child";
    NoKernel = LIBTASK_NO_KERNEL, "no kernel process could be found or started",
        "none listens at the socket ($UMACH_SOCKET, else $XDG_RUNTIME_DIR/umach/socket, else /tmp/umach-<uid>/socket), or it belongs to another user",
        "start one with `umach kernel`, or name its socket in UMACH_SOCKET";
    Io = LIBTASK_LINUX, "Linux refused a system call",
        "no descriptor or memory is left, or a sandbox or container forbids the call; Linux's own reason is in the message",
        "see umach doctor";
    Protocol = LIBTASK_PROTOCOL, "the kernel process answered what the protocol does not allow",
        "libtask and kernel process of different builds, or a bug in one of them",
        "use the same build on both sides; if it is, report it";
    Body = LIBTASK_BODY, "a body could not be written or read as the type asked for",
        "the sender and the receiver were built from different types, or the message is of another interface",
        "check that both sides use the same description of the interface";
    Part = LIBTASK_PART, "the message has no such part at this index",
        "the sender put its rights and memory in another order, or left one out",
        "check that both sides use the same description of the interface";
    NotAttached = LIBTASK_NOT_ATTACHED, "a future has to wait, and no runtime watches its task's messages",
        "no runtime was attached to the task, or the one that was is over",
        "attach the runtime to the task, once, before its futures wait: libtask::tokio::attach, libtask::smol::attach or Task::attach";
    File = LIBTASK_FILE, "an open file did not come with its message",
        "the sender ended, or the message was passed on by a task that had no lane for files to this one",
        "ask the sender to send it again";
    Memory = LIBTASK_MEMORY, "memory that came with a message is not what the kernel process must have checked; it was not mapped",
        "the seals or the size of the memory are wrong: the kernel process is not genuine, or has a bug",
        "do not trust the sender; report it if the kernel process is genuine";
}

/// A send that failed, with the message if it was not consumed, so that it can be sent again or elsewhere.
#[derive(Debug)]
pub struct SendError {
    /// Why.
    pub error: Error,
    /// The message with everything in it; absent when the rights in it are lost (a bad right or memory in the body, or no connection).
    pub message: Option<Box<Message>>,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

impl From<Error> for SendError {
    fn from(error: Error) -> SendError {
        SendError { error, message: None }
    }
}

impl From<SendError> for Error {
    fn from(failed: SendError) -> Error {
        failed.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_explanation_is_complete_and_advice_comes_from_it() {
        assert!(Error::EXPLANATIONS.iter().all(Explanation::is_complete));
        assert_eq!(Error::Forked.explanation().map(|known| known.name), Some("LIBTASK_FORKED"));
        let dead = Error::mach(Code::MACH_SEND_INVALID_DEST, "sending");
        assert_eq!(dead.explanation().map(|known| known.name), Some("MACH_SEND_INVALID_DEST"));
        assert_eq!(dead.advice(), Code::MACH_SEND_INVALID_DEST.advice());
        assert_eq!(Error::mach(Code(0x7777), "trying").explanation(), None);
    }
}
