//! Steps: each is announced, timed, and listed at the end.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// One thing to do: a command, run at the workspace's root.
pub(crate) struct Step {
    name: &'static str,
    command: Command,
}

impl Step {
    /// A step that runs `cargo` with these arguments and variables.
    pub(crate) fn cargo(name: &'static str, arguments: &[&str], variables: &[(&str, String)]) -> Step {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        Step::new(name, command)
    }
    /// A step that runs any command.
    pub(crate) fn new(name: &'static str, command: Command) -> Step {
        Step { name, command }
    }
}

/// Does the steps in order; stops at the first failure unless `keep_going`. True if none failed.
pub(crate) fn run(root: &Path, steps: Vec<Step>, keep_going: bool) -> Result<bool> {
    let started = Instant::now();
    let planned = steps.len();
    let mut done: Vec<(&'static str, Result<(), String>, Duration)> = Vec::new();
    for (number, Step { name, mut command }) in steps.into_iter().enumerate() {
        let began = Instant::now();
        println!("\n==> [{}/{planned}] {name}: {}", number + 1, line(&command));
        let outcome = command.current_dir(root).status().with_context(|| format!("start {}", line(&command))).and_then(succeeded);
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        if let Err(why) = &outcome {
            println!("==> {name} FAILED: {why}");
        }
        let failed = outcome.is_err();
        done.push((name, outcome, began.elapsed()));
        if failed && !keep_going {
            break;
        }
    }
    println!("\nsummary");
    for (name, outcome, took) in &done {
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("  {word:<7} {name:<32} {:>7.1} s", took.as_secs_f64());
    }
    let failed = done.iter().filter(|(_, outcome, _)| outcome.is_err()).count();
    let skipped = planned - done.len();
    println!("  {} ok, {failed} failed, {skipped} not run, {:.1} s in all", done.len() - failed, started.elapsed().as_secs_f64());
    Ok(failed == 0)
}

fn succeeded(status: ExitStatus) -> Result<()> {
    anyhow::ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// The command as one would type it, with the variables it sets.
fn line(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| Some(format!("{}={} ", name.display(), value?.display())));
    let words = command.get_args().map(|word| format!(" {}", word.display()));
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    variables.chain([program]).chain(words).collect()
}
