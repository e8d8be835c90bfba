//! Threads of a task that receive, and which of them does what.
//!
//! * One that sleeps is the *lookout*: it sleeps on the words that peers and the kernel process change, and peers ring for it. The others sleep on a word of
//!   their own. Whoever reads a ring wakes the thread that a message is for. A lookout that leaves hands its post to another.
//! * While a thread is *looking*, nobody needs to ring: it says so in the links for the lookout as well, which sleeps on. When it goes back to its program it has
//!   the bells rung again, looks once more, and wakes the lookout if it leaves something behind. So a second thread is woken when there is work for it, and a
//!   server of many threads answers one client as fast as one of one.
//! * Half of the processors are enough for looking, since peers need some too. So there are that many *seats*, and a thread looks for long only from one: who
//!   received last has it until it sleeps. A thread that was woken in vain sleeps again, and leaves the next message to the one that is warm.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use umach_abi::link::{self, bell};
use umach_link::futex;

use super::{Plane, wait};

thread_local! {
    static WAITER: Arc<Waiter> = Arc::new(Waiter::default());
    static NUMBER: u32 = {
        static LAST: AtomicU32 = AtomicU32::new(0);
        LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    };
}

/// A thread that waits for a message.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    /// 1 once it was woken.
    pub(super) word: AtomicU32,
}

impl Waiter {
    pub(super) fn of_this_thread() -> Arc<Waiter> {
        WAITER.with(Arc::clone)
    }
    pub(super) fn wake(&self) {
        self.word.store(1, Ordering::Release);
        futex::wake(&self.word, 1);
    }
}

/// What the threads are at.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// There is a lookout. Changes under the lock.
    has_lookout: AtomicBool,
    pub(super) seats: Seats,
    posts: Mutex<Posts>,
}

#[derive(Debug, Default)]
struct Posts {
    lookout: Option<Arc<Waiter>>,
    /// Threads that look in the lookout's place: bells are not armed.
    reliefs: u32,
    sleepers: Vec<Arc<Waiter>>,
}

/// What a thread that wants to sleep is.
pub(super) enum Post {
    Lookout {
        /// Others look meanwhile.
        relieved: bool,
    },
    Sleeper,
}

impl Floor {
    /// A sleeper is awake.
    pub(super) fn rise(&self, me: &Arc<Waiter>) {
        self.posts.lock().sleepers.retain(|other| !Arc::ptr_eq(other, me));
    }
    /// This thread goes back to its program: if others sleep and nobody looks out, one of them must.
    pub(super) fn hand_over(&self) {
        let mut posts = self.posts.lock();
        if posts.lookout.is_none()
            && let Some(next) = posts.sleepers.pop()
        {
            drop(posts);
            next.wake();
        }
    }
    /// Every sleeper looks again: what they wait for may have changed its nature.
    pub(super) fn wake_all(&self) {
        let sleepers = std::mem::take(&mut self.posts.lock().sleepers);
        for sleeper in sleepers {
            sleeper.wake();
        }
    }
}

/// The threads that may look for long, by number; 0 is nobody's. A hint.
#[derive(Debug)]
pub(super) struct Seats(Box<[AtomicU32]>);

