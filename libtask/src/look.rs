//! Looking at a link from outside: what its two tasks say in the memory that they share.
//!
//! The memory is read as a file and never mapped, so a look changes nothing: not a word, and not even which of its pages exist. Each number is
//! from a moment of its own, some microseconds from its neighbours'.
//!
//! All of it is allegation: a task can write what it likes into its half. Numbers that no honest task writes are left out, and nothing here is
//! believed for any purpose but showing it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use umach_abi::link::{
    ARMED, COUNTERS, COUNTERS_AT, CREDIT_DELIVERED, CREDIT_SIZE, CREDITS, HALF, HEAD, RECORD_ALIGN, RECORD_HEAD, RECORD_MAX, RING,
    RING_SIZE, ROUTES, SENT, SLOT_WAITS, SLOTS, SPACE_WANTED, TAIL, WANTS, bell,
};
use umach_link::record_size;

/// Up to here a half is read: everything but the reply slots.
const READ: usize = RING + RING_SIZE;

/// What the two tasks of a link say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSnapshot {
    /// By half: the first is that of the first task of the link's row.
    pub sides: [LinkSide; 2],
}

/// What one task of a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSide {
    /// What it counted ([`umach_abi::link::counter`]).
    pub counters: [u64; COUNTERS],
    /// How it wants to be woken when something comes for it ([`umach_abi::link::bell`]).
    pub bell: u32,
    /// It waits for room in its ring.
    pub wants_space: bool,
    /// Calls of its to the peer whose answer a thread of it sleeps for.
    pub calls_waiting: u32,
    /// Messages in its ring that the peer has not taken out yet, by route index. `None` if what is there cannot be a ring.
    pub in_ring: Option<BTreeMap<u32, u32>>,
    /// Places of its outgoing routes on which it waits for the peer to deliver something.
    wants_credit: Vec<u32>,
    /// By place, of its outgoing routes: how far it will have got.
    sent: Vec<u32>,
    /// By place, of its incoming routes: how far it has got.
    delivered: Vec<u32>,
}

impl LinkSnapshot {
    /// Reads a link's memory.
    pub(crate) fn read(memory: &File) -> io::Result<LinkSnapshot> {
        let half = |number: usize| {
            let mut bytes = vec![0; READ];
            memory.read_exact_at(&mut bytes, (number * HALF) as u64).map(|()| bytes)
        };
        let (first, second) = (half(0)?, half(1)?);
        // A producer overwrites nothing that its consumer has not passed. So each ring is read before the head that says how far that is: what
        // lies between this head and the older tail was whole when it was read.
        let mut head = [0; 4];
        memory.read_exact_at(&mut head, HEAD as u64)?;
        Ok(LinkSnapshot { sides: [LinkSide::new(&first, word(&second, HEAD)), LinkSide::new(&second, u32::from_le_bytes(head))] })
    }
}

impl LinkSnapshot {
    /// Messages on the route `index` from the task of `half` that are sent and not received: in the ring, or taken out by the other side already. `None` if
    /// the two contradict each other.
    pub fn ahead(&self, half: usize, index: u32) -> Option<u32> {
        let place = index as usize % ROUTES;
        let ahead = self.sides[half].sent[place].wrapping_sub(self.sides[1 - half].delivered[place]) as i32;
        // What is received while we look makes it seem a little less than nothing. No route is as far ahead as this bound.
        const FAR: i32 = 1 << 16;
        (-FAR..FAR).contains(&ahead).then_some(ahead.max(0) as u32)
    }
    /// Messages that were received on the route `index` from the task of `half`, ever, modulo 2^32: two looks tell how many a second.
    pub fn delivered(&self, half: usize, index: u32) -> u32 {
        self.sides[1 - half].delivered[index as usize % ROUTES]
    }
}

impl LinkSide {
    fn new(half: &[u8], head: u32) -> LinkSide {
        LinkSide {
            counters: std::array::from_fn(|n| {
                let at = COUNTERS_AT + 8 * n;
                u64::from(word(half, at)) | u64::from(word(half, at + 4)) << 32
            }),
            bell: word(half, ARMED) & (RECORD_ALIGN as u32 - 1),
            wants_space: word(half, SPACE_WANTED) != 0,
            calls_waiting: (0..SLOTS).filter(|slot| word(half, SLOT_WAITS + 4 * slot) != bell::NONE).count() as u32,
            in_ring: in_ring(half, head),
            wants_credit: (0..ROUTES).filter(|place| word(half, WANTS + 4 * place) != 0).map(|place| place as u32).collect(),
            sent: (0..ROUTES).map(|place| word(half, SENT + 4 * place)).collect(),
            delivered: (0..ROUTES).map(|place| word(half, CREDITS + CREDIT_SIZE * place + CREDIT_DELIVERED)).collect(),
        }
    }
    /// Whether it waits for credit on its outgoing route `index`: it is as far ahead of the receiver as it may be.
    pub fn wants_credit(&self, index: u32) -> bool {
        self.wants_credit.contains(&(index % ROUTES as u32))
    }
}

