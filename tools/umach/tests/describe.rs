//! `umach describe`: a binary's interfaces, a service's, and the check against saved ones.

mod common;

use std::process::Command;

use common::{Background, Place, eventually};
use libtask::Task;
use serde_json::Value;

const UMACH: &str = env!("CARGO_BIN_EXE_umach");

#[test]
fn binary_is_described_in_every_form() {
    let place = Place::new();
    let rust = place.run(&["describe", UMACH]).ok().out;
    assert!(rust.contains("#[interface(name = \"umach.NameSpace\", version = 1, base = 400)]\ntrait NameSpace {"), "{rust}");
    assert!(rust.contains("    #[id(2)]\n    fn look_up(name: String) -> Result<SendRight, Refusal>;"), "{rust}");
    assert!(rust.contains("fn subset(requestor: Option<SendRight>) -> Result<SendRight<dyn umach.NameSpace>, Refusal>;"), "{rust}");
    let one = place.run(&["describe", UMACH, "--interface", "umach.Spawner", "--rust"]).ok().out;
    assert!(one.contains("trait Spawner") && !one.contains("trait NameSpace"), "{one}");
    let c = place.run(&["describe", UMACH, "--c", "--interface", "umach.NameSpace"]).ok().out;
    assert!(c.contains("#define UMACH_NAMESPACE_LOOK_UP 402\n#define UMACH_NAMESPACE_LOOK_UP_ANSWER 502"), "{c}");
    let json = place.run(&["describe", UMACH, "--json"]).ok().json();
    let names: Vec<&str> = json.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"umach.NameSpace") && names.is_sorted(), "{names:?}");
}

#[test]
fn check_accepts_what_is_compatible_and_names_what_is_not() {
    let place = Place::new();
    let saved = place.join("saved.json");
    let saved = saved.to_str().unwrap();
    let json = place.run(&["describe", UMACH, "--json"]).ok();
    std::fs::write(saved, &json.out).unwrap();
    assert!(place.run(&["describe", UMACH, "--check", saved]).ok().out.contains("compatible"));

    // The saved one had a method more, and another type.
    let mut old: Value = json.json();
    let space = old.as_array_mut().unwrap().iter_mut().find(|one| one["name"] == "umach.NameSpace").unwrap();
    let methods = space["methods"].as_array_mut().unwrap();
    let mut gone = methods[3].clone();
    gone["number"] = 50.into();
    gone["name"] = "gone".into();
    methods.push(gone);
    methods[2]["arguments"][0]["type"]["shape"] = "u32".into();
    std::fs::write(saved, old.to_string()).unwrap();
    let output = place.run(&["describe", UMACH, "--check", saved]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.out.contains("umach.NameSpace: gone: method 50 is gone"), "{output:?}");
    assert!(output.out.contains("umach.NameSpace: look_up, argument name: it was u32 and is String"), "{output:?}");
    let output = place.run(&["describe", UMACH, "--check", saved, "--json"]);
    assert_eq!((output.status.code(), output.json().as_array().unwrap().len()), (Some(1), 2));
}

/// A library with one description in it, if there is a compiler.
fn library(place: &Place) -> Option<String> {
    let binary = std::fs::read(UMACH).unwrap();
    let is_space = |found: &umach_describe::Found| found.description.as_ref().is_ok_and(|found| found.name == "umach.NameSpace");
    let at = umach_describe::scan(&binary).into_iter().find(is_space).unwrap().at;
    let length = 24 + u32::from_le_bytes(binary[at + 16..at + 20].try_into().unwrap()) as usize;
    std::fs::write(place.join("piece"), &binary[at..at + length]).unwrap();
    std::fs::write(
        place.join("piece.S"),
        ".text\n.globl f\nf: ret\n.section .rodata\n.incbin \"piece\"\n.section .note.GNU-stack,\"\",%progbits\n",
    )
    .unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-nostdlib", "-o", "libpiece.so", "piece.S"]).current_dir(place.path());
    compiler.output().ok().filter(|done| done.status.success())?;
    Some(place.join("libpiece.so").to_str().unwrap().to_owned())
}

