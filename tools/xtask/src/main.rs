//! `cargo xtask`: everything that checks or regenerates something in this workspace.
//!
//! A verb is a list of [`steps::Step`]s; CI calls the same verb as a developer does (`.ci/run` is `cargo xtask test`). Nothing here is
//! needed to build or use umach.
#![forbid(unsafe_code)]

mod checkers;
mod install;
mod steps;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and regenerates things in this workspace", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Formatting and lints only.
    Check(verbs::Common),
    /// Everything that must hold: format, lints, generated documents, unit, doc, model, conformance and scenario tests.
    Test(verbs::Test),
    /// The core's state-machine test against its set-based model.
    Model(verbs::Model),
    /// Numbered messages between many tasks while routes come and go, ports travel and tasks die: none lost, doubled, reordered or invented.
    History(verbs::History),
    /// Tasks killed at each of their system calls, and at each instruction of what they do over links.
    Crash,
    /// The model checker on rings, slots and bells, deeper than `test` goes.
    Loom(checkers::Loom),
    /// The thread and address sanitizers.
    San(checkers::San),
    /// The fuzzer, on what a hostile peer can write.
    Fuzz(checkers::Fuzz),
    /// Regenerates the documents that are made from code: docs/wire.md and docs/conformance.md.
    Docs {
        /// Changes nothing; fails if a document is not what the code says.
        #[arg(long)]
        check: bool,
    },
    /// Builds and installs the C library, its headers and the programs.
    Install(install::Install),
    /// Repeats the model (a new seed each round) and the scenario tests until the time is over or something fails.
    Soak(verbs::Soak),
}

fn main() -> ExitCode {
    let result = workspace_root().and_then(|root| match Cli::parse().verb {
        Verb::Check(args) => verbs::check(&root, &args),
        Verb::Test(args) => verbs::test(&root, &args),
        Verb::Model(args) => verbs::model(&root, &args),
        Verb::History(args) => verbs::history(&root, &args),
        Verb::Crash => verbs::crash(&root),
        Verb::Loom(args) => checkers::loom(&root, &args),
        Verb::San(args) => checkers::san(&root, &args),
        Verb::Fuzz(args) => checkers::fuzz(&root, &args),
        Verb::Docs { check } => verbs::docs(&root, check),
        Verb::Install(args) => install::install(&root, &args),
        Verb::Soak(args) => verbs::soak(&root, &args),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder above which there is nothing of ours: found from where we are called, so that a moved checkout works without a rebuild.
fn workspace_root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("current directory")?;
    let root = here.ancestors().find(|dir| dir.join("tools/xtask/Cargo.toml").is_file());
    root.map(PathBuf::from).with_context(|| format!("{} is not inside the workspace; cd there first", here.display()))
}
