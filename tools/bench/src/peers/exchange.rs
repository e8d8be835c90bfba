//! What is done with two ends that send and receive messages, whatever they are made of.
//!
//! A message starts with its length and what is wanted, four bytes each, so that ends without messages of their own (a pipe) can tell them apart. Bulk
//! is announced by a message and then sent in pieces, as large as the mechanism takes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{CALL_MAX, Peer, Pids};
use crate::data::{Sum, expected, fill};
use crate::process::Process;

/// What a message wants.
const ECHO: u32 = 1;
const TAKE: u32 = 2;
const FLUSH: u32 = 3;
const BULK: u32 = 4;

/// The end that sends.
pub(super) trait Sending {
    /// Sends one message, waiting for room.
    fn send(&mut self, message: &[u8]) -> Result<()>;
    /// Sends bytes that were announced.
    fn bulk(&mut self, bytes: &[u8]) -> Result<()>;
    /// Tells the other end that there is no more; `false` if it need not be told.
    fn end(&mut self) -> bool {
        false
    }
}

/// The end that receives.
pub(super) trait Receiving {
    /// The next message; empty if the other end is gone.
    fn receive(&mut self) -> Result<&[u8]>;
    /// The next of at most so many bytes that were announced.
    fn piece(&mut self, _most: usize) -> Result<&[u8]> {
        self.receive()
    }
}

fn head(message: &mut [u8], kind: u32) {
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_le_bytes());
    message[4..8].copy_from_slice(&kind.to_le_bytes());
}

fn word(message: &[u8], at: usize) -> Result<u64> {
    let bytes = message.get(at..at + 8).with_context(|| format!("a message of {} bytes is too short", message.len()))?;
    Ok(bytes.try_into().map(u64::from_le_bytes)?)
}

/// The length that a message starts with.
pub(super) fn length(start: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(start.get(..4)?.try_into().ok()?) as usize)
}

/// Whether somebody waits for an answer to this message.
pub(super) fn wants_answer(message: &[u8]) -> bool {
    message.get(4..8).is_some_and(|kind| kind == ECHO.to_le_bytes() || kind == FLUSH.to_le_bytes())
}

/// Does what messages want until there are no more.
pub(super) fn serve(to: &mut impl Sending, from: &mut impl Receiving) -> Result<()> {
    loop {
        let message = from.receive()?;
        if message.is_empty() {
            return Ok(());
        }
        match (word(message, 0)? >> 32) as u32 {
            ECHO | FLUSH => to.send(message)?,
            TAKE => {}
            BULK => {
                let len = word(message, 8)? as usize;
                let mut sum = Sum::default();
                while sum.len() < len {
                    let piece = from.piece(len - sum.len())?;
                    ensure!(!piece.is_empty(), "the other end is gone in the middle of {len} bytes");
                    sum.add(piece);
                }
                let mut answer = [0; 32];
                head(&mut answer, BULK);
                answer[8..16].copy_from_slice(&sum.total().to_le_bytes());
                to.send(&answer)?;
            }
            other => bail!("a message wants {other}"),
        }
    }
}

/// A client with its two ends.
pub(super) struct Exchange<S: Sending, R: Receiving> {
    to: S,
    from: R,
    servers: Vec<Process>,
    middles: Vec<Process>,
    message: Vec<u8>,
    data: Vec<u8>,
    count: u64,
}

impl<S: Sending + 'static, R: Receiving + 'static> Exchange<S, R> {
    pub(super) fn boxed(to: S, from: R, server: Process) -> Box<dyn Peer> {
        Exchange::through(to, from, server, Vec::new())
    }
    /// The same with processes between the two.
    pub(super) fn through(to: S, from: R, server: Process, middles: Vec<Process>) -> Box<dyn Peer> {
        Box::new(Exchange { to, from, servers: vec![server], middles, message: vec![0; CALL_MAX], data: Vec::new(), count: 0 })
    }
}

impl<S: Sending, R: Receiving> Drop for Exchange<S, R> {
    fn drop(&mut self) {
        if self.to.end() {
            self.servers.iter_mut().for_each(Process::end_by_itself);
        }
    }
}

impl<S: Sending, R: Receiving> Exchange<S, R> {
    fn call(&mut self, size: usize, kind: u32) -> Result<()> {
        self.count += 1;
        let message = &mut self.message[..size];
        head(message, kind);
        message[8..16].copy_from_slice(&self.count.to_le_bytes());
        self.to.send(message)?;
        let answer = self.from.receive()?;
        ensure!(answer.len() == size && answer[..16] == message[..16], "a call of {size} bytes was answered by {}", answer.len());
        Ok(())
    }
}

impl<S: Sending, R: Receiving> Peer for Exchange<S, R> {
    fn pids(&self) -> Pids {
        let pids = |processes: &[Process]| processes.iter().map(Process::pid).collect();
        Pids { servers: pids(&self.servers), middles: pids(&self.middles) }
    }
    fn calls(&mut self, count: usize, size: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.call(size, ECHO))
    }
    fn stream(&mut self, count: usize, size: usize) -> Result<()> {
        head(&mut self.message[..size], TAKE);
        for _ in 0..count {
            self.to.send(&self.message[..size])?;
        }
        self.call(size, FLUSH)
    }
    fn bulk(&mut self, seed: u64, len: usize) -> Result<(u64, Duration)> {
        self.data.resize(len, 0);
        fill(&mut self.data, seed);
        let message = &mut self.message[..32];
        head(message, BULK);
        message[8..16].copy_from_slice(&(len as u64).to_le_bytes());
        let start = Instant::now();
        self.to.send(message)?;
        self.to.bulk(&self.data)?;
        let sum = word(self.from.receive()?, 8)?;
        let took = start.elapsed();
        ensure!(sum == expected(seed, len), "{len} bytes did not arrive as they were sent");
        Ok((sum, took))
    }
}
