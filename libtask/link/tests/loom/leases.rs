//! Memory that is lent with an answer. The caller (borrower) has half 0, the replier (lender) half 1; the memory is where half 0's ring would be.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use loom::sync::atomic::AtomicU32;
use loom::thread;
use umach_abi::link::{self, LEASES_DONE, SLOT_HEAD, SLOT_WAITS};
use umach_link::slot::{self, Outcome};
use umach_link::{Memory, lease};

use crate::sys::{Cells, Faults};
use crate::{RACE, fails, holds};

type Tiny = Cells<64>;
const WORD: usize = link::HALF + link::SLOTS_AT;
const LENT: usize = link::RING;

/// When the caller says that it has taken what came with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Before it calls again in the same slot, as the rule is.
    First,
    Late,
    /// Never: it gave the call up, and has not seen the answer.
    Nothing,
}

/// An answer with memory. Then the caller uses the slot again, and the lender its memory if it may: it was not taken, or is back.
fn lent(faults: Faults, says: Says) {
    let areas = [WORD + 4..WORD + 16, WORD + SLOT_HEAD..WORD + SLOT_HEAD + 8];
    let mem = Arc::new(Tiny::new(faults, &[WORD, SLOT_WAITS, LEASES_DONE], &areas));
    // The record of the next call.
    let again = loom::sync::Arc::new(AtomicU32::new(0));
    let lender = thread::spawn({
        let (mem, again) = (mem.clone(), again.clone());
        move || {
            mem.write(LENT, &[1; 8]);
            assert!(!slot::answer(&*mem, 1, 0, 1, 1, 1, &[&[0; 8]]).ring(&*mem));
            while again.load(Acquire) == 0 {
                thread::yield_now();
            }
            if lease::word(&*mem, 0, 0).0 == 1 {
                while lease::word(&*mem, 0, 0) != (1, true) {
                    thread::yield_now();
                }
            }
            mem.write(LENT, &[2; 8]);
        }
    });
    if says != Says::Nothing {
        while slot::poll(&*mem, 0, 0, 1).unwrap() != Some(Outcome::Answered { len: 8, id: 1, kind: 1 }) {
            thread::yield_now();
        }
    }
    if says == Says::First {
        lease::taken(&*mem, 0, 0, 1);
    }
    again.store(1, Release);
    if says == Says::Late {
        lease::taken(&*mem, 0, 0, 1);
    }
    if says != Says::Nothing {
        let mut bytes = [0; 8];
        mem.read(LENT, &mut bytes);
        assert_eq!(bytes, [1; 8]);
        lease::done(&*mem, 0, 0, 1);
    }
    lender.join().unwrap();
}

#[test]
fn memory_of_an_answer_is_its_takers_until_it_is_back() {
    holds(|faults| lent(faults, Says::First));
    holds(|faults| lent(faults, Says::Nothing));
}

#[test]
fn memory_taken_without_a_word_in_time_is_found() {
    fails(RACE, Faults::default(), |faults| lent(faults, Says::Late));
}

#[test]
fn memory_given_back_without_ordering_is_found() {
    fails(RACE, Faults { relaxed: &[LEASES_DONE], ..Faults::default() }, |faults| lent(faults, Says::First));
}

#[test]
fn taken_mark_that_is_lost_is_found() {
    // The lender sees no generation, and takes the memory for its own.
    fails(RACE, Faults { masked: &[(LEASES_DONE, 1)], ..Faults::default() }, |faults| lent(faults, Says::First));
}
