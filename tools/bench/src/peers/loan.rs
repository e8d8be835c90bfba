//! The floor of bulk in place: the sender fills memory that both keep mapped, says so in a slot, and the receiver reads it where it is.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::exchange::{Receiving, Sending};
use super::slot::{FromSlot, SIZE, ToSlot, ends};
use super::{Contestant, Kind, Peer, Pids, Skill};
use crate::data::{Sum, expected, fill};
use crate::process::{Process, input};
use crate::sys::shared::Shared;
use crate::waiting::Waiting;

pub(super) const CONTESTANTS: &[Contestant] = &[Contestant {
    name: "loan",
    label: "loan in shared memory",
    kind: Kind::Floor,
    skills: &[Skill::Bulk],
    largest: 0,
    burns: false,
    start,
    serve,
}];

const WAITING: Waiting = Waiting::SpinYieldFutex;
/// Bytes of the arena.
const ARENA: usize = 64 << 20;

/// Words of a message, its length in front.
type Words = [u64; 4];

fn to_bytes(words: Words) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(8).zip(words).for_each(|(chunk, word)| chunk.copy_from_slice(&word.to_le_bytes()));
    bytes
}

fn from_bytes(bytes: &[u8]) -> Words {
    let mut words = [0; 4];
    words.iter_mut().zip(bytes.as_chunks::<8>().0).for_each(|(word, chunk)| *word = u64::from_le_bytes(*chunk));
    words
}

struct Lender {
    arena: Shared,
    to: ToSlot,
    from: FromSlot,
    server: Process,
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (slots, slots_fd) = Shared::create(SIZE)?;
    let (arena, arena_fd) = Shared::create(ARENA)?;
    let (to, from) = ends(&Arc::new(slots), 0, WAITING);
    let server = Process::start(&["peer", contestant.name], slots_fd, Stdio::from(arena_fd))?;
    Ok(Box::new(Lender { arena, to, from, server }))
}

impl Peer for Lender {
    fn pids(&self) -> Pids {
        Pids { servers: vec![self.server.pid()], middles: Vec::new() }
    }
    fn bulk(&mut self, seed: u64, len: usize) -> Result<(u64, Duration)> {
        ensure!(len <= ARENA, "the arena has only {ARENA} bytes");
        fill(self.arena.bytes_mut(0, len), seed);
        let start = Instant::now();
        self.to.send(&to_bytes([32, len as u64, 0, 0]))?;
        let [_, sum, ..] = from_bytes(self.from.receive()?);
        let took = start.elapsed();
        ensure!(sum == expected(seed, len), "{len} bytes were not read as they were written");
        Ok((sum, took))
    }
}

fn serve(_: &Contestant, _: &[String]) -> Result<()> {
    let (mut to, mut from) = ends(&Arc::new(Shared::open(input()?)?), 1, WAITING);
    let arena = Shared::open(rustix::stdio::stdout())?;
    loop {
        let [_, len, ..] = from_bytes(from.receive()?);
        let sum = Sum::of(arena.bytes(0, len as usize));
        to.send(&to_bytes([32, sum, 0, 0]))?;
    }
}
