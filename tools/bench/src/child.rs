//! What the processes of a measurement do. Each ends when its socket does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libtask::raw::{ConstructFlags, MsgBuffer, Options};
use libtask::{Disposition, Message, Name, RightKind, Task};
use rustix::thread::{CpuSet, sched_setaffinity};
use umach_abi::control::{PortConstruct, PortModRefs};
use umach_abi::limits::QLIMIT_MAX;
use umach_abi::message::{Header, descriptors};
use umach_kernel::config::KernelArgs;
use umach_kernel::shell;

use crate::process::{die_with_parent, input};
use crate::wire::{Wire, message_at, msg};
use crate::{c, interface, peers};

/// The hidden argument that makes a process a child.
pub(crate) const COMMAND: &str = "bench-child";

/// Messages that say this want no answer.
pub(crate) const TAKE: i32 = 1;
/// Messages that say this want an answer, once everything before them is done.
pub(crate) const FLUSH: i32 = 2;
/// Messages that say this want themselves back.
pub(crate) const ECHO: i32 = 100;
/// Asks a server to call the right that comes with it so many times.
pub(crate) const LINK: i32 = 104;
/// Asks a victim for so many ports of its own.
pub(crate) const ALLOCATE: i32 = 3;

/// One process of a measurement.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Child {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Role {
    /// A kernel process.
    Kernel(KernelArgs),
    /// A task that answers messages with themselves, by bare packets.
    WireEcho,
    /// The same with the library.
    TaskEcho,
    /// A task that takes messages with rights, so many at most in one request, by bare packets.
    WireTake { batch: u32 },
    /// The same with the library, one by one, each right dropped.
    TaskTake,
    /// A task that keeps the rights it is sent.
    Keep,
    /// A task that waits for a message.
    Idle,
    /// A process of one of the contestants.
    Peer { name: String, args: Vec<String> },
    /// A file server that exports one directory.
    Files { directory: PathBuf },
    /// A C task that answers.
    CServe,
    /// Sends back what comes on a stream, so many bytes at a time.
    StreamEcho { len: usize },
    /// A task that serves a trait.
    Interface,
    /// The same by hand.
    InterfaceByHand,
    /// Computes for ever, on one CPU.
    Hog { cpu: usize },
}

impl Child {
    pub(crate) fn run(self) -> Result<()> {
        // One that has something to clean up sees by itself that its parent has ended.
        if !matches!(&self.role, Role::Peer { name, .. } if peers::cleans_up(name)) {
            die_with_parent()?;
        }
        match self.role {
            Role::Kernel(args) => {
                shell::init_log(args.log.as_deref()).map_err(anyhow::Error::msg)?;
                Ok(shell::run(args.into_config()?)?)
            }
            Role::WireEcho => until_the_end(wire_echo()),
            Role::TaskEcho => until_the_end(task_echo()),
            Role::WireTake { batch } => until_the_end(wire_take(batch)),
            Role::TaskTake => until_the_end(task_take()),
            Role::Keep => until_the_end(keep()),
            Role::Idle => until_the_end(idle()),
            Role::Peer { name, args } => until_the_end(peers::serve(&name, &args)),
            Role::Files { directory } => until_the_end(files(&directory)),
            Role::CServe => until_the_end(c::serve()),
            Role::StreamEcho { len } => until_the_end(c::stream_echo(len)),
            Role::Interface => until_the_end(interface::serve()),
            Role::InterfaceByHand => until_the_end(interface::serve_by_hand()),
            Role::Hog { cpu } => hog(cpu),
        }
    }
}

/// A task's process ends when the kernel process does: there is nobody to tell.
fn until_the_end(ended: Result<()>) -> Result<()> {
    match ended {
        Err(why) if std::env::var_os("UMACH_BENCH_VERBOSE").is_some() => Err(why),
        _ => Ok(()),
    }
}

const SEND: u32 = Options::SEND.bits();
const RCV: u32 = Options::RCV.bits();

/// A task with a port that its maker can send to.
fn wire_server() -> Result<(Wire, Name)> {
    let mut wire = Wire::hello(input()?)?;
    let flags = ConstructFlags::QLIMIT.bits();
    let port = wire.ask(&PortConstruct { task: wire.task_self, flags, qlimit: QLIMIT_MAX, context: 0 })?.name;
    let hello = MsgBuffer::new(1).remote(wire.bootstrap, Disposition::CopySend).port(port, Disposition::MakeSend);
    wire.again(&msg(SEND, Name::NULL, 0, &hello.bytes, &[]))?.ok()?;
    Ok((wire, port))
}

