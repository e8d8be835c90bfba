//! `umach trace` and `umach replay`: what is seen of a live system, in which order, and what becomes of links meanwhile.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;

use common::{Background, DEADLINE, Output, Place, eventually, wait};
use libtask::{Message, Next, ReceiveRight, SendRight, Task};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A kernel in which two tasks of this process talk over a link.
struct Talk {
    place: Place,
    _kernel: Background,
    client: Task,
    right: SendRight,
    server: Option<thread::JoinHandle<ReceiveRight>>,
}

/// The request after which the server stops.
const STOP: i32 = 9;

impl Talk {
    /// With a route from the client to the server: the kernel grants it as soon as it may.
    fn new() -> Talk {
        let place = Place::new();
        let mut command = place.umach(&["kernel"]);
        command.env("UMACH_DIRECT", "always");
        let kernel = Background::start(command);
        eventually("the kernel runs", || Task::connect(&place.socket()).is_ok());
        let connect = |label| {
            let task = Task::connect(&place.socket()).unwrap();
            task.set_label(label).unwrap();
            task
        };
        let server = connect("the server");
        let port = server.new_port().unwrap();
        server.host_control().unwrap().set_bootstrap(Some(&port.make_send().unwrap())).unwrap();
        let client = connect("the client");
        let right = client.bootstrap().unwrap();
        let serve = move || {
            let answer = |request: &mut libtask::Received| match request.id() {
                STOP => Next::ReplyAndStop(Message::new(STOP + 100)),
                id if request.wants_reply() => Next::Reply(Message::new(id + 100).body(&"the answer")),
                _ => Next::Continue,
            };
            port.serve(answer).unwrap();
            port
        };
        let talk = Talk { place, _kernel: kernel, client, right, server: Some(thread::spawn(serve)) };
        eventually("there is a route", || {
            talk.call(1);
            talk.routes() == 1
        });
        talk
    }
    fn call(&self, id: i32) {
        self.right.call_within(Message::new(id).body(&"a question"), DEADLINE).unwrap();
    }
    fn routes(&self) -> usize {
        self.client.host_control().unwrap().routes().unwrap().iter().filter(|route| route.state < 2).count()
    }
    fn trace(&self, arguments: &[&str]) -> Tracing {
        Tracing::start(&self.place, arguments)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(server) = self.server.take()
            && self.right.call_within(Message::new(STOP), DEADLINE).is_ok()
        {
            let _ = server.join();
        }
    }
}

