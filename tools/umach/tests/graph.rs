//! `umach graph` and `names --watch` on a running system.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Background, Place, wait};

fn parse(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn graph_shows_who_holds_what_in_every_format() {
    let place = Place::new();
    let script = "$UMACH graph --format text > text; $UMACH graph --format dot > dot; $UMACH graph -o g.svg; $UMACH graph -o g.mmd; \
                  $UMACH graph --json; $UMACH graph files --format text > files; $UMACH graph --all --json > all";
    let output = place.script(&["--export", ".", "--export", "two=."], script).ok();
    let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    let text = read("text");
    for part in ["name-server", "file-server files", "P", "\"files\"", "\"two\"", "controls"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!read("files").contains("file-server two"), "{}", read("files"));
    let graph = parse(&output.out);
    let port = graph["ports"].as_array().unwrap().iter().find(|port| port["names"] == serde_json::json!(["files"])).unwrap();
    let receiver = graph["tasks"].as_array().unwrap().iter().find(|task| task["task"] == port["receiver"]).unwrap();
    assert_eq!(receiver["label"], "file-server files");
    let names = graph["tasks"].as_array().unwrap().iter().find(|task| task["label"] == "name-server").unwrap();
    let held = graph["rights"].as_array().unwrap().iter().find(|right| right["port"] == port["port"] && right["right"] == "send").unwrap();
    assert_eq!((&held["holder"], &held["place"]), (&names["task"], &serde_json::json!("space")));
    for (name, part) in [("dot", "digraph"), ("g.mmd", "flowchart"), ("g.svg", "<svg")] {
        let drawn = read(name);
        assert!(drawn.contains(part) && drawn.contains("file-server two") && drawn.contains("(name server)"), "{name}: {drawn}");
    }
    let all = parse(&read("all"));
    assert!(all["rights"].as_array().unwrap().len() > graph["rights"].as_array().unwrap().len());
}

#[test]
fn reach_is_an_assertion() {
    let place = Place::new();
    let script = "$UMACH graph --can 'file-server two' files; $UMACH graph --can files name-server --json > json; \
                  if $UMACH graph --cannot name-server two > path; then exit 10; fi; \
                  if $UMACH graph --can files nobody 2> wrong; then exit 11; fi";
    let output = place.script(&["--export", ".", "--export", "two=."], script).ok();
    assert!(output.out.contains("file-server two can reach files:") && output.out.contains("(name server)"), "{output:#?}");
    let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    let verdict = parse(&read("json"));
    assert_eq!((&verdict["can"], verdict["path"].as_array().unwrap().len()), (&serde_json::json!(true), 1));
    assert!(read("path").contains("can reach two"), "{}", read("path"));
    assert!(read("wrong").contains("nobody"), "{}", read("wrong"));
    assert_eq!(place.run(&["graph", "--can", "a"]).code(), Some(2));
}

#[test]
fn watched_names_appear_and_vanish_at_once() {
    let place = Place::new();
    let _kernel = Background::start(place.umach(&["kernel"]));
    common::eventually("the kernel listens", || place.run(&["ps"]).code() == Some(0));
    let _names = Background::start(place.umach(&["serve", "name"]));
    common::eventually("the name server answers", || place.run(&["names"]).code() == Some(0));
    let mut command = place.umach(&["names", "--watch", "--json", "--count", "2"]);
    let mut watch = Background(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    // It has to watch before there is something to see.
    let watching = || {
        let tasks = place.run(&["ps", "--json"]).ok().json();
        tasks.as_array().unwrap().iter().any(|task| task["label"] == "umach names" && task["received"].as_u64() >= Some(2))
    };
    common::eventually("the watch is set up", watching);
    let mut files = Background::start(place.umach(&["serve", "file", "--name", "seen", "."]));
    let mut next = || parse(&lines.next().unwrap().unwrap());
    let appeared = next();
    assert_eq!((&appeared["event"], &appeared["name"]), (&serde_json::json!("appeared"), &serde_json::json!("seen")), "{appeared:#}");
    assert_eq!(appeared["pid"], files.0.id());
    files.0.kill().unwrap();
    let vanished = next();
    assert_eq!((&vanished["event"], &vanished["pid"]), (&serde_json::json!("vanished"), &serde_json::Value::Null), "{vanished:#}");
    assert!(wait(&mut watch.0).success());
}
