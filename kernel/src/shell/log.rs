//! Logs on standard error that can never stop the kernel process: whoever holds the other end of a pipe may stop reading it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;

/// Sends log lines at or above `filter` (as in `RUST_LOG`; default: the variable `UMACH_LOG`, or `info`) to standard error. For programs
/// that are nothing but a kernel; others install their own subscriber.
pub fn init_log(filter: Option<&str>) -> Result<(), String> {
    let filter = match filter {
        Some(text) => EnvFilter::try_new(text).map_err(|why| format!("log filter {text:?}: {why}"))?,
        None => EnvFilter::try_from_env("UMACH_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .log_internal_errors(false)
        .with_writer(|| Patient)
        .try_init()
        .map_err(|why| why.to_string())
}

/// Standard error, if it takes a line now; otherwise the line is lost. A pipe that polls as writable takes 4096 bytes at once.
struct Patient;

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        const AT_ONCE: usize = 4096;
        let stderr = io::stderr();
        let mut set = [PollFd::new(&stderr, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if matches!(poll(&mut set, Some(&now)), Ok(1)) && set[0].revents().contains(PollFlags::OUT) {
            let _ = rustix::io::write(&stderr, &line[..line.len().min(AT_ONCE)]);
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets a few lines of one kind through in each period, so that a hostile task cannot fill a disk with complaints about itself.
#[derive(Debug)]
pub(super) struct Throttle {
    since: Option<Instant>,
    passed: u32,
    held: u64,
}

impl Throttle {
    const PERIOD: Duration = Duration::from_secs(10);
    const LINES: u32 = 20;

    pub(super) const fn new() -> Throttle {
        Throttle { since: None, passed: 0, held: 0 }
    }

    /// Whether to write a line now, and how many were held back since the last one.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= Self::PERIOD) {
            self.since = Some(now);
            self.passed = 0;
        }
        if self.passed == Self::LINES {
            self.held += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_passes_a_few_lines_a_period_and_counts_the_rest() {
        let mut throttle = Throttle::new();
        let start = Instant::now();
        let passed = (0..100).filter(|_| throttle.pass(start).is_some()).count();
        assert_eq!(passed, Throttle::LINES as usize);
        assert_eq!(throttle.pass(start + Throttle::PERIOD), Some(100 - Throttle::LINES as u64));
        assert_eq!(throttle.pass(start + Throttle::PERIOD), Some(0));
    }
}
