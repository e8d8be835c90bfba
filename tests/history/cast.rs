//! One play: its tasks and ports, its threads, and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use libtask::local::{Direct, Limits};
use libtask::{LocalKernel, Message, Notification, PortOptions, ReceiveRight, SendRight, Task};
use umach_tests::Chance;

use crate::holder::{Holder, pass_on};
use crate::record::{ALL, History, Totals};
use crate::sender::Sender;
use crate::{MEMBERS, MORTAL, NUMBERS, SENDERS, SOON, TRAVELLERS};

/// A member before it has started.
struct Member {
    task: Task,
    inbox: ReceiveRight,
    own: ReceiveRight,
    inboxes: Arc<Vec<SendRight>>,
    ports: Arc<Vec<SendRight>>,
}

/// Who makes the members, and to whom ports come back that lose their holder.
struct Guardian {
    task: Task,
    notify: ReceiveRight,
    inboxes: Vec<SendRight>,
    travellers: Vec<ReceiveRight>,
    /// To the travellers, in order.
    rights: Vec<SendRight>,
}

pub(crate) fn play(limits: Limits, direct: Direct, chance: &mut Chance) -> Result<Totals> {
    let kernel = LocalKernel::with_direct(limits, direct);
    let outcome = on(&kernel, chance);
    let totals = outcome?;
    kernel.check().map_err(|why| anyhow!("the kernel's invariants at the end: {why}"))?;
    let end = Instant::now() + SOON;
    while kernel.tasks() > 0 || kernel.regions() > 0 {
        ensure!(Instant::now() < end, "{} tasks and {} regions are left", kernel.tasks(), kernel.regions());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(totals)
}

fn on(kernel: &LocalKernel, chance: &mut Chance) -> Result<Totals> {
    let (mut guardian, members) = assemble(kernel, chance)?;
    let history = Arc::new(History::new(members.iter().map(|member| member.task.id()).collect()));
    let mut threads = Vec::new();
    let mut start = |name: String, body: Box<dyn FnOnce() + Send>| -> Result<()> {
        threads.push(thread::Builder::new().name(name).spawn(body)?);
        Ok(())
    };
    let someone_dies = chance.below(4) != 0;
    for (number, Member { task, inbox, own, inboxes, ports }) in members.into_iter().enumerate() {
        for n in 0..SENDERS {
            let number = number * SENDERS + n;
            let (ports, history, chance) = (ports.clone(), history.clone(), chance.split());
            let sender = Sender::new(number, &task, ports, history, chance)?;
            start(format!("sender {number}"), Box::new(|| sender.run()))?;
        }
        let mortal = someone_dies && number < MORTAL;
        let ends_after = mortal.then(|| 1 + chance.below(u64::from(NUMBERS) * SENDERS as u64 / 2));
        let holder = Holder { number, task, inbox, own, inboxes, history: history.clone(), chance: chance.split(), ends_after };
        start(format!("member {number}"), Box::new(|| holder.run()))?;
    }
    for (n, port) in std::mem::take(&mut guardian.travellers).into_iter().enumerate() {
        pass_on(&guardian.inboxes, chance, MEMBERS + n, port)?;
    }
    let watched = guardian.watch(&history, chance);
    if let Err(why) = watched {
        history.fail(why);
    }
    history.over.store(true, Ordering::Release);
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            history.fail(anyhow!("{name} panicked"));
        }
    }
    if let Some(why) = history.take_failure() {
        return Err(why);
    }
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Totals {
        received: history.received(),
        answered: count(&history.answered),
        told: count(&history.told),
        rights: count(&history.rights),
        travels: count(&history.travels),
        deaths: history.deaths(),
        returned: count(&history.unvouched),
    })
}

/// Makes all tasks and ports, and gives each member rights to everything.
fn assemble(kernel: &LocalKernel, chance: &mut Chance) -> Result<(Guardian, Vec<Member>)> {
    let options = |limit: u64| PortOptions { queue_limit: Some(limit as u32), ..PortOptions::default() };
    let task = kernel.task("guardian")?;
    let (hub, notify) = (task.new_port_with(options(64))?, task.new_port_with(options(64))?);
    task.set_bootstrap(&hub.make_send()?)?;
    let (mut members, mut inboxes, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..MEMBERS {
        let (member, _) = task.spawn_local(&format!("member {n}"))?;
        let (inbox, own) = (member.new_port_with(options(256))?, member.new_port_with(options(1 + chance.below(64)))?);
        member.bootstrap()?.send(Message::new(0).make_send(&inbox).make_send(&own))?;
        let mut message = hub.receive_within(SOON)?;
        inboxes.push(message.take_send(0)?);
        ports.push(message.take_send(1)?);
        members.push(Member { task: member, inbox, own, inboxes: Arc::default(), ports: Arc::default() });
    }
    let mut travellers = Vec::new();
    for _ in 0..TRAVELLERS {
        let port = task.new_port_with(options(1 + chance.below(32)))?;
        ports.push(port.make_send()?);
        port.on_destroyed(&notify)?;
        travellers.push(port);
    }
    for (inbox, member) in inboxes.iter().zip(&mut members) {
        let all = |rights: &[SendRight]| rights.iter().map(SendRight::duplicate).collect::<Vec<_>>();
        inbox.send(Message::new(0).rights(all(&inboxes)).rights(all(&ports)))?;
        let mut message = member.inbox.receive_within(SOON)?;
        let mut rights = |at| -> Result<Arc<Vec<SendRight>>> { Ok(Arc::new(message.take_rights(at)?.into_iter().flatten().collect())) };
        member.inboxes = rights(0)?;
        member.ports = rights(1)?;
    }
    let rights = ports[MEMBERS..].iter().map(SendRight::duplicate).collect();
    Ok((Guardian { task, notify, inboxes, travellers, rights }, members))
}

impl Guardian {
    /// Hands ports on that come back, until everything has come.
    fn watch(&self, history: &History, chance: &mut Chance) -> Result<()> {
        let mut end = Instant::now() + 2 * SOON;
        let (mut seen, mut finished) = (0, false);
        loop {
            match self.notify.receive_within(Duration::from_millis(20)) {
                Ok(mut message) => {
                    ensure!(matches!(message.notification(), Some(Notification::PortDestroyed)), "{message:?} was not asked for");
                    let port = message.take_receive(0).context("the port in its notification")?;
                    port.on_destroyed(&self.notify)?;
                    let number = self.number_of(&port)?;
                    pass_on(&self.inboxes, chance, number, port)?;
                }
                Err(error) if error.is_timed_out() => {}
                Err(error) => return Err(error).context("watching"),
            }
            if history.is_over() {
                return Ok(());
            }
            let received = history.received();
            if received != seen {
                seen = received;
                end = Instant::now() + 2 * SOON;
            }
            finished |= history.finished.load(Ordering::Acquire) as usize == ALL;
            if finished {
                if let Some(why) = history.invented() {
                    bail!("{why}");
                }
                if history.missing().is_empty() {
                    return Ok(());
                }
            }
            let state = if finished { "all senders have finished" } else { "senders are stuck" };
            ensure!(Instant::now() < end, "{state}, task {}, and these did not come: {:#?}", self.task.id(), history.missing());
        }
    }

    /// Which port came back: all rights of a task to one port have one name.
    fn number_of(&self, port: &ReceiveRight) -> Result<usize> {
        let at = self.rights.iter().position(|right| right.name() == port.name());
        Ok(MEMBERS + at.with_context(|| format!("{port:?} is none of the ports that travel"))?)
    }
}
