//! `umach run`, and the listings inside of it.

mod common;

use common::{Background, Place, eventually, wait};
use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn exit_code_is_the_commands() {
    let place = Place::new();
    assert_eq!(place.script(&[], "exit 0").code(), Some(0));
    assert_eq!(place.script(&[], "exit 42").code(), Some(42));
    assert_eq!(place.script(&[], "kill -KILL $$").code(), Some(128 + 9));
    let missing = place.run(&["run", "--", "/nonexistent/program"]);
    assert_eq!(missing.code(), Some(127), "{missing:#?}");
    let no_program = place.run(&["run", "--", place.path().to_str().unwrap()]);
    assert_eq!(no_program.code(), Some(126), "{no_program:#?}");
}

#[test]
fn command_sees_its_arguments_input_and_output() {
    let place = Place::new();
    let output = place.run(&["run", "--", "sh", "-c", "echo \"$1-$2\"", "sh", "--help", "b c"]).ok();
    assert_eq!(output.out, "--help-b c\n");
}

#[test]
fn run_leaves_no_process_and_no_file() {
    let place = Place::new();
    let output = place.script(&["--export", "."], "echo $UMACH_SOCKET; $UMACH ps --json").ok();
    let (socket, listing) = output.out.split_once('\n').unwrap();
    let tasks: serde_json::Value = serde_json::from_str(listing).unwrap();
    let pids: Vec<u64> = tasks.as_array().unwrap().iter().filter_map(|task| task["pid"].as_u64()).filter(|pid| *pid != 0).collect();
    assert!(pids.len() >= 3, "{tasks:#}");
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left: {tasks:#}");
    }
    assert!(!std::path::Path::new(socket).parent().unwrap().exists(), "{socket} is left");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "something is left in TMPDIR");
}

