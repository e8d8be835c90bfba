//! What a task knows of its links: private tables, filled only from what the kernel process says.
//!
//! Lock order: `Plane::pulling`, `Plane::tables`, `Link::inbox` or `OutRoute::asking`, then `Link::outbox`, then a queue, a waiter list, or the calls of a
//! link. No lock is held while a thread sleeps, except a route's `asking` while a message with rights is at the kernel process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};
use slab::Slab;
use smallvec::SmallVec;
use umach_abi::Name;
use umach_abi::link::{self, SLOTS, bell};
use umach_link::{Incoming, Mapping, Memory, Outgoing, credit};

use super::borrow::{Borrowed, PeerArenas};
use super::contents::Contents;
use super::floor::Waiter;
use super::lend::{Lender, Room};
use super::pending::Pending;
use super::send::Carry;

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

/// A slot's word holds a generation above two bits of state.
const GENERATION_MAX: u32 = u32::MAX >> 2;

/// This task's open calls over one link, one for each slot in use.
#[derive(Default)]
pub(super) struct Calls {
    /// Free slots, the next one last.
    free: Vec<u32>,
    /// Of each slot ever used, the newest.
    generations: Vec<u32>,
    pub(super) open: OpenCalls,
}

/// By slot.
#[derive(Default)]
pub(super) struct OpenCalls(Vec<Option<Call>>);

impl OpenCalls {
    pub(super) fn get(&self, slot: u32) -> Option<&Call> {
        self.0.get(slot as usize)?.as_ref()
    }
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Call> {
        self.0.get_mut(slot as usize)?.as_mut()
    }
    pub(super) fn values(&self) -> impl Iterator<Item = &Call> {
        self.0.iter().flatten()
    }
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.0.iter_mut().flatten()
    }
}

/// A call that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) generation: u32,
    pub(super) route: u64,
    /// Which message of the route it is.
    pub(super) number: u32,
    /// The kernel process has the request: if the receiver does not take it, it is mail, and the reply moves.
    pub(super) ticket: bool,
    pub(super) fate: Fate,
}

/// What became of a call other than being answered in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// The answer comes as a message to this port, which is this task's.
    Moved(Name),
    /// The route was closed before the request was taken.
    NotTaken,
    /// The request was with the kernel process when the receiver died: the answer will come to a port, if it still was.
    Moving,
    /// The link is over.
    Died,
}

impl Calls {
    /// A slot and its new generation, for the numbered message of a route.
    pub(super) fn begin(&mut self, route: u64, number: u32) -> Option<(u32, u32)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.generations.len() < SLOTS => {
                self.generations.push(0);
                self.open.0.push(None);
                self.generations.len() as u32 - 1
            }
            None => return None,
        };
        let generation = &mut self.generations[slot as usize];
        *generation = (*generation % GENERATION_MAX) + 1;
        let generation = *generation;
        self.open.0[slot as usize] = Some(Call { generation, route, number, ticket: false, fate: Fate::Open });
        Some((slot, generation))
    }
    pub(super) fn end(&mut self, slot: u32) -> Option<Call> {
        let call = self.open.0.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(call)
    }
}

/// Permission to send to one right over a link.
pub(super) struct OutRoute {
    pub(super) id: u64,
    /// The right's name, in the space of this plane's task.
    pub(super) name: Name,
    pub(super) plane: u64,
    pub(super) index: u32,
    pub(super) limit: u32,
    pub(super) link: Arc<Link>,
    /// Who waits for credit.
    pub(super) wanting: Mutex<Wanting>,
    /// It is in no table any more.
    pub(super) over: AtomicBool,
    /// Where its [`Sending`] is in the link's outbox.
    pub(super) key: usize,
    /// Held while a message with rights is at the kernel process.
    pub(super) asking: Mutex<()>,
}

/// Threads, and futures, that wait for credit.
#[derive(Default)]
pub(super) struct Wanting([u32; 2]);

/// What changes with each message on a route.
pub(super) struct Sending {
    /// Messages published.
    pub(super) sent: u32,
    /// The receiver's count when the route was granted.
    pub(super) base: u32,
    /// Messages that were queued before, and count as well.
    pub(super) before: u32,
    /// The receiver's count when last looked.
    pub(super) seen: u32,
    /// Bytes kept from which on to look again, whether there is credit or not.
    pub(super) look_from: usize,
    /// The receiver's count of closings when last looked.
    pub(super) closings: u32,
    /// Nothing more may be published.
    pub(super) stopped: bool,
    /// How many messages the receiver took, once it has closed the route.
    pub(super) taken: Option<u32>,
    /// The receiver was dead, and what it had not received has been sent again.
    pub(super) sent_again: bool,
    /// Messages that may not have been received: if the receiver dies and its port does not, they are sent again.
    pub(super) kept: Kept,
}

