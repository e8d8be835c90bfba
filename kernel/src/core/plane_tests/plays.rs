//! Plays on links and routes: one for each condition of a grant, each way to end, and each thing that must not be lost on the way.

use umach_abi::control::{msg_flags, phase};
use umach_abi::notify::{self, Notification};
use umach_abi::records::{LinkRow, RouteRow, down, event, undelivered, violation};

use super::*;

/// A server's port and a client that may send to it.
struct Pair {
    world: World,
    server: LaneId,
    client: LaneId,
    port: Name,
    send: Name,
}

impl Pair {
    /// The server has begun to receive.
    fn new(direct: Direct) -> Pair {
        let mut world = World::new(direct);
        let (server, client) = (world.task(), world.task());
        let port = world.port(server);
        let send = world.give(server, port, 20, client);
        let mut pair = Pair { world, server, client, port, send };
        pair.poll();
        pair
    }
    /// With a live route, of which both know; gives it. One message went through the kernel.
    fn routed() -> (Pair, u64) {
        let mut pair = Pair::new(Direct::Always);
        let route = pair.grant();
        (pair, route)
    }
    fn grant(&mut self) -> u64 {
        self.post(b"mail");
        let told = self.world.events(self.client);
        let route = told.iter().rev().find(|event| event.kind == event::ROUTE_OUT).expect("a route").route;
        assert!(self.world.events(self.server).iter().any(|event| event.kind == event::ROUTE_IN && event.route == route));
        assert_eq!(self.poll().as_deref(), Some(&b"mail"[..]));
        assert_eq!(self.world.kinds(self.server), [event::ROUTE_OPEN]);
        route
    }
    fn post(&mut self, body: &[u8]) {
        let answer = self.world.send(self.client, self.send, body);
        assert_eq!(answer.status, Code::SUCCESS);
        self.world.check();
    }
    /// Takes the next message's body.
    fn poll(&mut self) -> Option<Vec<u8>> {
        poll(&mut self.world, self.server, self.port)
    }
    fn granted(&self) -> bool {
        self.world.core.routes.len() > 0
    }
    fn ticket(&mut self, route: u64, number: u32, body: &[u8]) -> Code {
        let bytes = carrying(self.send, self.send, 19, body);
        let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::TICKET, route, number);
        let status = self.world.call(self.client, request).status;
        self.world.check();
        status
    }
    fn fetch(&mut self, route: u64, number: u32) -> Answer {
        let request = with_flags(msg(Options::RCV, self.port, &[]), msg_flags::BY_TICKET, route, number);
        let answer = self.world.call(self.server, request);
        self.world.check();
        answer
    }
    fn doubt(&mut self, route: u64, number: u32, body: &[u8]) -> Code {
        let bytes = simple(self.send, body);
        let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::DOUBT | msg_flags::TRY_SEND, route, number);
        let status = self.world.call(self.client, request).status;
        self.world.check();
        status
    }
    fn give_back(&mut self, route: u64, count: u32, tail: &[u8]) -> Code {
        let status = self.world.call(self.server, Request::RouteReturn(control::RouteReturn { route, count, tail })).status;
        self.world.check();
        status
    }
    fn ack(&mut self, route: u64, accepted: u32) {
        assert_eq!(self.world.ack(self.server, route, accepted), Code::SUCCESS);
        self.world.check();
    }
    fn forget(&mut self) {
        self.world.ok(self.client, Request::PortDeallocate(control::PortDeallocate { task: Name::NULL, name: self.send }));
        self.world.check();
    }
    fn destroy(&mut self) {
        self.world.ok(self.server, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name: self.port }));
        self.world.finish();
    }
    fn recall(&mut self) {
        self.world.ok(self.server, Request::PortRecall(control::PortRecall { name: self.port, seqno: 77 }));
        self.world.check();
    }
    fn kill(&mut self, lane: LaneId) {
        let task = self.world.id(lane);
        self.world.core.end_task(task, &mut self.world.effects);
        self.world.finish();
    }
    /// How the route ended: what the server is told to do, and whether the client was stopped.
    fn end(&mut self) -> (Option<u32>, bool) {
        let told = self.world.events(self.server);
        let end = told.iter().find(|event| event.kind == event::ROUTE_END).map(|event| event.value);
        (end, self.world.kinds(self.client).contains(&event::ROUTE_STOP))
    }
    /// What the client is told of the closing: how many, and whether the server is dead.
    fn closed(&mut self) -> Option<(u32, u32)> {
        let told = self.world.events(self.client);
        told.iter().find(|event| event.kind == event::ROUTE_CLOSED).map(|event| (event.value, event.flags))
    }
}

