//! umach beside raw floors and beside what else there is, in every place.
//!
//! All contestants of a piece of work take turns in short rounds ([`turns`]); their processes are started once and stay. A piece of work is a file here;
//! what the contestants are made of is in [`crate::peers`], how figures are shown in [`crate::report`].

mod bulk;
mod files;
mod latency;
mod rights;
mod scale;
mod throughput;
mod turns;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::peers::{Contestant, Peer, Skill};
use crate::place::{Cpus, Place};
use crate::process;
use crate::report::{Figure, Goal, Report, Section, Unit};
use crate::watch;

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What to measure [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Print an array of objects {work, placement, contestant, kind, value, p99, unit, floor, ratio, goals}, one for each figure
    #[arg(long)]
    json: bool,
    /// Draw the figures into this file too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where the processes run
    #[arg(long, value_enum, default_value = "all")]
    placement: Placement,
    /// How many times the contestants take turns [default: what a piece of work needs, some tens]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Only works whose name contains this (may be given several times); names are in the brackets of the table's headings
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Only the contestant with this name, or those whose names contain it (may be given several times)
    #[arg(long, value_name = "PATTERN")]
    with: Vec<String>,
    /// A few seconds only: shows that everything works, and the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Fail (exit code 1) if a goal is missed
    #[arg(long)]
    strict: bool,
}

/// A group of works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Calls by size
    Latency,
    /// Messages one way
    Throughput,
    /// Large messages, every byte read
    Bulk,
    /// Rights in messages
    Rights,
    /// A client that computes between calls, a busy machine, an idle system
    Wait,
    /// Many clients, what a link costs, a file server
    Scale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Placement {
    OneCore,
    TwoCores,
    Unpinned,
    All,
}

impl Part {
    const ALL: [Part; 6] = [Part::Latency, Part::Throughput, Part::Bulk, Part::Rights, Part::Wait, Part::Scale];

    fn name(self) -> &'static str {
        match self {
            Part::Latency => "latency",
            Part::Throughput => "throughput",
            Part::Bulk => "bulk",
            Part::Rights => "rights",
            Part::Wait => "wait",
            Part::Scale => "scale",
        }
    }
    fn run(self, bench: &mut Bench<'_>) -> Result<()> {
        match self {
            Part::Latency => latency::run(bench),
            Part::Throughput => throughput::run(bench),
            Part::Bulk => bulk::run(bench),
            Part::Rights => rights::run(bench),
            Part::Wait => wait::run(bench),
            Part::Scale => scale::run(bench),
        }
    }
}

/// A run under way.
struct Bench<'o> {
    options: &'o Options,
    cpus: Cpus,
    places: Vec<Place>,
    /// The contestants that were started.
    field: Vec<(&'static Contestant, Box<dyn Peer>)>,
    report: Report,
    works: usize,
}

/// A piece of work that contestants do in turns.
struct Work<'w> {
    part: Part,
    name: String,
    title: String,
    unit: Unit,
    skill: Skill,
    /// Bytes of a call; those that cannot carry as many are left out.
    size: usize,
    /// Names of contestants that are left out.
    without: &'w [&'w str],
    /// Whether something else keeps the processors busy, so that those who burn them while they wait are left out.
    loaded: bool,
    floor: &'w dyn Fn(Place) -> &'static str,
    goals: &'w dyn Fn(Place) -> Vec<Goal>,
    rounds: usize,
    turn: Duration,
}

/// Does a piece of work so many times; gives how long that took.
type Step<'s> = &'s mut dyn FnMut(&mut dyn Peer, usize) -> Result<Duration>;

