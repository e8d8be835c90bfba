//! The conformance tests: one function for each row of Mach's semantics that is in scope, named after it, run once per mode.
//!
//! `umach_tests::rows` lists every row; a test below checks that table and functions agree in both directions. Files follow the sections of
//! docs/semantics.md: `rights` 1.1, `sending` and `atomicity` 1.2, `queues` 1.3, `options` 1.4, `receiving` 1.5, `notifications` 1.6, `sets` 1.7,
//! `calls` 1.8, `memory` 1.9, `tasks` 1.10, `kernel_*` 1.11,
//! `semaphores` 1.12.
#![forbid(unsafe_code)]

mod atomicity;
mod calls;
mod common;
mod kernel_hostile;
mod kernel_ports;
mod kernel_tasks;
mod memory;
mod notifications;
mod options;
mod queues;
mod receiving;
mod rights;
mod semaphores;
mod sending;
mod sets;
mod tasks;

use std::collections::BTreeSet;

use umach_tests::rows::{Status, rows};

/// Every function that runs as a test in each mode.
const ALL: &[&[&str]] = &[
    rights::TESTS,
    sending::TESTS,
    atomicity::TESTS,
    queues::TESTS,
    options::TESTS,
    receiving::TESTS,
    notifications::TESTS,
    sets::TESTS,
    calls::TESTS,
    memory::TESTS,
    tasks::TESTS,
    kernel_ports::TESTS,
    kernel_tasks::TESTS,
    kernel_hostile::TESTS,
    semaphores::TESTS,
];

#[test]
fn rows_that_are_held_and_tests_agree() {
    let tests: Vec<&str> = ALL.concat();
    let set: BTreeSet<&str> = tests.iter().copied().collect();
    assert_eq!(set.len(), tests.len(), "two tests have one name");
    let claimed: BTreeSet<&str> = rows().flat_map(|(_, row)| row.tests).copied().collect();
    let missing: Vec<_> = claimed.difference(&set).collect();
    assert!(missing.is_empty(), "rows name tests that do not exist: {missing:?}");
    let unclaimed: Vec<_> = set.difference(&claimed).collect();
    assert!(unclaimed.is_empty(), "tests that no row names: {unclaimed:?}");
}

#[test]
fn rows_have_a_test_or_a_reason() {
    for ((major, minor), row) in rows() {
        match row.status {
            Status::Held => assert!(!row.tests.is_empty(), "held by no test: {}", row.text),
            Status::Different(why) | Status::OtherDialect(why) | Status::DarwinOnly(why) | Status::Elsewhere(why) => {
                assert!(!why.is_empty(), "no reason: {}", row.text)
            }
        }
        for test in row.tests {
            assert!(test.starts_with(&format!("s{major}_{minor}_")), "{test} is named after another section than {major}.{minor}");
        }
    }
}

#[test]
fn document_has_a_line_for_each_row() {
    let document = umach_tests::conformance_table();
    for (_, row) in rows() {
        let wanted = format!("| {} | ", row.text);
        assert_eq!(document.lines().filter(|line| line.starts_with(&wanted)).count(), 1, "{}", row.text);
    }
}

#[test]
fn rows_and_codes_are_held_through_the_c_interface() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let gaps = umach_tests::rows::in_c::gaps(&root).expect("read the C programs and headers");
    assert!(gaps.is_empty(), "{} gaps:\n{}", gaps.len(), gaps.join("\n"));
}
