//! `umach call` and `umach monitor`: any described interface from the command line.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use common::{Background, Place, eventually, finish, wait};
use libtask::interface::{Later, OpenFile, Sink};
use libtask::{Memory, ReceiveRight, Region, SendRight, Task};
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
    /// Gives it back.
    #[id(8)]
    fn echo(&self, nest: Nest) -> Nest;
    /// How many bytes these are.
    #[id(9)]
    fn length(&self, data: Vec<u8>, more: Option<Vec<u8>>) -> u64;
    /// The memory, backwards.
    #[id(10)]
    fn reverse(&self, memory: Memory) -> Memory;
    /// What is in an open file.
    #[id(11)]
    fn read(&self, file: OpenFile) -> String;
    /// A file with this text.
    #[id(12)]
    fn write(&self, text: String) -> OpenFile;
    /// Is never answered.
    #[id(13)]
    fn never(&self, answer: Later<u32>);
    /// Takes a right to such a service only.
    #[id(14)]
    fn same(&self, other: SendRight<dyn Sample>) -> bool;
    /// How many bytes a region has.
    #[id(15)]
    fn measure(&self, region: Region) -> u64;
    /// Sizes up to there.
    #[id(16)]
    fn sizes(&self, to: u32, sink: Sink<Size>);
}

/// Everything in everything.
#[libtask::data]
#[derive(Debug, PartialEq)]
struct Nest {
    kind: Kind,
    counts: BTreeMap<String, Vec<Option<u32>>>,
    pairs: BTreeMap<u32, (bool, char)>,
    bytes: Vec<u8>,
    inner: Option<Size>,
}

#[libtask::data]
#[derive(Debug, PartialEq)]
enum Kind {
    Plain,
    Sized(Size),
    Named { x: i8, y: f64 },
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
    fn echo(&self, nest: Nest) -> Nest {
        nest
    }
    fn length(&self, data: Vec<u8>, more: Option<Vec<u8>>) -> u64 {
        (data.len() + more.map_or(0, |more| more.len())) as u64
    }
    fn reverse(&self, memory: Memory) -> Memory {
        memory.iter().rev().copied().collect::<Vec<u8>>().into()
    }
    fn read(&self, file: OpenFile) -> String {
        std::io::read_to_string(File::from(file.into_fd().unwrap())).unwrap()
    }
    fn write(&self, text: String) -> OpenFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        file.into()
    }
    fn never(&self, answer: Later<u32>) {
        thread::spawn(move || {
            thread::sleep(common::DEADLINE);
            drop(answer);
        });
    }
    fn same(&self, other: SendRight<dyn Sample>) -> bool {
        other.name() == self.0.name()
    }
    fn measure(&self, region: Region) -> u64 {
        region.len()
    }
    fn sizes(&self, to: u32, sink: Sink<Size>) {
        thread::spawn(move || (1..=to).all(|n| sink.send(Size { width: n, height: 0 }).is_ok()));
    }
}

/// Another one.
#[libtask::interface]
trait Other {
    /// Does nothing.
    #[id(1)]
    fn nothing(&self);
}

struct Nothing;

