//! What a task knows of its links: private tables, filled only from what the kernel process says.
//!
//! Lock order: `Plane::pulling`, `Plane::tables`, `Link::inbox` or `OutRoute::asking`, then `Link::outbox`, then a queue, a waiter list, or the calls of a
//! link. No lock is held while a thread sleeps, except a route's `asking` while a message with rights is at the kernel process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use umach_abi::Name;

use super::borrow::Borrowed;
use super::contents::Contents;
use super::floor::Waiter;
use super::link::Link;
use super::pending::Pending;
use super::route::{InRoute, OutRoute};

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
