//! A link: memory shared with one other task, and what this task keeps of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use slab::Slab;
use umach_abi::link::{self, SLOTS};
use umach_link::{Bell, Incoming, Mapping, Memory, Outgoing, slot};

use super::borrow::PeerArenas;
use super::call::Calls;
use super::lend::Lender;
use super::route::{InRoute, OutRoute, Sending};
use crate::received::Sender;

/// Who is at the other end, as the kernel process said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) task: u64,
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Memory shared with one other task.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) peer: Peer,
    pub(super) memory: Arc<Mapping>,
    /// The half that this task writes.
    pub(super) mine: usize,
    pub(super) outbox: Mutex<Outbox>,
    pub(super) inbox: Mutex<Inbox>,
    /// Up to where in the peer's ring this task has read, and up to where it knows that there is something: below and above. Together, for a thread that
    /// looks need not fetch the peer's tail, and the cache line with it, as long as it knows of more.
    progress: AtomicU64,
    /// Calls of this task that wait for a reply of the peer's.
    pub(super) calls: Mutex<Calls>,
    /// For each slot of the peer's calls, the newest generation seen: older ones must not be answered any more.
    pub(super) owed: [Mutex<u32>; SLOTS],
    /// Of each place that an outgoing route has had, the receiver's count when that ended: where the next one there begins. A snapshot when the next
    /// one becomes known would come too late, for its receiver may have counted some of its messages by then.
    pub(super) counted: Mutex<HashMap<usize, u32>>,
    /// The peer is gone, or the link is over.
    pub(super) down: AtomicBool,
    /// The peer broke a rule: nothing more is read.
    pub(super) poisoned: AtomicBool,
    pub(super) due: Arc<Due>,
    /// What this task says about itself ([`Link::show`]).
    shown: AtomicU64,
    /// What this task lends to the peer.
    pub(super) lender: Lender,
    /// What the peer lends to this task.
    pub(super) lent_here: PeerArenas,
}

/// Peers to be woken through the kernel process, which must be asked once no lock is held.
#[derive(Default)]
pub(super) struct Due {
    pub(super) any: AtomicBool,
    pub(super) links: Mutex<Vec<u64>>,
    /// Routes on which there is room, for senders that asked.
    pub(super) rooms: Mutex<Vec<u64>>,
    /// Ended routes of which this task has no message any more: the kernel process must hear that they are closed.
    pub(super) done: Mutex<Vec<Arc<InRoute>>>,
}

/// The producer's side of a link.
pub(super) struct Outbox {
    pub(super) ring: Outgoing<Mapping>,
    /// Of each [`OutRoute`] that there is.
    sending: Slab<Sending>,
}

impl Outbox {
    pub(super) fn add(&mut self, sending: Sending) -> usize {
        self.sending.insert(sending)
    }
    pub(super) fn remove(&mut self, route: &OutRoute) {
        self.sending.remove(route.key);
    }
    /// The ring, and what changes with each message on this route.
    #[inline]
    pub(super) fn of(&mut self, route: &OutRoute) -> (&mut Outgoing<Mapping>, &mut Sending) {
        (&mut self.ring, &mut self.sending[route.key])
    }
}

/// The consumer's side of a link.
pub(super) struct Inbox {
    pub(super) ring: Incoming<Mapping>,
    /// By the lower part of the index.
    routes: Vec<Entry>,
}

#[derive(Clone, Default)]
pub(super) enum Entry {
    #[default]
    Never,
    Live(Arc<InRoute>),
    /// Records of this index, and of older ones in its place, were published after the route was closed: their sender knows.
    Closed(u32),
}

impl Inbox {
    pub(super) fn new(ring: Incoming<Mapping>) -> Inbox {
        Inbox { ring, routes: Vec::new() }
    }
    #[inline]
    pub(super) fn entry(&self, index: u32) -> &Entry {
        self.routes.get(index as usize % link::ROUTES).unwrap_or(&Entry::Never)
    }
    pub(super) fn set(&mut self, index: u32, entry: Entry) {
        let at = index as usize % link::ROUTES;
        if self.routes.len() <= at {
            self.routes.resize_with(at + 1, Entry::default);
        }
        self.routes[at] = entry;
    }
}