fn poll(world: &mut World, lane: LaneId, port: Name) -> Option<Vec<u8>> {
    let answer = world.poll(lane, port);
    world.check();
    let body = answer.message().map(|message| message[message.len().min(24)..].to_vec());
    assert_eq!(body.is_some(), answer.status.is_ok(), "{}", answer.status);
    body
}

// Grants.

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
    assert_eq!((told[1].index, told[2].name, told[2].value, told[2].flags), (1, pair.port, 5, 1));
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

// Receiving.

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
    assert!(pair.world.effects.iter().any(|effect| matches!(effect, Effect::Attention { task, mail, .. } if (*task, *mail) == (server, before + 1))));
    assert_eq!(pair.poll().as_deref(), Some(&b"one!"[..]));
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

// Ends.

#[test]
fn no_senders_comes_after_the_route_is_closed() {
    let (mut pair, route) = Pair::routed();
    let inbox = pair.world.port(pair.server);
    pair.world.ok(
        pair.server,
        Request::PortRequestNotification(control::PortRequestNotification {
            task: Name::NULL,
            name: pair.port,
            id: notify::NO_SENDERS as u32,
            sync: 0,
            notify: inbox,
            disposition: 21,
        }),
    );
    pair.forget();
    assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
    assert_eq!(poll(&mut pair.world, pair.server, inbox), None);
    pair.ack(route, 3);
    assert_eq!(pair.closed(), Some((3, 0)));
    let answer = pair.world.poll(pair.server, inbox);
    assert!(matches!(Notification::parse(answer.message().unwrap()), Some(Notification::NoSenders(_))));
    assert!(!pair.granted());
}

#[test]
fn barrier_holds_mail_back_and_returned_messages_go_where_the_queue_ended() {
    let (mut pair, route) = Pair::routed();
    let other = pair.world.task();
    let theirs = pair.world.give(pair.server, pair.port, 20, other);
    pair.world.send(other, theirs, b"old!");
    assert_eq!(pair.ticket(route, 2, b"tick"), Code::SUCCESS);
    pair.recall();
    pair.world.send(other, theirs, b"new!");
    assert_eq!(pair.end(), (Some(undelivered::RETURN), true));
    assert_eq!(pair.poll(), None);
    let mut tail = frame(&simple(Name::NULL, b"ring"), 0, 0);
    tail.extend(frame(&[], 0, 2));
    assert_eq!(pair.give_back(route, 2, &tail), Code::SUCCESS);
    assert_eq!(pair.poll(), None);
    pair.ack(route, 2);
    let got: Vec<Vec<u8>> = (0..4).map(|_| pair.poll().unwrap()).collect();
    assert_eq!([&got[0][..], &got[1][..], &got[2][got[2].len() - 4..], &got[3][..]], [b"old!", b"ring", b"tick", b"new!"]);
    assert_eq!(pair.world.core.ports.iter().filter(|(_, port)| port.seqno == 81).count(), 1, "four more than it was told");
}

#[test]
fn port_recalled_gets_no_route_before_it_is_received_on_again() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    pair.end();
    pair.ack(route, 0);
    assert_eq!(pair.closed(), Some((0, 0)));
    pair.post(b"mail");
    assert!(!pair.granted());
    pair.poll();
    pair.post(b"mail");
    assert!(pair.granted());
}

#[test]
fn port_that_moves_takes_its_messages_along() {
    let (mut pair, route) = Pair::routed();
    let heir = pair.world.task();
    let there = pair.world.give(pair.server, pair.port, 16, heir);
    pair.world.check();
    assert_eq!(pair.end(), (Some(undelivered::RETURN), true));
    pair.post(b"late");
    let second = pair.world.second_lane(heir);
    pair.world.start(second, msg(Options::RCV, there, &[]));
    assert!(pair.world.answer(second).is_none(), "behind the barrier, and not its own to lift");
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"ring"), 0, 0)), Code::SUCCESS);
    assert!(pair.world.answer(second).is_none());
    pair.ack(route, 1);
    let answer = pair.world.answer(second).expect("lifted");
    assert_eq!(&answer.message().unwrap()[24..], b"ring");
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"late"[..]));
}