/// Runs what `options` say.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let cpus = Cpus::new()?;
    let wanted = match options.placement {
        Placement::All => None,
        Placement::OneCore => Some(Place::OneCore),
        Placement::TwoCores => Some(Place::TwoCores),
        Placement::Unpinned => Some(Place::Unpinned),
    };
    let places: Vec<Place> = cpus.places().into_iter().filter(|place| wanted.is_none_or(|wanted| wanted == *place)).collect();
    if places.is_empty() {
        bail!("this machine has no such placement: it has one CPU");
    }
    let mut bench = Bench { options, cpus, places, field: Vec::new(), report: Report::default(), works: 0 };
    bench.report.notes.extend(crate::circumstances(options.quick));
    bench.report.notes.push(
        if cfg!(feature = "peers") {
            "ipc-channel, iceoryx2 and zbus take part"
        } else {
            "ipc-channel, iceoryx2 and zbus are left out (build with the feature `peers`)"
        }
        .into(),
    );
    let mut parts = Part::ALL.into_iter().filter(|part| options.parts.is_empty() || options.parts.contains(part));
    let done = parts.try_for_each(|part| part.run(&mut bench));
    process::progress("");
    if done.is_ok() && bench.works == 0 {
        bail!("no work's name contains {}; run without --only to see them", options.only.join(" or "));
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, bench.report.svg()).with_context(|| format!("writing the picture to {}", path.display()))?;
    }
    // What was measured before something failed is worth seeing.
    print!("{}", if options.json { bench.report.json()? } else { bench.report.text() });
    done?;
    let failed = options.strict && bench.report.missed() > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Bench<'_> {
    /// `full`, or `quick` if there is no time.
    fn scale<T>(&self, full: T, quick: T) -> T {
        if self.options.quick { quick } else { full }
    }
    /// How many rounds, if the work needs so many.
    fn rounds(&self, needed: usize) -> usize {
        self.options.runs.map_or_else(|| self.scale(needed, 2), |runs| runs as usize)
    }
    /// Whether the command line wants this work; says so if it does.
    fn wants(&mut self, part: Part, work: &str) -> bool {
        let name = format!("{}/{work}", part.name());
        let wanted = self.options.only.is_empty() || self.options.only.iter().any(|only| name.contains(only.as_str()));
        if wanted {
            self.works += 1;
            process::progress(&name);
        }
        wanted
    }
    fn unpinned(&self) -> Result<()> {
        self.cpus.put_apart(Place::Unpinned, &[])
    }

    /// Those who do this work in this place, started: their places in the field.
    fn select(&mut self, work: &Work<'_>, place: Place) -> Result<Vec<usize>> {
        let with = &self.options.with;
        let takes_part = |contestant: &&Contestant| {
            contestant.can(work.skill)
                && (work.skill != Skill::Call || contestant.largest >= work.size)
                && !(contestant.burns && (work.loaded || place == Place::OneCore))
                && !work.without.contains(&contestant.name)
                && (with.is_empty() || with.iter().any(|with| contestant.is_called(with)))
        };
        let mut chosen = Vec::new();
        for contestant in Contestant::all().filter(takes_part) {
            let at = match self.field.iter().position(|(started, _)| started.name == contestant.name) {
                Some(at) => at,
                None => {
                    self.unpinned()?;
                    watch::beat(contestant.label);
                    let peer = contestant.start()?;
                    if contestant.burns {
                        peer.pids().servers.into_iter().try_for_each(process::stop)?;
                    }
                    self.field.push((contestant, peer));
                    self.field.len() - 1
                }
            };
            chosen.push(at);
        }
        Ok(chosen)
    }

    /// Lets everybody who can do a piece of work do it, in every place.
    fn compete(&mut self, work: &Work<'_>, step: Step<'_>) -> Result<()> {
        if !self.wants(work.part, &work.name) {
            return Ok(());
        }
        for place in self.places.clone() {
            let chosen = self.select(work, place)?;
            let others: Vec<u32> = chosen
                .iter()
                .flat_map(|&at| {
                    let pids = self.field[at].1.pids();
                    pids.servers.into_iter().chain(pids.middles)
                })
                .collect();
            self.cpus.put_apart(place, &others)?;
            let mut measured = vec![turns::Measured::new(work.unit); chosen.len()];
            // The first round only warms up.
            for round in 0..=self.rounds(work.rounds) {
                for (&at, measured) in chosen.iter().zip(&mut measured) {
                    let (contestant, peer) = &mut self.field[at];
                    watch::beat(contestant.label);
                    let turn = if self.options.quick { work.turn / 4 } else { work.turn };
                    // One that burns a processor while it waits would do so in everybody's turn.
                    let burning = if contestant.burns { peer.pids().servers } else { Vec::new() };
                    burning.iter().copied().try_for_each(process::go_on)?;
                    measured
                        .take_turn(&mut |count| step(&mut **peer, count), turn, round > 0)
                        .with_context(|| format!("{}/{}, {}: {}", work.part.name(), work.name, place.name(), contestant.label))?;
                    burning.into_iter().try_for_each(process::stop)?;
                }
            }
            let figures = chosen.iter().zip(measured).map(|(&at, measured)| {
                let (value, worst) = measured.figure();
                let Contestant { name, label, kind, .. } = *self.field[at].0;
                Figure { name, label, kind, value, worst: Some(worst) }
            });
            let figures = figures.collect();
            self.report.sections.push(Section {
                part: work.part.name(),
                work: work.name.clone(),
                title: work.title.clone(),
                place: place.name(),
                unit: work.unit,
                floor: Some((work.floor)(place)),
                ours: "umach",
                goals: (work.goals)(place),
                figures,
                note: None,
            });
        }
        self.unpinned()
    }
}
