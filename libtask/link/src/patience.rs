//! How long to look for something before sleeping: about a microsecond without a pause, then letting others run between looks, for as long as that
//! has paid.
//!
//! The time is earned: it grows when waits end soon and shrinks when they do not. A thread that let others run and got the processor back much later stands
//! beside somebody who has work of his own. From then on it does not look at all, for a time that grows with each proof of it, since every try costs a whole
//! slice of the scheduler's.

use std::time::{Duration, Instant};

/// How long to look without letting others run.
const SPIN: Duration = Duration::from_micros(1);
/// Looks between two readings of the clock.
const LOOKS: u32 = 8;
/// About what a wake-up across processors costs: looking longer than that does not pay.
const MAX: Duration = Duration::from_micros(50);
/// The least that is tried.
const MIN: Duration = Duration::from_micros(4);
/// A yield that takes so long gave the processor to somebody who keeps it.
const CROWDED: Duration = Duration::from_micros(400);
/// Even if it was the one that is waited for: so long are the scheduler's slices.
const SLICE: Duration = Duration::from_micros(2500);
/// How long not to look after that, at first and at most.
const SULK_MIN: Duration = Duration::from_millis(10);
const SULK_MAX: Duration = Duration::from_secs(2);

/// What one thread has learned about waiting for one kind of thing.
#[derive(Debug, Clone)]
pub struct Patience {
    budget: Duration,
    /// Not to look before then.
    sulks_until: Option<Instant>,
    /// How long that was for the last time.
    sulk: Duration,
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
        Patience { budget: MAX, sulks_until: None, sulk: Duration::ZERO }
    }
}

impl Patience {
    /// Whether there is no point in looking just now.
    pub fn sulks(&mut self) -> bool {
        match self.sulks_until {
            Some(until) if until > Instant::now() => true,
            Some(_) => {
                self.sulks_until = None;
                false
            }
            None => false,
        }
    }

    /// Looks until `ready`, or until it is time to sleep: then false. `spin`: who is waited for has another processor, so there is a point in looking
    /// without letting others run.
    pub fn look(&mut self, spin: bool, mut ready: impl FnMut(Pause) -> bool) -> bool {
        if self.sulks() {
            return ready(Pause::None);
        }
        let start = Instant::now();
        let mut now = start;
        while spin && now.duration_since(start) < SPIN {
            for _ in 0..LOOKS {
                if ready(Pause::None) {
                    return true;
                }
                std::hint::spin_loop();
            }
            now = Instant::now();
        }
        loop {
            std::thread::yield_now();
            let back = Instant::now();
            let took = back.duration_since(std::mem::replace(&mut now, back));
            let came = ready(Pause::Yield);
            if took > if came && !spin { SLICE } else { CROWDED } {
                self.crowded(now);
                return came;
            }
            if came {
                self.sulk /= 2;
                self.grow();
                return true;
            }
            if now.duration_since(start) > self.budget {
                return false;
            }
        }
    }

    /// What a wait that came to sleeping taught: it would have been worth looking longer, or not.
    pub fn learn(&mut self, slept: Duration) {
        if slept < MAX * 4 { self.grow() } else { self.budget = (self.budget / 2).max(MIN) }
    }

    fn crowded(&mut self, now: Instant) {
        self.sulk = (self.sulk * 2).clamp(SULK_MIN, SULK_MAX);
        self.sulks_until = Some(now + self.sulk);
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
    fn looking_that_gave_the_processor_away_is_left_for_a_while_and_longer_each_time() {
        let mut patience = Patience::default();
        for expected in [SULK_MIN, 2 * SULK_MIN, 4 * SULK_MIN] {
            patience.crowded(Instant::now());
            assert_eq!(patience.sulk, expected);
        }
        patience.sulks_until = Some(Instant::now() + Duration::from_secs(1000));
        let mut looks = 0;
        assert!(!patience.look(true, |_| {
            looks += 1;
            false
        }));
        assert_eq!(looks, 1, "one look, whatever it sulks about");
        patience.sulks_until = Some(Instant::now());
        assert!(!patience.sulks());
    }
}