impl Link {
    pub(super) fn new(id: u64, peer: Peer, memory: Arc<Mapping>, mine: usize, due: Arc<Due>) -> Link {
        Link {
            id,
            peer,
            mine,
            outbox: Mutex::new(Outbox { ring: Outgoing::new(memory.clone(), mine), sending: Slab::new() }),
            inbox: Mutex::new(Inbox::new(Incoming::new(memory.clone(), mine))),
            memory,
            progress: AtomicU64::new(0),
            calls: Mutex::default(),
            owed: [const { Mutex::new(0) }; SLOTS],
            counted: Mutex::default(),
            down: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            due,
            shown: AtomicU64::new(0),
            lender: Lender::default(),
            lent_here: PeerArenas::default(),
        }
    }
    /// A word of the half that this task writes.
    #[inline]
    pub(super) fn mine(&self, at: usize) -> &AtomicU32 {
        self.memory.word(self.mine * link::HALF + at)
    }
    /// A word of the half that the peer writes.
    #[inline]
    pub(super) fn theirs(&self, at: usize) -> &AtomicU32 {
        self.memory.word((1 - self.mine) * link::HALF + at)
    }
    /// Whether the peer has published something that was not read.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        let progress = self.progress.load(Ordering::Acquire);
        let (read, known) = (progress as u32, (progress >> 32) as u32);
        (read != known || self.theirs(link::TAIL).load(Ordering::Acquire) != read) && !self.poisoned.load(Ordering::Relaxed)
    }
    /// The peer's tail up to which this task has read.
    pub(super) fn read_to(&self) -> u32 {
        self.progress.load(Ordering::Acquire) as u32
    }
    /// This task has read some of it.
    #[inline]
    pub(super) fn has_read(&self, ring: &Incoming<Mapping>) {
        let progress = u64::from(ring.known()) << 32 | u64::from(ring.position());
        self.progress.store(progress, Ordering::Release);
    }
    /// Tells the peer what this thread does ([`link::state`]) and on which CPU, if it does not know. It is a hint, of some thread of this task.
    #[inline]
    pub(super) fn show(&self, state: u32, cpu: u32) {
        let now = u64::from(cpu) << 32 | u64::from(state);
        if self.shown.load(Ordering::Relaxed) != now {
            self.shown.store(now, Ordering::Relaxed);
            umach_link::publish_state(&*self.memory, self.mine, state, cpu);
        }
    }
    /// Whether the peer runs on that CPU, as far as it says.
    #[inline]
    pub(super) fn is_near(&self, cpu: u32) -> bool {
        umach_link::state(&*self.memory, 1 - self.mine) == (link::state::RUNS, cpu)
    }
    /// Whether a thread of the peer's is awake, as far as it says.
    #[inline]
    pub(super) fn peer_runs(&self) -> bool {
        umach_link::state(&*self.memory, 1 - self.mine).0 == link::state::RUNS
    }
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }
    pub(super) fn count(&self, counter: usize, n: u64) {
        umach_link::count(&*self.memory, self.mine, counter, n);
    }
    pub(super) fn sender(&self) -> Sender {
        let Peer { task, pid, uid, gid } = self.peer;
        Sender { task, pid, uid, gid }
    }
    /// Wakes the peer in the way it asked for.
    pub(super) fn ring(&self, how: Bell) {
        match how {
            Bell::None => {}
            Bell::Futex(at) => {
                self.count(link::counter::BELLS, 1);
                self.memory.wake(at);
            }
            Bell::Kernel => self.ring_through_kernel(),
        }
    }

    #[cold]
    fn ring_through_kernel(&self) {
        self.count(link::counter::BELLS, 1);
        self.due.links.lock().push(self.id);
        self.due.any.store(true, Ordering::Release);
    }

    /// The call in this slot will not be answered.
    pub(super) fn answer_dropped(&self, at: u32, generation: u32) {
        let newest = self.owed[at as usize].lock();
        if *newest == generation && !self.is_down() {
            let bell = slot::drop_unanswered(&*self.memory, self.mine, at, generation);
            drop(newest);
            self.ring(bell);
        }
    }
}
