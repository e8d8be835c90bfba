//! The corpora of the fuzz targets in `tests/fuzz`, replayed.

use std::path::Path;

#[path = "../../libtask/link/fuzz/replay.rs"]
mod replay;
#[allow(unreachable_pub)] // a library of its own for the fuzzer
#[path = "../fuzz/src/lib.rs"]
mod targets;

fn replay(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    replay::replay(*target, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name));
}

#[test]
fn corpus_of_core_is_survived() {
    replay("core");
}

#[test]
fn corpus_of_description_is_survived() {
    replay("description");
}
