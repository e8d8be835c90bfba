//! A stream of messages from one task to another, each carrying a send right and 32 bytes.
//!
//! The sender goes round 64 rights, so the receiver's space is really searched; the receiver gives the references back in time. `one-by-one` is one
//! request for each message on both sides, `batched` is `SendMany` and a receive of several. `libtask` is what a program pays that sends with
//! [`SendRight::send`], receives with `receive` and drops each right, which is a third request.
//!
//! The goal is for one by one on one CPU, and for batches everywhere. Across CPUs a message that goes alone is bound by Linux's wake-ups (a sleeping
//! thread on another CPU takes 25 to 50 us in a virtual machine), and the note under the table says so.
//!
//! The floor is the same stream between two processes without a third: `SCM_RIGHTS` with one descriptor a packet, or 16 of them (the nearest thing to a
//! batch), each closed by its receiver.

use std::time::Instant;

use anyhow::{Result, bail};
use libtask::raw::{ConstructFlags, MsgBuffer, Options};
use libtask::{Code, Disposition, Message, Name, ReceiveRight, RightKind, SendRight};
use umach_abi::control::{PortAllocate, PortConstruct, SendMany, answer};
use umach_abi::records::Frame;

use crate::Options as Bench;
use crate::child::FLUSH;
use crate::peers::start;
use crate::place::{Cpus, Place};
use crate::process::{Direct, Kernel, PATIENCE};
use crate::sample::median;
use crate::table::{Goal, Table};
use crate::wire::{Wire, msg};

/// Different rights in a stream.
const RIGHTS: usize = 64;
/// Messages of a batch.
const BATCH: usize = 64;
/// Descriptors in one packet of the floor's batch.
const DESCRIPTORS: usize = 16;
const BODY: [u8; 32] = [7; 32];

/// A sender by bare packets.
struct WireSender {
    wire: Wire,
    /// One for each right.
    requests: Vec<Vec<u8>>,
    /// The same messages as frames, one after the other.
    frames: Vec<u8>,
    flush: Vec<u8>,
}

impl WireSender {
    fn new(kernel: &Kernel, to: &SendRight) -> Result<WireSender> {
        let mut wire = kernel.wire("wire-sender", to)?;
        let (task, dest) = (wire.task_self, wire.bootstrap);
        let (mut requests, mut frames) = (Vec::new(), Vec::new());
        for _ in 0..RIGHTS {
            let flags = ConstructFlags::INSERT_SEND_RIGHT.bits();
            let right = wire.ask(&PortConstruct { task, flags, qlimit: 0, context: 0 })?.name;
            let message = MsgBuffer::new(1).remote(dest, Disposition::CopySend).port(right, Disposition::CopySend).body(&BODY).bytes;
            requests.push(msg(Options::SEND.bits(), Name::NULL, 0, &message, &[]));
            Frame { size: message.len() as u32, options: Options::SEND.bits(), ..Frame::default() }.write(&mut frames);
            frames.extend_from_slice(&message);
        }
        let reply = wire.ask(&PortAllocate { task, right: RightKind::Receive as u32, name: Name::NULL })?.name;
        let flush = MsgBuffer::new(FLUSH).remote(dest, Disposition::CopySend).local(reply, Disposition::MakeSendOnce);
        let flush = msg((Options::SEND | Options::RCV).bits(), reply, 1, &flush.bytes, &[]);
        Ok(WireSender { wire, requests, frames, flush })
    }
    fn one_by_one(&mut self, count: usize) -> Result<()> {
        for n in 0..count {
            self.wire.again(&self.requests[n % RIGHTS])?.ok()?;
        }
        Ok(self.wire.again(&self.flush)?.ok()?)
    }
    fn batched(&mut self, count: usize) -> Result<()> {
        let frame = self.frames.len() / RIGHTS;
        let mut done = 0;
        while done < count {
            let from = done % RIGHTS;
            let batch = BATCH.min(RIGHTS - from);
            let tail = &self.frames[from * frame..(from + batch) * frame];
            let status = self.wire.request(&SendMany { count: batch as u32, tail })?;
            let sent = self.wire.answer::<answer::SendMany>()?.sent;
            done += sent as usize;
            match status {
                Code::SUCCESS => {}
                // The queue is full: the next one waits for room.
                Code::MACH_SEND_TIMED_OUT => {
                    self.wire.again(&self.requests[done % RIGHTS])?.ok()?;
                    done += 1;
                }
                other => bail!("sending a batch: {other}"),
            }
        }
        Ok(self.wire.again(&self.flush)?.ok()?)
    }
}

fn typed(to: &SendRight, rights: &[SendRight], count: usize) -> Result<()> {
    for n in 0..count {
        to.send(Message::new(1).copy_send(&rights[n % RIGHTS]).bytes(&BODY))?;
    }
    to.call_within(Message::new(FLUSH), PATIENCE)?;
    Ok(())
}

pub(super) fn run(options: &Bench, table: &mut Table) -> Result<()> {
    let cpus = Cpus::new()?;
    let mut floor = start("scm-rights")?;
    let kernel = Kernel::start(Direct::Off)?;
    let (one, to_one) = kernel.child(&["wire-take", "1"])?;
    let (many, to_many) = kernel.child(&["wire-take", "64"])?;
    let (task, to_task) = kernel.child(&["task-take"])?;
    let (mut single, mut batch) = (WireSender::new(&kernel, &to_one)?, WireSender::new(&kernel, &to_many)?);
    let ports: Vec<ReceiveRight> = (0..RIGHTS).map(|_| kernel.task.new_port()).collect::<Result<_, _>>()?;
    let rights: Vec<SendRight> = ports.iter().map(ReceiveRight::make_send).collect::<Result<_, _>>()?;
    let receivers: Vec<u32> = floor.pids().servers.into_iter().chain([one.pid(), many.pid(), task.pid()]).collect();

    // Short, so that most rounds escape whatever else the machine does; a batch is quicker, so it has more.
    let (rounds, count, count_batched) = (options.scale(150, 5), 256, 2048);
    for place in cpus.places() {
        cpus.put(place, &[kernel.pid()], &receivers)?;
        let mut rates: [Vec<f64>; 5] = Default::default();
        for _ in 0..rounds {
            let mut take = |n: usize, count: usize, stream: &mut dyn FnMut(usize) -> Result<()>| -> Result<()> {
                let start = Instant::now();
                stream(count)?;
                rates[n].push(count as f64 / start.elapsed().as_secs_f64());
                Ok(())
            };
            take(0, count, &mut |count| floor.rights(count, 1))?;
            take(1, count, &mut |count| single.one_by_one(count))?;
            take(2, count, &mut |count| typed(&to_task, &rights, count))?;
            take(3, count_batched, &mut |count| floor.rights(count / DESCRIPTORS, DESCRIPTORS))?;
            take(4, count_batched, &mut |count| batch.batched(count))?;
        }
        let [floor_one, one, typed, floor_many, many] = rates.map(median);
        let name = place.name();
        if place != Place::OneCore && one < 60_000.0 {
            table.note(format!(
                "{name}, one by one: {one:.0} a second are fewer than 60,000: each message waits for two wake-ups across CPUs on its way into the \
                 kernel process and back; batches do without"
            ));
        }
        let goal = Goal::ValueAtLeast(60_000.0);
        table.row(&format!("one-by-one/{name}"), one, "/s", Some(floor_one), (place == Place::OneCore).then_some(goal));
        table.row(&format!("batched/{name}"), many, "/s", Some(floor_many), Some(goal));
        table.row(&format!("libtask/{name}"), typed, "/s", Some(floor_one), None);
    }
    Ok(())
}
