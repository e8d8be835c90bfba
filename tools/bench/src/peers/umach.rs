//! umach, used as its users use it: a typed call to a server that runs [`ReceiveRight::serve`], messages sent to a task that receives them, memory in messages,
//! rights in messages. The same program is measured on two kernels, one with the direct plane and one without; and once more by Mach's own call with bare names.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtask::raw::{MsgBuffer, Options};
use libtask::{Disposition, Message, Name, Next, ReceiveRight, Received, RightKind, SendRight};

use super::{CALL_MAX, Contestant, Kind, Peer, Pids, Skill};
use crate::child::{ECHO, FLUSH, LINK, TAKE, task_server};
use crate::data::{Sum, expected, fill, words};
use crate::process::{Direct, Kernel, PATIENCE, Process};

/// Asks for the sum of the memory that the message brings.
const SUM: i32 = 102;
/// Asks for the sum of the memory that the message brings, read where it is.
const SUM_IN_PLACE: i32 = 110;
/// Asks for the memory that the message brings.
const ECHO_MEMORY: i32 = 103;

const ALL: &[Skill] = &[Skill::Call, Skill::Stream, Skill::Bulk, Skill::Rights];

const fn umach(
    name: &'static str,
    label: &'static str,
    skills: &'static [Skill],
    start: fn(&Contestant) -> Result<Box<dyn Peer>>,
) -> Contestant {
    Contestant { name, label, kind: Kind::Umach, skills, largest: CALL_MAX, burns: false, start, serve: serve_role }
}

pub(super) const CONTESTANTS: &[Contestant] = &[
    umach("umach", "umach", ALL, |_| Client::start(Direct::Always, false)),
    umach("umach-mach-msg", "umach, mach_msg", &[Skill::Call], |_| Client::start(Direct::Always, true)),
    umach("umach-kernel", "umach through its kernel", ALL, |_| Client::start(Direct::Off, false)),
];

/// The longest body that a message takes; what is longer goes as memory.
const BYTES_MAX: usize = 60 * 1024;
/// From so many bytes on what is handed over is filled where the receiver reads it.
const PLACE_MIN: usize = 1 << 20;
/// Different rights in a stream.
const RIGHTS: usize = 64;
/// Messages that a task which takes many receives at once.
const BATCH: usize = 64;
const BODY: [u8; 32] = [7; 32];

struct Client {
    server: (Process, SendRight),
    taker: (Process, SendRight),
    /// The reply port, if calls are made with bare names.
    bare: Option<Name>,
    rights: Vec<(ReceiveRight, SendRight)>,
    /// A body as the library writes it: its length, and then itself.
    body: Vec<u8>,
    count: u64,
    kernel: Kernel,
}

impl Client {
    fn start(direct: Direct, bare: bool) -> Result<Box<dyn Peer>> {
        let kernel = Kernel::start(direct)?;
        let server = kernel.child(&["peer", "umach", "serve"])?;
        let taker = kernel.child(&["peer", "umach", "take"])?;
        let bare = if bare { Some(kernel.task.raw().port_allocate(RightKind::Receive)?) } else { None };
        let right = || -> Result<_> {
            let port = kernel.task.new_port()?;
            let right = port.make_send()?;
            Ok((port, right))
        };
        let rights = (0..RIGHTS).map(|_| right()).collect::<Result<_>>()?;
        Ok(Box::new(Client { server, taker, bare, rights, body: vec![0; 4 + CALL_MAX], count: 0, kernel }))
    }

    fn call(&mut self, size: usize) -> Result<()> {
        self.count += 1;
        self.body[..4].copy_from_slice(&(size as u32).to_le_bytes());
        self.body[4..12].copy_from_slice(&self.count.to_le_bytes());
        let body = &self.body[..4 + size];
        let message = &body[4..];
        let check = |answer: &[u8]| {
            ensure!(answer.len() >= size && answer[..16] == message[..16], "a call of {size} bytes was answered by {}", answer.len());
            Ok(())
        };
        if let Some(reply) = self.bare {
            let mut buffer =
                MsgBuffer::new(ECHO).remote(self.server.1.name(), Disposition::CopySend).local(reply, Disposition::MakeSendOnce).body(body);
            self.kernel.task.raw().mach_msg(&mut buffer, Options::SEND | Options::RCV, u32::MAX, reply, 0, Name::NULL).ok()?;
            return check(buffer.body_bytes().get(4..).unwrap_or_default());
        }
        if size > BYTES_MAX {
            let mut answer = self.server.1.call(Message::new(ECHO_MEMORY).memory(message))?;
            return check(&answer.memory(0)?);
        }
        check(self.server.1.call(Message::new(ECHO).bytes(message))?.bytes())
    }
}

