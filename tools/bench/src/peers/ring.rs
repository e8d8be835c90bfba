//! Floors of streams and copies: shared memory with a ring each way, as large as a good one needs to be and no larger.
//!
//! Positions count bytes ever written or read, each has one writer, and each is looked at only when the own copy says that there is nothing
//! (or no room). A record is its length in eight bytes and then itself; one that would not fit before the end starts over at the beginning.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::exchange::{Exchange, Receiving, Sending, serve};
use super::{Contestant, Kind, Peer, Skill};
use crate::process::{Process, input, patience};
use crate::sys::shared::Shared;
use crate::waiting::{Waiting, publish, wake};

const fn floor(name: &'static str, label: &'static str, skills: &'static [Skill]) -> Contestant {
    Contestant { name, label, kind: Kind::Floor, skills, largest: 0, burns: false, start, serve: serve_rings }
}

pub(super) const CONTESTANTS: &[Contestant] = &[
    floor("ring-spin-yield-futex", "ring, spin-yield-futex", &[Skill::Stream, Skill::Bulk]),
    floor("ring-futex", "ring, futex", &[Skill::Stream]),
];

/// Pieces of bulk.
const PIECE: usize = 64 * 1024;
/// Bytes of a ring, a power of two.
const RING: usize = 4 * PIECE;
/// Where things are in one direction, each on a cache line of its own.
const TAIL: usize = 0;
const TAIL_ARMED: usize = 64;
const HEAD: usize = 128;
const HEAD_ARMED: usize = 192;
const BYTES: usize = 256;
const HALF: usize = BYTES + RING;
/// Bytes before a record.
const RECORD: usize = 8;
/// The length that says: go on at the beginning.
const OVER: u64 = u64::MAX;

/// The end that writes.
struct ToRing {
    memory: Arc<Shared>,
    at: usize,
    tail: u32,
    /// The head as last looked at.
    head: u32,
    waiting: Waiting,
    patience: Duration,
}

/// The end that reads.
struct FromRing {
    memory: Arc<Shared>,
    at: usize,
    head: u32,
    /// The tail as last looked at.
    tail: u32,
    waiting: Waiting,
    patience: Duration,
    message: Vec<u8>,
}

fn index(position: u32) -> usize {
    position as usize % RING
}

fn record_size(len: usize) -> usize {
    RECORD + len.next_multiple_of(8)
}

impl ToRing {
    /// Waits until so many bytes are free.
    fn make_room(&mut self, want: usize) -> Result<()> {
        while RING - (self.tail.wrapping_sub(self.head) as usize) < want {
            let head = self.memory.word(self.at + HEAD);
            let now = head.load(Ordering::Acquire);
            self.head =
                if now == self.head { self.waiting.wait(head, self.memory.word(self.at + HEAD_ARMED), now, self.patience)? } else { now };
        }
        Ok(())
    }
    fn at(&self, position: u32) -> usize {
        self.at + BYTES + index(position)
    }
}

impl Sending for ToRing {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let size = record_size(message.len());
        let left = RING - index(self.tail);
        if left < size {
            self.make_room(left + size)?;
            self.memory.write(self.at(self.tail), &OVER.to_le_bytes());
            self.tail = self.tail.wrapping_add(left as u32);
        } else {
            self.make_room(size)?;
        }
        let at = self.at(self.tail);
        self.memory.write(at, &(message.len() as u64).to_le_bytes());
        self.memory.write(at + RECORD, message);
        self.tail = self.tail.wrapping_add(size as u32);
        publish(self.memory.word(self.at + TAIL), self.tail, self.memory.word(self.at + TAIL_ARMED))
    }
    fn bulk(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(PIECE).try_for_each(|piece| self.send(piece))
    }
}

impl Receiving for FromRing {
    fn receive(&mut self) -> Result<&[u8]> {
        loop {
            if self.head == self.tail {
                self.tail = self.waiting.wait(
                    self.memory.word(self.at + TAIL),
                    self.memory.word(self.at + TAIL_ARMED),
                    self.tail,
                    self.patience,
                )?;
            }
            let at = self.at + BYTES + index(self.head);
            let mut length = [0; RECORD];
            self.memory.read(at, &mut length);
            let over = u64::from_le_bytes(length) == OVER;
            let len = if over { 0 } else { u64::from_le_bytes(length) as usize };
            ensure!(len <= PIECE, "a record of {len} bytes");
            let size = if over { RING - index(self.head) } else { record_size(len) };
            self.memory.read(at + RECORD, &mut self.message[..len]);
            let left = |head: u32| self.tail.wrapping_sub(head) as usize;
            let before = left(self.head);
            self.head = self.head.wrapping_add(size as u32);
            self.memory.word(self.at + HEAD).store(self.head, Ordering::Release);
            // Somebody without room is woken when there is plenty and when there is nothing more to read, not at each record.
            if before > RING / 2 && left(self.head) <= RING / 2 || self.head == self.tail {
                wake(self.memory.word(self.at + HEAD), self.memory.word(self.at + HEAD_ARMED))?;
            }
            if !over {
                return Ok(&self.message[..len]);
            }
        }
    }
}

fn ends(memory: Shared, side: usize, waiting: Waiting) -> (ToRing, FromRing) {
    let (memory, patience) = (Arc::new(memory), patience(side == 1));
    let to = ToRing { memory: memory.clone(), at: side * HALF, tail: 0, head: 0, waiting, patience };
    let from = FromRing { memory, at: (1 - side) * HALF, head: 0, tail: 0, waiting, patience, message: vec![0; PIECE] };
    (to, from)
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (memory, fd) = Shared::create(2 * HALF)?;
    let (to, from) = ends(memory, 0, super::slot::waiting(contestant)?);
    Ok(Exchange::boxed(to, from, Process::start(&["peer", contestant.name], fd, Stdio::null())?))
}

fn serve_rings(contestant: &Contestant, _: &[String]) -> Result<()> {
    let (mut to, mut from) = ends(Shared::open(input()?)?, 1, super::slot::waiting(contestant)?);
    serve(&mut to, &mut from)
}
