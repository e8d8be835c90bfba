//! Floors of calls: shared memory with room for one message each way, and a word for each that says which message is there.
//!
//! The mechanism is the least that there is; the ways to wait are what differs ([`Waiting`]).

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::exchange::{Exchange, Receiving, Sending, length, serve};
use super::{CALL_MAX, Contestant, Kind, Peer, Skill};
use crate::process::{Process, input, patience};
use crate::sys::shared::Shared;
use crate::waiting::{Waiting, publish};

const fn floor(name: &'static str, label: &'static str, burns: bool) -> Contestant {
    Contestant { name, label, kind: Kind::Floor, skills: &[Skill::Call], largest: CALL_MAX, burns, start, serve: serve_slots }
}

pub(super) const CONTESTANTS: &[Contestant] = &[
    floor("shm-spin", "shared memory, spin", true),
    floor("shm-futex", "shared memory, futex", false),
    floor("shm-spin-yield-futex", "shared memory, spin-yield-futex", false),
];

/// One direction: who sleeps, on a cache line of its own, which rarely changes; then the word, and the message right behind it, so that a small one
/// travels with it.
const ARMED: usize = 0;
const WORD: usize = 64;
const MESSAGE: usize = 72;
const HALF: usize = 128 + CALL_MAX;
/// There and back.
pub(super) const SIZE: usize = 2 * HALF;

/// The end that writes one half.
pub(super) struct ToSlot {
    memory: Arc<Shared>,
    half: usize,
    count: u32,
}

/// The end that reads the other.
pub(super) struct FromSlot {
    memory: Arc<Shared>,
    half: usize,
    seen: u32,
    waiting: Waiting,
    patience: Duration,
    message: Vec<u8>,
}

impl Sending for ToSlot {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.memory.write(self.half + MESSAGE, message);
        self.count = self.count.wrapping_add(1);
        publish(self.memory.word(self.half + WORD), self.count, self.memory.word(self.half + ARMED))
    }
    fn bulk(&mut self, _: &[u8]) -> Result<()> {
        anyhow::bail!("a slot carries one message at a time")
    }
}

impl Receiving for FromSlot {
    fn receive(&mut self) -> Result<&[u8]> {
        self.seen = self.waiting.wait(self.memory.word(self.half + WORD), self.memory.word(self.half + ARMED), self.seen, self.patience)?;
        let mut start = [0; 4];
        self.memory.read(self.half + MESSAGE, &mut start);
        let len = length(&start).unwrap_or(0);
        ensure!(len <= CALL_MAX, "a message of {len} bytes");
        self.memory.read(self.half + MESSAGE, &mut self.message[..len]);
        Ok(&self.message[..len])
    }
}

/// The two ends of the client (`side` 0) or the server (1), in memory that starts with the slots.
pub(super) fn ends(memory: &Arc<Shared>, side: usize, waiting: Waiting) -> (ToSlot, FromSlot) {
    let to = ToSlot { memory: memory.clone(), half: side * HALF, count: 0 };
    let (half, patience) = ((1 - side) * HALF, patience(side == 1));
    let from = FromSlot { memory: memory.clone(), half, seen: 0, waiting, patience, message: vec![0; CALL_MAX] };
    (to, from)
}

/// How this contestant waits: its name says so.
pub(super) fn waiting(contestant: &Contestant) -> Result<Waiting> {
    Waiting::from_name(contestant.name.split_once('-').map_or("", |(_, waiting)| waiting))
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (memory, fd) = Shared::create(SIZE)?;
    let (to, from) = ends(&Arc::new(memory), 0, waiting(contestant)?);
    Ok(Exchange::boxed(to, from, server(contestant, fd)?))
}

/// The other process, which finds the memory as its standard input.
pub(super) fn server(contestant: &Contestant, memory: OwnedFd) -> Result<Process> {
    Process::start(&["peer", contestant.name], memory, Stdio::null())
}

fn serve_slots(contestant: &Contestant, _: &[String]) -> Result<()> {
    let (mut to, mut from) = ends(&Arc::new(Shared::open(input()?)?), 1, waiting(contestant)?);
    serve(&mut to, &mut from)
}
