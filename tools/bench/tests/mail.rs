//! The whole bench, quickly: every part runs to its end and prints what it promises. What the figures are is not a test's business.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::bench;

#[test]
fn mail_quick_measures_every_part_and_prints_rows_of_the_promised_form() {
    let (done, output) = bench(&["mail", "--quick", "--json"]);
    assert!(done, "{output}");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&output).unwrap();
    let keys: BTreeSet<&str> = ["work", "value", "unit", "floor", "ratio", "goal", "met"].into();
    let mut parts = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.keys().map(String::as_str).collect::<BTreeSet<_>>(), keys);
        assert!(row["value"].is_number() && row["unit"].is_string(), "{row:?}");
        assert_eq!(row["goal"].is_string(), row["met"].is_boolean(), "{row:?}");
        parts.insert(row["work"].as_str().unwrap().split('/').nth(1).unwrap());
    }
    assert_eq!(parts, ["call", "idle", "memory", "rights", "teardown"].into());
    let memory = rows.iter().find(|row| row["work"] == "mail/memory/port").unwrap();
    assert!(memory["value"].as_f64().unwrap() > 50.0, "a port costs nothing: {memory:?}");
}

#[test]
fn unknown_part_is_refused_and_the_others_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_umach-bench")).args(["mail", "--only", "nonsense"]).output().unwrap();
    assert!(!output.status.success());
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(why.contains("nonsense") && why.contains("teardown"), "{why}");
}
