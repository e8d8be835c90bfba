//! Where futures run.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use libtask::Task;
use libtask::aio::{Doorbell, Reactor};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tokio,
    TokioThreads,
    Smol,
    Hand,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Tokio, Kind::TokioThreads, Kind::Smol, Kind::Hand];

    /// Runs a future to its end in a runtime that is attached to these tasks.
    pub(crate) fn run<F: Future>(self, tasks: &[&Task], future: F) -> F::Output {
        match self {
            Kind::Tokio | Kind::TokioThreads => {
                let mut builder = match self {
                    Kind::Tokio => tokio::runtime::Builder::new_current_thread(),
                    _ => tokio::runtime::Builder::new_multi_thread(),
                };
                let runtime = builder.worker_threads(3).enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    tasks.iter().for_each(|task| libtask::tokio::attach(task).expect("attach"));
                    future.await
                })
            }
            Kind::Smol => {
                tasks.iter().for_each(|task| libtask::smol::attach(task).expect("attach"));
                smol::block_on(future)
            }
            Kind::Hand => {
                let executor = Arc::new(Executor::new());
                tasks.iter().for_each(|task| executor.attach(task));
                executor.block_on(future)
            }
        }
    }

    /// The loop made by hand has no clock of its own: it borrows smol's.
    pub(crate) async fn sleep(self, time: Duration) {
        match self {
            Kind::Tokio | Kind::TokioThreads => tokio::time::sleep(time).await,
            Kind::Smol | Kind::Hand => drop(smol::Timer::after(time).await),
        }
    }
}

/// An executor of one future, which sleeps in `poll(2)`.
pub(crate) struct Executor {
    bells: Mutex<Vec<Arc<Watched>>>,
    /// Another thread has woken the future.
    rung: OwnedFd,
    woken: AtomicBool,
    /// Times that it slept.
    pub(crate) sleeps: AtomicU32,
}

struct Watched {
    bell: Doorbell,
    waker: Mutex<Option<Waker>>,
}

struct Watch(Arc<Watched>);

impl Reactor for Watch {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.0.waker.lock().expect("nobody panics here") = Some(cx.waker().clone());
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&self.0.bell, PollFlags::IN)], Some(&now))? {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Executor {
    pub(crate) fn new() -> Executor {
        let rung = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        Executor { bells: Mutex::default(), rung, woken: AtomicBool::new(true), sleeps: AtomicU32::new(0) }
    }

    pub(crate) fn attach(&self, task: &Task) {
        let watch = |bell| {
            let watched = Arc::new(Watched { bell, waker: Mutex::default() });
            self.bells.lock().expect("nobody panics here").push(watched.clone());
            Ok(Watch(watched))
        };
        task.attach(watch).expect("attach");
    }

    pub(crate) fn block_on<F: Future>(self: &Arc<Executor>, future: F) -> F::Output {
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if self.woken.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
            {
                return output;
            }
            if !self.woken.load(Ordering::SeqCst) {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        let bells = self.bells.lock().expect("nobody panics here").clone();
        let mut all: Vec<PollFd<'_>> = bells.iter().map(|watched| PollFd::new(&watched.bell, PollFlags::IN)).collect();
        all.push(PollFd::new(&self.rung, PollFlags::IN));
        poll(&mut all, None).expect("wait");
        let rung: Vec<bool> = all.iter().map(|fd| !fd.revents().is_empty()).collect();
        let _ = rustix::io::read(&self.rung, &mut [0u8; 8]);
        for (watched, _) in bells.iter().zip(rung).filter(|(_, rung)| *rung) {
            let waker = watched.waker.lock().expect("nobody panics here").take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Wake for Executor {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.rung, &1u64.to_ne_bytes());
    }
}