fn word(half: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([half[at], half[at + 1], half[at + 2], half[at + 3]])
}

/// Counts the records between `head` and the tail of the half's ring.
fn in_ring(half: &[u8], head: u32) -> Option<BTreeMap<u32, u32>> {
    let ring = |position: u32, offset: usize| word(half, RING + (position as usize + offset) % RING_SIZE);
    let tail = word(half, TAIL);
    let mut found = BTreeMap::new();
    // The head is the younger of the two: it may have gone past the tail.
    if head.wrapping_sub(tail) as usize <= RING_SIZE {
        return Some(found);
    }
    if tail.wrapping_sub(head) as usize > RING_SIZE || !(tail as usize | head as usize).is_multiple_of(RECORD_ALIGN) {
        return None;
    }
    let mut at = head;
    while at != tail {
        let left = tail.wrapping_sub(at) as usize;
        let len = ring(at, 0) as usize;
        if left < RECORD_HEAD || len > RECORD_MAX || record_size(len) > left {
            return None;
        }
        *found.entry(ring(at, 8)).or_default() += 1;
        at = at.wrapping_add(record_size(len) as u32);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use umach_abi::link::{bell, counter, record};
    use umach_link::{Incoming, Mapping, Outgoing, RecordHead, count, credit};

    use super::*;

    fn made() -> (File, Arc<Mapping>) {
        let memory = File::from(umach_link::create().unwrap());
        let mapping = Arc::new(Mapping::new(&memory).unwrap());
        (memory, mapping)
    }

    fn plain(route: u32) -> RecordHead {
        RecordHead { kind: record::MESSAGE, route, slot: 0, generation: 0, id: 1 }
    }

    #[test]
    fn records_not_taken_are_counted_by_route_from_both_sides() {
        let (memory, mapping) = made();
        let mut out = [Outgoing::new(mapping.clone(), 0), Outgoing::new(mapping.clone(), 1)];
        let mut back = Incoming::new(mapping.clone(), 1);
        // Several times round the ring, with records of every length, two of them never taken.
        for round in 0..2000u32 {
            let body = vec![7; (round % 500) as usize * 8];
            let _ = out[0].push(plain(round % 3), &[&body]).unwrap();
            if round >= 2 {
                let taken = back.next().unwrap().unwrap();
                let _ = back.consume(taken);
            }
            let _ = back.settle();
        }
        let _ = out[1].push(plain(ROUTES as u32 + 5), &[b"four"]).unwrap();
        let seen = LinkSnapshot::read(&memory).unwrap();
        assert_eq!(seen.sides[0].in_ring, Some(BTreeMap::from([(1998 % 3, 1), (1999 % 3, 1)])));
        assert_eq!(seen.sides[1].in_ring, Some(BTreeMap::from([(ROUTES as u32 + 5, 1)])));
    }

    #[test]
    fn counters_and_waits_are_each_sides_own() {
        let (memory, mapping) = made();
        count(&*mapping, 0, counter::BYTES, 1 << 40);
        count(&*mapping, 1, counter::SLEEPS, 3);
        credit::want(&*mapping, 1, 9, true);
        umach_link::arm(&*mapping, 1, bell::KERNEL);
        let [first, second] = LinkSnapshot::read(&memory).unwrap().sides;
        assert_eq!((first.counters[counter::BYTES], second.counters[counter::BYTES]), (1 << 40, 0));
        assert_eq!((first.counters[counter::SLEEPS], second.counters[counter::SLEEPS]), (0, 3));
        assert_eq!((first.bell, second.bell), (bell::NONE, bell::KERNEL));
        assert!(second.wants_credit(9) && second.wants_credit(9 + ROUTES as u32) && !second.wants_credit(8) && !first.wants_credit(9));
    }

    #[test]
    fn ring_that_cannot_be_is_not_counted() {
        let write = |memory: &File, at: usize, value: u32| memory.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
        let (memory, _mapping) = made();
        for (tail, len) in [(RING_SIZE as u32 + 8, 0), (12, 0), (8, 0), (32, 16), (RING_SIZE as u32, RECORD_MAX as u32 + 8)] {
            write(&memory, TAIL, tail);
            write(&memory, RING, len);
            assert_eq!(LinkSnapshot::read(&memory).unwrap().sides[0].in_ring, None, "tail {tail}, first record of {len} bytes");
        }
        // A head that has passed the tail that was read before it is no lie.
        write(&memory, TAIL, 8);
        write(&memory, HALF + HEAD, 64);
        assert_eq!(LinkSnapshot::read(&memory).unwrap().sides[0].in_ring, Some(BTreeMap::new()));
    }

    #[test]
    fn file_that_is_no_link_is_an_error() {
        let memory = File::from(rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        assert!(LinkSnapshot::read(&memory).is_err());
    }
}