/// Copies of messages, oldest first, with consecutive numbers. One buffer holds all their bytes.
#[derive(Default)]
pub(super) struct Kept {
    /// The number of the oldest.
    first: u32,
    rows: VecDeque<KeptRow>,
    bytes: VecDeque<u8>,
    lent: VecDeque<Box<Contents<Weak<Room>>>>,
}

/// A message that was kept.
pub(super) enum KeptBody {
    Plain(Vec<u8>),
    /// Of which the lender may have some back by now: then it was received.
    Lent(Box<Contents<Weak<Room>>>),
}

#[derive(Clone, Copy)]
struct KeptRow {
    id: i32,
    /// Bytes of a plain message.
    len: u32,
    what: KeptWhat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptWhat {
    Plain,
    Lent,
    /// Whoever called has it.
    Call,
    /// The kernel process has it.
    Ticket,
}

impl Kept {
    /// Keeps the next message.
    #[inline]
    pub(super) fn push(&mut self, number: u32, call: bool, id: i32, carry: &Carry<'_>) {
        let mut len = 0;
        let what = match carry {
            _ if call => KeptWhat::Call,
            Carry::Plain(body) => {
                for part in body.iter().filter(|part| !part.is_empty()) {
                    self.bytes.extend(*part);
                    len += part.len() as u32;
                }
                KeptWhat::Plain
            }
            Carry::Lent(lending) => {
                self.lent.push_back(Box::new(Contents::kept(lending)));
                KeptWhat::Lent
            }
        };
        self.push_row(number, KeptRow { id, len, what });
    }
    /// Notes that the kernel process has the next message.
    pub(super) fn push_ticket(&mut self, number: u32) {
        self.push_row(number, KeptRow { id: 0, len: 0, what: KeptWhat::Ticket });
    }
    #[inline]
    fn push_row(&mut self, number: u32, row: KeptRow) {
        if self.rows.is_empty() {
            self.first = number;
        }
        debug_assert_eq!(self.first.wrapping_add(self.rows.len() as u32), number, "numbers are consecutive");
        self.rows.push_back(row);
    }
    /// Lets go of messages up to this number.
    fn forget(&mut self, upto: u32) {
        let mut bytes = 0;
        while upto.wrapping_sub(self.first) as i32 >= 0
            && let Some(row) = self.rows.pop_front()
        {
            self.first = self.first.wrapping_add(1);
            bytes += row.len as usize;
            if row.what == KeptWhat::Lent {
                self.lent.pop_front();
            }
        }
        self.bytes.drain(..bytes);
    }
    /// Bytes that are kept.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }
    /// Number and id of each message that only this task has.
    pub(super) fn into_messages(mut self) -> Vec<(u32, i32, KeptBody)> {
        let mut found = Vec::new();
        for (n, row) in self.rows.iter().enumerate() {
            let body = match row.what {
                KeptWhat::Plain => KeptBody::Plain(self.bytes.drain(..row.len as usize).collect()),
                KeptWhat::Lent => KeptBody::Lent(self.lent.pop_front().expect("one for each such row")),
                KeptWhat::Call | KeptWhat::Ticket => continue,
            };
            found.push((self.first.wrapping_add(n as u32), row.id, body));
        }
        found
    }
}

impl Sending {
    /// Of the receiver's count, what concerns this route's own messages: mail from before comes first.
    pub(super) fn delivered_of(&self, word: u32) -> u32 {
        word.wrapping_sub(self.base).saturating_sub(self.before)
    }
    /// Messages out, mail from before included.
    pub(super) fn ahead(&self, word: u32) -> u32 {
        self.sent.wrapping_add(self.before).wrapping_sub(word.wrapping_sub(self.base))
    }
    /// Notes how many messages have been received.
    pub(super) fn received(&mut self, delivered: u32) {
        self.kept.forget(delivered);
    }
}

impl OutRoute {
    pub(super) fn place(&self) -> usize {
        self.index as usize % link::ROUTES
    }
    /// The link's outbox, with no message of this route's at the kernel process.
    #[inline]
    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        loop {
            let outbox = self.link.outbox.lock();
            if !self.asking.is_locked() {
                return outbox;
            }
            drop(outbox);
            drop(self.asking.lock());
        }
    }
    /// The same, if nobody has it now.
    pub(super) fn try_outbox(&self) -> Option<MutexGuard<'_, Outbox>> {
        let outbox = self.link.outbox.try_lock()?;
        (!self.asking.is_locked()).then_some(outbox)
    }
    /// One more thread (or future, which is woken through the kernel process) waits for credit, or one less. While a future does, all are woken so.
    pub(super) fn want_credit(&self, future: bool, want: bool) {
        let Wanting(counts) = &mut *self.wanting.lock();
        let count = &mut counts[usize::from(future)];
        *count = if want { *count + 1 } else { count.saturating_sub(1) };
        let bell = match counts {
            [0, 0] => bell::NONE,
            [_, 0] => bell::FUTEX,
            _ => bell::KERNEL,
        };
        credit::want_by(&*self.link.memory, self.link.mine, self.place() as u32, bell);
    }
    /// Whether somebody waits for credit.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanting.lock().0 != [0, 0]
    }
    /// Shows those who look how far this side is.
    pub(super) fn show_sent(&self, sending: &Sending) {
        let will_be = sending.base.wrapping_add(sending.before).wrapping_add(sending.sent);
        self.link.mine(link::SENT + 4 * self.place()).store(will_be, Ordering::Relaxed);
    }
}

