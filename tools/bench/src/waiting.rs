//! How a process waits for a word in shared memory to change, and how the other wakes it.
//!
//! The one that waits last of all sleeps on the very word that says there is something, having said so in a second word (`armed`); the other changes
//! the word, and only then looks whether it has to wake anybody. A fence on both sides forbids that each misses what the other wrote.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::thread::{futex, sched_yield};
use rustix::time::Timespec;

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Looks until it is there.
    Spin,
    /// Sleeps if it is not there.
    Futex,
    /// Looks for a microsecond, then lets others run until it would have been cheaper to sleep, then sleeps.
    SpinYieldFutex,
}

/// How long the third kind looks, and how long it lets others run, from the start.
const SPIN: Duration = Duration::from_micros(1);
const YIELD: Duration = Duration::from_micros(50);

impl Waiting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Waiting::Spin => "spin",
            Waiting::Futex => "futex",
            Waiting::SpinYieldFutex => "spin-yield-futex",
        }
    }
    pub(crate) fn from_name(name: &str) -> Result<Waiting> {
        let all = [Waiting::Spin, Waiting::Futex, Waiting::SpinYieldFutex];
        all.into_iter().find(|waiting| waiting.name() == name).with_context(|| format!("no way to wait is called {name}"))
    }

    /// Waits until the word is no longer `seen`, as long as `patience` lasts; gives what it is then.
    pub(crate) fn wait(self, word: &AtomicU32, armed: &AtomicU32, seen: u32, patience: Duration) -> Result<u32> {
        // Before the clock is asked, which takes as long as a message.
        if let Some(now) = look(word, seen, if self == Waiting::Futex { 1 } else { 8 }) {
            return Ok(now);
        }
        let start = Instant::now();
        match self {
            Waiting::Spin => {
                while start.elapsed() < patience {
                    if let Some(now) = look(word, seen, 1000) {
                        return Ok(now);
                    }
                }
                bail!("nothing came within {} s", patience.as_secs())
            }
            Waiting::Futex => sleep(word, armed, seen, patience),
            Waiting::SpinYieldFutex => {
                while start.elapsed() < SPIN {
                    if let Some(now) = look(word, seen, 4) {
                        return Ok(now);
                    }
                }
                while start.elapsed() < YIELD {
                    sched_yield();
                    if let Some(now) = look(word, seen, 1) {
                        return Ok(now);
                    }
                }
                sleep(word, armed, seen, patience)
            }
        }
    }
}

/// Looks so many times.
fn look(word: &AtomicU32, seen: u32, times: u32) -> Option<u32> {
    for _ in 0..times {
        let now = word.load(Ordering::Acquire);
        if now != seen {
            return Some(now);
        }
        std::hint::spin_loop();
    }
    None
}

fn sleep(word: &AtomicU32, armed: &AtomicU32, seen: u32, patience: Duration) -> Result<u32> {
    let start = Instant::now();
    loop {
        armed.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let now = word.load(Ordering::Acquire);
        if now != seen {
            armed.store(0, Ordering::Relaxed);
            return Ok(now);
        }
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match futex::wait(word, futex::Flags::empty(), seen, Some(&second)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::TIMEDOUT) if start.elapsed() < patience => {}
            Err(why) => return Err(why).context("waiting for the other process"),
        }
    }
}

/// Sets the word, and wakes whoever sleeps on it.
pub(crate) fn publish(word: &AtomicU32, value: u32, armed: &AtomicU32) -> Result<()> {
    word.store(value, Ordering::Release);
    wake(word, armed)
}

/// Wakes whoever sleeps on a word that was set.
pub(crate) fn wake(word: &AtomicU32, armed: &AtomicU32) -> Result<()> {
    fence(Ordering::SeqCst);
    if armed.load(Ordering::Relaxed) != 0 {
        // Once is enough: the one that sleeps says so again before it sleeps again.
        armed.store(0, Ordering::Relaxed);
        futex::wake(word, futex::Flags::empty(), 1).context("waking the other process")?;
    }
    Ok(())
}