#[test]
fn returned_message_is_vouched_for_by_nobody() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    pair.give_back(route, 1, &frame(&simple(Name::NULL, b"ring"), 0, 0));
    pair.ack(route, 1);
    let mail = pair.world.core.mails.iter().next().unwrap().1;
    assert_eq!((mail.sender.uid, mail.sender.gid, mail.sender.pid, mail.sender.task), (u32::MAX, u32::MAX, 0, 0));
}

#[test]
fn port_that_dies_drops_its_messages_and_its_route_is_closed_all_the_same() {
    let (mut pair, route) = Pair::routed();
    assert_eq!(pair.ticket(route, 1, b"tick"), Code::SUCCESS);
    pair.destroy();
    assert_eq!(pair.world.core.mails.len(), 0);
    assert_eq!(pair.end(), (Some(undelivered::DROP), true));
    pair.ack(route, 1);
    assert_eq!(pair.closed(), Some((1, 0)));
    assert!(!pair.granted());
}

#[test]
fn end_that_asks_for_more_replaces_the_one_before() {
    let (mut pair, route) = Pair::routed();
    pair.forget();
    assert_eq!(pair.end().0, Some(undelivered::KEEP));
    pair.recall();
    assert_eq!(pair.end().0, Some(undelivered::RETURN));
    pair.destroy();
    assert_eq!(pair.end().0, Some(undelivered::DROP));
    pair.ack(route, 0);
    pair.closed();
    assert!(!pair.granted());
}

#[test]
fn route_behind_mail_ends_with_its_messages_returned() {
    let mut pair = Pair::new(Direct::Always);
    pair.post(b"mail");
    pair.world.events(pair.client);
    pair.world.events(pair.server);
    pair.forget();
    assert_eq!(pair.end().0, Some(undelivered::RETURN), "the mail comes first and is not the receiver's yet");
}

#[test]
fn route_nobody_knew_of_goes_without_a_word() {
    let mut pair = Pair::new(Direct::Always);
    pair.post(b"mail");
    assert!(pair.granted());
    pair.forget();
    assert!(!pair.granted());
    assert_eq!(pair.world.kinds(pair.client), [event::ATTENTION, event::LINK]);
    assert!(pair.world.kinds(pair.server).is_empty());
    assert_eq!(pair.poll().as_deref(), Some(&b"mail"[..]));
}

#[test]
fn attributes_that_change_end_the_routes() {
    let change = |pair: &mut Pair| {
        let request = control::PortSetContext { task: Name::NULL, name: pair.port, context: 9 };
        pair.world.ok(pair.server, Request::PortSetContext(request));
    };
    let (mut pair, _) = Pair::routed();
    change(&mut pair);
    assert_eq!(pair.end(), (Some(undelivered::RETURN), true));
}

#[test]
fn message_that_goes_past_a_route_ends_it() {
    let (mut pair, route) = Pair::routed();
    pair.post(b"past");
    assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
    assert_eq!(pair.poll(), None, "what is in the ring comes first");
    pair.ack(route, 2);
    assert_eq!(pair.poll().as_deref(), Some(&b"past"[..]));
}

#[test]
fn number_of_a_route_is_free_once_its_sender_knows_that_it_is_closed() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    pair.ack(route, 0);
    let used = |pair: &Pair| pair.world.core.links.iter().next().unwrap().1.indices[0].used();
    assert_eq!(used(&pair), 1);
    pair.closed();
    assert_eq!(used(&pair), 0);
}

// Tickets and doubt.

#[test]
fn ticket_waits_to_be_fetched_and_is_fetched_once() {
    let (mut pair, route) = Pair::routed();
    assert_eq!(pair.ticket(route, 3, b"tick"), Code::SUCCESS);
    assert_eq!(pair.ticket(route, 3, b"tock"), Code::KERN_INVALID_VALUE, "numbers rise");
    assert_eq!(pair.poll(), None, "it is no mail");
    assert_eq!(pair.fetch(route, 2).status, Code::MACH_RCV_INVALID_DATA);
    let answer = pair.fetch(route, 3);
    assert!(answer.message().unwrap().ends_with(b"tick"));
    assert_eq!(pair.fetch(route, 3).status, Code::MACH_RCV_INVALID_DATA);
    let elsewhere = pair.world.port(pair.client);
    let bytes = simple(elsewhere, b"tick");
    let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::TICKET, route, 4);
    assert_eq!(pair.world.call(pair.client, request).status, Code::KERN_INVALID_ARGUMENT);
}