#[test]
fn library_is_described_by_its_path_and_in_a_process_that_has_loaded_it() {
    let place = Place::new();
    let Some(library) = library(&place) else { return eprintln!("not tried: there is no compiler") };
    let described = place.run(&["describe", &library]).ok().out;
    assert!(described.contains("trait NameSpace"), "{described}");
    let mut command = Command::new("sleep");
    command.arg("90").env("LD_PRELOAD", &library);
    let process = Background::start(command);
    let pid = process.0.id().to_string();
    eventually("it has loaded the library", || place.run(&["describe", &pid]).out == described);
    // The path leads elsewhere now: a pipe that nobody writes must not stop us.
    std::fs::remove_file(&library).unwrap();
    assert!(Command::new("mkfifo").arg(&library).status().unwrap().success());
    let after = place.run(&["describe", &pid]);
    assert!(after.out == described || after.code() == Some(1), "{after:?}");
    let none = place.run(&["describe", "4294967295"]);
    assert!(none.code() == Some(1) && none.err.contains("process 4294967295"), "{none:?}");
}

#[test]
fn what_has_no_interfaces_says_so() {
    let place = Place::new();
    let plain = place.join("plain");
    std::fs::write(&plain, "nothing").unwrap();
    let output = place.run(&["describe", plain.to_str().unwrap()]);
    assert!(output.status.code() == Some(1) && output.err.contains("no interfaces"), "{output:?}");
    let output = place.run(&["describe", "/nowhere/at/all"]);
    assert!(output.status.code() == Some(1) && output.err.contains("/nowhere/at/all"), "{output:?}");
    // Not a file: a name, for which a kernel is needed.
    assert_eq!(place.run(&["describe", "org.example.none"]).status.code(), Some(3));
}

/// Keeps things.
#[libtask::interface(name = "org.example.Keeper")]
trait Keeper {
    /// Keeps one.
    #[id(7)]
    fn keep(&self, what: String) -> u32;
}

struct Server;

impl Keeper for Server {
    fn keep(&self, what: String) -> u32 {
        what.len() as u32
    }
}

#[test]
fn running_service_describes_itself() {
    let place = Place::new();
    let _kernel = Background::start(place.umach(&["kernel"]));
    eventually("the kernel runs", || place.run(&["ps"]).code() == Some(0));
    let _names = Background::start(place.umach(&["serve", "name"]));
    eventually("the name server runs", || place.run(&["names"]).code() == Some(0));
    let task = Task::connect(&place.socket()).unwrap();
    let names = umach_name_api::Names::from_bootstrap(&task).unwrap();
    let port = task.new_port_of::<dyn Keeper>().unwrap();
    names.register("org.example.keeper", port.make_send().unwrap()).unwrap();
    // What does not speak of interfaces drops the question.
    let silent = task.new_port().unwrap();
    names.register("org.example.silent", silent.make_send().unwrap()).unwrap();
    std::thread::spawn(move || port.serve(Server));
    std::thread::spawn(move || silent.serve(|_| libtask::Next::Continue));
    let described = place.run(&["describe", "org.example.keeper"]).ok().out;
    assert!(described.contains("/// Keeps one.\n    #[id(7)]\n    fn keep(what: String) -> u32;"), "{described}");
    // Its process knows more.
    let output = place.run(&["describe", "org.example.silent"]).ok();
    assert!(output.err.contains("org.example.silent") && output.out.contains("trait Keeper"), "{output:?}");
    let all = place.run(&["describe", &format!("T{}.{}", task.id() as u32, task.id() >> 32)]).ok().out;
    assert!(all.contains("trait Keeper"), "{all}");
    let output = place.run(&["describe", "org.example.none"]);
    assert!(output.code() == Some(1) && output.err.contains("org.example.none"), "{output:?}");
}
