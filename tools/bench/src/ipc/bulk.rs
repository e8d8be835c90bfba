//! Large messages: handed over and every byte read, from the bytes being there to the answer that says what was read.
//!
//! Making the bytes is not part of it, wherever they are made: a producer has to write them once in any case. So a mechanism that lets it write them to where the
//! receiver reads them is the quicker for it.

use std::time::Duration;

use anyhow::Result;

use super::latency::size_names;
use super::{Bench, Part, Work};
use crate::peers::Skill;
use crate::place::Place;
use crate::report::{Goal, Unit};

const RING: &str = "ring-spin-yield-futex";
const LOAN: &str = "loan";

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let in_place = vec![
        Goal::TimesAtMost(1.15, LOAN),
        Goal::TimesAtMost(0.4, "unix-stream"),
        Goal::TimesAtMost(0.4, "ipc-channel"),
        // Filled in place it is a loan like the floor, and nothing takes 0.65 of a floor's time.
        Goal::TimesAtMost(0.65, "iceoryx2-copy"),
    ];
    let copied = vec![Goal::TimesAtMost(1.2, RING), Goal::TimesAtMost(1.0, "unix-stream")];
    // What is copied is beside what is copied: the loan is shown with the larger ones.
    let works =
        [(256 << 10, RING, copied, "by copy"), (1 << 20, LOAN, in_place.clone(), "in place"), (64 << 20, LOAN, in_place, "in place")];
    for (size, floor, goals, how) in works {
        let (text, name) = size_names(size);
        let large = size > 16 << 20;
        let work = Work {
            part: Part::Bulk,
            name: format!("{}-{name}", how.split_once(' ').map_or(how, |(_, word)| word)),
            title: format!("{text} {how}, every byte read"),
            unit: Unit::Microseconds,
            skill: Skill::Bulk,
            size,
            without: &[],
            loaded: false,
            floor: &|_| floor,
            goals: &|_: Place| goals.clone(),
            rounds: if large { 12 } else { 25 },
            turn: Duration::from_millis(if large { 60 } else { 10 }),
        };
        let mut seed = 0;
        bench.compete(&work, &mut |peer, count| {
            let mut took = Duration::ZERO;
            for _ in 0..count {
                seed += 1;
                took += peer.bulk(seed, size)?.1;
            }
            Ok(took)
        })?;
    }
    Ok(())
}
