//! What the kernel process holds for a task, and whether a look-up notices how much that is.
//!
//! One task makes a hundred thousand ports: growth of resident memory, the name of each receive right included. It makes more until there are a million,
//! and sends a right to each to another task, in arrays: growth for a million send rights in one space, all to different ports.
//!
//! Look-up: the time of a request that names a right (`mach_port_type`), in that space against one of ten rights, taking turns. Through the kernel
//! process the round trip hides much, so the same is done on the core itself, without sockets. There `hot` asks about ten names of the million: what
//! the table costs. `spread` asks about names from all over it: then nearly each look-up also misses the processor's caches, twice (the name's row, the
//! port), which is the memory's price and not the table's. Its floor is that price: two reads, one depending on the other, at as many places.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use libtask::raw::{ConstructFlags, MsgBuffer, Options};
use libtask::{Disposition, Name};
use umach_abi::control::{Call, HEAD, Head, Hello, PortConstruct, PortType, Reply, Request};
use umach_abi::message::{Descriptor, Place, copy};
use umach_abi::{Features, VERSION};
use umach_kernel::core::{Config, Core, Effect, Effects, LaneId, Limits, Peer};

use crate::Options as Bench;
use crate::place::{Cpus, Place as CpuPlace};
use crate::process::{Direct, Kernel};
use crate::sample::{median, take_turns};
use crate::table::{Goal, Table};
use crate::wire::{Wire, msg};

/// Rights in one array.
const ARRAY: usize = 16_000;
/// Rights of the small space.
const FEW: usize = 10;

pub(super) fn run(options: &Bench, table: &mut Table) -> Result<()> {
    through_the_kernel(options, table)?;
    in_process(options, table)
}

/// A message that carries rights to these ports, made from their receive rights: its bytes and its annex.
fn rights_array(to: Name, ports: &[Name]) -> (MsgBuffer, Vec<u8>) {
    let annex: Vec<u8> = ports.iter().flat_map(|name| name.0.to_le_bytes()).collect();
    let message = MsgBuffer::new(1).remote(to, Disposition::CopySend).descriptor(Descriptor::Ports {
        address: Place::Annex(0).to_raw(),
        deallocate: false,
        copy: copy::PHYSICAL,
        disposition: Disposition::MakeSend as u8,
        count: ports.len() as u32,
    });
    (message, annex)
}

/// Makes ports until there are `count`.
fn make_ports(wire: &mut Wire, ports: &mut Vec<Name>, count: usize) -> Result<()> {
    while ports.len() < count {
        ports.push(wire.ask(&PortConstruct { task: wire.task_self, flags: 0, qlimit: 0, context: 0 })?.name);
    }
    Ok(())
}

/// A task that rights are sent to, and the names that it has for them.
fn receive_rights(wire: &mut Wire, from: Name, names: &mut Vec<Name>) -> Result<()> {
    wire.again(&msg(Options::RCV.bits(), from, 1, &[], &[]))?.ok()?;
    let (_, _, annex) = wire.message()?;
    names.extend(annex.chunks_exact(4).map(|name| Name(u32::from_le_bytes([name[0], name[1], name[2], name[3]]))));
    Ok(())
}

fn through_the_kernel(options: &Bench, table: &mut Table) -> Result<()> {
    let (many, some) = (options.scale(1_000_000, 60_000), options.scale(100_000, 30_000));
    let cpus = Cpus::new()?;
    let kernel = Kernel::start(Direct::Off)?;
    cpus.put(CpuPlace::OneCore, &[kernel.pid()], &[])?;

    let (mut holder, inbox, to_holder) = kernel.wire_server("holder")?;
    let mut owner = kernel.wire("owner", &to_holder)?;
    let to_holder = owner.bootstrap;
    let mut ports = Vec::with_capacity(many);
    make_ports(&mut owner, &mut ports, 1000)?; // tables grow in steps; the first ones are not what is asked about
    let before = kernel.resident()?;
    make_ports(&mut owner, &mut ports, some + 1000)?;
    let each = (kernel.resident()? - before) / some as f64;
    table.row("port", each, "B", None, Some(Goal::ValueAtMost(400.0)));

    make_ports(&mut owner, &mut ports, many)?;
    let before = kernel.resident()?;
    let mut names = Vec::with_capacity(many);
    for ports in ports.chunks(ARRAY) {
        let (message, annex) = rights_array(to_holder, ports);
        owner.again(&msg(Options::SEND.bits(), Name::NULL, 0, &message.bytes, &annex))?.ok()?;
        receive_rights(&mut holder, inbox, &mut names)?;
    }
    ensure!(names.len() == many, "{} rights arrived of {many}", names.len());
    let each = (kernel.resident()? - before) / many as f64;
    table.row("right", each, "B", None, Some(Goal::ValueAtMost(200.0)));
    table.note(format!("{some} ports (each with the name of its receive right), then {many} send rights to as many ports in one task"));

    let mut small = kernel.wire("small", &kernel.nowhere()?)?;
    let mut few = Vec::new();
    make_ports(&mut small, &mut few, FEW - 4)?; // it starts with four: its own task and name, the host, and the bootstrap port
    shuffle(&mut names);
    let (mut few, mut many) = (few.iter().cycle(), names.iter().cycle());
    let mut in_small = || look_up(&mut small, *few.next().expect("a cycle"));
    let mut in_large = || look_up(&mut holder, *many.next().expect("a cycle"));
    let mut samples = take_turns(options.scale(1500, 50), 20, &mut [&mut in_small, &mut in_large])?;
    let [few, many] = [0, 1].map(|n: usize| samples[n].median());
    table.row("look-up/through-kernel", many, "us", Some(few), Some(Goal::RatioAtMost(1.2)));
    Ok(())
}

