//! Everything that a task can do to its neighbours, or try.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use libtask::raw::{ConstructFlags, MsgBuffer};
use libtask::{Code, Disposition, Message, PortOptions, RightKind, Task};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with};
use rustix::process::{Signal, getpid, kill_process};
use umach_abi::control::{Call, Hello, HostInfo};
use umach_abi::{Features, Name, VERSION};
use umach_tests::scenario::{FINISH, NUMBER, Report, SOON};

use crate::{Actor, die};

pub(crate) fn play(actor: &Actor) -> Result<()> {
    match actor.text(0)? {
        "flood" => flood(actor),
        "park" => park(actor),
        "unread" => unread(actor.text(1)?.as_ref()),
        "garbage" => garbage(actor),
        "quota" => quota(actor),
        "chains" => chains(actor),
        "stop" => stop(actor),
        "bomb" => bomb(actor.text(1)?.as_ref()),
        "pages" => pages(actor),
        "hoard" => hoard(actor),
        kind => bail!("no evil {kind:?}"),
    }
}

/// Sends to a service that does not read until it is refused, and goes on trying until it is told to stop.
fn flood(actor: &Actor) -> Result<()> {
    let target = actor.other()?;
    let inbox = actor.task.new_port()?;
    actor.ready(0, &inbox)?;
    let (mut sent, mut reported) = (0, false);
    let deadline = Instant::now() + SOON;
    loop {
        match target.try_send(Message::new(NUMBER).bytes(&[0; 16 << 10])) {
            // Those that still find room were left it by what the service has read.
            Ok(()) => sent += 1,
            Err(failed) if reported => drop(failed),
            Err(failed) => {
                actor.report(&Report::Flooded(sent, failed.error.code().0))?;
                reported = true;
            }
        }
        if reported && inbox.try_receive()?.is_some_and(|message| message.id() == FINISH) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{sent} messages and never refused, or never told to stop");
    }
}

/// Leaves many threads waiting in sends, and vanishes.
fn park(actor: &Actor) -> Result<()> {
    const THREADS: u32 = 40;
    let ports: Vec<_> = (0..THREADS / 4)
        .map(|_| actor.task.new_port_with(PortOptions { queue_limit: Some(1), ..PortOptions::default() }))
        .collect::<Result<_, _>>()?;
    for port in &ports {
        port.make_send()?.send(Message::new(NUMBER))?;
    }
    for thread in 0..THREADS {
        let right = ports[thread as usize % ports.len()].make_send()?;
        std::thread::spawn(move || right.send(Message::new(NUMBER).memory(vec![0; 1000])));
    }
    let deadline = Instant::now() + SOON;
    while actor.task.control()?.info()?.blocked_sends < THREADS {
        ensure!(Instant::now() < deadline, "not all threads wait");
    }
    die()
}

fn lane(path: &Path) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn hello() -> Vec<u8> {
    let mut packet = Vec::new();
    Hello { version: VERSION, features: Features::all().bits() }.encode(0, &mut packet);
    packet
}

