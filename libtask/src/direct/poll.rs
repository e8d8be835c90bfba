//! Pollers: descriptors that stand for a task's threads in somebody's event loop.
//!
//! While a poller is armed, links ring through the kernel process, which makes its descriptor readable. A thread of the task that reads a message off a
//! ring meanwhile, or pulls events, has the descriptor made readable itself ([`Plane::kick_pollers`]).
//!
//! ```text
//! who arms                                a thread that a message came to
//!   armed = true                            message into its queue, arrivals += 1
//!   fence                                   fence
//!   links to ring through the kernel        armed? make the descriptor readable
//!   fence
//!   arrivals as before, rings empty? sleep
//! ```
//!
//! A task that never had a poller pays one look at a flag for a message. The flag is read after the message went into its queue under that
//! queue's lock, and the first poller, after setting it, takes each of those locks once: so a message is seen by one of the two.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use umach_abi::link::bell;

use super::Plane;
use super::link::Link;
use crate::error::Result;
use crate::poller::Bell;
use crate::task::Task;

/// The pollers of a task.
#[derive(Default)]
pub(super) struct Pollers {
    /// There has been one.
    exist: AtomicBool,
    armed: AtomicUsize,
    /// Messages that came over links since then.
    arrivals: AtomicU32,
    all: Mutex<Vec<Weak<Bell>>>,
}

impl Pollers {
    /// Whether one is armed. For [`umach_link::leave`].
    pub(super) fn are_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed) > 0
    }
}

impl Plane {
    /// A poller more.
    pub(crate) fn add_poller(&self, bell: &Arc<Bell>) {
        let mut all = self.pollers.all.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(bell));
        drop(all);
        self.pollers.exist.store(true, Ordering::Relaxed);
        let ports: Vec<_> = self.tables.read().ports.values().cloned().collect();
        ports.iter().for_each(|port| drop(port.queue.lock()));
    }

    /// How many messages have come over links: to be read before the program looks for them.
    pub(crate) fn arrivals(&self) -> u32 {
        self.pollers.arrivals.load(Ordering::Acquire)
    }

    /// Has the poller's descriptor made readable by what comes from now on. True if there may be something now.
    pub(crate) fn arm_poller(&self, task: &Task, bell: &Bell, seen: u32) -> Result<bool> {
        let warm = self.arm_links(bell);
        let read = if self.is_active() { self.poll(task, &warm) } else { Ok(()) };
        let answers = self.arm_pending();
        let events = self.control_word() != self.pulled.load(Ordering::Acquire) || task.0.events_wait.load(Ordering::Relaxed);
        let came = self.arrivals() != seen && self.tables.read().ports.values().any(|port| port.queued.load(Ordering::Acquire) > 0);
        if read.is_err() || events || came || answers || !bell.armed.load(Ordering::Relaxed) {
            self.disarm_poller(bell);
            read?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The first half of it: all links ring through the kernel process.
    pub(super) fn arm_links(&self, bell: &Bell) -> Arc<[Arc<Link>]> {
        if !bell.armed.swap(true, Ordering::Relaxed) {
            self.pollers.armed.fetch_add(1, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst); // `umach_link::Fence::Polled`
        let warm = self.warm.read().clone();
        for link in warm.iter() {
            umach_link::arm(&*link.memory, link.mine, bell::KERNEL);
        }
        fence(Ordering::SeqCst);
        warm
    }

    /// The program looks by itself.
    pub(crate) fn disarm_poller(&self, bell: &Bell) {
        if bell.armed.swap(false, Ordering::Relaxed) {
            self.pollers.armed.fetch_sub(1, Ordering::Relaxed);
        }
        if self.is_active() {
            self.unpolled();
        }
    }

    /// A message came over a link, and is in its port's queue.
    pub(super) fn tell_pollers(&self) {
        if self.pollers.exist.load(Ordering::Relaxed) {
            self.pollers.arrivals.fetch_add(1, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            self.kick_pollers();
        }
    }

    /// A thread that took messages off a ring goes back to its program, and may leave others there, whose senders rang for this thread.
    #[inline]
    pub(super) fn leave_to_pollers(&self) {
        if self.pollers.are_armed() && self.warm.read().iter().any(|link| link.has_more()) {
            self.kick_pollers();
        }
    }

    /// Makes the descriptors of all armed pollers readable.
    pub(super) fn kick_pollers(&self) {
        if !self.pollers.are_armed() {
            return;
        }
        for bell in self.pollers.all.lock().iter().filter_map(Weak::upgrade) {
            if bell.armed.swap(false, Ordering::Relaxed) {
                self.pollers.armed.fetch_sub(1, Ordering::Relaxed);
                bell.ring();
            }
        }
    }
}