impl Default for Seats {
    fn default() -> Seats {
        static SEATS: OnceLock<usize> = OnceLock::new();
        let count = SEATS.get_or_init(|| (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1));
        Seats((0..*count).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Seats {
    fn is(seat: &AtomicU32, number: u32) -> bool {
        seat.load(Ordering::Relaxed) == number
    }
    /// Where this thread looks first, and its number.
    #[inline]
    fn usual(&self) -> (&AtomicU32, u32) {
        let me = NUMBER.with(|number| *number);
        (&self.0[me as usize % self.0.len()], me)
    }
    /// Whether this thread is to look for a while before it sleeps.
    #[inline]
    pub(super) fn may_wait(&self) -> bool {
        let (usual, me) = self.usual();
        Seats::is(usual, me) || self.0.iter().any(|seat| Seats::is(seat, 0) || Seats::is(seat, me))
    }
    /// This thread received something.
    #[inline]
    pub(super) fn take(&self) {
        let (usual, me) = self.usual();
        if !Seats::is(usual, me) {
            self.take_any(usual, me);
        }
    }
    fn take_any(&self, usual: &AtomicU32, me: u32) {
        if !self.0.iter().any(|seat| Seats::is(seat, me)) {
            // If there is none, it becomes this thread's who had its usual one.
            self.0.iter().find(|seat| Seats::is(seat, 0)).unwrap_or(usual).store(me, Ordering::Relaxed);
        }
    }
    /// This thread goes to sleep.
    pub(super) fn leave(&self) {
        let (_, me) = self.usual();
        if let Some(seat) = self.0.iter().find(|seat| Seats::is(seat, me)) {
            seat.store(0, Ordering::Relaxed);
        }
    }
}

/// This thread looks. Until it is dropped nobody has to ring.
#[must_use]
pub(super) struct Looking<'p>(Option<&'p Plane>);

impl Plane {
    /// From now on this thread looks for what comes over links.
    #[inline]
    pub(super) fn looking(&self) -> Looking<'_> {
        // Armed pollers are rung for as well, by the kernel process.
        let relieves = self.floor.has_lookout.load(Ordering::Relaxed) && !self.pollers.are_armed() && self.relieve();
        Looking(relieves.then_some(self))
    }

    fn relieve(&self) -> bool {
        let mut posts = self.floor.posts.lock();
        if posts.lookout.is_none() {
            return false;
        }
        posts.reliefs += 1;
        if posts.reliefs == 1 {
            for link in self.warm.read().iter() {
                umach_link::disarm(&*link.memory, link.mine);
                link.show(link::state::RUNS, wait::cpu());
            }
        }
        true
    }

    #[cold]
    fn relieve_no_longer(&self) {
        let mut posts = self.floor.posts.lock();
        posts.reliefs -= 1;
        if posts.reliefs > 0 {
            return;
        }
        let warm = self.warm.read();
        let Some(lookout) = &posts.lookout else {
            return warm.iter().for_each(|link| umach_link::leave(&*link.memory, link.mine, || self.pollers.are_armed()));
        };
        warm.iter().for_each(|link| umach_link::arm(&*link.memory, link.mine, bell::FUTEX));
        fence(Ordering::SeqCst);
        if warm.iter().any(|link| link.has_more()) {
            let lookout = lookout.clone();
            drop(warm);
            drop(posts);
            lookout.wake();
        }
    }

    /// Becomes the lookout, for whom peers ring from now on unless others look; or a sleeper, whom a lookout's leaving wakes.
    pub(super) fn take_post(&self, me: &Arc<Waiter>) -> Post {
        let mut posts = self.floor.posts.lock();
        if posts.lookout.is_some() {
            posts.sleepers.push(me.clone());
            return Post::Sleeper;
        }
        posts.lookout = Some(me.clone());
        self.floor.has_lookout.store(true, Ordering::Relaxed);
        let relieved = posts.reliefs > 0;
        if !relieved {
            // Links may have come and gone since. One that is no longer looked at rings through the kernel process, and must go on to.
            for link in self.warm.read().iter() {
                umach_link::arm(&*link.memory, link.mine, bell::FUTEX);
            }
        }
        Post::Lookout { relieved }
    }

    /// Whether others look in the lookout's place.
    pub(super) fn is_relieved(&self) -> bool {
        self.floor.posts.lock().reliefs > 0
    }

    /// The lookout is awake.
    pub(super) fn leave_post(&self) {
        let mut posts = self.floor.posts.lock();
        posts.lookout = None;
        self.floor.has_lookout.store(false, Ordering::Relaxed);
        if posts.reliefs == 0 {
            for link in self.warm.read().iter() {
                umach_link::leave(&*link.memory, link.mine, || self.pollers.are_armed());
            }
        }
    }

    /// A poller is no longer armed: if nobody else is rung for, links are not to ring.
    pub(super) fn unpolled(&self) {
        let posts = self.floor.posts.lock();
        if posts.lookout.is_none() {
            for link in self.warm.read().iter() {
                umach_link::leave(&*link.memory, link.mine, || self.pollers.are_armed());
            }
        }
    }
}

impl Drop for Looking<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(plane) = self.0 {
            plane.relieve_no_longer();
        }
    }
}
