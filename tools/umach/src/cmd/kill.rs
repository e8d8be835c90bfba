//! `umach kill`: ends tasks.

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::foreign::line;
use crate::ids::{TaskNumber, Who};
use crate::system::At;
use crate::text;
use crate::view::View;

/// Ends a task: its rights are gone at once, its process is killed.
#[derive(Args)]
#[command(after_help = "\
Whoever holds a right to one of its ports is told, just as if it had died by itself.

Examples:
  umach kill T3
  umach kill 1234")]
pub(crate) struct Kill {
    /// The task (see umach ps), or a process id: then each task of that process.
    #[arg(value_name = "TASK|PID", required = true)]
    who: Vec<Who>,
    #[command(flatten)]
    at: At,
}

impl Kill {
    pub(crate) fn run(self) -> Result<Exit> {
        let view = View::open(&self.at)?;
        for who in self.who {
            for task in view.find(who)? {
                view.control(task)?.terminate()?;
                text::print(&format!("ended {} (process {}) {}\n", TaskNumber(task.row.task), task.row.pid, line(&task.label)))?;
            }
        }
        Ok(Exit::DONE)
    }
}
