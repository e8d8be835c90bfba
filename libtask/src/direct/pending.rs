//! Calls by Mach's own `mach_msg`: a send with a send-once right made from a port of the program's own, and a receive from that port, in one.
//!
//! Their answers land in slots like those of any call, and this module makes them look as if they had come to the port. Mostly the answer is there before
//! anything else happens. If the receive ends before it (its time is up, or another message came first), the answer is *pending* at the port's place:
//! whoever receives from the port looks for it there, and sleeps on its word too.
//!
//! That the name is a receive right only the kernel process can say. So the first such message with a port goes through it, and the name is
//! remembered until this task gives any receive right up.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use smallvec::SmallVec;
use umach_abi::control::PortExtractRight;
use umach_abi::link::bell;
use umach_abi::{Disposition, Name, RightKind};
use umach_link::slot;

use super::Plane;
use super::call::{Fate, Finished, Open};
use super::table::Place;
use crate::task::Task;

/// An answer that has not come.
pub(crate) struct Pending {
    open: Open,
    /// The request, in case it has to be sent again.
    post: Vec<u8>,
    /// It comes to this port of ours, and the attention word for mail when there was none.
    moved: Option<(Name, u64)>,
}

/// Ports that are known to be receive rights, each thread's last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    plane: u64,
    name: Name,
    epoch: u32,
}

thread_local! {
    static KNOWN: Cell<Option<Known>> = const { Cell::new(None) };
}

/// Changes whenever this task may have given up a receive right; and how many answers are pending.
#[derive(Default)]
pub(super) struct Epoch(AtomicU32, AtomicU32);

/// So many words more a thread may have to sleep on.
const PENDING_MAX: u32 = 64;

/// What came of looking for pending answers.
pub(super) enum Looked {
    Nothing,
    /// A call has ended so; its request is here.
    Finished(Finished, Vec<u8>),
    /// The answer comes to this port, where it must be asked for; and the attention word for mail before that.
    Ask(Name, u64),
}