impl Peer for Client {
    fn pids(&self) -> Pids {
        Pids { servers: vec![self.server.0.pid(), self.taker.0.pid()], middles: vec![self.kernel.pid()] }
    }
    fn calls(&mut self, count: usize, size: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.call(size))
    }
    fn stream(&mut self, count: usize, size: usize) -> Result<()> {
        for _ in 0..count {
            self.taker.1.send(Message::new(TAKE).bytes(&self.body[..size]))?;
        }
        self.taker.1.call_within(Message::new(FLUSH), PATIENCE)?;
        Ok(())
    }
    fn bulk(&mut self, seed: u64, len: usize) -> Result<(u64, Duration)> {
        let message = if len < PLACE_MIN {
            let mut data = vec![0; len];
            fill(&mut data, seed);
            Message::new(SUM).memory(data)
        } else {
            let mut loan = self.server.1.loan(len);
            fill(&mut loan, seed);
            Message::new(SUM_IN_PLACE).loan(loan)
        };
        let start = Instant::now();
        let answer = self.server.1.call(message)?;
        let took = start.elapsed();
        let sum = answer.pod()?;
        ensure!(sum == expected(seed, len), "{len} bytes did not arrive as they were sent");
        Ok((sum, took))
    }
    fn rights(&mut self, messages: usize, each: usize) -> Result<()> {
        let mut next = self.rights.iter().map(|(_, right)| right).cycle();
        for _ in 0..messages {
            let message = Message::new(TAKE).bytes(&BODY);
            self.taker.1.send(match each {
                1 => message.copy_send(next.next().context("a cycle")?),
                _ => message.rights(next.by_ref().take(each).map(SendRight::duplicate)),
            })?;
        }
        self.taker.1.call_within(Message::new(FLUSH), PATIENCE)?;
        Ok(())
    }
}

/// What umach's processes do.
fn serve_role(_: &Contestant, args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("serve") => serve(),
        Some("take") => take(),
        other => bail!("no process of umach's is called {other:?}"),
    }
}

/// A task that answers.
pub(crate) fn serve() -> Result<()> {
    let (_task, port) = task_server()?;
    port.serve(|request| {
        // What cannot be answered is dropped, and the caller told.
        answer(request).map_or(Next::Continue, Next::Reply)
    })?;
    Ok(())
}

fn answer(request: &mut Received) -> Result<Message> {
    Ok(match request.id() {
        ECHO => Message::new(101).bytes(request.bytes()),
        ECHO_MEMORY => Message::new(101).memory(request.memory(0)?.into_vec()),
        SUM => Message::new(101).pod(&Sum::of(&request.memory(0)?)),
        SUM_IN_PLACE => {
            let mut total = 0u64;
            request.take_lease(0)?.lines(|line| total = total.wrapping_add(words(line)));
            Message::new(101).pod(&total)
        }
        LINK => {
            let other = request.take_send(0)?;
            for _ in 0..u32::from_le_bytes(request.pod()?) {
                other.call_within(Message::new(ECHO).bytes(&BODY), PATIENCE)?;
            }
            // Kept: a right that is given back takes with it what was made for it.
            std::mem::forget(other);
            Message::new(101)
        }
        other => bail!("nobody knows what {other} means"),
    })
}

/// A task that takes what it is sent, and says so when it is asked.
fn take() -> Result<()> {
    let (_task, port) = task_server()?;
    loop {
        for mut message in port.receive_batch(BATCH)? {
            if message.id() == FLUSH {
                message.reply(Message::new(101))?;
            }
        }
    }
}
