//! `umach-file-server`: a file server and nothing else. `umach serve file` is the same.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use umach_file_server::{Config, Server, raise_descriptor_limit};

/// Exports a directory tree to the tasks of a kernel process, as a service of its name server.
///
/// Whoever looks the name up gets a right to the tree's root; everything is done with this server's user's permissions. SIGTERM and SIGINT end it
/// after the requests under work.
#[derive(Debug, Parser)]
#[command(name = "umach-file-server", version)]
struct Cli {
    /// Directory to export
    directory: PathBuf,

    /// Name to serve under; a service that is started on demand has it in its environment
    #[arg(long, env = umach_name_api::SERVICE_VARIABLE, default_value = "files")]
    name: String,

    /// Give out the tree for reading only
    #[arg(long)]
    read_only: bool,

    /// Do not enter mount points beneath the directory
    #[arg(long)]
    one_file_system: bool,

    /// Threads that serve: more for slow disks
    #[arg(long, default_value_t = umach_file_server::server::THREADS, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    threads: usize,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("umach-file-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UMACH_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(colours).with_writer(std::io::stderr).init();
    raise_descriptor_limit();
    let Cli { directory, name, read_only, one_file_system, threads } = cli;
    let config = Config { read_only, one_file_system, threads, ..Config::new(directory) };
    // Before there is any thread, so that the one that waits for them is the only one that gets them.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    signals.thread_block()?;
    let task = libtask::Task::current()?;
    task.set_label("file-server")?;
    let server = Server::named(&task, &config, &name)?;
    let stopper = server.stopper()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.wait().is_ok() {
            stopper.stop();
        }
    })?;
    tracing::info!(directory = %config.path.display(), name, "serving");
    Ok(server.run()?)
}
