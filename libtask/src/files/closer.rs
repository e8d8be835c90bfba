//! Closes descriptors that came from others and that nobody wants.
//!
//! Linux lets whoever closes a descriptor last wait: for a connection with unsent data and a linger time, for a file on a server that does not answer. A
//! task that ignores a file that somebody sent must not be stopped by that. So a thread closes; it is started when there is something, and ends
//! when there is nothing.

use std::os::fd::OwnedFd;

use parking_lot::Mutex;

use crate::sys::fork;

/// So many that do not close, and no more are taken in.
const STUCK: usize = 64;

struct State {
    queue: Vec<OwnedFd>,
    /// The process whose thread is at work; it does not survive a fork.
    thread: Option<u64>,
}

static STATE: Mutex<State> = Mutex::new(State { queue: Vec::new(), thread: None });

/// Closes it some time soon.
pub(super) fn close(fd: OwnedFd) {
    let mut state = STATE.lock();
    state.queue.push(fd);
    if state.thread == Some(fork::token()) {
        return;
    }
    state.thread = Some(fork::token());
    let started = std::thread::Builder::new().name("umach-close".into()).stack_size(64 << 10).spawn(work);
    if started.is_err() {
        state.thread = None;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        drop(queue);
    }
}

fn work() {
    loop {
        let next = {
            let mut state = STATE.lock();
            let next = state.queue.pop();
            if next.is_none() {
                state.thread = None;
            }
            next
        };
        match next {
            Some(fd) => drop(fd),
            None => return,
        }
    }
}

/// Whether many wait to be closed: then this process should take no more in.
pub(super) fn is_stuck() -> bool {
    STATE.lock().queue.len() >= STUCK
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
    use std::time::Duration;

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
}
