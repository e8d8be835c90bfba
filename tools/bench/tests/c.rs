//! The C measurements, quickly: every part runs to its end with libumach loaded as a C program has it.

mod common;

use common::bench;

#[test]
fn c_quick_measures_every_part() {
    let (done, output) = bench(&["c", "--quick", "--json"]);
    assert!(done, "{output}");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&output).unwrap();
    for part in ["c/call/", "c/flood/", "c/memory/"] {
        assert!(rows.iter().any(|row| row["work"].as_str().unwrap().starts_with(part)), "{part} is missing: {output}");
    }
    assert!(rows.iter().all(|row| row["value"].as_f64().unwrap() > 0.0 && row["goal"].is_string()), "{output}");
}
