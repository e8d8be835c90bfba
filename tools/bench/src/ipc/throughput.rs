//! Messages of 64 bytes one way, as fast as the receiver takes them.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Part, Work};
use crate::peers::Skill;
use crate::place::Place;
use crate::report::{Goal, Unit};

const SIZE: usize = 64;
const FLOOR: &str = "ring-spin-yield-futex";

fn goals(place: Place) -> Vec<Goal> {
    if place != Place::Unpinned {
        return Vec::new();
    }
    vec![
        Goal::TimesAtLeast(0.5, FLOOR),
        Goal::TimesAtLeast(8.0, "unix-stream"),
        Goal::TimesAtLeast(8.0, "unix-seqpacket"),
        Goal::TimesAtLeast(4.0, "iceoryx2"),
        Goal::TimesAtLeast(4.0, "iceoryx2-poll"),
        Goal::TimesAtLeast(20.0, "ipc-channel"),
    ]
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let work = Work {
        part: Part::Throughput,
        name: "one-way-64".into(),
        title: "messages of 64 bytes one way".into(),
        unit: Unit::PerSecond,
        skill: Skill::Stream,
        size: SIZE,
        without: &[],
        loaded: false,
        floor: &|_| FLOOR,
        goals: &goals,
        rounds: 30,
        turn: Duration::from_millis(10),
    };
    bench.compete(&work, &mut |peer, count| {
        let start = Instant::now();
        peer.stream(count, SIZE)?;
        Ok(start.elapsed())
    })
}
