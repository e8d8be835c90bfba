//! The name server on an in-process kernel: every call, between tasks that share nothing.

mod common;

use std::time::Duration;

use common::{DEADLINE, OPEN, Served, config, until};
use libtask::interface::FAILURE;
use libtask::{LocalKernel, Message, Notification, PortOptions, Received};
use umach_abi::Code;
use umach_name_api::protocol::Refusal;
use umach_name_api::{Error, Event, Kind, Names};

/// Message ids of the requests that are made by hand here.
const CHECK_IN: i32 = 400;
const REGISTER: i32 = 401;
const LIST: i32 = 404;
const WATCH: i32 = 405;

fn served(text: &str) -> Served {
    Served::start(LocalKernel::start().task("names").unwrap(), config(text))
}

fn code<T: std::fmt::Debug>(answer: Result<T, Error>) -> Code {
    answer.unwrap_err().code()
}

fn next(watch: &mut umach_name_api::Watch) -> Event {
    watch.next_within(DEADLINE).unwrap().expect("an event comes")
}

#[test]
fn right_registered_by_one_task_is_found_by_another_and_vanishes_with_its_task() {
    let served = served(OPEN);
    let (client, names) = served.client("client");
    let mut watch = names.watch().unwrap();
    let (server, theirs) = served.client("server");
    let port = server.new_port().unwrap();
    theirs.register("org.example.a", port.make_send().unwrap()).unwrap();
    assert_eq!(next(&mut watch), Event::Appeared("org.example.a".into()));
    let right = names.look_up("org.example.a").unwrap();
    right.send(Message::new(7).bytes(b"hello")).unwrap();
    let message = port.receive_within(DEADLINE).unwrap();
    assert_eq!((message.bytes(), message.sender().task), (b"hello".as_slice(), client.id()));
    let entry = names.list().unwrap().remove(0);
    assert_eq!((entry.name.as_str(), entry.kind, entry.pid, entry.depth), ("org.example.a", Kind::Registered, std::process::id(), 0));
    drop((message, port, theirs, server));
    assert_eq!(next(&mut watch), Event::Vanished("org.example.a".into()));
    assert_eq!(code(names.look_up("org.example.a")), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    assert!(names.list().unwrap().is_empty());
}

#[test]
fn check_in_of_a_new_name_gives_its_receive_right() {
    let served = served(OPEN);
    let (_client, names) = served.client("client");
    let (_server, theirs) = served.client("server");
    let port = theirs.check_in("echo").unwrap();
    assert_eq!(code(theirs.check_in("echo")), Code::BOOTSTRAP_SERVICE_ACTIVE);
    let echo = std::thread::spawn(move || port.serve(|request| libtask::Next::ReplyAndStop(Message::new(8).bytes(request.bytes()))));
    let right = names.look_up("echo").unwrap();
    assert_eq!(right.call_within(Message::new(7).bytes(b"x"), DEADLINE).unwrap().bytes(), b"x");
    // The thread has dropped the receive right.
    echo.join().unwrap().unwrap();
    until("the name vanishes", || names.look_up("echo").err().filter(Error::is_unknown));
    assert!(right.is_dead().unwrap());
}

#[test]
fn name_taken_or_not_a_name_is_refused_with_its_reason() {
    let served = served(OPEN);
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    names.register("a", port.make_send().unwrap()).unwrap();
    let error = names.register("a", port.make_send().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::BOOTSTRAP_NAME_IN_USE);
    let text = error.to_string();
    assert!(text.contains("register \"a\"") && text.contains("by process") && text.contains("choose another name"), "{text}");
    for bad in ["", "a b", &"x".repeat(129)] {
        assert_eq!(code(names.register(bad, port.make_send().unwrap())), Code::KERN_INVALID_ARGUMENT, "{bad:?}");
        assert_eq!(code(names.check_in(bad)), Code::KERN_INVALID_ARGUMENT, "{bad:?}");
    }
    names.register(&"x".repeat(128), port.make_send().unwrap()).unwrap();
}

#[test]
fn unregister_takes_the_name_and_leaves_the_right() {
    let served = served(OPEN);
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    names.register("a", port.make_send().unwrap()).unwrap();
    let right = names.look_up("a").unwrap();
    names.unregister("a").unwrap();
    assert_eq!(code(names.unregister("a")), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    assert_eq!(code(names.look_up("a")), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    right.try_send(Message::new(1)).unwrap();
    assert!(port.try_receive().unwrap().is_some());
    // Registering the same port again arms its death notice again.
    names.register("a", port.make_send().unwrap()).unwrap();
    drop(port);
    until("the name vanishes", || names.look_up("a").err().filter(Error::is_unknown));
}

#[test]
fn one_port_under_two_names_takes_both_with_it() {
    let served = served(OPEN);
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    for name in ["a", "b"] {
        names.register(name, port.make_send().unwrap()).unwrap();
    }
    names.unregister("a").unwrap();
    names.register("a", port.make_send().unwrap()).unwrap();
    let mut watch = names.watch().unwrap();
    drop(port);
    assert_eq!([next(&mut watch), next(&mut watch)], [Event::Vanished("a".into()), Event::Vanished("b".into())]);
}

#[test]
fn dead_right_is_refused() {
    let served = served(OPEN);
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    let right = port.make_send().unwrap();
    drop(port);
    assert_eq!(code(names.register("a", right)), Code::KERN_INVALID_CAPABILITY);
    assert!(names.list().unwrap().is_empty());
}

#[test]
fn look_up_within_waits_for_the_name_and_no_longer_than_told() {
    let served = served(OPEN);
    let (_task, names) = served.client("client");
    let error = names.look_up_within("late", Duration::from_millis(20)).unwrap_err();
    assert!(matches!(&error, Error::NotInTime { name, .. } if name == "late"), "{error}");
    let (server, theirs) = served.client("server");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| names.look_up_within("late", DEADLINE).map(drop));
        // Another name must not end the wait.
        let port = server.new_port().unwrap();
        theirs.register("other", port.make_send().unwrap()).unwrap();
        theirs.register("late", port.make_send().unwrap()).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn list_of_many_names_comes_whole_and_sorted() {
    let served = served(OPEN);
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    let all: Vec<String> = (0..300).map(|i| format!("{i:03}{}", "n".repeat(120))).collect();
    for name in all.iter().rev() {
        names.register(name, port.make_send().unwrap()).unwrap();
    }
    assert_eq!(names.list().unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>(), all);
}

#[test]
fn watcher_that_does_not_read_is_dropped_after_its_queue_is_full() {
    let served = served(OPEN);
    let (task, names) = served.client("client");
    let mut lazy = names.watch().unwrap();
    let mut picky = names.watch_name("only").unwrap();
    let port = task.new_port().unwrap();
    for _ in 0..600 {
        names.register("a", port.make_send().unwrap()).unwrap();
        names.unregister("a").unwrap();
    }
    for i in 0..1024 {
        let expected = if i % 2 == 0 { Event::Appeared("a".into()) } else { Event::Vanished("a".into()) };
        assert_eq!(next(&mut lazy), expected, "event {i}");
    }
    assert!(matches!(lazy.next_within(DEADLINE), Err(Error::WatchEnded)));
    assert!(matches!(lazy.next_within(DEADLINE), Err(Error::WatchEnded)), "and stays ended");
    names.register("only", port.make_send().unwrap()).unwrap();
    assert_eq!(next(&mut picky), Event::Appeared("only".into()));
}

#[test]
fn subset_is_private_falls_back_and_ends_with_its_last_right() {
    let served = served(OPEN);
    let (parent, names) = served.client("parent");
    let root_port = parent.new_port().unwrap();
    for name in ["outer", "both"] {
        names.register(name, root_port.make_send().unwrap()).unwrap();
    }
    let subset = names.subset().unwrap();
    parent.set_bootstrap(&subset).unwrap();
    let (child, _control) = parent.spawn_local("child").unwrap();
    parent.set_bootstrap(names.right()).unwrap();
    let inside = Names::from_bootstrap(&child).unwrap();
    let mut watch = inside.watch().unwrap();
    let port = child.new_port().unwrap();
    for name in ["inner", "both"] {
        inside.register(name, port.make_send().unwrap()).unwrap();
        assert_eq!(next(&mut watch), Event::Appeared(name.into()));
    }
    let seen: Vec<_> = inside.list().unwrap().into_iter().map(|entry| (entry.name, entry.depth)).collect();
    assert_eq!(seen, [("both".to_owned(), 0), ("inner".to_owned(), 0), ("outer".to_owned(), 1)]);
    inside.look_up("both").unwrap().try_send(Message::new(1)).unwrap();
    assert!(port.try_receive().unwrap().is_some(), "the nearer one is found");
    inside.look_up("outer").unwrap().try_send(Message::new(1)).unwrap();
    assert!(root_port.try_receive().unwrap().is_some(), "the other one's parent is asked");
    assert_eq!(code(names.look_up("inner")), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    let fresh = inside.check_in("served").unwrap();
    assert_eq!(code(names.look_up("served")), Code::BOOTSTRAP_UNKNOWN_SERVICE);

    // With the last right to it the subset lets go of what was registered there.
    let mine = parent.new_port().unwrap();
    Names::at(subset.duplicate()).register("mine", mine.make_send().unwrap()).unwrap();
    mine.on_no_senders(&mine).unwrap();
    drop(subset);
    assert_eq!(next(&mut watch), Event::Appeared("served".into()));
    assert_eq!(next(&mut watch), Event::Appeared("mine".into()));
    assert!(mine.try_receive().unwrap().is_none(), "the child still holds it");
    drop((fresh, port, watch, inside, child));
    let message = mine.receive_within(DEADLINE).unwrap();
    assert!(matches!(message.notification(), Some(Notification::NoSenders { .. })));
}

#[test]
fn subset_of_a_requestor_dies_with_it_whoever_holds_it() {
    let served = served(OPEN);
    let (guest, theirs) = served.client("guest");
    let requestor = guest.new_port().unwrap();
    let subset = Names::at(theirs.subset_of(requestor.make_send().unwrap()).unwrap());
    guest.set_bootstrap(subset.right()).unwrap();
    let (heir, _control) = guest.spawn_local("heir").unwrap();
    let kept = Names::from_bootstrap(&heir).unwrap();
    let port = guest.new_port().unwrap();
    subset.register("inner", port.make_send().unwrap()).unwrap();
    let below = Names::at(kept.subset().unwrap());
    let mut watch = below.watch().unwrap();
    assert_eq!(below.list().unwrap().into_iter().map(|entry| (entry.name, entry.depth)).collect::<Vec<_>>(), [("inner".to_owned(), 1)]);
    // It asks for itself, too.
    assert!(below.unprivileged().unwrap().describe().is_ok());
    drop(requestor);
    assert!(matches!(watch.next_within(DEADLINE), Err(Error::WatchEnded)));
    for gone in [&kept, &below] {
        until("its bootstrap port is dead", || gone.right().is_dead().unwrap().then_some(()));
        assert!(matches!(gone.list(), Err(Error::ServerGone { .. })));
    }
    let dead = guest.new_port().unwrap();
    let right = dead.make_send().unwrap();
    drop(dead);
    assert_eq!(code(theirs.subset_of(right)), Code::KERN_INVALID_CAPABILITY);
    assert_eq!(code(theirs.subset_of(theirs.right().duplicate())), Code::KERN_INVALID_CAPABILITY, "the server's own port");
}

#[test]
fn quotas_hold_for_one_user_and_say_so() {
    let served = served(&format!("{OPEN}[limits]\nnames = 3\nwatchers = 1\nuser_watchers = 2\nsubsets = 1\n"));
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    for name in ["a", "b", "c"] {
        names.register(name, port.make_send().unwrap()).unwrap();
    }
    let error = names.register("d", port.make_send().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::BOOTSTRAP_NO_MEMORY);
    assert!(error.to_string().contains("has 3 names already"), "{error}");
    assert_eq!(code(names.check_in("d")), Code::BOOTSTRAP_NO_MEMORY);
    let watch = names.watch().unwrap();
    assert_eq!(code(names.watch()), Code::BOOTSTRAP_NO_MEMORY);
    let (_other, others) = served.client("other");
    let _theirs = others.watch().unwrap();
    let (_third, thirds) = served.client("third");
    assert_eq!(code(thirds.watch()), Code::BOOTSTRAP_NO_MEMORY, "the user has two");
    drop(watch);
    until("the watch that was dropped is given back", || names.watch().ok());
    let subset = names.subset().unwrap();
    assert_eq!(code(names.subset()), Code::BOOTSTRAP_NO_MEMORY);
    drop(subset);
    until("the subset that was dropped is given back", || names.subset().ok());
}

#[test]
fn policy_says_who_may_what() {
    let text = "[policy]\nregister = \"owner\"\n[names.\"none.*\"]\nlook_up = \"nobody\"\nregister = \"any\"\ncheck_in = \"nobody\"\n\
                [names.\"others\"]\nregister = [4294967294]\n";
    let served = served(text);
    let (task, names) = served.client("client");
    let port = task.new_port().unwrap();
    names.register("mine", port.make_send().unwrap()).unwrap();
    let error = names.register("others", port.make_send().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert!(error.to_string().contains("may not register \"others\""), "{error}");
    names.register("none.a", port.make_send().unwrap()).unwrap();
    assert_eq!(code(names.look_up("none.a")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(code(names.check_in("none.b")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(names.list().unwrap().len(), 1);
}

#[test]
fn hostile_messages_are_refused_and_the_server_goes_on() {
    let served = served(OPEN);
    let (task, names) = served.client("hostile");
    let server = names.right();
    let port = task.new_port().unwrap();
    let refusal = |message: Message| -> Code {
        let id = message.id();
        let answer = server.call_within(message, DEADLINE).unwrap();
        if answer.id() == FAILURE {
            return Code(answer.body::<(u32, String)>().unwrap().0);
        }
        assert_eq!(answer.id(), id.wrapping_add(100));
        answer.body::<Result<(), Refusal>>().unwrap().unwrap_err().code()
    };
    for id in [0, -1, i32::MAX, i32::MIN, 399, 411, 65, 72, 450, 451] {
        assert_eq!(refusal(Message::new(id).bytes(b"what?")), Code::MIG_BAD_ID, "{id}");
    }
    for call in CHECK_IN..=WATCH {
        for body in [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x05abc", &[0xff; 60_000], b"\x02\xc3\x28"] {
            // A list without a body asks for its first page.
            if call != LIST || !body.is_empty() {
                assert_eq!(refusal(Message::new(call).bytes(body)), Code::MIG_TYPE_ERROR, "{call} {:?}", &body[..body.len().min(8)]);
            }
        }
    }
    let named = || Message::new(REGISTER).body(&("x", 0u32));
    assert_eq!(refusal(named()), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().make_send_once(&task.new_port().unwrap())), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().memory(vec![1; 100])), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().memory(vec![1; 300_000])), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().no_right()), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().rights((0..50).map(|_| port.make_send().unwrap()))), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().move_receive(task.new_port().unwrap())), Code::MIG_TYPE_ERROR);
    assert_eq!(refusal(named().copy_send(server)), Code::KERN_INVALID_CAPABILITY, "the server's own port");
    // More rights than asked for are let go again.
    port.on_no_senders(&port).unwrap();
    let many = (0..20).fold(named(), |message, _| message.make_send(&port));
    assert!(server.call_within(many, DEADLINE).unwrap().body::<Result<(), Refusal>>().unwrap().is_ok());
    names.unregister("x").unwrap();
    let message = port.receive_within(DEADLINE).unwrap();
    assert!(matches!(message.notification(), Some(Notification::NoSenders { .. })));
    // A forged notification, and messages that want no answer.
    for id in [69, 70, 72, 400, 402] {
        server.send_within(Message::new(id).make_send(&port).bytes(b"\0\0\0\0"), DEADLINE).unwrap();
    }
    names.register("x", port.make_send().unwrap()).unwrap();
    assert_eq!(names.list().unwrap().len(), 1);
}

#[test]
fn caller_that_does_not_read_its_answers_stops_nobody() {
    let served = served(OPEN);
    let (task, names) = served.client("hostile");
    let full = task.new_port_with(PortOptions { queue_limit: Some(1), ..PortOptions::default() }).unwrap();
    for _ in 0..50 {
        // An ordinary send right to answer to: its queue has room for one.
        let message = Message::new(LIST).reply_to(full.make_send().unwrap());
        names.right().send_within(message, DEADLINE).unwrap();
    }
    let (_other, others) = served.client("other");
    assert!(others.list().unwrap().is_empty());
}

#[test]
fn task_that_ends_leaves_nothing_in_the_server() {
    let served = served(OPEN);
    let rights = || served.task.control().unwrap().names().unwrap().len();
    let before = rights();
    for round in 0..3 {
        let (task, names) = served.client("guest");
        let port = task.new_port().unwrap();
        for i in 0..20 {
            names.register(&format!("r{i}"), port.make_send().unwrap()).unwrap();
        }
        let checked_in: Vec<_> = (0..20).map(|i| names.check_in(&format!("c{i}")).unwrap()).collect();
        let subset = Names::at(names.subset().unwrap());
        let deeper = Names::at(subset.subset().unwrap());
        deeper.register("inner", port.make_send().unwrap()).unwrap();
        let watch = deeper.watch().unwrap();
        assert!(rights() > before + 20, "round {round}");
        drop((checked_in, watch, deeper, subset, port, names, task));
        until("everything is given back", || (rights() <= before).then_some(()));
    }
}

#[test]
fn server_that_stops_is_noticed_at_once() {
    let mut served = served(OPEN);
    let (_task, names) = served.client("client");
    let mut watch = names.watch().unwrap();
    served.stop().unwrap();
    let error = names.look_up("x").unwrap_err();
    assert!(matches!(error, Error::ServerGone { .. }), "{error}");
    assert!(matches!(watch.next_within(DEADLINE), Err(Error::WatchEnded)));
}

#[test]
fn task_without_a_bootstrap_port_is_told_so() {
    let task = LocalKernel::start().task("lonely").unwrap();
    let error = Names::from_bootstrap(&task).unwrap_err();
    assert!(matches!(error, Error::NoNameServer), "{error}");
}

/// A declared service whose command cannot be started, so that tasks of the test serve it.
const DECLARED: &str = "[services.svc]\ncommand = [\"cannot be started here\"]\nqueue = 20\nbackoff = { first = \"1h\", max = \"1h\" }\n";

fn numbers(port: &libtask::ReceiveRight, count: usize) -> Vec<u8> {
    let read = |message: Received| message.bytes()[0];
    (0..count).map(|_| read(port.receive_within(DEADLINE).unwrap())).collect()
}

#[test]
fn declared_service_keeps_its_messages_from_one_server_to_the_next() {
    let served = served(DECLARED);
    let (_client, names) = served.client("client");
    assert_eq!(names.list().unwrap()[0].kind, Kind::OnDemand);
    let right = names.look_up("svc").unwrap();
    for i in 0..9 {
        right.try_send(Message::new(1).bytes(&[i])).unwrap();
    }
    let detail = until("the start fails", || names.list().unwrap().into_iter().find(|entry| entry.kind == Kind::BackingOff)).detail;
    assert!(detail.contains("cannot be started here") && detail.contains("next start in"), "{detail}");
    let mut at = 0;
    for count in [3, 1, 2] {
        let (server, theirs) = served.client("server");
        let port = until("the right is back", || theirs.check_in("svc").ok());
        assert_eq!(code(names.check_in("svc")), Code::BOOTSTRAP_SERVICE_ACTIVE);
        assert_eq!(names.list().unwrap()[0].kind, Kind::Active);
        assert_eq!(numbers(&port, count), (at..at + count as u8).collect::<Vec<_>>());
        at += count as u8;
        // What a hostile server may do to it is undone.
        port.set_queue_limit(0).unwrap();
        drop((port, theirs, server));
    }
    let port = until("the right is back", || names.check_in("svc").ok());
    assert_eq!(numbers(&port, 3), [6, 7, 8]);
    assert_eq!(port.status().unwrap().queue_limit, 20);
    assert!(!right.is_dead().unwrap(), "the first look-up serves to the end");
}

#[test]
fn receive_right_comes_back_from_an_answer_that_nobody_received() {
    let served = served(DECLARED);
    let (_client, names) = served.client("client");
    names.look_up("svc").unwrap().try_send(Message::new(1).bytes(&[7])).unwrap();
    let (server, theirs) = served.client("server");
    let answer = server.new_port().unwrap();
    let check_in = Message::new(CHECK_IN).body("svc").reply_to(&answer);
    theirs.right().send_within(check_in, DEADLINE).unwrap();
    until("the right is in the answer", || answer.status().unwrap().queued.eq(&1).then_some(()));
    assert_eq!(names.list().unwrap()[0].kind, Kind::Active);
    drop((answer, theirs, server));
    let port = until("the right is back", || names.check_in("svc").ok());
    assert_eq!(numbers(&port, 1), [7]);
}

#[test]
fn receive_right_that_was_passed_on_comes_back_from_its_last_holder() {
    let served = served(DECLARED);
    let (_client, names) = served.client("client");
    let right = names.look_up("svc").unwrap();
    let (second, seconds) = served.client("second");
    let inbox = second.new_port().unwrap();
    seconds.register("inbox", inbox.make_send().unwrap()).unwrap();
    let (first, firsts) = served.client("first");
    let port = firsts.check_in("svc").unwrap();
    firsts.look_up("inbox").unwrap().try_send(Message::new(1).move_receive(port)).unwrap();
    let port = inbox.receive_within(DEADLINE).unwrap().take_receive(0).unwrap();
    drop((firsts, first));
    right.try_send(Message::new(1).bytes(&[1])).unwrap();
    right.try_send(Message::new(1).bytes(&[2])).unwrap();
    assert_eq!(numbers(&port, 1), [1], "the second one serves");
    assert_eq!(code(names.check_in("svc")), Code::BOOTSTRAP_SERVICE_ACTIVE);
    drop((port, inbox, seconds, second));
    let port = until("the right is back", || names.check_in("svc").ok());
    assert_eq!(numbers(&port, 1), [2]);
}

#[test]
fn flood_of_requests_keeps_no_service_from_being_started() {
    let served = served(&format!("{OPEN}{DECLARED}"));
    let (_client, names) = served.client("client");
    let right = names.look_up("svc").unwrap();
    let enough = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (_task, flood) = served.client("flood");
            let enough = &enough;
            scope.spawn(move || {
                // Requests that want no answer: as many as the queue takes.
                while !enough.load(std::sync::atomic::Ordering::Relaxed) {
                    flood.right().send_within(Message::new(LIST), DEADLINE).unwrap();
                }
            });
        }
        right.try_send(Message::new(1)).unwrap();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("it is tried to start it", || names.list().unwrap().into_iter().find(|entry| entry.kind == Kind::BackingOff))
        }));
        enough.store(true, std::sync::atomic::Ordering::Relaxed);
        seen.unwrap();
    });
}
