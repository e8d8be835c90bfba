//! The name server's protocol: message ids, bodies, and which rights travel with them. Client and server both use this file and nothing
//! else to talk to each other.
//!
//! A request is a message to a *bootstrap port* with a [`Call`] as its id, the body in postcard, and a send-once right for the answer; a
//! request without one is dropped. The answer's id is the request's plus [`REPLY`]; its body is a [`Reply`]. The right that the holder of a
//! bootstrap port sends to is at the same time what selects the name space: the root, or a subset.
//!
//! | call | body | rights sent | answer | rights in the answer |
//! |---|---|---|---|---|
//! | `CheckIn` | [`Named`] | – | `()` | the receive right |
//! | `Register` | [`Named`] | a send right | `()` | – |
//! | `LookUp` | [`Named`] | – | `()` | a send right |
//! | `Unregister` | [`Named`] | – | `()` | – |
//! | `List` | [`ListArgs`] | – | [`ListPage`] | – |
//! | `Watch` | [`WatchArgs`] | a send right for events | `()` | – |
//! | `Subset` | `()` | – | `()` | a send right: the new bootstrap port |
//!
//! Messages without an answer: [`EVENT`] (an [`Event`]) from the server to a watcher's port, and [`READY`] (one send right: the root
//! bootstrap port) from a name server that has just started to the bootstrap port it was spawned with.

use std::fmt;

use serde::{Deserialize, Serialize};
use umach_abi::Code;
use umach_abi::limits::SERVICE_NAME_MAX;

/// An answer's id is its request's plus this (MIG's rule).
pub const REPLY: i32 = 100;
/// Id of an event, sent to a watcher.
pub const EVENT: i32 = 450;
/// Id of the message by which a name server tells its spawner that it serves, and where.
pub const READY: i32 = 451;
/// Entries in one page of a list. With the longest names and details a page still fits into one message.
pub const PAGE: usize = 128;
/// Longest detail of an entry, in bytes.
pub const DETAIL_MAX: usize = 200;

/// The requests. The numbers are message ids; they start where Mach's bootstrap subsystem does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Call {
    /// Become the server of a name: gives its receive right.
    CheckIn = 400,
    /// Publish a send right under a name.
    Register = 401,
    /// Find the send right under a name.
    LookUp = 402,
    /// Take a registered name away.
    Unregister = 403,
    /// The names that a look-up would find.
    List = 404,
    /// Be told of names that appear and vanish.
    Watch = 405,
    /// A private name space that falls back to this one.
    Subset = 406,
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 7] = [Call::CheckIn, Call::Register, Call::LookUp, Call::Unregister, Call::List, Call::Watch, Call::Subset];

    /// From a message's id.
    pub fn from_id(id: i32) -> Option<Call> {
        Call::ALL.into_iter().find(|call| call.id() == id)
    }
    /// The message id.
    pub const fn id(self) -> i32 {
        self as i32
    }
    /// The answer's message id.
    pub const fn reply_id(self) -> i32 {
        self as i32 + REPLY
    }
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Call::CheckIn => "check in",
            Call::Register => "register",
            Call::LookUp => "look up",
            Call::Unregister => "unregister",
            Call::List => "list",
            Call::Watch => "watch",
            Call::Subset => "subset",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What every answer carries.
pub type Reply<T> = Result<T, Refusal>;

/// Why the server did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Body of the calls that speak of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// Body of [`Call::List`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListArgs {
    /// Only names greater than this one (bytewise): the last of the page before.
    pub after: Option<String>,
}

/// A page of the list, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPage {
    /// At most [`PAGE`] of them.
    pub entries: Vec<Entry>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// Body of [`Call::Watch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchArgs {
    /// Only events of this name.
    pub only: Option<String>,
}

/// A name that a look-up finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What stands behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    fn call_ids_are_distinct_and_read_back() {
        for call in Call::ALL {
            assert_eq!(Call::from_id(call.id()), Some(call));
            assert_eq!(Call::from_id(call.reply_id()), None);
        }
        assert_eq!(Call::from_id(EVENT), None);
        assert_eq!(Call::from_id(READY), None);
    }

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
