//! `umach monitor`: what one service is asked, and what it answers.

use anyhow::Result;
use clap::Args;

use super::trace::{Options, Trace};
use crate::exit::Exit;

/// Shows what a service is asked and what it answers, as it happens.
#[derive(Args)]
#[command(after_help = "\
The same as `umach trace` of the port behind NAME; `umach trace --help` says how to read it, and what the JSON is.

The items of its streams, and what its files or sessions are asked, go to other ports: --follow shows them too.

Examples:
  umach monitor org.example.counters
  umach monitor files --follow
  umach monitor files --for 10s --diagram files.svg
  umach monitor files --json | jq -r .method")]
pub(crate) struct Monitor {
    /// The service.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    options: Options,
}

impl Monitor {
    pub(crate) fn run(self) -> Result<Exit> {
        Trace::of(self.name, self.options).run()
    }
}