impl Drop for OutRoute {
    fn drop(&mut self) {
        self.link.outbox.lock().sending.remove(self.key);
    }
}

/// What the peer may send over a link to one port.
pub(super) struct InRoute {
    pub(super) id: u64,
    pub(super) index: u32,
    pub(super) limit: u32,
    pub(super) link: Arc<Link>,
    pub(super) port: Arc<Port>,
    /// Messages taken from the ring; changed under the link's inbox.
    pub(super) accepted: AtomicU32,
    /// Messages given to the program, or handed back.
    pub(super) delivered: AtomicU32,
    /// How many those were when the ring's tail was looked at, and at which look that was.
    pub(super) then: AtomicU32,
    pub(super) look: AtomicU32,
    /// Older mail that takes credit.
    pub(super) before: AtomicU32,
    /// Messages that must wait until older mail has been received.
    pub(super) held: Holding,
    /// Closed: its sender sees that what it publishes now may be too late.
    pub(super) ended: AtomicBool,
    /// Closed and read to the end: no message is taken any more.
    pub(super) complete: AtomicBool,
    /// Its messages go back to the kernel process; changed under the port's queue.
    pub(super) returning: AtomicBool,
    /// The kernel process hears, or has heard, that it is closed.
    pub(super) done: AtomicBool,
    /// The sender asked to be told when it has credit.
    pub(super) room_wanted: AtomicBool,
}

/// Messages of a route that wait for something, if they have to. Changed under the link's inbox.
pub(super) struct Holding {
    items: Mutex<Option<VecDeque<Item>>>,
    holds: AtomicBool,
}

impl Holding {
    pub(super) fn new(holds: bool) -> Holding {
        Holding { items: Mutex::new(holds.then(VecDeque::new)), holds: AtomicBool::new(holds) }
    }
    #[inline]
    pub(super) fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }
    /// Gives it back if nothing has to wait.
    pub(super) fn push(&self, item: Item) -> Option<Item> {
        if !self.holds() {
            return Some(item);
        }
        match &mut *self.items.lock() {
            Some(items) => items.push_back(item),
            None => return Some(item),
        }
        None
    }
    /// The wait is over.
    pub(super) fn take(&self) -> Option<VecDeque<Item>> {
        self.holds.store(false, Ordering::Relaxed);
        self.items.lock().take()
    }
}

/// A port of this task's with routes to it, now or once.
pub(super) struct Port {
    pub(super) name: Name,
    pub(super) context: AtomicU64,
    /// What the next message gets.
    pub(super) seqno: AtomicU32,
    /// The kernel process counts its messages again, until the next route.
    pub(super) recalled: AtomicBool,
    pub(super) queue: Mutex<VecDeque<Item>>,
    /// Messages in `queue`, readable without the lock.
    pub(super) queued: AtomicUsize,
    /// Where threads wait for its messages: itself first, then sets.
    pub(super) places: RwLock<Vec<Arc<Place>>>,
}

/// Where threads receive: a port or a set.
pub(crate) struct Place {
    /// The attention word for mail when the kernel process last had none for this name; [`Place::UNKNOWN`] if it should be asked.
    pub(super) asked: AtomicU64,
    pub(super) members: RwLock<SmallVec<[Arc<Port>; 1]>>,
    /// The member that it is itself, unless it is a set.
    pub(super) port: OnceLock<Arc<Port>>,
    /// The member to look at first.
    pub(super) turn: AtomicUsize,
    /// Messages received here, to give mail its turn.
    pub(super) received: AtomicU32,
    pub(super) waiters: Mutex<Vec<Arc<Waiter>>>,
    /// Answers that are to come here.
    pub(super) pending: Mutex<Vec<Pending>>,
    pub(super) has_pending: AtomicBool,
}

