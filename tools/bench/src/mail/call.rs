//! A call: 32 bytes to a server and 32 back, both ends blocking.
//!
//! The floor is the least that a call through a third process can cost: a client, a relay and a server on two `SOCK_SEQPACKET` pairs, each doing
//! nothing but blocking `send` and `recv` of 32 bytes. That is eight system calls, as many packets as a call through the kernel process has.
//!
//! The goal is for `libtask`, what a program really calls, and for all three processes on one CPU. `wire` is the same without the library.

use anyhow::{Result, ensure};
use libtask::raw::{MsgBuffer, Options};
use libtask::{Disposition, Message, Name, RightKind, SendRight};
use umach_abi::control::PortAllocate;

use crate::Options as Bench;
use crate::peers::{Pids, start};
use crate::place::{Cpus, Place};
use crate::process::{Direct, Kernel};
use crate::sample::take_turns;
use crate::table::{Goal, Table};
use crate::wire::{Wire, msg};

const BODY: [u8; 32] = [7; 32];

/// A client that calls by bare packets.
pub(super) struct WireClient {
    wire: Wire,
    request: Vec<u8>,
}

impl WireClient {
    pub(super) fn new(kernel: &Kernel, server: &SendRight) -> Result<WireClient> {
        let mut wire = kernel.wire("wire-client", server)?;
        let allocate = PortAllocate { task: wire.task_self, right: RightKind::Receive as u32, name: Name::NULL };
        let reply = wire.ask(&allocate)?.name;
        let message = MsgBuffer::new(100).remote(wire.bootstrap, Disposition::CopySend).local(reply, Disposition::MakeSendOnce).body(&BODY);
        let options = (Options::SEND | Options::RCV).bits();
        Ok(WireClient { request: msg(options, reply, 1, &message.bytes, &[]), wire })
    }
    pub(super) fn call(&mut self) -> Result<()> {
        self.wire.again(&self.request)?.ok()?;
        let (_, message, _) = self.wire.message()?;
        ensure!(message[24..] == BODY, "the answer has {} bytes", message.len());
        Ok(())
    }
}

pub(super) fn run(options: &Bench, table: &mut Table) -> Result<()> {
    let cpus = Cpus::new()?;
    let mut relay = start("relay")?;
    let kernel = Kernel::start(Direct::Off)?;
    let (wire_server, to_wire_server) = kernel.child(&["wire-echo"])?;
    let (task_server, to_task_server) = kernel.child(&["task-echo"])?;
    let mut wire_client = WireClient::new(&kernel, &to_wire_server)?;
    let Pids { servers, middles } = relay.pids();
    let servers: Vec<u32> = servers.into_iter().chain([wire_server.pid(), task_server.pid()]).collect();
    let middles: Vec<u32> = middles.into_iter().chain([kernel.pid()]).collect();
    for place in cpus.places() {
        cpus.put(place, &middles, &servers)?;
        let mut floor = || relay.calls(1, BODY.len());
        let mut wire = || wire_client.call();
        let mut typed = || {
            let answer = to_task_server.call(Message::new(100).bytes(&BODY))?;
            ensure!(answer.bytes() == BODY, "the answer has {} bytes", answer.bytes().len());
            Ok(())
        };
        let rounds = options.scale(60, 5);
        let mut samples = take_turns(rounds, options.scale(300, 40), &mut [&mut floor, &mut wire, &mut typed])?;
        let [floor, wire, typed] = [0, 1, 2].map(|n| samples[n].median());
        let goal = (place == Place::OneCore).then_some(Goal::RatioAtMost(1.6));
        table.row(&format!("libtask/{}", place.name()), typed, "us", Some(floor), goal);
        table.row(&format!("wire/{}", place.name()), wire, "us", Some(floor), goal);
        let p99: Vec<_> = samples.iter_mut().map(|samples| format!("{:.1}", samples.at(0.99))).collect();
        table.note(format!("{}: 99th percentile of floor, wire, libtask: {} us", place.name(), p99.join(", ")));
    }
    Ok(())
}
