//! Receiving where messages may come both over links and from the kernel process.
//!
//! Messages from rings wait in private queues, one for each port; mail waits at the kernel process, and its attention word says when to ask. Older mail goes
//! before what came over a route (the route is held until then), and newer mail waits at the kernel process until the last message of a route that has
//! ended has been received; otherwise the two take turns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Instant;

use smallvec::SmallVec;
use umach_abi::limits::MESSAGE_MAX;
use umach_abi::link::{self, bell, counter};
use umach_abi::message::{HEADER, Header, Options, TRAILER_MAX, Trailer, TrailerRequest};
use umach_abi::records::violation;
use umach_abi::rights::received;
use umach_abi::{Code, Name};
use umach_link::Evidence;
use umach_link::futex::Woken;

use super::Plane;
use super::borrow::Borrowed;
use super::call::Finished;
use super::floor::{Post, Waiter};
use super::pending::Looked;
use super::replies::Owed;
use super::send::Until;
use super::shortcut::Shortcut;
use super::table::{Body, Item, Place, Port};
use super::wait;
use crate::error::Result;
use crate::received::Received;
use crate::task::Task;

/// After so many messages from rings, mail gets its turn.
const TURN: u32 = 16;

/// How often a receive of many looks for more once it has some, and for how long (in spins) it looks away between: a third of a microsecond at first,
/// twice as long each time that something came, two microseconds at most.
const GATHERS: u32 = 16;
const PAUSE: u32 = 6;
const PAUSE_MAX: u32 = 48;

/// For how many messages a receive of many has room at first.
const MANY: usize = 64;

/// How a thread receives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) name: Name,
    /// Option bits and trailer request, as for `mach_msg`.
    pub(crate) options: u32,
    /// Room for message and trailer.
    pub(crate) limit: u32,
    /// The most messages to be taken at once.
    pub(crate) count: u32,
}

impl Want {
    pub(super) fn trailer(&self) -> TrailerRequest {
        TrailerRequest::from_options(self.options).unwrap_or(TrailerRequest::Null)
    }
}

/// A message that came over a link.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) status: Code,
    pub(crate) message: SmallVec<[u8; 128]>,
    pub(crate) trailer: SmallVec<[u8; 64]>,
    pub(crate) annex: Vec<u8>,
    /// Each is taken out once.
    pub(crate) leases: Vec<Option<Borrowed>>,
}

impl Frame {
    /// A message without memory.
    pub(crate) fn plain(status: Code, message: SmallVec<[u8; 128]>, trailer: SmallVec<[u8; 64]>) -> Frame {
        Frame { status, message, trailer, annex: Vec::new(), leases: Vec::new() }
    }
}

/// Messages that are to be fetched: one, or several of one route that follow each other.
pub(crate) struct Ticket {
    items: VecDeque<Item>,
}

impl Ticket {
    pub(crate) fn port(&self) -> Name {
        self.items[0].route.port.name
    }
    pub(crate) fn route(&self) -> u64 {
        self.items[0].route.id
    }
    pub(crate) fn number(&self) -> u32 {
        self.items[0].number
    }
    pub(crate) fn count(&self) -> u32 {
        self.items.len() as u32
    }
}

/// What to do next.
#[allow(clippy::large_enum_variant)] // it is not stored anywhere
pub(crate) enum Came {
    /// Messages, at least one.
    Messages(SmallVec<[Received; 1]>),
    /// A message that waited in a queue, or what Mach delivers in place of one.
    Frame(Frame),
    /// The next message is with the kernel process: fetch it, and say whether it came ([`Plane::fetched`]).
    Ticket(Ticket),
    /// The kernel process may have mail: ask it, without waiting. [`Plane::asked`] takes the outcome.
    Ask { place: Arc<Place>, mail: u32, control: u32 },
    /// A call of the program's own by `mach_msg` has ended so; its request is here.
    Finished(Finished, Vec<u8>),
    /// The answer of such a call comes to this port of ours: ask there, and say whether it came ([`Plane::pending_came`], [`Plane::pending_asked`]).
    Moved { place: Arc<Place>, name: Name, mail: u64 },
    /// Nothing until the deadline.
    Late,
    /// Nothing until a signal handler ran, which ends this receive.
    Interrupted,
}