#[test]
fn system_ends_with_a_run_that_is_killed() {
    let place = Place::new();
    let mut run = place.umach(&[
        "run",
        "--private",
        "--",
        "sh",
        "-c",
        "echo $$ > pid; $UMACH ps --json > tasks.new && mv tasks.new tasks; exec sleep 1000",
    ]);
    let mut run = Background(run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("the listing", || place.join("tasks").exists());
    let tasks: serde_json::Value = serde_json::from_slice(&fs::read(place.join("tasks")).unwrap()).unwrap();
    let server = tasks.as_array().unwrap().iter().find(|task| task["label"] == "name-server").unwrap()["pid"].as_u64().unwrap();
    run.0.kill().unwrap();
    wait(&mut run.0);
    eventually("the name server ends with the run", || !is_running(server));
    // The command itself is not ours to end when we are killed.
    let command = fs::read_to_string(place.join("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(command).unwrap(), Signal::KILL).unwrap();
}

fn is_running(pid: u64) -> bool {
    // A zombie whose new parent has not looked yet has ended.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

#[test]
fn signal_is_passed_on() {
    let place = Place::new();
    let mut run = place.umach(&["run", "--private", "--", "sh", "-c", "trap 'exit 7' TERM; : > ready; while :; do sleep 0.01; done"]);
    let mut run = Background(run.spawn().unwrap());
    eventually("the script runs", || place.join("ready").exists());
    kill_process(Pid::from_child(&run.0), Signal::TERM).unwrap();
    assert_eq!(wait(&mut run.0).code(), Some(7));
}

#[test]
fn listings_show_tasks_ports_rights_and_names() {
    let place = Place::new();
    let output = place.script(
        &["--export", "shared=."],
        // The name server may still be answering whoever checked in last; it comes to rest in its receive.
        "for i in $(seq 500); do $UMACH ps | grep -q ' receive .* name-server' && break; sleep 0.01; done
        for what in ps 'ports --all' ports rights names; do $UMACH $what --json; echo ---; $UMACH $what; echo ---; done",
    );
    let output = output.ok();
    let parts: Vec<&str> = output.out.split("---\n").collect();
    let json = |at: usize| serde_json::from_str::<serde_json::Value>(parts[at]).unwrap_or_else(|error| panic!("{error}: {}", parts[at]));

    let tasks = json(0);
    let labels: Vec<&str> = tasks.as_array().unwrap().iter().map(|task| task["label"].as_str().unwrap()).collect();
    for label in ["umach run", "name-server", "file-server shared"] {
        assert!(labels.contains(&label), "{label} is not in {labels:?}");
        assert!(parts[1].contains(label), "{}", parts[1]);
    }
    let names = tasks.as_array().unwrap().iter().find(|task| task["label"] == "name-server").unwrap();
    assert_eq!(names["state"], "receive");
    assert!(names["received"].as_u64().unwrap() > 0 && names["parent"].as_u64().is_some());

    let (all, ports) = (json(2), json(4));
    assert!(all.as_array().unwrap().len() > ports.as_array().unwrap().len());
    assert!(ports.as_array().unwrap().iter().all(|port| port["kind"] == "port"));
    assert!(ports.as_array().unwrap().iter().any(|port| port["receiver_label"] == "name-server"));

    let rights = json(6);
    let held = |label: &str, word: &str| {
        let found =
            |right: &&serde_json::Value| right["label"] == label && right["rights"].as_array().unwrap().iter().any(|held| held == word);
        rights.as_array().unwrap().iter().filter(found).count()
    };
    assert!(held("name-server", "receive") > 0 && held("file-server shared", "send") > 0 && held("name-server", "set") > 0, "{rights:#}");

    let names = json(8);
    assert_eq!(names[0]["name"], "shared");
    assert!(parts[9].contains("shared"), "{}", parts[9]);
}

#[test]
fn listing_of_one_task_by_id_and_by_process() {
    let place = Place::new();
    let script = r#"
        $UMACH rights --json $($UMACH ps | sed -n 's/^\(T[0-9.]*\) .* umach run$/\1/p')
        echo ---
        $UMACH ports --json $($UMACH ps --json | tr -d ' ,"' | grep -A1 label:name-server | sed -n s/pid://p)
    "#;
    let output = place.script(&[], script).ok();
    let (rights, ports) = output.out.split_once("---\n").unwrap();
    let rows = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap().as_array().unwrap().clone();
    assert!(!rows(rights).is_empty() && rows(rights).iter().all(|right| right["label"] == "umach run"), "{rights}");
    assert!(!rows(ports).is_empty() && rows(ports).iter().all(|port| port["receiver_label"] == "name-server"), "{ports}");
    for nobody in ["T999", "1"] {
        let output = place.script(&[], &format!("$UMACH rights {nobody}"));
        assert!(output.code() == Some(1) && output.err.contains("umach ps"), "{output:#?}");
    }
}

#[test]
fn kill_ends_a_task_and_its_process() {
    let place = Place::new();
    // The process stays a zombie until `umach run`, which started it, looks at the end.
    let script = r#"
        pid() { $UMACH ps --json | tr -d ' ,"' | grep -A1 label:file-server | sed -n s/pid://p; }
        until_so() { for i in $(seq 1000); do eval "$1" && return; sleep 0.01; done; echo "never: $1"; }
        P=$(pid)
        $UMACH kill $P
        test -z "$(pid)"
        until_so "grep -q '^State:.Z' /proc/$P/status"
        until_so 'test "$($UMACH names --json)" = "[]"'
    "#;
    let output = place.script(&["--export", "."], script).ok();
    assert!(output.out.starts_with("ended T") && !output.out.contains("never"), "{output:#?}");
}

#[test]
fn kernel_at_the_socket_is_used_and_outlives_the_run() {
    let place = Place::new();
    let kernel = Background::start(place.umach(&["kernel"]));
    eventually("the kernel runs", || place.run(&["ps"]).code() == Some(0));
    let names = Background::start(place.umach(&["serve", "name"]));
    eventually("the name server runs", || place.run(&["names"]).code() == Some(0));
    let second = place.run(&["serve", "name"]);
    assert!(second.code() == Some(1) && second.err.contains("already"), "{second:#?}");
    let files = Background::start(place.umach(&["serve", "file", "--name", "here", "."]));
    eventually("the file server runs", || place.run(&["names"]).out.contains("here"));
    fs::write(place.join("hello"), "hello, world").unwrap();
    assert_eq!(place.run(&["fs", "cat", "here:/hello"]).ok().out, "hello, world");

    let inside = place.run(&["run", "--", "sh", "-euc", "$UMACH ps --json; echo $UMACH_SOCKET >&2"]).ok();
    assert_eq!(inside.err.trim(), place.socket().to_str().unwrap());
    let labels: Vec<String> = inside.json().as_array().unwrap().iter().map(|task| task["label"].as_str().unwrap().to_owned()).collect();
    assert!(labels.iter().any(|label| label == "file-server here"), "{labels:?}");
    let checks = place.run(&["doctor", "--json"]).json();
    assert_eq!(checks.as_array().unwrap().iter().find(|check| check["check"] == "umach kernel").unwrap()["state"], "ok");
    drop((files, names, kernel));
    eventually("no kernel answers", || place.run(&["ps"]).code() == Some(3));
}

#[test]
fn programs_of_one_shell_are_tasks_of_their_own() {
    let place = Place::new();
    let script = r#"
        $UMACH serve file --name one . & A=$!
        $UMACH serve file --name two . & B=$!
        for i in $(seq 1000); do test "$($UMACH names --json | grep -c '"registered"')" = 2 && break; sleep 0.01; done
        $UMACH fs ls one:; $UMACH fs ls two:; $UMACH names
        kill $A $B; wait || true
    "#;
    let output = place.script(&[], script).ok();
    assert!(output.out.contains("\none ") && output.out.contains("\ntwo "), "{output:#?}");
}

#[test]
fn service_is_started_by_its_first_message() {
    let place = Place::new();
    fs::write(place.join("hello"), "hello, world").unwrap();
    let service = format!("lazy={} serve file {}", env!("CARGO_BIN_EXE_umach"), place.path().display());
    let output =
        place.script(&["--name", &service], "$UMACH names --json; echo ---; $UMACH fs cat lazy:/hello; echo; $UMACH names --json").ok();
    let (before, after) = output.out.split_once("---\n").unwrap();
    let entry = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()[0].clone();
    assert_eq!(entry(before)["state"], "on demand");
    let (content, after) = after.split_once('\n').unwrap();
    assert_eq!((content, entry(after)["state"].as_str()), ("hello, world", Some("active")));
    let pid = entry(after)["pid"].as_u64().unwrap();
    eventually("the service ends with the system", || !is_running(pid));
}
