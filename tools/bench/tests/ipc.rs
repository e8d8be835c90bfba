//! umach beside the others, quickly: every contestant does every piece of work that it can, and what arrives is what was sent (the bench itself checks each
//! answer). What the figures are is not a test's business.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::bench;

type Row = serde_json::Map<String, serde_json::Value>;

fn text<'r>(row: &'r Row, key: &str) -> &'r str {
    row[key].as_str().unwrap()
}

/// The contestants of a work.
fn contestants<'r>(rows: &'r [Row], work: &str) -> BTreeSet<&'r str> {
    rows.iter().filter(|row| text(row, "work") == work).map(|row| text(row, "contestant")).collect()
}

#[test]
fn ipc_quick_runs_every_contestant_and_draws_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("bench.svg");
    let (done, output) = bench(&["ipc", "--quick", "--json", "--runs", "1", "--placement", "one-core", "--svg", picture.to_str().unwrap()]);
    assert!(done, "{output}");
    let rows: Vec<Row> = serde_json::from_str(&output).unwrap();
    let keys: BTreeSet<&str> = ["work", "placement", "contestant", "kind", "value", "p99", "unit", "floor", "ratio", "goals"].into();
    for row in &rows {
        assert_eq!(row.keys().map(String::as_str).collect::<BTreeSet<_>>(), keys);
        // An idle system does nothing; everything else takes time.
        assert!(row["value"].as_f64().unwrap() > 0.0 || text(row, "work") == "ipc/wait/idle-50", "{row:?}");
    }
    let sockets = ["pipe", "fifo", "unix-stream", "unix-seqpacket", "tcp", "posix-mq", "sysv-msg"];
    let calls: BTreeSet<&str> =
        ["umach", "umach-kernel", "umach-mach-msg", "shm-futex", "shm-spin-yield-futex", "relay"].into_iter().chain(sockets).collect();
    assert!(contestants(&rows, "ipc/latency/call-32").is_superset(&calls));
    let largest = contestants(&rows, "ipc/latency/call-64k");
    assert!(largest.contains("umach") && largest.contains("tcp") && !largest.contains("posix-mq"), "{largest:?}");
    let streams: BTreeSet<&str> =
        ["umach", "umach-kernel", "ring-futex", "ring-spin-yield-futex", "relay"].into_iter().chain(sockets).collect();
    assert!(contestants(&rows, "ipc/throughput/one-way-64").is_superset(&streams));
    let bulk: BTreeSet<&str> = ["umach", "umach-kernel", "ring-spin-yield-futex", "loan"].into_iter().chain(sockets).collect();
    for work in ["copy-256k", "place-1m", "place-64m"] {
        assert!(contestants(&rows, &format!("ipc/bulk/{work}")).is_superset(&bulk), "{work}");
    }
    for work in ["one-by-one", "sixteen"] {
        assert!(contestants(&rows, &format!("ipc/rights/{work}")).is_superset(&["umach", "umach-kernel", "scm-rights"].into()), "{work}");
    }
    for work in
        ["wait/call-32-computing", "wait/call-32-hogs", "wait/idle-50", "scale/one-of-500", "scale/link-setup", "scale/file-read-1g"]
    {
        assert!(contestants(&rows, &format!("ipc/{work}")).contains("umach"), "{work}");
    }
    let picture = std::fs::read_to_string(picture).unwrap();
    assert!(picture.contains("</svg>") && picture.contains("System V queue"));
}

#[test]
fn every_placement_of_this_machine_gives_figures() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let (done, output) = bench(&["ipc", "latency", "--quick", "--json", "--runs", "1", "--only", "call-32", "--with", "unix-seqpacket"]);
    assert!(done, "{output}");
    let rows: Vec<Row> = serde_json::from_str(&output).unwrap();
    let places: Vec<&str> = rows.iter().map(|row| text(row, "placement")).collect();
    let expected: &[&str] = if cpus > 1 { &["one-core", "two-cores", "unpinned"] } else { &["one-core", "unpinned"] };
    assert_eq!(places, expected);
}

#[test]
fn unknown_work_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_umach-bench")).args(["ipc", "--quick", "--only", "nonsense"]).output().unwrap();
    assert!(!output.status.success());
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(why.contains("nonsense"), "{why}");
}
