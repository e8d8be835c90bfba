//! Rights in messages: each taken and released by its receiver.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Part, Work};
use crate::peers::Skill;
use crate::report::{Goal, Unit};

const FLOOR: &str = "scm-rights";

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    for (each, name, title, least) in
        [(1, "one-by-one", "rights, one in a message", 120_000.0), (16, "sixteen", "rights, sixteen in a message", 500_000.0)]
    {
        let goals = [Goal::AtLeast(least), Goal::TimesAtLeast(1.0, "ipc-channel")];
        let work = Work {
            part: Part::Rights,
            name: name.into(),
            title: title.into(),
            unit: Unit::PerSecond,
            skill: Skill::Rights,
            size: 0,
            without: &[],
            loaded: false,
            floor: &|_| FLOOR,
            goals: &|_| goals.to_vec(),
            rounds: 30,
            turn: Duration::from_millis(10),
        };
        bench.compete(&work, &mut |peer, count| {
            let start = Instant::now();
            peer.rights(count / each, each)?;
            Ok(start.elapsed())
        })?;
    }
    Ok(())
}
