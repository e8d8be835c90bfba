//! The core: all of Mach's rules, and nothing else.
//!
//! A pure state machine. Its transitions are the public methods of [`Core`] in `apply.rs`; each takes what happened, changes the state,
//! and appends to a list of [`Effect`]s what the outside should now do. There are no sockets, clocks, threads or file descriptors in
//! here, so the daemon, the in-process kernel, the model test and the fuzzers all run the very same rules.
//!
//! Deadlines are the waiting task's business: it gives a blocked request up with `Cancel`. So the core needs no clock.
//!
//! Read in this order: `arena`, `quota`, `space` (tables); `port`, `mail`, `task`, `region` (what there is); `rights` (in and out of a
//! space), `send`, `receive`, `notify`, `destroy` (how it moves and ends); `link`, `route`, `ticket`, `returned`, `grant`, `event` (how it moves without the kernel); `file` (open files);
//! `trace` (who looks on); `semaphore`, `exception`, `clock` (what else the kernel holds); `msg`, `calls`, `attributes`, `sets`, `tasks` (what can be asked); `mig` (the same, asked by messages);
//! `apply` (the transitions); `check` (what must always hold).
#![forbid(unsafe_code)]

mod alarm;
mod apply;
pub mod arena;
mod attributes;
mod calls;
mod check;
mod check_plane;
mod clock;
mod destroy;
mod effect;
mod event;
mod exception;
mod file;
mod grant;
mod link;
mod look;
mod mail;
mod mig;
mod msg;
mod notify;
mod packet;
#[cfg(test)]
mod plane_tests;
mod port;
mod quota;
mod receive;
mod region;
mod returned;
mod rights;
mod route;
mod semaphore;
mod send;
mod sets;
mod space;
mod task;
mod tasks;
#[cfg(test)]
mod tests;
mod ticket;
mod trace;
mod usage;

use std::collections::VecDeque;

use umach_abi::Features;

use arena::Arena;
pub use arena::Id;
pub use effect::{Attach, Clocks, Effect, Effects, FileLaneId, LaneId, LinkId, Peer, RegionId, Signal, TaskId, Violation};
pub use grant::Direct;
pub use mig::routine_name;
pub use quota::Limits;

/// The machine, for those who ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    /// Processors that can be used.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of a page.
    pub page_size: u64,
}

/// What a kernel is started with.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The kernel process.
    pub pid: u32,
    /// What the outside offers.
    pub features: Features,
    /// Quotas.
    pub limits: Limits,
    /// When tasks may send to each other directly.
    pub direct: Direct,
    /// Where it runs.
    pub machine: Machine,
}

/// The state of a kernel.
#[derive(Debug)]
pub struct Core {
    config: Config,
    tasks: Arena<task::Task>,
    lanes: Arena<task::Lane>,
    ports: Arena<port::Port>,
    sets: Arena<port::PortSet>,
    mails: Arena<mail::Mail>,
    regions: Arena<region::Region>,
    semaphores: Arena<semaphore::Semaphore>,
    links: Arena<link::Link>,
    file_lanes: Arena<file::FileLane>,
    routes: Arena<route::Route>,
    ledger: quota::Ledger,
    /// Teardown still to do.
    work: VecDeque<destroy::Work>,
    /// Receives whose send was blocked and is done; empty between transitions.
    resumed: VecDeque<(LaneId, task::Receive)>,
    /// Tasks of which a word of attention changes, or that have more to be told; empty between transitions.
    rung: Vec<TaskId>,
    /// Events that went out with something attached, which may fail; those of one transition.
    pulled: Vec<(LaneId, Vec<event::Pulled>)>,
    /// State of the random mode's chance.
    chance: u64,
    /// 1 + the slot of the route that waited for the mail that was dequeued last; 0 if none did.
    came_first: u32,
    /// What this transition asks of the outside; empty between transitions.
    effects: Effects,
    /// A send right for tasks that come through the listening socket.
    bootstrap: Option<port::PortId>,
    host: port::PortId,
    host_control: port::PortId,
    /// The system's and the calendar's.
    clocks: [port::PortId; 2],
    /// Who wants to know the time; empty once the outside has read the clocks.
    asked: Vec<clock::Asked>,
    /// Who wants to know of a process; likewise.
    asked_usage: VecDeque<usage::AskedUsage>,
    /// Messages that come at a time.
    alarms: alarm::Alarms,
    /// Who is told of messages.
    traces: trace::Traces,
    /// Tasks that are not ending.
    living: usize,
    requests: u64,
    sent: u64,
}

impl Core {
    /// A kernel without tasks.
    pub fn new(mut config: Config) -> Core {
        config.features.insert(Features::FILES);
        config.features.set(Features::DIRECT_PLANE, config.direct != Direct::Off);
        let chance = match config.direct {
            Direct::Random { seed } => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            _ => 1,
        };
        let mut ports = Arena::default();
        let mut kernel_port = |kobject| {
            let mut port = port::Port::new(port::Receiver::Kernel(kobject));
            port.srights = 1; // the kernel's own, so that the port never runs out of senders
            port::PortId(ports.insert(port))
        };
        let (host, host_control) = (kernel_port(port::Kobject::Host), kernel_port(port::Kobject::HostControl));
        let clocks = [clock::Clock::System, clock::Clock::Calendar].map(|clock| kernel_port(port::Kobject::Clock(clock)));
        Core {
            config,
            tasks: Arena::default(),
            lanes: Arena::default(),
            ports,
            sets: Arena::default(),
            mails: Arena::default(),
            regions: Arena::default(),
            semaphores: Arena::default(),
            links: Arena::default(),
            file_lanes: Arena::default(),
            routes: Arena::default(),
            ledger: quota::Ledger::new(&config.limits),
            work: VecDeque::new(),
            resumed: VecDeque::new(),
            rung: Vec::new(),
            pulled: Vec::new(),
            chance,
            came_first: 0,
            effects: Effects::new(),
            bootstrap: None,
            host,
            host_control,
            clocks,
            asked: Vec::new(),
            asked_usage: VecDeque::new(),
            alarms: Default::default(),
            traces: trace::Traces::default(),
            living: 0,
            requests: 0,
            sent: 0,
        }
    }
}
