//! The C interface beside what it stands on: calls in the shape that MIG generates beside Rust's typed calls, a flood beside Rust's, out-of-line memory both ways
//! beside a Unix stream that carries the same bytes both ways.
//!
//! The library is loaded as a C program has it; both ends are C tasks: `mach_msg` with a reply port of `mig_get_reply_port` here, `mach_msg_server` there.

mod end;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::peers::start;
use crate::place::{Cpus, Place};
use crate::process::{Direct, Kernel, Process};
use crate::sample::{median, take_turns};
use crate::sys::clib;
use crate::table::{Goal, Table};
use crate::{Options, Part};

pub(crate) use end::{serve, stream_echo};

/// The parts, in the order in which they run.
pub(crate) const PARTS: &[Part] =
    &[Part { name: "call", run: call }, Part { name: "flood", run: flood }, Part { name: "memory", run: memory }];

/// Bytes of out-of-line memory.
const MEMORY: usize = 1 << 20;

/// A C client and its C server. The library has one task in a process, so all parts share them.
struct Ends {
    kernel: Kernel,
    server: Process,
    client: end::Client,
}

fn with_ends(measure: impl FnOnce(&mut Ends) -> Result<()>) -> Result<()> {
    static ENDS: Mutex<Option<Ends>> = Mutex::new(None);
    let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
    if ends.is_none() {
        clib::is_there()?;
        let kernel = Kernel::start(Direct::Always)?;
        let (server, right) = kernel.child(&["c-serve"])?;
        let client = end::Client::new(kernel.lane("c-client", &right)?)?;
        // The right is what the client was given.
        std::mem::forget(right);
        *ends = Some(Ends { kernel, server, client });
    }
    ends.as_mut().map_or(Ok(()), measure)
}

fn call(options: &Options, table: &mut Table) -> Result<()> {
    with_ends(|ends| calls(ends, options, table))
}

fn calls(Ends { kernel, server, client }: &mut Ends, options: &Options, table: &mut Table) -> Result<()> {
    let cpus = Cpus::new()?;
    let mut rust = start("umach")?;
    let pids = rust.pids();
    let others: Vec<u32> = pids.servers.iter().chain(&pids.middles).copied().chain([server.pid(), kernel.pid()]).collect();
    for place in cpus.places() {
        cpus.put_apart(place, &others)?;
        // Each step is so many calls that the clock does not count.
        const CALLS: usize = 100;
        let mut work = |name: &str, size: usize, c: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            let mut typed = || rust.calls(CALLS, size);
            let mut samples = take_turns(options.scale(60, 4), options.scale(40, 4), &mut [&mut typed, c])?;
            let [typed, c] = [0, 1].map(|n| samples[n].median() / CALLS as f64);
            table.row(&format!("{name}/{}", place.name()), c, "us", Some(typed), Some(Goal::RatioAtMost(1.2)));
            Ok(())
        };
        // The shortest that the typed end sends has 16 bytes.
        work("null", 16, &mut || (0..CALLS).try_for_each(|_| client.null()))?;
        work("32B", 32, &mut || (0..CALLS).try_for_each(|_| client.call()))?;
    }
    Ok(())
}

fn flood(options: &Options, table: &mut Table) -> Result<()> {
    with_ends(|ends| floods(ends, options, table))
}

fn floods(Ends { kernel, server, client }: &mut Ends, options: &Options, table: &mut Table) -> Result<()> {
    Cpus::new()?.put_apart(Place::Unpinned, &[kernel.pid(), server.pid()])?;
    let mut rust = start("umach")?;
    let count = options.scale(200_000, 2_000);
    let (mut typed, mut c) = (Vec::new(), Vec::new());
    let rate = |start: Instant| count as f64 / start.elapsed().as_secs_f64() / 1000.0;
    for _ in 0..options.scale(15, 2) {
        let began = Instant::now();
        rust.stream(count, 32)?;
        typed.push(rate(began));
        let began = Instant::now();
        client.flood(count)?;
        c.push(rate(began));
    }
    let (typed, c) = (median(typed), median(c));
    // The goal is the ratio.
    table.row("messages", c, "1000/s", Some(typed), Some(Goal::ValueAtLeast((700.0 * typed).round() / 1000.0)));
    Ok(())
}

fn memory(options: &Options, table: &mut Table) -> Result<()> {
    with_ends(|ends| there_and_back(ends, options, table))
}

fn there_and_back(Ends { kernel, server, client }: &mut Ends, options: &Options, table: &mut Table) -> Result<()> {
    let cpus = Cpus::new()?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let echo = Process::start(&["stream-echo", &MEMORY.to_string()], std::os::fd::OwnedFd::from(theirs), Stdio::null())?;
    let (mut out, mut back) = (vec![7u8; MEMORY], vec![0u8; MEMORY]);
    for place in cpus.places() {
        cpus.put_apart(place, &[kernel.pid(), server.pid(), echo.pid()])?;
        let mut stream = || {
            out[0] = out[0].wrapping_add(1);
            ours.write_all(&out)?;
            ours.read_exact(&mut back)?;
            ensure!(back[0] == out[0] && back[MEMORY - 1] == out[MEMORY - 1], "another answer than was sent");
            Ok(())
        };
        let mut c = || client.memory(MEMORY);
        let mut samples = take_turns(options.scale(30, 3), options.scale(30, 3), &mut [&mut stream, &mut c])?;
        let [stream, c] = [0, 1].map(|n| samples[n].median());
        table.row(&format!("1MiB/{}", place.name()), c, "us", Some(stream), Some(Goal::RatioAtMost(1.5)));
    }
    Ok(())
}
