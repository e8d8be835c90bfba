//! `umach serve`: the servers that come with umach, each a task of its own.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use libtask::Task;
use libtask::spawn::LANE_VARIABLE;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;
use umach_file_server as file;
use umach_name_api::{Names, SERVICE_VARIABLE};
use umach_name_server as name;

use crate::exit::Exit;
use crate::system::{self, At, Guardian};

/// Runs a server as this process: the name server or a file server.
#[derive(Args)]
#[command(after_help = "\
A server is a task of the kernel that it was started in (by umach run, or by a name server on demand), else of the kernel \
at the socket.

Examples:
  umach kernel & umach serve name & umach serve file ~/public &
  umach serve file --read-only --name photos ~/pictures")]
pub(crate) struct Serve {
    #[command(subcommand)]
    server: Server,
}

#[derive(Subcommand)]
enum Server {
    Name(NameArgs),
    File(FileArgs),
}

/// The name server: register, look up, list, watch, start on demand.
#[derive(Args)]
struct NameArgs {
    /// Policy and services to start on demand.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// A file server: exports one directory tree.
#[derive(Args)]
struct FileArgs {
    /// The tree.
    directory: PathBuf,
    /// Its service name [default: the one that a name server starts it for, else `files`].
    #[arg(long)]
    name: Option<String>,
    /// Clients cannot change anything.
    #[arg(long)]
    read_only: bool,
    /// Stays out of other file systems that are mounted in the tree.
    #[arg(long)]
    one_file_system: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    guardian: Guardian,
    /// Which log lines go to standard error, as in RUST_LOG.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

impl Common {
    /// This process's task. A server never starts a kernel of its own: nobody could reach it there.
    fn start(&self, label: &str) -> Result<Task> {
        self.guardian.watch()?;
        let filter = EnvFilter::try_new(&self.log).with_context(|| format!("--log {}", self.log))?;
        // Fails only if a subscriber is there already, and then that one is as good.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).try_init();
        let task = if is_spawned() { Task::current()? } else { self.at.connect()? };
        task.set_label(label)?;
        Ok(task)
    }
}

/// Ends a server in order on SIGTERM and SIGINT: a name server ends the services that it started, a file server what it is working on.
fn on_signal(stop: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("watch signals")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            stop();
        }
    })?;
    Ok(())
}

/// Whether another task started this one, and so decides what it gets and who hears of it.
fn is_spawned() -> bool {
    std::env::var_os(LANE_VARIABLE).is_some()
}

impl Serve {
    pub(crate) fn run(self) -> Result<Exit> {
        match self.server {
            Server::Name(args) => args.run(),
            Server::File(args) => args.run(),
        }
    }
}

impl NameArgs {
    fn run(self) -> Result<Exit> {
        let task = self.common.start(system::NAME_SERVER)?;
        let config = match &self.config {
            Some(path) => name::config::Config::load(path)?,
            None => name::config::Config::default(),
        };
        let server = name::Server::new(&task, config)?;
        if is_spawned() {
            server.announce();
        } else {
            // The port of a name server that has died is a dead name, and there is none to list.
            let running = task.bootstrap().map(Names::at).is_ok_and(|names| names.list().is_ok());
            ensure!(!running, "a name server runs here already (umach names lists what it knows)");
            server.publish()?;
        }
        let stop = server.stopper()?;
        on_signal(move || stop.stop())?;
        server.run()?;
        Ok(Exit::DONE)
    }
}

impl FileArgs {
    fn run(self) -> Result<Exit> {
        let name = self.name.or_else(|| std::env::var(SERVICE_VARIABLE).ok()).unwrap_or_else(|| "files".to_owned());
        let task = self.common.start(&format!("file-server {name}"))?;
        file::raise_descriptor_limit();
        let config =
            file::Config { read_only: self.read_only, one_file_system: self.one_file_system, ..file::Config::new(&self.directory) };
        let server = file::Server::named(&task, &config, &name)?;
        let stopper = server.stopper()?;
        on_signal(move || stopper.stop())?;
        server.run()?;
        Ok(Exit::DONE)
    }
}
