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
/// When tasks may send to each other directly, in the tests that run once for each: never, from the first message on, and by chance. The
/// same chance each time, so that what failed once fails again.
const DIRECT: [&str; 3] = ["off", "always", "random:20260731"];
/// Messages of the history.
const HISTORY_MESSAGES: u64 = 2_000_000;

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
    /// Conformance and scenarios with the direct plane like this only: off, auto, always, or random[:SEED]. May be given several times.
    #[arg(long, value_name = "MODE", default_values = DIRECT)]
    direct: Vec<String>,
}

#[derive(Args)]
pub(crate) struct History {
    /// How many messages.
    #[arg(long, default_value_t = HISTORY_MESSAGES)]
    messages: u64,
    /// Starts from this seed, to repeat a run that failed; printed by the test.
    #[arg(long)]
    seed: Option<u64>,
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
    list.extend(tests(true, &args.direct));
    list.push(Step::cargo("documentation tests", &["test", "--workspace", "--doc", "--quiet"], &[]));
    list.push(model_step(args.ops, None));
    list.push(history_step(HISTORY_MESSAGES, None));
    steps::run(root, list, args.common.keep_going)
}

pub(crate) fn model(root: &Path, args: &Model) -> Result<bool> {
    steps::run(root, vec![model_step(args.ops, args.seed)], false)
}

pub(crate) fn history(root: &Path, args: &History) -> Result<bool> {
    steps::run(root, vec![history_step(args.messages, args.seed)], false)
}

pub(crate) fn crash(root: &Path) -> Result<bool> {
    let step = |direct: &str| {
        let variables = [direct_variable(direct), ("UMACH_CRASH_SAMPLES", "1000".to_owned())];
        Step::cargo("crash", &["test", "--workspace", "--test", "crash", "--", "--nocapture"], &variables)
    };
    steps::run(root, ["off", "always"].map(step).into(), false)
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
        let direct = format!("random:{seed}");
        list.push(history_step(HISTORY_MESSAGES, Some(seed)));
        list.extend(tests(false, &["off".to_owned(), "always".to_owned(), direct]));
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

fn history_step(messages: u64, seed: Option<u64>) -> Step {
    let mut variables = vec![("UMACH_HISTORY_MESSAGES", messages.to_string())];
    variables.extend(seed.map(|seed| ("UMACH_HISTORY_SEED", seed.to_string())));
    Step::cargo("history", &["test", "--workspace", "--test", "history", "--", "--nocapture"], &variables)
}

fn direct_variable(mode: &str) -> (&'static str, String) {
    ("UMACH_DIRECT", mode.to_owned())
}

/// Library, binary and integration tests: by cargo-nextest where it is installed (it ends a test that hangs, see `.config/nextest.toml`), else by
/// `cargo test`. Every step selects the whole workspace and then filters: another selection of packages means other features of what they
/// depend on, and building all of that again.
fn tests(unit: bool, direct: &[String]) -> Vec<Step> {
    let (scenarios, units) = if has_nextest() {
        let run = |name, filter, variables: &[(&str, String)]| {
            Step::cargo(name, &["nextest", "run", "--workspace", "--filterset", filter], variables)
        };
        // Those that choose a mode themselves, and those whose calls `strace` counts, run once.
        let modal = "package(umach-tests) and (binary(aio) or binary(conformance) or binary(scenarios) or kind(lib))";
        let scenarios = |mode: &String| run("conformance, scenarios, async", modal, &[direct_variable(mode)]);
        let once = run(
            "crash, faults, hostile peers",
            "package(umach-tests) and not (binary(aio) or binary(conformance) or binary(scenarios) or kind(lib) or binary(history))",
            &[],
        );
        // The model has a step of its own.
        let units = unit.then(|| run("unit and integration tests", "not package(umach-tests) and not binary(model)", &[]));
        (direct.iter().map(scenarios).chain([once]).collect::<Vec<_>>(), units)
    } else {
        let modal = ["test", "--workspace", "--test", "aio", "--test", "conformance", "--test", "scenarios"];
        let scenarios = |mode: &String| Step::cargo("conformance, scenarios, async", &modal, &[direct_variable(mode)]);
        let all = Step::cargo("tests", &["test", "--workspace", "--lib", "--bins", "--tests"], &[ops(MODEL_OPS_UNIT)]);
        (direct.iter().map(scenarios).collect(), Some(all))
    };
    units.into_iter().chain(scenarios).collect()
}

fn has_nextest() -> bool {
    let mut probe = Command::new("cargo");
    probe.args(["nextest", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
