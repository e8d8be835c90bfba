//! A ring against a queue: any order of pushes, batches, reservations and takes, with wraps of the ring and of the positions.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use umach_abi::link::record;
use umach_link::{Heap, Incoming, Memory, Outgoing, PushError, RecordHead, record_size};

const RING: u32 = 512;
type Small = Heap<RING>;

#[derive(Debug, Clone)]
enum Step {
    /// So many bytes of payload, in pieces of at most so many.
    Push(usize, usize),
    PushQuiet(usize),
    Flush,
    Reserve(usize),
    /// Into the oldest reservation, if there is one.
    PushReserved,
    Unreserve,
    Take(usize),
    Settle,
    /// Everything out, and the accounts looked at.
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let len = 0..=<Small as Memory>::RECORD;
    prop_oneof![
        4 => (len.clone(), 1..40usize).prop_map(|(len, piece)| Step::Push(len, piece)),
        3 => len.clone().prop_map(Step::PushQuiet),
        2 => Just(Step::Flush),
        1 => len.prop_map(Step::Reserve),
        1 => Just(Step::PushReserved),
        1 => Just(Step::Unreserve),
        5 => (1..6usize).prop_map(Step::Take),
        1 => Just(Step::Settle),
        1 => Just(Step::Drain),
    ]
}

struct Pair {
    out: Outgoing<Small>,
    incoming: Incoming<Small>,
    /// Written and not taken; those from `published` on are not to be seen.
    queue: VecDeque<(RecordHead, Vec<u8>)>,
    published: usize,
    reserved: VecDeque<usize>,
    number: u32,
}

impl Pair {
    fn message(&mut self, len: usize) -> (RecordHead, Vec<u8>) {
        self.number += 1;
        let n = self.number;
        let kind = [record::MESSAGE, record::TICKET, record::LEASE][n as usize % 3];
        let head = RecordHead { kind, route: n.wrapping_mul(7), slot: n % 65, generation: !n, id: n };
        (head, (0..len).map(|at| (n as usize * 31 + at) as u8).collect())
    }
    fn used(&self) -> usize {
        let reserved: usize = self.reserved.iter().map(|len| record_size(*len)).sum();
        self.queue.iter().map(|(_, bytes)| record_size(bytes.len())).sum::<usize>() + reserved
    }
    /// A record of `len` bytes fits exactly if the consumer's head says so, and that is late by less than a quarter of the ring.
    fn judge(&self, len: usize, result: Result<(), PushError>) -> Result<bool, TestCaseError> {
        let would = self.used() + record_size(len);
        match result {
            Ok(()) => prop_assert!(would <= RING as usize, "{would} bytes went into {RING}"),
            Err(PushError::Full) => prop_assert!(would > RING as usize * 3 / 4, "full at {would} of {RING}"),
            Err(PushError::Corrupt(evidence)) => prop_assert!(false, "{evidence}"),
        }
        Ok(result.is_ok())
    }
    fn flushed(&mut self) {
        self.published = self.queue.len();
    }
    fn take(&mut self) -> Result<bool, TestCaseError> {
        prop_assert_eq!(self.incoming.has_more(), self.published > 0);
        let record = self.incoming.next().map_err(|evidence| TestCaseError::fail(evidence.to_string()))?;
        let Some(record) = record else {
            prop_assert_eq!(self.published, 0);
            return Ok(false);
        };
        let mut bytes = vec![1];
        self.incoming.payload(&record, &mut bytes);
        let (head, expected) = self.queue.pop_front().expect("more records than were written");
        self.published -= 1;
        prop_assert_eq!(&bytes[1..], &expected);
        let taken = RecordHead { kind: record.kind, route: record.route, slot: record.slot, generation: record.generation, id: record.id };
        prop_assert_eq!(taken, head);
        let _ = self.incoming.consume(record);
        Ok(true)
    }
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Push(len, piece) => {
                let (head, bytes) = self.message(len);
                let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
                let result = self.out.push(head, &pieces).map(|_| ());
                if self.judge(len, result)? {
                    self.queue.push_back((head, bytes));
                    self.flushed();
                }
            }
            Step::PushQuiet(len) => {
                let (head, bytes) = self.message(len);
                let result = self.out.push_quiet(head, &[&bytes]);
                if self.judge(len, result)? {
                    self.queue.push_back((head, bytes));
                }
            }
            Step::Flush => {
                let _ = self.out.flush();
                self.flushed();
            }
            Step::Reserve(len) => {
                let result = self.out.reserve(len);
                if self.judge(len, result)? {
                    self.reserved.push_back(len);
                }
            }
            Step::PushReserved => {
                if let Some(len) = self.reserved.pop_front() {
                    let (head, bytes) = self.message(len);
                    let _ = self.out.push_reserved(head, &[&bytes]);
                    self.queue.push_back((head, bytes));
                    self.flushed();
                }
            }
            Step::Unreserve => {
                if let Some(len) = self.reserved.pop_back() {
                    self.out.unreserve(len);
                }
            }
            Step::Take(count) => {
                for _ in 0..count {
                    if !self.take()? {
                        break;
                    }
                }
            }
            Step::Settle => {
                let _ = self.incoming.settle();
                let free = RING as usize - self.used();
                prop_assert_eq!(self.out.space(), free);
            }
            Step::Drain => {
                let end = self.incoming.tail_now();
                while self.incoming.position() != end {
                    prop_assert!(self.take()?);
                }
                prop_assert_eq!(self.published, 0);
                let free = RING as usize - self.used();
                prop_assert_eq!(self.out.space(), free);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ring_behaves_as_a_queue(start in prop_oneof![Just(0u32), (0..200u32).prop_map(|n| (n * 8).wrapping_neg())], steps in prop::collection::vec(step(), 1..200)) {
        let mem = Arc::new(Small::default());
        let mut pair = Pair {
            out: Outgoing::starting_at(mem.clone(), 0, start),
            incoming: Incoming::starting_at(mem, 1, start),
            queue: VecDeque::new(),
            published: 0,
            reserved: VecDeque::new(),
            number: 0,
        };
        for one in steps {
            pair.step(one)?;
        }
        pair.step(Step::Flush)?;
        pair.step(Step::Drain)?;
    }
}
