//! What a runtime does for a task: it watches one descriptor.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

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
pub struct Doorbell(pub(super) Arc<PollCore>);

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
        let core = Arc::new(PollCore::open(self)?);
        let reactor = watch(Doorbell(core.clone())).map_err(|why| Error::io("watching a task's doorbell", why))?;
        self.0.hub.add(self, core, Box::new(reactor));
        Ok(())
    }

    /// Whether this runtime was attached already.
    #[cfg_attr(not(any(feature = "tokio", feature = "smol")), expect(dead_code))]
    pub(crate) fn is_attached(&self, runtime: u64) -> bool {
        self.0.hub.has(runtime)
    }
}
