//! Labels and names that others chose cannot steer the terminal of who looks at them, and a reader that goes away is no failure.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use common::{Background, Place, eventually, wait};
use libtask::{Message, Task};
use rustix::process::{Pid, Signal, kill_process};
use umach_abi::records::Written;

const HOSTILE: &str = "\x1b]0;stolen\x07\x1b[2J\r\nT1 root\u{9b}31m\u{202e}\"<b>";

struct World {
    place: Place,
    kernel: Background,
    _names: Background,
    /// Who calls itself [`HOSTILE`].
    tasks: [Task; 2],
}

fn world() -> World {
    let place = Place::new();
    let kernel = Background::start(place.umach(&["kernel", "--direct", "always"]));
    eventually("the kernel runs", || Task::connect(&place.socket()).is_ok());
    let names = Background::start(place.umach(&["serve", "name"]));
    eventually("the name server runs", || Task::connect(&place.socket()).is_ok_and(|task| task.bootstrap().is_ok()));
    let tasks = [1, 2].map(|_| Task::connect(&place.socket()).unwrap());
    tasks.iter().for_each(|task| task.set_label(HOSTILE).unwrap());
    let port = tasks[0].new_port().unwrap();
    umach_name_api::Names::from_bootstrap(&tasks[0]).unwrap().register("hostile", port.make_send().unwrap()).unwrap();
    let right = umach_name_api::Names::from_bootstrap(&tasks[1]).unwrap().look_up("hostile").unwrap();
    std::thread::spawn(move || port.serve(|request| libtask::Next::Reply(Message::new(request.id() + 100).bytes(HOSTILE.as_bytes()))));
    // It speaks all the time.
    std::thread::spawn(move || {
        while right.call(Message::new(77).bytes(HOSTILE.as_bytes())).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    World { place, kernel, _names: names, tasks }
}

const LISTINGS: &[&[&str]] = &[
    &["ps"],
    &["ps", "--links"],
    &["ps", "--files"],
    &["ports"],
    &["ports", "--routes"],
    &["rights"],
    &["names"],
    &["graph", "--format", "text"],
    &["graph", "--format", "dot"],
    &["graph", "--format", "mermaid"],
    &["graph", "--format", "svg"],
    &["top", "--once", "--interval", "0.1"],
    &["trace", "--count", "4"],
    &["monitor", "hostile", "--count", "4"],
    &["doctor"],
];

fn assert_harmless(command: &[&str], text: &str) {
    let steering = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(!text.contains(steering), "{command:?}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("T1 root")), "{command:?}: {text}");
}

#[test]
fn no_listing_lets_a_label_steer_the_terminal() {
    let world = world();
    let mut shown = 0;
    for command in LISTINGS {
        let output = world.place.run(command).ok();
        assert_harmless(command, &output.out);
        assert_harmless(command, &output.err);
        shown += usize::from(output.out.contains("stolen"));
    }
    assert!(shown >= 9, "it is shown by {shown} of them only");
    for command in
        [&["ps", "--json"][..], &["graph", "--json"], &["rights", "--json"], &["ports", "--json"], &["top", "--json", "--count", "1"]]
    {
        let output = world.place.run(command).ok();
        assert_harmless(command, &output.out);
        let labels = output.json().to_string();
        assert!(labels.contains(&serde_json::to_string(HOSTILE).unwrap()), "{command:?} does not say it exactly: {labels}");
    }
    // Not one of this process's.
    let command = libtask::Command::new("sleep").arg("1000").label(HOSTILE).kill_on_drop();
    let _child = world.tasks[0].spawn(command).unwrap();
    let own = [0, 1].map(|n| world.tasks[n].id());
    let all = world.place.run(&["ps", "--json"]).ok().json();
    let mut ids = all.as_array().unwrap().iter().filter(|row| row["label"] == HOSTILE).map(|row| row["task"].as_u64().unwrap());
    let other = ids.find(|id| !own.contains(id)).expect("the child's task");
    let gone = world.place.run(&["kill", &Written('T', other).to_string()]).ok();
    assert_harmless(&["kill"], &gone.out);
    assert_harmless(&["kill"], &gone.err);
}

#[test]
fn reader_that_goes_away_is_no_failure() {
    let world = world();
    let endless: &[&[&str]] = &[&["trace"], &["trace", "--json"], &["monitor", "hostile"], &["top", "--json", "--interval", "0.05"]];
    for command in LISTINGS.iter().chain(endless) {
        // Nobody reads from the first byte on.
        let mut child = world.place.umach(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        if endless.contains(command) {
            reader.read_line(&mut String::new()).unwrap();
        }
        drop(reader);
        let status = wait(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success() && !said.contains("panicked") && !said.contains("ipe"), "{command:?}: {status}: {said}");
    }
}

#[test]
fn kernel_that_dies_ends_what_watches_it_with_a_sentence() {
    let mut world = world();
    let watching: Vec<_> = [&["trace"][..], &["monitor", "hostile"], &["names", "--watch"], &["top", "--json"]]
        .into_iter()
        .map(|command| {
            let mut child = world.place.umach(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut String::new()).unwrap();
            (command, child, out)
        })
        .collect();
    kill_process(Pid::from_child(&world.kernel.0), Signal::KILL).unwrap();
    wait(&mut world.kernel.0);
    for (command, mut child, mut out) in watching {
        out.read_to_end(&mut Vec::new()).unwrap();
        let status = wait(&mut child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("umach: ") && !said.contains("panicked"), "{command:?}: {said}");
    }
}
