//! Those who pass receive rights round, and those who keep sending to the ports meanwhile.

use anyhow::{Result, bail, ensure};
use libtask::{Message, Notification, SendRight};
use umach_tests::scenario::{BATON, Baton, FATAL, FINISH, HOPS, NUMBER, NUMBERS, RIGHTS, Report, SOON, baton, pass_on};

use crate::{Actor, die};

/// Messages that a member takes from a port before it passes it on.
const TAKE: u32 = 2;

fn rights(message: &mut libtask::Received) -> Result<Vec<SendRight>> {
    ensure!(message.id() == RIGHTS, "message {} where rights should come", message.id());
    message.take_rights(0)?.into_iter().map(|right| right.ok_or_else(|| anyhow::anyhow!("a port died before the play"))).collect()
}

pub(crate) fn member(actor: &Actor) -> Result<()> {
    let me = actor.number(0)?;
    let inbox = actor.task.new_port()?;
    actor.ready(me, &inbox)?;
    let ring = rights(&mut inbox.receive_within(SOON)?)?;
    loop {
        let mut message = inbox.receive_within(SOON)?;
        match message.id() {
            BATON => {
                let Baton { port: number, hop } = message.body()?;
                let port = message.take_receive(0)?;
                for _ in 0..TAKE {
                    let Some(taken) = port.try_receive()? else { break };
                    ensure!(taken.id() == NUMBER);
                    let (sender, count) = taken.body()?;
                    actor.report(&Report::Took { port: number, hop, sender, number: count })?;
                }
                if FATAL[number as usize] == Some(hop) {
                    die();
                }
                let next = baton(Baton { port: number, hop: hop + 1 }).move_receive(port);
                if hop + 1 == HOPS {
                    actor.other()?.send_within(next, SOON)?;
                } else {
                    pass_on(&ring, me as usize, next)?;
                }
            }
            FINISH => return Ok(()),
            id => bail!("message {id}"),
        }
    }
}

pub(crate) fn sender(actor: &Actor) -> Result<()> {
    let me = actor.number(0)?;
    let (inbox, notify) = (actor.task.new_port()?, actor.task.new_port()?);
    actor.ready(me, &inbox)?;
    let ports = rights(&mut inbox.receive_within(SOON)?)?;
    for port in &ports {
        let _ = port.notify_dead(&notify)?;
    }
    let threads: Vec<_> =
        ports.iter().map(|port| (port.duplicate(), me)).map(|work| std::thread::spawn(move || send(&work.0, work.1))).collect();
    let mut sent = vec![];
    for thread in threads {
        sent.push(thread.join().expect("no sender panics")?);
    }
    actor.report(&Report::Sent(me, sent))?;
    ensure!(inbox.receive_within(2 * SOON)?.id() == FINISH);
    let mut deaths = vec![0; ports.len()];
    while let Some(mut message) = notify.try_receive()? {
        match message.take_notification() {
            Some(Notification::DeadName(dead)) => {
                let at = ports.iter().position(|port| dead.was(port));
                deaths[at.ok_or_else(|| anyhow::anyhow!("{dead:?} is none of the ports"))?] += 1;
            }
            other => bail!("{other:?} was not asked for"),
        }
    }
    actor.report(&Report::Deaths(me, deaths))
}

/// Sends numbers until all are sent or the port is dead; says how many were.
fn send(port: &SendRight, me: u32) -> Result<u32> {
    for number in 0..NUMBERS {
        match port.send_within(Message::new(NUMBER).body(&(me, number)), SOON) {
            Ok(()) => {}
            Err(failed) if failed.error.is_dead() => return Ok(number),
            Err(failed) => bail!("sending {number}: {failed}"),
        }
    }
    Ok(NUMBERS)
}
