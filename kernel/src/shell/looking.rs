//! Looking at lanes' memory ([`umach_link::lane`]).
//!
//! A lane that has memory and was used is looked at, for a short while that is earned; then the kernel process says that it looks no more, looks once
//! again, and sleeps in epoll. So a task that asks much pays neither for system calls nor for a wake-up, and an idle system burns nothing. Requests
//! that come over sockets get their turn meanwhile: epoll is asked each turn while they come, and now and then while they do not.
//!
//! What holds beside the shell's rules:
//! 1. One turn serves one request of each lane that is looked at, as it does of each socket.
//! 2. What a task has put in to be released is released before any request is served that was sent later, by whomever.
//! 3. The request is copied once, and only the copy is decoded. Numbers and counts are kept here, not there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use umach_abi::{Name, lane};
use umach_link::lane::Answering;
use umach_link::{Mapping, Patience, Pause};

use super::event_loop::Shell;
use crate::core::LaneId;

/// A lane's memory, from this side.
pub(super) type LaneMemory = Answering<Mapping<{ lane::SIZE }>>;

/// Lanes that are looked at at the same time.
const MOST: usize = 32;
/// Turns between two looks at the sockets while they bring nothing.
const TURNS: u32 = 8;
/// Yields between two looks at the sockets.
const YIELDS: u32 = 4;

/// Which lanes are looked at.
#[derive(Debug, Default)]
pub(super) struct Looker {
    lanes: Vec<LaneId>,
    patience: Patience,
    /// Turns until the sockets are looked at.
    turns: u32,
    names: Vec<Name>,
    slept_at: Option<Instant>,
}

/// What a turn starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Something in a lane's memory, and the sockets need not be looked at.
    Memory,
    /// The sockets should be looked at, without waiting.
    Sockets,
    /// Nothing is looked at any more: it is time to sleep.
    Nothing,
}

/// This processor's number, plus one.
fn this_cpu() -> u32 {
    rustix::thread::sched_getcpu() as u32 + 1
}

impl Looker {
    /// Whether the sockets brought something: if so, they are looked at again soon.
    pub(super) fn polled(&mut self, count: usize) {
        self.turns = if count > 0 { 0 } else { TURNS };
        if let Some(at) = self.slept_at.take() {
            self.patience.learn(at.elapsed());
        }
    }

    /// The lane is closed.
    pub(super) fn forget(&mut self, lane: LaneId) {
        self.lanes.retain(|&other| other != lane);
    }
}

impl Shell {
    /// Makes the memory of a lane; its descriptor is for the task.
    pub(super) fn make_lane_memory(&mut self, lane: LaneId) -> io::Result<OwnedFd> {
        let fd = umach_link::create_sized("umach-lane", lane::SIZE)?;
        let memory = Mapping::sized(&fd).map_err(io::Error::other)?;
        let conn = self.lanes.get_mut(lane).ok_or(io::ErrorKind::NotFound)?;
        conn.memory = Some(Box::new(Answering::new(Arc::new(memory))));
        Ok(fd)
    }

    /// Looks at the memories of lanes that were used just now. To be called between turns.
    pub(super) fn look(&mut self) -> Look {
        if self.looker.lanes.is_empty() {
            return Look::Nothing;
        }
        if self.more_work() {
            return Look::Sockets;
        }
        let found = if self.has_news() { Look::Memory } else { self.look_for_a_while() };
        match found {
            Look::Memory if self.looker.turns == 0 => Look::Sockets,
            Look::Memory => {
                self.looker.turns -= 1;
                Look::Memory
            }
            Look::Nothing if !self.rest() => Look::Sockets,
            other => other,
        }
    }

    fn has_news(&self) -> bool {
        self.looker.lanes.iter().any(|&lane| self.memory(lane).is_some_and(|memory| memory.has_news()))
    }

    fn memory(&self, lane: LaneId) -> Option<&LaneMemory> {
        self.lanes.get(lane)?.memory.as_deref()
    }

    fn memory_mut(&mut self, lane: LaneId) -> Option<&mut LaneMemory> {
        self.lanes.get_mut(lane)?.memory.as_deref_mut()
    }

