//! A lane's memory: requests and answers between a task and the kernel process, and names of rights to release.
//!
//! One request is in flight. The task publishes it under the next number, and the kernel process answers under the same number: here, or at the
//! lane's socket ([`Outcome::Elsewhere`]), which it also says when it keeps an answer back. Names to release are a ring of their own; nobody waits for them.
//!
//! The kernel process *looks* at the memory for a while after it was used. Before it stops it says so, and looks once more; a task that has published
//! something and then finds that the kernel process does not look must tell it over the socket. So nothing is left lying:
//!
//! ```text
//! task                                            kernel process
//!   store ASKED or RELEASED (Release)               store LOOKS = 0
//!   fence (Asked)                                   fence (Rests)
//!   load LOOKS; 0? tell it over the socket          load ASKED, RELEASED; something new? serve it
//!
//!   store SLEEPS                                    store ANSWERED (Release)
//!   fence (AnswerWanted)                            fence (Replied)
//!   load ANSWERED; answered? go on                  load SLEEPS; set? wake who sleeps on ANSWERED
//!   sleep on (ANSWERED, the value seen)
//! ```
//!
//! The kernel process believes nothing here: numbers and counts are private on its side, and what breaks their order is [`Evidence`].

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use umach_abi::lane::{
    ANSWER, ANSWER_MAX, ANSWERED, ANSWERED_LEN, ASKED, ASKED_CPU, ASKED_LEN, LOOKS, LOOKS_CPU, NAMES, NUMBERS, RELEASED, RELEASES,
    RELEASES_DONE, REQUEST, REQUEST_MAX, SLEEPS, answered,
};
use umach_abi::records::violation;

use crate::evidence::Evidence;
use crate::memory::{Fence, Memory, Word};

/// Where the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// In the memory, so many bytes: [`Asking::read`].
    Here(usize),
    /// At the socket, or it will be.
    Elsewhere,
}

/// What became of a name to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// The kernel process sees it before anything that is sent later.
    Seen,
    /// It must be told: `LaneFlush` over the socket.
    Unseen,
    /// The ring is full, and nothing was written.
    Full,
}

/// The task's side. For one thread at a time.
#[derive(Debug)]
pub struct Asking<M> {
    mem: Arc<M>,
    number: u32,
    released: u32,
    /// Names that the kernel process had released when last looked.
    done: u32,
}

impl<M: Memory> Asking<M> {
    /// Of memory that nobody has used yet.
    pub fn new(mem: Arc<M>) -> Asking<M> {
        Asking { mem, number: 0, released: 0, done: 0 }
    }

    /// Whether the kernel process looks. Only a hint: [`Asking::ask`] says for sure.
    #[inline]
    pub fn is_seen(&self) -> bool {
        self.mem.word(LOOKS).load(Acquire) != 0
    }

    /// The CPU, plus one, on which the kernel process said that it looks.
    #[inline]
    pub fn cpu(&self) -> u32 {
        self.mem.word(LOOKS_CPU).load(Relaxed)
    }

    /// Publishes a request; the last one has been answered. `cpu` is the caller's, plus one. False if the kernel process must be told (`LaneBell`).
    ///
    /// Panics if it is longer than [`REQUEST_MAX`].
    #[inline]
    #[must_use = "the kernel process may have to be told"]
    pub fn ask(&mut self, request: &[u8], cpu: u32) -> bool {
        assert!(request.len() <= REQUEST_MAX, "a request of {} bytes is too long for a lane's memory", request.len());
        self.number = next(self.number);
        self.mem.write(REQUEST, request);
        self.mem.word(ASKED_LEN).store(request.len() as u32, Relaxed);
        self.mem.word(ASKED_CPU).store(cpu, Relaxed);
        self.mem.word(ASKED).store(self.number, Release);
        self.mem.fence(Fence::Asked);
        self.is_seen()
    }

    /// Whether the request has been answered.
    #[inline]
    pub fn poll(&self) -> Result<Option<Outcome>, Evidence> {
        let word = self.seen();
        if word >> 2 != self.number {
            return Ok(None);
        }
        match word & 3 {
            answered::HERE => {}
            answered::SOCKET => return Ok(Some(Outcome::Elsewhere)),
            other => return Err(Evidence::new(violation::LANE, other, answered::SOCKET)),
        }
        let len = self.mem.word(ANSWERED_LEN).load(Relaxed) as usize;
        if len > ANSWER_MAX {
            return Err(Evidence::new(violation::LANE, len as u64, ANSWER_MAX as u64));
        }
        Ok(Some(Outcome::Here(len)))
    }

    /// Copies the start of the answer.
    #[inline]
    pub fn read(&self, out: &mut [u8]) {
        assert!(out.len() <= ANSWER_MAX, "an answer of {} bytes is longer than any", out.len());
        self.mem.read(ANSWER, out);
    }

    /// The value of the word that changes with the answer, to sleep on.
    #[inline]
    pub fn seen(&self) -> u32 {
        self.mem.word(ANSWERED).load(Acquire)
    }

    /// The word itself.
    pub fn word(&self) -> &M::Word {
        self.mem.word(ANSWERED)
    }

    /// Says that this thread is about to sleep, or is awake. Before sleeping, [`Asking::poll`] once more.
    pub fn will_sleep(&self, sleeps: bool) {
        self.mem.word(SLEEPS).store(sleeps.into(), Relaxed);
        if sleeps {
            self.mem.fence(Fence::AnswerWanted);
        }
    }