impl Other for Nothing {
    fn nothing(&self) {}
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
    let registry = Names::at(task.bootstrap().unwrap());
    registry.register("sample", right.duplicate()).unwrap();
    let other = task.new_port_of::<dyn Other>().unwrap();
    registry.register("other", other.make_send().unwrap()).unwrap();
    thread::spawn(move || other.serve(Nothing));
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
        (&["sample", "add", "1"], "fn add(a: i64, b: i64) -> i64: b: it is missing"),
        (&["sample", "add", "1", "2", "3"], "fn add(a: i64, b: i64) -> i64: 3 are given, and it takes 2"),
        (&["sample", "add", "1", "x"], "fn add(a: i64, b: i64) -> i64: b: \"x\" is no whole number"),
        (&["sample", "add", r#"{"a": 1, "c": 2}"#], "there is no argument \"c\"; there are: a, b"),
        (&["sample", "turn", r#"{"width": 1}"#], "fn turn(size: Size) -> Result<Size, String>: size.height: it is missing"),
        (&["sample", "echo", r#"{"kind": "Odd"}"#], "there is no variant \"Odd\"; there are: Plain, Sized, Named"),
    ] {
        let output = run(arguments);
        assert!(output.code() == Some(2) && output.err.contains(says), "{arguments:?}: {output:#?}");
    }
    for (arguments, says) in [
        (&["nobody", "add", "1", "2"][..], "look up nobody"),
        (&["sample", "length", "@nowhere"], "read nowhere"),
        (&["sample", "read", "nowhere"], "open nowhere"),
        (&["sample", "who", "nobody"], "look up nobody, to hand on the right"),
        (&["sample", "same", "other"], "other serves Other, and a right to Sample is wanted"),
        (&["sample", "add", "1", "2", "--save", "out"], "neither memory nor an open file"),
    ] {
        let output = run(arguments);
        assert!(output.code() == Some(1) && output.err.contains(says), "{arguments:?}: {output:#?}");
    }
    assert_eq!(run(&["sample"]).code(), Some(2));
}

#[test]
fn what_is_nested_comes_back_as_it_was_given() {
    let world = world();
    let nests = [
        json!({ "kind": "Plain", "counts": {}, "pairs": [], "bytes": "", "inner": null }),
        json!({ "kind": { "Sized": { "width": 1, "height": 2 } }, "counts": { "a": [1, null] }, "pairs": [[7, [true, "ß"]]], "bytes": { "hex": "00ff" }, "inner": { "width": 3, "height": 4 } }),
        json!({ "kind": { "Named": { "x": -8, "y": 0.5 } }, "counts": { "": [] }, "pairs": [], "bytes": { "text": "text" }, "inner": null }),
    ];
    for mut nest in nests {
        let said = world.place.run(&["call", "sample", "echo", &nest.to_string(), "--json"]).ok().json();
        if nest["bytes"] == "" {
            nest["bytes"] = json!({ "text": "" });
        }
        assert_eq!(said["result"], nest);
    }
    // The one argument by its name, too.
    let named = json!({ "nest": { "kind": "Plain", "counts": {}, "pairs": [], "bytes": "@", "inner": null } }).to_string();
    assert_eq!(world.place.run(&["call", "sample", "echo", &named, "--json"]).ok().json()["result"]["bytes"], json!({ "text": "@" }));
}

#[test]
fn files_and_standard_input_take_the_place_of_values() {
    let world = world();
    let place = &world.place;
    std::fs::write(place.join("bytes"), [0, 159, 146, 150, 7]).unwrap();
    std::fs::write(place.join("size.json"), r#"{"width": 3, "height": 4}"#).unwrap();
    std::fs::write(place.join("both.json"), r#"{"a": 3, "b": 4}"#).unwrap();
    let ok = |arguments: &[&str]| place.run(&[&["call", "sample"], arguments].concat()).ok().out;
    assert_eq!(ok(&["length", "@bytes"]), "5\n");
    assert_eq!(ok(&["length", "@bytes", "@bytes"]), "10\n");
    assert_eq!(ok(&["length", "@@bytes"]), "6\n");
    assert_eq!(ok(&["length", "bytes"]), "5\n");
    assert_eq!(ok(&["repeat", "@bytes"]), "@bytes\n", "text is as it is");
    assert!(ok(&["turn", "@size.json"]).contains("\"width\": 4"));
    assert_eq!(ok(&["add", "@both.json"]), "7\n");
    let piped = |arguments: &[&str], input: &str| {
        std::fs::write(place.join("input"), input).unwrap();
        let mut command = place.umach(&[&["call", "sample"], arguments].concat());
        finish({
            command.stdin(File::open(place.join("input")).unwrap());
            command
        })
    };
    assert_eq!(piped(&["length", "@-"], "seven b").ok().out, "7\n");
    assert_eq!(piped(&["add", "@-"], r#"{"a": 1, "b": 1}"#).ok().out, "2\n");
    let twice = piped(&["length", "@-", "@-"], "x");
    assert!(twice.code() == Some(1) && twice.err.contains("once only"), "{twice:#?}");

    // Memory and open files, there and back.
    assert_eq!(ok(&["reverse", "abc"]), "cba\n");
    assert_eq!(ok(&["reverse", "@size.json"]), r#"}4 :"thgieh" ,3 :"htdiw"{"#.to_owned() + "\n");
    let memory = place.run(&["call", "sample", "reverse", "@bytes", "--json"]).ok().json();
    assert_eq!(memory["result"], json!({ "part": 0, "is": "memory", "bytes": 5, "hex": "0796929f00" }));
    ok(&["reverse", "@bytes", "--save", "saved"]);
    assert_eq!(std::fs::read(place.join("saved")).unwrap(), [7, 150, 146, 159, 0]);
    assert_eq!(ok(&["measure", "@bytes"]), "5\n");
    assert!(ok(&["read", "both.json"]).contains("\"a\": 3"));
    ok(&["write", "into a file", "--save", "saved"]);
    assert_eq!(std::fs::read_to_string(place.join("saved")).unwrap(), "into a file");
}

#[test]
fn rights_are_given_by_name_and_what_takes_too_long_is_given_up() {
    let world = world();
    let run = |arguments: &[&str]| world.place.run(&[&["call", "sample"], arguments].concat());
    assert_eq!(run(&["same", "sample"]).ok().out, "true\n");
    assert_eq!(run(&["who", "other"]).ok().out, "false\n");
    let began = Instant::now();
    let late = run(&["never", "--timeout", "200ms"]);
    assert!(late.code() == Some(1) && began.elapsed() < Duration::from_secs(60), "{late:#?}");
    assert!(late.err.contains("umach explain"), "{late:#?}");
    assert_eq!(run(&["add", "1", "1", "--timeout", "soon"]).code(), Some(2));
    let sizes = run(&["sizes", "2"]).ok().out;
    assert_eq!(sizes, "{\"height\":0,\"width\":1}\n{\"height\":0,\"width\":2}\n", "an item a line");
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

#[test]
fn monitor_follows_to_the_items_of_a_stream() {
    let world = world();
    let file = world.place.join("trace.jsonl");
    let file = file.to_str().unwrap();
    let watch = |arguments: &[&str]| {
        let mut command = world.place.umach(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.next().unwrap().contains("MESSAGE"));
        world.place.run(&["call", "sample", "sizes", "3"]).ok();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert!(wait(&mut child).success());
        lines.collect::<Vec<String>>()
    };
    let items = |lines: &[String]| lines.iter().filter(|line| line.contains("Sample.sizes") && line.contains("width: ")).count();
    let seen = watch(&["monitor", "sample"]);
    assert!(items(&seen) == 0 && seen.iter().any(|line| line.contains("Sample.sizes(")), "{seen:#?}");
    let seen = watch(&["monitor", "sample", "--follow"]);
    assert_eq!(items(&seen), 3, "{seen:#?}");
    // The same from a recording of everything.
    let all = watch(&["trace", "--record", file]);
    assert_eq!(items(&all), 3, "{all:#?}");
    let again = |arguments: &[&str]| {
        let said = world.place.run(&[&["replay", file, "sample"], arguments].concat()).ok().out;
        items(&said.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!((again(&[]), again(&["--follow"])), (0, 3));
}
