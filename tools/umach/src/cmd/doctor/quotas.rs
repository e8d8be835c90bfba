//! How near tasks and users are to what the kernel process lets them hold.

use std::collections::BTreeMap;

use umach_abi::records::TaskRow;
use umach_kernel::core::Limits;

use super::{Finding, State};
use crate::foreign::line;
use crate::ids::TaskNumber;
use crate::system::At;
use crate::text::{bytes, grouped};
use crate::view::{Labelled, View};

const CHECK: &str = "quotas";
/// From this part of a quota on it is told.
const NEAR: f64 = 0.8;

/// Nothing if there is no kernel process, or it is not for us to see.
pub(super) fn checks(at: &At) -> Vec<Finding> {
    let Ok(view) = View::open(at) else { return Vec::new() };
    let tasks: Vec<&Labelled> = view.others().collect();
    vec![finding(&tasks)]
}

/// One thing that is counted: how much there is of it, and of how much.
struct Use {
    what: &'static str,
    key: &'static str,
    used: u64,
    limit: u64,
    shown: fn(u64) -> String,
}

impl Use {
    fn part(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
    fn text(&self) -> String {
        format!("{} {} of {}", self.what, (self.shown)(self.used), (self.shown)(self.limit))
    }
}

fn uses_of(row: &TaskRow) -> [Use; 3] {
    [
        Use { what: "names", key: "task-names", used: row.names.into(), limit: row.names_limit.into(), shown: grouped },
        Use { what: "ports", key: "task-ports", used: row.ports.into(), limit: row.ports_limit.into(), shown: grouped },
        Use { what: "queued", key: "task-queued-bytes", used: row.queued_bytes, limit: row.queued_bytes_limit, shown: bytes },
    ]
}

/// What a user's tasks have together. A user may have a multiple of what one task may; how many tasks is as the kernel's defaults say.
fn uses_of_user(tasks: &[&TaskRow]) -> Vec<Use> {
    let defaults = Limits::default();
    let mut sums = vec![Use { what: "tasks", key: "user-tasks", used: tasks.len() as u64, limit: defaults.user_tasks, shown: grouped }];
    for number in 0..3 {
        let mut each = tasks.iter().map(|row| uses_of(row).into_iter().nth(number));
        let Some(Some(mut sum)) = each.next() else { continue };
        sum.used += each.flatten().map(|more| more.used).sum::<u64>();
        sum.limit = sum.limit.saturating_mul(defaults.user_factor);
        sums.push(sum);
    }
    sums
}

fn finding(tasks: &[&Labelled]) -> Finding {
    let mut users: BTreeMap<u32, Vec<&TaskRow>> = BTreeMap::new();
    for task in tasks {
        users.entry(task.row.uid).or_default().push(&task.row);
    }
    let of_tasks = tasks.iter().flat_map(|task| {
        let name = format!("{} {}", TaskNumber(task.row.task), line(&task.label));
        uses_of(&task.row).map(|used| (name.trim_end().to_owned(), used))
    });
    let of_users = users.iter().flat_map(|(uid, tasks)| uses_of_user(tasks).into_iter().map(move |used| (format!("user {uid}"), used)));
    let nearest = of_tasks.chain(of_users).max_by(|(_, one), (_, other)| one.part().total_cmp(&other.part()));
    match nearest {
        None => Finding::ok(CHECK, "no tasks"),
        Some((who, used)) if used.part() >= NEAR => Finding::noted(
            CHECK,
            State::Warn,
            format!("{who}: {}", used.text()),
            "when it is used up, sends to it, or its own calls, are refused (MACH_SEND_NO_BUFFER, KERN_NO_SPACE, KERN_RESOURCE_SHORTAGE)",
            &format!("see what it keeps with `umach rights` and `umach ports`, or start the kernel process with --limits {}=..", used.key),
        ),
        Some((who, used)) => Finding::ok(CHECK, format!("nearest to its own is {who}: {}", used.text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: u64, names: u32, queued_bytes: u64) -> Labelled {
        let limits = TaskRow { names_limit: 1000, ports_limit: 1000, queued_bytes_limit: 1 << 20, ..TaskRow::default() };
        Labelled { row: TaskRow { task: 1 << 32 | id, names, queued_bytes, ..limits }, label: format!("t{id}") }
    }

    #[test]
    fn nearest_to_a_quota_is_named_and_warned_of_when_it_is_near() {
        let (calm, full) = (task(1, 10, 0), task(2, 5, 900 << 10));
        let ok = finding(&[&calm]);
        assert!(ok.state == State::Ok && ok.found.contains("T1 t1: names 10 of 1,000"), "{ok:?}");
        let near = finding(&[&calm, &full]);
        assert!(near.state == State::Warn && near.found.contains("T2 t2: queued 900.0 KiB of 1.0 MiB"), "{near:?}");
        assert!(near.fix.is_some_and(|fix| fix.contains("task-queued-bytes")));
    }

    #[test]
    fn tasks_of_a_user_are_counted_together() {
        // Each far from its own quota, together at nine tenths of their user's.
        let many: Vec<Labelled> = (0..6).map(|id| task(id, 600, 0)).collect();
        let found = finding(&many.iter().collect::<Vec<_>>());
        assert!(found.state == State::Warn && found.found.starts_with("user 0: names 3,600 of 4,000"), "{found:?}");
    }
}
