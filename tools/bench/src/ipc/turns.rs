//! One contestant's turn: a short time in which it does its work over and over.
//!
//! What takes less than a few microseconds is timed in blocks, each as one sample, so that reading the clock does not become part of the figure.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::report::Unit;
use crate::sample::{Samples, median};

/// A block takes at least about so long.
const BLOCK: Duration = Duration::from_micros(2);
/// The most in a block.
const BLOCK_MAX: usize = 32;
/// The most messages of a stream in one turn.
const STREAM_MAX: usize = 1 << 20;

/// What was measured of one contestant.
#[derive(Debug, Clone)]
pub(super) enum Measured {
    Times(Samples),
    Rates {
        rates: Vec<f64>,
        /// How many in a turn; 0: not known yet.
        count: usize,
    },
}

impl Measured {
    pub(super) fn new(unit: Unit) -> Measured {
        if unit.more_is_better() { Measured::Rates { rates: Vec::new(), count: 0 } } else { Measured::Times(Samples::default()) }
    }

    pub(super) fn take_turn(&mut self, step: &mut dyn FnMut(usize) -> Result<Duration>, turn: Duration, counts: bool) -> Result<()> {
        match self {
            Measured::Times(samples) => {
                // It slept while others had their turns.
                let (start, mut steps) = (Instant::now(), 0);
                let mut took = Duration::ZERO;
                while steps < 2 || start.elapsed() < turn / 8 {
                    took += step(1)?;
                    steps += 1;
                    if start.elapsed() > turn {
                        break;
                    }
                }
                let each = (took / steps).max(Duration::from_nanos(1));
                let block = (BLOCK.as_nanos().div_ceil(each.as_nanos()) as usize).clamp(1, BLOCK_MAX);
                let start = Instant::now();
                loop {
                    let took = step(block)?;
                    if counts {
                        samples.push(took / block as u32);
                    }
                    if start.elapsed() > turn {
                        return Ok(());
                    }
                }
            }
            Measured::Rates { rates, count } => {
                if *count == 0 {
                    *count = 64;
                    while *count < STREAM_MAX && step(*count)? < turn / 2 {
                        *count *= 2;
                    }
                }
                let took = step(*count)?;
                if counts {
                    rates.push(*count as f64 / took.as_secs_f64());
                }
                Ok(())
            }
        }
    }

    /// The median, and what one in a hundred was worse than.
    pub(super) fn figure(self) -> (f64, f64) {
        match self {
            Measured::Times(mut samples) => (samples.median(), samples.at(0.99)),
            Measured::Rates { mut rates, .. } => {
                rates.sort_by(f64::total_cmp);
                let worst = rates.get(rates.len() / 100).copied().unwrap_or(0.0);
                (median(rates), worst)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_steps_are_timed_in_blocks_and_slow_ones_alone() {
        for (each, blocks) in [(100, 20), (1_000_000, 1)] {
            let mut largest = 0;
            let mut measured = Measured::new(Unit::Microseconds);
            let mut step = |count: usize| {
                largest = largest.max(count);
                Ok(Duration::from_nanos(each * count as u64))
            };
            measured.take_turn(&mut step, Duration::from_micros(200), true).unwrap();
            assert_eq!((largest, measured.figure().0), (blocks, each as f64 / 1000.0));
        }
    }

    #[test]
    fn rate_is_counted_over_a_turn_of_the_wanted_length() {
        let mut measured = Measured::new(Unit::PerSecond);
        let mut step = |count: usize| Ok(Duration::from_micros(count as u64));
        measured.take_turn(&mut step, Duration::from_millis(10), false).unwrap();
        measured.take_turn(&mut step, Duration::from_millis(10), true).unwrap();
        assert!(matches!(measured, Measured::Rates { count: 8192, .. }), "{measured:?}");
        assert_eq!(measured.figure(), (1e6, 1e6));
    }
}
