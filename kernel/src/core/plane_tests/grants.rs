//! Plays: when a route is granted, what both are told, and how receives go on.

use umach_abi::control::phase;
use umach_abi::link;
use umach_abi::records::{event, undelivered};

use super::pair::*;
use super::*;

#[test]
fn route_is_granted_after_so_many_messages_and_both_are_told_in_order() {
    let mut pair = Pair::new(Direct::Auto { after: 3 });
    for _ in 0..2 {
        pair.post(b"mail");
        assert!(!pair.granted());
        pair.poll();
    }
    pair.post(b"last");
    assert!(pair.granted());
    assert!(pair.world.kinds(pair.server).is_empty(), "told before its sender knows");
    let told = pair.world.events(pair.client);
    assert_eq!(told.iter().map(|event| event.kind).collect::<Vec<_>>(), [event::ATTENTION, event::LINK, event::ROUTE_OUT]);
    assert_eq!((told[1].index, told[1].pid, told[1].uid, told[1].gid), (0, 7, 1, 2));
    assert_eq!((told[1].task, told[2].name, told[2].value), (pair.world.id(pair.server).to_raw(), pair.send, 5));
    let told = pair.world.events(pair.server);
    assert_eq!(told.iter().map(|event| event.kind).collect::<Vec<_>>(), [event::ATTENTION, event::LINK, event::ROUTE_IN]);
    assert_eq!((told[1].index, told[2].name, told[2].value, told[2].flags), (1, pair.port, 5, 1 | 1 << 8));
    assert_eq!(pair.poll().as_deref(), Some(&b"last"[..]));
    assert_eq!(pair.world.kinds(pair.server), [event::ROUTE_OPEN]);
}

#[test]
fn route_behind_no_mail_is_open_at_once() {
    let mut pair = Pair::new(Direct::Always);
    pair.post(b"mail");
    pair.poll();
    pair.world.events(pair.client);
    assert_eq!(pair.world.events(pair.server).last().map(|event| (event.kind, event.flags)), Some((event::ROUTE_IN, 0)));
}

#[test]
fn route_waits_for_mail_of_its_sender_that_is_parked() {
    let mut pair = Pair::new(Direct::Always);
    for _ in 0..5 {
        pair.post(b"mail");
    }
    let second = pair.world.second_lane(pair.client);
    pair.world.start(second, msg(Options::SEND, Name::NULL, &simple(pair.send, b"park")));
    pair.world.events(pair.client);
    pair.world.events(pair.server);
    for _ in 0..5 {
        assert_eq!(pair.poll().as_deref(), Some(&b"mail"[..]));
        assert!(pair.world.kinds(pair.server).is_empty());
    }
    pair.poll();
    assert_eq!(pair.world.kinds(pair.server), [event::ROUTE_OPEN]);
}

#[test]
fn route_opens_when_the_mail_it_waits_for_is_given_up() {
    let mut pair = Pair::new(Direct::Always);
    let other = pair.world.task();
    let theirs = pair.world.give(pair.server, pair.port, 20, other);
    pair.post(b"mail");
    for _ in 0..4 {
        pair.world.send(other, theirs, b"fill");
    }
    let second = pair.world.second_lane(pair.client);
    pair.world.start(second, msg(Options::SEND, Name::NULL, &simple(pair.send, b"park")));
    pair.world.events(pair.client);
    pair.world.events(pair.server);
    pair.world.start(second, Request::Cancel(control::Cancel { seq: 9, phases: phase::SEND, interrupted: 0 }));
    assert_eq!(pair.world.answer(second).unwrap().status, Code::MACH_SEND_TIMED_OUT);
    assert!(pair.world.kinds(pair.server).is_empty(), "the first message is still there");
    pair.poll();
    assert_eq!(pair.world.kinds(pair.server), [event::ROUTE_OPEN]);
}

#[test]
fn route_needs_two_tasks_that_can() {
    for (server_can, client_can) in [(false, true), (true, false)] {
        let mut world = World::new(Direct::Always);
        let features = |can| if can { Features::DIRECT_PLANE } else { Features::empty() };
        let (server, client) = (world.stranger(features(server_can)), world.stranger(features(client_can)));
        let port = world.port(server);
        let send = world.give(server, port, 20, client);
        let mut pair = Pair { world, server, client, port, send };
        pair.poll();
        pair.post(b"mail");
        assert!(!pair.granted());
    }
    let mut pair = Pair::new(Direct::Off);
    pair.post(b"mail");
    assert!(!pair.granted());
}

