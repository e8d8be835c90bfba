//! The epoll set, level-triggered. Each descriptor in it carries a token that says what it belongs to; a token holds the generation of its
//! id, so an event that outlived its lane or task is seen to be stale.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::core::{LaneId, TaskId};

/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A lane's socket.
    Lane(LaneId),
    /// A task's pidfd.
    Task(TaskId),
    /// The listening socket.
    Listener,
    /// The signal descriptor.
    Signals,
}

/// Set in the slot number of a task's token. Slots are fewer than descriptors, and those are at most 2^30.
const TASK: u64 = 1 << 31;

impl Token {
    // No id has generation 0, so small numbers are free for the others.
    fn to_raw(self) -> u64 {
        match self {
            Token::Lane(lane) => lane.to_raw(),
            Token::Task(task) => task.to_raw() | TASK,
            Token::Listener => 0,
            Token::Signals => 1,
        }
    }
    fn from_raw(raw: u64) -> Token {
        match raw {
            0 => Token::Listener,
            1 => Token::Signals,
            _ if raw & TASK != 0 => Token::Task(TaskId::from_raw(raw & !TASK)),
            _ => Token::Lane(LaneId::from_raw(raw)),
        }
    }
}

/// What has happened, or is waited for.
pub(super) type Ready = EventFlags;

/// The epoll descriptor and the events of one turn.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

impl Poller {
    /// Takes at most `batch` events a turn.
    pub(super) fn new(batch: usize) -> io::Result<Poller> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(batch) })
    }

    /// Starts watching. Closing the descriptor ends it, for the kernel process never duplicates one that is watched.
    pub(super) fn add(&self, fd: impl AsFd, token: Token, ready: Ready) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.to_raw()), ready)?)
    }

    /// Changes what is waited for. An empty set still reports hang-ups.
    pub(super) fn change(&self, fd: impl AsFd, token: Token, ready: Ready) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.to_raw()), ready)?)
    }

    /// Waits, for ever without a timeout, and says how many events there are. A signal that is handled elsewhere ends it with none.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(other) => Err(other.into()),
        }
    }

    /// Whether there would be events. None is taken.
    pub(super) fn has_events(&self) -> bool {
        let mut one = [MaybeUninit::<Event>::uninit()];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.epoll, &mut one, Some(&none)).is_ok_and(|(events, _)| !events.is_empty())
    }

    /// The `n`-th event of this turn.
    pub(super) fn event(&self, n: usize) -> (Token, Ready) {
        let event = self.events[n];
        (Token::from_raw(event.data.u64()), event.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_survives_epoll() {
        for raw in [1 << 32, 7 << 32 | 123, u64::MAX << 32 | 5] {
            for token in [Token::Lane(LaneId::from_raw(raw)), Token::Task(TaskId::from_raw(raw)), Token::Listener, Token::Signals] {
                assert_eq!(Token::from_raw(token.to_raw()), token);
            }
        }
    }
}
