//! Runs a list of operations in a world of its own, and cuts a failing list down to what is needed.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use umach_kernel::core::Limits;

use super::driver::Run;
use super::ops::Op;

/// How a list failed: at which operation, and how.
#[derive(Debug)]
pub(crate) struct Failure {
    at: usize,
    what: String,
    log: Vec<String>,
}

fn run(list: &[Op], limits: Limits, tell: bool) -> Option<Failure> {
    let mut at = 0;
    let mut run = match catch_unwind(|| Run::new(tell, limits)) {
        Ok(Ok(run)) => run,
        Ok(Err(what)) => return Some(Failure { at, what, log: Vec::new() }),
        Err(_) => return Some(Failure { at, what: "panic while the world was set up".into(), log: Vec::new() }),
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        for (ix, op) in list.iter().enumerate() {
            at = ix;
            run.step(op)?;
        }
        Ok(())
    }));
    let what = match result {
        Ok(Ok(())) => return None,
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
            format!("panic: {}", text.unwrap_or_default())
        }
    };
    Some(Failure { at, what, log: run.log.unwrap_or_default() })
}

/// Runs the list; how it fails, if it does.
pub(crate) fn failure(list: &[Op], limits: Limits) -> Option<Failure> {
    run(list, limits, false)
}

/// Cuts the list down and says what is left.
pub(crate) fn report(seed: u64, mut list: Vec<Op>, first: Failure, limits: Limits) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut last = first;
    let mut out = format!("seed {seed:#x}, operation {}: {}\n", last.at, last.what);
    list.truncate(last.at + 1);
    let mut budget = 4000;
    let mut chunk = list.len().div_ceil(2);
    while chunk > 0 {
        let mut end = list.len();
        let mut shorter = false;
        while end > 0 && budget > 0 {
            budget -= 1;
            let begin = end.saturating_sub(chunk);
            let mut fewer = list.clone();
            fewer.drain(begin..end);
            end = begin;
            if let Some(failed) = run(&fewer, limits, false) {
                fewer.truncate(failed.at + 1);
                end = end.min(fewer.len());
                list = fewer;
                last = failed;
                shorter = true;
            }
        }
        chunk = if shorter { chunk.min(list.len()) } else { chunk / 2 };
        if budget == 0 {
            break;
        }
    }
    simplify(&mut list, limits);
    if let Some(told) = run(&list, limits, true) {
        last = told;
    }
    std::panic::set_hook(hook);
    let _ = writeln!(out, "{} operations still fail: {}", list.len(), last.what);
    for line in &last.log {
        let _ = writeln!(out, "    {line}");
    }
    let _ = write!(out, "replay: UMACH_MODEL_SEED={seed:#x} cargo test -p umach-kernel --test model");
    out
}

/// Leaves out parts of single operations.
fn simplify(list: &mut [Op], limits: Limits) {
    let try_with = |list: &mut [Op], at: usize, change: &dyn Fn(&mut Op)| {
        let before = list[at].clone();
        change(&mut list[at]);
        if list[at] != before && run(list, limits, false).is_none() {
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