/// A tracer that runs, its lines read one by one.
struct Tracing {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Tracing {
    /// Returns when the trace is on.
    fn start(place: &Place, arguments: &[&str]) -> Tracing {
        let mut command = place.umach(&[&["trace", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut tracing = Tracing { child, lines };
        assert_eq!(tracing.next().expect("a first line")["event"], "begin");
        tracing
    }
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
    /// Reads up to the message of this id.
    fn until(&mut self, id: i32) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the trace ended before #{id}: {all:#?}"));
            let last = event["event"] == "sent" && event["id"] == id;
            all.push(event);
            if last {
                return all;
            }
        }
    }
    /// As Ctrl-C does it. Gives the rest.
    fn interrupt(mut self) -> Vec<Value> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.rest()
    }
    fn rest(&mut self) -> Vec<Value> {
        let rest = std::iter::from_fn(|| self.next()).collect();
        assert!(wait(&mut self.child).success());
        rest
    }
}

fn ids(events: &[Value], kind: &str) -> Vec<i64> {
    let wanted = |event: &&Value| event["event"] == "sent" && event["kind"] == kind;
    events.iter().filter(wanted).map(|event| event["id"].as_i64().unwrap()).collect()
}

#[test]
fn messages_of_a_link_are_seen_in_order_none_lost_and_the_route_comes_back() {
    const MESSAGES: i32 = 500;
    let talk = Talk::new();
    let mut tracing = talk.trace(&[]);
    assert_eq!(talk.routes(), 0, "what is traced goes through the kernel process");
    for n in 0..MESSAGES {
        talk.right.send_within(Message::new(1000 + n), DEADLINE).unwrap();
    }
    for n in 0..50 {
        talk.call(2000 + n);
    }
    let mut events = tracing.until(2149);
    assert_eq!(talk.routes(), 0);
    events.extend(tracing.interrupt());
    assert_eq!(ids(&events, "send"), (0..MESSAGES).map(|n| i64::from(1000 + n)).collect::<Vec<_>>());
    assert_eq!(ids(&events, "call"), (0..50).map(|n| i64::from(2000 + n)).collect::<Vec<_>>());
    assert_eq!(ids(&events, "answer"), (0..50).map(|n| i64::from(2100 + n)).collect::<Vec<_>>());
    let received = events.iter().filter(|event| event["event"] == "received" && event["id"].as_i64().is_some_and(|id| id < 2000));
    assert_eq!(received.map(|event| event["id"].as_i64().unwrap()).collect::<Vec<_>>(), (1000..1500).collect::<Vec<i64>>());
    let end = events.last().unwrap();
    assert_eq!((&end["event"], &end["lost"], &end["messages"]), (&"end".into(), &0.into(), &600.into()), "{end}");

    let answer = events.iter().find(|event| event["id"] == 2100).unwrap();
    let call = events.iter().find(|event| event["id"] == 2000).unwrap();
    assert_eq!((&answer["answers"], &answer["says"]), (&call["number"], &"\"·the answer\"".into()), "{answer}");
    assert_eq!((&call["from"]["label"], &call["to"]["label"]), (&"the client".into(), &"the server".into()));
    let times = (call["time_ns"].as_u64().unwrap(), answer["time_ns"].as_u64().unwrap());
    assert_eq!(answer["latency_ns"], times.1 - times.0);

    eventually("the route is back", || {
        talk.call(1);
        talk.routes() == 1
    });
}

#[test]
fn killed_tracer_leaves_nothing_behind() {
    let talk = Talk::new();
    let mut tracing = talk.trace(&[]);
    assert_eq!(talk.routes(), 0);
    tracing.child.kill().unwrap();
    wait(&mut tracing.child);
    eventually("the route is back", || {
        talk.call(1);
        talk.routes() == 1
    });
}

#[test]
fn tracers_right_is_listed_while_it_traces() {
    let talk = Talk::new();
    let held = || talk.place.run(&["rights", "--held", "--json"]).ok().json();
    let traces = || held().as_array().unwrap().iter().filter(|row| row["place"] == "trace" && row["right"] == "send").count();
    assert_eq!(traces(), 0);
    assert!(held().as_array().unwrap().iter().any(|row| row["place"] == "bootstrap" && row["holder"].is_null()), "the host's own");
    let tracer = Background::start(talk.place.umach(&["trace"]));
    eventually("it is listed", || traces() == 1);
    let text = talk.place.run(&["rights", "--held"]).ok().out;
    assert!(text.lines().any(|line| line.contains("umach trace") && line.contains("trace  ") && line.contains("send")), "{text}");
    drop(tracer);
    eventually("it is gone with its tracer", || traces() == 0);
}

#[test]
fn without_switch_links_go_on_and_are_counted() {
    let talk = Talk::new();
    let tracing = talk.trace(&["--no-switch"]);
    assert_eq!(talk.routes(), 1);
    for _ in 0..20 {
        talk.call(1);
    }
    let events = tracing.interrupt();
    assert!(ids(&events, "call").is_empty(), "{events:#?}");
    let from_client = |event: &&Value| event["event"] == "link" && event["from"]["label"] == "the client";
    let link = events.iter().find(from_client).unwrap_or_else(|| panic!("{events:#?}"));
    assert!(link["messages"].as_u64().unwrap() >= 20, "{link}");
}

#[test]
fn filter_by_task_and_by_port_shows_their_messages_and_answers_only() {
    let talk = Talk::new();
    let other = Task::connect(&talk.place.socket()).unwrap();
    let port = other.new_port().unwrap();
    let elsewhere = port.make_send().unwrap();
    let rows = other.control().unwrap().space().unwrap();
    let object = rows.iter().find(|row| row.name == port.name()).unwrap().object;
    let as_port = format!("P{}.{}", object as u32, object >> 32);
    let as_task = format!("T{}.{}", talk.client.id() as u32, talk.client.id() >> 32);
    let (mut by_port, mut by_task) = (talk.trace(&[&as_port, "--count", "1"]), talk.trace(&[&as_task, "--count", "2"]));
    elsewhere.send_within(Message::new(70), DEADLINE).unwrap();
    talk.call(71);
    let (by_port, by_task) = (by_port.rest(), by_task.rest());
    assert_eq!((ids(&by_port, "send"), ids(&by_port, "call")), (vec![70], vec![]), "{by_port:#?}");
    assert_eq!((ids(&by_task, "call"), ids(&by_task, "answer"), ids(&by_task, "send")), (vec![71], vec![171], vec![]), "{by_task:#?}");
    for (what, says) in [("T900", "no task T900"), ("P900", "no port P900")] {
        let output = talk.place.run(&["trace", what]);
        assert!(output.code() == Some(1) && output.err.contains(says), "{output:#?}");
    }
}

#[test]
fn rights_that_move_are_shown_with_their_ports() {
    let talk = Talk::new();
    let mut tracing = talk.trace(&["--count", "1"]);
    let port = talk.client.new_port().unwrap();
    let rows = talk.client.control().unwrap().space().unwrap();
    let object = rows.iter().find(|row| row.name == port.name()).unwrap().object;
    talk.right.send_within(Message::new(60).make_send(&port).memory(vec![7; 100]), DEADLINE).unwrap();
    let events = tracing.rest();
    let sent = events.iter().find(|event| event["event"] == "sent").unwrap();
    assert_eq!((&sent["rights"][0]["what"], &sent["rights"][0]["port"]), (&"send".into(), &object.into()), "{sent}");
    assert_eq!((&sent["rights"][1]["what"], &sent["rights"][1]["bytes"]), (&"memory".into(), &100.into()), "{sent}");
}

#[test]
fn time_ends_a_trace() {
    let talk = Talk::new();
    let output = talk.place.run(&["trace", "--for", "200ms"]).ok();
    assert!(output.out.contains("MESSAGE") && output.err.contains("0 messages"), "{output:#?}");
    for wrong in [&["trace", "--for", "soon"][..], &["trace", "--count", "0"], &["trace", "P1x"], &["replay"]] {
        assert_eq!(talk.place.run(wrong).code(), Some(2), "{wrong:?}");
    }
}

/// A command is traced in a system of its own; what it does there is recorded.
fn recorded(place: &Place) -> Output {
    let umach = env!("CARGO_BIN_EXE_umach");
    let script = format!("{umach} names; {umach} names; exit 7");
    place.run(&["trace", "--record", "r.jsonl", "--diagram", "live.svg", "--", "sh", "-c", &script])
}

#[test]
fn command_is_traced_with_its_exit_code_and_its_own_output() {
    let place = Place::new();
    let output = recorded(&place);
    assert_eq!(output.code(), Some(7), "{output:#?}");
    assert!(output.out.starts_with("NAME") && !output.out.contains("name-server"), "{output:#?}");
    let calls = output.err.lines().filter(|line| line.contains("umach names") && line.contains("→")).count();
    let answers = output.err.lines().filter(|line| line.contains('└')).count();
    assert!(calls == 2 && answers == 2 && output.err.contains("4 messages"), "{output:#?}");
    assert!(std::fs::read_to_string(place.join("live.svg")).unwrap().contains("name-server"));
    let none = place.run(&["trace", "--", "no-such-command-here"]);
    assert_eq!(none.code(), Some(127), "{none:#?}");
}

#[test]
fn recording_is_replayed_as_it_was_seen() {
    let place = Place::new();
    let live = recorded(&place);
    let replayed = place.run(&["replay", "r.jsonl", "--diagram", "again.mmd"]).ok();
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with("umach:")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&replayed.out), lines(&live.err));
    let mermaid = std::fs::read_to_string(place.join("again.mmd")).unwrap();
    assert!(mermaid.starts_with("sequenceDiagram\n") && mermaid.contains("umach names") && mermaid.contains("-->>"), "{mermaid}");

    let events: Vec<Value> =
        place.run(&["replay", "r.jsonl", "--json"]).ok().out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let server = events.iter().find(|event| event["kind"] == "call").unwrap()["to"]["task"].as_u64().unwrap();
    let messages = ids(&events, "call").len() + ids(&events, "answer").len();
    assert_eq!(messages, 4, "{events:#?}");
    let client = events.iter().find(|event| event["kind"] == "call").unwrap()["from"]["task"].as_u64().unwrap();
    let of = |task: u64| format!("T{}.{}", task as u32, task >> 32);
    for (task, expected) in [(server, 4), (client, 2)] {
        let some = place.run(&["replay", "r.jsonl", &of(task), "--json"]).ok();
        let sent = some.out.lines().filter(|line| line.contains("\"event\":\"sent\"")).count();
        assert_eq!(sent, expected, "{some:#?}");
    }
}

