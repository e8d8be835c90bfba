//! What the machine is, what its clocks say, and what a process uses, for those who ask the host, clock and task ports.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use umach_abi::task_info::Usage;

use crate::core::{Clocks, Machine};

/// This machine.
pub(crate) fn here() -> Machine {
    let ask = |what| sysconf(what).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let page_size = ask(SysconfVar::PAGE_SIZE);
    Machine { cpus, memory: page_size * ask(SysconfVar::_PHYS_PAGES), page_size }
}

/// What the clocks say now.
pub(crate) fn clocks() -> Clocks {
    let read = |clock| {
        let now = clock_gettime(clock);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    Clocks { system: read(ClockId::Monotonic), calendar: read(ClockId::Realtime) }
}

/// What Linux says of a process: nothing if it has ended, by its pidfd, for then the number may be another's.
pub(crate) fn usage(pid: u32, pidfd: Option<&impl AsFd>) -> Usage {
    let text = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok()).filter(|&ticks| ticks > 0);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4096);
    let used = Usage::read(&text("stat"), &text("status"), 1_000_000 / tick.unwrap_or(100), page);
    let has_ended = |pidfd| {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    };
    if pidfd.is_some_and(has_ended) { Usage::default() } else { used }
}
