//! Start on demand with real processes: a kernel process's shell on a thread of the test, the name server on another, services as
//! children.

mod common;

use std::collections::BTreeSet;

use common::world::World;
use common::{DEADLINE, call, is_there, signal, until};
use libtask::{Message, PortOptions};
use rustix::process::Signal;
use umach_name_api::{Error, Event, Kind};

#[test]
fn first_message_starts_the_service_and_a_look_up_does_not() {
    let world = World::new(|program| format!("[services.echo]\ncommand = [{program}]\nLOG\n"));
    let right = world.names().look_up("echo").unwrap();
    assert_eq!((world.entry("echo").kind, world.started()), (Kind::OnDemand, vec![]));
    let pid = call(&right, b"hello").unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!(call(&right, b"again").unwrap(), pid);
    let entry = world.entry("echo");
    assert_eq!((entry.kind, entry.pid), (Kind::Active, pid));
    assert_eq!(world.started(), [pid]);
}

#[test]
fn messages_survive_the_death_of_one_server_after_the_other() {
    let text = |program: &str| {
        format!(
            "[services.svc]\ncommand = [{program}, \"limited\", \"3\"]\nqueue = 64\nbackoff = {{ first = \"1ms\", max = \"1ms\" }}\nLOG\n"
        )
    };
    let world = World::new(text);
    let right = world.names().look_up("svc").unwrap();
    let collector = world.task().new_port_with(PortOptions { queue_limit: Some(64), ..PortOptions::default() }).unwrap();
    for i in 0..20u8 {
        right.send_within(Message::new(1).bytes(&[i]).make_send(&collector), DEADLINE).unwrap();
    }
    let mut pids = BTreeSet::new();
    for i in 0..20u8 {
        let (pid, bytes): (u32, Vec<u8>) = collector.receive_within(DEADLINE).unwrap().body().unwrap();
        assert_eq!(bytes, [i], "each message once, in order");
        pids.insert(pid);
    }
    assert_eq!(pids.len(), 7, "three messages each");
    for &pid in pids.iter().filter(|pid| **pid != *world.started().last().unwrap()) {
        until("the dead are reaped", || (!is_there(pid)).then_some(()));
    }
}

#[test]
fn service_killed_with_calls_under_way_answers_or_fails_each_of_them() {
    let text =
        |program: &str| format!("[services.svc]\ncommand = [{program}]\nqueue = 8\nbackoff = {{ first = \"1ms\", max = \"1ms\" }}\nLOG\n");
    let world = World::new(text);
    let right = world.names().look_up("svc").unwrap();
    let first = call(&right, b"first").unwrap();
    let (answered, failed) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (mut answered, mut failed) = (0, 0);
                    for _ in 0..100 {
                        match call(&right, b"x") {
                            Ok(_) => answered += 1,
                            // It had received this one and died with it.
                            Err(error) if error.is_server_died() => failed += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    (answered, failed)
                })
            })
            .collect();
        signal(first, Signal::KILL);
        let second = until("another one serves", || call(&right, b"y").ok().filter(|pid| *pid != first));
        signal(second, Signal::KILL);
        callers.into_iter().map(|caller| caller.join().unwrap()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert_eq!(answered + failed, 300);
    assert!(failed <= 2 * 3, "{failed} calls failed: only those that a server had received may");
    assert!(world.started().len() >= 3);
    until("the dead are reaped", || (!is_there(first)).then_some(()));
}

