//! `umach demo`, from the audience's side.

mod common;

use common::{Background, Place, eventually, wait};
use std::fs;

fn tree(place: &Place) {
    for (name, len) in [("tree/a", 10), ("tree/sub/b", 70_000), ("tree/sub/deeper/c", 0), ("tree/large", 3 << 20)] {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, (0..len).map(|n: usize| (n / 7) as u8).collect::<Vec<u8>>()).unwrap();
    }
}

#[test]
fn demo_of_a_folder_checks_everything_and_leaves_nothing() {
    let place = Place::new();
    tree(&place);
    let output = place.run(&["demo", "tree", "--json"]).ok();
    let summary = output.json();
    assert_eq!(summary["ok"], true, "{summary:#}");
    let counts = &summary["counts"];
    assert_eq!(
        (counts["files"].as_u64(), counts["directories"].as_u64(), counts["different"].as_u64()),
        (Some(4), Some(3), Some(0)),
        "{summary:#}"
    );
    assert_eq!(counts["bytes"].as_u64(), Some(10 + 70_000 + (3 << 20)));
    assert!(counts["mapped_bytes"].as_u64().unwrap() >= 3 << 20, "large files come as shared memory: {summary:#}");
    assert!(summary["notice_microseconds"].as_u64().is_some());
    assert_eq!(summary["left_behind"].as_array().unwrap().len(), 0);
    assert!(summary["checks"].as_array().unwrap().len() >= 7, "{summary:#}");
    assert!(summary["messages"].as_u64().unwrap() > 10);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "only the tree is left");
}

#[test]
fn demo_without_a_folder_walks_here_and_adds_a_large_file() {
    let place = Place::new();
    fs::write(place.join("here"), "here").unwrap();
    let summary = place.run(&["demo", "--json"]).ok().json();
    assert!(summary["counts"]["bytes"].as_u64().unwrap() > 20 << 20, "{summary:#}");
    assert!(summary["counts"]["mapped_files"].as_u64().unwrap() >= 1);
}

#[test]
fn demo_of_an_empty_folder_and_of_one_large_file_work() {
    let place = Place::new();
    fs::create_dir(place.join("tree")).unwrap();
    assert_eq!(place.run(&["demo", "tree", "--json"]).ok().json()["ok"], true);
    // Too large to be sent back whole, and mostly a hole.
    fs::File::create(place.join("tree/large")).unwrap().set_len(40 << 20).unwrap();
    let summary = place.run(&["demo", "tree", "--json"]).ok().json();
    assert_eq!((summary["ok"].as_bool(), summary["counts"]["bytes"].as_u64()), (Some(true), Some(40 << 20)), "{summary:#}");
}

#[test]
fn demo_tells_the_story_and_draws_it() {
    let place = Place::new();
    tree(&place);
    let output = place.run(&["demo", "tree", "--diagram", "d.svg"]).ok();
    for part in ["What happened", "sequenceDiagram", "kill -9", "dead name", "Summary", "nothing is left behind", "shared memory"] {
        assert!(output.out.contains(part), "{part:?} is not in: {}", output.out);
    }
    assert!(!output.out.contains('\x1b'), "no colours into a pipe");
    assert!(fs::read_to_string(place.join("d.svg")).unwrap().starts_with("<svg"));
    place.run(&["demo", "tree", "--json", "--diagram", "d.mmd"]).ok();
    assert!(fs::read_to_string(place.join("d.mmd")).unwrap().starts_with("sequenceDiagram"));
}

#[test]
fn demo_that_is_interrupted_tidies_up() {
    let place = Place::new();
    tree(&place);
    // So many files that the interruption usually comes before the end.
    for n in 0..3000 {
        fs::write(place.join(&format!("tree/sub/{n}")), [0; 3]).unwrap();
    }
    let mut demo = place.umach(&["demo", "tree"]);
    let mut demo = Background(demo.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap());
    eventually("the private folder", || fs::read_dir(place.path()).unwrap().count() > 1);
    rustix::process::kill_process(rustix::process::Pid::from_child(&demo.0), rustix::process::Signal::INT).unwrap();
    // Interrupted before its end, or done just before: tidy either way.
    assert!(matches!(wait(&mut demo.0).code(), Some(0 | 1)));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "only the tree is left");
}

#[test]
fn demo_of_what_is_no_folder_fails() {
    let place = Place::new();
    for wrong in ["missing", "/dev/null"] {
        let output = place.run(&["demo", wrong]);
        assert!(output.code() == Some(1) && !output.err.is_empty(), "{output:#?}");
    }
}
