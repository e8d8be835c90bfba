//! What was sent and what came, by port and sender.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use anyhow::{Result, ensure};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{MEMBERS, PORTS, SENDERS};

/// All threads that send.
pub(crate) const ALL: usize = MEMBERS * SENDERS;

/// The start of each message's body, and all of each answer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Number {
    pub(crate) port: u32,
    pub(crate) sender: u32,
    /// Counted from 0 for each port and sender.
    pub(crate) number: u32,
    pub(crate) zero: u32,
}

/// Counts of a play, or of several.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) received: u64,
    pub(crate) answered: u64,
    pub(crate) told: u64,
    pub(crate) rights: u64,
    pub(crate) travels: u64,
    pub(crate) deaths: u64,
    pub(crate) returned: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Totals) {
        let Totals { received, answered, told, rights, travels, deaths, returned } = other;
        self.received += received;
        self.answered += answered;
        self.told += told;
        self.rights += rights;
        self.travels += travels;
        self.deaths += deaths;
        self.returned += returned;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { received, answered, told, rights, travels, deaths, returned } = self;
        write!(
            f,
            "{received} messages ({returned} of them returned from rings), {answered} calls answered, {told} told that no answer comes, "
        )?;
        write!(f, "{rights} rights used or returned, {travels} ports moved, {deaths} deaths")
    }
}

/// Shared by all threads of a play.
pub(crate) struct History {
    /// The next number that must come, by port and sender.
    next: Vec<AtomicU32>,
    /// Numbers that their senders were told are sent.
    sent: Vec<AtomicU32>,
    /// Of those, the ones that had been sent when their sender's task ended.
    last: Vec<AtomicU32>,
    /// Each member's task.
    pub(crate) tasks: Vec<u64>,
    /// The port is dead.
    pub(crate) dead_ports: Vec<AtomicBool>,
    /// The member has ended, or is about to.
    pub(crate) dead: Vec<AtomicBool>,
    /// Somebody died who held the port: what only its rings and its sender knew is lost if the sender died as well.
    bereft: Vec<AtomicBool>,
    /// Senders that have finished.
    pub(crate) finished: AtomicU32,
    /// Everything has come.
    pub(crate) over: AtomicBool,
    pub(crate) travels: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) rights: AtomicU64,
    /// Messages that came back from a ring and then came as mail.
    pub(crate) unvouched: AtomicU64,
    failure: Mutex<Option<anyhow::Error>>,
}

impl History {
    pub(crate) fn new(tasks: Vec<u64>) -> History {
        let counts = || (0..PORTS * ALL).map(|_| AtomicU32::new(0)).collect();
        let flags = |count| (0..count).map(|_| AtomicBool::new(false)).collect();
        History {
            next: counts(),
            sent: counts(),
            last: counts(),
            tasks,
            dead_ports: flags(PORTS),
            dead: flags(MEMBERS),
            bereft: flags(PORTS),
            finished: AtomicU32::new(0),
            over: AtomicBool::new(false),
            travels: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            told: AtomicU64::new(0),
            rights: AtomicU64::new(0),
            unvouched: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    fn at(port: usize, sender: usize) -> usize {
        port * ALL + sender
    }

    /// A message came on `port`, from a task that the kernel vouches for.
    pub(crate) fn came(&self, port: usize, task: u64, what: Number) -> Result<()> {
        let Number { sender, number, zero, .. } = what;
        ensure!(what.port as usize == port && (sender as usize) < ALL && zero == 0, "{what:?} came on port {port}");
        let owner = self.tasks[sender as usize / SENDERS];
        // For what a receiver gave back unread when its route ended, the kernel does not vouch: then the task is 0.
        ensure!(task == owner || task == 0, "{what:?} is from task {task}, not {owner}");
        self.unvouched.fetch_add(u64::from(task == 0), Ordering::Relaxed);
        // One thread at a time receives on a port; the right's travels order them.
        let next = &self.next[History::at(port, sender as usize)];
        let expected = next.swap(number + 1, Ordering::AcqRel);
        let gap = number > expected && self.may_be_lost(port, sender as usize);
        ensure!(expected == number || gap, "port {port}, sender {sender}: {number} came where {expected} should");
        Ok(())
    }

    fn may_be_lost(&self, port: usize, sender: usize) -> bool {
        self.bereft[port].load(Ordering::Acquire) && self.dead[sender / SENDERS].load(Ordering::Acquire)
    }

    /// The sender was told that the number is sent.
    pub(crate) fn sent(&self, what: Number) {
        self.sent[History::at(what.port as usize, what.sender as usize)].store(what.number + 1, Ordering::Release);
    }

    /// A member is about to end, which holds these ports that travel.
    pub(crate) fn ends(&self, member: usize, ports: impl Iterator<Item = usize>) {
        ports.for_each(|port| self.bereft[port].store(true, Ordering::Release));
        for port in 0..PORTS {
            for sender in member * SENDERS..(member + 1) * SENDERS {
                let at = History::at(port, sender);
                self.last[at].store(self.sent[at].load(Ordering::Acquire), Ordering::Release);
            }
        }
        self.dead[member].store(true, Ordering::Release);
        self.dead_ports[member].store(true, Ordering::Release);
    }

    /// What must still come.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for port in (0..PORTS).filter(|&port| !self.dead_ports[port].load(Ordering::Acquire)) {
            for sender in 0..ALL {
                let at = History::at(port, sender);
                let died = self.dead[sender / SENDERS].load(Ordering::Acquire);
                let least = if died { &self.last } else { &self.sent }[at].load(Ordering::Acquire);
                let come = self.next[at].load(Ordering::Acquire);
                if come < least && !self.may_be_lost(port, sender) {
                    missing.push(format!("port {port}, sender {sender}{}: {come} of {least}", if died { " (dead)" } else { "" }));
                }
            }
        }
        missing
    }

    /// Numbers that came and that no sender sent: more than it was told of, and one.
    pub(crate) fn invented(&self) -> Option<String> {
        let at = (0..PORTS * ALL).find(|&at| self.next[at].load(Ordering::Acquire) > self.sent[at].load(Ordering::Acquire) + 1)?;
        Some(format!("port {}, sender {}: more came than was sent", at / ALL, at % ALL))
    }

    pub(crate) fn received(&self) -> u64 {
        self.next.iter().map(|next| u64::from(next.load(Ordering::Acquire))).sum()
    }

    pub(crate) fn deaths(&self) -> u64 {
        self.dead.iter().filter(|dead| dead.load(Ordering::Acquire)).count() as u64
    }

    pub(crate) fn is_dead(&self, member: usize) -> bool {
        self.dead[member].load(Ordering::Acquire)
    }

    /// Keeps the first failure.
    pub(crate) fn fail(&self, why: anyhow::Error) {
        self.failure.lock().expect("no thread panics with it").get_or_insert(why);
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn take_failure(&self) -> Option<anyhow::Error> {
        self.failure.lock().expect("no thread panics with it").take()
    }
}
