//! A thread that sends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use libtask::{Message, Notification, ReceiveRight, RightKind, SendRight};
use umach_tests::Chance;
use zerocopy::IntoBytes;

use crate::holder::Flavour;
use crate::record::{History, Number};
use crate::{NUMBERS, PORTS, SENDERS, SOON};

/// Rights on their way at a time.
const RIGHTS: u64 = 64;

pub(crate) struct Sender {
    pub(crate) number: usize,
    pub(crate) ports: Arc<Vec<SendRight>>,
    pub(crate) history: Arc<History>,
    pub(crate) chance: Chance,
    /// Where rights that this thread sent are used.
    pub(crate) acks: ReceiveRight,
    /// Rights that have not been used or come back.
    pub(crate) open: u64,
    /// Rights in messages that could not be sent. If they had been made by then, they come back unused.
    pub(crate) lost: u64,
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
        if flavour.has_right() {
            message = message.make_send_once(&self.acks);
        }
        if flavour.has_memory() {
            message = message.memory(padding(what, 20_000));
        }
        let right = self.ports[what.port as usize].duplicate();
        if flavour.is_call() {
            return self.call(&right, message, flavour, what);
        }
        let sent = if self.chance.below(8) == 0 { right.try_send(message) } else { right.send_within(message, SOON) };
        match sent {
            Ok(()) => {
                self.open += u64::from(flavour.has_right());
                Ok(Sent::Yes)
            }
            Err(failed) if failed.error.is_dead() => {
                self.lost += u64::from(flavour.has_right());
                Ok(Sent::Dead)
            }
            Err(failed) if failed.error.is_timed_out() => {
                ensure!(failed.message.is_some(), "a message that was not sent comes back");
                self.lost += u64::from(flavour.has_right());
                Ok(Sent::NotNow)
            }
            Err(failed) => Err(failed).with_context(|| format!("sending {what:?} as {flavour:?}")),
        }
    }

    fn call(&mut self, right: &SendRight, message: Message, flavour: Flavour, what: Number) -> Result<Sent> {
        let deaths = self.history.deaths();
        let called = right.call_within(message, SOON);
        let sent = !matches!(&called, Err(error) if !error.is_server_died());
        self.open += u64::from(sent && flavour.has_right());
        match called {
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
            Err(error) if error.is_dead() => {
                self.lost += u64::from(flavour.has_right());
                Ok(Sent::Dead)
            }
            Err(error) => Err(error).with_context(|| format!("calling with {what:?} as {flavour:?}")),
        }
    }

    /// Waits until at most `most` rights are on their way.
    fn collect(&mut self, most: u64) -> Result<()> {
        let end = Instant::now() + SOON;
        loop {
            let got = if self.open > most { self.acks.receive_within(SOON).map(Some) } else { self.acks.try_receive() };
            let Some(mut message) = got.with_context(|| format!("{} rights are still out", self.open))? else { return Ok(()) };
            match message.take_notification() {
                Some(Notification::SendOnce) => {
                    if self.lost > 0 {
                        self.lost -= 1;
                        continue;
                    }
                    ensure!(self.history.deaths() > 0, "a right came back unused, and nobody died");
                }
                Some(other) => bail!("{other:?} was not asked for"),
                None => {
                    let what: Number = message.pod().context("the use of a right")?;
                    ensure!(what.sender as usize == self.number, "{what:?} came to sender {}", self.number);
                }
            }
            ensure!(self.open > 0, "a right was used twice: {message:?}");
            self.open -= 1;
            self.history.rights.fetch_add(1, Ordering::Relaxed);
            ensure!(Instant::now() < end, "rights do not come back");
        }
    }
}
