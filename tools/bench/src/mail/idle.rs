//! A thousand tasks, each a process of its own that waits for a message: what the kernel process holds for each, and what it does meanwhile.
//!
//! Processor time is read from the scheduler's own account, to the nanosecond; clock ticks of a hundredth of a second would not show much.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::Options;
use crate::process::{Direct, Kernel, progress};
use crate::table::{Goal, Table};

pub(super) fn run(options: &Options, table: &mut Table) -> Result<()> {
    let count = options.scale(1000, 50);
    let quiet = Duration::from_secs(options.scale(5, 1));
    let kernel = Kernel::start(Direct::Off)?;
    let mut tasks = Vec::with_capacity(count);
    tasks.push(kernel.child(&["idle"])?); // the first one also warms the kernel up
    let before = kernel.resident()?;
    while tasks.len() <= count {
        tasks.push(kernel.child(&["idle"])?);
        if tasks.len().is_multiple_of(100) {
            progress(&format!("mail: idle: {} tasks", tasks.len()));
        }
    }
    sleep(Duration::from_millis(500)); // the last one has yet to say that it waits
    table.row("memory-per-task", (kernel.resident()? - before) / count as f64 / 1024.0, "KiB", None, Some(Goal::ValueAtMost(64.0)));
    let [ticks, nanoseconds, sleeps] = kernel.usage()?;
    sleep(quiet);
    let [ticks_after, nanoseconds_after, sleeps_after] = kernel.usage()?;
    table.row("cpu-ticks", (ticks_after - ticks) as f64, "ticks", None, Some(Goal::ValueAtMost(0.0)));
    table.row("cpu-time", (nanoseconds_after - nanoseconds) as f64, "ns", None, Some(Goal::ValueAtMost(0.0)));
    table.note(format!(
        "{count} processes, each waiting for a message; watched for {} s, in which the kernel process woke {} times",
        quiet.as_secs(),
        sleeps_after - sleeps
    ));
    Ok(())
}
