//! A task that dies between any two of its stores: what it wrote is there, the rest never comes, and the other side sees whole messages only.
//!
//! After as many stores as it has left to live, nothing that a thread writes arrives any more; a scenario is repeated with one more until it comes
//! to its end alive.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use umach_abi::link::{self, bell, record};
use umach_link::slot::{self, Outcome};
use umach_link::{Fence, Incoming, Memory, Outgoing, PushError, RecordHead, Word, credit, read_words, write_words};

const RING: u32 = 256;

thread_local! {
    /// Stores that this thread still makes; below zero, how many it wanted to make since.
    static LIFE: Cell<i64> = const { Cell::new(i64::MAX) };
}

struct MortalWord(AtomicU32);

impl MortalWord {
    fn lives(&self) -> bool {
        let left = LIFE.get();
        LIFE.set(left - 1);
        left > 0
    }
}

impl Word for MortalWord {
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }
    fn store(&self, value: u32, order: Ordering) {
        if self.lives() {
            self.0.store(value, order);
        }
    }
    fn replace(&self, old: u32, new: u32) {
        if self.lives() {
            let _ = self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

struct Mortal(Box<[MortalWord]>);

impl Mortal {
    fn new() -> Arc<Mortal> {
        LIFE.set(i64::MAX);
        Arc::new(Mortal((0..link::SIZE / 4).map(|_| MortalWord(AtomicU32::new(0))).collect()))
    }
}

impl Memory for Mortal {
    type Word = MortalWord;
    const RING: u32 = RING;
    const RECORD: usize = 64;

    fn word(&self, at: usize) -> &MortalWord {
        &self.0[at / 4]
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        read_words(self, at, out);
    }
    fn write(&self, at: usize, bytes: &[u8]) {
        write_words(self, at, bytes);
    }
    fn fence(&self, _: Fence) {}
    fn wake(&self, _: usize) {}
}

/// Does `act` with 0, 1, 2, ... stores left, each time on new memory, and looks at the outcome as somebody who lives on.
fn at_each_store<T>(act: impl Fn(&Arc<Mortal>) -> T, look: impl Fn(&Arc<Mortal>, T, bool)) {
    for life in 0.. {
        assert!(life < 10_000, "the scenario never comes to its end");
        let mem = Mortal::new();
        LIFE.set(life);
        let left = act(&mem);
        let survived = LIFE.replace(i64::MAX) >= 0;
        look(&mem, left, survived);
        if survived {
            return assert!(life > 5, "a scenario of next to no stores shows nothing");
        }
    }
}

fn head(id: u32) -> RecordHead {
    RecordHead { kind: record::MESSAGE, route: id, slot: id, generation: id, id }
}

fn content(id: u32) -> Vec<u8> {
    vec![id as u8; id as usize * 13 % 60]
}

/// Publishes record 1, then 2 and 3 together, then 4 from reserved room.
fn publish(out: &mut Outgoing<Mortal>) {
    out.reserve(content(4).len()).unwrap();
    let _ = out.push(head(1), &[&content(1)]).unwrap();
    out.push_quiet(head(2), &[&content(2)]).unwrap();
    out.push_quiet(head(3), &[&content(3)]).unwrap();
    let _ = out.flush();
    let _ = out.push_reserved(head(4), &[&content(4)]);
}

/// What the consumer sees: whole records, in order.
fn drain(incoming: &mut Incoming<Mortal>) -> Vec<u32> {
    let mut seen = Vec::new();
    while let Some(record) = incoming.next().unwrap() {
        let mut bytes = Vec::new();
        incoming.payload(&record, &mut bytes);
        assert_eq!((record.route, record.slot, record.generation), (record.id, record.id, record.id));
        assert_eq!(bytes, content(record.id));
        seen.push(record.id);
        let _ = incoming.consume(record);
    }
    seen
}

#[test]
fn producer_that_dies_leaves_whole_records() {
    // From a place where the records run over the ring's end.
    let start = RING - 40;
    let act = |mem: &Arc<Mortal>| {
        let life = LIFE.replace(i64::MAX);
        let mut out = Outgoing::starting_at(mem.clone(), 0, start);
        mem.word(link::HALF + link::HEAD).store(start, Ordering::Release);
        LIFE.set(life);
        let space = out.space();
        publish(&mut out);
        assert!(out.space() < space);
    };
    at_each_store(act, |mem, (), survived| {
        let seen = drain(&mut Incoming::starting_at(mem.clone(), 1, start));
        let whole: [&[u32]; 4] = [&[], &[1], &[1, 2, 3], &[1, 2, 3, 4]];
        assert!(whole.contains(&&seen[..]), "{seen:?}");
        assert!(!survived || seen.len() == 4);
    });
}

#[test]
fn consumer_that_dies_leaves_a_head_that_is_right() {
    let act = |mem: &Arc<Mortal>| {
        let life = LIFE.replace(i64::MAX);
        let mut out = Outgoing::new(mem.clone(), 0);
        publish(&mut out);
        LIFE.set(life);
        let mut incoming = Incoming::new(mem.clone(), 1);
        umach_link::arm(&**mem, 1, bell::FUTEX);
        assert_eq!(drain(&mut incoming), [1, 2, 3, 4]);
        umach_link::arm(&**mem, 1, bell::FUTEX);
        umach_link::disarm(&**mem, 1);
        credit::close(&**mem, 1, 3);
        let _ = credit::delivered(&**mem, 1, 3);
        out
    };
    at_each_store(act, |mem, mut out, survived| {
        // The producer goes on where it was: it finds space or none, never a lie.
        let (free, consumed) = (out.space(), mem.word(out.head_word()).load(Ordering::Acquire));
        assert_eq!(free, (RING - (out.position() - consumed)) as usize);
        let pushes = std::iter::repeat_with(|| out.push(head(1), &[&[0; 8]])).take(20);
        assert_eq!(pushes.take_while(Result::is_ok).count(), free / 32);
        assert_eq!(out.push(head(1), &[&[0; 8]]), Err(PushError::Full));
        assert_eq!(credit::closed(&**mem, 1, 3) && credit::read(&**mem, 1, 3) == 1, survived);
    });
}

#[test]
fn replier_that_dies_leaves_an_answer_or_none() {
    let body = [7; 40];
    let act = |mem: &Arc<Mortal>| {
        let _ = slot::answer(&**mem, 1, 2, 5, 77, 1, &[&body[..9], &body[9..]]);
        let _ = slot::drop_unanswered(&**mem, 1, 3, 5);
    };
    at_each_store(act, |mem, (), survived| {
        let answer = slot::poll(&**mem, 0, 2, 5).unwrap();
        let dropped = slot::poll(&**mem, 0, 3, 5).unwrap();
        match answer {
            None => assert_eq!(dropped, None),
            Some(outcome) => {
                assert_eq!(outcome, Outcome::Answered { len: 40, id: 77, kind: 1 });
                let mut bytes = Vec::new();
                slot::read(&**mem, 0, 2, 40, &mut bytes);
                assert_eq!(bytes, body);
            }
        }
        assert_eq!(dropped == Some(Outcome::Dropped), survived);
    });
}
