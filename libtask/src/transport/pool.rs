//! A task's lanes: a thread takes one for a request and gives it back.
//!
//! Invariant: requests that may block never hold all the lanes. So a request that is answered at once (releasing a right, opening a lane)
//! always finds one, whatever the other threads wait for. A thread that is about to block with the last lane opens another first.
//!
//! A right that is dropped while its thread holds a lane (a message that goes with its error, say) is released when the lane is given back.
//!
//! Lock: [`Pool::state`] is held for a push or a pop, never across a request.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use umach_abi::control::{LaneOpen, PortDeallocate, PortDestruct, PortModRefs};
use umach_abi::{Code, Name, RightKind};

use super::{Lane, Link};
use crate::error::{Error, Result};

/// Most lanes of a task, just under the kernel's default limit.
const LANES_MAX: usize = 60;

/// Whether a request may be kept waiting by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Answered at once.
    Prompt,
    /// May block. With a deadline, so may the wait for a lane.
    Blocking(Option<Duration>),
}

pub(crate) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
    /// The task's own control right, which every request about a right names.
    task_self: Name,
    /// Rights to release when the thread that holds a lane gives it back, and whether there are any.
    pending: Mutex<Vec<Release>>,
    has_pending: AtomicBool,
}

/// A right to give back to the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Release {
    pub(crate) kind: RightKind,
    pub(crate) name: Name,
    pub(crate) guard: Option<u64>,
}

thread_local! {
    /// The pool (its address) whose lane this thread holds.
    static HOLDING: Cell<usize> = const { Cell::new(0) };
}

struct State {
    #[allow(clippy::vec_box)] // a lane moves on loan and back with every request: a pointer, not all of it
    free: Vec<Box<Lane>>,
    total: usize,
    max: usize,
    waiting: usize,
    gone: bool,
}

/// A lane on loan.
pub(crate) struct Loan<'p> {
    pool: &'p Pool,
    lane: Option<Box<Lane>>,
    /// What `HOLDING` was before.
    before: usize,
}

impl Pool {
    pub(crate) fn new(first: Lane, task_self: Name) -> Pool {
        let state = State { free: vec![Box::new(first)], total: 1, max: LANES_MAX, waiting: 0, gone: false };
        Pool {
            state: Mutex::new(state),
            returned: Condvar::new(),
            task_self,
            pending: Mutex::new(Vec::new()),
            has_pending: AtomicBool::new(false),
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn loan(&self, lane: Box<Lane>) -> Loan<'_> {
        Loan { pool: self, lane: Some(lane), before: HOLDING.replace(self.address()) }
    }

    /// Whether this thread holds a lane: another request may have to wait for it.
    pub(crate) fn is_held_here(&self) -> bool {
        HOLDING.get() == self.address()
    }

    /// Gives a right back now, or with the lane that this thread holds. Nobody can be told if that fails: the space may be gone, and then
    /// so is the right.
    pub(crate) fn release(&self, release: Release) {
        if self.is_held_here() {
            self.pending.lock().push(release);
            self.has_pending.store(true, Ordering::Release);
            return;
        }
        if let Ok(mut lane) = self.take(Need::Prompt) {
            lane.release(self.task_self, release);
        }
    }

    pub(crate) fn take(&self, need: Need) -> Result<Loan<'_>> {
        let mut deadline = None;
        let mut state = self.state.lock();
        loop {
            if state.gone {
                return Err(Error::KernelGone);
            }
            if let Some(lane) = state.free.pop() {
                if need == Need::Prompt || !state.free.is_empty() {
                    return Ok(self.loan(lane));
                }
                if state.total < state.max {
                    drop(state);
                    let mut loan = self.loan(lane);
                    if self.grow(&mut loan)? {
                        return Ok(loan);
                    }
                    drop(loan);
                    state = self.state.lock();
                    continue;
                }
                // The last one is for those who need it only for a moment.
                state.free.push(lane);
            }
            if let (Need::Blocking(Some(timeout)), None) = (need, deadline) {
                deadline = Some(Instant::now() + timeout);
            }
            state.waiting += 1;
            let late = match deadline {
                None => {
                    self.returned.wait(&mut state);
                    false
                }
                Some(deadline) => self.returned.wait_until(&mut state, deadline).timed_out(),
            };
            state.waiting -= 1;
            if late {
                return Err(Error::mach(Code::MACH_SEND_TIMED_OUT, "waiting for a lane: too many threads of this task are in the kernel"));
            }
        }
    }

    /// Opens one more lane by the one on loan. `false`: the kernel refuses more.
    fn grow(&self, loan: &mut Loan<'_>) -> Result<bool> {
        let opened = loan.request(&LaneOpen {})?.map(drop);
        match (opened, loan.attached.pop()) {
            (Ok(()), Some(attached)) => {
                let lane = Box::new(Lane::new(Link::from_attached(attached), loan.events_wait.clone()));
                let mut state = self.state.lock();
                state.total += 1;
                state.free.push(lane);
                if state.waiting > 0 {
                    self.returned.notify_all();
                }
                Ok(true)
            }
            // Refused by quota, or this process's table of descriptors is full: make do with what there is.
            _ => {
                let mut state = self.state.lock();
                state.max = state.total;
                if state.total == 1 {
                    return Err(Error::mach(Code::KERN_RESOURCE_SHORTAGE, "opening a second lane, which every task that waits needs"));
                }
                Ok(false)
            }
        }
    }
}

impl Deref for Loan<'_> {
    type Target = Lane;
    fn deref(&self) -> &Lane {
        self.lane.as_ref().expect("present until drop")
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        self.lane.as_mut().expect("present until drop")
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let Some(mut lane) = self.lane.take() else { return };
        while lane.is_usable() && self.pool.has_pending.swap(false, Ordering::AcqRel) {
            let pending = std::mem::take(&mut *self.pool.pending.lock());
            for release in pending {
                lane.release(self.pool.task_self, release);
            }
        }
        HOLDING.set(self.before);
        let mut state = self.pool.state.lock();
        let mut broken = None;
        if lane.is_usable() {
            state.free.push(lane);
        } else {
            // The connection is over, or a thread left in the middle of a request. Lanes of one task share their end.
            state.total -= 1;
            state.gone |= state.total == 0 || !std::thread::panicking();
            broken = Some(lane);
        }
        if state.waiting > 0 || state.gone {
            self.pool.returned.notify_all();
        }
        drop(state);
        drop(broken);
    }
}

impl Lane {
    fn release(&mut self, task: Name, release: Release) {
        let Release { kind, name, guard } = release;
        if matches!(kind, RightKind::Send | RightKind::SendOnce | RightKind::DeadName) && self.release_in_memory(name) {
            return;
        }
        let _ = match (kind, guard) {
            (RightKind::Receive, Some(guard)) => self.request(&PortDestruct { task, name, srdelta: 0, guard }).map(drop),
            (RightKind::Receive | RightKind::PortSet, _) => {
                self.request(&PortModRefs { task, name, right: kind as u32, delta: -1 }).map(drop)
            }
            // Also right if the port has died meanwhile and the name is a dead one.
            (RightKind::Send | RightKind::SendOnce | RightKind::DeadName, _) => self.request(&PortDeallocate { task, name }).map(drop),
        };
    }
}
