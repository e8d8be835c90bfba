//! `umach bench`: see the crate `umach-bench`.

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;

/// Measures what things cost, each beside the least that it could cost.
#[derive(Args)]
#[command(after_help = "\
JSON: mail, c and interface give an array of {work, value, unit, floor, ratio, goal, met}, one for each line of the table; ipc one of
{work, placement, contestant, kind, value, p99, unit, floor, ratio, goals}, one for each figure.

Examples:
  umach bench ipc
  umach bench ipc latency bulk --placement unpinned --svg bench.svg
  umach bench mail --json")]
pub(crate) struct BenchCommand {
    #[command(flatten)]
    bench: umach_bench::Bench,
}

impl BenchCommand {
    pub(crate) fn run(self) -> Result<Exit> {
        // It starts this program again for the ends of a measurement, and must know by which words.
        Ok(self.bench.run(&["bench"]).into())
    }
}
