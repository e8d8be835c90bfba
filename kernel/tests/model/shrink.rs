//! Runs a list of operations in a world of its own, and cuts a failing list down to what is needed.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use umach_kernel::core::Limits;

use super::driver::Run;
use super::ops::Op;

/// How long a failing list is cut down at most. It is only a matter of how short it gets.
const PATIENCE: Duration = Duration::from_secs(40);

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// How a list failed: at which operation, and how.
#[derive(Debug)]
pub(crate) struct Failure {
    at: usize,
    what: String,
    log: Vec<String>,
}

fn run(list: &[Op], limits: Limits, tell: Tell) -> Option<Failure> {
    let mut at = 0;
    let mut run = match catch_unwind(|| Run::new(tell == Tell::All, tell != Tell::Quick, limits)) {
        Ok(Ok(run)) => run,
        Ok(Err(what)) => return Some(Failure { at, what, log: Vec::new() }),
        Err(_) => return Some(Failure { at, what: "panic while the world was set up".into(), log: Vec::new() }),
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        for (ix, op) in list.iter().enumerate() {
            at = ix;
            run.step(op)?;
        }
        run.end()
    }));
    let log = run.log.take();
    let what = match result {
        // Nothing is left, so nothing may complain now that it goes.
        Ok(Ok(())) => return None,
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
            format!("panic at {}: {}", PLACE.take(), text.unwrap_or_default())
        }
    };
    // A core in the middle of things complains about charges when it is dropped.
    std::mem::forget(run.core);
    Some(Failure { at, what, log: log.unwrap_or_default() })
}

/// How closely to look, and whether to write down what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    Quick,
    Thorough,
    All,
}

/// The words of a failure without its numbers: while a list is cut down, it must go on failing in the same way.
fn gist(what: &str) -> String {
    what.chars().filter(|c| c.is_alphabetic()).take(28).collect()
}

/// Runs the list; how it fails, if it does.
pub(crate) fn failure(list: &[Op], limits: Limits) -> Option<Failure> {
    run(list, limits, Tell::Quick)
}

/// Cuts the list down and says what is left.
pub(crate) fn report(seed: u64, mut list: Vec<Op>, first: Failure, limits: Limits) -> String {
    let hook = std::panic::take_hook();
    // Panics on the way are results, not news; where they happened belongs to the result.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with_borrow_mut(|at| {
            *at = if std::env::var_os("UMACH_MODEL_TRACE").is_some() {
                format!("{place}\n{}", std::backtrace::Backtrace::force_capture())
            } else {
                place
            }
        });
    }));
    let mut last = first;
    let mut out = format!("seed {seed:#x}, operation {}: {}\n", last.at, last.what);
    list.truncate(last.at + 1);
    // What only every few operations are looked at for must be looked at after each now.
    let sampled = ["the core's own", "task row", "bytes queued", "tasks alive"].iter().any(|what| last.what.contains(what));
    let tell = if sampled { Tell::Thorough } else { Tell::Quick };
    let deadline = Instant::now() + PATIENCE;
    let mut chunk = list.len().div_ceil(2);
    while chunk > 0 {
        let mut end = list.len();
        let mut shorter = false;
        while end > 0 && Instant::now() < deadline {
            let begin = end.saturating_sub(chunk);
            let mut fewer = list.clone();
            fewer.drain(begin..end);
            end = begin;
            if let Some(failed) = run(&fewer, limits, tell).filter(|failed| gist(&failed.what) == gist(&last.what)) {
                fewer.truncate(failed.at + 1);
                end = end.min(fewer.len());
                list = fewer;
                last = failed;
                shorter = true;
            }
        }
        chunk = if shorter { chunk.min(list.len()) } else { chunk / 2 };
        if Instant::now() >= deadline {
            break;
        }
    }
    simplify(&mut list, &gist(&last.what), limits, tell);
    if let Some(told) = run(&list, limits, Tell::All) {
        last = told;
    }
    std::panic::set_hook(hook);
    let _ = writeln!(out, "{} operations still fail:", list.len());
    for line in &last.log {
        let _ = writeln!(out, "    {line}");
    }
    let _ = writeln!(out, "{}", last.what);
    let _ = write!(out, "replay: UMACH_MODEL_SEED={seed:#x} cargo test -p umach-kernel --test model");
    out
}

/// Leaves out parts of single operations.
fn simplify(list: &mut [Op], way: &str, limits: Limits, tell: Tell) {
    let deadline = Instant::now() + PATIENCE;
    let try_with = |list: &mut [Op], at: usize, change: &dyn Fn(&mut Op)| {
        if Instant::now() >= deadline {
            return;
        }
        let before = list[at].clone();
        change(&mut list[at]);
        if list[at] != before && run(list, limits, tell).is_none_or(|failed| gist(&failed.what) != way) {
            list[at] = before;
        }
    };
    for at in 0..list.len() {
        try_with(list, at, &|op| op.via = 255);
        for send in 0..list[at].sends.len() {
            try_with(list, at, &|op| op.sends[send].reply = None);
            try_with(list, at, &|op| op.sends[send].words = 0);
            try_with(list, at, &|op| op.sends[send].notify = false);
            for desc in (0..list[at].sends[send].descs.len()).rev() {
                try_with(list, at, &|op| {
                    op.sends[send].descs.remove(desc);
                });
            }
        }
    }
}
