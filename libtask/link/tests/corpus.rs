//! The fuzz targets' corpora, replayed.

use std::path::Path;

#[allow(unreachable_pub)] // a library of its own for the fuzzer
#[path = "../fuzz/src/lib.rs"]
mod targets;

#[path = "../fuzz/replay.rs"]
mod replay;

fn replay(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    replay::replay(*target, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name));
}

#[test]
fn corpus_of_records_is_survived() {
    replay("records");
}

#[test]
fn corpus_of_ring_is_survived() {
    replay("ring");
}

#[test]
fn corpus_of_slot_is_survived() {
    replay("slot");
}

#[test]
fn corpus_of_control_is_survived() {
    replay("control");
}

#[test]
fn corpus_of_leases_is_survived() {
    replay("leases");
}