    fn look_for_a_while(&mut self) -> Look {
        let here = this_cpu();
        let elsewhere = self.looker.lanes.iter().any(|&lane| self.memory(lane).is_some_and(|memory| memory.cpu() != here));
        let mut patience = self.looker.patience.clone();
        let mut yields = 0;
        let mut found = Look::Nothing;
        patience.look(elsewhere, |pause| {
            if self.has_news() {
                found = Look::Memory;
            } else if pause == Pause::Yield {
                yields += 1;
                if yields % YIELDS == 0 && self.poller.has_events() {
                    found = Look::Sockets;
                }
            }
            found != Look::Nothing
        });
        self.looker.patience = patience;
        found
    }

    /// Looks no more. False, and everything as before, if something has come just now.
    fn rest(&mut self) -> bool {
        let lanes = std::mem::take(&mut self.looker.lanes);
        for &lane in &lanes {
            self.memory_mut(lane).into_iter().for_each(LaneMemory::rest);
        }
        self.looker.lanes = lanes;
        if !self.has_news() {
            self.looker.lanes.clear();
            self.looker.slept_at = Some(Instant::now());
            return true;
        }
        let here = this_cpu();
        for n in 0..self.looker.lanes.len() {
            let lane = self.looker.lanes[n];
            self.memory_mut(lane).into_iter().for_each(|memory| memory.look(here));
        }
        false
    }

    /// The lane was used, and it would have paid to look at its memory.
    pub(super) fn warm(&mut self, lane: LaneId) {
        if self.memory(lane).is_none_or(LaneMemory::looks) || self.looker.patience.sulks() {
            return;
        }
        if self.looker.lanes.len() == MOST && !self.cool(self.looker.lanes[0]) {
            return;
        }
        self.looker.lanes.push(lane);
        self.memory_mut(lane).into_iter().for_each(|memory| memory.look(this_cpu()));
    }

    /// The lane is no longer looked at. False if something has come just now; then it is.
    pub(super) fn cool(&mut self, lane: LaneId) -> bool {
        if let Some(memory) = self.memory_mut(lane) {
            memory.rest();
            if memory.has_news() {
                memory.look(this_cpu());
                return false;
            }
        }
        self.looker.forget(lane);
        true
    }

    /// The lane's answer waits, so no request of it is served, and it is not looked at. What is in its memory is served when the answer is gone.
    pub(super) fn blind(&mut self, lane: LaneId) {
        self.memory_mut(lane).into_iter().for_each(LaneMemory::rest);
        self.looker.forget(lane);
    }

    /// Serves one request of each lane that is looked at and has one.
    pub(super) fn serve_memories(&mut self) {
        let mut at = 0;
        while let Some(&lane) = self.looker.lanes.get(at) {
            self.serve_memory(lane);
            at += 1;
        }
    }

    /// Serves what is in a lane's memory.
    pub(super) fn serve_memory(&mut self, lane: LaneId) {
        self.release_of(lane);
        let Some(conn) = self.lanes.get_mut(lane) else { return };
        let Some(memory) = conn.memory.as_deref_mut().filter(|_| conn.owed.is_none()) else { return };
        match memory.take(&mut self.packet) {
            Ok(None) => {}
            Ok(Some(len)) => self.serve(lane, len),
            Err(evidence) => self.end_offender(lane, &evidence, 0),
        }
    }

    /// Releases what was put in before a request of `lane` that has been received.
    pub(super) fn release_first(&mut self, lane: LaneId) {
        let mut at = 0;
        while let Some(&looked) = self.looker.lanes.get(at) {
            self.release_of(looked);
            at += 1;
        }
        self.release_of(lane);
    }

    /// Releases what the task of a lane has put in.
    fn release_of(&mut self, lane: LaneId) {
        let mut names = std::mem::take(&mut self.looker.names);
        let taken = self.memory_mut(lane).map(|memory| memory.take_releases(|name| names.push(Name(name))));
        match taken {
            None | Some(Ok(0)) => {}
            Some(Ok(_)) => {
                self.core.release_names(lane, &names, &mut self.effects);
                self.execute();
            }
            Some(Err(evidence)) => self.end_offender(lane, &evidence, 0),
        }
        names.clear();
        self.looker.names = names;
    }
}
