//! The direct plane: messages through memory that two tasks share, with the kernel process out of the way.
//!
//! The kernel process makes a *link* between two tasks that talk, and grants *routes* over it: a route is the permission to send over the link what
//! could be sent to one right. This module keeps what the kernel process said about both, writes and reads the rings, and waits. Every message
//! could as well go through the kernel process; `crate::exchange` decides for each, and nobody above it notices.
//!
//! Read in this order: `link`, `route`, `kept` and `table` (what is known), `shortcut`, `events` (how it becomes known), `ends`, `reclaim`, `send`, `call`, `read`, `receive`,
//! `replies`, `pending`, `wait`, `floor`, `watch`;
//! and for memory `lend`, `borrow`, `contents`.

mod borrow;
mod call;
mod contents;
mod ends;
mod events;
mod floor;
mod kept;
mod lend;
mod link;
mod pending;
mod poll;
mod read;
mod receive;
mod reclaim;
mod replies;
mod route;
mod send;
mod shortcut;
mod table;
mod wait;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use umach_abi::Name;
use umach_abi::control::{LinkRing, RouteRoom, RouteWant};

pub(crate) use borrow::Borrowed;
pub(crate) use call::{Answer, Finished, Open};
pub(crate) use contents::ForKernel;
pub(crate) use lend::Room;
pub(crate) use receive::{Came, Frame, Ticket, Want};
pub(crate) use replies::{Owed, Unknown};
pub(crate) use send::{Carry, Doubt, Lazy, Patience, Sent, Ticketed, Until};
pub(crate) use shortcut::Shortcut;
pub(crate) use watch::{AnswerWatch, CallerWatch, RoomWatch};

use crate::error::Result;
use crate::sys::attention::Attention;
use crate::task::Task;

/// A task's side of the direct plane.
#[derive(Default)]
pub(crate) struct Plane {
    id: shortcut::PlaneId,
    /// There has been a link.
    active: AtomicBool,
    attention: OnceLock<Attention>,
    /// The attention word for events when they were pulled last.
    pulled: AtomicU32,
    /// Held by the thread that pulls.
    pulling: Mutex<()>,
    tables: RwLock<table::Tables>,
    /// Links that threads look at by themselves.
    warm: RwLock<Arc<[Arc<link::Link>]>>,
    /// Links that have to be looked at once more.
    missed: Mutex<Vec<Arc<link::Link>>>,
    has_missed: AtomicBool,
    due: Arc<link::Due>,
    replies: replies::Replies,
    pollers: poll::Pollers,
    floor: floor::Floor,
    reclaim: reclaim::Reclaim,
    /// See `pending`.
    epoch: pending::Epoch,
    /// 1 + the CPU of whom the last message came from.
    partner: AtomicU32,
    /// Which link to look at first.
    first: AtomicU32,
}

impl Plane {
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    #[inline]
    fn control_word(&self) -> u32 {
        self.attention.get().map_or(0, |attention| attention.control().load(Ordering::Acquire))
    }

    #[inline]
    fn mail_word(&self) -> u32 {
        self.attention.get().map_or(0, |attention| attention.mail().load(Ordering::Acquire))
    }

    /// The longest sleep. The kernel process wakes who sleeps when there is a reason, and cannot when it has ended itself.
    const NAP: Duration = Duration::from_secs(30);

    /// Until when to sleep at most, and whether that is before the caller's own deadline.
    fn nap(until: Until) -> (Instant, bool) {
        let nap = Instant::now() + Plane::NAP;
        match until {
            Some(until) if until <= nap => (until, false),
            _ => (nap, true),
        }
    }

    /// After a sleep: is there still a kernel process? It is asked if Linux says that it has ended, and after a whole nap.
    fn check_kernel(&self, task: &Task, slept: Duration) -> Result<()> {
        if slept >= Plane::NAP || self.attention.get().is_some_and(Attention::kernel_is_dead) {
            self.settle(task)?;
        }
        Ok(())
    }

    /// Pulls events if there are some. To be called with no lane and no lock held.
    #[inline]
    pub(crate) fn look(&self, task: &Task) -> Result<()> {
        if task.0.events_wait.load(Ordering::Relaxed) || self.control_word() != self.pulled.load(Ordering::Acquire) {
            self.settle(task)?;
            self.ring_due(task);
        } else if self.due.any.load(Ordering::Relaxed) {
            self.ring_due(task);
        }
        Ok(())
    }

    /// Asks to be told when there is credit for this right: its send-possible request is armed.
    pub(crate) fn want_room(&self, task: &Task, name: Name) -> Result<()> {
        let route = self.tables.read().out.get(&name).map(|route| route.id);
        if let Some(route) = route {
            let _ = task.request(&RouteWant { route }, |_, _| ())?;
        }
        Ok(())
    }

    /// Wakes the peers that asked to be woken through the kernel process, and says which routes are closed.
    fn ring_due(&self, task: &Task) {
        if self.due.any.load(Ordering::Relaxed) && self.due.any.swap(false, Ordering::AcqRel) {
            let links = std::mem::take(&mut *self.due.links.lock());
            for link in links {
                let _ = task.request(&LinkRing { link }, |_, _| ());
            }
            let rooms = std::mem::take(&mut *self.due.rooms.lock());
            for route in rooms {
                let _ = task.request(&RouteRoom { route }, |_, _| ());
            }
            let done = std::mem::take(&mut *self.due.done.lock());
            for route in done {
                self.acknowledge(task, &route);
            }
        }
    }
}