#[test]
fn route_needs_a_receiver_that_receives() {
    let mut world = World::new(Direct::Always);
    let (server, client) = (world.task(), world.task());
    let port = world.port(server);
    let send = world.give(server, port, 20, client);
    let mut pair = Pair { world, server, client, port, send };
    pair.post(b"mail");
    assert!(!pair.granted());
    let set = pair.world.set(server);
    pair.world.ok(server, Request::PortInsertMember(control::PortInsertMember { task: Name::NULL, member: port, set }));
    pair.post(b"mail");
    assert!(!pair.granted());
    pair.world.poll(server, set);
    pair.post(b"mail");
    assert!(pair.granted());
    pair.world.events(client);
    let told = pair.world.events(server);
    let member = told.last().unwrap();
    assert_eq!((member.kind, member.flags, member.name, member.index), (event::MEMBER, 1, port, set.0));
    pair.world.ok(server, Request::PortExtractMember(control::PortExtractMember { task: Name::NULL, member: port, set }));
    let told = pair.world.events(server);
    assert_eq!((told[0].kind, told[0].flags, told[0].index), (event::MEMBER, 0, set.0));
}

#[test]
fn task_needs_no_route_to_itself_and_gets_none_to_a_suspended_one() {
    let mut pair = Pair::new(Direct::Always);
    pair.world.give(pair.server, pair.port, 20, pair.server);
    pair.world.send(pair.server, pair.port, b"self");
    assert!(!pair.granted());
    let server = pair.world.id(pair.server);
    pair.world.core.task_suspend(server).unwrap();
    pair.world.core.effects.clear();
    pair.post(b"mail");
    assert!(!pair.granted());
}

#[test]
fn link_is_charged_to_both_and_there_is_none_beyond_the_quota() {
    let config = Config {
        pid: 1,
        features: Features::empty(),
        limits: Limits { task_links: 1, user_factor: 100, ..Limits::default() },
        direct: Direct::Always,
        machine: Default::default(),
    };
    let mut world = World { core: Core::new(config), effects: Effects::new(), given: 0 };
    let (server, client) = (world.task(), world.task());
    let port = world.port(server);
    let send = world.give(server, port, 20, client);
    let mut pair = Pair { world, server, client, port, send };
    pair.poll();
    pair.post(b"mail");
    assert_eq!(pair.world.core.links.len(), 1);
    let third = pair.world.task();
    let theirs = pair.world.give(server, port, 20, third);
    assert_eq!(pair.world.send(third, theirs, b"mail").status, Code::SUCCESS);
    pair.world.check();
    assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len()), (1, 1));
    pair.kill(client);
    pair.world.send(third, theirs, b"mail");
    assert_eq!(pair.world.core.links.len(), 1, "there is room again");
}

#[test]
fn receive_is_put_off_when_a_route_comes_and_rung_once_for_mail() {
    let mut pair = Pair::new(Direct::Always);
    let other = pair.world.task();
    let theirs = pair.world.give(pair.server, pair.port, 20, other);
    pair.post(b"mail");
    pair.poll();
    let second = pair.world.second_lane(pair.server);
    pair.world.start(second, msg(Options::RCV, pair.port, &[]));
    pair.world.events(pair.client);
    let answer = pair.world.answer(second).expect("put off");
    assert_eq!(answer.status, Code::MACH_RCV_IN_PROGRESS);
    assert!(answer.has_events());
    pair.world.events(pair.server);
    let before = pair.world.words(pair.server).1;
    pair.world.effects.clear();
    pair.world.send(other, theirs, b"one!");
    pair.world.send(other, theirs, b"two!");
    assert_eq!(pair.world.words(pair.server).1, before + 1);
    let server = pair.world.id(pair.server);
    assert!(
        pair.world
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Attention { task, mail, .. } if (*task, *mail) == (server, before + 1)))
    );
    assert_eq!(pair.poll().as_deref(), Some(&b"one!"[..]));
}

