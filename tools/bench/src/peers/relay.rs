//! Three processes: what a message costs that goes through somebody in the middle, over packets.

use std::process::Stdio;

use anyhow::Result;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::exchange::{Exchange, wants_answer};
use super::socket::{FromPackets, ToPackets, serve_packets};
use super::{CALL_MAX, Contestant, Kind, Peer, Skill};
use crate::process::{Process, pair};

pub(super) const CONTESTANTS: &[Contestant] = &[Contestant {
    name: "relay",
    label: "relay over seqpacket",
    kind: Kind::Peer,
    skills: &[Skill::Call, Skill::Stream],
    largest: CALL_MAX,
    burns: false,
    start,
    serve,
}];

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let ((ours, front), (back, far)) = (pair()?, pair()?);
    let server = Process::start(&["peer", contestant.name], far, Stdio::null())?;
    let middle = Process::start(&["peer", contestant.name, "middle"], front, Stdio::from(back))?;
    let (to, from) = (ToPackets(ours.try_clone()?), FromPackets::new(ours));
    Ok(Exchange::through(to, from, server, vec![middle]))
}

fn serve(contestant: &Contestant, args: &[String]) -> Result<()> {
    if args.is_empty() {
        return serve_packets(contestant, args);
    }
    let (client, server) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let mut buffer = vec![0; CALL_MAX];
    loop {
        let (len, _) = recv(client, &mut buffer[..], RecvFlags::empty())?;
        if len == 0 {
            return Ok(());
        }
        send(server, &buffer[..len], SendFlags::NOSIGNAL)?;
        if wants_answer(&buffer[..len]) {
            let (len, _) = recv(server, &mut buffer[..], RecvFlags::empty())?;
            send(client, &buffer[..len], SendFlags::NOSIGNAL)?;
        }
    }
}
