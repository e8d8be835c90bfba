//! Closes descriptors that came from others and that nobody wants.
//!
//! Linux lets whoever closes a descriptor last wait: for a connection with unsent data and a linger time, for a file on a server that does not answer. A
//! task that ignores a file that somebody sent must not be stopped by that. So a thread closes; it is started when there is something, and ends
//! when there is nothing.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::sys::fork;

/// While so many wait, no more are taken in.
const MANY: usize = 64;
/// An ordinary descriptor closes much faster.
const PATIENCE: Duration = Duration::from_millis(100);

struct State {
    queue: Vec<OwnedFd>,
    /// When the thread began with the one that it closes.
    since: Instant,
    /// The process whose thread is at work; it does not survive a fork.
    thread: Option<u64>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static CLOSED: Condvar = Condvar::new();

/// Closes it some time soon.
pub(super) fn close(fd: OwnedFd) {
    let mut guard = STATE.lock();
    let state = guard.get_or_insert_with(|| State { queue: Vec::new(), since: Instant::now(), thread: None });
    state.queue.push(fd);
    if state.thread == Some(fork::token()) {
        return;
    }
    state.thread = Some(fork::token());
    state.since = Instant::now();
    let started = std::thread::Builder::new().name("umach-close".into()).stack_size(64 << 10).spawn(work);
    if started.is_err() {
        state.thread = None;
        let queue = std::mem::take(&mut state.queue);
        drop(guard);
        drop(queue);
    }
}

fn work() {
    loop {
        let next = STATE.lock().as_mut().and_then(|state| {
            let next = state.queue.pop();
            state.since = Instant::now();
            if next.is_none() {
                state.thread = None;
            }
            next
        });
        CLOSED.notify_all();
        match next {
            Some(fd) => drop(fd),
            None => return,
        }
    }
}

/// Whether many wait for one that does not close: then this process should take no more in. Waits a moment if they are only many.
pub(super) fn is_stuck() -> bool {
    let mut guard = STATE.lock();
    loop {
        let Some(state) = guard.as_ref().filter(|state| state.queue.len() >= MANY) else { return false };
        let until = state.since + PATIENCE;
        if Instant::now() >= until {
            return true;
        }
        CLOSED.wait_until(&mut guard, until);
    }
}

/// A stranger's descriptor: unless it is taken out, the thread closes it.
pub(crate) struct Unclaimed(Option<OwnedFd>);

impl Unclaimed {
    pub(crate) fn new(fd: OwnedFd) -> Unclaimed {
        Unclaimed(Some(fd))
    }
    pub(crate) fn take(mut self) -> OwnedFd {
        self.0.take().expect("taken once, by value")
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            close(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_given_up_is_closed_and_what_is_taken_is_not() {
        let (one, mut other) = UnixStream::pair().unwrap();
        other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let kept = Unclaimed::new(one.try_clone().unwrap().into()).take();
        drop(Unclaimed::new(one.into()));
        let mut kept = UnixStream::from(kept);
        kept.write_all(b"x").unwrap();
        let mut byte = [0];
        other.read_exact(&mut byte).unwrap();
        drop(Unclaimed::new(kept.into()));
        assert_eq!(other.read(&mut byte).unwrap(), 0, "not closed");
    }

    #[test]
    fn many_that_close_are_no_hindrance() {
        let (one, mut other) = UnixStream::pair().unwrap();
        other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for _ in 0..500 {
            close(one.try_clone().unwrap().into());
        }
        drop(one);
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "not closed");
        assert!(!is_stuck());
    }
}
