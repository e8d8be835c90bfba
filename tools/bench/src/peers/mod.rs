//! The contestants: what is measured beside each other, each in a file of its own.
//!
//! A contestant's client is an object in the measuring process ([`Peer`]); its server is a process of its own, this program started again. A mechanism
//! that is a pair of ends which send and receive messages only says how ([`exchange::Sending`], [`exchange::Receiving`]); what is done with
//! them is the same for all.
//!
//! To add one: a file with a `pub(super) const` list of [`Contestant`]s, and a line in [`LISTS`].

mod exchange;
#[cfg(feature = "peers")]
mod iceoryx;
#[cfg(feature = "peers")]
mod ipc_channel;
mod loan;
mod pipe;
mod queue;
mod relay;
mod ring;
mod scm;
mod slot;
mod socket;
mod umach;
#[cfg(feature = "peers")]
mod zbus;

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Every contestant, in the order in which they are shown.
const LISTS: &[&[Contestant]] = &[
    umach::CONTESTANTS,
    slot::CONTESTANTS,
    ring::CONTESTANTS,
    loan::CONTESTANTS,
    scm::CONTESTANTS,
    pipe::CONTESTANTS,
    socket::CONTESTANTS,
    queue::CONTESTANTS,
    relay::CONTESTANTS,
    #[cfg(feature = "peers")]
    ipc_channel::CONTESTANTS,
    #[cfg(feature = "peers")]
    iceoryx::CONTESTANTS,
    #[cfg(feature = "peers")]
    zbus::CONTESTANTS,
];

/// What a contestant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the project makes.
    Umach,
    /// The least that it could cost.
    Floor,
    /// What others make.
    Peer,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Umach => "umach",
            Kind::Floor => "floor",
            Kind::Peer => "peer",
        }
    }
}

/// What a contestant can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skill {
    /// [`Peer::calls`].
    Call,
    /// [`Peer::stream`].
    Stream,
    /// [`Peer::bulk`].
    Bulk,
    /// [`Peer::rights`].
    Rights,
}

/// One of those measured beside each other.
#[derive(Debug)]
pub(crate) struct Contestant {
    /// For the command line and programs.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
    pub(crate) skills: &'static [Skill],
    /// The largest message of a call, in bytes.
    pub(crate) largest: usize,
    /// Whether it burns a processor while it waits, so that it makes no sense where there is only one.
    pub(crate) burns: bool,
    /// Starts its processes.
    start: fn(&Contestant) -> Result<Box<dyn Peer>>,
    /// What such a process does.
    serve: fn(&Contestant, &[String]) -> Result<()>,
}

/// The largest call that is measured.
pub(crate) const CALL_MAX: usize = 64 * 1024;

impl Contestant {
    pub(crate) fn all() -> impl Iterator<Item = &'static Contestant> {
        LISTS.iter().copied().flatten()
    }
    /// Whether somebody who says this means this one: its name, or a part of it that is nobody's name.
    pub(crate) fn is_called(&self, text: &str) -> bool {
        self.name == text || self.name.contains(text) && !Contestant::all().any(|other| other.name == text)
    }
    pub(crate) fn can(&self, skill: Skill) -> bool {
        self.skills.contains(&skill)
    }
    pub(crate) fn start(&self) -> Result<Box<dyn Peer>> {
        (self.start)(self).with_context(|| format!("starting {}", self.label))
    }
}

fn find(name: &str) -> Result<&'static Contestant> {
    Contestant::all().find(|contestant| contestant.name == name).with_context(|| format!("no contestant is called {name}"))
}

/// Starts the contestant with this name.
pub(crate) fn start(name: &str) -> Result<Box<dyn Peer>> {
    find(name)?.start()
}

/// One process of the contestant with this name.
pub(crate) fn serve(name: &str, args: &[String]) -> Result<()> {
    let contestant = find(name)?;
    (contestant.serve)(contestant, args)
}

/// Whether processes of this contestant have something to clean up when the client is gone, and so must not simply be killed then.
pub(crate) fn cleans_up(name: &str) -> bool {
    name == queue::SYSV
}

/// The processes of a contestant besides this one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pids {
    pub(crate) servers: Vec<u32>,
    /// Those that pass on what others send.
    pub(crate) middles: Vec<u32>,
}

/// A contestant's client, with its processes; dropping it ends them.
pub(crate) trait Peer {
    fn pids(&self) -> Pids;
    /// So many times: sends `size` bytes (32 at least), and waits for as many back.
    fn calls(&mut self, _count: usize, _size: usize) -> Result<()> {
        bail!("it does not call")
    }
    /// Sends so many messages of `size` bytes without waiting for anything, and then waits until all are received.
    fn stream(&mut self, _count: usize, _size: usize) -> Result<()> {
        bail!("it does not stream")
    }
    /// Hands `len` bytes over, filled with `seed`; the receiver reads every one and answers with what it read. Gives the sum, and the time from
    /// when the bytes were there to when the answer was.
    fn bulk(&mut self, _seed: u64, _len: usize) -> Result<(u64, Duration)> {
        bail!("it does not carry bulk")
    }
    /// Sends so many messages with `each` rights in each, and waits until all are received and released.
    fn rights(&mut self, _messages: usize, _each: usize) -> Result<()> {
        bail!("it does not carry rights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contestants_have_names_of_their_own_and_are_found_by_them() {
        let called = |text: &str| Contestant::all().filter(|contestant| contestant.is_called(text)).map(|one| one.name).collect::<Vec<_>>();
        for contestant in Contestant::all() {
            assert_eq!(called(contestant.name), [contestant.name]);
        }
        assert_eq!(called("unix"), ["unix-stream", "unix-seqpacket"]);
    }
}