#[test]
fn service_that_keeps_dying_backs_off_and_keeps_its_messages() {
    let text = |program: &str| {
        format!("[services.bad]\ncommand = [{program}, \"crash\"]\nbackoff = {{ first = \"20ms\", max = \"60ms\" }}\nLOG\n")
    };
    let world = World::new(text);
    let right = world.names().look_up("bad").unwrap();
    right.try_send(Message::new(1).bytes(b"kept")).unwrap();
    let detail = until("it backs off", || Some(world.entry("bad")).filter(|entry| entry.kind == Kind::BackingOff)).detail;
    assert!(detail.contains("exited with status 1") && detail.contains("next start in"), "{detail}");
    until("it is tried again and again", || (world.started().len() >= 4).then_some(()));
    // Somebody else may serve it meanwhile, and finds the message.
    let port = world.names().check_in("bad").unwrap();
    assert_eq!(port.receive_within(DEADLINE).unwrap().bytes(), b"kept");
    let started = world.started();
    for pid in &started[..started.len() - 1] {
        until("the dead are reaped", || (!is_there(*pid)).then_some(()));
    }
}

#[test]
fn service_that_never_checks_in_is_killed() {
    let text = |program: &str| {
        format!(
            "[services.hang]\ncommand = [{program}, \"hang\"]\ncheck_in_within = \"50ms\"\nbackoff = {{ first = \"1h\", max = \"1h\" }}\nLOG\n"
        )
    };
    let world = World::new(text);
    world.names().look_up("hang").unwrap().try_send(Message::new(1)).unwrap();
    let detail = until("it is killed", || Some(world.entry("hang")).filter(|entry| entry.kind == Kind::BackingOff)).detail;
    assert!(detail.contains("killed by signal 9 after it did not check in within 50ms"), "{detail}");
    assert!(!is_there(world.started()[0]));
}

#[test]
fn service_that_exits_on_purpose_is_started_again_by_the_next_message() {
    let text =
        |program: &str| format!("[services.once]\ncommand = [{program}, \"leave\"]\nbackoff = {{ first = \"1ms\", max = \"1h\" }}\nLOG\n");
    let world = World::new(text);
    let right = world.names().look_up("once").unwrap();
    // Were they counted as failures, the delays would double past the deadline.
    let pids: BTreeSet<u32> = (0..16).map(|_| call(&right, b"x").unwrap()).collect();
    assert_eq!(pids.len(), 16);
}

#[test]
fn program_that_is_not_there_is_named() {
    let world = World::new(|_| "[services.none]\ncommand = [\"/nonexistent/program\"]\n".into());
    world.names().look_up("none").unwrap().try_send(Message::new(1)).unwrap();
    let detail = until("it fails", || Some(world.entry("none")).filter(|entry| entry.kind == Kind::BackingOff)).detail;
    assert!(detail.contains("cannot run \"/nonexistent/program\""), "{detail}");
}

#[test]
fn name_of_a_killed_process_vanishes() {
    // The child is started as a service of another name, and publishes one of its own.
    let world = World::new(|program| {
        format!("[services.start]\ncommand = [{program}, \"register\", \"mine\"]\nbackoff = {{ first = \"1h\", max = \"1h\" }}\nLOG\n")
    });
    let names = world.names();
    let mut watch = names.watch_name("mine").unwrap();
    names.look_up("start").unwrap().try_send(Message::new(1)).unwrap();
    let right = names.look_up_within("mine", DEADLINE).unwrap();
    let pid = call(&right, b"x").unwrap();
    assert_eq!(watch.next_within(DEADLINE).unwrap(), Some(Event::Appeared("mine".into())));
    signal(pid, Signal::KILL);
    assert_eq!(watch.next_within(DEADLINE).unwrap(), Some(Event::Vanished("mine".into())));
    assert!(names.look_up("mine").is_err_and(|error: Error| error.is_unknown()));
    assert!(right.is_dead().unwrap());
    until("the dead are reaped", || (!is_there(pid)).then_some(()));
}

#[test]
fn services_end_with_the_name_server() {
    let mut world = World::new(|program| format!("[services.echo]\ncommand = [{program}]\nLOG\n"));
    let pid = call(&world.names().look_up("echo").unwrap(), b"x").unwrap();
    world.served.as_mut().unwrap().stop().unwrap();
    assert!(!is_there(pid));
}