#[test]
fn recording_knows_names_and_says_what_it_does_not_know() {
    let place = Place::new();
    let script = "$UMACH trace --record r.jsonl -q -- $UMACH fs ls / > /dev/null 2>&1; $UMACH replay r.jsonl files";
    let shown = place.script(&["--export", "."], script).ok();
    assert!(shown.out.contains("umach.Directory.") && !shown.out.contains("look_up"), "{shown:#?}");
    for unknown in ["nosuch", "P77.77", "T77.77", "4294967295"] {
        let output = place.run(&["replay", "r.jsonl", unknown]);
        assert!(output.code() == Some(1) && output.err.contains("r.jsonl does not speak of"), "{unknown}: {output:#?}");
        assert_eq!(output.out.lines().count(), 1, "nothing but the heading: {output:#?}");
    }
    // Nobody hears the last sentence.
    let mut child = place.umach(&["replay", "r.jsonl", "--output", "lines"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(wait(&mut child).success());
}

#[test]
fn interface_that_nobody_describes_is_told() {
    let talk = Talk::new();
    let output = talk.place.run(&["trace", "--interface", "org.example.Nosuch", "--for", "50ms"]).ok();
    assert!(
        output.err.contains("no program here describes an interface \"org.example.Nosuch\"") && output.err.contains("Sums"),
        "{output:#?}"
    );
}

#[test]
fn recording_that_is_cut_off_or_none_is_an_error_that_says_so() {
    let place = Place::new();
    recorded(&place);
    let whole = std::fs::read(place.join("r.jsonl")).unwrap();
    std::fs::write(place.join("cut"), &whole[..whole.len() - 30]).unwrap();
    let output = place.run(&["replay", "cut"]);
    assert!(output.code() == Some(1) && output.err.contains("cut off") && output.out.contains("└"), "{output:#?}");
    std::fs::write(place.join("other"), "hello\n").unwrap();
    let output = place.run(&["replay", "other"]);
    assert!(output.code() == Some(1) && output.err.contains("no recording"), "{output:#?}");
    let output = place.run(&["replay", "missing"]);
    assert!(output.code() == Some(1) && output.err.contains("missing"), "{output:#?}");
}

#[test]
fn more_tracers_than_there_can_be_are_refused() {
    let talk = Talk::new();
    let tracers: Vec<Tracing> = (0..umach_abi::limits::TRACES_MAX).map(|_| talk.trace(&[])).collect();
    let refused = talk.place.run(&["trace"]);
    assert!(refused.code() == Some(1) && refused.err.contains("as many traces as there can be"), "{refused:#?}");
    talk.call(77);
    for mut tracing in tracers {
        tracing.until(177);
        tracing.interrupt();
    }
}

/// Adds, and hands out counters.
#[libtask::interface]
trait Sums {
    /// The sum of two.
    #[id(1)]
    fn add(&self, a: u64, b: u64) -> u64;
    /// Half of it, if it has one.
    #[id(2)]
    fn halve(&self, number: u64, why: String) -> Result<u64, String>;
    /// The right that came, back.
    #[id(3)]
    fn echo(&self, right: SendRight) -> SendRight;
}

struct Calculator;

impl Sums for Calculator {
    fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }
    fn halve(&self, number: u64, _why: String) -> Result<u64, String> {
        if number.is_multiple_of(2) { Ok(number / 2) } else { Err(format!("{number} is odd")) }
    }
    fn echo(&self, right: SendRight) -> SendRight {
        right
    }
}

/// A server of `Sums` in this process, whose program has the description; and a client of it.
fn sums(talk: &Talk) -> SumsClient {
    let server = Task::connect(&talk.place.socket()).unwrap();
    server.set_label("sums").unwrap();
    let port = server.new_port_of::<dyn Sums>().unwrap();
    let to_client = talk.client.control().unwrap();
    to_client.register([None, None, None]).unwrap();
    let right = port.make_send().unwrap();
    server.host_control().unwrap().task(talk.client.id()).unwrap().register([Some(&right.untyped()), None, None]).unwrap();
    thread::spawn(move || port.serve(Calculator));
    let [Some(right), ..] = talk.client.registered().unwrap() else { panic!("the right was registered") };
    SumsClient::from(right.typed())
}

#[test]
fn methods_of_a_described_interface_are_shown_with_arguments_results_and_rights() {
    let talk = Talk::new();
    let client = sums(&talk);
    let tracing = talk.trace(&["--interface", "Sums", "--record", "r.jsonl"]);
    talk.call(900);
    assert_eq!(client.add(2, 40).unwrap(), 42);
    assert!(client.halve(7, "a test".into()).is_err());
    let port = talk.client.new_port().unwrap();
    let back = client.echo(port.make_send().unwrap()).unwrap();
    back.send_within(Message::new(70), DEADLINE).unwrap();
    assert_eq!(port.receive_within(DEADLINE).unwrap().id(), 70);
    talk.call(901);
    let events = tracing.interrupt();
    let sent: Vec<&Value> = events.iter().filter(|event| event["event"] == "sent").collect();
    let methods: Vec<&str> = sent.iter().map(|event| event["method"].as_str().unwrap_or("-")).collect();
    assert_eq!(methods, ["Sums.add", "Sums.add", "Sums.halve", "Sums.halve", "Sums.echo", "Sums.echo"], "{events:#?}");
    assert_eq!(sent[0]["said"]["arguments"], serde_json::json!({ "a": 2, "b": 40 }));
    assert_eq!((&sent[1]["said"]["result"], &sent[1]["failed"]), (&42.into(), &false.into()));
    assert_eq!((&sent[3]["said"]["error"], &sent[3]["failed"]), (&"7 is odd".into(), &true.into()));
    let rows = talk.client.control().unwrap().space().unwrap();
    let object = rows.iter().find(|row| row.name == port.name()).unwrap().object;
    assert_eq!((&sent[4]["rights"][0]["port"], &sent[5]["rights"][0]["port"]), (&object.into(), &object.into()));

    // The recording has the description, so its file is all that is needed.
    let text = talk.place.run(&["replay", "r.jsonl"]).ok().out;
    let says = [r"Sums.add(a: 2, b: 40)", "s  42", "Sums.halve(number: 7, why: \"a test\")", "\"7 is odd\"", "→ send P"];
    assert!(says.iter().all(|says| text.contains(says)), "{text}");
    let none = talk.place.run(&["replay", "r.jsonl", "--interface", "Other", "--json"]).ok().out;
    assert!(!none.contains("\"sent\""), "{none}");
}
