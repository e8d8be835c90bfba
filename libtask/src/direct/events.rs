//! What the kernel process says about links and routes, pulled and applied in order by one thread at a time.
//!
//! *Drain on miss*: whoever finds a record of an unknown route pulls first and looks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use umach_abi::control::{Events, LinkEnd, PortModRefs};
use umach_abi::link;
use umach_abi::records::{Event, event, violation};
use umach_abi::rights::RightKind;
use umach_abi::{Code, Name};
use umach_link::{Evidence, Foreign, Mapping};

use super::Plane;
use super::call::Fate;
use super::ends::{Ending, Ends};
use super::kept::Kept;
use super::link::{Entry, Link, Peer};
use super::route::{Holding, InRoute, OutRoute, Sending};
use crate::error::{Error, Result};
use crate::sys::attention::Attention;
use crate::task::Task;
use crate::transport::Attached;

/// Times that one thread pulls because new events keep coming.
const ROUNDS: u32 = 64;

impl Plane {
    /// Pulls and applies whatever there is to pull.
    #[cold]
    pub(crate) fn settle(&self, task: &Task) -> Result<()> {
        let _one = self.pulling.lock();
        self.settle_alone(task)
    }

    /// The same for a thread that may be in the middle of it, or of something that this would wait for: another time, then.
    pub(crate) fn settle_if_free(&self, task: &Task) {
        if let Some(_one) = self.pulling.try_lock()
            && let Err(error) = self.settle_alone(task)
        {
            tracing::debug!(%error, "events could not be pulled");
        }
    }

    fn settle_alone(&self, task: &Task) -> Result<()> {
        let mut ends = Ends::default();
        // Each round pulls until nothing is left; what is done about an end may show that there is more. Peers that keep ringing do not keep this
        // thread: whoever looks next goes on.
        for round in 0u32.. {
            let control = self.control_word();
            task.0.events_wait.store(false, Ordering::Relaxed);
            let buried = std::mem::take(&mut ends.buried);
            self.pull(task, &mut ends)?;
            self.give_up(buried);
            if let Some(ending) = ends.endings.pop() {
                if let Some(again) = self.close(task, ending)? {
                    ends.endings.push(again);
                }
                continue;
            }
            if !ends.buried.is_empty() {
                continue;
            }
            if self.reclaim(task) && round <= ROUNDS {
                continue;
            }
            // Not before: whoever sees this value relies on what has ended being closed.
            self.pulled.store(control, Ordering::Release);
            if round > ROUNDS || (self.control_word() == control && !task.0.events_wait.load(Ordering::Relaxed)) {
                break;
            }
        }
        self.ring_due(task);
        self.floor.wake_all();
        self.kick_pollers();
        task.0.files.settle(task);
        Ok(())
    }

