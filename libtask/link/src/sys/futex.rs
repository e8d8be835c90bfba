//! Sleeping on words, and waking who sleeps on them.
//!
//! Linux compares the word with the value that the caller saw and puts it to sleep in one step, so news between the look and the sleep is not
//! lost. A word in memory that two processes map is *shared*; one that only this process can reach may be *private*, which is cheaper. Whoever maps a
//! shared word can move its sleepers elsewhere: with a peer's word, sleep on one that it does not map too.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::futex::{self as linux, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::ClockId;

/// The most words that one thread can sleep on.
pub const WORDS: usize = 128;

/// Who can reach a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Other processes too.
    Shared,
    /// This process only.
    Private,
}

/// Why a sleep ended. Look at what you wait for in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The word with this index was rung.
    Rung(usize),
    /// A word had another value already.
    Changed,
    /// The deadline has passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps until one of the shared words is rung, if each still has its value.
///
/// Panics if there are more than [`WORDS`], or none.
pub fn wait(words: &[(&AtomicU32, u32)], deadline: Option<Instant>) -> Woken {
    match words {
        [(word, value)] => wait_one(word, *value, Scope::Shared, deadline),
        _ => wait_many(words.iter().map(|(word, value)| (*word, *value, Scope::Shared)), deadline),
    }
}

/// [`wait`] on words of either scope.
pub fn wait_on(words: &[(&AtomicU32, u32, Scope)], deadline: Option<Instant>) -> Woken {
    match words {
        [(word, value, scope)] => wait_one(word, *value, *scope, deadline),
        _ => wait_many(words.iter().copied(), deadline),
    }
}

fn wait_one(word: &AtomicU32, value: u32, scope: Scope, deadline: Option<Instant>) -> Woken {
    let until = deadline.map(absolute);
    // Bitset rather than plain wait: its deadline is absolute.
    woken(linux::wait_bitset(word, flags(scope), value, until.as_ref(), NonZeroU32::MAX).map(|()| 0))
}

fn wait_many<'a>(words: impl Iterator<Item = (&'a AtomicU32, u32, Scope)>, deadline: Option<Instant>) -> Woken {
    let until = deadline.map(absolute);
    let mut list = [Wait::new(); WORDS];
    let mut count = 0;
    for (word, value, scope) in words {
        assert!(count < WORDS, "a thread can sleep on {WORDS} words at most");
        let size = WaitFlags::SIZE_U32;
        list[count].flags = if scope == Scope::Private { size | WaitFlags::PRIVATE } else { size };
        list[count].val = value.into();
        list[count].uaddr = WaitPtr::new(word.as_ptr().cast());
        count += 1;
    }
    assert!(count > 0, "a thread that sleeps on no word sleeps for ever");
    woken(linux::waitv(&list[..count], WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic))
}

fn woken(result: rustix::io::Result<usize>) -> Woken {
    match result {
        Ok(index) => Woken::Rung(index),
        Err(Errno::AGAIN) => Woken::Changed,
        Err(Errno::TIMEDOUT) => Woken::TimedOut,
        Err(Errno::INTR) => Woken::Interrupted,
        Err(error) => panic!("sleeping on a word: {error} (Linux 5.16 or later is needed, and a sandbox must allow futex_waitv)"),
    }
}

/// Wakes up to `n` threads that sleep on a shared word.
pub fn wake(word: &AtomicU32, n: u32) {
    wake_in(word, n, Scope::Shared);
}

/// [`wake`] all, where a failure hurts only those who sleep: Linux fails if somebody else takes the word's page away just now.
pub fn try_wake(word: &AtomicU32) {
    let _ = linux::wake(word, flags(Scope::Shared), i32::MAX as u32);
}

/// Wakes up to `n` threads that sleep on a word of this scope; gives how many.
pub fn wake_in(word: &AtomicU32, n: u32, scope: Scope) -> usize {
    // Linux counts in i32.
    linux::wake(word, flags(scope), n.min(i32::MAX as u32)).unwrap_or_else(|error| panic!("waking who sleeps on a word: {error}"))
}

fn flags(scope: Scope) -> Flags {
    if scope == Scope::Private { Flags::PRIVATE } else { Flags::empty() }
}

/// A point in time as Linux wants it: `Instant` is the monotonic clock too, but does not show its number.
fn absolute(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_nsec + i64::from(left.subsec_nanos());
    let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec: now.tv_sec.saturating_add(seconds).saturating_add(nanos / 1_000_000_000), tv_nsec: nanos % 1_000_000_000 }
}
