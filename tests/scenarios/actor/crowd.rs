//! A server and its crowd of clients, of which most are idle most of the time.

use std::collections::HashMap;
use std::thread;

use anyhow::{Result, anyhow, bail, ensure};
use libtask::{Message, PortOptions, ReceiveRight, Task};
use umach_tests::scenario::{FINISH, NUMBER, Report, SOON};

use crate::{Actor, message};

/// Answers numbers with themselves. Those of each client must come one after the other.
pub(crate) fn counter(actor: &Actor) -> Result<()> {
    let port = actor.task.new_port_with(PortOptions { queue_limit: Some(1024), ..PortOptions::default() })?;
    actor.ready(std::process::id(), &port)?;
    let mut last: HashMap<u64, u32> = HashMap::new();
    loop {
        // Nobody calls while most of its clients are only idle.
        let mut request = port.receive_within(3 * SOON)?;
        if request.id() == FINISH {
            return Ok(());
        }
        let number: u32 = request.body()?;
        let last = last.entry(request.sender().task).or_default();
        ensure!(number == *last + 1, "{number} came after {last}");
        *last = number;
        request.reply(Message::new(NUMBER).body(&number))?;
    }
}

/// So many clients, each a task with a thread of its own that waits until it is told to call.
pub(crate) fn crowd(actor: &Actor) -> Result<()> {
    let threads: Vec<_> = (0..actor.number(0)?)
        .map(|number| {
            let (control, _, lane) = actor.task.raw().task_create(0, &format!("client {number}")).map_err(|code| anyhow!("{code}"))?;
            actor.task.raw().port_deallocate(control).map_err(|code| anyhow!("{code}"))?;
            let Some(lane) = lane else { bail!("a task without a lane") };
            let task = Task::from_lane(lane)?;
            Ok(thread::Builder::new().stack_size(256 << 10).spawn(move || client(&task))?)
        })
        .collect::<Result<_>>()?;
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?)
}

fn client(task: &Task) -> Result<()> {
    let [Some(director), Some(server), _] = task.registered()? else { bail!("the director and the server are registered") };
    let inbox: ReceiveRight = task.new_port()?;
    director.send_within(message(&Report::Ready(std::process::id())).make_send(&inbox), SOON)?;
    let mut number = 0u32;
    loop {
        let order = inbox.receive_within(3 * SOON)?;
        if order.id() == FINISH {
            return Ok(());
        }
        for _ in 0..order.body::<u32>()? {
            number += 1;
            let answer = server.call_within(Message::new(NUMBER).body(&number), SOON)?;
            ensure!(answer.body::<u32>()? == number, "the answer to another call");
        }
        director.send_within(message(&Report::Sent(number, Vec::new())), SOON)?;
    }
}