fn wire_echo() -> Result<()> {
    let (mut wire, port) = wire_server()?;
    let reply = MsgBuffer::new(101).remote(Name::NULL, Disposition::MoveSendOnce).body(&[0; 32]);
    let mut reply = msg(SEND | RCV, port, 1, &reply.bytes, &[]);
    let at = message_at();
    wire.again(&msg(RCV, port, 1, &[], &[]))?.ok()?;
    loop {
        let (header, message, _) = wire.message()?;
        reply[at + 8..at + 12].copy_from_slice(&header.remote.0.to_le_bytes());
        reply[at + 24..at + 56].copy_from_slice(&message[24..56]);
        wire.again(&reply)?.ok()?;
    }
}

/// A task with a port that its maker can send to.
pub(crate) fn task_server() -> Result<(Task, libtask::ReceiveRight)> {
    let task = Task::from_lane(input()?)?;
    let port = task.new_port_with(libtask::PortOptions { queue_limit: Some(QLIMIT_MAX), ..Default::default() })?;
    task.bootstrap()?.send(Message::new(TAKE).make_send(&port))?;
    Ok((task, port))
}

fn task_echo() -> Result<()> {
    let (_task, port) = task_server()?;
    port.serve(|request| Some(Message::new(101).bytes(request.bytes())))?;
    Ok(())
}

/// Says that everything before is done.
fn answer_flush(wire: &mut Wire, to: &Header) -> Result<()> {
    let reply = MsgBuffer::new(101).remote(to.remote, Disposition::MoveSendOnce);
    wire.again(&msg(SEND, Name::NULL, 0, &reply.bytes, &[]))?.ok()?;
    Ok(())
}

fn wire_take(batch: u32) -> Result<()> {
    /// References that are kept before they are given back. One name holds 65,535 at most.
    const KEPT_MAX: usize = 16 * 1024;
    let (mut wire, port) = wire_server()?;
    let receive = msg(RCV, port, batch, &[], &[]);
    let mut kept: HashMap<Name, i32> = HashMap::new();
    let mut count = 0;
    loop {
        wire.again(&receive)?.ok()?;
        let mut flush = None;
        for (header, message, _) in wire.messages() {
            if header.id == FLUSH {
                flush = Some(header);
                continue;
            }
            let (_, first) = descriptors(message).next().context("a message without a right")?;
            if let Ok(umach_abi::message::Descriptor::Port { name, .. }) = first {
                *kept.entry(name).or_default() += 1;
                count += 1;
            }
        }
        if count > KEPT_MAX || flush.is_some() {
            for (name, references) in kept.drain() {
                wire.ask(&PortModRefs { task: wire.task_self, name, right: RightKind::Send as u32, delta: -references })?;
            }
            count = 0;
        }
        if let Some(flush) = flush {
            answer_flush(&mut wire, &flush)?;
        }
    }
}

fn task_take() -> Result<()> {
    let (_task, port) = task_server()?;
    loop {
        let mut message = port.receive()?;
        match message.id() {
            FLUSH => message.reply(Message::new(101))?,
            _ => drop(message.take_send(0)?),
        }
    }
}

fn keep() -> Result<()> {
    let (mut wire, port) = wire_server()?;
    let receive = msg(RCV, port, 1, &[], &[]);
    loop {
        wire.again(&receive)?.ok()?;
        let (header, message, _) = wire.message()?;
        if header.id == ALLOCATE {
            let count = umach_abi::message::u32_at(message, 24).context("how many ports?")?;
            for _ in 0..count {
                wire.ask(&PortConstruct { task: wire.task_self, flags: 0, qlimit: 0, context: 0 })?;
            }
        }
        if header.remote.is_valid() {
            answer_flush(&mut wire, &header)?;
        }
    }
}

fn idle() -> Result<()> {
    let (mut wire, port) = wire_server()?;
    wire.again(&msg(RCV, port, 1, &[], &[]))?.ok()?;
    Ok(())
}

fn files(directory: &Path) -> Result<()> {
    let task = Task::from_lane(input()?)?;
    umach_file_server::raise_descriptor_limit();
    let server = umach_file_server::Server::new(&task, &umach_file_server::Config::new(directory))?;
    task.bootstrap()?.send(Message::new(TAKE).copy_send(&server.root()))?;
    server.run()?;
    Ok(())
}

fn hog(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("choosing CPU {cpu}"))?;
    loop {
        std::hint::black_box(cpu);
    }
}
