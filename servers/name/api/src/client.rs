//! Talking to a name server.

use std::time::{Duration, Instant};

use libtask::{Message, ReceiveRight, Received, SendRight, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use umach_abi::Code;

use crate::error::{Error, Result};
use crate::protocol::{Call, Entry, ListArgs, ListPage, Named, Refusal, Reply, WatchArgs};
use crate::watch::Watch;

/// A name space: the bootstrap port that it is reached through.
///
/// The root and a subset are used in the same way; which one it is depends on the right.
#[derive(Debug)]
pub struct Names {
    server: SendRight,
}

impl Names {
    /// The name space that this task was given.
    pub fn from_bootstrap(task: &Task) -> Result<Names> {
        match task.bootstrap() {
            Ok(server) => Ok(Names { server }),
            Err(error) if error.code() == Code::KERN_NOT_FOUND => Err(Error::NoNameServer),
            Err(error) => Err(error.into()),
        }
    }
    /// The name space behind this bootstrap port.
    pub fn at(server: SendRight) -> Names {
        Names { server }
    }
    /// The bootstrap port: give it to a task that should see this name space.
    pub fn right(&self) -> &SendRight {
        &self.server
    }

    /// Publishes `right` under `name`. The name vanishes when the right's port dies.
    pub fn register(&self, name: &str, right: SendRight) -> Result<()> {
        self.about(Call::Register, name, |message| message.move_send(right))?;
        Ok(())
    }
    /// Becomes the server of `name` and gets its receive right, with all the messages that are waiting. When this right is dropped or this
    /// task dies, a declared service's port goes back to the name server; a name that was not declared vanishes.
    pub fn check_in(&self, name: &str) -> Result<ReceiveRight> {
        let mut answer = self.about(Call::CheckIn, name, |message| message)?;
        answer.take_receive(0).map_err(|error| malformed(Call::CheckIn, &answer, error))
    }
    /// Finds the right that was published under `name`, or a declared service's, which need not be running.
    pub fn look_up(&self, name: &str) -> Result<SendRight> {
        let mut answer = self.about(Call::LookUp, name, |message| message)?;
        // A right whose port died while the answer was on its way arrives as a dead one.
        answer.take_send(0).map_err(|_| {
            let reason = format!("the server of {name:?} has just died");
            Error::refused(Call::LookUp, Some(name), Refusal::new(Code::BOOTSTRAP_UNKNOWN_SERVICE, reason))
        })
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
        self.about(Call::Unregister, name, |message| message)?;
        Ok(())
    }
    /// All the names that a look-up would find, sorted.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let after = all.last().map(|entry| entry.name.clone());
            let (mut page, _) = self.call::<ListPage>(Call::List, None, &ListArgs { after: after.clone() }, |message| message)?;
            // A server that repeats itself must not keep us here for ever.
            page.entries.retain(|entry| after.as_ref().is_none_or(|after| entry.name > *after));
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
        let watch = Watch::new(self.server.task())?;
        let args = WatchArgs { only: only.map(str::to_owned) };
        self.call::<()>(Call::Watch, only, &args, |message| message.make_send(watch.port()))?;
        Ok(watch)
    }
    /// Makes a private name space that falls back to this one and gives its bootstrap port. It ends, with the names in it, when the last right
    /// to that port is gone.
    pub fn subset(&self) -> Result<SendRight> {
        let ((), mut answer) = self.call(Call::Subset, None, &(), |message| message)?;
        answer.take_send(0).map_err(|error| malformed(Call::Subset, &answer, error))
    }

    fn about(&self, call: Call, name: &str, rights: impl FnOnce(Message) -> Message) -> Result<Received> {
        let ((), answer) = self.call(call, Some(name), &Named { name: name.to_owned() }, rights)?;
        Ok(answer)
    }
    /// One request and its answer: the value, and the message for the rights in it.
    fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        name: Option<&str>,
        body: &impl Serialize,
        rights: impl FnOnce(Message) -> Message,
    ) -> Result<(T, Received)> {
        let message = rights(Message::new(call.id()).body(body));
        let answer = match self.server.call(message) {
            Ok(answer) => answer,
            Err(error) if error.is_server_died() || error.is_dead() => {
                return Err(Error::ServerGone { call, name: name.map(str::to_owned) });
            }
            Err(error) => return Err(error.into()),
        };
        if answer.id() != call.reply_id() {
            return Err(Error::Answer { call, id: answer.id(), why: format!("expected answer {}", call.reply_id()) });
        }
        let value: Reply<T> = answer.body().map_err(|error| malformed(call, &answer, error))?;
        match value {
            Ok(value) => Ok((value, answer)),
            Err(refusal) => Err(Error::refused(call, name, refusal)),
        }
    }
}

fn malformed(call: Call, answer: &Received, error: libtask::Error) -> Error {
    Error::Answer { call, id: answer.id(), why: error.to_string() }
}
