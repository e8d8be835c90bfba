//! What does not show with one client: a server with hundreds of them, what a link costs, and a server that does something.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtask::{Message, SendRight};

use super::turns::Measured;
use super::{Bench, Part, files};
use crate::child::{ECHO, LINK};
use crate::peers::Kind;
use crate::place::Place;
use crate::process::{Direct, Kernel, PATIENCE, Process, read};
use crate::report::{Figure, Goal, Section, Unit};
use crate::sample::median;
use crate::watch;

const BODY: [u8; 32] = [7; 32];
/// Calls of a new client until a link and a route have settled.
const FIRST: usize = 16;
/// Calls after which every part of a link that calls use has been used.
const MANY: usize = 10_000;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    crowd(bench)?;
    link(bench)?;
    files::run(bench)
}

/// A section about umach alone, in no particular place.
pub(super) fn section(work: &str, title: &str, unit: Unit, goals: Vec<Goal>, figures: Vec<Figure>) -> Section {
    Section {
        part: Part::Scale.name(),
        work: work.into(),
        title: title.into(),
        place: Place::Unpinned.name(),
        unit,
        floor: figures.iter().find(|figure| figure.kind == Kind::Floor).map(|figure| figure.name),
        ours: "umach",
        goals,
        figures,
        note: None,
    }
}

pub(super) fn figure(name: &'static str, label: &'static str, kind: Kind, value: f64, worst: Option<f64>) -> Figure {
    Figure { name, label, kind, value, worst }
}

fn call(right: &SendRight) -> Result<()> {
    let answer = right.call_within(Message::new(ECHO).bytes(&BODY), PATIENCE)?;
    ensure!(answer.bytes() == BODY, "the answer has {} bytes", answer.bytes().len());
    Ok(())
}

/// A server, with so many other clients that have called it and now wait for something else.
struct Served {
    to: SendRight,
    server: Process,
    _others: Vec<(Process, SendRight)>,
    kernel: Kernel,
}

impl Served {
    fn start(others: usize) -> Result<Served> {
        let kernel = Kernel::start(Direct::Always)?;
        let (server, to) = kernel.child(&["peer", "umach", "serve"])?;
        let mut clients = Vec::with_capacity(others);
        for _ in 0..others {
            watch::beat("a crowd of clients");
            let (process, right) = kernel.child(&["peer", "umach", "serve"])?;
            right.call_within(Message::new(LINK).pod(&8_u32).copy_send(&to), PATIENCE).context("linking a client")?;
            clients.push((process, right));
        }
        Ok(Served { to, server, _others: clients, kernel })
    }
}

fn crowd(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(Part::Scale, "one-of-500") {
        return Ok(());
    }
    bench.unpinned()?;
    let count = bench.scale(500, 8);
    let (alone, crowded) = (Served::start(0)?, Served::start(count - 1)?);
    // Unpinned, Linux may put the one pair on one CPU and the other on two, and nothing could be compared.
    let place = if bench.cpus.numbers().len() > 1 { Place::TwoCores } else { Place::OneCore };
    bench.cpus.put_apart(place, &[&alone, &crowded].map(|served| [served.server.pid(), served.kernel.pid()]).concat())?;
    let mut measured = [Measured::new(Unit::Microseconds), Measured::new(Unit::Microseconds)];
    let turn = Duration::from_millis(bench.scale(10, 2));
    for round in 0..=bench.rounds(40) {
        for (served, measured) in [&alone, &crowded].into_iter().zip(&mut measured) {
            watch::beat("a crowd of clients");
            let mut step = |count: usize| {
                let start = Instant::now();
                (0..count).try_for_each(|_| call(&served.to))?;
                Ok(start.elapsed())
            };
            measured.take_turn(&mut step, turn, round > 0)?;
        }
    }
    let [(alone, alone_worst), (crowded, crowded_worst)] = measured.map(Measured::figure);
    bench.unpinned()?;
    let section = section(
        "one-of-500",
        &format!("call, 32 bytes each way, to a server with {} more clients that are idle", count - 1),
        Unit::Microseconds,
        vec![Goal::TimesAtMost(1.2, "umach-alone")],
        vec![
            figure("umach", "umach, one of many", Kind::Umach, crowded, Some(crowded_worst)),
            figure("umach-alone", "umach, alone", Kind::Floor, alone, Some(alone_worst)),
        ],
    );
    bench.report.sections.push(Section { place: place.name(), ..section });
    Ok(())
}

