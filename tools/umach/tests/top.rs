//! `umach top` on a running system: once, as JSON, and on a terminal of its own.

mod common;

use std::time::Duration;

use common::terminal::Terminal;
use common::{Background, Place, eventually, wait};
use libtask::Task;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn once_and_json_show_the_tasks_and_what_they_do() {
    let place = Place::new();
    let script = "(while :; do $UMACH fs ls -l / > /dev/null; done) & $UMACH top --once > once; \
                  $UMACH top --json --count 2 --interval 0.3; kill $!; wait";
    let output = place.script(&["--export", "."], script);
    let once = std::fs::read_to_string(place.join("once")).unwrap();
    for part in ["umach top", "name-server", "file-server files", "MSG/S", "QUEUE", "serves"] {
        assert!(once.contains(part), "{part}: {once}");
    }
    let lines: Vec<serde_json::Value> = output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{output:#?}");
    let server = |line: &serde_json::Value| {
        line["tasks"].as_array().unwrap().iter().find(|task| task["label"] == "file-server files").unwrap().clone()
    };
    assert!(lines.iter().any(|line| server(line)["received_per_second"].as_f64().unwrap() > 0.0), "{lines:#?}");
    assert!(lines.iter().any(|line| line["messages_per_second"].as_f64().unwrap() > 0.0), "{lines:#?}");
    for line in &lines {
        assert_eq!(line["circles"], serde_json::json!([]));
        assert!(line["ports"].as_array().unwrap().iter().any(|port| port["receiver"] == server(line)["task"]));
    }
}

#[test]
fn wrong_uses_are_refused() {
    let place = Place::new();
    for wrong in [&["top", "--interval", "0"][..], &["top", "--once", "--json"], &["top", "--count", "1"], &["top", "--sort", "age"]] {
        assert_eq!(place.run(wrong).code(), Some(2), "{wrong:?}");
    }
    let pipe = place.script(&[], "if $UMACH top; then exit 5; fi").ok();
    assert!(pipe.err.contains("--once"), "{pipe:#?}");
}

/// Two tasks that call each other, both without a thread that would answer.
#[test]
fn circle_of_waiting_tasks_is_told() {
    use libtask::Message;
    const CALL: std::time::Duration = std::time::Duration::from_secs(60);
    let place = Place::new();
    let _kernel = Background::start(place.umach(&["kernel", "--direct", "off"]));
    eventually("the kernel listens", || place.run(&["ps"]).code() == Some(0));
    let join = |label: &str| {
        let task = Task::connect(&place.socket()).unwrap();
        task.set_label(label).unwrap();
        task
    };
    let one = join("one");
    let port_of_one = one.new_port().unwrap();
    one.host_control().unwrap().set_bootstrap(Some(&port_of_one.make_send().unwrap())).unwrap();
    let two = join("two");
    let (port_of_two, to_one) = (two.new_port().unwrap(), two.bootstrap().unwrap());
    to_one.send(Message::new(1).make_send(&port_of_two)).unwrap();
    let to_two = port_of_one.receive_within(CALL).unwrap().take_send(0).unwrap();
    std::thread::scope(|scope| {
        let calls = [&to_one, &to_two].map(|right| scope.spawn(move || right.call_within(Message::new(2), CALL).is_err()));
        eventually("the circle is seen to last", || {
            let lines = place.run(&["top", "--json", "--count", "1", "--interval", "0.1"]).ok().json();
            let circle = serde_json::json!([{ "tasks": [one.id().min(two.id()), one.id().max(two.id())], "stuck": true }]);
            lines["circles"] == circle
        });
        let once = place.run(&["top", "--once", "--interval", "0.1"]).ok().out;
        assert!(once.contains("stuck: ") && once.contains(" one → ") && once.contains("nobody will move"), "{once}");
        // The ports end: the callers are told.
        drop((port_of_one, port_of_two));
        assert!(calls.map(|call| call.join().unwrap()).iter().all(|told| *told));
    });
}

fn top(place: &Place, lines: u16, columns: u16) -> Terminal {
    Terminal::start(&place.umach(&["top", "--interval", "0.1"]), lines, columns)
}

/// A kernel process alone, with a task that has this label.
fn system(place: &Place, label: &str) -> (Background, Task) {
    let kernel = Background::start(place.umach(&["kernel"]));
    eventually("the kernel listens", || place.run(&["ps"]).code() == Some(0));
    let task = Task::connect(&place.socket()).unwrap();
    task.set_label(label).unwrap();
    (kernel, task)
}

#[test]
fn terminal_is_given_back_however_it_ends() {
    let place = Place::new();
    let (_kernel, _task) = system(&place, "somebody");
    type Way = (&'static str, fn(&mut Terminal));
    let ways: [Way; 5] = [
        ("q", |terminal| terminal.press("q")),
        ("Ctrl-C", |terminal| terminal.press("\x03")),
        ("SIGINT", |terminal| terminal.signal(Signal::INT)),
        ("SIGTERM", |terminal| terminal.signal(Signal::TERM)),
        ("SIGHUP", |terminal| terminal.signal(Signal::HUP)),
    ];
    for (way, end) in ways {
        let mut terminal = top(&place, 24, 80);
        terminal.await_text("somebody");
        eventually("the terminal is taken", || terminal.is_taken());
        end(&mut terminal);
        assert!(wait(&mut terminal.child).success(), "{way}: {}", terminal.shows());
        terminal.await_given_back();
        assert!(!terminal.shows().contains("panicked"), "{way}: {}", terminal.shows());
    }
}

#[test]
fn terminal_is_given_back_while_it_is_stopped() {
    let place = Place::new();
    let (_kernel, _task) = system(&place, "somebody");
    let mut terminal = top(&place, 24, 80);
    for stop in [|terminal: &mut Terminal| terminal.press("\x1a"), |terminal: &mut Terminal| terminal.signal(Signal::TSTP)] {
        eventually("the terminal is taken", || terminal.is_taken() && terminal.shows().contains("somebody"));
        stop(&mut terminal);
        eventually("it stops", || terminal.state() == 'T');
        terminal.await_given_back();
        terminal.signal(Signal::CONT);
    }
    // Who is stopped without being asked has no chance; what comes after is right all the same.
    eventually("the terminal is taken", || terminal.is_taken());
    terminal.signal(Signal::STOP);
    eventually("it stops", || terminal.state() == 'T');
    terminal.signal(Signal::CONT);
    eventually("the terminal is taken", || terminal.is_taken() && terminal.shows().contains("somebody"));
    terminal.press("q");
    assert!(wait(&mut terminal.child).success());
    terminal.await_given_back();
}

#[test]
fn every_size_of_the_terminal_is_drawn() {
    let place = Place::new();
    let (_kernel, _task) = system(&place, "somebody");
    let mut terminal = top(&place, 24, 80);
    terminal.await_text("somebody");
    for keys in ["", "?", "\x1b", "k", "n", "\r", "\x1b", "/some", "\r"] {
        terminal.press(keys);
        for (lines, columns) in [(1, 1), (3, 10), (2, 2), (40, 1), (1, 200), (100, 300)] {
            terminal.resize(lines, columns);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(terminal.child.try_wait().unwrap(), None, "{keys:?}: {}", terminal.shows());
    }
    terminal.resize(24, 80);
    terminal.await_text("only `some`");
    terminal.press("q");
    assert!(wait(&mut terminal.child).success());
    terminal.await_given_back();
}

#[test]
fn kernel_that_is_silent_is_told_and_can_be_left_and_its_death_ends_the_screen() {
    let place = Place::new();
    let (kernel, _task) = system(&place, "somebody");
    let pid = Pid::from_child(&kernel.0);
    kill_process(pid, Signal::STOP).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    let mut first = top(&place, 24, 100);
    first.await_text("somebody");
    let mut second = top(&place, 24, 100);
    second.await_text("somebody");
    kill_process(pid, Signal::STOP).unwrap();
    first.await_text("has not answered for");
    first.press("?");
    first.await_text("keys");
    first.press(" q");
    assert!(wait(&mut first.child).success());
    first.await_given_back();
    drop(kernel);
    assert_eq!(wait(&mut second.child).code(), Some(1));
    second.await_given_back();
    second.await_text("the kernel process is gone");
}

#[test]
fn label_cannot_write_to_the_terminal_and_many_tasks_can_be_gone_through() {
    let place = Place::new();
    let (_kernel, task) = system(&place, "\x1b]0;stolen\x07\x1b[2J\r\nT1 root\u{9b}31m\u{202e}");
    let crowd: Vec<Task> = (0..500)
        .map(|n| {
            let one = Task::connect(&place.socket()).unwrap();
            one.set_label(&format!("漢字 {n}")).unwrap();
            one
        })
        .collect();
    let mut terminal = top(&place, 30, 120);
    terminal.await_text("漢字 0");
    terminal.press("\x1b[F");
    terminal.await_text("漢字 499");
    terminal.press("/stolen\r");
    terminal.await_text(r"\u{1b}]0;stolen");
    terminal.press("\r");
    terminal.await_text(r"\u{1b}]0;stolen\u{7}\u{1b}[2J\r\nT1 root\u{9b}31m\u{202e}");
    terminal.press("\x1b");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("q");
    assert!(wait(&mut terminal.child).success());
    terminal.await_given_back();
    for part in ["\x1b]0;", "\u{202e}", "\u{9b}", "\x07"] {
        assert!(!terminal.written().contains(part), "{part:?}");
    }
    drop((task, crowd));
}