/// The count in a place goes on where the last route there ended, so that must be over for both before the next one is granted.
#[test]
fn place_of_a_route_is_used_again_when_both_know_of_its_end() {
    let mut pair = Pair::new(Direct::Always);
    let mut places = Vec::new();
    for n in 0..link::ROUTES + 2 {
        pair.post(b"mail");
        let told = pair.world.events(pair.client);
        let out = *told.iter().find(|event| event.kind == event::ROUTE_OUT).expect("a route");
        assert_eq!((out.index as usize, out.flags >> 8), (n, 1), "the number goes on, and so does the queued message");
        places.push(out.index as usize % link::ROUTES);
        let told = pair.world.events(pair.server);
        let into = told.iter().find(|event| event.kind == event::ROUTE_IN).expect("the same route");
        assert_eq!((into.route, into.index, into.uid, into.flags >> 8), (out.route, out.index, 1, 1));
        assert_eq!(pair.poll().as_deref(), Some(&b"mail"[..]));
        // A thread that does not know of it sends; that ends it.
        pair.post(b"past");
        assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
        pair.ack(out.route, 0);
        assert_eq!(pair.poll().as_deref(), Some(&b"past"[..]));
        assert_eq!(pair.closed(), Some((0, 0)));
        assert!(!pair.granted(), "nothing is left of it before there is another");
    }
    assert_eq!((places[0], places[1]), (places[link::ROUTES], places[link::ROUTES + 1]));
}

#[test]
fn receive_on_a_set_is_put_off_if_a_member_has_a_route() {
    let (mut pair, _) = Pair::routed();
    let set = pair.world.set(pair.server);
    let second = pair.world.second_lane(pair.server);
    pair.world.start(second, msg(Options::RCV, set, &[]));
    pair.world.ok(pair.server, Request::PortInsertMember(control::PortInsertMember { task: Name::NULL, member: pair.port, set }));
    assert_eq!(pair.world.answer(second).expect("put off").status, Code::MACH_RCV_IN_PROGRESS);
    pair.world.events(pair.server);
    assert_eq!(pair.world.call(second, msg(Options::RCV, set, &[])).status, Code::MACH_RCV_IN_PROGRESS);
    pair.world.check();
    let before = pair.world.words(pair.server).1;
    pair.world.ok(pair.server, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name: set }));
    assert_eq!(pair.world.words(pair.server).1, before + 1, "who waited for the set looks again");
}

#[test]
fn receive_elsewhere_is_put_off_when_something_is_to_be_told() {
    let (mut pair, _) = Pair::routed();
    let elsewhere = pair.world.port(pair.server);
    let second = pair.world.second_lane(pair.server);
    pair.world.start(second, msg(Options::RCV, elsewhere, &[]));
    assert!(pair.world.answer(second).is_none());
    pair.forget();
    assert_eq!(pair.world.answer(second).expect("put off").status, Code::MACH_RCV_IN_PROGRESS);
    assert_eq!(pair.world.call(second, msg(Options::RCV, elsewhere, &[])).status, Code::MACH_RCV_IN_PROGRESS, "not before it has pulled");
    pair.world.events(pair.server);
    pair.world.start(second, msg(Options::RCV, elsewhere, &[]));
    assert!(pair.world.answer(second).is_none());
}

#[test]
fn wait_for_events_ends_by_an_event_by_mail_and_by_giving_up() {
    let (mut pair, route) = Pair::routed();
    let second = pair.world.second_lane(pair.server);
    let mail = pair.world.words(pair.server).1;
    let wait = |mail| Request::EventsWait(control::EventsWait { mail });
    pair.world.start(second, wait(mail));
    assert!(pair.world.answer(second).is_none());
    pair.world.check();
    assert_eq!(pair.world.poll(pair.server, pair.port).status, Code::MACH_RCV_IN_PROGRESS);
    let third = pair.world.task();
    let theirs = pair.world.give(pair.server, pair.port, 20, third);
    pair.world.send(third, theirs, b"mail");
    assert!(answer::EventsWait::take(&pair.world.answer(second).expect("rung").fields).unwrap().events.is_empty());
    pair.world.start(second, wait(mail + 1));
    pair.forget();
    let answer = pair.world.answer(second).expect("told");
    let told: Vec<Event> = Event::all(answer::EventsWait::take(&answer.fields).unwrap().events).collect();
    assert_eq!((told[0].kind, told[0].route), (event::ROUTE_END, route));
    pair.world.start(second, wait(mail + 1));
    pair.world.start(second, Request::Cancel(control::Cancel { seq: 9, phases: phase::RECEIVE, interrupted: 0 }));
    assert_eq!(pair.world.answer(second).unwrap().status, Code::MACH_RCV_TIMED_OUT);
    pair.world.start(second, wait(mail + 1));
    pair.world.core.hang_up(second, &mut pair.world.effects);
    pair.world.check();
}
