//! Where the system is that we look into.
//!
//! The kernel's socket is the one given with `--socket`, else `UMACH_SOCKET`, else the user's default. The lane that a task inherits is *not*
//! used: it belongs to the program that `umach run` started, and a shell in there must be able to call `umach ps` as often as it likes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use libtask::{SendRight, Task};
use rustix::process::Signal;
use umach_abi::Code;
use umach_name_api::Names;

/// Label of a name server's task.
pub(crate) const NAME_SERVER: &str = "name-server";

/// Which kernel to talk to.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct At {
    /// The kernel's socket [default: $UMACH_SOCKET, else $XDG_RUNTIME_DIR/umach/socket, else /tmp/umach-<uid>/socket].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl At {
    /// The kernel that listens there.
    pub(crate) fn of(socket: &Path) -> At {
        At { socket: Some(socket.to_owned()) }
    }
    /// The socket's path.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(umach_kernel::config::socket_path)
    }
    /// A new task at that kernel.
    pub(crate) fn connect(&self) -> Result<Task> {
        let task = Task::connect(&self.socket())?;
        // What we look like in somebody else's listing.
        let words: Vec<String> = std::env::args().take(3).filter(|word| !word.starts_with('-')).skip(1).collect();
        task.set_label(&format!("umach {}", words.join(" ")).chars().take(32).collect::<String>())?;
        Ok(task)
    }
    /// The name server of that kernel.
    pub(crate) fn names(&self) -> Result<Names> {
        name_server(&self.connect()?).map(Names::at)
    }
}

/// The right to the name server: our bootstrap port, inherited, or given by the kernel to tasks that come in through its socket.
pub(crate) fn name_server(task: &Task) -> Result<SendRight> {
    match task.bootstrap() {
        Err(error) if error.code() == Code::KERN_NOT_FOUND => {
            bail!("no name server runs here; start one with `umach serve name &`, or work inside `umach run -- bash`")
        }
        other => Ok(other?),
    }
}

/// Makes `right` the bootstrap port of every task that comes in through the kernel's socket from now on.
pub(crate) fn publish_name_server(task: &Task, right: &SendRight) -> Result<()> {
    let host = task.host_control().context("only the kernel's own user or root can start the system's name server")?;
    Ok(host.set_bootstrap(Some(right))?)
}

/// For processes that are part of somebody else's session: they end when it does, however that ended.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Guardian {
    /// Ends when this process, which must be the parent, does.
    #[arg(long, value_name = "PID", hide = true, global = true)]
    end_with: Option<i32>,
}

impl Guardian {
    /// The arguments for a child of this process.
    pub(crate) fn arguments() -> [String; 2] {
        ["--end-with".to_owned(), std::process::id().to_string()]
    }
    /// Arranges it.
    pub(crate) fn watch(&self) -> Result<()> {
        let Some(parent) = self.end_with else { return Ok(()) };
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have died before we said so.
        let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        anyhow::ensure!(now == Some(parent), "process {parent}, which started this one, has ended");
        Ok(())
    }
}
