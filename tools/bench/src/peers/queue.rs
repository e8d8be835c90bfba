//! Message queues: POSIX's and System V's, one each way.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustix::pipe::{PipeFlags, pipe_with};

use super::exchange::{Exchange, Receiving, Sending, serve};
use super::{Contestant, Kind, Peer, Skill};
use crate::process::{Process, input};
use crate::sys::queues::{LARGEST, SysV, SysVMessage, posix_queue, posix_receive, posix_send};

type Start = fn(&Contestant) -> Result<Box<dyn Peer>>;
type Serve = fn(&Contestant, &[String]) -> Result<()>;

const fn peer(name: &'static str, label: &'static str, start: Start, serve: Serve) -> Contestant {
    let skills = &[Skill::Call, Skill::Stream, Skill::Bulk];
    Contestant { name, label, kind: Kind::Peer, skills, largest: LARGEST, burns: false, start, serve }
}

/// System V queues outlive their processes.
pub(super) const SYSV: &str = "sysv-msg";

pub(super) const CONTESTANTS: &[Contestant] =
    &[peer("posix-mq", "POSIX queue", start_posix, serve_posix), peer(SYSV, "System V queue", start_sysv, serve_sysv)];

struct ToPosix(OwnedFd);

struct FromPosix {
    queue: OwnedFd,
    buffer: Vec<u8>,
}

impl FromPosix {
    fn new(queue: OwnedFd) -> FromPosix {
        FromPosix { queue, buffer: vec![0; LARGEST] }
    }
}

impl Sending for ToPosix {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        posix_send(self.0.as_fd(), message).context("sending to a POSIX queue")
    }
    fn bulk(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(LARGEST).try_for_each(|piece| self.send(piece))
    }
}

impl Receiving for FromPosix {
    fn receive(&mut self) -> Result<&[u8]> {
        let len = posix_receive(self.queue.as_fd(), &mut self.buffer).context("receiving from a POSIX queue")?;
        Ok(&self.buffer[..len])
    }
}

fn start_posix(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let queue = || posix_queue().context("making a POSIX queue");
    let (there, back) = (queue()?, queue()?);
    let server = Process::start(&["peer", contestant.name], there.try_clone()?, Stdio::from(back.try_clone()?))?;
    Ok(Exchange::boxed(ToPosix(there), FromPosix::new(back), server))
}

fn serve_posix(_: &Contestant, _: &[String]) -> Result<()> {
    let back = rustix::stdio::stdout().try_clone_to_owned().context("taking standard output over")?;
    serve(&mut ToPosix(back), &mut FromPosix::new(input()?))
}

/// Two queues, and what tells the process that watches over them that this one has ended.
struct Pair {
    there: SysV,
    back: SysV,
    /// Never written to.
    _alive: Option<OwnedFd>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.there.remove();
        self.back.remove();
    }
}

struct ToSysV {
    queue: SysV,
    message: Box<SysVMessage>,
    _pair: Arc<Pair>,
}

struct FromSysV {
    queue: SysV,
    message: Box<SysVMessage>,
}

impl Sending for ToSysV {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        ensure!(message.len() <= LARGEST, "a message of {} bytes", message.len());
        self.message.bytes[..message.len()].copy_from_slice(message);
        self.queue.send(&self.message, message.len()).context("sending to a System V queue")
    }
    fn bulk(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(LARGEST).try_for_each(|piece| self.send(piece))
    }
}

impl Receiving for FromSysV {
    fn receive(&mut self) -> Result<&[u8]> {
        let len = self.queue.receive(&mut self.message).context("receiving from a System V queue")?;
        Ok(&self.message.bytes[..len])
    }
}

fn start_sysv(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let queue = || SysV::new().context("making a System V queue");
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    let there = queue()?;
    let back = queue().inspect_err(|_| there.remove())?;
    let pair = Arc::new(Pair { there, back, _alive: Some(ours) });
    let ids = [there.id(), back.id()].map(|id| id.to_string());
    let server = Process::start(&["peer", contestant.name, &ids[0], &ids[1]], theirs, Stdio::null())?;
    let to = ToSysV { queue: there, message: SysVMessage::new(), _pair: pair };
    Ok(Exchange::boxed(to, FromSysV { queue: back, message: SysVMessage::new() }, server))
}

/// Serves, and removes the queues when the client has ended in whatever way: they would stay behind.
fn serve_sysv(_: &Contestant, args: &[String]) -> Result<()> {
    let [there, back] = args else { anyhow::bail!("the numbers of two queues are wanted") };
    let (there, back) = (SysV::open(there.parse()?), SysV::open(back.parse()?));
    let pair = Arc::new(Pair { there, back, _alive: None });
    let (alive, watched) = (input()?, pair.clone());
    std::thread::spawn(move || {
        // Returns when nobody has the other end any more.
        let _ = rustix::io::read(&alive, &mut [0; 1][..]);
        watched.there.remove();
        watched.back.remove();
    });
    let mut to = ToSysV { queue: back, message: SysVMessage::new(), _pair: pair };
    match serve(&mut to, &mut FromSysV { queue: there, message: SysVMessage::new() }) {
        // The queues are gone, so the client is.
        Err(why) if why.downcast_ref::<std::io::Error>().is_some_and(|why| rustix::io::Errno::from_io_error(why).is_some()) => Ok(()),
        done => done,
    }
}
