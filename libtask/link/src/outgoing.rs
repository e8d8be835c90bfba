//! The producer of the own ring.
//!
//! Positions count the bytes ever written, modulo 2^32; the ring's size divides that. `head <= published <= tail <= head + size` holds in that
//! arithmetic, where `tail` and `published` are private and `head` is a checked snapshot of the consumer's word, taken only when space seems short.
//!
//! 1. A record's bytes are written before the tail that covers them is published (Release; the consumer's Acquire of `TAIL` pairs with it).
//! 2. Bytes are written again only after the consumer's head has passed them (Acquire; pairs with its Release of `HEAD`).
//! 3. After a tail is published, a full fence, then the peer's flag: [`crate::bell`].

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use umach_abi::link::{HEAD, RECORD_ALIGN, RECORD_HEAD, RING, SPACE_WANTED, TAIL, bell};
use umach_abi::records::violation;

use crate::bell::{Bell, armed, concerns};
use crate::evidence::Evidence;
use crate::memory::{Fence, Memory, Word, base, other};

/// The head of a record to be published; its length is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordHead {
    /// One of [`umach_abi::link::record`].
    pub kind: u32,
    /// The route's index.
    pub route: u32,
    /// 1 + the slot that the reply goes to, or 0.
    pub slot: u32,
    /// Generation of that slot.
    pub generation: u32,
    /// The message's id.
    pub id: u32,
}

/// Why a record was not written. Nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No room now: wait for some ([`Outgoing::want_space`]) or send through the kernel process.
    #[error("the ring of the link is full: wait for space, or send through the kernel process")]
    Full,
    /// The peer's head is impossible.
    #[error(transparent)]
    Corrupt(#[from] Evidence),
}

/// How far ahead lines of cache are fetched that the peer has read: else each publishing waits for them.
const AHEAD: [u32; 2] = [512, 576];

/// Bytes of the ring that a record with so many bytes of payload takes.
#[inline]
pub const fn record_size(payload: usize) -> usize {
    (RECORD_HEAD + payload).next_multiple_of(RECORD_ALIGN)
}

/// The producer of one half's ring.
#[derive(Debug)]
pub struct Outgoing<M> {
    mem: Arc<M>,
    mine: usize,
    /// Written up to here.
    tail: u32,
    /// The consumer knows up to here.
    published: u32,
    /// The last head that was checked.
    head: u32,
    /// Bytes promised to [`Outgoing::push_reserved`].
    reserved: u32,
    /// How many wait for space, and how many of them are woken through the kernel process.
    waiting: u32,
    polled: u32,
}

impl<M: Memory> Outgoing<M> {
    /// The producer of the ring in half `mine`, which nobody has written yet.
    pub fn new(mem: Arc<M>, mine: usize) -> Outgoing<M> {
        Outgoing::starting_at(mem, mine, 0)
    }
    /// As if `position` bytes (a multiple of eight) had been written and consumed: for tests of the positions' wrap.
    #[doc(hidden)]
    pub fn starting_at(mem: Arc<M>, mine: usize, position: u32) -> Outgoing<M> {
        const { assert!(M::RING.is_power_of_two() && M::RING as usize >= 2 * RECORD_HEAD) };
        mem.word(base(mine) + TAIL).store(position, Release);
        Outgoing { mem, mine, tail: position, published: position, head: position, reserved: 0, waiting: 0, polled: 0 }
    }

    /// Writes a record and publishes it, with all that [`Outgoing::push_quiet`] wrote. Ring the bell.
    ///
    /// Panics if the payload is longer than [`Memory::RECORD`].
    #[inline]
    pub fn push(&mut self, head: RecordHead, payload: &[&[u8]]) -> Result<Bell, PushError> {
        self.push_quiet(head, payload)?;
        Ok(self.flush())
    }
    /// Writes a record without publishing it: [`Outgoing::flush`] does that for any number of them. Flush before waiting for space.
    #[inline]
    pub fn push_quiet(&mut self, head: RecordHead, payload: &[&[u8]]) -> Result<(), PushError> {
        let len = length::<M>(payload);
        self.room(record_size(len))?;
        self.put(head, len, payload);
        Ok(())
    }
    /// Publishes what was written quietly. Ring the bell.
    #[inline]
    pub fn flush(&mut self) -> Bell {
        if self.published == self.tail {
            return Bell::None;
        }
        let start = std::mem::replace(&mut self.published, self.tail);
        self.mem.word(self.tail_word()).store(self.tail, Release);
        self.mem.fence(Fence::Published);
        let armed = armed(&*self.mem, self.mine ^ 1);
        if concerns(armed, start, self.tail) { Bell::wanted(armed, self.tail_word()) } else { Bell::None }
    }

    /// Sets room aside for one record with `payload` bytes, which [`Outgoing::push_reserved`] then cannot fail to find.
    pub fn reserve(&mut self, payload: usize) -> Result<(), PushError> {
        assert!(payload <= M::RECORD, "a record of {payload} bytes is longer than any");
        let size = record_size(payload);
        self.room(size)?;
        self.reserved += size as u32;
        Ok(())
    }
    /// Gives such room back.
    pub fn unreserve(&mut self, payload: usize) {
        let size = record_size(payload) as u32;
        self.reserved = self.reserved.checked_sub(size).expect("no such room was set aside");
    }
    /// [`Outgoing::push`] into room that was set aside for as many bytes.
    pub fn push_reserved(&mut self, head: RecordHead, payload: &[&[u8]]) -> Bell {
        let len = length::<M>(payload);
        self.unreserve(len);
        self.put(head, len, payload);
        self.flush()
    }