    /// Asks for a right to be released.
    #[inline]
    #[must_use = "the kernel process may have to be told"]
    pub fn release(&mut self, name: u32) -> Given {
        let used = |done| self.released.wrapping_sub(done) as usize;
        if used(self.done) >= RELEASES {
            self.done = self.mem.word(RELEASES_DONE).load(Acquire);
            if used(self.done) >= RELEASES {
                return Given::Full;
            }
        }
        self.mem.word(NAMES + 4 * (self.released as usize % RELEASES)).store(name, Relaxed);
        self.released = self.released.wrapping_add(1);
        self.mem.word(RELEASED).store(self.released, Release);
        self.mem.fence(Fence::Asked);
        if self.is_seen() { Given::Seen } else { Given::Unseen }
    }
}

/// The kernel process's side.
#[derive(Debug)]
pub struct Answering<M> {
    mem: Arc<M>,
    taken: u32,
    /// The request taken last waits for its answer here.
    open: bool,
    released: u32,
    looks: bool,
}

impl<M: Memory> Answering<M> {
    /// Of memory that nobody has used yet. It does not look.
    pub fn new(mem: Arc<M>) -> Answering<M> {
        Answering { mem, taken: 0, open: false, released: 0, looks: false }
    }

    /// Whether it said that it looks.
    pub fn looks(&self) -> bool {
        self.looks
    }

    /// Says that it looks from now on, on this CPU (plus one).
    pub fn look(&mut self, cpu: u32) {
        self.looks = true;
        self.mem.word(LOOKS_CPU).store(cpu, Relaxed);
        self.mem.word(LOOKS).store(1, Release);
    }

    /// Says that it looks no more. Look once more afterwards ([`Answering::has_news`]).
    pub fn rest(&mut self) {
        self.looks = false;
        self.mem.word(LOOKS).store(0, Release);
        self.mem.fence(Fence::Rests);
    }

    /// Whether there is a request or a name that was not taken yet.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.has_request() || self.mem.word(RELEASED).load(Acquire) != self.released
    }

    #[inline]
    fn has_request(&self) -> bool {
        self.mem.word(ASKED).load(Acquire) != self.taken
    }

    /// The CPU, plus one, that asked last, as it says.
    pub fn cpu(&self) -> u32 {
        self.mem.word(ASKED_CPU).load(Relaxed)
    }

    /// Copies the next request into the front of `out`, which has room for [`REQUEST_MAX`] bytes; gives its length.
    pub fn take(&mut self, out: &mut [u8]) -> Result<Option<usize>, Evidence> {
        let asked = self.mem.word(ASKED).load(Acquire);
        if asked == self.taken {
            return Ok(None);
        }
        if asked != next(self.taken) {
            return Err(Evidence::new(violation::LANE, asked, next(self.taken)));
        }
        let len = self.mem.word(ASKED_LEN).load(Relaxed) as usize;
        if len > REQUEST_MAX {
            return Err(Evidence::new(violation::LANE, len as u64, REQUEST_MAX as u64));
        }
        self.mem.read(REQUEST, &mut out[..len]);
        self.taken = asked;
        self.open = true;
        Ok(Some(len))
    }

    /// Whether the request taken last waits for its answer here.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Answers it.
    ///
    /// Panics if the answer is longer than [`ANSWER_MAX`].
    pub fn answer(&mut self, packet: &[u8]) {
        assert!(packet.len() <= ANSWER_MAX, "an answer of {} bytes is too long for a lane's memory", packet.len());
        self.mem.write(ANSWER, packet);
        self.mem.word(ANSWERED_LEN).store(packet.len() as u32, Relaxed);
        self.finish(answered::HERE);
    }

    /// Its answer is, or will be, at the socket.
    pub fn answer_elsewhere(&mut self) {
        self.finish(answered::SOCKET);
    }

    fn finish(&mut self, place: u32) {
        self.open = false;
        self.mem.word(ANSWERED).store(self.taken << 2 | place, Release);
        self.mem.fence(Fence::Replied);
        if self.mem.word(SLEEPS).load(Acquire) != 0 {
            self.mem.wake(ANSWERED);
        }
    }

    /// Serves nothing more: whoever waits for an answer looks at the socket, which is about to be closed.
    pub fn end(&mut self) {
        self.rest();
        if self.has_request() {
            self.taken = next(self.taken);
            self.open = true;
        }
        if self.open {
            self.finish(answered::SOCKET);
        }
    }

    /// Gives each name that was put in before this call; how many there were.
    #[inline]
    pub fn take_releases(&mut self, mut each: impl FnMut(u32)) -> Result<u32, Evidence> {
        let released = self.mem.word(RELEASED).load(Acquire);
        let count = released.wrapping_sub(self.released);
        if count == 0 {
            return Ok(0);
        }
        if count as usize > RELEASES {
            return Err(Evidence::new(violation::LANE, count, RELEASES as u64));
        }
        for n in 0..count {
            each(self.mem.word(NAMES + 4 * (self.released.wrapping_add(n) as usize % RELEASES)).load(Relaxed));
        }
        self.released = released;
        self.mem.word(RELEASES_DONE).store(released, Release);
        Ok(count)
    }
}

#[inline]
fn next(number: u32) -> u32 {
    (number + 1) % NUMBERS
}
