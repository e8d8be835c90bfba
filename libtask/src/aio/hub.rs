//! The futures of a task that wait, and the runtimes that wake them. The protocol is in [`super`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use slab::Slab;
use smallvec::SmallVec;
use umach_abi::Name;

use super::reactor::{Bell, Reactor};
use super::send::Notice;
use crate::direct::{AnswerWatch, CallerWatch, RoomWatch};
use crate::error::{Error, Result};
use crate::right::Held;
use crate::task::{Inner, Task};

/// What a future waits for.
pub(crate) enum Wish {
    /// The answer to a call over a link.
    Answer(AnswerWatch),
    /// A message for this port or set.
    Message(Name),
    /// Room on a route.
    Room(RoomWatch),
    /// That a caller gives up.
    Caller(CallerWatch),
}

impl Wish {
    fn is_due(&self, task: &Task, mail: bool) -> bool {
        match self {
            Wish::Answer(watch) => watch.is_over(),
            Wish::Message(name) => mail || task.0.plane.has_message(*name),
            Wish::Room(watch) => watch.is_over(),
            Wish::Caller(watch) => watch.is_over(),
        }
    }
}

/// Who waits for what in a task, and who wakes them.
#[derive(Default)]
pub(crate) struct Hub {
    list: Mutex<Slab<Sitting>>,
    /// Counts the times that wishes were looked at. Changes under the list's lock.
    epoch: AtomicU64,
    /// Seats of [`ReceiveRight::poll_receive`](crate::ReceiveRight::poll_receive): one for each port or set.
    polled: Mutex<HashMap<Name, usize>>,
    /// Send-possible notifications that futures wait for, by the right's name.
    notices: Mutex<HashMap<Name, Weak<Notice>>>,
    /// Futures that have a waker in the list.
    waiting: AtomicUsize,
    drivers: RwLock<Vec<Arc<Driver>>>,
    /// The kernel process is gone.
    gone: AtomicBool,
}

struct Sitting {
    wish: Wish,
    /// It is woken by then in any case.
    until: Option<Instant>,
    /// Taken when it is woken.
    waker: Option<Waker>,
}

type Wakers = SmallVec<[Waker; 8]>;

/// A runtime that watches the task's doorbell.
struct Driver {
    bell: Arc<Bell>,
    reactor: Box<dyn Reactor>,
    waker: Waker,
    /// Held by who looks after it; `again`: there is more to do.
    turning: Mutex<()>,
    again: AtomicBool,
}

/// What the runtime's reactor wakes: it does all the work there and then.
struct Ringer {
    task: Weak<Inner>,
    driver: Weak<Driver>,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if let (Some(task), Some(driver)) = (self.task.upgrade(), self.driver.upgrade()) {
            let task = Task(task);
            task.0.hub.turn(&task, &driver);
        }
    }
}

/// A future's place in the list. Dropping it leaves the list.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    at: Option<usize>,
    until: Option<Instant>,
}

impl Hub {
    pub(super) fn add(&self, task: &Task, bell: Arc<Bell>, reactor: Box<dyn Reactor>) {
        let driver = Arc::new_cyclic(|driver| {
            let ringer = Arc::new(Ringer { task: Arc::downgrade(&task.0), driver: driver.clone() });
            Driver { bell, reactor, waker: ringer.into(), turning: Mutex::default(), again: AtomicBool::new(false) }
        });
        self.drivers.write().push(driver.clone());
        self.turn(task, &driver);
    }

    pub(super) fn has(&self, runtime: u64) -> bool {
        self.drivers.read().iter().any(|driver| driver.reactor.runtime() == Some(runtime))
    }

    /// To be read before a future looks.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether no future waits: then one may look a little longer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    fn waits(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// One look of [`ReceiveRight::poll_receive`](crate::ReceiveRight::poll_receive) has found nothing.
    pub(super) fn wait_polled(self: &Arc<Hub>, task: &Task, name: Name, cx: &Context<'_>, epoch: u64) -> Result<bool> {
        let mut polled = self.polled.lock();
        let mut seat = Seat { hub: self.clone(), at: polled.get(&name).copied(), until: None };
        let waits = seat.wait_unarmed(Some(Wish::Message(name)), cx, epoch);
        if let Some(at) = seat.at.take() {
            polled.insert(name, at);
        }
        drop(polled);
        if waits { self.arm(task, None).map(|()| true) } else { Ok(false) }
    }

    /// It has found something, or the name is no more.
    pub(crate) fn leave_polled(self: &Arc<Hub>, name: Name) {
        let at = self.polled.lock().remove(&name);
        drop(Seat { hub: self.clone(), at, until: None });
    }

    /// The notification that there is room for this right: the one that others wait for, if there is one.
    pub(super) fn notice(&self, held: &Arc<Held>) -> Result<Arc<Notice>> {
        let mut notices = self.notices.lock();
        if let Some(notice) = notices.get(&held.name()).and_then(Weak::upgrade) {
            return Ok(notice);
        }
        let notice = Arc::new(Notice::ask(held)?);
        notices.retain(|_, notice| notice.strong_count() > 0);
        notices.insert(held.name(), Arc::downgrade(&notice));
        Ok(notice)
    }

    /// It has come.
    pub(super) fn forget_notice(&self, name: Name) {
        self.notices.lock().remove(&name);
    }

