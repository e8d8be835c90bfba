//! `umach-name-server`: a name server and nothing else. `umach serve name` is the same.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use libtask::Task;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use umach_kernel::config::socket_path;
use umach_name_server::{Config, Server};

/// A name server for the tasks of a kernel process.
///
/// Started by a task, it tells that one on the bootstrap port that it was given when it serves. Started otherwise, it becomes the name
/// server of every task that connects to the kernel from then on. SIGTERM and SIGINT end it and the services that it started.
#[derive(Debug, Parser)]
#[command(name = "umach-name-server", version)]
struct Cli {
    /// Services, policy and limits (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Only check the configuration
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("umach-name-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UMACH_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    let config = cli.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    if cli.check {
        return Ok(());
    }
    let spawned = std::env::var_os(libtask::spawn::LANE_VARIABLE).is_some();
    // Never in a private kernel of its own, as `Task::current` might: nobody could reach it there.
    let task = if spawned { Task::current()? } else { Task::connect(&socket_path())? };
    let server = Server::new(&task, config)?;
    let stop = server.stopper()?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(|_| stop.stop()))?;
    if spawned {
        server.announce();
    } else {
        server.publish()?;
    }
    Ok(server.run()?)
}
