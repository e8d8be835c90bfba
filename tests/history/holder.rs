//! The thread of a member that receives, on all ports that it holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtask::{Message, Name, PortSet, ReceiveRight, Received, ReplyRight, RightKind, SendRight, Task};
use umach_tests::Chance;
use zerocopy::{FromBytes, IntoBytes};

use crate::record::{History, Number};
use crate::sender::{length, padding};
use crate::{MEMBERS, SENDERS, SOON};

/// Carries a port, whose number is the body.
pub(crate) const BATON: i32 = 1;
/// Carries a reply right, to be answered with the body.
const FORWARD: i32 = 2;

/// In which way a number is sent. The message's id tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Plain,
    /// With a send-once right, to be used.
    Right,
    Memory,
    /// A call, answered at once.
    Call,
    /// A call, answered after some other messages.
    Later,
    /// A call that is dropped.
    Unanswered,
    /// A call whose reply right is given to another member.
    Elsewhere,
    /// A call with a right in it, answered with a right.
    RightBack,
}

impl Flavour {
    const BY_ID: [Flavour; 8] = [
        Flavour::Plain,
        Flavour::Right,
        Flavour::Memory,
        Flavour::Call,
        Flavour::Later,
        Flavour::Unanswered,
        Flavour::Elsewhere,
        Flavour::RightBack,
    ];
    const FIRST_ID: i32 = 100;

    pub(crate) fn by_chance(chance: &mut Chance) -> Flavour {
        match chance.below(100) {
            0..70 => Flavour::Plain,
            70..76 => Flavour::Right,
            76..78 => Flavour::Memory,
            78..92 => Flavour::Call,
            92..94 => Flavour::Later,
            94..96 => Flavour::Unanswered,
            96..98 => Flavour::Elsewhere,
            _ => Flavour::RightBack,
        }
    }
    pub(crate) fn id(self) -> i32 {
        Flavour::FIRST_ID + Flavour::BY_ID.iter().position(|&other| other == self).expect("all are there") as i32
    }
    fn of(id: i32) -> Result<Flavour> {
        let at = usize::try_from(id - Flavour::FIRST_ID).ok();
        at.and_then(|at| Flavour::BY_ID.get(at).copied()).with_context(|| format!("message {id} was never sent"))
    }
    pub(crate) fn has_right(self) -> bool {
        matches!(self, Flavour::Right | Flavour::RightBack)
    }
    pub(crate) fn has_memory(self) -> bool {
        self == Flavour::Memory
    }
    pub(crate) fn is_call(self) -> bool {
        !matches!(self, Flavour::Plain | Flavour::Right | Flavour::Memory)
    }
    /// Without a death.
    pub(crate) fn may_be_dropped(self) -> bool {
        // Whoever it is given to may have no room for it.
        matches!(self, Flavour::Unanswered | Flavour::Elsewhere)
    }
}

pub(crate) struct Holder {
    pub(crate) number: usize,
    pub(crate) task: Task,
    pub(crate) inbox: ReceiveRight,
    pub(crate) own: ReceiveRight,
    pub(crate) inboxes: Arc<Vec<SendRight>>,
    pub(crate) history: Arc<History>,
    pub(crate) chance: Chance,
    /// Ends after so many messages.
    pub(crate) ends_after: Option<u64>,
}

/// What it holds while it runs.
struct Held {
    set: PortSet,
    /// Ports that travel, by their present names, with their numbers.
    ports: HashMap<Name, (usize, ReceiveRight)>,
    /// Calls to be answered later.
    owed: Vec<(Number, Received)>,
}

impl Holder {
    pub(crate) fn run(mut self) {
        if let Err(why) = self.hold() {
            let number = self.number;
            self.history.fail(why.context(format!("member {number}")));
        }
    }

    fn hold(&mut self) -> Result<()> {
        let mut held = Held { set: self.task.new_set()?, ports: HashMap::new(), owed: Vec::new() };
        held.set.insert(&self.inbox)?;
        held.set.insert(&self.own)?;
        let mut taken = 0;
        while !self.history.is_over() {
            let mut idle = false;
            match held.set.receive_within(Duration::from_millis(20)) {
                Ok(message) => {
                    taken += 1;
                    self.handle(message, &mut held)?;
                }
                Err(error) if error.is_timed_out() => idle = true,
                Err(error) => return Err(error).context("receiving"),
            }
            // When nothing comes, all may be waiting for these.
            while held.owed.len() > 16 || (!held.owed.is_empty() && (idle || taken % 8 == 0)) {
                let (what, mut request) = held.owed.swap_remove(self.chance.below(held.owed.len() as u64) as usize);
                let _ = request.reply(answer(what)); // the caller may have died
            }
            if self.chance.below(100) == 0 {
                self.pass_one_on(&mut held)?;
            }
            if self.ends_after.is_some_and(|after| taken >= after) {
                self.history.ends(self.number, held.ports.values().map(|(port, _)| *port));
                let control = self.task.control()?;
                let _ = control.terminate(); // whose answer may not come any more
                return Ok(());
            }
        }
        Ok(())
    }