    /// Every runtime hears the bell from now on, by `until` at the latest, and what is there by now has been looked at.
    fn arm(&self, task: &Task, until: Option<Instant>) -> Result<()> {
        let drivers: SmallVec<[Arc<Driver>; 2]> = self.drivers.read().iter().cloned().collect();
        for driver in drivers {
            if let Some(until) = until {
                driver.bell.ring_by(until)?;
            }
            if !driver.bell.core.is_armed() {
                self.turn(task, &driver);
            }
        }
        match (self.drivers.read().is_empty(), self.gone.load(Ordering::Relaxed)) {
            (false, _) => Ok(()),
            (true, true) => Err(Error::KernelGone),
            (true, false) => Err(Error::NotAttached),
        }
    }

    /// Looks after the doorbell: reads it, wakes whom that concerns, arms it again.
    fn turn(&self, task: &Task, driver: &Arc<Driver>) {
        driver.again.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while driver.again.load(Ordering::SeqCst) {
            // Whoever has it goes round once more.
            let Some(turning) = driver.turning.try_lock() else { return };
            let mut wakers = Wakers::new();
            if driver.again.swap(false, Ordering::SeqCst)
                && let Err(error) = self.turn_once(task, driver, &mut wakers)
            {
                self.drivers.write().retain(|other| !Arc::ptr_eq(other, driver));
                self.gone.fetch_or(matches!(error, Some(Error::KernelGone)), Ordering::Relaxed);
                driver.bell.core.disarm(task);
                // Each finds out for itself whether it can go on.
                self.take_wakers(|_| true, None, &mut wakers);
            }
            drop(turning);
            fence(Ordering::SeqCst);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// `Err`: the runtime is over, or the task is.
    fn turn_once(&self, task: &Task, driver: &Arc<Driver>, wakers: &mut Wakers) -> Result<(), Option<Error>> {
        let mut cx = Context::from_waker(&driver.waker);
        while let Poll::Ready(readable) = driver.reactor.poll_readable(&mut cx) {
            if let Err(why) = readable {
                tracing::debug!(task = task.id(), %why, "a runtime that was attached is over");
                return Err(None);
            }
            let mail = driver.bell.core.drain(task)?;
            let now = driver.bell.time_has_come();
            task.0.plane.look(task)?;
            let next = self.take_wakers(|wish| wish.is_due(task, mail), now, wakers);
            if let (Some(_), Some(next)) = (now, next) {
                driver.bell.ring_by(next)?;
            }
        }
        if self.waits() {
            let mail = driver.bell.core.arm(task)?;
            self.take_wakers(|wish| wish.is_due(task, mail), None, wakers);
        }
        Ok(())
    }

    /// Of those whose time has come, by `now` if a time has. Gives the earliest of the others' times.
    fn take_wakers(&self, due: impl Fn(&Wish) -> bool, now: Option<Instant>, wakers: &mut Wakers) -> Option<Instant> {
        let mut list = self.list.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let mut next: Option<Instant> = None;
        for (_, seat) in list.iter_mut().filter(|(_, seat)| seat.waker.is_some()) {
            let late = seat.until.is_some_and(|until| now.is_some_and(|now| until <= now));
            if late || due(&seat.wish) {
                wakers.extend(seat.waker.take());
                self.waiting.fetch_sub(1, Ordering::SeqCst);
            } else if let Some(until) = seat.until {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        next
    }
}

impl Seat {
    pub(crate) fn new(task: &Task) -> Seat {
        Seat::until(task, None)
    }

    /// Whoever sits there is woken by then, if that is given, whether its wish is due or not.
    pub(crate) fn until(task: &Task, until: Option<Instant>) -> Seat {
        Seat { hub: task.0.hub.clone(), at: None, until }
    }

    /// Has the future woken once its wish is due. `false`: something has happened since `epoch`, so it must look again.
    pub(crate) fn wait(&mut self, task: &Task, wish: Wish, cx: &Context<'_>, epoch: u64) -> Result<bool> {
        if !self.wait_unarmed(Some(wish), cx, epoch) {
            return Ok(false);
        }
        self.hub.arm(task, self.until).map(|()| true)
    }

    /// The same for the wish that it has.
    pub(crate) fn wait_on(&mut self, task: &Task, cx: &Context<'_>, epoch: u64) -> Result<bool> {
        if !self.wait_unarmed(None, cx, epoch) {
            return Ok(false);
        }
        self.hub.arm(task, self.until).map(|()| true)
    }

    fn wait_unarmed(&mut self, wish: Option<Wish>, cx: &Context<'_>, epoch: u64) -> bool {
        let mut list = self.hub.list.lock();
        if self.hub.epoch() != epoch {
            return false;
        }
        let Some(seat) = self.at.and_then(|at| list.get_mut(at)) else {
            let wish = wish.expect("what is waited for first");
            self.at = Some(list.insert(Sitting { wish, until: self.until, waker: Some(cx.waker().clone()) }));
            self.hub.waiting.fetch_add(1, Ordering::SeqCst);
            return true;
        };
        match &mut seat.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => {
                *none = Some(cx.waker().clone());
                self.hub.waiting.fetch_add(1, Ordering::SeqCst);
            }
        }
        let before = wish.map(|wish| std::mem::replace(&mut seat.wish, wish));
        // A wish may look at its route when it goes.
        drop(list);
        drop(before);
        true
    }

    /// Whether it has a place in the list, with a wish.
    pub(crate) fn is_taken(&self) -> bool {
        self.at.is_some()
    }

    /// The wish is granted, or given up.
    pub(crate) fn leave(&mut self) {
        if let Some(at) = self.at.take() {
            let mut list = self.hub.list.lock();
            let sitting = list.remove(at);
            if sitting.waker.is_some() {
                self.hub.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            drop(list);
            drop(sitting);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}
