//! `umach new`: the project builds without a registry, its tests hold, and its client finds its server.

mod common;

use common::{BUILD, Place, build_folder, builder, finish_within};

#[test]
fn project_builds_offline_tests_itself_and_runs() {
    let place = Place::new();
    // The name that the first five minutes use: both are built into one folder, at the same time perhaps, and either's programs will do.
    let made = place.run(&["new", "hello", "--json"]).ok().json();
    assert_eq!((&made["name"], made["next"].as_array().unwrap().len()), (&serde_json::json!("hello"), 4), "{made:#}");
    for file in made["files"].as_array().unwrap() {
        assert!(place.join("hello").join(file.as_str().unwrap()).exists(), "{file}");
    }
    let mut cargo = builder(&place, env!("CARGO"));
    cargo.args(["test", "--offline"]).current_dir(place.join("hello"));
    let tested = finish_within(cargo, BUILD).ok();
    assert!(tested.out.contains("2 passed"), "{tested:#?}");

    let programs = build_folder().join("debug");
    let script = format!("{0}/server & {0}/client", programs.display());
    let mut run = builder(&place, "umach");
    run.args(["run", "--private", "--", "sh", "-c", &script]);
    let output = common::finish(run).ok();
    assert_eq!(output.out, "hello, world\nin the notebook: bread, milk\n", "{output:#?}");
}

#[test]
fn folder_with_something_in_it_and_bad_names_are_refused() {
    let place = Place::new();
    std::fs::create_dir(place.join("full")).unwrap();
    std::fs::write(place.join("full/mine"), "precious").unwrap();
    let refused = place.run(&["new", "full"]);
    assert!(refused.code() == Some(1) && refused.err.contains("not empty"), "{refused:#?}");
    assert_eq!(std::fs::read_dir(place.join("full")).unwrap().count(), 1);
    for (arguments, code) in
        [(&["new", "9lives"][..], 1), (&["new", "x", "--name", "a b"], 2), (&["new", "x", "--checkout", "."], 1), (&["new"], 2)]
    {
        assert_eq!(place.run(arguments).code(), Some(code), "{arguments:?}");
    }
    assert!(!place.join("x").exists() && !place.join("9lives").exists());
    // An empty one will do.
    std::fs::create_dir(place.join("empty")).unwrap();
    place.run(&["new", "empty"]).ok();
}
