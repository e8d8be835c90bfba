//! Waiting: look for about a microsecond, then let others run while looking, then sleep.
//!
//! * Who looks first looks without reading the clock, for most answers come before it would have been read.
//! * A peer that was last seen on this very CPU cannot run while this thread looks: it is let run at once.
//! * How long a thread lets others run before it sleeps is earned: it grows when waits end soon and shrinks to nothing when they do not. An idle task
//!   sleeps and burns nothing.
//! * A thread that let others run and got the processor back much later stands beside somebody who has work of his own. From then on it sleeps without
//!   yielding, for a time that grows with each proof of it, since every try costs a whole slice of the scheduler's.
//!
//! Threads that receive sleep under one rule: one of them, the *lookout*, sleeps on the words that peers and the kernel process change; the others sleep on a
//! word of their own. Whoever reads a ring wakes the thread that a message is for. A lookout that leaves hands its post to another.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use umach_link::futex;

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

/// No CPU is known yet.
const NOWHERE: u32 = u32::MAX;

thread_local! {
    static LEARNT: Cell<Learnt> = const { Cell::new(Learnt { budget: YIELD_FIRST, sulks: [Sulk::NONE; 2] }) };
    static CPU: Cell<u32> = const { Cell::new(NOWHERE) };
    static WAITER: Arc<Waiter> = Arc::new(Waiter::default());
}

/// The CPU on which this thread last found itself. It may have been moved since; whoever waits long finds out.
#[inline]
pub(super) fn cpu() -> u32 {
    match CPU.get() {
        NOWHERE => find_cpu(),
        cpu => cpu,
    }
}

fn find_cpu() -> u32 {
    let cpu = rustix::thread::sched_getcpu() as u32;
    CPU.set(cpu);
    cpu
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
    let here = near(cpu()) && near(find_cpu());
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
            find_cpu();
            return came;
        }
        if came {
            *sulk = Sulk { until: None, time: sulk.time / 2 };
            learnt.budget = (learnt.budget * 2).clamp(YIELD_MIN, YIELD_MAX);
            LEARNT.set(learnt);
            find_cpu();
            return true;
        }
        if now.duration_since(start) > Duration::from_nanos(learnt.budget as u64) || deadline.is_some_and(|at| at <= now) {
            return false;
        }
    }
}

/// What a wait that came to sleeping taught: it would have been worth looking longer, or not.
pub(super) fn learn(slept: Duration) {
    let mut learnt = LEARNT.get();
    let soon = Duration::from_nanos(learnt.budget.into()) + slept < Duration::from_nanos((YIELD_MAX + WAKE_UP).into());
    learnt.budget = if soon { (learnt.budget * 2).clamp(YIELD_MIN, YIELD_MAX) } else { learnt.budget / 2 };
    LEARNT.set(learnt);
    find_cpu();
}

/// A thread that waits for a message.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    /// 1 once it was woken.
    pub(super) word: AtomicU32,
}

impl Waiter {
    pub(super) fn of_this_thread() -> Arc<Waiter> {
        WAITER.with(Arc::clone)
    }
    pub(super) fn wake(&self) {
        self.word.store(1, Ordering::Release);
        futex::wake(&self.word, 1);
    }
}

/// Who of the task's waiting threads is the lookout, and who sleeps meanwhile.
#[derive(Debug, Default)]
pub(super) struct Floor {
    has_lookout: AtomicBool,
    sleepers: Mutex<Vec<Arc<Waiter>>>,
}

impl Floor {
    /// Whether this thread is the lookout now; else it was noted as a sleeper, and the lookout's leaving wakes it.
    pub(super) fn take_post(&self, me: &Arc<Waiter>) -> bool {
        let mut sleepers = self.sleepers.lock();
        if !self.has_lookout.load(Ordering::Relaxed) {
            self.has_lookout.store(true, Ordering::Relaxed);
            return true;
        }
        sleepers.push(me.clone());
        false
    }
    /// Does something that would be in a lookout's way.
    pub(super) fn unless_looked_out(&self, f: impl FnOnce()) {
        let _sleepers = self.sleepers.lock();
        if !self.has_lookout.load(Ordering::Relaxed) {
            f();
        }
    }
    /// The lookout is awake.
    pub(super) fn leave_post(&self) {
        let _sleepers = self.sleepers.lock();
        self.has_lookout.store(false, Ordering::Relaxed);
    }
    /// A sleeper is awake.
    pub(super) fn rise(&self, me: &Arc<Waiter>) {
        self.sleepers.lock().retain(|other| !Arc::ptr_eq(other, me));
    }
    /// This thread goes back to its program: if others sleep and nobody looks out, one of them must.
    pub(super) fn hand_over(&self) {
        let mut sleepers = self.sleepers.lock();
        if !self.has_lookout.load(Ordering::Relaxed)
            && let Some(next) = sleepers.pop()
        {
            drop(sleepers);
            next.wake();
        }
    }
    /// Every sleeper looks again: what they wait for may have changed its nature.
    pub(super) fn wake_all(&self) {
        let sleepers = std::mem::take(&mut *self.sleepers.lock());
        for sleeper in sleepers {
            sleeper.wake();
        }
    }
}
