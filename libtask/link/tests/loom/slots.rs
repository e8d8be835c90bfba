//! Reply slots and credits. The caller (or sender) has half 0, the replier (or receiver) half 1.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;
use std::sync::atomic::Ordering::{Acquire, Release};
use umach_abi::link::{self, SLOT_HEAD, SLOT_WAITS, bell};
use umach_link::slot::{self, Outcome};
use umach_link::{Fence, credit};

use crate::sys::{Cells, Faults};
use crate::{LOST_WAKE_UP, RACE, fails, holds};

type Tiny = Cells<64>;
const WORD: usize = link::HALF + link::SLOTS_AT;
const CREDIT: usize = link::HALF + link::CREDITS;

/// Slot 0 with eight bytes of payload.
fn slot_memory(faults: Faults) -> std::sync::Arc<Tiny> {
    std::sync::Arc::new(Tiny::new(faults, &[WORD, SLOT_WAITS], &[WORD + 4..WORD + 16, WORD + SLOT_HEAD..WORD + SLOT_HEAD + 8]))
}

/// Waits for the answer, asleep.
fn wait(mem: &Tiny, generation: u32) -> Outcome {
    loop {
        if let Some(outcome) = slot::poll(mem, 0, 0, generation).unwrap() {
            break outcome;
        }
        slot::wait_flag(mem, 0, 0, bell::FUTEX);
        let seen = slot::word_seen(mem, 0, 0);
        if slot::poll(mem, 0, 0, generation).unwrap().is_none() {
            mem.sleep(WORD, seen);
        }
        slot::wait_flag(mem, 0, 0, bell::NONE);
    }
}

fn answered(mem: &Tiny, outcome: Outcome, generation: u32) {
    assert_eq!(outcome, Outcome::Answered { len: 8, id: generation, kind: 1 });
    let mut bytes = Vec::new();
    slot::read(mem, 0, 0, 8, &mut bytes);
    assert_eq!(bytes, [generation as u8; 8], "payload of generation {generation}");
}

fn answer(mem: &Tiny, generation: u32) {
    assert!(!slot::answer(mem, 1, 0, generation, generation, 1, &[&[generation as u8; 8]]).ring(mem));
}

/// One call, answered.
fn call(faults: Faults) {
    let mem = slot_memory(faults);
    let replier = thread::spawn({
        let mem = mem.clone();
        move || answer(&mem, 7)
    });
    answered(&mem, wait(&mem, 7), 7);
    replier.join().unwrap();
}

/// One call, dropped.
fn dropped(faults: Faults) {
    let mem = slot_memory(faults);
    let replier = thread::spawn({
        let mem = mem.clone();
        move || assert!(!slot::drop_unanswered(&*mem, 1, 0, 7).ring(&*mem))
    });
    assert_eq!(wait(&mem, 7), Outcome::Dropped);
    replier.join().unwrap();
}

#[test]
fn sleeping_caller_gets_its_answer() {
    holds(call);
    holds(dropped);
}

#[test]
fn answer_without_a_fence_is_found_lost() {
    for scenario in [call, dropped] {
        fails(LOST_WAKE_UP, Faults { fences: &[Fence::Answered], ..Faults::default() }, scenario);
        fails(LOST_WAKE_UP, Faults { fences: &[Fence::SlotWaits], ..Faults::default() }, scenario);
    }
}

#[test]
fn answer_without_ordering_is_found_torn() {
    // The fences order the payload as well; without them the word has to.
    fails(RACE, Faults { relaxed: &[WORD], ..Faults::default() }, call);
}

/// A call is given up, and the slot used again: `patient` waits for the late answer first, as the rule says.
fn abandoned(faults: Faults, patient: bool) {
    let mem = slot_memory(faults);
    let asked = Arc::new(AtomicU32::new(1));
    let late = thread::spawn({
        let mem = mem.clone();
        move || answer(&mem, 1)
    });
    // Another thread of the replier, so nothing but the slot's rule keeps the two answers apart.
    let other = thread::spawn({
        let (mem, asked) = (mem.clone(), asked.clone());
        move || {
            while asked.load(Acquire) != 2 {
                thread::yield_now();
            }
            answer(&mem, 2);
        }
    });
    while patient && slot::poll(&*mem, 0, 0, 1).unwrap().is_none() {
        thread::yield_now();
    }
    asked.store(2, Release);
    answered(&mem, wait(&mem, 2), 2);
    late.join().unwrap();
    other.join().unwrap();
}

#[test]
fn late_answer_does_no_harm_to_the_next_call() {
    holds(|faults| abandoned(faults, true));
}

#[test]
fn slot_used_again_too_early_is_found() {
    fails(RACE, Faults::default(), |faults| abandoned(faults, false));
}

/// A sender waits until two messages are delivered, each by itself.
fn credits(faults: Faults) {
    credits_by(faults, |mem| (0..2).for_each(|_| assert!(!credit::delivered(mem, 1, 0).ring(mem))));
}

/// The same when they are counted one by one and told of together.
fn credits_at_once(faults: Faults) {
    credits_by(faults, |mem| {
        (0..2).for_each(|_| credit::add(mem, 1, 0, 1));
        assert!(!credit::wanted(mem, 1, 0).ring(mem));
    });
}

fn credits_by(faults: Faults, deliver: fn(&Tiny)) {
    let mem = std::sync::Arc::new(Tiny::new(faults, &[CREDIT, link::WANTS], &[]));
    let receiver = thread::spawn({
        let mem = mem.clone();
        move || deliver(&mem)
    });
    while credit::read(&*mem, 1, 0) < 2 {
        credit::want(&*mem, 0, 0, true);
        let seen = credit::read(&*mem, 1, 0);
        if seen < 2 {
            mem.sleep(CREDIT, seen);
        }
        credit::want(&*mem, 0, 0, false);
    }
    receiver.join().unwrap();
}

#[test]
fn sender_without_credit_is_always_woken() {
    holds(credits);
    holds(credits_at_once);
}

#[test]
fn credit_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::CreditWanted], ..Faults::default() }, credits);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Delivered], ..Faults::default() }, credits);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Delivered], ..Faults::default() }, credits_at_once);
}
