//! Routes: what may be sent over a link, to one right or to one port; and what is counted and kept of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use umach_abi::Name;
use umach_abi::link::{self, bell};
use umach_abi::records::violation;
use umach_link::{Evidence, credit};

use super::kept::Kept;
use super::link::{Inbox, Link, Outbox};
use super::table::{Item, Port};

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
        self.link.outbox.lock().remove(self);
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

/// What is counted of a route changes under its link's inbox only; whoever calls these has that lock.
impl InRoute {
    /// One more message was taken from the ring: its number. More than there was credit for when it was published is a lie: all that was seen at one look
    /// was published before anything of it was delivered. Comes after all other checks: a message that counts must be delivered, or the route never ends.
    #[inline]
    pub(super) fn accept(&self, look: u32) -> Result<u32, Evidence> {
        if self.look.load(Ordering::Relaxed) != look {
            self.look.store(look, Ordering::Relaxed);
            self.then.store(self.delivered.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let number = self.accepted.load(Ordering::Relaxed).wrapping_add(1);
        let ahead = number.wrapping_sub(self.then.load(Ordering::Relaxed));
        if ahead > self.limit {
            return Err(Evidence { rule: violation::CREDIT, found: ahead as u64, expected: self.limit as u64 });
        }
        self.accepted.store(number, Ordering::Relaxed);
        Ok(number)
    }

    #[inline]
    pub(super) fn deliver(&self) {
        self.delivered.store(self.delivered.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The program has a message that was in a queue: its sender may send one more.
    pub(super) fn received(self: &Arc<InRoute>) {
        self.give_credit(&mut self.link.inbox.lock());
    }

    /// The same for whoever reads the ring.
    pub(super) fn give_credit(self: &Arc<InRoute>, inbox: &mut Inbox) {
        self.deliver();
        self.give_room();
        // Also of a route that has ended: if this task dies, its sender looks here.
        self.link.ring(credit::delivered(&*self.link.memory, self.link.mine, self.place()));
        self.perhaps_done(inbox);
    }

    /// So many messages went back to the kernel process.
    pub(super) fn returned(&self, messages: u32, _inbox: &mut Inbox) {
        self.delivered.store(self.delivered.load(Ordering::Relaxed).wrapping_add(messages), Ordering::Relaxed);
    }

    /// With its last message out of this task's hands, the route is closed.
    pub(super) fn perhaps_done(self: &Arc<InRoute>, _inbox: &mut Inbox) {
        if self.complete.load(Ordering::Relaxed)
            && self.delivered.load(Ordering::Relaxed) == self.accepted.load(Ordering::Relaxed)
            && !self.done.swap(true, Ordering::Relaxed)
        {
            self.link.due.done.lock().push(self.clone());
            self.link.due.any.store(true, Ordering::Release);
        }
    }

    /// Mail from before was received.
    pub(super) fn count_delivered(&self, _inbox: &mut Inbox) {
        self.give_room();
        self.link.ring(credit::delivered(&*self.link.memory, self.link.mine, self.place()));
    }

    /// If the sender asked to be told when it has credit, and has some: it is to be told.
    pub(super) fn give_room(&self) {
        if !self.room_wanted.load(Ordering::Relaxed) {
            return;
        }
        let ahead = self.accepted.load(Ordering::Relaxed).wrapping_sub(self.delivered.load(Ordering::Relaxed));
        if ahead + self.before.load(Ordering::Relaxed) < self.limit {
            self.room_wanted.store(false, Ordering::Relaxed);
            let due = &self.link.due;
            due.rooms.lock().push(self.id);
            due.any.store(true, Ordering::Release);
        }
    }

    pub(super) fn place(&self) -> u32 {
        self.index % link::ROUTES as u32
    }
}