    /// Bytes that a record may take now, its head included. An impossible head of the peer is found by the next push.
    pub fn space(&mut self) -> usize {
        let _ = self.look();
        self.free() as usize
    }
    /// Says that a thread waits for space, or that it waits no longer. After saying so, push again, or look at [`Outgoing::space`]; if it is still too
    /// little, sleep on ([`Outgoing::head_word`], [`Outgoing::head_seen`]). Several threads may wait.
    ///
    /// Panics if more threads wait no longer than waited.
    pub fn want_space(&mut self, want: bool) {
        if want {
            self.waiting += 1;
            self.ask();
        } else {
            self.waiting = self.waiting.checked_sub(1).expect("a thread that waited");
            if self.waiting == 0 {
                self.mem.word(base(self.mine) + SPACE_WANTED).store(bell::NONE, Relaxed);
            }
        }
    }
    /// The same for one that is woken through the kernel process. As long as there is such a one, so is everybody.
    pub fn want_space_polled(&mut self, want: bool) {
        self.polled = if want { self.polled + 1 } else { self.polled.checked_sub(1).expect("one that waited") };
        self.want_space(want);
    }
    /// The word that changes when the consumer makes room.
    pub fn head_word(&self) -> usize {
        other(self.mine) + HEAD
    }
    /// The value of that word that was seen last.
    pub fn head_seen(&self) -> u32 {
        self.head
    }
    /// The word that the consumer sleeps on.
    pub fn tail_word(&self) -> usize {
        base(self.mine) + TAIL
    }
    /// Bytes written ever, modulo 2^32.
    pub fn position(&self) -> u32 {
        self.tail
    }
    /// The memory.
    pub fn memory(&self) -> &Arc<M> {
        &self.mem
    }

    #[inline]
    fn free(&self) -> u32 {
        M::RING - self.tail.wrapping_sub(self.head) - self.reserved
    }
    #[inline]
    fn room(&mut self, size: usize) -> Result<(), PushError> {
        if size > self.free() as usize {
            self.look()?;
            if size > self.free() as usize {
                return Err(PushError::Full);
            }
        }
        Ok(())
    }
    /// Takes a snapshot of the consumer's head and checks that it lies between the last one and what is published.
    #[cold]
    fn look(&mut self) -> Result<(), Evidence> {
        loop {
            let head = self.mem.word(self.head_word()).load(Acquire);
            let open = self.published.wrapping_sub(self.head);
            if head.wrapping_sub(self.head) > open || !(head as usize).is_multiple_of(RECORD_ALIGN) {
                return Err(Evidence::new(violation::INDEX, head, self.published));
            }
            if self.head == head {
                return Ok(());
            }
            self.head = head;
            if self.waiting == 0 {
                return Ok(());
            }
            // Asked anew, and looked again: nobody rings for what was consumed before that was seen. Each round has fewer records ahead of it.
            self.ask();
        }
    }
    /// Asks for more space than there is now: which head the wish is about tells the consumer one wish from the next, see `bell`.
    fn ask(&self) {
        let bell = if self.polled > 0 { bell::KERNEL } else { bell::FUTEX };
        self.mem.word(base(self.mine) + SPACE_WANTED).store(self.head | bell, Relaxed);
        self.mem.fence(Fence::SpaceWanted);
    }
    /// Point of no return: there is room.
    #[inline]
    fn put(&mut self, head: RecordHead, len: usize, payload: &[&[u8]]) {
        let mut bytes = [0; RECORD_HEAD];
        // By eights, as they are copied from there at once.
        for (at, (low, high)) in [(len as u32, head.kind), (head.route, head.slot), (head.generation, head.id)].into_iter().enumerate() {
            let both = u64::from(low) | u64::from(high) << 32;
            bytes[8 * at..8 * at + 8].copy_from_slice(&both.to_le_bytes());
        }
        let mut at = self.tail;
        for ahead in AHEAD {
            self.mem.expect_write(base(self.mine) + RING + (at.wrapping_add(ahead) & (M::RING - 1)) as usize);
        }
        self.copy_in(at, &bytes);
        at = at.wrapping_add(RECORD_HEAD as u32);
        for part in payload {
            self.copy_in(at, part);
            at = at.wrapping_add(part.len() as u32);
        }
        self.tail = self.tail.wrapping_add(record_size(len) as u32);
    }
    #[inline]
    fn copy_in(&self, position: u32, bytes: &[u8]) {
        let ring = base(self.mine) + RING;
        let at = (position & (M::RING - 1)) as usize;
        let left = M::RING as usize - at;
        if bytes.len() <= left {
            self.mem.write(ring + at, bytes);
        } else {
            self.mem.write(ring + at, &bytes[..left]);
            self.mem.write(ring, &bytes[left..]);
        }
    }
}

#[inline]
fn length<M: Memory>(payload: &[&[u8]]) -> usize {
    let len = payload.iter().map(|part| part.len()).sum();
    assert!(len <= M::RECORD, "a record of {len} bytes is longer than any");
    len
}
