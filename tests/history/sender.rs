//! A thread that sends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use libtask::{Message, Name, Notification, PortSet, ReceiveRight, RightKind, SendRight, Task};
use umach_tests::Chance;
use zerocopy::IntoBytes;

use crate::holder::Flavour;
use crate::record::{History, Number};
use crate::{NUMBERS, PORTS, SENDERS, SOON};

/// Rights on their way at a time.
const RIGHTS: usize = 64;

pub(crate) struct Sender {
    number: usize,
    task: Task,
    ports: Arc<Vec<SendRight>>,
    history: Arc<History>,
    chance: Chance,
    /// Rights that have not been used or come back, by the port that each was made for.
    open: HashMap<Name, (ReceiveRight, Number, Flavour)>,
    /// Ports of the last rights that were: nothing comes there any more.
    spent: VecDeque<ReceiveRight>,
    /// All those ports.
    acks: PortSet,
}

/// What became of one number.
enum Sent {
    Yes,
    /// The queue was full.
    NotNow,
    /// The port is dead.
    Dead,
}

/// The bytes behind the number, of a length and a pattern that follow from it.
pub(crate) fn padding(what: Number, most: u32) -> Vec<u8> {
    let len = (what.number.wrapping_mul(2_654_435_761) >> 7) % most;
    (0..len).map(|at| (at ^ what.number ^ what.sender << 4) as u8).collect()
}

/// Most messages are short; some do not fit a record.
pub(crate) fn length(number: u32) -> u32 {
    match number % 97 {
        0 => 9_000,
        1..8 => 3_000,
        _ => 200,
    }
}

impl Sender {
    pub(crate) fn new(number: usize, task: &Task, ports: Arc<Vec<SendRight>>, history: Arc<History>, chance: Chance) -> Result<Sender> {
        Ok(Sender {
            number,
            task: task.clone(),
            ports,
            history,
            chance,
            open: HashMap::new(),
            spent: VecDeque::new(),
            acks: task.new_set()?,
        })
    }

    pub(crate) fn run(mut self) {
        let me = self.number / SENDERS;
        if let Err(why) = self.send_all()
            && !self.history.is_dead(me)
        {
            self.history.fail(why.context(format!("sender {}", self.number)));
        }
        self.history.finished.fetch_add(1, Ordering::AcqRel);
    }

    fn send_all(&mut self) -> Result<()> {
        let mut next = [0u32; PORTS];
        let mut left = NUMBERS;
        while left > 0 && !self.history.is_over() {
            let port = self.chance.below(PORTS as u64) as usize;
            let burst = 1 + self.chance.below(64) as u32;
            for _ in 0..burst.min(left) {
                left -= 1;
                let what = Number { port: port as u32, sender: self.number as u32, number: next[port], zero: 0 };
                match self.send(what)? {
                    Sent::Yes => {
                        self.history.sent(what);
                        next[port] += 1;
                    }
                    Sent::NotNow => {}
                    Sent::Dead => {
                        ensure!(self.history.dead_ports[port].load(Ordering::Acquire), "port {port} is dead to sender {}", self.number);
                        break;
                    }
                }
                self.collect(RIGHTS)?;
            }
        }
        self.collect(0)
    }

    fn send(&mut self, what: Number) -> Result<Sent> {
        let flavour = Flavour::by_chance(&mut self.chance);
        let mut body = what.as_bytes().to_vec();
        body.extend(padding(what, length(what.number)));
        let mut message = Message::new(flavour.id()).bytes(&body);
        // A port for each right: what becomes of a right in a message that could not be sent is nobody's to count.
        let ack = if flavour.has_right() { Some(self.task.new_port()?) } else { None };
        if let Some(ack) = &ack {
            message = message.make_send_once(ack);
        }
        if flavour.has_memory() {
            message = message.memory(padding(what, 20_000));
        }
        let right = self.ports[what.port as usize].duplicate();
        let sent = if flavour.is_call() { self.call(&right, message, flavour, what) } else { self.post(&right, message, flavour, what) }?;
        if let (Some(ack), Sent::Yes) = (ack, &sent) {
            self.acks.insert(&ack)?;
            self.open.insert(ack.name(), (ack, what, flavour));
        }
        Ok(sent)
    }

    fn post(&mut self, right: &SendRight, message: Message, flavour: Flavour, what: Number) -> Result<Sent> {
        let sent = if self.chance.below(8) == 0 { right.try_send(message) } else { right.send_within(message, SOON) };
        match sent {
            Ok(()) => Ok(Sent::Yes),
            Err(failed) if failed.error.is_dead() => Ok(Sent::Dead),
            Err(failed) if failed.error.is_timed_out() => {
                ensure!(failed.message.is_some(), "a message that was not sent comes back");
                Ok(Sent::NotNow)
            }
            Err(failed) => Err(failed).with_context(|| format!("sending {what:?} as {flavour:?}")),
        }
    }

    fn call(&mut self, right: &SendRight, message: Message, flavour: Flavour, what: Number) -> Result<Sent> {
        let deaths = self.history.deaths();
        match right.call_within(message, SOON) {
            Ok(mut answer) => {
                let back: Number = answer.pod().context("an answer")?;
                ensure!(back == what, "the answer to {what:?} is {back:?}");
                ensure!(flavour != Flavour::Unanswered, "{what:?} was answered");
                // Its port may have died on the way, with the task that answered.
                if flavour == Flavour::RightBack && answer.right_kind(0) != Some(RightKind::DeadName) {
                    answer.take_send(0).context("a right in an answer")?;
                }
                self.history.answered.fetch_add(1, Ordering::Relaxed);
                Ok(Sent::Yes)
            }
            Err(error) if error.is_server_died() => {
                let may = flavour.may_be_dropped() || self.history.deaths() > 0;
                ensure!(may, "no answer to {what:?} ({flavour:?}), and nobody died ({deaths} before): {error}");
                self.history.told.fetch_add(1, Ordering::Relaxed);
                Ok(Sent::Yes)
            }
            Err(error) if error.is_dead() => Ok(Sent::Dead),
            Err(error) => Err(error).with_context(|| format!("calling with {what:?} as {flavour:?}")),
        }
    }

    /// Waits until at most `most` rights are on their way.
    fn collect(&mut self, most: usize) -> Result<()> {
        while !self.open.is_empty() {
            let got = if self.open.len() > most { self.acks.receive_within(SOON).map(Some) } else { self.acks.try_receive() };
            let still = || format!("{} rights are still out: {:?}", self.open.len(), self.open.values().next());
            let Some(mut message) = got.with_context(still)? else { return Ok(()) };
            let (ack, what, flavour) = self.open.remove(&message.port()).context("a right was used twice, or never sent")?;
            match message.take_notification() {
                Some(Notification::SendOnce) => {
                    ensure!(self.history.deaths() > 0, "the right in {what:?}, {flavour:?}, came back unused, and nobody died");
                }
                Some(other) => bail!("{other:?} was not asked for"),
                None => {
                    let used: Number = message.pod().context("the use of a right")?;
                    ensure!(used == what, "the right in {what:?}, {flavour:?}, was used for {used:?}");
                }
            }
            self.history.rights.fetch_add(1, Ordering::Relaxed);
            self.spent.push_back(ack);
            if self.spent.len() > RIGHTS {
                self.spent.pop_front();
            }
        }
        Ok(())
    }
}
