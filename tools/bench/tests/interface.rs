//! The work `interface`, quickly: it runs to its end and prints what it promises.

mod common;

use std::collections::BTreeSet;

use common::bench;

#[test]
fn interface_quick_measures_every_part_in_every_place() {
    let (done, output) = bench(&["interface", "--quick", "--json"]);
    assert!(done, "{output}");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&output).unwrap();
    let mut parts = BTreeSet::new();
    for row in &rows {
        assert!(row["value"].as_f64().unwrap() > 0.0 && row["floor"].as_f64().unwrap() > 0.0 && row["goal"] == "ratio <= 1.15", "{row:?}");
        parts.insert(row["work"].as_str().unwrap().split('/').nth(1).unwrap());
    }
    assert_eq!(parts, ["add", "kernel", "text"].into());
}