impl Place {
    pub(super) const UNKNOWN: u64 = u64::MAX;

    pub(super) fn new() -> Arc<Place> {
        Arc::new(Place {
            asked: AtomicU64::new(Place::UNKNOWN),
            members: RwLock::default(),
            port: OnceLock::new(),
            turn: AtomicUsize::new(0),
            received: AtomicU32::new(0),
            waiters: Mutex::default(),
            pending: Mutex::default(),
            has_pending: AtomicBool::new(false),
        })
    }
    #[inline]
    pub(super) fn has_messages(&self) -> bool {
        if let Some(port) = self.port.get() {
            return port.queued.load(Ordering::Acquire) > 0;
        }
        self.members.read().iter().any(|port| port.queued.load(Ordering::Acquire) > 0)
    }
    /// Whether that port's messages come here.
    #[inline]
    pub(super) fn takes(&self, port: &Arc<Port>) -> bool {
        let is = |member: &Arc<Port>| Arc::ptr_eq(member, port);
        self.port.get().map_or_else(|| self.members.read().iter().any(is), is)
    }
}

/// A message that has come, or whose turn has.
pub(super) struct Item {
    pub(super) route: Arc<InRoute>,
    /// Which message of the route it is.
    pub(super) number: u32,
    pub(super) id: i32,
    /// Slot and generation of the reply that it wants.
    pub(super) reply: Option<(u32, u32)>,
    pub(super) body: Body,
}

pub(super) enum Body {
    /// The Mach message, header still blank.
    Plain(SmallVec<[u8; 128]>),
    /// With memory, or a body, that is lent.
    Lent(Box<Contents<Borrowed>>),
    /// With the kernel process.
    Ticket,
}

impl Body {
    /// Bytes of the Mach message, if it is here.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Body::Plain(message) => Some(message.len()),
            Body::Lent(contents) => Some(contents.size()),
            Body::Ticket => None,
        }
    }
}

/// The tables themselves.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) links: HashMap<u64, Arc<Link>>,
    /// By the name of the right. Those that are stopped are not here.
    pub(super) out: HashMap<Name, Arc<OutRoute>>,
    /// Until they are closed.
    pub(super) out_ids: HashMap<u64, (Name, Arc<OutRoute>)>,
    pub(super) incoming: HashMap<u64, Arc<InRoute>>,
    pub(super) ports: HashMap<Name, Arc<Port>>,
    pub(super) places: HashMap<Name, Arc<Place>>,
}

impl Tables {
    /// The place of a set. A port that had the name before is no more.
    pub(super) fn set_place(&mut self, name: Name) -> Arc<Place> {
        match self.places.get(&name) {
            Some(place) if place.port.get().is_none() => place.clone(),
            _ => self.new_place(name),
        }
    }
    /// The place of a name that receives.
    pub(super) fn any_place(&mut self, name: Name) -> Arc<Place> {
        self.places.entry(name).or_insert_with(Place::new).clone()
    }
    fn new_place(&mut self, name: Name) -> Arc<Place> {
        let place = Place::new();
        self.places.insert(name, place.clone());
        place
    }
    pub(super) fn port(&mut self, name: Name, context: u64, seqno: u32) -> Arc<Port> {
        if let Some(port) = self.ports.get(&name) {
            port.context.store(context, Ordering::Relaxed);
            if port.recalled.swap(false, Ordering::AcqRel) {
                port.seqno.store(seqno, Ordering::Relaxed);
            }
            return port.clone();
        }
        // A place without a port is that of a reply port, or of a set that had the name before.
        let place = match self.places.get(&name) {
            Some(place) if place.members.read().is_empty() => place.clone(),
            _ => self.new_place(name),
        };
        let port = Arc::new(Port {
            name,
            context: AtomicU64::new(context),
            seqno: AtomicU32::new(seqno),
            recalled: AtomicBool::new(false),
            queue: Mutex::default(),
            queued: AtomicUsize::new(0),
            places: RwLock::new(vec![place.clone()]),
        });
        place.members.write().push(port.clone());
        let _ = place.port.set(port.clone());
        self.ports.insert(name, port.clone());
        port
    }
}

impl Port {
    pub(super) fn push(&self, item: Item) {
        let mut queue = self.queue.lock();
        queue.push_back(item);
        self.queued.store(queue.len(), Ordering::Release);
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
}
