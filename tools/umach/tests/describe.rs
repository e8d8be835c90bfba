//! `umach describe`: a binary's interfaces, a service's, and the check against saved ones.

mod common;

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
    assert!(rust.contains("fn subset() -> Result<SendRight<dyn umach.NameSpace>, Refusal>;"), "{rust}");
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
    let output = place.run(&["describe", "org.example.silent"]);
    assert!(output.code() == Some(1) && output.err.contains("org.example.silent"), "{output:?}");
    let output = place.run(&["describe", "org.example.none"]);
    assert!(output.code() == Some(1) && output.err.contains("org.example.none"), "{output:?}");
}
