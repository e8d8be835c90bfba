//! The consumer of the peer's ring.
//!
//! 1. The tail is read once (Acquire; pairs with the producer's Release of `TAIL`), checked, and kept; the next one is read when all before it is
//!    consumed, so a ring's worth of records at most is taken on one word of the peer.
//! 2. A record's head is read once into a [`Record`]; whatever the peer writes there later does not exist.
//! 3. The own position advances by what was checked, so it always meets the tail exactly, and every loop over records ends.
//! 4. The head is published (Release) after the record's bytes were copied out, and lazily: when a quarter of the ring is free that the producer
//!    does not know of, when nothing is left, or when the producer says that it waits. So with nothing left it is always published, which [`crate::arm`] relies on.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use umach_abi::link::{HEAD, RECORD_ALIGN, RECORD_HEAD, RING, SLOTS, SPACE_WANTED, TAIL, record};
use umach_abi::records::violation;

use crate::bell::{Bell, concerns, keep_up};
use crate::evidence::Evidence;
use crate::memory::{Fence, Memory, Word, base, other};
use crate::outgoing::record_size;

/// A record's head, checked: its payload lies inside what was published, its kind is known, its slot is 0 or 1 + a slot's number. What its route,
/// generation and id are worth is for the caller to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Bytes of payload.
    pub len: u32,
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
    /// Where it starts.
    pub at: u32,
}

/// The consumer of the ring of one half's peer.
#[derive(Debug)]
pub struct Incoming<M> {
    mem: Arc<M>,
    mine: usize,
    /// Consumed up to here.
    head: u32,
    /// The producer knows up to here.
    published: u32,
    /// The last tail that was checked.
    tail: u32,
    /// How often that was taken.
    looks: u32,
}

impl<M: Memory> Incoming<M> {
    /// The consumer of the ring that the peer of half `mine` writes, which nobody has read yet.
    pub fn new(mem: Arc<M>, mine: usize) -> Incoming<M> {
        Incoming::starting_at(mem, mine, 0)
    }
    /// As if `position` bytes (a multiple of eight) had been consumed: for tests of the positions' wrap.
    #[doc(hidden)]
    pub fn starting_at(mem: Arc<M>, mine: usize, position: u32) -> Incoming<M> {
        mem.word(base(mine) + HEAD).store(position, Release);
        Incoming { mem, mine, head: position, published: position, tail: position, looks: 0 }
    }

