//! A task with a hundred thousand rights is killed: how long do others' calls take while its rights fall apart?
//!
//! Which calls fall into that time is told by the kernel process itself: the victim's first right and its last are the only ones to two ports whose
//! no-senders notifications an observer waits for. Rights of a dead task go in the order of its table, so the first notification comes when that begins and
//! the second when it is done. Only calls that lie in between at least in part are counted; normal ones are timed before each death. Victims die until there are
//! enough calls.
//!
//! `rights`: a hundred thousand send rights to another task's ports. `ports`: a hundred thousand ports of its own, each of which has to end too.
//! Client, server and kernel process share one CPU: the short calls that this gives are the hardest to keep up with.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use libtask::raw::MsgBuffer;
use libtask::{Disposition, Message, Name, ReceiveRight, RightKind, SendRight, Task};

use super::call::WireClient;
use crate::Options as Bench;
use crate::child::{ALLOCATE, FLUSH};
use crate::place::{Cpus, Place};
use crate::process::{Direct, Kernel, PATIENCE, Process, progress};
use crate::sample::Samples;
use crate::table::{Goal, Table};

/// Rights in one array.
const ARRAY: usize = 16_000;

pub(super) fn run(options: &Bench, table: &mut Table) -> Result<()> {
    let cpus = Cpus::new()?;
    let kernel = Kernel::start(Direct::Off)?;
    let (server, to_server) = kernel.child(&["wire-echo"])?;
    cpus.put(Place::OneCore, &[kernel.pid()], &[server.pid()])?;
    let mut client = WireClient::new(&kernel, &to_server)?;
    let count = options.scale(100_000, 20_000);
    let ports = (0..count).map(|_| kernel.task.raw().port_allocate(RightKind::Receive)).collect::<Result<Vec<_>, _>>()?;
    for kind in [Kind::Rights, Kind::Ports] {
        let (mut normal, mut during, mut deaths, mut lasted) = (Samples::default(), Samples::default(), 0, Duration::ZERO);
        let (enough, least) = (options.scale(3000, 100), options.scale(8, 1));
        let most = options.scale(if kind == Kind::Rights { 40 } else { 20 }, 2);
        while (during.len() < enough || deaths < least) && deaths < most {
            progress(&format!("mail: teardown: {}: {} of {enough} calls", kind.name(), during.len()));
            let victim = Victim::new(&kernel)?;
            match kind {
                Kind::Rights => victim.fill_with_rights(&kernel.task, &ports)?,
                Kind::Ports => victim.fill_with_ports(count)?,
            }
            let death = victim.die(&mut client, &mut normal)?;
            death.calls.iter().for_each(|&took| during.push(took));
            lasted += death.lasted;
            deaths += 1;
        }
        let (p99, usual) = (during.at(0.99), normal.at(0.99));
        table.row(&format!("{}/p99", kind.name()), p99, "us", Some(usual), Some(Goal::RatioAtMost(3.0)));
        table.row(&format!("{}/median", kind.name()), during.median(), "us", Some(normal.median()), None);
        table.note(format!(
            "{}: {deaths} tasks with {count} died, each in {:.1} ms; {} calls fell into that time, {} before; the longest {:.0} us, before {:.0} us",
            kind.name(),
            lasted.as_secs_f64() * 1000.0 / f64::from(deaths.max(1)),
            during.len(),
            normal.len(),
            during.at(1.0),
            normal.at(1.0)
        ));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rights,
    Ports,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rights => "rights",
            Kind::Ports => "ports",
        }
    }
}

/// A process that is about to die.
struct Victim {
    process: Process,
    inbox: SendRight,
    /// The ports of its first and its last right.
    ends: [ReceiveRight; 2],
    observer: ReceiveRight,
}

/// What was seen of a death.
struct Death {
    calls: Vec<Duration>,
    lasted: Duration,
}

impl Victim {
    fn new(kernel: &Kernel) -> Result<Victim> {
        let (process, inbox) = kernel.child(&["keep"])?;
        let ends = [kernel.task.new_port()?, kernel.task.new_port()?];
        let victim = Victim { process, inbox, ends, observer: kernel.task.new_port()? };
        victim.give_end(0)?;
        Ok(victim)
    }

    /// Gives it a right to one of the two watched ports, and waits until it has it.
    fn give_end(&self, n: usize) -> Result<()> {
        self.inbox.call_within(Message::new(FLUSH).make_send(&self.ends[n]), PATIENCE)?;
        self.ends[n].on_no_senders(&self.observer)?;
        Ok(())
    }

    /// Sends to all of `ports`, made by their owner: the first task.
    fn fill_with_rights(&self, owner: &Task, ports: &[Name]) -> Result<()> {
        for ports in ports.chunks(ARRAY) {
            let mut message = MsgBuffer::new(1).remote(self.inbox.name(), Disposition::CopySend).ports(ports, Disposition::MakeSend);
            owner.raw().send(&mut message).ok()?;
        }
        self.give_end(1)
    }

    fn fill_with_ports(&self, count: usize) -> Result<()> {
        self.inbox.call_within(Message::new(ALLOCATE).raw_body(&(count as u32).to_le_bytes()), PATIENCE)?;
        self.give_end(1)
    }

    /// Kills it, and makes calls until its last right is gone.
    fn die(mut self, client: &mut WireClient, normal: &mut Samples) -> Result<Death> {
        let observer = self.observer;
        let watch = thread::spawn(move || -> Result<[Instant; 2]> {
            observer.receive_within(PATIENCE)?;
            let first = Instant::now();
            observer.receive_within(PATIENCE)?;
            Ok([first, Instant::now()])
        });
        let mut calls = Vec::new();
        let call = |client: &mut WireClient| -> Result<(Instant, Duration)> {
            let start = Instant::now();
            client.call()?;
            Ok((start, start.elapsed()))
        };
        for _ in 0..500 {
            normal.push(call(client)?.1);
        }
        self.process.kill()?;
        while !watch.is_finished() {
            calls.push(call(client)?);
        }
        let [first, last] = watch.join().map_err(|_| anyhow!("the observer panicked"))??;
        let inside = calls.into_iter().filter(|&(start, took)| start + took > first && start < last).map(|(_, took)| took);
        Ok(Death { calls: inside.collect(), lasted: last - first })
    }
}