/// What the first calls of a new client cost more than later ones, and what a link holds in memory.
fn link(bench: &mut Bench<'_>) -> Result<()> {
    let (wants_time, wants_memory) = (bench.wants(Part::Scale, "link-setup"), bench.wants(Part::Scale, "link-memory"));
    if !wants_time && !wants_memory {
        return Ok(());
    }
    bench.unpinned()?;
    watch::beat("links");
    let kernel = Kernel::start(Direct::Always)?;
    let (server, to) = kernel.child(&["peer", "umach", "serve"])?;
    call(&to)?;
    let (mut extra, mut firsts, mut usual) = (Vec::new(), Vec::new(), Vec::new());
    let mut resident = Vec::new();
    for _ in 0..bench.rounds(60) {
        watch::beat("links");
        let client = kernel.client("bench-client", &to)?;
        let right = client.bootstrap()?;
        let timed = || -> Result<f64> {
            let start = Instant::now();
            call(&right)?;
            Ok(start.elapsed().as_secs_f64() * 1e6)
        };
        let first = (0..FIRST).map(|_| timed()).collect::<Result<Vec<_>>>()?;
        let later = median((0..200).map(|_| timed()).collect::<Result<Vec<_>>>()?);
        extra.push((first.iter().sum::<f64>() - later * FIRST as f64).max(0.0));
        firsts.push(first[0]);
        usual.push(later);
        if wants_memory && resident.len() < 3 {
            let few = links(server.pid())?;
            (0..bench.scale(MANY, 500)).try_for_each(|_| call(&right))?;
            // The newest link is the one that this client has just made.
            if let (Some(few), Some(many)) = (few.last(), links(server.pid())?.last()) {
                resident.push((few.1, many.1));
            }
        }
    }
    if wants_time {
        bench.report.sections.push(section(
            "link-setup",
            "setting up a link: what the first calls of a new client take more than later ones, all together",
            Unit::Microseconds,
            vec![Goal::AtMost(300.0)],
            vec![
                figure("umach", "umach, setting up", Kind::Umach, median(extra), None),
                figure("umach-first-call", "umach, the first call", Kind::Umach, median(firsts), None),
                figure("umach-later-call", "umach, a later call", Kind::Umach, median(usual), None),
            ],
        ));
    }
    if resident.is_empty() {
        if wants_memory {
            bench.report.notes.push("link-memory: no memory of a link was found: the tasks are not linked".into());
        }
        return Ok(());
    }
    let (few, many): (Vec<f64>, Vec<f64>) = resident.into_iter().unzip();
    bench.report.sections.push(section(
        "link-memory",
        "resident memory of an idle link, both sides together",
        Unit::Kibibytes,
        vec![Goal::AtMost(64.0)],
        vec![
            figure("umach", "umach, after many calls", Kind::Umach, median(many), None),
            figure("umach-new", "umach, after few", Kind::Umach, median(few), None),
        ],
    ));
    Ok(())
}

/// The links between this process and another: the inode of each, ascending, and what is resident of it, in KiB. A page that both have mapped counts for half
/// in each.
fn links(other: u32) -> Result<Vec<(u64, f64)>> {
    let (ours, theirs) = (link_mappings(std::process::id())?, link_mappings(other)?);
    let mut both: Vec<(u64, f64)> = ours.into_iter().filter_map(|(inode, here)| Some((inode, here + theirs.get(&inode)?))).collect();
    both.sort_by_key(|&(inode, _)| inode);
    Ok(both)
}

/// Shared mappings as large as a link: their inodes, and the proportional share of each that is resident.
fn link_mappings(pid: u32) -> Result<HashMap<u64, f64>> {
    let size = umach_abi::link::SIZE as u64;
    let mut found = HashMap::new();
    let mut current = None;
    for line in read(pid, "smaps")?.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let Some((start, end)) = fields.first().and_then(|range| range.split_once('-')) {
            let bound = |text| u64::from_str_radix(text, 16).unwrap_or(0);
            let shared = fields.get(1).is_some_and(|access| access.ends_with('s'));
            let inode = fields.get(4).and_then(|inode| inode.parse().ok());
            current = inode.filter(|_| shared && bound(end).wrapping_sub(bound(start)) == size);
        } else if let (Some(inode), Some(&"Pss:")) = (current, fields.first()) {
            let share: f64 = fields.get(1).and_then(|share| share.parse().ok()).unwrap_or(0.0);
            *found.entry(inode).or_insert(0.0) += share;
        }
    }
    Ok(found)
}
