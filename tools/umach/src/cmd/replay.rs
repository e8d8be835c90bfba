//! `umach replay`: a recorded trace, shown again.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::exit::Exit;
use crate::trace::file::Recording;
use crate::trace::filter::{Sieve, What};
use crate::trace::sink::{Shown, Sink, Stream};

/// Shows a recording of `umach trace --record` again.
#[derive(Args)]
#[command(after_help = "\
WHAT, --interface, --follow, --diagram, --json and --all are as for umach trace: what was recorded without a filter can be looked at with one. A file that is cut off is shown \
as far as it goes; the exit code is 1 then. The file is lines of JSON; the first one has the version of the format.

Examples:
  umach replay trace.jsonl
  umach replay trace.jsonl files --diagram files.svg
  umach replay trace.jsonl T3 --json | jq .method")]
pub(crate) struct Replay {
    /// The recording; - is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only what these tasks, ports or services have to do with.
    #[arg(value_name = "WHAT")]
    what: Vec<What>,
    /// Only messages of this interface, and their answers.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Also shows what rights in these messages lead to.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    shown: Shown,
}

impl Replay {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut recording = Recording::open(&self.file)?;
        let mut sink = Sink::new(&self.shown, Stream::Out, None)?;
        let mut sieve = Sieve::new(&self.what, self.interface.as_deref(), self.follow);
        sink.heading()?;
        let read = loop {
            match recording.next() {
                Ok(Some(entry)) => {
                    if sieve.lets_through(&entry) {
                        sink.take(entry)?;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        sink.finish(false)?;
        read?;
        let unknown: Vec<String> = sieve.unknown().map(ToString::to_string).collect();
        ensure!(unknown.is_empty(), "{} does not speak of {}", self.file.display(), unknown.join(", "));
        Ok(Exit::DONE)
    }
}
