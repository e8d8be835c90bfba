//! `umach top` on a running system: once, as JSON, and on a terminal of its own.

mod common;

use common::{Background, Place, eventually};

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
    use libtask::{Message, Task};
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
