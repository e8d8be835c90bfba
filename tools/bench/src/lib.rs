//! `umach bench`: what things cost, each measured beside the least that it could cost.
//!
//! How every figure here is made:
//!
//! 1. A measured thing and its *floor* (the same exchange made of bare system calls) or its normal case take turns in the same run, in short rounds, so
//!    that a busy machine troubles both alike. Figures are medians; the ratio is the one to trust.
//! 2. Each end is a process of its own, and so is the kernel: this program started again with a hidden argument ([`child`]). So kernel and bench
//!    are always of the same build.
//! 3. All of it runs in a session of its own, which on a busy machine goes before everything else if this user may do that.
//! 4. A goal is never reached by measuring something easier; where there are two ways to read it, the harder one has the goal.
//!
//! There are four works: `mail`, what messages through the kernel process cost, piece by piece; `ipc`, umach beside raw floors and beside everything else
//! that processes use to talk to each other; `c`, the C interface beside the library that it stands
//! on; and `interface`, methods of a trait beside calls by hand.
//!
//! Files, in the order to read them: `sample` (rounds, medians), `place` (CPUs), `process` (children, `/proc`), `watch` (deadlines), `child` (what the processes
//! do); for `mail`: `table` (rows, goals), `wire` (a task without the library) and its folder; for `ipc`: `data` (bytes that tell whether they arrived),
//! `waiting`, `sys` (all unsafe code), `c`, `peers` (the contestants), `report` (sections, goals, pictures) and its folder.

mod c;
mod child;
mod data;
mod interface;
mod ipc;
mod mail;
mod peers;
mod place;
mod process;
mod report;
mod sample;
mod sys;
mod table;
mod waiting;
mod watch;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use table::Table;

/// Measures what things cost, each beside the least that it could cost.
#[derive(Debug, Clone, clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Work {
    /// Messages through the kernel process: calls, rights, memory, the end of large tasks, idle tasks
    Mail(Options),
    /// umach beside raw floors and everything else that processes talk by: calls, streams, bulk, rights, waiting, many clients
    Ipc(ipc::Options),
    /// The C interface beside what it stands on: calls as MIG makes them, floods, out-of-line memory
    C(Options),
    /// Methods of a trait beside calls whose bodies are written by hand
    Interface(Options),
    /// One process of a measurement
    #[command(name = child::COMMAND, hide = true)]
    Child(child::Child),
}

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
struct Options {
    /// Print an array of objects {work, value, unit, floor, ratio, goal, met}, one for each line of the table
    #[arg(long)]
    json: bool,
    /// A few seconds only: shows that everything works, and the figures mean little
    #[arg(long)]
    quick: bool,
    /// Only this part of the work (may be given several times)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Fail (exit code 1) if a goal is missed
    #[arg(long)]
    strict: bool,
}

impl Options {
    /// `full`, or `quick` if there is no time.
    fn scale<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// One part of a work.
struct Part {
    name: &'static str,
    run: fn(&Options, &mut Table) -> Result<()>,
}

#[derive(Parser)]
#[command(name = "umach-bench", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    bench: Bench,
}

/// Runs what `args` say. `via` is what stands before them on this program's command line (`["bench"]` in `umach bench …`).
pub fn main(via: &[&str], args: Vec<OsString>) -> ExitCode {
    Cli::parse_from(std::iter::once(OsString::from("umach-bench")).chain(args)).bench.run(via)
}

impl Bench {
    /// Runs it. `via` is what stands before the work on this program's command line (`["bench"]` in `umach bench mail`).
    pub fn run(self, via: &[&str]) -> ExitCode {
        process::set_via(via);
        let done = match self.work {
            Work::Mail(options) => prepared(options.quick, || measure("mail", mail::PARTS, &options)),
            Work::C(options) => prepared(options.quick, || measure("c", c::PARTS, &options)),
            Work::Interface(options) => prepared(options.quick, || measure("interface", interface::PARTS, &options)),
            Work::Ipc(options) => prepared(options.quick, || ipc::run(&options)),
            Work::Child(child) => child.run().map(|()| ExitCode::SUCCESS),
        };
        done.unwrap_or_else(|failed| {
            eprintln!("umach bench: {failed:#}");
            ExitCode::FAILURE
        })
    }
}

/// Measures in a session of its own.
fn prepared(quick: bool, measure: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    // A quick run is for others to get on with their work.
    if !quick && let Some(done) = process::in_own_session()? {
        return Ok(done);
    }
    measure()
}

fn measure(work: &'static str, parts: &[Part], options: &Options) -> Result<ExitCode> {
    if let Some(unknown) = options.only.iter().find(|only| parts.iter().all(|part| part.name != **only)) {
        let names: Vec<_> = parts.iter().map(|part| part.name).collect();
        bail!("no part of {work} is called {unknown}; there are: {}", names.join(", "));
    }
    let mut table = Table::new(work);
    circumstances(options.quick).into_iter().for_each(|note| table.note(note));
    for part in parts.iter().filter(|part| options.only.is_empty() || options.only.iter().any(|only| only == part.name)) {
        process::progress(&format!("{work}: {}", part.name));
        table.begin(part.name);
        (part.run)(options, &mut table)?;
    }
    process::progress("");
    print!("{}", if options.json { table.json()? } else { table.text() });
    let failed = options.strict && table.missed() > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the reader of the figures should know; and on a busy machine puts the measurement first.
fn circumstances(quick: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if cfg!(debug_assertions) {
        notes.push("built without optimisation: the figures mean little (use cargo run --release)".into());
    }
    if let Some(busy) = busy() {
        notes.push(busy);
        if !quick && !process::go_first() {
            notes.push("this user may not put the measurement before other work; as root it would be, and the figures steadier".into());
        }
    }
    notes
}

/// Says so if this machine has more to do than this.
fn busy() -> Option<String> {
    let load: f64 = std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()?;
    let cpus = std::thread::available_parallelism().ok()?.get();
    (load > 0.5 * cpus as f64).then(|| {
        format!(
            "the machine is busy (load {load} on {cpus} CPUs): medians and their ratios hold best; rates and 99th percentiles may suffer"
        )
    })
}
