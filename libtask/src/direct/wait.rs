//! Waiting: look for about a microsecond, then let others run while looking, then sleep.
//!
//! How long a thread yields before it sleeps is earned: it grows when waits end soon and shrinks to nothing when they do not, or when
//! yielding gives the processor to somebody who keeps it. An idle task sleeps and burns nothing.
//!
//! Threads that receive sleep under one rule: one of them, the *lookout*, sleeps on the words that peers and the kernel process change; the others sleep on a
//! word of their own. Whoever reads a ring wakes the thread that a message is for. A lookout that leaves hands its post to another.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use umach_link::futex;

/// How long to look without letting others run.
const SPIN: Duration = Duration::from_nanos(800);
/// Looks between two readings of the clock.
const LOOKS: u32 = 8;
/// About what a wake-up across processors costs: yielding longer than that does not pay.
const YIELD_MAX: u32 = 50_000;
/// The least that is tried.
const YIELD_MIN: u32 = 4_000;
/// A yield that takes so long gave the processor to somebody with work of his own.
const CROWDED: u32 = 400_000;
/// Waits that go straight to sleep after that.
const SULK: u32 = 64;

thread_local! {
    /// Nanoseconds of yielding that this thread has earned, and waits left in which it does not yield.
    static EARNED: Cell<(u32, u32)> = const { Cell::new((YIELD_MAX, 0)) };
    static WAITER: Arc<Waiter> = Arc::new(Waiter::default());
}

/// Looks, then yields. True as soon as `ready` is; false if it is time to sleep.
pub(super) fn look(deadline: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
    let (budget, sulk) = EARNED.get();
    if sulk > 0 {
        EARNED.set((budget, sulk - 1));
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        return false;
    }
    let start = Instant::now();
    while start.elapsed() < SPIN {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    let mut before = Instant::now();
    loop {
        std::thread::yield_now();
        if ready() {
            EARNED.set(((budget * 2).clamp(YIELD_MIN, YIELD_MAX), 0));
            return true;
        }
        let now = Instant::now();
        if now.duration_since(before) > Duration::from_nanos(CROWDED as u64) {
            EARNED.set((budget, SULK));
            return false;
        }
        before = now;
        if now.duration_since(start) > Duration::from_nanos(budget as u64) || deadline.is_some_and(|at| at <= now) {
            return false;
        }
    }
}

/// What a wait that came to sleeping taught: it would have been worth looking longer, or not.
pub(super) fn learn(slept: Duration) {
    let (budget, sulk) = EARNED.get();
    let budget = if slept < Duration::from_nanos(YIELD_MAX as u64 * 4) { (budget * 2).clamp(YIELD_MIN, YIELD_MAX) } else { budget / 2 };
    EARNED.set((budget, sulk));
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
