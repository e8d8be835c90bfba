//! Talking to a name server.

use std::time::{Duration, Instant};

use libtask::{CallError, Name, ReceiveRight, SendRight, Task};
use umach_abi::Code;

use crate::error::{Error, Result};
use crate::protocol::{Entry, NameSpace, NameSpaceClient, Refusal};
use crate::watch::Watch;

/// A name space: the bootstrap port that it is reached through.
///
/// The root and a subset are used in the same way; which one it is depends on the right.
#[derive(Debug)]
pub struct Names {
    pub(crate) server: NameSpaceClient,
}

impl Names {
    /// The name space that this task was given.
    pub fn from_bootstrap(task: &Task) -> Result<Names> {
        match task.bootstrap() {
            Ok(right) => Ok(Names::at(right)),
            Err(error) if error.code() == Code::KERN_NOT_FOUND => Err(Error::NoNameServer),
            Err(error) => Err(error.into()),
        }
    }
    /// The name space behind this bootstrap port.
    pub fn at<I: ?Sized>(right: SendRight<I>) -> Names {
        Names { server: right.untyped().typed::<dyn NameSpace>().client() }
    }
    /// The bootstrap port: give it to a task that should see this name space.
    pub fn right(&self) -> &SendRight<dyn NameSpace> {
        self.server.right()
    }

    /// The bootstrap port, in place of this.
    pub fn into_right(self) -> SendRight<dyn NameSpace> {
        self.server.into_right()
    }

    /// Publishes `right` under `name`. The name vanishes when the right's port dies.
    pub fn register<I: ?Sized>(&self, name: &str, right: SendRight<I>) -> Result<()> {
        done("register", Some(name), self.server.register(name, right.untyped()))
    }
    /// Becomes the server of `name` and gets its receive right, with all the messages that are waiting. When this right is dropped or this
    /// task dies, a declared service's port goes back to the name server; a name that was not declared vanishes.
    pub fn check_in(&self, name: &str) -> Result<ReceiveRight> {
        done("check in", Some(name), self.server.check_in(name))
    }
    /// Finds the right that was published under `name`, or a declared service's, which need not be running.
    pub fn look_up(&self, name: &str) -> Result<SendRight> {
        let right = done("look up", Some(name), self.server.look_up(name))?;
        // A right whose port died while the answer was on its way arrives as a dead one.
        if right.name() == Name::DEAD {
            let reason = format!("the server of {name:?} has just died");
            return Err(Error::refused("look up", Some(name), Refusal::new(Code::BOOTSTRAP_UNKNOWN_SERVICE, reason)));
        }
        Ok(right)
    }
    /// Finds `name`, waiting for it to appear if need be.
    pub fn look_up_within(&self, name: &str, timeout: Duration) -> Result<SendRight> {
        let started = Instant::now();
        match self.look_up(name) {
            Err(error) if error.is_unknown() => {}
            done => return done,
        }
        // The watch comes before the next look-up, so that a name which appears between the two is not missed.
        let mut watch = self.watch_name(name)?;
        loop {
            match self.look_up(name) {
                Err(error) if error.is_unknown() => {}
                done => return done,
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() || watch.next_within(left)?.is_none() {
                return Err(Error::NotInTime { name: name.to_owned(), waited: timeout });
            }
        }
    }
    /// Takes a registered name away; the right that was published stays as it is.
    pub fn unregister(&self, name: &str) -> Result<()> {
        done("unregister", Some(name), self.server.unregister(name))
    }
    /// All the names that a look-up would find, sorted.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let after = all.last().map(|entry| entry.name.as_str());
            let mut page = done("list", None, self.server.list(after))?;
            // A server that repeats itself must not keep us here for ever.
            page.entries.retain(|entry| after.is_none_or(|after| entry.name.as_str() > after));
            let more = page.more && !page.entries.is_empty();
            all.append(&mut page.entries);
            if !more {
                return Ok(all);
            }
        }
    }
    /// Tells of every name that appears or vanishes from now on. To know what was there before, watch first and list then.
    pub fn watch(&self) -> Result<Watch> {
        self.watch_for(None)
    }
    /// Tells of one name only.
    pub fn watch_name(&self, name: &str) -> Result<Watch> {
        self.watch_for(Some(name))
    }
    fn watch_for(&self, only: Option<&str>) -> Result<Watch> {
        done("watch", only, self.server.watch(only)).map(Watch::new)
    }
    /// Makes a private name space that falls back to this one and gives its bootstrap port. It ends, with the names in it, when the last right
    /// to that port is gone.
    pub fn subset(&self) -> Result<SendRight> {
        done("subset", None, self.server.subset(None)).map(SendRight::untyped)
    }
    /// The same, and it also ends when the port of `requestor` dies, whoever still holds a right to it: its names are gone, and the servers that were declared in it.
    pub fn subset_of<I: ?Sized>(&self, requestor: SendRight<I>) -> Result<SendRight> {
        done("subset", None, self.server.subset(Some(requestor.untyped()))).map(SendRight::untyped)
    }
    /// The bootstrap port for those who should see this name space and may do no more: where this is a server port, the one that it was declared through.
    pub fn unprivileged(&self) -> Result<SendRight> {
        done("find the bootstrap port", None, self.server.unprivileged()).map(SendRight::untyped)
    }
}

/// What a call came to, with what was asked.
pub(crate) fn done<T>(call: &'static str, name: Option<&str>, done: std::result::Result<T, CallError<Refusal>>) -> Result<T> {
    done.map_err(|failed| match failed {
        CallError::Refused(refusal) => Error::refused(call, name, refusal),
        CallError::Call(error) if error.is_server_died() || error.is_dead() => Error::ServerGone { call, name: name.map(str::to_owned) },
        CallError::Call(error) if error.code() == Code::MIG_TYPE_ERROR => Error::Answer { call, why: error.to_string() },
        CallError::Call(error) => error.into(),
    })
}
