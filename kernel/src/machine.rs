//! What the machine is and what its clocks say, for those who ask the host and clock ports.

use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use rustix::time::{ClockId, clock_gettime};

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
