//! ipc-channel: its channels of bytes, and for rights a channel that carries senders.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipc_channel::IpcError;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};

use super::exchange::{Exchange, Receiving, Sending, serve};
use super::{CALL_MAX, Contestant, Kind, Peer, Pids, Skill};
use crate::process::Process;

pub(super) const CONTESTANTS: &[Contestant] = &[Contestant {
    name: "ipc-channel",
    label: "ipc-channel",
    kind: Kind::Peer,
    skills: &[Skill::Call, Skill::Stream, Skill::Bulk, Skill::Rights],
    largest: CALL_MAX,
    burns: false,
    start,
    serve: serve_role,
}];

/// What a server gives its client first: how to send to it, and where its answers come.
type Ends = (IpcBytesSender, IpcBytesReceiver);
/// The same for rights: each message is answered if it wants to be.
type RightsEnds = (IpcSender<Rights>, IpcReceiver<()>);

/// Rights and as many bytes as the others send with theirs.
#[derive(Serialize, Deserialize)]
struct Rights {
    rights: Vec<IpcSender<()>>,
    body: [u8; 32],
}

/// Different rights in a stream.
const RIGHTS: usize = 16;

struct ToChannel(IpcBytesSender);

struct FromChannel {
    channel: IpcBytesReceiver,
    message: Vec<u8>,
}

impl FromChannel {
    fn new(channel: IpcBytesReceiver) -> FromChannel {
        FromChannel { channel, message: Vec::new() }
    }
}

impl Sending for ToChannel {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.send(message).context("sending by ipc-channel")
    }
    fn bulk(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(bytes)
    }
}

impl Receiving for FromChannel {
    fn receive(&mut self) -> Result<&[u8]> {
        self.message = match self.channel.recv() {
            Ok(message) => message,
            Err(IpcError::Disconnected) => Vec::new(),
            Err(why) => return Err(why).context("receiving by ipc-channel"),
        };
        Ok(&self.message)
    }
}

struct Client {
    bytes: Box<dyn Peer>,
    rights: IpcSender<Rights>,
    taken: IpcReceiver<()>,
    taker: Process,
    sent: Vec<IpcSender<()>>,
    /// Where the sent ones lead.
    _ports: Vec<IpcReceiver<()>>,
}

/// Starts a server and takes what it gives.
fn child<T: for<'d> Deserialize<'d> + Serialize>(contestant: &Contestant, role: &str) -> Result<(Process, T)> {
    let (server, name) = IpcOneShotServer::<T>::new().context("making a one-shot server")?;
    let process = Process::start(&["peer", contestant.name, role, &name], Stdio::null(), Stdio::null())?;
    let (_, ends) = server.accept().context("waiting for the server's first words")?;
    Ok((process, ends))
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let (server, (to, from)) = child::<Ends>(contestant, "bytes")?;
    let (taker, (rights, taken)) = child::<RightsEnds>(contestant, "rights")?;
    let pairs = (0..RIGHTS).map(|_| ipc::channel::<()>()).collect::<std::io::Result<Vec<_>>>()?;
    let (sent, ports) = pairs.into_iter().unzip();
    let bytes = Exchange::boxed(ToChannel(to), FromChannel::new(from), server);
    Ok(Box::new(Client { bytes, rights, taken, taker, sent, _ports: ports }))
}

impl Peer for Client {
    fn pids(&self) -> Pids {
        let mut pids = self.bytes.pids();
        pids.servers.push(self.taker.pid());
        pids
    }
    fn calls(&mut self, count: usize, size: usize) -> Result<()> {
        self.bytes.calls(count, size)
    }
    fn stream(&mut self, count: usize, size: usize) -> Result<()> {
        self.bytes.stream(count, size)
    }
    fn bulk(&mut self, seed: u64, len: usize) -> Result<(u64, Duration)> {
        self.bytes.bulk(seed, len)
    }
    fn rights(&mut self, messages: usize, each: usize) -> Result<()> {
        for n in 0..messages {
            let rights = (0..each).map(|i| self.sent[(n + i) % RIGHTS].clone()).collect();
            self.rights.send(Rights { rights, body: [7; 32] })?;
        }
        self.rights.send(Rights { rights: Vec::new(), body: [0; 32] })?;
        self.taken.recv()?;
        Ok(())
    }
}

fn serve_role(_: &Contestant, args: &[String]) -> Result<()> {
    let [role, name] = args else { bail!("a role and the name of a one-shot server are wanted") };
    match role.as_str() {
        "bytes" => {
            let ((to_us, from_client), (to_client, from_us)) = (ipc::bytes_channel()?, ipc::bytes_channel()?);
            IpcSender::<Ends>::connect(name.clone())?.send((to_us, from_us))?;
            serve(&mut ToChannel(to_client), &mut FromChannel::new(from_client))
        }
        _ => {
            let ((to_us, from_client), (to_client, from_us)) = (ipc::channel()?, ipc::channel()?);
            IpcSender::<RightsEnds>::connect(name.clone())?.send((to_us, from_us))?;
            loop {
                let Rights { rights, .. } = from_client.recv()?;
                if rights.is_empty() {
                    to_client.send(())?;
                }
            }
        }
    }
}
