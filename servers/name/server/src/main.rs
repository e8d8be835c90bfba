//! `umach-name-server`: a name server and nothing else. `umach serve name` is the same.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use umach_name_server::{Config, Server};

/// A name server for the tasks of a kernel process.
///
/// It tells its spawner, on the bootstrap port that it was started with, when it serves. SIGTERM and SIGINT end it and the services that it
/// started.
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
    // Before there is any thread, so that the one that waits for them is the only one that gets them.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    signals.thread_block()?;
    let task = libtask::Task::current()?;
    let server = Server::new(&task, config)?;
    let stop = server.stopper()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.wait().is_ok() {
            stop.stop();
        }
    })?;
    server.announce();
    Ok(server.run()?)
}