    /// The next record, if one is published. It stays the next until it is consumed.
    #[allow(clippy::should_implement_trait)] // an iterator would consume
    #[inline(always)] // what it gives is large, and taken apart at once
    pub fn next(&mut self) -> Result<Option<Record>, Evidence> {
        if self.tail == self.head {
            self.look()?;
            if self.tail == self.head {
                return Ok(None);
            }
        }
        self.take_head().map(Some)
    }
    /// Appends the record's payload to `out`.
    #[inline]
    pub fn payload(&self, record: &Record, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + record.len as usize, 0);
        self.payload_into(record, &mut out[start..]);
    }
    /// Copies the start of the record's payload.
    ///
    /// Panics if `out` is longer than it, or the record is not the next.
    #[inline]
    pub fn payload_into(&self, record: &Record, out: &mut [u8]) {
        assert!(record.at == self.head && out.len() <= record.len as usize, "not the payload of the next record");
        self.copy_out(record.at.wrapping_add(RECORD_HEAD as u32), out);
    }
    /// Has done with the next record. Ring the bell: the producer may wait for space.
    ///
    /// Panics if the record is not the next.
    #[inline]
    pub fn consume(&mut self, record: Record) -> Bell {
        assert!(record.at == self.head, "records are consumed in order");
        self.head = self.head.wrapping_add(record_size(record.len as usize) as u32);
        let unknown = self.head.wrapping_sub(self.published);
        let settle = self.head == self.tail || unknown >= M::RING / 4 || concerns(self.wanted(), self.published, self.head);
        if settle { self.settle() } else { Bell::None }
    }
    /// Publishes how far this side is, if the producer does not know: before doing something long. Ring the bell.
    pub fn settle(&mut self) -> Bell {
        if self.published == self.head {
            return Bell::None;
        }
        let start = std::mem::replace(&mut self.published, self.head);
        let word = base(self.mine) + HEAD;
        self.mem.word(word).store(self.head, Release);
        self.mem.fence(Fence::Consumed);
        keep_up(&*self.mem, self.mine, self.head);
        let wanted = self.wanted();
        if concerns(wanted, start, self.head) { Bell::wanted(wanted, word) } else { Bell::None }
    }

    /// Whether there is something: never false if it was published before the last fence.
    #[inline]
    pub fn has_more(&self) -> bool {
        self.tail != self.head || self.mem.word(self.tail_word()).load(Acquire) != self.head
    }
    /// Changes when the tail is looked at: records between two changes had all been published by the first.
    #[inline]
    pub fn looks(&self) -> u32 {
        self.looks
    }
    /// How far the producer is by now. An impossible tail does not count, and is found when all before it is consumed.
    pub fn tail_now(&mut self) -> u32 {
        let _ = self.look();
        self.tail
    }
    /// How far the producer was when it was looked at last.
    pub fn known(&self) -> u32 {
        self.tail
    }
    /// Bytes consumed ever, modulo 2^32. It reaches every [`Incoming::tail_now`] exactly.
    pub fn position(&self) -> u32 {
        self.head
    }
    /// The word that changes when the producer publishes.
    pub fn tail_word(&self) -> usize {
        other(self.mine) + TAIL
    }
    /// The value of that word to sleep on: that all of it is consumed.
    pub fn tail_seen(&self) -> u32 {
        self.head
    }
    /// The memory.
    pub fn memory(&self) -> &Arc<M> {
        &self.mem
    }

    #[inline]
    fn wanted(&self) -> u32 {
        self.mem.word(other(self.mine) + SPACE_WANTED).load(Acquire)
    }
    /// Takes a snapshot of the tail and checks that it is not before the last one and not beyond the ring.
    #[inline]
    fn look(&mut self) -> Result<(), Evidence> {
        let tail = self.mem.word(self.tail_word()).load(Acquire);
        let open = tail.wrapping_sub(self.head);
        if open < self.tail.wrapping_sub(self.head) || open > M::RING || !(tail as usize).is_multiple_of(RECORD_ALIGN) {
            return Err(Evidence::new(violation::INDEX, tail, self.tail));
        }
        self.tail = tail;
        self.looks = self.looks.wrapping_add(1);
        Ok(())
    }
    /// Takes a snapshot of the record's head and checks it.
    #[inline]
    fn take_head(&self) -> Result<Record, Evidence> {
        let open = self.tail.wrapping_sub(self.head) as usize;
        if open < RECORD_HEAD {
            return Err(Evidence::new(violation::RECORD, open as u64, RECORD_HEAD as u64));
        }
        let mut bytes = [0; RECORD_HEAD];
        self.copy_out(self.head, &mut bytes);
        let word = |n: usize| u32::from_le_bytes([bytes[4 * n], bytes[4 * n + 1], bytes[4 * n + 2], bytes[4 * n + 3]]);
        let record = Record { len: word(0), kind: word(1), route: word(2), slot: word(3), generation: word(4), id: word(5), at: self.head };
        let longest = M::RECORD.min(open - RECORD_HEAD);
        if record.len as usize > longest {
            return Err(Evidence::new(violation::RECORD, record.len, longest as u64));
        }
        if !matches!(record.kind, record::MESSAGE | record::TICKET | record::LEASE) {
            return Err(Evidence::new(violation::RECORD, record.kind, record::LEASE));
        }
        if record.slot as usize > SLOTS {
            return Err(Evidence::new(violation::SLOT, record.slot, SLOTS as u64));
        }
        Ok(record)
    }
    #[inline]
    fn copy_out(&self, position: u32, out: &mut [u8]) {
        let ring = other(self.mine) + RING;
        let at = (position & (M::RING - 1)) as usize;
        let left = M::RING as usize - at;
        if out.len() <= left {
            self.mem.read(ring + at, out);
        } else {
            let (start, rest) = out.split_at_mut(left);
            self.mem.read(ring + at, start);
            self.mem.read(ring, rest);
        }
    }
}
