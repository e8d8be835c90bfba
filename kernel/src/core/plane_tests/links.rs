//! Plays: what goes with a link, replies that become ports, and what is shown.

use umach_abi::control::msg_flags;
use umach_abi::notify::Notification;
use umach_abi::records::{LinkRow, RouteRow, down, event, undelivered, violation};

use super::pair::*;
use super::*;

#[test]
fn task_accused_is_told_and_never_linked_again() {
    let (mut pair, route) = Pair::routed();
    let link = pair.world.core.links.iter().next().unwrap().0.to_raw();
    let end = control::LinkEnd { link, why: violation::CREDIT, found: 9, expected: 5 };
    pair.world.ok(pair.server, Request::LinkEnd(end));
    pair.world.finish();
    let broken = pair.world.effects.iter().find_map(|effect| match effect {
        Effect::LinkBroken { accused, why, found, .. } => Some((accused.0, *why, *found)),
        _ => None,
    });
    assert_eq!(broken, Some((pair.world.id(pair.client), violation::CREDIT, 9)));
    assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
    pair.ack(route, 0);
    let down = |told: Vec<Event>| told.iter().find(|event| event.kind == event::LINK_DOWN).map(|event| event.value);
    let told = pair.world.events(pair.server);
    assert_eq!(down(told), Some(down::ACCUSER));
    let told = pair.world.events(pair.client);
    assert_eq!(down(told), Some(down::ACCUSED));
    pair.post(b"mail");
    assert_eq!((pair.world.core.links.len(), pair.granted()), (0, false));
    assert_eq!(pair.poll().as_deref(), Some(&b"mail"[..]), "the way through the kernel stays");
}

#[test]
fn ring_through_the_kernel_changes_the_word_each_time_and_is_told_once() {
    let (mut pair, _) = Pair::routed();
    let link = pair.world.core.links.iter().next().unwrap().0.to_raw();
    let before = pair.world.words(pair.server).0;
    for _ in 0..3 {
        pair.world.ok(pair.client, Request::LinkRing(control::LinkRing { link }));
    }
    assert_eq!(pair.world.words(pair.server).0, before + 3);
    assert_eq!(pair.world.kinds(pair.server), [event::RANG]);
    let third = pair.world.task();
    assert_eq!(pair.world.call(third, Request::LinkRing(control::LinkRing { link })).status, Code::KERN_INVALID_ARGUMENT);
}

#[test]
fn reply_made_explicit_is_a_port_of_the_callers() {
    let (mut pair, _) = Pair::routed();
    let link = pair.world.core.links.iter().next().unwrap().0.to_raw();
    let ask = |slot| Request::ReplyExplicit(control::ReplyExplicit { link, slot, generation: 12, wanted: Name::NULL });
    let answer = pair.world.ok(pair.server, ask(5));
    let right = answer::ReplyExplicit::take(&answer.fields).unwrap().name;
    pair.world.check();
    assert_eq!(pair.world.call(pair.server, ask(5)).status, Code::KERN_INVALID_ARGUMENT, "one at a time");
    assert_eq!(pair.world.call(pair.server, ask(64)).status, Code::KERN_INVALID_ARGUMENT);
    let told = pair.world.events(pair.client);
    assert_eq!((told[0].kind, told[0].index, told[0].value), (event::REPLY_MOVED, 5, 12));
    let mut bytes = simple(right, b"done");
    bytes[0] = 18;
    pair.world.ok(pair.server, msg(Options::SEND, Name::NULL, &bytes));
    assert_eq!(poll(&mut pair.world, pair.client, told[0].name).as_deref(), Some(&b"done"[..]));
}

#[test]
fn call_that_is_returned_keeps_its_reply() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"call"), 1, 1 + 7, 30)), Code::SUCCESS);
    pair.ack(route, 1);
    let told = pair.world.events(pair.client);
    let moved = told.iter().find(|event| event.kind == event::REPLY_MOVED).unwrap();
    assert_eq!((moved.index, moved.value), (7, 30));
    let answer = pair.world.poll(pair.server, pair.port);
    let header = Header::read(answer.message().unwrap()).unwrap();
    let mut bytes = simple(header.remote, b"done");
    bytes[0] = 18;
    pair.world.ok(pair.server, msg(Options::SEND, Name::NULL, &bytes));
    assert_eq!(poll(&mut pair.world, pair.client, moved.name).as_deref(), Some(&b"done"[..]));
}

/// A call whose request is a ticket, in slot 7.
fn call_by_ticket(pair: &mut Pair, route: u64) {
    let bytes = carrying(pair.send, pair.send, 19, b"call");
    let request = match with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::TICKET, route, 1) {
        Request::Msg(msg) => Request::Msg(Msg { receive: Name(8), limit: 30, ..msg }),
        other => other,
    };
    assert_eq!(pair.world.call(pair.client, request).status, Code::SUCCESS);
    pair.world.check();
}

