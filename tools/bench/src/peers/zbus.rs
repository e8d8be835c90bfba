//! D-Bus without a bus: method calls between two ends of a socket, by zbus.

use std::os::unix::net::UnixStream;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use zbus::connection::Builder;
use zbus::{Connection, Guid, block_on, interface};

use super::{Contestant, Kind, Peer, Pids, Skill};
use crate::process::{Process, input};

pub(super) const CONTESTANTS: &[Contestant] = &[Contestant {
    name: "zbus",
    label: "zbus, peer to peer",
    kind: Kind::Peer,
    skills: &[Skill::Call],
    // An array of bytes goes byte by byte: D-Bus is not for more.
    largest: 4096,
    burns: false,
    start,
    serve,
}];

const PATH: &str = "/bench";
const INTERFACE: &str = "org.umach.Bench";

struct Echo;

#[interface(name = "org.umach.Bench")]
impl Echo {
    fn echo(&self, message: Vec<u8>) -> Vec<u8> {
        message
    }
}

struct Client {
    connection: Connection,
    server: Process,
    message: Vec<u8>,
    count: u64,
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).context("making a socket pair")?;
    let server = Process::start(&["peer", contestant.name], theirs, Stdio::null())?;
    let connection = block_on(Builder::unix_stream(UnixStream::from(ours)).p2p().build()).context("connecting by zbus")?;
    Ok(Box::new(Client { connection, server, message: vec![0; contestant.largest], count: 0 }))
}

impl Peer for Client {
    fn pids(&self) -> Pids {
        Pids { servers: vec![self.server.pid()], middles: Vec::new() }
    }
    fn calls(&mut self, count: usize, size: usize) -> Result<()> {
        for _ in 0..count {
            self.count += 1;
            self.message[..8].copy_from_slice(&self.count.to_le_bytes());
            let message = &self.message[..size];
            let answer = block_on(self.connection.call_method(None::<()>, PATH, Some(INTERFACE), "Echo", &(message,)))?;
            let answer: Vec<u8> = answer.body().deserialize()?;
            ensure!(answer == message, "a call of {size} bytes was answered by {}", answer.len());
        }
        Ok(())
    }
}

fn serve(_: &Contestant, _: &[String]) -> Result<()> {
    let socket = UnixStream::from(input()?);
    block_on(async {
        let _connection =
            Builder::unix_stream(socket).server(Guid::generate()).p2p().serve_at(PATH, Echo).build().await.context("serving by zbus")?;
        std::future::pending().await
    })
}
