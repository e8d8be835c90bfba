//! Looking inside the direct plane: two tasks that talk over a link, seen by every listing.

mod common;

use std::path::Path;
use std::thread;

use common::{Background, DEADLINE, Place, eventually};
use libtask::{Message, Next, ReceiveRight, SendRight, Task};
use serde_json::Value;

/// A kernel with two tasks of this process: one has a port, and the other a right to it.
struct Talk {
    place: Place,
    kernel: Background,
    client: Task,
    port: ReceiveRight,
    right: SendRight,
}

/// The request after which a server stops.
const STOP: i32 = 9;

fn connect(socket: &Path, label: &str) -> Task {
    let task = Task::connect(socket).unwrap();
    task.set_label(label).unwrap();
    task
}

fn kernel(place: &Place, arguments: &[&str], direct: Option<&str>) -> Background {
    let mut command = place.umach(&[&["kernel"], arguments].concat());
    match direct {
        Some(mode) => command.env("UMACH_DIRECT", mode),
        None => command.env_remove("UMACH_DIRECT"),
    };
    let kernel = Background::start(command);
    eventually("the kernel runs", || Task::connect(&place.socket()).is_ok());
    kernel
}

fn talk() -> Talk {
    let place = Place::new();
    let kernel = kernel(&place, &[], Some("always"));
    let server = connect(&place.socket(), "the server");
    let port = server.new_port().unwrap();
    server.host_control().unwrap().set_bootstrap(Some(&port.make_send().unwrap())).unwrap();
    let client = connect(&place.socket(), "the client");
    let right = client.bootstrap().unwrap();
    Talk { place, kernel, client, port, right }
}

impl Talk {
    /// Answers calls until told to stop, and gives the port back.
    fn call(mut self, calls: u32) -> Talk {
        let port = self.port;
        let server =
            thread::spawn(move || {
                port.serve(|request| {
                    if request.id() == STOP { Next::ReplyAndStop(Message::new(10)) } else { Next::Reply(Message::new(2).body(&7u64)) }
                })
                .unwrap();
                port
            });
        for n in 0..calls {
            self.right.call_within(Message::new(1).body(&u64::from(n)), DEADLINE).unwrap();
        }
        self.right.call_within(Message::new(STOP), DEADLINE).unwrap();
        self.port = server.join().unwrap();
        self
    }
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        self.place.run(&[arguments, &["--json"]].concat()).ok().json().as_array().unwrap().clone()
    }
    fn text(&self, arguments: &[&str]) -> String {
        self.place.run(arguments).ok().out
    }
}

fn find<'a>(rows: &'a [Value], key: &str, value: &str) -> &'a Value {
    rows.iter().find(|row| row[key] == value).unwrap_or_else(|| panic!("no {key} {value} in {rows:#?}"))
}