#[test]
fn call_that_outlives_its_receiver_is_answered_by_the_next() {
    let (mut pair, route) = Pair::routed();
    call_by_ticket(&mut pair, route);
    let heir = pair.world.task();
    let there = pair.world.give(pair.server, pair.port, 16, heir);
    pair.kill(pair.server);
    assert_eq!(pair.closed(), Some((0, 1)));
    assert_eq!(pair.world.ack(pair.client, route, 0), Code::SUCCESS);
    let told = pair.world.events(pair.client);
    let moved = told.iter().find(|event| event.kind == event::REPLY_MOVED).expect("the link is down, and its caller waits");
    assert_eq!((moved.index, moved.value), (7, 30));
    let answer = pair.world.poll(heir, there);
    let header = Header::read(answer.message().unwrap()).unwrap();
    let mut bytes = simple(header.remote, b"done");
    bytes[0] = 18;
    pair.world.ok(heir, msg(Options::SEND, Name::NULL, &bytes));
    assert_eq!(poll(&mut pair.world, pair.client, moved.name).as_deref(), Some(&b"done"[..]));
}

#[test]
fn call_that_dies_with_its_receivers_port_is_told_of() {
    let (mut pair, route) = Pair::routed();
    call_by_ticket(&mut pair, route);
    pair.kill(pair.server);
    let told = pair.world.events(pair.client);
    let moved = told.iter().find(|event| event.kind == event::REPLY_MOVED).expect("its caller waits");
    assert_eq!((moved.index, moved.value), (7, 30));
    let answer = pair.world.poll(pair.client, moved.name);
    assert!(matches!(Notification::parse(answer.message().unwrap()), Some(Notification::SendOnce)));
}

#[test]
fn arenas_of_a_link_are_made_once_and_within_the_quota() {
    let (mut pair, _) = Pair::routed();
    let raw = pair.world.core.links.iter().next().unwrap().0.to_raw();
    let link = LinkId::from_raw(raw);
    let arena = |size| Request::LinkArena(control::LinkArena { link: raw, size });
    assert_eq!(pair.world.call(pair.client, arena(5)).status, Code::KERN_INVALID_VALUE);
    for number in 0..8 {
        let answer = pair.world.ok(pair.client, arena(4096));
        assert_eq!(answer::LinkArena::take(&answer.fields).unwrap().arena, number);
    }
    assert_eq!(pair.world.call(pair.client, arena(4096)).status, Code::KERN_RESOURCE_SHORTAGE);
    let ready = |arena| Request::LinkArenaReady(control::LinkArenaReady { link: raw, arena });
    for number in [7, 0, 3] {
        pair.world.ok(pair.client, ready(number));
    }
    assert_eq!(pair.world.call(pair.client, ready(3)).status, Code::KERN_NAME_EXISTS);
    assert_eq!(pair.world.call(pair.client, ready(8)).status, Code::KERN_INVALID_VALUE);
    assert_eq!(pair.world.call(pair.server, ready(0)).status, Code::KERN_INVALID_VALUE);
    pair.world.check();
    let answer = pair.world.ok(pair.server, Request::Events(Events {}));
    let shown = |number| Attach::Arena { link, side: 1, number };
    assert_eq!(answer.attach, [shown(7), shown(0), shown(3)]);
    pair.kill(pair.client);
    pair.world.events(pair.server);
}

#[test]
fn what_cannot_be_attached_costs_the_link_and_no_other_event() {
    let mut pair = Pair::new(Direct::Always);
    pair.post(b"mail");
    let answer = pair.world.ok(pair.client, Request::Events(Events {}));
    assert_eq!(answer.attach.len(), 2);
    let (attention, link) = (answer.attach[0], answer.attach[1]);
    pair.world.core.attach_failed(pair.client, link, &mut pair.world.effects);
    assert_eq!(pair.world.answer(pair.client).unwrap().status, Code::KERN_RESOURCE_SHORTAGE);
    pair.world.finish();
    let answer = pair.world.ok(pair.client, Request::Events(Events {}));
    assert_eq!(answer.attach, [attention]);
    let told: Vec<Event> = Event::all(answer::Events::take(&answer.fields).unwrap().events).collect();
    assert!(told.iter().any(|event| event.kind == event::ROUTE_OUT));
    pair.world.check();
}

#[test]
fn listings_show_links_and_routes() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"tick");
    let host = pair.world.ok(pair.server, Request::HostControl(control::HostControl {}));
    let host = answer::HostControl::take(&host.fields).unwrap().name;
    let links = pair.world.ok(pair.server, Request::HostLinks(control::HostLinks { host, start: 0 }));
    let row = LinkRow::read(answer::HostLinks::take(&links.fields).unwrap().rows).unwrap();
    let (server, client) = (pair.world.id(pair.server).to_raw(), pair.world.id(pair.client).to_raw());
    assert_eq!((row.first, row.second, row.forth, row.back, row.tickets, row.flags), (client, server, 1, 0, 1, 0));
    let routes = pair.world.ok(pair.server, Request::HostRoutes(control::HostRoutes { host, start: 0 }));
    let row = RouteRow::read(answer::HostRoutes::take(&routes.fields).unwrap().rows).unwrap();
    assert_eq!((row.route, row.sender, row.name, row.tickets, row.state), (route, client, pair.send, 1, 0));
    let map = pair.world.ok(pair.server, Request::HostLinkMap(control::HostLinkMap { host, link: row.link }));
    assert_eq!(map.attach, [Attach::Link(LinkId::from_raw(row.link))]);
    let request = Request::HostLinks(control::HostLinks { host: Name::NULL, start: 0 });
    assert_eq!(pair.world.call(pair.client, request).status, Code::KERN_INVALID_HOST);
}
