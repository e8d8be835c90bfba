//! The name server's interfaces, and the types that stand in their messages.
//!
//! A *bootstrap port* serves [`NameSpace`]. The right to it selects the name space: the root, or a subset. A name server that was started by a task tells that one by
//! [`Spawner`], on the bootstrap port that it was started with, that it serves. `umach describe umach-name-server` prints both.

use std::fmt;

use libtask::{Caller, ReceiveRight, SendRight, Sink};
use umach_abi::Code;
use umach_abi::limits::SERVICE_NAME_MAX;

/// Entries in one page of a list. With the longest names and details a page still fits into one message.
pub const PAGE: usize = 128;
/// Longest detail of an entry, in bytes.
pub const DETAIL_MAX: usize = 200;

/// A name space: publishes rights under names, and finds them.
#[libtask::interface(name = "umach.NameSpace", base = 400)]
pub trait NameSpace {
    /// Becomes the server of a name: gives its receive right.
    #[id(0)]
    fn check_in(&mut self, name: &str, caller: &Caller) -> Result<ReceiveRight, Refusal>;
    /// Publishes a send right under a name.
    #[id(1)]
    fn register(&mut self, name: &str, right: SendRight, caller: &Caller) -> Result<(), Refusal>;
    /// Finds the send right under a name.
    #[id(2)]
    fn look_up(&mut self, name: &str, caller: &Caller) -> Result<SendRight, Refusal>;
    /// Takes a registered name away.
    #[id(3)]
    fn unregister(&mut self, name: &str, caller: &Caller) -> Result<(), Refusal>;
    /// The names that a look-up would find, sorted: a page of those that are greater (bytewise) than `after`, the last of the page before.
    #[id(4)]
    fn list(&mut self, after: Option<&str>, caller: &Caller) -> Result<ListPage, Refusal>;
    /// Tells of names that appear and vanish, or of one name only. A watcher whose queue is full is dropped.
    #[id(5)]
    #[queue = 1024]
    fn watch(&mut self, only: Option<&str>, caller: &Caller, events: Sink<Event>) -> Result<(), Refusal>;
    /// Makes a private name space that falls back to this one. It ends with the last right to it; or, with all that is in it, when `requestor` dies.
    #[id(6)]
    fn subset(&mut self, requestor: Option<SendRight>, caller: &Caller) -> Result<SendRight<dyn NameSpace>, Refusal>;
    /// Declares a server: a command to be started when one of its services is needed. Gives its *server port*, a bootstrap port to this name space with which services
    /// are made and checked in; the started process has it as its own. The server ends when nobody holds it and nothing of the server runs.
    #[id(7)]
    fn create_server(&mut self, spec: ServerSpec, caller: &Caller) -> Result<SendRight<dyn NameSpace>, Refusal>;
    /// On a server port: makes a service of that server and gives the right that a look-up finds. Messages wait until its server has checked in.
    #[id(8)]
    fn create_service(&mut self, name: &str, caller: &Caller) -> Result<SendRight, Refusal>;
    /// On a server port: ends the server at once. Its names are gone, and its process is killed.
    #[id(9)]
    fn undo_server(&mut self, caller: &Caller) -> Result<(), Refusal>;
    /// The bootstrap port that goes with this: of a server port, the one that it was declared through; else this one.
    #[id(10)]
    fn unprivileged(&mut self, caller: &Caller) -> Result<SendRight<dyn NameSpace>, Refusal>;
}

/// Who starts a name server.
#[libtask::interface(name = "umach.Spawner", base = 451)]
pub trait Spawner {
    /// The name server serves now, and this is its root.
    #[id(0)]
    #[oneway]
    fn ready(&mut self, root: SendRight<dyn NameSpace>);
}

/// Why the server did not do it.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A `BOOTSTRAP_*`, `KERN_*` or `MIG_*` code.
    pub code: u32,
    /// The particulars, in one clause.
    pub reason: String,
}

