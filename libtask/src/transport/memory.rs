//! A lane's memory ([`umach_link::lane`]), from the task's side.
//!
//! A lane that is used much asks for memory. While the kernel process looks at it, requests that are answered at once go through it, and so do names of
//! rights to release, for whose end nobody waits. All else goes over the socket, and always may.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umach_abi::control::{Call, EventsWait, HEAD, LaneBell, Msg, SemaphoreWait, msg_flags, semaphore_flags};
use umach_abi::message::Options;
use umach_abi::{Name, lane};
use umach_link::lane::{Asking, Given, Outcome};
use umach_link::{Mapping, Patience, futex};

use crate::error::{Error, Result};
use crate::sys::socket::Socket;

/// So many requests within [`OFTEN`] make a lane ask for memory.
const MANY: u32 = 32;
const OFTEN: Duration = Duration::from_millis(20);
/// After so long without an answer, see whether the kernel process is still there.
const NAP: Duration = Duration::from_secs(1);

thread_local! {
    static PATIENCE: RefCell<Patience> = RefCell::default();
}

/// A lane's memory.
pub(crate) struct Memory {
    asking: Asking<Mapping<{ lane::SIZE }>>,
}

/// How much a lane is used, until it has memory or was refused some.
#[derive(Debug)]
pub(crate) struct Use {
    count: u32,
    since: Option<Instant>,
}

impl Use {
    pub(crate) fn new() -> Use {
        Use { count: 0, since: None }
    }

    /// One request more. Whether memory would pay.
    pub(crate) fn is_often(&mut self) -> bool {
        self.count += 1;
        if self.count < MANY {
            return false;
        }
        self.count = 0;
        self.since.replace(Instant::now()).is_some_and(|since| since.elapsed() < OFTEN)
    }
}

/// Whether the kernel process may keep the answer to this request back.
fn may_wait(packet: &[u8]) -> bool {
    let word = |at: usize| u32::from_le_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    match word(0) as u16 {
        EventsWait::OP => true,
        SemaphoreWait::OP => word(HEAD + 8) & semaphore_flags::TRY == 0,
        Msg::OP => {
            let (options, flags) = (word(HEAD), word(HEAD + 4));
            const AT_ONCE: u32 = msg_flags::TRY_RECEIVE | msg_flags::WATCH | msg_flags::BY_TICKET;
            options & Options::RCV.bits() != 0 && flags & AT_ONCE == 0
        }
        _ => false,
    }
}

impl Memory {
    /// What the kernel process made.
    pub(crate) fn map(fd: &std::os::fd::OwnedFd) -> Option<Memory> {
        let mapping = Mapping::sized(fd).ok()?;
        Some(Memory { asking: Asking::new(Arc::new(mapping)) })
    }

    /// Whether this request should go through the memory.
    pub(crate) fn takes(&self, packet: &[u8]) -> bool {
        packet.len() <= lane::REQUEST_MAX && self.asking.is_seen() && !may_wait(packet)
    }

    /// Sends a request and waits for its answer, or for news that it comes over the socket.
    pub(crate) fn exchange(&mut self, packet: &[u8], socket: &Socket) -> Result<Outcome> {
        let here = rustix::thread::sched_getcpu() as u32 + 1;
        if !self.asking.ask(packet, here) {
            let mut bell = Vec::with_capacity(HEAD);
            LaneBell {}.encode(0, &mut bell);
            socket.send(&bell)?;
        }
        let asking = &self.asking;
        let poll = || asking.poll().map_err(|evidence| Error::io("reading an answer in a lane's memory", std::io::Error::other(evidence)));
        if let Some(outcome) = poll()? {
            return Ok(outcome);
        }
        loop {
            let seen = asking.seen();
            let spin = asking.cpu() != here;
            let found = PATIENCE.with_borrow_mut(|patience| patience.look(spin, |_| asking.seen() != seen));
            if !found {
                self.sleep(seen, socket)?;
            }
            if let Some(outcome) = poll()? {
                return Ok(outcome);
            }
        }
    }

    fn sleep(&self, seen: u32, socket: &Socket) -> Result<()> {
        self.asking.will_sleep(true);
        let start = Instant::now();
        let mut woken = futex::Woken::Changed;
        if self.asking.seen() == seen {
            woken = futex::wait(&[(self.asking.word(), seen)], Some(start + NAP));
        }
        self.asking.will_sleep(false);
        PATIENCE.with_borrow_mut(|patience| patience.learn(start.elapsed()));
        if woken == futex::Woken::TimedOut && socket.is_closed() {
            return Err(Error::KernelGone);
        }
        Ok(())
    }

    /// The answer that [`Memory::exchange`] found here.
    pub(crate) fn read(&self, out: &mut [u8]) {
        self.asking.read(out);
    }

    /// Asks for a right to be released, with nobody waiting for it. [`Given::Full`] if it cannot be done so.
    pub(crate) fn release(&mut self, name: Name) -> Given {
        if self.asking.is_seen() { self.asking.release(name.0) } else { Given::Full }
    }
}