    fn pull(&self, task: &Task, ends: &mut Ends) -> Result<()> {
        loop {
            let (more, events, attached) = task.request(&Events {}, |answer, attached| {
                (answer.more != 0, Event::all(answer.events).collect::<Vec<_>>(), std::mem::take(attached))
            })??;
            let mut attached = attached.into_iter();
            for event in events {
                let came = if event::attaches(event.kind) { attached.next() } else { None };
                self.apply(task, event, came, ends);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn apply(&self, task: &Task, event: Event, attached: Option<Attached>, ends: &mut Ends) {
        tracing::trace!(task = task.id(), ?event, "event");
        match event.kind {
            event::ATTENTION => self.take_attention(attached),
            event::LINK => self.add_link(task, &event, attached),
            event::ROUTE_OUT => self.add_out(&event),
            event::ROUTE_IN => self.add_in(&event),
            event::ROUTE_OPEN => self.open(event.route),
            event::ROUTE_STOP => self.stop(event.route),
            event::ROUTE_END => {
                if let Some(route) = self.tables.read().incoming.get(&event.route).cloned() {
                    ends.endings.push(Ending { route, what: event.value, missed: None });
                }
            }
            event::ROUTE_CLOSED => self.closed(task, &event, ends),
            event::LINK_DOWN => self.link_down(event.link),
            event::REPLY_MOVED => self.reply_moved(task, &event),
            event::ROOM_WANTED => self.room_wanted(event.route),
            event::MEMBER => self.member(&event),
            event::ARENA => self.add_arena(&event, attached),
            event::FILES => task.0.files.look_soon(),
            event::LINK_IDLE => self.reclaim.ask(event.link),
            event::LINKS_SHORT => self.reclaim.are_short(),
            event::RANG => {
                if let Some(link) = self.tables.read().links.get(&event.link) {
                    self.warm(link);
                }
            }
            kind => tracing::debug!(kind, "an event of a kind that this version does not know"),
        }
    }

    fn take_attention(&self, attached: Option<Attached>) {
        if let Some(Attached::Fd(fd)) = attached {
            match Attention::map(&fd.into()) {
                Ok(attention) => drop(self.attention.set(attention)),
                Err(why) => tracing::warn!(%why, "the attention page cannot be mapped"),
            }
        }
    }

    fn add_link(&self, task: &Task, event: &Event, attached: Option<Attached>) {
        let mapped = match attached {
            Some(Attached::Fd(fd)) => Mapping::new(&fd).map_err(|why| why.to_string()),
            _ => Err("its memory did not come: this process's table of descriptors is full (see umach doctor)".to_owned()),
        };
        let memory = match mapped {
            Ok(memory) if self.attention.get().is_some() => Arc::new(memory),
            other => {
                let why = other.err().unwrap_or_else(|| "there is no attention page".to_owned());
                tracing::warn!(task = task.id(), why, "a link cannot be used");
                let _ = self.end_link(task, event.link, violation::NONE, 0, 0);
                return;
            }
        };
        let peer = Peer { task: event.task, pid: event.pid, uid: event.uid, gid: event.gid };
        let link = Arc::new(Link::new(event.link, peer, memory, event.index as usize & 1, self.due.clone()));
        self.tables.write().links.insert(event.link, link.clone());
        self.warm(&link);
        self.active.store(true, Ordering::Release);
    }

    fn add_arena(&self, event: &Event, attached: Option<Attached>) {
        let Some(link) = self.tables.read().links.get(&event.link).cloned() else { return };
        let memory = match attached {
            Some(Attached::Fd(fd)) => Foreign::new(&fd, event.context).map_err(|why| why.to_string()),
            _ => Err("its memory did not come: this process's table of descriptors is full (see umach doctor)".to_owned()),
        };
        if let Err(why) = &memory {
            tracing::warn!(link = event.link, why, "memory that a peer lends cannot be mapped, and messages that use it are lost");
        }
        link.lent_here.add(event.index, event.context, memory.ok());
    }

    fn add_out(&self, event: &Event) {
        let mut tables = self.tables.write();
        let Some(link) = tables.links.get(&event.link).cloned() else { return };
        let place = event.index as usize % link::ROUTES;
        let base = link.counted.lock().get(&place).copied().unwrap_or(0);
        // The receiver may even have closed it by now: the first message looks.
        let closings = link.theirs(link::CLOSINGS).load(Ordering::Acquire).wrapping_sub(1);
        let sending = Sending {
            sent: 0,
            base,
            before: event.flags >> 8,
            seen: base,
            look_from: 0,
            closings,
            stopped: false,
            taken: None,
            sent_again: false,
            kept: Kept::default(),
        };
        let key = link.outbox.lock().add(sending);
        let route = Arc::new(OutRoute {
            id: event.route,
            name: event.name,
            plane: self.number(),
            index: event.index,
            limit: event.value.max(1),
            link,
            wanting: Mutex::default(),
            over: AtomicBool::new(false),
            key,
            asking: Mutex::default(),
        });
        route.show_sent(route.outbox().of(&route).1);
        tables.out.insert(event.name, route.clone());
        tables.out_ids.insert(event.route, (event.name, route));
    }

    fn add_in(&self, event: &Event) {
        let mut tables = self.tables.write();
        let Some(link) = tables.links.get(&event.link).cloned() else { return };
        let port = tables.port(event.name, event.context, event.pid);
        let route = Arc::new(InRoute {
            id: event.route,
            index: event.index,
            limit: event.value.max(1),
            link: link.clone(),
            port,
            accepted: AtomicU32::new(0),
            delivered: AtomicU32::new(0),
            then: AtomicU32::new(0),
            look: AtomicU32::new(0),
            before: AtomicU32::new(event.flags >> 8),
            held: Holding::new(event.flags & 1 != 0),
            ended: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            returning: AtomicBool::new(false),
            done: AtomicBool::new(false),
            room_wanted: AtomicBool::new(false),
        });
        tables.incoming.insert(event.route, route.clone());
        let mut inbox = link.inbox.lock();
        // Some of the older mail has been received before this task knew of the route.
        for _ in event.flags >> 8..event.uid {
            route.count_delivered(&mut inbox);
        }
        inbox.set(event.index, Entry::Live(route));
    }

    fn open(&self, route: u64) {
        let Some(route) = self.tables.read().incoming.get(&route).cloned() else { return };
        let mut inbox = route.link.inbox.lock();
        let held = route.held.take();
        for item in held.into_iter().flatten() {
            self.arrived(item);
        }
        // By now all of that mail has been received, whichever way.
        for _ in 0..route.before.swap(0, Ordering::Relaxed) {
            route.count_delivered(&mut inbox);
        }
    }

    /// Nothing more goes out on the route. Whoever is in the middle of a send has finished it afterwards.
    pub(super) fn stop(&self, id: u64) {
        let mut tables = self.tables.write();
        let Some((name, route)) = tables.out_ids.get(&id).cloned() else { return };
        if tables.out.get(&name).is_some_and(|other| other.id == id) {
            tables.out.remove(&name);
        }
        route.over.store(true, Ordering::Release);
        drop(tables);
        route.outbox().of(&route).1.stopped = true;
    }

    fn link_down(&self, id: u64) {
        let mut tables = self.tables.write();
        let Some(link) = tables.links.get(&id).cloned() else { return };
        if !link.calls.lock().open.values().any(|call| call.fate == Fate::Moving) {
            tables.links.remove(&id);
        }
        tables.out.retain(|_, route| {
            let stays = route.link.id != id;
            route.over.fetch_or(!stays, Ordering::Release);
            stays
        });
        tables.out_ids.retain(|_, (_, route)| route.link.id != id);
        drop(tables);
        self.forget_link(&link);
    }

    pub(super) fn forget_link(&self, link: &Arc<Link>) {
        link.down.store(true, Ordering::Release);
        link.stop_lending();
        for call in link.calls.lock().open.values_mut() {
            if call.fate == Fate::Open {
                call.fate = Fate::Died;
            }
        }
        self.cool(link);
    }

    fn reply_moved(&self, task: &Task, event: &Event) {
        let taken = self.tables.read().links.get(&event.link).is_some_and(|link| {
            let mut calls = link.calls.lock();
            match calls.open.get_mut(event.index) {
                Some(call) if call.generation == event.value && matches!(call.fate, Fate::Open | Fate::Moving | Fate::Died) => {
                    call.fate = Fate::Moved(event.name);
                    true
                }
                _ => false,
            }
        });
        if !taken {
            // Nobody waits for it any more; whoever holds the send-once right is told.
            self.drop_port(task, event.name);
        }
    }

    /// Destroys a port that carries one reply. Whoever holds a lane, with what came to that port, waits for no other: all may be in such hands. The port goes
    /// when that one is given back.
    pub(crate) fn drop_port(&self, task: &Task, name: Name) {
        if task.release_with_lane(RightKind::Receive, name) {
            return self.forget_reply_ports();
        }
        let call = PortModRefs { task: task.0.task_self, name, right: RightKind::Receive as u32, delta: -1 };
        let _ = task.request(&call, |_, _| ());
    }

    fn room_wanted(&self, route: u64) {
        let Some(route) = self.tables.read().incoming.get(&route).cloned() else { return };
        // What is in the ring counts as well. If a record is in the way, a later message gives room and looks again.
        let _ = self.drain_to(&route.link, None);
        let _inbox = route.link.inbox.lock();
        route.room_wanted.store(true, Ordering::Relaxed);
        route.give_room();
    }

    fn member(&self, event: &Event) {
        let mut tables = self.tables.write();
        let Some(port) = tables.ports.get(&event.name).cloned() else { return };
        let place = tables.set_place(Name(event.index));
        drop(tables);
        let mut places = port.places.write();
        let mut members = place.members.write();
        places.retain(|other| !Arc::ptr_eq(other, &place));
        members.retain(|other| !Arc::ptr_eq(other, &port));
        if event.flags & 1 != 0 {
            places.push(place.clone());
            members.push(port.clone());
        }
    }

    /// The peer broke a rule: the link ends, and the log says why.
    #[cold]
    pub(super) fn accuse(&self, task: &Task, link: &Arc<Link>, evidence: &Evidence) {
        tracing::warn!(task = task.id(), peer = link.peer.task, pid = link.peer.pid, %evidence, "a peer broke a rule of its link");
        link.poisoned.store(true, Ordering::Release);
        self.forget_link(link);
        let _ = self.end_link(task, link.id, evidence.rule, evidence.found, evidence.expected);
    }

    pub(super) fn end_link(&self, task: &Task, link: u64, why: u32, found: u64, expected: u64) -> Result<Result<(), Code>> {
        task.request(&LinkEnd { link, why, found, expected }, |_, _| ())
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error::mach(code, "asking the kernel process about links")
    }
}