/// Asks and asks and reads no answer.
fn unread(path: &Path) -> Result<()> {
    let lane = lane(path)?;
    send(&lane, &hello(), SendFlags::NOSIGNAL)?;
    let mut packet = Vec::new();
    HostInfo { host: Name(0x303) }.encode(1, &mut packet);
    let mut full = 0;
    for _ in 0..200_000 {
        match send(&lane, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => full = 0,
            Err(Errno::AGAIN) => {
                full += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // The kernel process has had enough of it.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if full == 50 {
            return Ok(());
        }
    }
    bail!("the kernel process takes requests without end")
}

/// Requests that are cut, changed in one place, or made of random bytes, on lanes of tasks that said Hello properly.
fn garbage(actor: &Actor) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut good = Vec::new();
    HostInfo { host: Name(0x303) }.encode(1, &mut good);
    for turn in 0..300 {
        let (control, _, lane) = actor.task.raw().task_create(0, "garbage").map_err(|code| anyhow::anyhow!("{code}"))?;
        let Some(lane) = lane else { bail!("a task without a lane") };
        send(&lane, &hello(), SendFlags::NOSIGNAL)?;
        let mut packet = good.clone();
        match turn % 3 {
            0 => packet.truncate(random() as usize % packet.len()),
            1 => {
                let at = random() as usize % packet.len();
                packet[at] = packet[at].wrapping_add(1 + (random() % 255) as u8);
            }
            _ => packet = (0..random() % 4000).map(|_| random() as u8).collect(),
        }
        for _ in 0..3 {
            if send(&lane, &packet, SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
        drop(lane);
        actor.task.raw().port_deallocate(control).map_err(|code| anyhow::anyhow!("{code}"))?;
    }
    Ok(())
}

/// Takes ports, names and regions until each is refused, and is then refused cleanly.
fn quota(actor: &Actor) -> Result<()> {
    let space = actor.task.raw();
    let until_refused = |what: &str, most: u32, take: &mut dyn FnMut() -> Result<(), Code>| {
        for taken in 0..most {
            if let Err(code) = take() {
                ensure!(taken > 0, "{what}: refused at once with {code}");
                ensure!(matches!(code, Code::KERN_RESOURCE_SHORTAGE | Code::KERN_NO_SPACE), "{what}: refused with {code}");
                return Ok(());
            }
        }
        bail!("{what}: {most} and no end")
    };
    until_refused("ports", 1 << 17, &mut || space.port_allocate(RightKind::Receive).map(drop))?;
    until_refused("names", 1 << 17, &mut || space.port_allocate(RightKind::DeadName).map(drop))?;
    let mut regions = Vec::new();
    let mut region = || match actor.task.region_writer(64) {
        Ok(writer) => {
            regions.push(writer);
            Ok(())
        }
        Err(error) => Err(error.code()),
    };
    until_refused("regions", 1 << 12, &mut region)?;
    die()
}

/// Receive rights in the queue of one port after the other, and in a circle at the end; then nothing holds any of them.
fn chains(actor: &Actor) -> Result<()> {
    for length in [1, 2, 3000] {
        let first = actor.task.new_port()?;
        let into_first = first.make_send()?;
        let mut chain = first;
        for _ in 1..length {
            let next = actor.task.new_port()?;
            next.make_send()?.send(Message::new(NUMBER).move_receive(chain))?;
            chain = next;
        }
        // The last one goes into the first one's queue: a circle, which the kernel must see. Mach lets it be sent and destroys what cannot
        // be reached any more.
        let circle = into_first.send(Message::new(NUMBER).move_receive(chain));
        if let Err(failed) = circle {
            ensure!(!failed.error.is_timed_out(), "{failed}");
        }
    }
    let mut chain = actor.task.new_port()?;
    for _ in 0..3000 {
        let next = actor.task.new_port()?;
        next.make_send()?.send(Message::new(NUMBER).move_receive(chain))?;
        chain = next;
    }
    die()
}

/// Stops with one thread in a receive, one in a send, and a lane with a request half done.
fn stop(actor: &Actor) -> Result<()> {
    let (empty, full) = (actor.task.new_port()?, actor.task.new_port_with(PortOptions { queue_limit: Some(1), ..PortOptions::default() })?);
    let right = full.make_send()?;
    right.send(Message::new(NUMBER))?;
    std::thread::spawn(move || right.send(Message::new(NUMBER)));
    std::thread::spawn(move || empty.receive());
    let deadline = Instant::now() + SOON;
    while actor.task.control()?.info().map(|info| info.blocked_sends + info.blocked_receives)? < 2 {
        ensure!(Instant::now() < deadline, "the threads do not wait");
    }
    actor.report(&Report::Ready(0))?;
    kill_process(getpid(), Signal::STOP)?;
    bail!("it was continued")
}

/// Connections that say nothing, too little, or hello.
fn bomb(path: &Path) -> Result<()> {
    for n in 0..500 {
        let lane = match lane(path) {
            Ok(lane) => lane,
            Err(error) if matches!(error.downcast_ref(), Some(&Errno::AGAIN | &Errno::CONNREFUSED)) => continue,
            Err(error) => return Err(error),
        };
        match n % 3 {
            0 => {}
            1 => drop(send(&lane, &hello()[..9], SendFlags::NOSIGNAL)),
            _ => drop(Task::from_lane(lane)),
        }
    }
    die()
}

/// Asks for everything that can be listed, over and over.
fn pages(actor: &Actor) -> Result<()> {
    let space = actor.task.raw();
    let fail = |code| anyhow::anyhow!("{code}");
    for _ in 0..3000 {
        space.port_allocate(RightKind::Receive).map_err(fail)?;
    }
    for _ in 0..100 {
        space.host_info(space.host_self()).map_err(fail)?;
        ensure!(space.port_names().map_err(fail)?.len() >= 3000);
        ensure!(space.port_space_info().map_err(fail)?.len() >= 3000);
    }
    Ok(())
}

/// Dies with 50,000 rights, some of them in messages, and with requests for notifications.
fn hoard(actor: &Actor) -> Result<()> {
    let space = actor.task.raw();
    let fail = |code: Code| anyhow::anyhow!("{code}");
    let first = space.port_construct(ConstructFlags::INSERT_SEND_RIGHT, 0, 0).map_err(fail)?;
    for n in 0..25_000 {
        let name = space.port_construct(ConstructFlags::INSERT_SEND_RIGHT, 0, 0).map_err(fail)?;
        if n % 10 == 0 {
            space.port_request_notification(name, libtask::raw::notify::DEAD_NAME, 0, first, Disposition::MakeSendOnce).map_err(fail)?;
            let mut message = MsgBuffer::new(NUMBER).remote(name, Disposition::CopySend).local(first, Disposition::MakeSendOnce);
            let code = space.send_timeout(&mut message, 0);
            ensure!(code == Code::SUCCESS, "{code}");
        }
    }
    die()
}
