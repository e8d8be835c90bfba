//! How long to look for something before sleeping: about a microsecond without a pause, then letting others run between looks, for as long as that
//! has paid.
//!
//! The time is earned: it grows when waits end soon and shrinks when they do not. Where letting others run takes long, because somebody with work of his own
//! has the processor, there is no looking at all for a while, and for longer each time that shows again.

use std::time::{Duration, Instant};

/// How long to look without letting others run, in nanoseconds.
const SPIN: u64 = 1_000;
/// Looks between two readings of the clock.
const LOOKS: u32 = 8;
/// About what a wake-up across processors costs: looking longer than that does not pay.
const MAX: u64 = 50_000;
/// The least that is tried.
const MIN: u64 = 4_000;
/// A yield that takes so long gave the processor to somebody who keeps it.
const CROWDED: u64 = 400_000;
/// Waits without looking after that, the first time and at most.
const SULK: u32 = 64;
const SULK_MAX: u32 = 8192;

/// What one thread has learned about waiting for one kind of thing.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Nanoseconds.
    budget: u64,
    /// Waits left in which it does not look, and how many the next time.
    sulk: u32,
    next_sulk: u32,
}

/// Between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing.
    None,
    /// Others could run.
    Yield,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { budget: MAX, sulk: 0, next_sulk: SULK }
    }
}

impl Patience {
    /// Whether there is no point in looking just now. Counts as a wait.
    pub fn sulks(&mut self) -> bool {
        if self.sulk == 0 {
            return false;
        }
        self.sulk -= 1;
        true
    }

    /// Looks until `ready`, or until it is time to sleep: then false. `spin`: who is waited for has another processor, so there is a point in looking
    /// without letting others run.
    pub fn look(&mut self, spin: bool, mut ready: impl FnMut(Pause) -> bool) -> bool {
        if self.sulks() {
            return ready(Pause::None);
        }
        let start = Instant::now();
        if spin {
            while (start.elapsed().as_nanos() as u64) < SPIN {
                for _ in 0..LOOKS {
                    if ready(Pause::None) {
                        return true;
                    }
                    std::hint::spin_loop();
                }
            }
        } else if ready(Pause::None) {
            return true;
        }
        let mut before = Instant::now();
        loop {
            std::thread::yield_now();
            if ready(Pause::Yield) {
                self.grow();
                self.next_sulk = SULK;
                return true;
            }
            let now = Instant::now();
            if now.duration_since(before).as_nanos() as u64 > CROWDED {
                self.sulk = self.next_sulk;
                self.next_sulk = (self.next_sulk * 2).min(SULK_MAX);
                return false;
            }
            before = now;
            if now.duration_since(start).as_nanos() as u64 > self.budget {
                return false;
            }
        }
    }

    /// What a wait that came to sleeping taught: it would have been worth looking longer, or not.
    pub fn learn(&mut self, slept: Duration) {
        if slept < Duration::from_nanos(MAX * 4) { self.grow() } else { self.budget = (self.budget / 2).max(MIN) }
    }

    fn grow(&mut self) {
        self.budget = (self.budget * 2).clamp(MIN, MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_earned_and_lost() {
        let mut patience = Patience::default();
        assert!(patience.look(true, |_| true));
        for _ in 0..20 {
            patience.learn(Duration::from_secs(1));
        }
        assert_eq!(patience.budget, MIN);
        patience.learn(Duration::ZERO);
        assert_eq!(patience.budget, 2 * MIN);
        assert!(!patience.look(false, |_| false));
    }

    #[test]
    fn yield_that_takes_long_stops_the_looking_for_a_while_and_longer_each_time() {
        let mut patience = Patience::default();
        let mut expected = SULK;
        for _ in 0..3 {
            // What the test does while it is asked stands for what others do while they may run.
            let slow = |pause| {
                if pause == Pause::Yield {
                    std::thread::sleep(Duration::from_nanos(2 * CROWDED));
                }
                false
            };
            assert!(!patience.look(false, slow));
            let mut sulked = 0;
            while patience.sulks() {
                sulked += 1;
            }
            assert_eq!(sulked, expected);
            expected *= 2;
        }
    }
}
