//! Rounds that take turns, and what is read off their samples.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Durations in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took.as_nanos() as u64);
    }
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    /// The sample below which `part` (0 to 1) of all lie, in microseconds. 0 without samples.
    pub(crate) fn at(&mut self, part: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let at = (((self.0.len() as f64) * part).ceil() as usize).clamp(1, self.0.len()) - 1;
        *self.0.select_nth_unstable(at).1 as f64 / 1000.0
    }
    /// In microseconds.
    pub(crate) fn median(&mut self) -> f64 {
        self.at(0.5)
    }
}

/// Something that is done over and over.
pub(crate) type Step<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Times each of `steps`, taking turns: `each` times the first, `each` times the second, and so on, `rounds` times over. The first round only warms up.
pub(crate) fn take_turns(rounds: usize, each: usize, steps: &mut [Step<'_>]) -> Result<Vec<Samples>> {
    let mut samples = vec![Samples::default(); steps.len()];
    for round in 0..=rounds {
        for (step, samples) in steps.iter_mut().zip(&mut samples) {
            for _ in 0..each {
                let start = Instant::now();
                step()?;
                if round > 0 {
                    samples.push(start.elapsed());
                }
            }
        }
    }
    Ok(samples)
}

/// The median of some figures; 0 if there are none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_samples_are_where_they_should_be() {
        let mut samples = Samples::default();
        (1..=100).rev().for_each(|n| samples.push(Duration::from_micros(n)));
        assert_eq!((samples.median(), samples.at(0.99), samples.at(1.0), samples.at(0.0)), (50.0, 99.0, 100.0, 1.0));
        assert_eq!(Samples::default().median(), 0.0);
    }

    #[test]
    fn steps_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let mut a = || {
            order.borrow_mut().push('a');
            Ok(())
        };
        let mut b = || {
            order.borrow_mut().push('b');
            Ok(())
        };
        let samples = take_turns(1, 2, &mut [&mut a, &mut b]).unwrap();
        assert_eq!((order.into_inner().as_str(), samples[0].len(), samples[1].len()), ("aabbaabb", 2, 2));
    }
}