/// Whether both are tickets, and `next` is the one after `item` on the same route.
fn follows(item: &Item, next: &Item) -> bool {
    matches!(next.body, Body::Ticket) && Arc::ptr_eq(&item.route, &next.route) && next.number == item.number.wrapping_add(1)
}

impl Plane {
    /// Where this name's messages come to, if some of them come over links.
    pub(crate) fn place(&self, name: Name) -> Option<Arc<Place>> {
        if !self.active.load(Ordering::Acquire) {
            return None;
        }
        self.tables.read().places.get(&name).cloned()
    }

    /// Waits for a message, or for a reason to ask the kernel process for one.
    pub(crate) fn receive(&self, task: &Task, place: &Arc<Place>, want: &Want, until: Until) -> Result<Came> {
        let mut slept = false;
        let result = self.receive_here(task, place, want, until, &mut slept);
        if slept {
            self.floor.hand_over();
        }
        self.leave_to_pollers();
        self.ring_due(task);
        result
    }

    fn receive_here(&self, task: &Task, place: &Arc<Place>, want: &Want, until: Until, slept: &mut bool) -> Result<Came> {
        let mut looking = self.looking();
        let mut interrupted = false;
        loop {
            self.look(task)?;
            let control = self.pulled.load(Ordering::Acquire);
            if place.has_pending.load(Ordering::Acquire) {
                match self.look_at_pending(task, place) {
                    Looked::Nothing => {}
                    Looked::Finished(finished, post) => return Ok(Came::Finished(finished, post)),
                    Looked::Ask(name, mail) => return Ok(Came::Moved { place: place.clone(), name, mail }),
                }
            }
            let mail = self.mail_word();
            let has_mail = place.asked.load(Ordering::Acquire) != mail as u64;
            let received = place.received.load(Ordering::Relaxed);
            if has_mail && received.is_multiple_of(TURN) {
                place.received.store(received.wrapping_add(1), Ordering::Relaxed);
                return Ok(Came::Ask { place: place.clone(), mail, control });
            }
            let queued = if place.has_messages() { self.take(place, want, false) } else { None };
            let mut came = queued.or_else(|| self.draw_any(task, place, want));
            let warm = if came.is_none() { Some(self.warm.read().clone()) } else { None };
            if let Some(warm) = &warm {
                self.poll(task, warm)?;
                came = self.take(place, want, false);
            }
            if let Some(came) = came {
                self.floor.seats.take();
                place.received.store(received.wrapping_add(1), Ordering::Relaxed);
                return Ok(came);
            }
            if has_mail {
                return Ok(Came::Ask { place: place.clone(), mail, control });
            }
            if interrupted || until.is_some_and(|at| at <= Instant::now()) {
                if place.has_pending.load(Ordering::Acquire) {
                    // Threads that sleep here do not know of it.
                    place.wake_all();
                    self.kick_pollers();
                }
                return Ok(if interrupted { Came::Interrupted } else { Came::Late });
            }
            let warm = warm.unwrap_or_default();
            let mut looks = 0u32;
            let mut ready = || {
                looks = looks.wrapping_add(1);
                warm.iter().any(|link| link.has_more())
                    || self.control_word() != control
                    || self.mail_word() != mail
                    || self.has_missed.load(Ordering::Relaxed)
                    // Only another thread of this task puts something there.
                    || (looks.is_multiple_of(8) && place.has_messages())
                    || place.pending_came()
            };
            let near = |cpu: u32| self.partner.load(Ordering::Relaxed) == cpu.wrapping_add(1) || place.is_pending_near(cpu);
            // A signal ends a sleep, not a look.
            let looks = want.options & Options::RCV_INTERRUPT.bits() == 0;
            if looks && self.floor.seats.may_wait() && wait::look(near, until, &mut ready) {
                continue;
            }
            drop(looking);
            self.floor.seats.leave();
            let start = Instant::now();
            *slept = true;
            // A poller that is armed hears of them as well.
            let bell = if self.pollers.are_armed() { bell::KERNEL } else { bell::FUTEX };
            let woken = place.pending_words(bell, |words| self.sleep_for_message(place, control, mail, words, Plane::nap(until).0));
            interrupted = woken == Woken::Interrupted && want.options & Options::RCV_INTERRUPT.bits() != 0;
            wait::learn(start.elapsed());
            self.check_kernel(task, start.elapsed())?;
            looking = self.looking();
        }
    }

