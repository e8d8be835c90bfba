//! `umach kernel`: a kernel process, the same as `umachd`.

use anyhow::{Result, anyhow};
use clap::Args;
use umach_kernel::config::KernelArgs;
use umach_kernel::shell;

use crate::exit::Exit;
use crate::system::Guardian;

/// Runs a kernel: the process that holds every right, queue and notification of its tasks.
#[derive(Args)]
#[command(after_help = "\
Examples:
  umach kernel &
  umach kernel --socket /tmp/mine/socket --exit-when-idle
  umach kernel --limits task-ports=1K,task-queued-bytes=1M --log debug")]
pub(crate) struct Kernel {
    #[command(flatten)]
    kernel: KernelArgs,
    #[command(flatten)]
    guardian: Guardian,
}

impl Kernel {
    pub(crate) fn run(self) -> Result<Exit> {
        self.guardian.watch()?;
        shell::init_log(self.kernel.log.as_deref()).map_err(|why| anyhow!(why))?;
        shell::run(self.kernel.into_config()?)?;
        Ok(Exit::DONE)
    }
}