/// The line of a table with this text, in words.
fn line(text: &str, with: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.contains(with)).unwrap_or_else(|| panic!("no {with} in {text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn link_shows_what_both_sides_counted() {
    const CALLS: u32 = 200;
    let talk = talk().call(CALLS);
    let links = talk.json(&["ps", "--links"]);
    assert_eq!((links.len(), &links[0]["ending"]), (1, &Value::Bool(false)), "{links:#?}");
    let sides = links[0]["sides"].as_array().unwrap();
    let (client, server) = (find(sides, "label", "the client"), find(sides, "label", "the server"));
    assert_eq!((&client["routes"], &server["routes"]), (&1.into(), &0.into()), "{links:#?}");
    for side in [client, server] {
        // The first calls, before the route was there, went through the kernel process.
        let (messages, bytes) = (side["messages"].as_u64().unwrap(), side["bytes"].as_u64().unwrap());
        assert!((u64::from(CALLS) / 2..=u64::from(CALLS) + 1).contains(&messages), "{links:#?}");
        assert!(bytes >= 8 * (messages - 1), "{links:#?}");
        assert_eq!((&side["in_ring"], &side["by_ticket"]), (&0.into(), &0.into()), "{links:#?}");
        assert!(["awake", "sleeps"].contains(&side["does"].as_str().unwrap()), "{links:#?}");
    }
    let text = talk.text(&["ps", "--links"]);
    let from_client = |line: &&str| line.find("the client").is_some_and(|at| line[at..].contains("the server"));
    let row: Vec<&str> = text.lines().find(from_client).expect("a line from the client").split_whitespace().collect();
    assert!(row[0].starts_with('L') && row.contains(&&*client["messages"].to_string()), "{text}");
    assert!(text.lines().next().unwrap().contains("NO-CREDIT"), "{text}");

    let tasks = talk.json(&["ps"]);
    assert_eq!((&find(&tasks, "label", "the client")["links"], &find(&tasks, "label", "the server")["links"]), (&1.into(), &1.into()));
}

#[test]
fn route_shows_what_is_on_its_way_and_which_right_takes_it() {
    const AHEAD: u32 = 3;
    let talk = talk().call(20);
    // Nobody receives: what is sent now stays in the ring.
    for n in 0..AHEAD {
        talk.right.send_within(Message::new(1).body(&u64::from(n)), DEADLINE).unwrap();
    }
    let ports = talk.json(&["ports"]);
    let port = ports.iter().find(|port| port["receiver_label"] == "the server" && port["routes"] != Value::Array(vec![])).unwrap();
    assert_eq!((port["queued"].as_u64(), port["routes"].as_array().unwrap().len()), (Some(0), 1), "{port:#}");
    let route = &port["routes"][0];
    assert_eq!((route["in_ring"].as_u64(), route["sender_label"].as_str()), (Some(AHEAD.into()), Some("the client")), "{route:#}");
    assert_eq!(route["ahead"].as_u64(), Some(AHEAD.into()), "{route:#}");
    assert_eq!((route["state"].as_str(), &route["waits"]), (Some("live"), &Value::Null), "{route:#}");
    let row = line(&talk.text(&["ports", "--routes"]), "the client");
    assert!(row[0].starts_with('R') && row[1].starts_with('L') && row[2].starts_with('P') && row.contains(&AHEAD.to_string()), "{row:?}");

    let rights = talk.json(&["rights"]);
    let routed: Vec<&Value> = rights.iter().filter(|right| !right["route"].is_null()).collect();
    assert_eq!(routed.len(), 1, "{routed:#?}");
    assert_eq!((&routed[0]["label"], &routed[0]["port"]), (&"the client".into(), &port["port"]), "{routed:#?}");
    assert_eq!((&routed[0]["name"], &routed[0]["route"]["route"]), (&route["name"], &route["route"]), "{routed:#?}");
    assert!(line(&talk.text(&["rights"]), &format!(" R{} ", route["route"].as_u64().unwrap() as u32)).contains(&"client".to_owned()));

    // A right that is gone has no route, and its messages arrive all the same.
    drop(talk.right);
    for n in 0..AHEAD {
        assert_eq!(talk.port.receive_within(DEADLINE).unwrap().body::<u64>().unwrap(), u64::from(n));
    }
    let rights = talk.place.run(&["rights", "--json"]).ok().json();
    assert!(rights.as_array().unwrap().iter().all(|right| right["route"].is_null()), "{rights:#}");
    drop((talk.client, talk.kernel));
}

#[test]
fn sender_without_credit_is_shown_to_wait() {
    let talk = talk().call(20);
    let right = talk.right.duplicate();
    let sender = thread::spawn(move || {
        for n in 0..1000u32 {
            right.send_within(Message::new(1).body(&n), DEADLINE).unwrap();
        }
    });
    eventually("the sender waits", || {
        let ports = talk.json(&["ports"]);
        ports.iter().flat_map(|port| port["routes"].as_array().unwrap()).any(|route| route["waits"] == "credit")
    });
    assert!(line(&talk.text(&["ports", "--routes"]), "the client").contains(&"credit".to_owned()));
    for n in 0..1000u32 {
        assert_eq!(talk.port.receive_within(DEADLINE).unwrap().body::<u32>().unwrap(), n);
    }
    sender.join().unwrap();
    let links = talk.json(&["ps", "--links"]);
    assert!(find(links[0]["sides"].as_array().unwrap(), "label", "the client")["no_credit"].as_u64().unwrap() > 0, "{links:#?}");
}

#[test]
fn doctor_says_which_mode_runs_and_what_is_slow() {
    let found = |place: &Place, check: &str| {
        let rows = place.run(&["doctor", "--json"]).json();
        find(rows.as_array().unwrap(), "check", check).clone()
    };
    let talk = talk().call(20);
    let plane = found(&talk.place, "direct plane");
    assert!(plane["state"] == "ok" && plane["found"].as_str().unwrap().starts_with("always: 1 link, 1 route, "), "{plane:#}");
    let slow = found(&talk.place, "slow messages");
    assert_eq!(slow["state"], "ok", "{slow:#}");
    // Only messages with rights: each takes the slow way.
    let inbox = talk.client.new_port().unwrap();
    for _ in 0..50 {
        talk.right.send_within(Message::new(1).make_send(&inbox), DEADLINE).unwrap();
        drop(talk.port.receive_within(DEADLINE).unwrap());
    }
    let slow = found(&talk.place, "slow messages");
    assert!(slow["state"] == "warn" && slow["means"].as_str().unwrap().contains("rights"), "{slow:#}");

    for (arguments, variable, state, says) in [
        (&["--direct", "off"][..], Some("always"), "warn", "off in the kernel process"),
        (&["--direct=auto"], None, "ok", "auto: 0 links"),
        (&[], Some("random:5"), "ok", "random:5: 0 links"),
    ] {
        let place = Place::new();
        let _kernel = kernel(&place, arguments, variable);
        let plane = found(&place, "direct plane");
        assert!(plane["state"] == state && plane["found"].as_str().unwrap().starts_with(says), "{plane:#}");
    }
    // No kernel: what one that is started from here would do.
    let place = Place::new();
    let mut command = place.umach(&["doctor", "--json"]);
    command.env("UMACH_DIRECT", "sometimes");
    let output = common::finish(command);
    assert_eq!((output.code(), &find(output.json().as_array().unwrap(), "check", "direct plane")["state"]), (Some(1), &"fail".into()));
}

#[test]
fn open_files_on_their_way_are_seen_with_and_without_a_link() {
    let talk = talk().call(20);
    let file = || std::fs::File::open("/dev/null").unwrap();
    for _ in 0..2 {
        talk.right.send_within(Message::new(1).file(file()), DEADLINE).unwrap();
    }
    let lanes = talk.json(&["ps", "--files"]);
    let [lane] = &lanes[..] else { panic!("{lanes:#?}") };
    assert_eq!((lane["sender_label"].as_str(), lane["receiver_label"].as_str()), (Some("the client"), Some("the server")));
    assert_eq!((lane["queued"].as_u64(), lane["void"].as_u64(), lane["ending"].as_bool()), (Some(2), Some(0), Some(false)));
    let links = talk.json(&["ps", "--links"]);
    let sides = links[0]["sides"].as_array().unwrap();
    assert_eq!(find(sides, "label", "the client")["files"].as_u64(), Some(2));
    assert!(find(sides, "label", "the server")["files"].is_null());
    let text = talk.text(&["ps", "--files"]);
    assert!(text.contains("QUEUED") && text.contains("the client") && text.contains("open"), "{text}");
    for _ in 0..2 {
        talk.port.receive_within(DEADLINE).unwrap().take_file(0).unwrap();
    }
    assert_eq!(talk.json(&["ps", "--files"])[0]["queued"].as_u64(), Some(0));
}

#[test]
fn memory_that_is_lent_is_seen_until_it_is_back() {
    let talk = talk().call(20);
    let send = || {
        let loan = talk.right.loan(100_000);
        assert!(loan.is_in_place());
        talk.right.send_within(Message::new(1).loan(loan), DEADLINE).unwrap();
        talk.port.receive_within(DEADLINE).unwrap().take_lease(0).unwrap()
    };
    let held = [send(), send()];
    drop(send());
    let client = || {
        let links = talk.json(&["ps", "--links"]);
        let sides = links[0]["sides"].as_array().unwrap();
        assert_eq!(find(sides, "label", "the server")["arenas"].as_u64(), Some(0));
        let side = find(sides, "label", "the client").clone();
        ["arenas", "arena_bytes", "leases", "lent_bytes", "leases_back"].map(|key| side[key].as_u64().unwrap())
    };
    assert_eq!(client(), [1, 1 << 20, 3, 300_000, 0]);
    drop(held);
    // It is seen to be back when more is lent.
    drop(send());
    assert_eq!(client(), [1, 1 << 20, 4, 400_000, 3]);
    let text = talk.text(&["ps", "--links"]);
    assert!(text.contains("ARENAS") && text.contains("LENT") && text.contains("1.0 MiB"), "{text}");
}
