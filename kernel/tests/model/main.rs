//! A state-machine property test of the core against an independent, set-based model of Mach's message passing.
//!
//! The model is written from the reference table of semantics, not from the core: [`state`] has ports as plain records and queues as plain
//! lists, and every count is found by looking at the whole world; [`send`], [`receive`], [`calls`] and [`rights`] are the requests, [`loss`],
//! [`settle`] and [`budget`] what follows from them. The generator ([`ops`]) makes operations that collide: few tasks, few ports, queues of
//! none to three; [`plan`] gives them names. The driver ([`driver`]) hands each operation to the core as the packet that a task would send,
//! takes the answers, lets the model say what they had to be, and then compares every name of every space, the state of every task, and
//! what each is charged. [`shrink`] cuts a failing list down. [`storm`] goes without a model: small limits of every kind.
//!
//! What is the core's choice, the model takes from its answers, and checks that it is a legal one:
//! * names: each was free, is of the right form, and was not freed a moment ago;
//! * the order of several notifications that one operation raises, and whether teardown tells of itself before or after the rest of the
//!   request that set it off. Messages keep their order, and each notification comes exactly once;
//! * who is served first of threads that wait at different places for the same port;
//! * which code is answered when several things are wrong at once.
//!
//! * `UMACH_MODEL_OPS`: how many operations (default 100,000).
//! * `UMACH_MODEL_SEED`: where to start. A failure prints the seed of its world and the shortest list of operations that still fails.

mod budget;
mod calls;
mod driver;
mod loss;
mod message;
mod ops;
mod plan;
mod receive;
mod rights;
mod rng;
mod send;
mod settle;
mod shrink;
mod state;
mod storm;

use umach_kernel::core::Limits;

/// Operations in one world, which then starts afresh.
const WORLD: u64 = 2000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let clean = text.replace('_', "");
    let parsed = clean.strip_prefix("0x").map_or_else(|| clean.parse(), |hex| u64::from_str_radix(hex, 16));
    Some(parsed.unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// Runs worlds until so many operations are done.
fn compare(ops: u64, start: u64, limits: Limits) {
    for world in 0..ops.div_ceil(WORLD) {
        let seed = start.wrapping_add(world);
        let mut rng = rng::Rng::new(seed);
        let count = WORLD.min(ops - world * WORLD);
        let list: Vec<_> = (0..count as u32).map(|serial| ops::generate(1 + serial, &mut rng)).collect();
        if let Some(failure) = shrink::failure(&list, limits) {
            panic!("{}", shrink::report(seed, list, failure, limits));
        }
    }
}

fn start() -> u64 {
    number("UMACH_MODEL_SEED").unwrap_or(0x6d61_6368)
}

fn count() -> u64 {
    number("UMACH_MODEL_OPS").unwrap_or(100_000)
}

#[test]
fn core_agrees_with_the_model() {
    compare(count(), start(), Limits::default());
}

/// The same with room for few messages: who may queue how much at whom, and that nothing breaks where it ends.
#[test]
fn core_agrees_with_the_model_when_budgets_are_small() {
    let limits = Limits { task_queued_bytes: 6000, user_factor: 1 << 20, ..Limits::default() };
    compare(count() / 8, start(), limits);
}

/// No model: every limit is small, and nothing may break.
#[test]
fn small_limits_of_every_kind_end_in_codes_and_leave_nothing() {
    storm::run(start(), (count() / 10).clamp(20_000, 100_000));
}
