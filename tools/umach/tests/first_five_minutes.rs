//! `docs/first-five-minutes.sh` does what it says, and the README shows its commands.

mod common;

use std::path::Path;

use common::{BUILD, Place, builder, finish_within};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The commands of the script, in order, as a shell sees them.
fn commands(script: &str) -> Vec<String> {
    let lines = script.lines().filter_map(|line| line.strip_prefix("try ").or_else(|| line.strip_prefix("fails ")));
    let unquoted = |text: &str| {
        let inner = &text[1..text.len() - 1];
        if text.starts_with('"') { inner.replace("\\$", "$") } else { inner.to_owned() }
    };
    lines.map(unquoted).collect()
}

#[test]
fn every_step_shows_what_it_promises() {
    let place = Place::new();
    let mut script = builder(&place, "sh");
    // Other tests build at the same time, on machines that are busy.
    script.arg(root().join("docs/first-five-minutes.sh")).env("STEP_SECONDS", BUILD.as_secs().to_string());
    let output = finish_within(script, BUILD).ok();
    assert!(output.out.ends_with("That was it.\n") && output.out.matches("✔").count() >= 12, "{output:#?}");
    // It leaves nothing in its temporary folder, which is in ours.
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn readme_shows_the_scripts_commands() {
    let script = std::fs::read_to_string(root().join("docs/first-five-minutes.sh")).unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: Vec<String> = block.lines().map(|line| line.split("  #").next().unwrap().trim_end().to_owned()).collect();
    assert_eq!(shown, commands(&script));
}
