//! Waiting: with a client that computes between its calls, on a machine that has more to do than processors, and when there is nothing to do.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libtask::Message;

use super::latency::{floor, timed_calls};
use super::{Bench, Part, Work};
use crate::child::LINK;
use crate::peers::{Kind, Skill};
use crate::place::Place;
use crate::process::{Direct, Kernel, PATIENCE, Process, sleeps};
use crate::report::{Figure, Goal, Section, Unit};
use crate::watch;

const SIZE: usize = 32;
/// How long the client computes.
const COMPUTES: Duration = Duration::from_micros(20);

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    computing_client(bench)?;
    busy_machine(bench)?;
    idle_system(bench)
}

fn computing_client(bench: &mut Bench<'_>) -> Result<()> {
    let goals = |place| match place {
        Place::OneCore => Vec::new(),
        Place::TwoCores | Place::Unpinned => vec![Goal::TimesAtMost(3.0, "shm-spin-yield-futex"), Goal::TimesAtMost(0.05, "shm-futex")],
    };
    let work = Work {
        part: Part::Wait,
        name: "call-32-computing".into(),
        title: "call, 32 bytes each way, the client computing 20 us before each".into(),
        unit: Unit::Microseconds,
        skill: Skill::Call,
        size: SIZE,
        without: &["umach-mach-msg"],
        loaded: false,
        floor: &floor,
        goals: &goals,
        rounds: 25,
        turn: Duration::from_millis(8),
    };
    bench.compete(&work, &mut |peer, count| {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let start = Instant::now();
            while start.elapsed() < COMPUTES {
                std::hint::spin_loop();
            }
            took += timed_calls(peer, 1, SIZE)?;
        }
        Ok(took)
    })
}

fn busy_machine(bench: &mut Bench<'_>) -> Result<()> {
    let hogs: Vec<String> = bench.cpus.numbers().iter().map(usize::to_string).collect();
    let mut running: Vec<Process> = Vec::new();
    let work = Work {
        part: Part::Wait,
        name: "call-32-hogs".into(),
        title: "call, 32 bytes each way, beside a process on each CPU that never stops computing".into(),
        unit: Unit::Microseconds,
        skill: Skill::Call,
        size: SIZE,
        without: &["umach-mach-msg"],
        loaded: true,
        floor: &|_| "unix-seqpacket",
        goals: &|_| vec![Goal::TimesAtMost(1.2, "unix-seqpacket")],
        rounds: 10,
        turn: Duration::from_millis(40),
    };
    bench.compete(&work, &mut |peer, count| {
        // Started with the first call, when all contestants are there.
        if running.is_empty() {
            for cpu in &hogs {
                running.push(Process::start(&["hog", cpu], Stdio::null(), Stdio::null())?);
            }
        }
        timed_calls(peer, count, SIZE)
    })
}

/// Fifty tasks in a ring, each of which has called the next, wait for messages that do not come.
fn idle_system(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(Part::Wait, "idle-50") {
        return Ok(());
    }
    let tasks = bench.scale(50, 6);
    let watched = Duration::from_secs(bench.scale(5, 1));
    bench.unpinned()?;
    watch::beat("an idle system");
    let kernel = Kernel::start(Direct::Always)?;
    let children = (0..tasks).map(|_| kernel.child(&["peer", "umach", "serve"])).collect::<Result<Vec<_>>>()?;
    for (i, (_, right)) in children.iter().enumerate() {
        let (_, next) = &children[(i + 1) % tasks];
        right.call_within(Message::new(LINK).pod(&20_u32).copy_send(next), PATIENCE).context("linking two tasks")?;
    }
    // Those that wait in the hope of more to come have given up by then.
    std::thread::sleep(Duration::from_millis(500));
    let pids: Vec<u32> = children.iter().map(|(process, _)| process.pid()).chain([kernel.pid()]).collect();
    let count = || pids.iter().map(|&pid| sleeps(pid)).sum::<Result<u64>>();
    let before = count()?;
    std::thread::sleep(watched);
    let wakes = count()? - before;
    bench.report.sections.push(Section {
        part: Part::Wait.name(),
        work: "idle-50".into(),
        title: format!("wake-ups of {tasks} linked tasks and their kernel process, nothing to do"),
        place: Place::Unpinned.name(),
        unit: Unit::Times,
        floor: None,
        ours: "umach",
        goals: vec![Goal::AtMost(0.0)],
        figures: vec![Figure {
            name: "umach",
            label: "umach",
            kind: Kind::Umach,
            value: wakes as f64 / watched.as_secs_f64(),
            worst: None,
        }],
        note: Some(format!("{wakes} wake-ups in {} s", watched.as_secs())),
    });
    Ok(())
}
