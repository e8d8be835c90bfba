//! The verbs that run tests.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::steps::{self, Step};

/// Operations of the model in `cargo xtask test`.
const MODEL_OPS: u64 = 1_000_000;
/// Operations of the model where it cannot be kept out of the other tests: it has a step of its own.
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
    // Tests start the binaries as processes of their own, so those must be there and fresh.
    list.push(Step::cargo("binaries", &["build", "--workspace", "--bins"], &[]));
    list.push(docs_step(root, true)?);
    list.extend(tests(true));
    list.push(Step::cargo("documentation tests", &["test", "--workspace", "--doc", "--quiet"], &[]));
    list.push(model_step(args.ops, None));
    steps::run(root, list, args.common.keep_going)
}

pub(crate) fn model(root: &Path, args: &Model) -> Result<bool> {
    steps::run(root, vec![model_step(args.ops, args.seed)], false)
}

pub(crate) fn docs(root: &Path, check: bool) -> Result<bool> {
    let build = Step::cargo("the documents' maker", &["build", "--workspace", "--bin", "xtask-docs"], &[]);
    steps::run(root, vec![build, docs_step(root, check)?], false)
}

pub(crate) fn soak(root: &Path, args: &Soak) -> Result<bool> {
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut rounds = 0u64;
    while rounds == 0 || Instant::now() < until {
        rounds += 1;
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        println!("\nround {rounds}, model seed {seed}");
        let mut list = vec![model_step(args.ops, Some(seed))];
        list.extend(tests(false));
        if !steps::run(root, list, false)? {
            println!("failed in round {rounds}; repeat the model with: cargo xtask model --ops {} --seed {seed}", args.ops);
            return Ok(false);
        }
    }
    println!("{rounds} rounds, no failure");
    Ok(true)
}

/// The program beside this one that knows all that documents are made from.
fn docs_step(root: &Path, check: bool) -> Result<Step> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("xtask-docs"));
    command.arg(root).args(check.then_some("--check"));
    Ok(Step::new("generated documents", command))
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
    Step::cargo("model", &["test", "--workspace", "--test", "model", "--", "--nocapture"], &variables)
}

/// Library, binary and integration tests: by cargo-nextest where it is installed (it ends a test that hangs, see `.config/nextest.toml`), else by
/// `cargo test`. Every step selects the whole workspace and then filters: another selection of packages means other features of what they
/// depend on, and building all of that again.
fn tests(unit: bool) -> Vec<Step> {
    if !has_nextest() {
        return vec![Step::cargo("tests", &["test", "--workspace", "--lib", "--bins", "--tests"], &[ops(MODEL_OPS_UNIT)])];
    }
    let run = |name, filter| Step::cargo(name, &["nextest", "run", "--workspace", "--filterset", filter], &[]);
    let scenarios = run("conformance and scenarios", "package(umach-tests)");
    // The model has a step of its own.
    let units = unit.then(|| run("unit and integration tests", "not package(umach-tests) and not binary(model)"));
    units.into_iter().chain([scenarios]).collect()
}

fn has_nextest() -> bool {
    let mut probe = Command::new("cargo");
    probe.args(["nextest", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
