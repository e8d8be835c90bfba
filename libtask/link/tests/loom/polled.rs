//! Those that do not sleep on a word but watch a descriptor, which the kernel process makes readable: futures that wait for credit or for space in a ring, and
//! servers that want to hear that a call was given up. They look when it has become readable, and never otherwise, so a ring that is left out is not made up for by
//! a word that has changed.

use loom::sync::Mutex;
use loom::thread;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use umach_abi::link::{self, bell, record};
use umach_link::{Bell, Fence, Incoming, Memory, Outgoing, RecordHead, Word, credit, slot};

use crate::sys::{Cells, Faults};
use crate::{LOST_WAKE_UP, fails, holds};

/// Two records of eight bytes fill it.
type Tiny = Cells<64>;
/// How often the descriptor was made readable.
const READABLE: usize = link::HALF + link::STATE;

fn memory(faults: Faults, words: &[usize]) -> std::sync::Arc<Tiny> {
    std::sync::Arc::new(Tiny::new(faults, &[words, &[READABLE]].concat(), &[]))
}

/// What the kernel process does when it is asked for a bell.
fn make_readable(mem: &Tiny) {
    let word = mem.word(READABLE);
    word.store(word.load(Relaxed) + 1, Release);
    mem.wake(READABLE);
}

fn ring(mem: &Tiny, bell: Bell) {
    if bell.ring(mem) {
        make_readable(mem);
    }
}

/// Looks now, and each time that the descriptor has become readable, until that has come which is looked for.
fn watch(mem: &Tiny, mut is_over: impl FnMut() -> bool) {
    loop {
        let seen = mem.word(READABLE).load(Acquire);
        if is_over() {
            return;
        }
        mem.sleep(READABLE, seen);
    }
}

/// A future waits until two messages were delivered.
fn credit_watched(faults: Faults) {
    let mem = memory(faults, &[credit::word_at(1, 0), link::WANTS]);
    let receiver = thread::spawn({
        let mem = mem.clone();
        move || (0..2).for_each(|_| ring(&mem, credit::delivered(&*mem, 1, 0)))
    });
    credit::want_by(&*mem, 0, 0, bell::KERNEL);
    watch(&mem, || credit::read(&*mem, 1, 0) == 2);
    credit::want_by(&*mem, 0, 0, bell::NONE);
    receiver.join().unwrap();
}

#[test]
fn future_that_waits_for_credit_is_always_rung_for() {
    holds(credit_watched);
}

#[test]
fn watched_credit_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::CreditWanted], ..Faults::default() }, credit_watched);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Delivered], ..Faults::default() }, credit_watched);
}

fn full(mem: &std::sync::Arc<Tiny>) -> (Outgoing<Tiny>, Incoming<Tiny>) {
    let (mut out, incoming) = (Outgoing::new(mem.clone(), 0), Incoming::new(mem.clone(), 1));
    for id in 0..2 {
        let head = RecordHead { kind: record::MESSAGE, id, ..RecordHead::default() };
        assert_eq!(out.push(head, &[&[0; 8]]), Ok(Bell::None));
    }
    (out, incoming)
}

/// Takes both records, one after the other.
fn empty(mem: &Tiny, incoming: &mut Incoming<Tiny>) {
    for _ in 0..2 {
        let record = incoming.next().unwrap().unwrap();
        ring(mem, incoming.consume(record));
    }
}

/// A future waits for more space than one taken record makes.
fn space_watched(faults: Faults) {
    let mem = memory(faults, &[]);
    let (mut out, mut incoming) = full(&mem);
    let consumer = thread::spawn({
        let mem = mem.clone();
        move || empty(&mem, &mut incoming)
    });
    out.want_space_polled(true);
    watch(&mem, || out.space() == 64);
    out.want_space_polled(false);
    consumer.join().unwrap();
}

#[test]
fn future_that_waits_for_space_is_always_rung_for() {
    holds(space_watched);
}

#[test]
fn watched_space_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::SpaceWanted], ..Faults::default() }, space_watched);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Consumed], ..Faults::default() }, space_watched);
}

/// The same beside a thread, which sleeps on the head of the ring and is woken with the future. (So does the kernel process: it wakes all.)
fn space_for_both(faults: Faults) {
    let mem = memory(faults, &[]);
    let (out, mut incoming) = full(&mem);
    let out = std::sync::Arc::new(Mutex::new(out));
    let consumer = thread::spawn({
        let mem = mem.clone();
        move || empty(&mem, &mut incoming)
    });
    let sleeper = thread::spawn({
        let (mem, out) = (mem.clone(), out.clone());
        move || {
            out.lock().unwrap().want_space(true);
            loop {
                let mut ring = out.lock().unwrap();
                let (space, word, seen) = (ring.space(), ring.head_word(), ring.head_seen());
                if space > 0 {
                    break ring.want_space(false);
                }
                drop(ring);
                mem.sleep(word, seen);
            }
        }
    });
    out.lock().unwrap().want_space_polled(true);
    watch(&mem, || out.lock().unwrap().space() == 64);
    out.lock().unwrap().want_space_polled(false);
    consumer.join().unwrap();
    sleeper.join().unwrap();
}

#[test]
fn thread_and_future_that_wait_for_space_are_both_woken() {
    holds(space_for_both);
}

#[test]
fn space_for_both_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::SpaceWanted], ..Faults::default() }, space_for_both);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Consumed], ..Faults::default() }, space_for_both);
}

/// A caller gives its call up while the server begins to watch for that.
fn given_up(faults: Faults) {
    let mem = memory(faults, &[link::SLOT_GIVEN_UP]);
    let caller = thread::spawn({
        let mem = mem.clone();
        move || {
            if slot::give_up(&*mem, 0, 0, 7) {
                make_readable(&mem);
            }
        }
    });
    umach_link::arm(&*mem, 1, bell::KERNEL);
    watch(&mem, || slot::is_given_up(&*mem, 1, 0, 7));
    umach_link::disarm(&*mem, 1);
    caller.join().unwrap();
}

#[test]
fn server_is_rung_for_when_a_call_is_given_up() {
    holds(given_up);
}

#[test]
fn giving_up_without_a_fence_is_found_unheard() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::GivenUp], ..Faults::default() }, given_up);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Armed], ..Faults::default() }, given_up);
}
