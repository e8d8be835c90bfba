//! The link's algorithms under a model checker: every interleaving of two or three threads, and every value that the memory model lets a load see.
//!
//! Each scenario is a function of the faults planted in the memory. Without any, all executions must be good; with each of those listed beside it,
//! the checker must find a bad one, for the reason given. That keeps the scenarios honest: one that cannot fail shows nothing.
//!
//! Executions with up to three preemptions are tried, or as many as `LOOM_MAX_PREEMPTIONS` says (`cargo xtask loom`).

mod lanes;
mod leases;
mod polled;
mod rings;
mod slots;
mod sys;

use std::panic::{AssertUnwindSafe, catch_unwind};

use sys::Faults;

/// What the checker says when all threads sleep.
const LOST_WAKE_UP: &str = "deadlock";
/// What it says when an access is not ordered against another.
const RACE: &str = "Causality violation";

/// Tries the scenario's executions.
fn explore(faults: Faults, scenario: fn(Faults)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(move || scenario(faults));
}

/// The scenario holds with whole memory.
fn holds(scenario: fn(Faults)) {
    explore(Faults::default(), scenario);
}

/// The scenario is seen to fail with these faults, saying `why`.
fn fails(why: &str, faults: Faults, scenario: fn(Faults)) {
    let failure = catch_unwind(AssertUnwindSafe(|| explore(faults, scenario)));
    let payload = failure.expect_err(&format!("nothing bad was found with {faults:?}"));
    let said = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(said.contains(why), "{faults:?} was found, but not as {why:?}: {said}");
}
