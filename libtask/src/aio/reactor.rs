//! What a runtime does for a task: it watches one descriptor.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::epoll;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

use crate::error::{Error, Result};
use crate::poller::PollCore;
use crate::task::Task;

/// Tells when a task's [`Doorbell`] is readable. The features `tokio` and `smol` have one each; a program with an event loop of its own writes one, and gives it to
/// [`Task::attach`].
///
/// ```
/// use std::io;
/// use std::sync::{Arc, Mutex};
/// use std::task::{Context, Poll, Waker};
///
/// use libtask::aio::{Doorbell, Reactor};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// /// A loop that watches one descriptor: `wait` is called when no future can go on.
/// struct Watch { bell: Doorbell, waker: Mutex<Option<Waker>> }
///
/// impl Watch {
///     fn wait(&self) {
///         poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], None).expect("wait");
///         if let Some(waker) = self.waker.lock().unwrap().take() {
///             waker.wake();
///         }
///     }
/// }
///
/// struct Shared(Arc<Watch>);
///
/// impl Reactor for Shared {
///     fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
///         let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
///         match poll(&mut [PollFd::new(&self.0.bell, PollFlags::IN)], Some(&now))? {
///             0 => Poll::Pending,
///             _ => Poll::Ready(Ok(())),
///         }
///     }
/// }
/// ```
pub trait Reactor: Send + Sync + 'static {
    /// Ready if the doorbell is, or may be, readable: it is read then, and this is asked again. Pending: the waker is woken, once, when that changes.
    ///
    /// Only one thread asks at a time. With level-triggered readiness say what is; with edge-triggered readiness say each edge once. An error means that the runtime
    /// is over: the reactor is dropped, and futures that wait are woken.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Which runtime it is, to attach each only once. Reactors of programs' own need not say.
    fn runtime(&self) -> Option<u64> {
        None
    }
}

/// The descriptor that a runtime watches for a task, for reading. It is read by the library alone.
#[derive(Clone)]
pub struct Doorbell(pub(super) Arc<Bell>);

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.both.as_fd()
    }
}

/// A poller and a clock, watched as one: so deadlines need nothing of the runtime.
pub(super) struct Bell {
    pub(super) core: PollCore,
    clock: OwnedFd,
    /// When the clock is to ring. It is set again only for what comes earlier, and when that has passed: calls that have time hardly ever set it.
    next: Mutex<Option<Instant>>,
    both: OwnedFd,
}

impl Bell {
    fn open(task: &Task) -> Result<Bell> {
        let core = PollCore::open(task)?;
        let made = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
            let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&both, &core, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            epoll::add(&both, &clock, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
            Ok((clock, both))
        };
        let (clock, both) = made().map_err(|why| Error::io("making a task's doorbell", why))?;
        Ok(Bell { core, clock, next: Mutex::new(None), both })
    }

    /// Has it ring by then.
    pub(super) fn ring_by(&self, until: Instant) -> Result<()> {
        let mut next = self.next.lock();
        if next.is_none_or(|next| until < next) {
            let left = until.saturating_duration_since(Instant::now());
            self.set(left.max(Duration::from_nanos(1))).map_err(|why| Error::io("setting a task's clock", why))?;
            *next = Some(until);
        }
        Ok(())
    }

    /// Now, if the time that it was to ring by has come; then it is to ring no more.
    pub(super) fn time_has_come(&self) -> Option<Instant> {
        let mut next = self.next.lock();
        let now = Instant::now();
        next.take_if(|next| *next <= now)?;
        // Also what it has rung already.
        if let Err(why) = self.set(Duration::ZERO) {
            tracing::warn!(%why, "a task's clock cannot be stopped");
        }
        Some(now)
    }

    fn set(&self, left: Duration) -> rustix::io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value: once }).map(drop)
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "doorbell {}", self.as_raw_fd())
    }
}

impl Task {
    /// Has futures of this task's rights woken by a runtime, which `watch` makes watch the doorbell. For tokio, smol and async-io there are `libtask::tokio::attach` and
    /// `libtask::smol::attach`. Each takes one of the task's lanes, and a task has room for four or so.
    ///
    /// The reactor is kept until its runtime is over ([`Reactor::poll_readable`] fails) or the task ends.
    pub fn attach<R: Reactor>(&self, watch: impl FnOnce(Doorbell) -> io::Result<R>) -> Result<()> {
        self.check_fork()?;
        let bell = Arc::new(Bell::open(self)?);
        let reactor = watch(Doorbell(bell.clone())).map_err(|why| Error::io("watching a task's doorbell", why))?;
        self.0.hub.add(self, bell, Box::new(reactor));
        Ok(())
    }

    /// Whether this runtime was attached already.
    #[cfg_attr(not(any(feature = "tokio", feature = "smol")), expect(dead_code))]
    pub(crate) fn is_attached(&self, runtime: u64) -> bool {
        self.0.hub.has(runtime)
    }
}
