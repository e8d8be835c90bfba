//! A call: so many bytes to a server and as many back, both ends waiting for each other.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Part, Work};
use crate::peers::{Peer, Skill};
use crate::place::Place;
use crate::report::{Goal, Unit};

/// Bytes of a call, the issue's own first.
const SIZES: [usize; 6] = [32, 256, 1024, 4096, 16 * 1024, 64 * 1024];

/// The floor of calls: the best way to wait in that place.
pub(super) fn floor(place: Place) -> &'static str {
    match place {
        Place::OneCore => "shm-futex",
        Place::TwoCores | Place::Unpinned => "shm-spin-yield-futex",
    }
}

fn goals(place: Place) -> Vec<Goal> {
    let others = match place {
        Place::OneCore => {
            [Goal::TimesAtMost(1.3, "shm-futex"), Goal::TimesAtMost(0.7, "unix-seqpacket"), Goal::TimesAtMost(0.65, "ipc-channel")]
        }
        Place::TwoCores | Place::Unpinned => [
            Goal::TimesAtMost(2.5, "shm-spin-yield-futex"),
            Goal::TimesAtMost(0.01, "unix-seqpacket"),
            Goal::TimesAtMost(0.01, "ipc-channel"),
        ],
    };
    // Mach's own call is to be as quick; a little is allowed for noise.
    others.into_iter().chain([Goal::TimesAtLeast(0.85, "umach-mach-msg")]).collect()
}

/// A number of bytes as people write it, and as a work's name has it.
pub(super) fn size_names(size: usize) -> (String, String) {
    match size {
        _ if size >= 1 << 20 => (format!("{} MiB", size >> 20), format!("{}m", size >> 20)),
        _ if size >= 1 << 10 => (format!("{} KiB", size >> 10), format!("{}k", size >> 10)),
        _ => (format!("{size} bytes"), size.to_string()),
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    for size in SIZES {
        let (text, name) = size_names(size);
        let first = size == SIZES[0];
        let work = Work {
            part: Part::Latency,
            name: format!("call-{name}"),
            title: format!("call, {text} each way"),
            unit: Unit::Microseconds,
            skill: Skill::Call,
            size,
            without: if first { &[] } else { &["umach-mach-msg", "shm-spin"] },
            loaded: false,
            floor: &floor,
            goals: &|place| if first { goals(place) } else { Vec::new() },
            rounds: if first { 40 } else { 15 },
            turn: Duration::from_millis(6),
        };
        bench.compete(&work, &mut |peer, count| timed_calls(peer, count, size))?;
    }
    Ok(())
}

pub(super) fn timed_calls(peer: &mut dyn Peer, count: usize, size: usize) -> Result<Duration> {
    let start = Instant::now();
    peer.calls(count, size)?;
    Ok(start.elapsed())
}