fn look_up(wire: &mut Wire, name: Name) -> Result<()> {
    let kind = wire.ask(&PortType { task: wire.task_self, name })?.kind;
    ensure!(kind & 0x3_0000 != 0, "name {name} is {kind:#x}");
    Ok(())
}

/// Puts names into an order that no cache foresees. Reading the list itself stays cheap.
fn shuffle(names: &mut [Name]) {
    let mut state: u64 = 1;
    for last in (1..names.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        names.swap(last, (state >> 33) as usize % (last + 1));
    }
}

/// The core by itself, with one lane for each task.
struct Bare {
    core: Core,
    effects: Effects,
    seq: u32,
}

impl Bare {
    fn new() -> Bare {
        let limits = Limits { task_ports: 4 << 20, task_names: 8 << 20, ..Limits::default() };
        let core = Core::new(Config {
            pid: std::process::id(),
            features: Features::empty(),
            limits,
            direct: umach_kernel::core::Direct::Off,
            machine: Default::default(),
        });
        Bare { core, effects: Effects::new(), seq: 0 }
    }
    fn connect(&mut self) -> Result<LaneId> {
        let lane = self.core.connect(Peer { pid: std::process::id(), uid: 0, gid: 0 }, true)?;
        self.ask::<Hello>(lane, Request::Hello(Hello { version: VERSION, features: 0 }), |_| ())?;
        Ok(lane)
    }
    /// A request that is answered at once, and successfully.
    fn ask<C: Call>(&mut self, lane: LaneId, request: Request<'_>, read: impl FnOnce(C::Answer<'_>)) -> Result<()> {
        self.seq = self.seq.wrapping_add(1);
        self.core.request(
            lane,
            Head { op: C::OP, attached: 0, seq: self.seq, status: umach_abi::Code::SUCCESS },
            &request,
            &mut self.effects,
        )?;
        let Some(Effect::Answer { packet, .. }) = self.effects.pop() else { bail!("request {} was not answered", C::OP) };
        self.effects.clear();
        let (head, _) = Head::read(&packet)?;
        head.status.ok()?;
        read(Reply::take(&packet[HEAD..])?);
        Ok(())
    }
    fn make_ports(&mut self, lane: LaneId, count: usize) -> Result<Vec<Name>> {
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            let request = PortConstruct { task: Name::NULL, flags: ConstructFlags::INSERT_SEND_RIGHT.bits(), qlimit: 0, context: 0 };
            self.ask::<PortConstruct>(lane, Request::PortConstruct(request), |answer| names.push(answer.name))?;
        }
        Ok(names)
    }
    fn look_up(&mut self, lane: LaneId, name: Name) -> Result<()> {
        self.ask::<PortType>(lane, Request::PortType(PortType { task: Name::NULL, name }), |_| ())
    }
}

/// What two reads cost, each waiting for the one before, at random places of memory as large as the tables of so many rights and ports.
struct MemoryPrice {
    tables: [Vec<usize>; 2],
    order: Vec<Name>,
    at: usize,
    /// What was read last: always 1, which the compiler does not know.
    read: usize,
}

impl MemoryPrice {
    /// Words of a name's row and of a port: see `right` and `port` above.
    const WORDS: [usize; 2] = [3, 30];

    fn new(rights: usize) -> MemoryPrice {
        let mut order: Vec<Name> = (0..rights as u32).map(Name).collect();
        shuffle(&mut order);
        MemoryPrice { tables: Self::WORDS.map(|words| vec![1; words * rights]), order, at: 0, read: 1 }
    }
    fn pay(&mut self, times: usize) {
        for _ in 0..times {
            let place = self.order[self.at].0 as usize;
            for (table, words) in self.tables.iter().zip(Self::WORDS) {
                self.read = std::hint::black_box(table)[(place + self.read - 1) * words];
            }
            self.at = (self.at + 1) % self.order.len();
        }
    }
}

fn in_process(options: &Bench, table: &mut Table) -> Result<()> {
    const LOOK_UPS: usize = 2000;
    let mut bare = Bare::new();
    let (small, large) = (bare.connect()?, bare.connect()?);
    let few = bare.make_ports(small, FEW - 3)?; // it starts with three: its own task and name, and the host
    let mut many = bare.make_ports(large, options.scale(1_000_000, 60_000))?;
    let last = *many.last().context("no rights")?;
    let hot: Vec<Name> = many.iter().copied().step_by(many.len() / few.len()).take(few.len() - 1).chain([last]).collect();
    shuffle(&mut many);
    let mut lists = [(small, few.iter().cycle()), (large, hot.iter().cycle()), (large, many.iter().cycle())];
    let mut price = MemoryPrice::new(many.len());
    let mut took: [Vec<f64>; 4] = Default::default();
    let each = |start: Instant| start.elapsed().as_nanos() as f64 / LOOK_UPS as f64;
    for _ in 0..options.scale(400, 20) {
        for ((lane, names), took) in lists.iter_mut().zip(&mut took) {
            let start = Instant::now();
            for &name in names.take(LOOK_UPS) {
                bare.look_up(*lane, name)?;
            }
            took.push(each(start));
        }
        let start = Instant::now();
        price.pay(LOOK_UPS);
        took[3].push(each(start));
    }
    let [few, hot, spread, memory] = took.map(median);
    table.row("look-up/in-process/hot", hot, "ns", Some(few), Some(Goal::RatioAtMost(1.2)));
    table.row("look-up/in-process/spread", spread, "ns", Some(few + memory), Some(Goal::RatioAtMost(1.2)));
    table.note(format!("in process, spread: its floor is the small space's {few:.0} ns and two dependent reads of memory, {memory:.0} ns"));
    Ok(())
}