impl Plane {
    fn known(&self, name: Name) -> Known {
        Known { plane: self.number(), name, epoch: self.epoch.0.load(Ordering::Acquire) }
    }
    /// Whether the name was a receive right of this task's and still is.
    pub(crate) fn is_reply_port(&self, name: Name) -> bool {
        KNOWN.get() == Some(self.known(name)) && self.epoch.1.load(Ordering::Relaxed) < PENDING_MAX
    }
    /// The kernel process made a send-once right from it.
    pub(crate) fn know_reply_port(&self, name: Name) {
        KNOWN.set(Some(self.known(name)));
    }
    /// A receive right may be given up.
    pub(crate) fn forget_reply_ports(&self) {
        self.epoch.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Whoever receives from this port waits for the answer too.
    pub(crate) fn add_pending(&self, name: Name, open: Open, post: &[u8]) {
        let place = self.tables.write().any_place(name);
        self.epoch.1.fetch_add(1, Ordering::Relaxed);
        place.pending.lock().push(Pending { open, post: post.to_vec(), moved: None });
        place.has_pending.store(true, Ordering::Release);
        self.kick_pollers();
    }

    /// Has pending answers ring through the kernel process, for a poller. True if one is there.
    pub(super) fn arm_pending(&self) -> bool {
        if self.epoch.1.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let places: Vec<Arc<Place>> = self.tables.read().places.values().cloned().collect();
        for place in &places {
            for one in place.pending.lock().iter() {
                let (link, at, _) = one.open.parts();
                slot::wait_flag(&*link.memory, link.mine, at, bell::KERNEL);
            }
        }
        places.iter().any(|place| place.pending_came())
    }

    /// Looks at the answers that are pending at a place.
    pub(super) fn look_at_pending(&self, task: &Task, place: &Place) -> Looked {
        let mut pending = place.pending.lock();
        let mail = self.mail_word() as u64;
        for n in 0..pending.len() {
            let one = &mut pending[n];
            match one.moved {
                Some((_, asked)) if asked == mail => continue,
                Some((name, _)) => return Looked::Ask(name, mail),
                None => {}
            }
            let finished = self.poll_answer(task, &one.open).or_else(|| match self.fate_of(&one.open) {
                Fate::Open | Fate::Moving => None,
                Fate::Moved(name) => {
                    one.moved = Some((name, Place::UNKNOWN));
                    Some(Finished::Moved(name))
                }
                Fate::NotTaken => Some(Finished::NotTaken),
                Fate::Died => Some(self.poll_answer(task, &one.open).unwrap_or(Finished::Died)),
            });
            match finished {
                None => {}
                Some(Finished::Moved(name)) => return Looked::Ask(name, mail),
                Some(finished) => {
                    let Pending { open, post, .. } = pending.swap_remove(n);
                    self.epoch.1.fetch_sub(1, Ordering::Relaxed);
                    place.has_pending.store(!pending.is_empty(), Ordering::Release);
                    drop(pending);
                    self.end_call(&open);
                    return Looked::Finished(finished, post);
                }
            }
        }
        Looked::Nothing
    }

    /// The answer that is to come to this port has not come.
    pub(crate) fn pending_asked(&self, place: &Place, moved: Name, mail: u64) {
        for one in place.pending.lock().iter_mut() {
            if let Some((name, asked)) = &mut one.moved
                && *name == moved
            {
                *asked = mail;
            }
        }
    }

    /// The answer that was to come to this port has come: that call is over.
    pub(crate) fn pending_came(&self, task: &Task, place: &Place, moved: Name) {
        let mut pending = place.pending.lock();
        let at = pending.iter().position(|one| one.moved.is_some_and(|(name, _)| name == moved));
        let one = at.map(|at| pending.swap_remove(at));
        place.has_pending.store(!pending.is_empty(), Ordering::Release);
        drop(pending);
        if let Some(one) = one {
            self.epoch.1.fetch_sub(1, Ordering::Relaxed);
            self.end_call(&one.open);
            self.drop_port(task, moved);
        }
    }

    /// The port goes away, or to somebody else: whoever has it is told that no answer will come, and those that come are dropped.
    pub(super) fn drop_pending(&self, task: &Task, name: Name, place: &Place, moves: bool) {
        let all = std::mem::take(&mut *place.pending.lock());
        place.has_pending.store(false, Ordering::Release);
        for one in all {
            self.epoch.1.fetch_sub(1, Ordering::Relaxed);
            self.give_up_call(task, &one.open);
            if let Some((port, _)) = one.moved {
                self.drop_port(task, port);
            }
            if moves {
                let call = PortExtractRight { task: task.0.task_self, name, disposition: Disposition::MakeSendOnce as u32 };
                if let Ok(Ok(right)) = task.request(&call, |answer, _| answer.name) {
                    task.release(RightKind::SendOnce, right, None);
                }
            }
        }
    }
}

impl Place {
    /// Words of pending answers to sleep on, with their values.
    /// `bell`: how they are to wake.
    pub(super) fn pending_words<R>(&self, bell: u32, f: impl FnOnce(&[(&AtomicU32, u32)]) -> R) -> R {
        if !self.has_pending.load(Ordering::Acquire) {
            return f(&[]);
        }
        let opens: SmallVec<[(Arc<super::link::Link>, u32, u32); 2]> = {
            let pending = self.pending.lock();
            pending.iter().filter(|one| one.moved.is_none()).map(|one| one.open.parts()).collect()
        };
        let mut words: SmallVec<[(&AtomicU32, u32); 4]> = SmallVec::new();
        for (link, at, _) in &opens {
            // Until the call ends: some other thread may sleep on the word as well.
            slot::wait_flag(&*link.memory, link.mine, *at, bell);
        }
        for (link, at, generation) in &opens {
            let word = link.slot_word(*at);
            let seen = word.load(Ordering::Acquire);
            // An answer that is there already must not be slept on.
            words.push((word, if slot::is_of(seen, *generation) { !seen } else { seen }));
        }
        f(&words)
    }
    /// Whether one of them is to come from this CPU.
    pub(super) fn is_pending_near(&self, cpu: u32) -> bool {
        self.has_pending.load(Ordering::Acquire) && self.pending.lock().iter().any(|one| one.open.parts().0.is_near(cpu))
    }
    /// Whether one of them has changed.
    pub(super) fn pending_came(&self) -> bool {
        self.has_pending.load(Ordering::Acquire)
            && self.pending.lock().iter().any(|one| {
                let (link, at, generation) = one.open.parts();
                slot::is_of(link.slot_word(at).load(Ordering::Acquire), generation)
            })
    }
}

const _: () =
    assert!(PENDING_MAX as usize + 40 < umach_link::futex::WORDS, "a thread can sleep on that many, and on what it sleeps on besides");