    fn handle(&mut self, mut message: Received, held: &mut Held) -> Result<()> {
        if message.came_on(&self.inbox) {
            return match message.id() {
                BATON => {
                    let number: u32 = message.body()?;
                    let port = message.take_receive(0).context("the port in a baton")?;
                    held.set.insert(&port)?;
                    held.ports.insert(port.name(), (number as usize, port));
                    Ok(())
                }
                FORWARD => {
                    let what: Number = message.pod()?;
                    self.use_right(&mut message, what)
                }
                id => bail!("message {id} in an inbox"),
            };
        }
        let port = if message.came_on(&self.own) {
            self.number
        } else {
            held.ports.get(&message.port()).with_context(|| format!("{message:?} came on a port that is not held"))?.0
        };
        let bytes = message.bytes();
        let (what, rest) = Number::read_from_prefix(bytes).map_err(|_| anyhow::anyhow!("{} bytes are no number", bytes.len()))?;
        self.history.came(port, message.sender().task, what)?;
        let flavour = Flavour::of(message.id())?;
        ensure!(rest == padding(what, length(what.number)), "{what:?}: other bytes than were sent");
        let parts = usize::from(flavour.has_right()) + usize::from(flavour.has_memory());
        ensure!(message.parts() == parts, "{what:?}, {flavour:?}, has {} parts", message.parts());
        // Of a caller that died, the right may have died on the way.
        let wants = message.wants_reply() || (flavour.is_call() && self.history.is_dead(what.sender as usize / SENDERS));
        ensure!(wants == flavour.is_call(), "{what:?}, {flavour:?}: a right for the answer, or none");
        if flavour.has_memory() {
            ensure!(*message.memory(0)? == padding(what, 20_000)[..], "{what:?}: other memory than was sent");
        }
        if flavour.has_right() {
            self.use_right(&mut message, what)?;
        }
        match flavour {
            Flavour::Plain | Flavour::Right | Flavour::Memory | Flavour::Unanswered => {}
            Flavour::Call => drop(message.reply(answer(what))),
            Flavour::RightBack => drop(message.reply(answer(what).make_send(&self.own))),
            Flavour::Later => held.owed.push((what, message)),
            Flavour::Elsewhere => {
                let reply = match message.reply_right() {
                    Some(ReplyRight::Once(reply)) => reply,
                    None => return Ok(()), // it died on the way
                    Some(other) => bail!("{what:?} has {other:?} for its answer"),
                };
                let to = &self.inboxes[self.chance.below(MEMBERS as u64) as usize];
                // If it does not get there, the caller is told.
                drop(to.try_send(Message::new(FORWARD).bytes(what.as_bytes()).move_send_once(reply)));
            }
        }
        Ok(())
    }

    /// Answers with the send-once right that came, unless whoever made it has died.
    fn use_right(&self, message: &mut Received, what: Number) -> Result<()> {
        if message.right_kind(0) == Some(RightKind::DeadName) && self.history.is_dead(what.sender as usize / SENDERS) {
            return Ok(());
        }
        let _ = message.take_send_once(0)?.send(answer(what)); // it may have died since
        Ok(())
    }

    fn pass_one_on(&mut self, held: &mut Held) -> Result<()> {
        let Some(&name) = held.ports.keys().nth(self.chance.below(held.ports.len().max(1) as u64) as usize) else { return Ok(()) };
        let (number, port) = held.ports.remove(&name).expect("just seen");
        pass_on(&self.inboxes, &mut self.chance, number, port)?;
        self.history.travels.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn answer(what: Number) -> Message {
    Message::new(3).bytes(what.as_bytes())
}

/// Gives a port to a member that lives.
pub(crate) fn pass_on(inboxes: &[SendRight], chance: &mut Chance, number: usize, port: ReceiveRight) -> Result<()> {
    let first = chance.below(MEMBERS as u64) as usize;
    let mut message = Message::new(BATON).body(&(number as u32)).move_receive(port);
    for n in 0..MEMBERS {
        match inboxes[(first + n) % MEMBERS].send_within(message, SOON) {
            Ok(()) => return Ok(()),
            Err(failed) if failed.error.is_dead() => message = *failed.message.context("the port comes back")?,
            Err(failed) => return Err(failed).context("passing a port on"),
        }
    }
    bail!("nobody lives")
}
