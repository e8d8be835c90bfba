//! The verbs that run tests.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::steps::{self, Step};

/// Operations of the model in `cargo xtask test`.
const MODEL_OPS: u64 = 1_000_000;
/// Operations of the model when it runs among the unit tests: it has a step of its own.
const MODEL_OPS_UNIT: u64 = 20_000;

#[derive(Args)]
pub(crate) struct Common {
    /// Goes on after a failure; the exit code still tells.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Args)]
pub(crate) struct Test {
    #[command(flatten)]
    common: Common,
    /// Operations of the model.
    #[arg(long, default_value_t = MODEL_OPS)]
    ops: u64,
}

#[derive(Args)]
pub(crate) struct Model {
    /// How many operations.
    #[arg(long, default_value_t = MODEL_OPS)]
    ops: u64,
    /// Starts from this seed, to repeat a run that failed; printed by the test.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Soak {
    /// How long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Operations of the model in each round.
    #[arg(long, default_value_t = MODEL_OPS)]
    ops: u64,
}

pub(crate) fn check(root: &Path, args: &Common) -> Result<bool> {
    steps::run(root, lints(), args.keep_going)
}

pub(crate) fn test(root: &Path, args: &Test) -> Result<bool> {
    let mut list = lints();
    list.push(docs_step(root, true));
    // Tests start the binaries as processes of their own, so those must be there and fresh.
    list.push(Step::cargo("binaries", &["build", "--workspace", "--bins"], &[]));
    list.push(tests("unit and integration tests", &["--workspace", "--exclude", "umach-tests"], &[ops(MODEL_OPS_UNIT)]));
    list.push(Step::cargo("documentation tests", &["test", "--workspace", "--doc", "--quiet"], &[]));
    list.push(model_step(args.ops, None));
    list.push(tests("conformance and scenarios", &["--package", "umach-tests"], &[]));
    steps::run(root, list, args.common.keep_going)
}

pub(crate) fn model(root: &Path, args: &Model) -> Result<bool> {
    steps::run(root, vec![model_step(args.ops, args.seed)], false)
}

pub(crate) fn docs(root: &Path, check: bool) -> Result<bool> {
    steps::run(root, vec![docs_step(root, check)], false)
}

pub(crate) fn soak(root: &Path, args: &Soak) -> Result<bool> {
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut rounds = 0u64;
    while rounds == 0 || Instant::now() < until {
        rounds += 1;
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        println!("\nround {rounds}, model seed {seed}");
        let list = vec![model_step(args.ops, Some(seed)), tests("conformance and scenarios", &["--package", "umach-tests"], &[])];
        if !steps::run(root, list, false)? {
            println!("failed in round {rounds}; repeat the model with: cargo xtask model --ops {} --seed {seed}", args.ops);
            return Ok(false);
        }
    }
    println!("{rounds} rounds, no failure");
    Ok(true)
}

/// The program beside this one that knows all that documents are made from.
fn docs_step(root: &Path, check: bool) -> Step {
    let root = root.display().to_string();
    let mut arguments = vec!["run", "--quiet", "--package", "xtask", "--features", "docs", "--bin", "xtask-docs", "--", &root];
    arguments.extend(check.then_some("--check"));
    Step::cargo("generated documents", &arguments, &[])
}

fn lints() -> Vec<Step> {
    vec![
        Step::cargo("format", &["fmt", "--all", "--check"], &[]),
        Step::cargo("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"], &[]),
    ]
}

fn ops(count: u64) -> (&'static str, String) {
    ("UMACH_MODEL_OPS", count.to_string())
}

fn model_step(count: u64, seed: Option<u64>) -> Step {
    let mut variables = vec![ops(count)];
    variables.extend(seed.map(|seed| ("UMACH_MODEL_SEED", seed.to_string())));
    Step::cargo("model", &["test", "--package", "umach-kernel", "--test", "model", "--", "--nocapture"], &variables)
}

/// Library, binary and integration tests of some packages: by cargo-nextest where it is installed (it ends a test that hangs, see
/// `.config/nextest.toml`), else by `cargo test`.
fn tests(name: &'static str, packages: &[&str], variables: &[(&str, String)]) -> Step {
    let runner: &[&str] = if has_nextest() { &["nextest", "run"] } else { &["test", "--lib", "--bins", "--tests"] };
    Step::cargo(name, &[runner, packages].concat(), variables)
}

fn has_nextest() -> bool {
    let mut probe = Command::new("cargo");
    probe.args(["nextest", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