    /// The short way of a receive: a plain message that is in a ring, or comes while a processor can look a few times (once if not `wait`). `None`: there is
    /// something else, or nothing.
    #[inline]
    pub(crate) fn receive_soon(&self, task: &Task, shortcut: &Shortcut, wait: bool) -> Result<Option<Received>> {
        const LIMIT: u32 = (MESSAGE_MAX + TRAILER_MAX) as u32;
        let Some(place) = shortcut.place() else { return Ok(None) };
        let want = Want { name: Name::NULL, options: TrailerRequest::Context.options(), limit: LIMIT, count: 1 };
        self.receive_soon_at(task, place, &want, wait)
    }

    /// The same by the place, for a receive of one.
    #[inline]
    pub(crate) fn receive_soon_at(&self, task: &Task, place: &Place, want: &Want, wait: bool) -> Result<Option<Received>> {
        self.look(task)?;
        let control = self.pulled.load(Ordering::Acquire);
        let mail = self.mail_word();
        if place.asked.load(Ordering::Acquire) != mail as u64 || place.has_pending.load(Ordering::Acquire) || place.has_messages() {
            return Ok(None);
        }
        let (mut messages, mut accused) = (SmallVec::new(), None);
        let _looking = self.looking();
        let warm = self.warm.read();
        let first = self.first.load(Ordering::Relaxed) as usize;
        let mut looks = if wait && self.floor.seats.may_wait() {
            wait::first_looks(|cpu| self.partner.load(Ordering::Relaxed) == cpu.wrapping_add(1))
        } else {
            1
        };
        while looks > 0 && messages.is_empty() && accused.is_none() {
            looks -= 1;
            let Some(n) = (0..warm.len()).find(|n| warm[(first + n) % warm.len()].has_more()) else {
                if self.control_word() != control || self.mail_word() != mail || self.has_missed.load(Ordering::Relaxed) {
                    break;
                }
                continue;
            };
            let link = &warm[(first + n) % warm.len()];
            self.met(link);
            match self.draw(task, link, place, want, 1, &mut messages) {
                Ok(0) => break,
                Ok(_) => self.first.store((first + n + 1) as u32, Ordering::Relaxed),
                Err(evidence) => accused = Some((link.clone(), evidence)),
            }
        }
        drop(warm);
        if let Some((link, evidence)) = accused {
            self.accuse(task, &link, &evidence);
        }
        if !messages.is_empty() {
            self.floor.seats.take();
            place.received.store(place.received.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            self.ring_due(task);
        }
        Ok(messages.pop())
    }

    /// Messages straight out of the rings.
    #[inline]
    fn draw_any(&self, task: &Task, place: &Place, want: &Want) -> Option<Came> {
        let mut messages = SmallVec::new();
        let mut accused = None;
        let warm = self.warm.read();
        let first = self.first.load(Ordering::Relaxed) as usize;
        let mut gathers = if want.count > 1 { GATHERS } else { 0 };
        let mut pause = PAUSE;
        let mut n = 0;
        while n < warm.len() {
            let link = &warm[(first + n) % warm.len()];
            n += 1;
            if !link.has_more() {
                continue;
            }
            self.met(link);
            let room = want.count.max(1) as usize - messages.len();
            let before = messages.len();
            if before == 0 && room > 1 {
                messages.reserve(room.min(MANY));
            }
            if let Err(evidence) = self.draw(task, link, place, want, room, &mut messages) {
                accused = Some((link.clone(), evidence));
                break;
            }
            if messages.len() >= want.count as usize {
                // The next one begins with the next link.
                self.first.store((first + n) as u32, Ordering::Relaxed);
                break;
            }
            // Who takes many at once from a sender in full flow lets it go on for a moment: else each fetches its cache lines from the other for each message.
            if gathers > 0 && messages.len() > before {
                gathers -= 1;
                (0..pause).for_each(|_| std::hint::spin_loop());
                pause = (2 * pause).min(PAUSE_MAX);
                n -= 1;
            }
        }
        drop(warm);
        if let Some((link, evidence)) = accused {
            self.accuse(task, &link, &evidence);
        }
        (!messages.is_empty()).then_some(Came::Messages(messages))
    }

    /// Sleeps until there is something for this place; `more` are words to sleep on besides.
    fn sleep_for_message(&self, place: &Arc<Place>, control: u32, mail: u32, more: &[(&AtomicU32, u32)], until: Instant) -> Woken {
        let Some(attention) = self.attention.get() else { return Woken::Changed };
        let mut woken = Woken::Changed;
        let me = Waiter::of_this_thread();
        me.word.store(0, Ordering::Relaxed);
        place.waiters.lock().push(me.clone());
        if let Post::Lookout { relieved } = self.take_post(&me) {
            let warm = self.warm.read().clone();
            fence(Ordering::SeqCst);
            let mut words: SmallVec<[(&AtomicU32, u32); 8]> = SmallVec::new();
            words.push((&me.word, 0));
            words.push((attention.control(), control));
            words.push((attention.mail(), mail));
            words.extend_from_slice(more);
            let at = words.len();
            words.extend(warm.iter().map(|link| link.theirs(link::TAIL)).map(|tail| (tail, tail.load(Ordering::Acquire))));
            // What comes while others look is theirs: they wake this thread if they leave something. What comes later changes a tail from what it was just now.
            let relieved = relieved && self.is_relieved();
            if !relieved {
                words[at..].iter_mut().zip(warm.iter()).for_each(|((_, seen), link)| *seen = link.read_to());
            }
            let there = !relieved && warm.iter().any(|link| link.has_more());
            if !there && !place.has_messages() && !self.has_missed.load(Ordering::Relaxed) {
                for link in warm.iter() {
                    link.count(counter::SLEEPS, 1);
                    if !relieved {
                        link.show(link::state::SLEEPS, wait::cpu());
                    }
                }
                woken = wait::sleep(attention, &mut words, until);
            }
            warm.iter().for_each(|link| link.show(link::state::RUNS, wait::cpu()));
            self.leave_post();
        } else {
            if !place.has_messages() {
                let mut words: SmallVec<[(&AtomicU32, u32); 4]> = SmallVec::new();
                words.extend([(&me.word, 0), (attention.control(), control), (attention.mail(), mail)]);
                words.extend_from_slice(more);
                woken = wait::sleep(attention, &mut words, until);
            }
            self.floor.rise(&me);
        }
        place.waiters.lock().retain(|other| !Arc::ptr_eq(other, &me));
        woken
    }

    /// The next message of a place, if there is one.
    fn take(&self, place: &Place, want: &Want, plain: bool) -> Option<Came> {
        let members = place.members.read();
        let count = members.len();
        let first = place.turn.load(Ordering::Relaxed);
        for n in 0..count {
            let at = (first + n) % count;
            let port = &members[at];
            if port.queued.load(Ordering::Acquire) == 0 {
                continue;
            }
            if let Some(came) = self.take_from(port, want, plain) {
                place.turn.store(at + 1, Ordering::Relaxed);
                return Some(came);
            }
        }
        None
    }

    fn take_from(&self, port: &Arc<Port>, want: &Want, plain: bool) -> Option<Came> {
        let request = want.trailer();
        let options = Options::from_bits_retain(want.options);
        let mut queue = port.queue.lock();
        let item = queue.front()?;
        if plain && item.body.size().is_none_or(|size| size + request.size() > want.limit as usize) {
            return None;
        }
        if let Some(size) = item.body.size()
            && size + request.size() > want.limit as usize
        {
            let needed = (size + request.size()) as u32;
            if options.contains(Options::RCV_LARGE) {
                let local = if options.contains(Options::RCV_LARGE_IDENTITY) { port.name } else { want.name };
                let header = Header { size: needed, local, ..Header::default() };
                let message = SmallVec::from_slice(&header.to_bytes());
                return Some(Came::Frame(Frame::plain(Code::MACH_RCV_TOO_LARGE, message, SmallVec::new())));
            }
            let item = self.pop(port, &mut queue)?;
            drop(queue);
            let size = size as u32;
            let bits = Header::make_bits(0, received::SEND, false);
            let header = Header { bits, size, local: port.name, id: item.id, ..Header::default() };
            let trailer = self.trailer(port, &item, TrailerRequest::Null);
            self.drop_item(item);
            let message = SmallVec::from_slice(&header.to_bytes());
            return Some(Came::Frame(Frame::plain(Code::MACH_RCV_TOO_LARGE, message, trailer)));
        }
        let item = self.pop(port, &mut queue)?;
        if matches!(item.body, Body::Ticket) {
            let mut items = VecDeque::from_iter([item]);
            while items.len() < want.count as usize
                && let Some(next) = queue.front()
                && follows(&items[items.len() - 1], next)
            {
                items.extend(self.pop(port, &mut queue));
            }
            return Some(Came::Ticket(Ticket { items }));
        }
        drop(queue);
        item.route.received();
        let reply = self.reply_of(&item);
        let trailer = self.trailer(port, &item, request);
        let complex = matches!(&item.body, Body::Lent(contents) if contents.is_complex());
        let (mut message, annex, leases) = match item.body {
            Body::Plain(message) => (message, Vec::new(), Vec::new()),
            Body::Lent(contents) => contents.into_message(),
            Body::Ticket => unreachable!("just seen"),
        };
        let remote = reply.unwrap_or(Name::NULL);
        let bits = Header::make_bits(if reply.is_some() { received::SEND_ONCE } else { 0 }, received::SEND, complex);
        let header = Header { bits, size: message.len() as u32, remote, local: port.name, voucher: Name::NULL, id: item.id };
        message[..HEADER].copy_from_slice(&header.to_bytes());
        Some(Came::Frame(Frame { status: Code::SUCCESS, message, trailer, annex, leases }))
    }

    /// The first message of the ticket was received: what it answers to, and its sequence number.
    pub(crate) fn fetched(&self, ticket: &mut Ticket) -> Option<(Option<Name>, u32)> {
        let item = ticket.items.pop_front()?;
        let port = item.route.port.clone();
        item.route.received();
        let reply = self.reply_of(&item);
        Some((reply, port.seqno.fetch_add(1, Ordering::Relaxed)))
    }

    /// The kernel process has no such message as the first (for this task): its port has moved meanwhile, and the message with it. Or it never had one.
    pub(crate) fn not_there(&self, task: &Task, ticket: &mut Ticket, code: Code) {
        let Some(item) = ticket.items.pop_front() else { return };
        let moves = item.route.returning.load(Ordering::Acquire);
        // It is somebody else's to receive, and to answer.
        item.route.received();
        if code.plain() == Code::MACH_RCV_INVALID_DATA && !moves {
            self.accuse(task, &item.route.link, &Evidence { rule: violation::TICKET, found: item.number as u64, expected: 0 });
        }
    }

    fn reply_of(&self, item: &Item) -> Option<Name> {
        item.reply.map(|(slot, generation)| self.replies.add(Owed::new(item.route.link.clone(), slot, generation)))
    }

    /// What is left of it was not received, and comes next again.
    pub(crate) fn not_fetched(&self, ticket: Ticket) {
        let Some(first) = ticket.items.front() else { return };
        let route = first.route.clone();
        let mut queue = route.port.queue.lock();
        if route.returning.load(Ordering::Relaxed) {
            drop(queue);
            return ticket.items.iter().for_each(|_| route.received());
        }
        for item in ticket.items.into_iter().rev() {
            queue.push_front(item);
        }
        let port = &route.port;
        port.queued.store(queue.len(), Ordering::Release);
    }

    /// One more message that is here and needs nobody else.
    pub(crate) fn take_plain(&self, place: &Place, want: &Want) -> Option<Frame> {
        match self.take(place, want, true)? {
            Came::Frame(frame) => Some(frame),
            _ => unreachable!("only plain messages were asked for"),
        }
    }

    fn pop(&self, port: &Port, queue: &mut VecDeque<Item>) -> Option<Item> {
        let item = queue.pop_front()?;
        port.queued.store(queue.len(), Ordering::Release);
        Some(item)
    }

    fn trailer(&self, port: &Port, item: &Item, request: TrailerRequest) -> SmallVec<[u8; 64]> {
        let peer = item.route.link.peer;
        let seqno = port.seqno.fetch_add(1, Ordering::Relaxed);
        let context = port.context.load(Ordering::Relaxed);
        let trailer = Trailer { seqno, uid: peer.uid, gid: peer.gid, pid: peer.pid, task: peer.task, context };
        let mut bytes = Vec::with_capacity(request.size());
        trailer.write(request, &mut bytes);
        SmallVec::from_slice(&bytes)
    }

    /// What the kernel process said to [`Came::Ask`]: it has none (and `mail` was the word before it was asked), or there may be more.
    pub(crate) fn asked(&self, place: &Place, code: Code, mail: u32) {
        let asked = if code.plain() == Code::MACH_RCV_IN_PROGRESS { mail as u64 } else { Place::UNKNOWN };
        place.asked.store(asked, Ordering::Release);
    }

    /// A message came as mail that takes credit on a route (1 + its slot): its sender may send one more.
    pub(crate) fn mail_received(&self, slot: u32) {
        let find = |route: &&Arc<super::route::InRoute>| route.id as u32 == slot - 1 && !route.ended.load(Ordering::Relaxed);
        let Some(route) = self.tables.read().incoming.values().find(find).cloned() else { return };
        let mut inbox = route.link.inbox.lock();
        let before = route.before.load(Ordering::Relaxed);
        if before > 0 {
            route.before.store(before - 1, Ordering::Relaxed);
            route.count_delivered(&mut inbox);
        }
    }

    /// The sequence number of a message that came as mail to a port whose messages this side counts.
    pub(crate) fn seqno_of_mail(&self, port: Name) -> Option<u32> {
        let tables = self.tables.read();
        let port = tables.ports.get(&port).filter(|port| !port.recalled.load(Ordering::Acquire))?;
        Some(port.seqno.fetch_add(1, Ordering::Relaxed))
    }

    /// A receive right or a set was released: threads that wait on it look again, and routes to it are closed.
    pub(crate) fn ended(&self, task: &Task, name: Name) {
        if let Some(place) = self.place(name) {
            let _ = self.look(task);
            self.drop_pending(task, name, &place, false);
            place.asked.store(Place::UNKNOWN, Ordering::Release);
            place.wake_all();
        }
    }
}
