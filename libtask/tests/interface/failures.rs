//! What is no call of a method, and what cannot be read.

use libtask::interface::FAILURE;
use libtask::{Code, Interface, Message};

use crate::{Pair, SOON};

#[libtask::interface(name = "test.Plain", base = 5000)]
pub trait Plain {
    /// Joins them.
    #[id(7)]
    fn join(&self, a: String, b: String) -> String;
    #[id(8)]
    #[oneway]
    fn ignore(&self, a: u32);
}

struct Server;

impl Plain for Server {
    fn join(&self, a: String, b: String) -> String {
        a + &b
    }
    fn ignore(&self, _: u32) {}
}

#[test]
fn unknown_method_is_a_typed_error() {
    let (pair, right) = Pair::start::<dyn Plain, _>(|_| Server);
    let raw = right.duplicate().untyped();
    for (id, text) in [(5009, "test.Plain has no method 9 here"), (5300, "message 5300 is no method of test.Plain"), (-1, "no method")] {
        let answer = raw.call(Message::new(id)).unwrap();
        assert_eq!(answer.id(), FAILURE);
        let (code, reason): (u32, String) = answer.body().unwrap();
        assert_eq!(Code(code), Code::MIG_BAD_ID);
        assert!(reason.contains(text), "{reason}");
    }
    // And the client of another interface is told so.
    let error = raw.typed::<dyn crate::values::Shared>().client().add(1).unwrap_err();
    assert!(error.is_unknown_method(), "{error}");
    assert!(error.to_string().contains("Shared.add") && error.to_string().contains("test.Plain"), "{error}");
    drop(right);
    pair.join();
}

#[test]
fn body_that_is_none_is_refused_with_the_arguments_name() {
    let (pair, right) = Pair::start::<dyn Plain, _>(|_| Server);
    let raw = right.duplicate().untyped();
    let whole = postcard::to_stdvec(&("first", "second")).unwrap();
    for len in 0..whole.len() {
        let answer = raw.call(Message::new(5007).bytes(&whole[..len])).unwrap();
        let (code, reason): (u32, String) = answer.body().unwrap();
        assert_eq!((answer.id(), Code(code)), (FAILURE, Code::MIG_TYPE_ERROR));
        let argument = if len < 6 { "\"a\"" } else { "\"b\"" };
        assert!(reason.contains("Plain.join") && reason.contains(argument), "{len}: {reason}");
    }
    assert_eq!(raw.call(Message::new(5007).bytes(&whole)).unwrap().body::<String>().unwrap(), "firstsecond");
    // Nobody hears of a one-way call that cannot be read; and a call that wants no answer gets none.
    raw.send(Message::new(5008)).unwrap();
    raw.send(Message::new(5007).bytes(&whole)).unwrap();
    raw.send(Message::new(5099)).unwrap();
    assert_eq!(right.duplicate().client().join("a".into(), "b".into()).unwrap(), "ab");
    drop((raw, right));
    pair.join();
}

#[test]
fn server_that_dies_is_told_at_once() {
    let kernel = libtask::LocalKernel::start();
    let task = kernel.task("server").unwrap();
    let port = task.new_port_of::<dyn Plain>().unwrap();
    let client = port.make_send().unwrap().client();
    let pending = client.begin().join("a".into(), "b".into());
    drop(port);
    let error = pending.finish_within(SOON).unwrap_err();
    assert!(error.is_server_died(), "{error}");
    assert!(client.join("a".into(), "b".into()).unwrap_err().is_dead());
}

#[test]
fn server_describes_itself() {
    let (pair, right) = Pair::start::<dyn Plain, _>(|_| Server);
    let description = right.describe().unwrap();
    assert_eq!((description.name.as_str(), description.base), ("test.Plain", 5000));
    assert_eq!(description.base, <dyn Plain as Interface>::BASE);
    let methods: Vec<_> = description.methods.iter().map(|method| (method.number, method.name.as_str(), method.one_way)).collect();
    assert_eq!(methods, [(7, "join", false), (8, "ignore", true)]);
    assert_eq!(description.methods[0].docs, "Joins them.");
    drop(right);
    pair.join();
}

#[test]
fn description_is_in_the_binary() {
    let binary = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let found = umach_describe::scan(&binary);
    let names: Vec<_> = found.iter().map(|found| found.description.as_ref().unwrap().name.clone()).collect();
    for name in ["test.Plain", "test.Echo", "Depot"] {
        assert_eq!(names.iter().filter(|found| *found == name).count(), 1, "{names:?}");
    }
}