#[test]
fn ticket_for_a_route_that_has_ended_is_not_taken() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    let mails = pair.world.core.mails.len();
    assert_eq!(pair.ticket(route, 1, b"tick"), Code::MACH_SEND_IN_PROGRESS);
    assert_eq!(pair.ticket(0, 1, b"tick"), Code::MACH_SEND_IN_PROGRESS);
    assert_eq!(pair.world.core.mails.len(), mails);
}

#[test]
fn ticket_that_was_taken_stays_to_be_fetched_and_one_that_was_not_is_mail() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"one!");
    pair.ticket(route, 2, b"two!");
    pair.forget();
    pair.end();
    pair.ack(route, 1);
    assert_eq!(pair.closed(), Some((1, 0)));
    assert!(pair.poll().unwrap().ends_with(b"two!"));
    assert!(pair.fetch(route, 1).message().unwrap().ends_with(b"one!"));
    assert!(!pair.granted());
}

#[test]
fn ticket_that_was_taken_goes_with_a_port_that_moves() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"tick");
    pair.forget();
    pair.end();
    pair.ack(route, 1);
    pair.closed();
    let heir = pair.world.task();
    let there = pair.world.give(pair.server, pair.port, 16, heir);
    pair.world.check();
    assert!(!pair.granted());
    assert!(poll(&mut pair.world, heir, there).unwrap().ends_with(b"tick"));
}

#[test]
fn message_in_doubt_arrives_once() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    for number in 1..=3 {
        assert_eq!(pair.doubt(route, number, &[number as u8; 4]), Code::SUCCESS);
    }
    pair.ack(route, 2);
    assert_eq!(pair.doubt(route, 2, b"two!"), Code::SUCCESS, "known to be there");
    assert_eq!(pair.doubt(route, 4, b"four"), Code::SUCCESS);
    assert_eq!(pair.poll().as_deref(), Some(&[3; 4][..]));
    assert_eq!(pair.poll().as_deref(), Some(&b"four"[..]));
    assert_eq!(pair.poll(), None);
    pair.closed();
    assert_eq!(pair.doubt(route, 5, b"five"), Code::MACH_SEND_IN_PROGRESS, "it knows by now");
}

#[test]
fn message_in_doubt_that_waits_for_room_is_done_when_it_had_arrived() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    for number in 2..=6 {
        pair.doubt(route, number, b"fill");
    }
    let second = pair.world.second_lane(pair.client);
    let bytes = simple(pair.send, b"last");
    pair.world.start(second, with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::DOUBT, route, 1));
    assert!(pair.world.answer(second).is_none());
    pair.ack(route, 1);
    assert_eq!(pair.world.answer(second).expect("done").status, Code::SUCCESS);
    pair.world.check();
    for _ in 0..5 {
        assert_eq!(pair.poll().as_deref(), Some(&b"fill"[..]));
    }
    assert_eq!(pair.poll(), None);
}

// Deaths.

#[test]
fn receiver_that_dies_closes_its_routes_and_the_link() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"tick");
    pair.kill(pair.server);
    let told: Vec<_> = pair.world.events(pair.client).iter().map(|event| (event.kind, event.flags, event.value)).collect();
    assert_eq!(told, [(event::ROUTE_STOP, 0, 0), (event::ROUTE_CLOSED, 1, 0), (event::LINK_DOWN, 0, down::PEER_ENDED)]);
    assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len(), pair.world.core.mails.len()), (0, 0, 0));
    assert!(pair.world.effects.iter().any(|effect| matches!(effect, Effect::DropLink(_))));
}

#[test]
fn sender_that_dies_leaves_its_messages() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"tick");
    pair.kill(pair.client);
    let told: Vec<_> = pair.world.events(pair.server).iter().map(|event| (event.kind, event.value)).collect();
    assert_eq!(told, [(event::ROUTE_END, undelivered::KEEP)], "the link is not over before its routes are closed");
    pair.ack(route, 1);
    assert!(pair.fetch(route, 1).message().unwrap().ends_with(b"tick"));
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_DOWN]);
    pair.world.finish();
    assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len()), (0, 0));
}

