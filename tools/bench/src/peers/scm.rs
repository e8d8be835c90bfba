//! The floor of rights in messages: descriptors, each closed by its receiver.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;

use anyhow::{Result, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, recvmsg, send,
    sendmsg,
};

use super::{Contestant, Kind, Peer, Pids, Skill};
use crate::process::{Process, pair};

pub(super) const CONTESTANTS: &[Contestant] = &[Contestant {
    name: "scm-rights",
    label: "SCM_RIGHTS",
    kind: Kind::Floor,
    skills: &[Skill::Rights],
    largest: 0,
    burns: false,
    start,
    serve,
}];

/// The most descriptors in a message here.
const MOST: usize = 16;
const BODY: [u8; 32] = [7; 32];

struct Descriptors {
    socket: OwnedFd,
    server: Process,
    sent: OwnedFd,
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (socket, theirs) = pair()?;
    let server = Process::start(&["peer", contestant.name], theirs, Stdio::null())?;
    Ok(Box::new(Descriptors { socket, server, sent: pair()?.0 }))
}

impl Peer for Descriptors {
    fn pids(&self) -> Pids {
        Pids { servers: vec![self.server.pid()], middles: Vec::new() }
    }
    fn rights(&mut self, messages: usize, each: usize) -> Result<()> {
        let descriptors: Vec<BorrowedFd<'_>> = vec![self.sent.as_fd(); each];
        for _ in 0..messages {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            ensure!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "no room for {each} descriptors");
            sendmsg(&self.socket, &[IoSlice::new(&BODY)], &mut control, SendFlags::NOSIGNAL)?;
        }
        send(&self.socket, &BODY, SendFlags::NOSIGNAL)?;
        let (len, _) = recv(&self.socket, &mut [0; 1][..], RecvFlags::empty())?;
        ensure!(len == 1, "the receiver is gone");
        Ok(())
    }
}

/// Takes descriptors and closes them; answers a message without any.
fn serve(_: &Contestant, _: &[String]) -> Result<()> {
    let sender = rustix::stdio::stdin();
    let mut buffer = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(sender, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if got.bytes == 0 {
            return Ok(());
        }
        let taken: usize = control
            .drain()
            .map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.count(),
                _ => 0,
            })
            .sum();
        if taken == 0 {
            send(sender, &buffer[..1], SendFlags::NOSIGNAL)?;
        }
    }
}
