//! `umach call` and `umach monitor`: any described interface from the command line.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;

use common::{Background, Place, eventually, wait};
use libtask::interface::Sink;
use libtask::{ReceiveRight, SendRight, Task};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use umach_name_api::Names;

/// A size, to be seen as a struct.
#[libtask::data]
#[derive(Debug, PartialEq)]
struct Size {
    width: u32,
    height: u32,
}

/// For tests.
#[libtask::interface]
trait Sample {
    /// The sum of two numbers.
    #[id(1)]
    fn add(&self, a: i64, b: i64) -> i64;
    /// The text, as often as that.
    #[id(2)]
    fn repeat(&self, text: String, times: Option<u32>) -> String;
    /// Both turned around, unless one is nothing.
    #[id(3)]
    fn turn(&self, size: Size) -> Result<Size, String>;
    /// Counts up to there.
    #[id(4)]
    fn count(&self, to: u32, sink: Sink<u32>);
    /// A right to this service.
    #[id(5)]
    fn again(&self) -> SendRight<dyn Sample>;
    /// What a right leads to, by its name.
    #[id(6)]
    fn who(&self, other: SendRight) -> bool;
    /// Nothing comes of it.
    #[id(7)]
    fn poke(&self);
}

struct Server(SendRight<dyn Sample>);

impl Sample for Server {
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
    fn repeat(&self, text: String, times: Option<u32>) -> String {
        text.repeat(times.unwrap_or(1) as usize)
    }
    fn turn(&self, size: Size) -> Result<Size, String> {
        if size.width == 0 { Err("no width".into()) } else { Ok(Size { width: size.height, height: size.width }) }
    }
    fn count(&self, to: u32, sink: Sink<u32>) {
        thread::spawn(move || (1..=to).all(|n| sink.send(n).is_ok()));
    }
    fn again(&self) -> SendRight<dyn Sample> {
        self.0.duplicate()
    }
    fn who(&self, other: SendRight) -> bool {
        other.name() == self.0.name()
    }
    fn poke(&self) {}
}

struct World {
    place: Place,
    _kernel: Background,
    _names: Background,
}

/// A kernel, a name server, and a service `sample` in this process.
fn world() -> World {
    let place = Place::new();
    let kernel = Background::start(place.umach(&["kernel"]));
    eventually("the kernel runs", || Task::connect(&place.socket()).is_ok());
    let names = Background::start(place.umach(&["serve", "name"]));
    eventually("the name server runs", || Task::connect(&place.socket()).is_ok_and(|task| task.bootstrap().is_ok()));
    let task = Task::connect(&place.socket()).unwrap();
    task.set_label("sample").unwrap();
    let port: ReceiveRight<dyn Sample> = task.new_port_of::<dyn Sample>().unwrap();
    let right = port.make_send().unwrap();
    Names::at(task.bootstrap().unwrap()).register("sample", right.duplicate()).unwrap();
    thread::spawn(move || port.serve(Server(right)));
    World { place, _kernel: kernel, _names: names }
}

#[test]
fn methods_are_called_with_words_or_json_and_results_are_text_or_json() {
    let world = world();
    let ok = |arguments: &[&str]| world.place.run(&[&["call", "sample"], arguments].concat()).ok().out;
    assert_eq!(ok(&["add", "2", "-40"]), "-38\n");
    assert_eq!(ok(&["add", r#"{"b": 40, "a": 2}"#]), "42\n");
    assert_eq!(ok(&["repeat", "two words", "2"]), "two wordstwo words\n");
    assert_eq!(ok(&["repeat", "7"]), "7\n");
    assert_eq!(ok(&["poke"]), "");
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(&ok(&["--json", "turn", r#"{"width": 3, "height": 4}"#])), json!({ "result": { "width": 4, "height": 3 } }));
    assert_eq!(json(&ok(&["turn", r#"{"width": 3, "height": 4}"#])), json!({ "width": 4, "height": 3 }));

    // A right that is handed on leads where its name does, and one that comes back is described.
    assert_eq!(ok(&["who", "sample"]), "true\n");
    let again = ok(&["again"]);
    assert!(again.starts_with("send right P") && again.ends_with(" Sample\n"), "{again}");

    // A stream is printed to its end, an item a line.
    assert_eq!(ok(&["count", "9"]), (1..=9).map(|n| format!("{n}\n")).collect::<String>());
    let items = ok(&["--json", "count", "2"]);
    assert_eq!(items.lines().map(json).collect::<Vec<_>>(), [json!({ "result": null }), json!({ "item": 1 }), json!({ "item": 2 })]);

    let list = ok(&["--list"]);
    assert!(list.contains("fn add(a: i64, b: i64) -> i64") && list.contains("The sum of two numbers."), "{list}");
}

#[test]
fn errors_of_the_interface_and_wrong_arguments_are_told_apart() {
    let world = world();
    let run = |arguments: &[&str]| world.place.run(&[&["call"], arguments].concat());
    let refused = run(&["sample", "turn", r#"{"width": 0, "height": 4}"#]);
    assert!(refused.code() == Some(1) && refused.err.contains("Sample.turn: no width"), "{refused:#?}");
    let refused = run(&["sample", "--json", "turn", r#"{"width": 0, "height": 4}"#]);
    assert_eq!((refused.code(), refused.out.trim()), (Some(1), r#"{"error":"no width"}"#));
    for (arguments, says) in [
        (&["sample", "subtract", "1"][..], "there are: add, repeat"),
        (&["sample", "add", "1"], "b"),
        (&["sample", "add", "1", "2", "3"], "3 arguments are given"),
        (&["sample", "add", "1", "x"], "b"),
        (&["nobody", "add", "1", "2"], "look up nobody"),
    ] {
        let output = run(arguments);
        assert!(output.code() == Some(1) && output.err.contains(says), "{arguments:?}: {output:#?}");
    }
    assert_eq!(run(&["sample"]).code(), Some(2));
}

#[test]
fn monitor_shows_what_a_service_is_asked_and_answers() {
    let world = world();
    let mut command = world.place.umach(&["monitor", "sample"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.next().unwrap().contains("MESSAGE"));
    assert_eq!(world.place.run(&["call", "sample", "add", "2", "40"]).ok().out, "42\n");
    let seen: Vec<String> = lines.by_ref().take_while(|line| !(line.contains('└') && line.ends_with("  42"))).collect();
    assert!(seen.iter().any(|line| line.contains("Sample.add(a: 2, b: 40)")), "{seen:#?}");
    assert!(!seen.iter().any(|line| line.contains("name-server")), "{seen:#?}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(wait(&mut child).success());
}