#[test]
fn receiver_that_dies_after_its_port_has_moved_leaves_its_routes_to_their_sender() {
    let (mut pair, route) = Pair::routed();
    let heir = pair.world.task();
    pair.ticket(route, 3, b"tick");
    let there = pair.world.give(pair.server, pair.port, 16, heir);
    pair.world.check();
    pair.kill(pair.server);
    assert_eq!(pair.closed(), Some((0, 1)));
    assert_eq!(poll(&mut pair.world, heir, there), None);
    // It had received the first two.
    assert_eq!(pair.doubt(route, 4, b"ring"), Code::SUCCESS);
    assert_eq!(pair.world.ack(pair.client, route, 2), Code::SUCCESS);
    pair.world.check();
    assert!(poll(&mut pair.world, heir, there).unwrap().ends_with(b"tick"), "the ticket's turn comes first");
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"ring"[..]));
    assert_eq!(poll(&mut pair.world, heir, there), None);
    assert!(pair.world.core.routes.get(Id::from_raw(route)).is_none());
}

#[test]
fn both_dead_at_any_point_leaves_nothing() {
    for point in 0..6 {
        for first in 0..2 {
            let (mut pair, route) = Pair::routed();
            pair.ticket(route, 1, b"tick");
            if point > 0 {
                pair.recall();
            }
            if point > 1 {
                pair.world.events(pair.server);
            }
            if point > 2 {
                pair.ack(route, (point % 2) as u32);
            }
            if point > 4 {
                pair.world.events(pair.client);
            }
            let (one, other) = if first == 0 { (pair.server, pair.client) } else { (pair.client, pair.server) };
            pair.kill(one);
            pair.kill(other);
            assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len(), pair.world.core.mails.len()), (0, 0, 0));
        }
    }
}

// Links.

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
fn link_is_idle_when_both_say_so() {
    let (mut pair, route) = Pair::routed();
    let link = pair.world.core.links.iter().next().unwrap().0.to_raw();
    let idle = Request::LinkEnd(control::LinkEnd { link, why: 0, found: 0, expected: 0 });
    pair.world.ok(pair.server, idle);
    pair.world.finish();
    assert!(pair.world.kinds(pair.client).is_empty());
    pair.world.ok(pair.client, idle);
    pair.world.finish();
    pair.end();
    pair.ack(route, 0);
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_DOWN]);
    assert_eq!(pair.world.kinds(pair.client), [event::ROUTE_CLOSED, event::LINK_DOWN]);
    assert!(pair.world.core.links.is_empty());
    let route = pair.grant();
    assert!(pair.granted() && route != 0);
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
    let ask = |slot| Request::ReplyExplicit(control::ReplyExplicit { link, slot, generation: 12 });
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
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"call"), 1 + 7, 30)), Code::SUCCESS);
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

#[test]
fn lane_and_arenas_of_a_link_are_made_once_and_within_the_quota() {
    let (mut pair, _) = Pair::routed();
    let raw = pair.world.core.links.iter().next().unwrap().0.to_raw();
    let link = LinkId::from_raw(raw);
    let answer = pair.world.ok(pair.client, Request::LinkLane(control::LinkLane { link: raw }));
    assert_eq!(answer.attach, [Attach::NewLinkLane { link, side: 1 }]);
    assert_eq!(pair.world.call(pair.server, Request::LinkLane(control::LinkLane { link: raw })).status, Code::KERN_NAME_EXISTS);
    let arena = |size| Request::LinkArena(control::LinkArena { link: raw, size });
    assert_eq!(pair.world.call(pair.client, arena(5)).status, Code::KERN_INVALID_VALUE);
    for number in 0..8 {
        let answer = pair.world.ok(pair.client, arena(4096));
        assert_eq!(answer::LinkArena::take(&answer.fields).unwrap().arena, number);
    }
    assert_eq!(pair.world.call(pair.client, arena(4096)).status, Code::KERN_RESOURCE_SHORTAGE);
    pair.world.check();
    let answer = pair.world.ok(pair.server, Request::Events(Events {}));
    assert_eq!((answer.attach[0], answer.attach.len()), (Attach::LinkLane { link, side: 1 }, 9));
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
