//! Waiting: look for about a microsecond, then let others run while looking, then sleep.
//!
//! * Who looks first looks without reading the clock, for most answers come before it would have been read.
//! * A peer that was last seen on this very CPU cannot run while this thread looks: it is let run at once.
//! * How long a thread lets others run before it sleeps is earned: it grows when waits end soon and shrinks to nothing when they do not. An idle task
//!   sleeps and burns nothing.
//! * A thread that let others run and got the processor back much later stands beside somebody who has work of his own. From then on it sleeps without
//!   yielding, for a time that grows with each proof of it, since every try costs a whole slice of the scheduler's.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use umach_link::futex::{self, Woken};

use crate::sys::attention::Attention;

/// Looks before the clock is read, and between two readings of it.
const FIRST: u32 = 256;
const LOOKS: u32 = 32;
/// How long to look without letting others run.
const SPIN: Duration = Duration::from_nanos(1000);
/// About what it costs to sleep: a wake-up across processors for either side. Yielding longer than that does not pay.
const YIELD_MAX: u32 = 100_000;
/// What is tried before anything is learnt.
const YIELD_FIRST: u32 = 50_000;
/// A sleep that ended so soon after the yielding would have been worth yielding for, were it not for the wake-up itself.
const WAKE_UP: u32 = 30_000;
/// The least that is tried.
const YIELD_MIN: u32 = 4_000;
/// A yield that takes so long gave the processor to somebody with work of his own.
const CROWDED: Duration = Duration::from_micros(400);
/// Even if the peer ran meanwhile: so long are the scheduler's slices.
const SLICE: Duration = Duration::from_micros(2500);
/// How long not to yield after that: at first, and at most.
const SULK_MIN: Duration = Duration::from_millis(10);
const SULK_MAX: Duration = Duration::from_secs(5);

/// What a thread has learnt about waiting.
#[derive(Debug, Clone, Copy)]
struct Learnt {
    /// Nanoseconds of yielding that it has earned.
    budget: u32,
    /// Whether to yield to whom runs elsewhere, and to whom runs on the same CPU.
    sulks: [Sulk; 2],
}

#[derive(Debug, Clone, Copy)]
struct Sulk {
    /// Not to yield before then.
    until: Option<Instant>,
    /// How long that was for the last time.
    time: Duration,
}

impl Sulk {
    const NONE: Sulk = Sulk { until: None, time: Duration::ZERO };
}

/// Linux does not say.
const NOWHERE: u32 = u32::MAX;

thread_local! {
    static LEARNT: Cell<Learnt> = const { Cell::new(Learnt { budget: YIELD_FIRST, sulks: [Sulk::NONE; 2] }) };
}

/// The CPU on which this thread runs. Linux keeps it in memory of the thread's own, so asking costs less than remembering would mislead.
#[inline]
pub(super) fn cpu() -> u32 {
    nix::sched::sched_getcpu().map_or(NOWHERE, |cpu| cpu as u32)
}

/// A first look, for what comes at once: pointless if that has to come from this very CPU.
#[inline]
pub(super) fn glance(near: impl Fn(u32) -> bool, mut ready: impl FnMut() -> bool) -> bool {
    if near(cpu()) { ready() } else { (0..FIRST).any(|_| ready()) }
}

/// How often to look at first.
#[inline]
pub(super) fn first_looks(near: impl Fn(u32) -> bool) -> u32 {
    if near(cpu()) { 1 } else { FIRST }
}

/// Looks, then yields. True as soon as `ready` is; false if it is time to sleep. `near` says whether whom this waits for was last seen on a CPU.
#[inline]
pub(super) fn look(near: impl Fn(u32) -> bool, deadline: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
    glance(&near, &mut ready) || look_longer(&near, deadline, &mut ready)
}

#[cold]
fn look_longer(near: &dyn Fn(u32) -> bool, deadline: Option<Instant>, ready: &mut dyn FnMut() -> bool) -> bool {
    let mut looks = |count: u32| {
        for n in 0..count {
            if ready() {
                return true;
            }
            // It takes as long as many looks.
            if n % 8 == 7 {
                std::hint::spin_loop();
            }
        }
        false
    };
    let start = Instant::now();
    let here = near(cpu());
    let mut now = start;
    while !here && now.duration_since(start) < SPIN {
        if looks(LOOKS) {
            return true;
        }
        now = Instant::now();
    }
    let mut learnt = LEARNT.get();
    let sulk = &mut learnt.sulks[here as usize];
    if sulk.until.is_some_and(|until| now < until) {
        return looks(1);
    }
    loop {
        std::thread::yield_now();
        let back = Instant::now();
        let took = back.duration_since(std::mem::replace(&mut now, back));
        let came = looks(if here { 1 } else { LOOKS });
        // A peer on this CPU may have used some of the time itself.
        if took > if here && came { SLICE } else { CROWDED } {
            sulk.time = (sulk.time * 4).clamp(SULK_MIN, SULK_MAX);
            sulk.until = Some(now + sulk.time);
            LEARNT.set(learnt);
            return came;
        }
        if came {
            *sulk = Sulk { until: None, time: sulk.time / 2 };
            learnt.budget = (learnt.budget * 2).clamp(YIELD_MIN, YIELD_MAX);
            LEARNT.set(learnt);
            return true;
        }
        if now.duration_since(start) > Duration::from_nanos(learnt.budget as u64) || deadline.is_some_and(|at| at <= now) {
            return false;
        }
    }
}

/// How long to sleep on what is waited for alone: one word more takes Linux longer, each time.
const SHORT: Duration = Duration::from_millis(50);

/// Sleeps on words. If that takes long, also on the kernel process's life.
pub(super) fn sleep<'a, A>(attention: &'a Attention, words: &mut SmallVec<A>, until: Instant) -> Woken
where
    A: smallvec::Array<Item = (&'a AtomicU32, u32)>,
{
    let short = Instant::now() + SHORT;
    let woken = futex::wait(words, Some(until.min(short)));
    if woken != Woken::TimedOut || until <= short {
        return woken;
    }
    if attention.kernel_is_dead() {
        return Woken::Changed;
    }
    words.extend(attention.kernel());
    futex::wait(words, Some(until))
}

/// What a wait that came to sleeping taught: it would have been worth looking longer, or not.
pub(super) fn learn(slept: Duration) {
    let mut learnt = LEARNT.get();
    let soon = Duration::from_nanos(learnt.budget.into()) + slept < Duration::from_nanos((YIELD_MAX + WAKE_UP).into());
    learnt.budget = if soon { (learnt.budget * 2).clamp(YIELD_MIN, YIELD_MAX) } else { learnt.budget / 2 };
    LEARNT.set(learnt);
}
