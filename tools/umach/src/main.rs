//! `umach`: the one command. It runs the kernel process and the servers, runs programs as tasks, and looks into a live system.
//!
//! Each subcommand is a file under `cmd/`: its arguments, and a function from them to an [`Exit`]. What several of them need is beside them:
//! [`system`] (find the kernel, or start a private one), [`view`] and [`plane`] (what it holds, and its links), [`text`] (tables, colours, JSON),
//! [`ids`] (how tasks and ports are written), [`foreign`] (text that others chose), [`programs`] (what a process
//! runs).
//!
//! Every listing has `--json`; the fields are documented in the command's help and only ever added to.
#![forbid(unsafe_code)]

mod cmd;
mod diagram;
mod exit;
mod foreign;
mod ids;
mod plane;
mod private;
mod programs;
mod system;
mod text;
mod trace;
mod view;

use std::process::ExitCode;

use clap::Parser;

use exit::Exit;

#[derive(Parser)]
#[command(
    name = "umach",
    version,
    about = "Mach's message passing for Linux processes",
    after_help = "Start here: umach demo\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 no kernel is running (umach run: those of the command)",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match command.run() {
        Ok(exit) => exit.into(),
        Err(error) => Exit::report(&error).into(),
    }
}