impl Refusal {
    /// Builds one.
    pub fn new(code: Code, reason: impl Into<String>) -> Refusal {
        Refusal { code: code.0, reason: reason.into() }
    }
    /// The code.
    pub fn code(&self) -> Code {
        Code(self.code)
    }
}

/// What to start.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// The program by its full path, and its arguments.
    pub command: Vec<String>,
    /// The user to run it as: the caller's own.
    pub uid: u32,
    /// Started by messages only; else also whenever its process has ended.
    pub on_demand: bool,
}

/// A page of the list, sorted by name.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// At most [`PAGE`] of them.
    pub entries: Vec<Entry>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// A name that a look-up finds.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What stands behind it.
    pub kind: Kind,
    /// The process that serves it; 0 if none does now.
    pub pid: u32,
    /// That process's user; meaningless if `pid` is 0.
    pub uid: u32,
    /// How many name spaces up it was found: 0 is the one that was asked.
    pub depth: u32,
    /// For people: why a service is not running, and when it is started next. Often empty.
    pub detail: String,
    /// The task that declared its server, if one did: not the configuration.
    pub declared_by: Option<Declarer>,
}

/// The task that declared a server.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declarer {
    /// Its process, which may have ended.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// What stands behind a name.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A task published a right.
    Registered,
    /// A declared service that is not running; its first message starts it.
    OnDemand,
    /// A declared service that was started and has not checked in yet.
    Starting,
    /// A declared service whose server has checked in.
    Active,
    /// A declared service that keeps dying and waits before its next start.
    BackingOff,
}

impl Kind {
    /// For people and scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Registered => "registered",
            Kind::OnDemand => "on demand",
            Kind::Starting => "starting",
            Kind::Active => "active",
            Kind::BackingOff => "backing off",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a watcher is told.
#[libtask::data]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// A look-up of this name now finds a right that it did not find before.
    Appeared(String),
    /// The right that a look-up of this name found is gone.
    Vanished(String),
}

impl Event {
    /// The name it speaks of.
    pub fn name(&self) -> &str {
        match self {
            Event::Appeared(name) | Event::Vanished(name) => name,
        }
    }
}

/// Why a string is not a service name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No bytes at all.
    #[error("a service name cannot be empty")]
    Empty,
    /// Too long.
    #[error("a service name of {have} bytes is longer than {SERVICE_NAME_MAX}")]
    Long {
        /// Its bytes.
        have: usize,
    },
    /// White space or a control character: lists have one name a line.
    #[error("the service name {name:?} contains {found:?}; white space and control characters are not allowed")]
    Character {
        /// The name.
        name: String,
        /// The first that is not allowed.
        found: char,
    },
}

/// Checks a service name: 1 to 128 bytes of UTF-8 without white space and control characters.
pub fn check_name(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > SERVICE_NAME_MAX {
        return Err(BadName::Long { have: name.len() });
    }
    match name.chars().find(|c| c.is_control() || c.is_whitespace()) {
        Some(found) => Err(BadName::Character { name: name.to_owned(), found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_at_the_limit_is_accepted_and_one_more_byte_refused() {
        assert_eq!(check_name(&"n".repeat(SERVICE_NAME_MAX)), Ok(()));
        assert_eq!(check_name(&"n".repeat(SERVICE_NAME_MAX + 1)), Err(BadName::Long { have: SERVICE_NAME_MAX + 1 }));
        // The limit counts bytes: two of these letters are four.
        assert_eq!(check_name(&"é".repeat(SERVICE_NAME_MAX / 2)), Ok(()));
        assert!(check_name(&"é".repeat(SERVICE_NAME_MAX / 2 + 1)).is_err());
    }

    #[test]
    fn name_with_space_newline_or_nothing_is_refused() {
        assert_eq!(check_name(""), Err(BadName::Empty));
        for bad in ["a b", "a\n", "\0", "a\u{85}b", "\u{2003}x"] {
            assert!(matches!(check_name(bad), Err(BadName::Character { .. })), "{bad:?}");
        }
        assert_eq!(check_name("org.example.files/7+a:b"), Ok(()));
    }
}
