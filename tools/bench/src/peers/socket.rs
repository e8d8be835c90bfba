//! Sockets: Unix streams, Unix packets, TCP on the loopback interface.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::exchange::{Exchange, Receiving, Sending, serve};
use super::pipe::{FromBytes, ToBytes};
use super::{CALL_MAX, Contestant, Kind, Peer, Skill};
use crate::process::{Process, input, pair};

type Start = fn(&Contestant) -> Result<Box<dyn Peer>>;
type Serve = fn(&Contestant, &[String]) -> Result<()>;

const fn peer(name: &'static str, label: &'static str, start: Start, serve: Serve) -> Contestant {
    let skills = &[Skill::Call, Skill::Stream, Skill::Bulk];
    Contestant { name, label, kind: Kind::Peer, skills, largest: CALL_MAX, burns: false, start, serve }
}

pub(super) const CONTESTANTS: &[Contestant] = &[
    peer("unix-stream", "Unix stream", start_stream, serve_stream),
    peer("unix-seqpacket", "Unix seqpacket", start_packets, serve_packets),
    peer("tcp", "TCP loopback", start_tcp, serve_stream),
];

/// A socket that keeps packets apart.
pub(super) struct ToPackets(pub(super) OwnedFd);

/// The same, to receive from.
pub(super) struct FromPackets {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl FromPackets {
    pub(super) fn new(socket: OwnedFd) -> FromPackets {
        FromPackets { socket, buffer: vec![0; CALL_MAX] }
    }
}

impl Sending for ToPackets {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        send(&self.0, message, SendFlags::NOSIGNAL).context("sending")?;
        Ok(())
    }
    fn bulk(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(CALL_MAX).try_for_each(|piece| self.send(piece))
    }
}

impl Receiving for FromPackets {
    fn receive(&mut self) -> Result<&[u8]> {
        let (len, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()).context("receiving")?;
        Ok(&self.buffer[..len])
    }
}

fn twice(socket: OwnedFd) -> Result<(OwnedFd, OwnedFd)> {
    Ok((socket.try_clone().context("duplicating a socket")?, socket))
}

fn stream_client(contestant: &Contestant, ours: OwnedFd, theirs: OwnedFd) -> Result<Box<dyn Peer>> {
    let server = Process::start(&["peer", contestant.name], theirs, Stdio::null())?;
    let (to, from) = twice(ours)?;
    Ok(Exchange::boxed(ToBytes(to.into()), FromBytes::new(from), server))
}

fn start_stream(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).context("making a socket pair")?;
    stream_client(contestant, ours, theirs)
}

fn start_tcp(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on the loopback interface")?;
    let ours = TcpStream::connect(listener.local_addr()?).context("connecting on the loopback interface")?;
    let theirs = loop {
        // Somebody else may have found the port.
        let (theirs, from) = listener.accept().context("accepting on the loopback interface")?;
        if from == ours.local_addr()? {
            break theirs;
        }
    };
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    stream_client(contestant, ours.into(), theirs.into())
}

fn serve_stream(_: &Contestant, _: &[String]) -> Result<()> {
    let (to, from) = twice(input()?)?;
    serve(&mut ToBytes(to.into()), &mut FromBytes::new(from))
}

fn start_packets(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (ours, theirs) = pair()?;
    let server = Process::start(&["peer", contestant.name], theirs, Stdio::null())?;
    let (to, from) = twice(ours)?;
    Ok(Exchange::boxed(ToPackets(to), FromPackets::new(from), server))
}

pub(super) fn serve_packets(_: &Contestant, _: &[String]) -> Result<()> {
    let (to, from) = twice(input()?)?;
    serve(&mut ToPackets(to), &mut FromPackets::new(from))
}
