//! Plays: each way to end, in which nothing may be lost, doubled or overtaken.

use umach_abi::control::msg_flags;
use umach_abi::message::Place;
use umach_abi::notify::{self, Notification};
use umach_abi::records::{down, event, undelivered};

use super::pair::*;
use super::*;

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
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"ring"), 1, 0, 0)), Code::SUCCESS);
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
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"ring"), 1, 0, 0)), Code::SUCCESS);
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
    pair.give_back(route, 1, &frame(&simple(Name::NULL, b"ring"), 1, 0, 0));
    pair.ack(route, 1);
    let mail = pair.world.core.mails.iter().next().unwrap().1;
    assert_eq!((mail.sender.uid, mail.sender.gid, mail.sender.pid, mail.sender.task), (u32::MAX, u32::MAX, 0, 0));
}

#[test]
fn memory_of_a_message_that_comes_back_goes_along() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    // What was lent is copied by whoever hands it back.
    let mut bytes = Header { bits: Header::make_bits(19, 0, true), id: 6, ..Header::default() }.to_bytes().to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    let memory = |at| Descriptor::Memory { address: Place::Annex(at).to_raw(), deallocate: false, copy: 1, size: 8, volatile: false };
    memory(0).push(&mut bytes);
    let framed = |bytes: &[u8], annex: &[u8], number| {
        let mut out = Vec::new();
        let row = Frame { size: bytes.len() as u32, annex: annex.len() as u32, trailer: number, ..Frame::default() };
        row.write(&mut out);
        [&out[..], bytes, annex].concat()
    };
    assert_eq!(pair.give_back(route, 1, &framed(&bytes, b"was lent", 1)), Code::SUCCESS);
    // Memory that is not there, and a right, which nobody vouches for.
    let refused = answer_of(&mut pair, route, &framed(&bytes, b"short", 2));
    assert_eq!(refused, (0, Code::MACH_SEND_INVALID_MEMORY));
    let right = carrying(Name::NULL, pair.port, 20, b"");
    assert_eq!(answer_of(&mut pair, route, &framed(&right, b"", 2)), (0, Code::KERN_INVALID_ARGUMENT));
    pair.ack(route, 1);
    let answer = pair.world.poll(pair.server, pair.port);
    let row = Frame::read(&answer.fields).unwrap();
    let message = answer.message().unwrap();
    assert!(matches!(umach_abi::message::descriptors(message).next(), Some((_, Ok(Descriptor::Memory { size: 8, .. })))));
    let annex = &answer.fields[Frame::SIZE + (row.size + row.trailer) as usize..];
    assert_eq!(&annex[..8], b"was lent");
    assert_eq!(pair.poll(), None);
}

/// How many messages were taken back, and what became of the next.
fn answer_of(pair: &mut Pair, route: u64, tail: &[u8]) -> (u32, Code) {
    let answer = pair.world.call(pair.server, Request::RouteReturn(control::RouteReturn { route, count: 1, tail }));
    pair.world.check();
    (answer::RouteReturn::take(&answer.fields).unwrap().taken, answer.status)
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
fn mail_that_waits_for_room_is_in_front_of_what_came_over_the_route() {
    let mut pair = Pair::new(Direct::Always);
    pair.post(b"mail");
    for _ in 0..4 {
        pair.post(b"fill");
    }
    let second = pair.world.second_lane(pair.client);
    pair.world.start(second, msg(Options::SEND, Name::NULL, &simple(pair.send, b"park")));
    let route = pair.world.events(pair.client).iter().find(|event| event.kind == event::ROUTE_OUT).expect("a route").route;
    pair.world.events(pair.server);
    pair.recall();
    assert_eq!(pair.world.answer(second).expect("there is room").status, Code::SUCCESS);
    assert_eq!(pair.end().0, Some(undelivered::RETURN));
    pair.give_back(route, 1, &frame(&simple(Name::NULL, b"ring"), 1, 0, 0));
    pair.ack(route, 1);
    let got: Vec<Vec<u8>> = std::iter::from_fn(|| pair.poll()).collect();
    assert_eq!(got, [&b"mail"[..], b"fill", b"fill", b"fill", b"fill", b"park", b"ring"]);
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
fn ticket_that_nobody_fetched_is_mail_once_the_route_is_closed() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"one!");
    pair.ticket(route, 2, b"two!");
    pair.forget();
    pair.end();
    assert!(pair.fetch(route, 1).message().unwrap().ends_with(b"one!"));
    pair.ack(route, 1);
    assert_eq!(pair.closed(), Some((1, 0)));
    assert!(pair.poll().unwrap().ends_with(b"two!"));
    assert!(!pair.granted());
}

#[test]
fn ticket_that_was_not_fetched_comes_before_what_is_handed_back_behind_it() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"one!");
    pair.ticket(route, 3, b"tri!");
    let heir = pair.world.task();
    let there = pair.world.give(pair.server, pair.port, 16, heir);
    // A thread of the server's is on its way to fetch the first.
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"two!"), 2, 0, 0)), Code::SUCCESS);
    assert_eq!(pair.fetch(route, 1).status, Code::MACH_RCV_INVALID_NAME);
    pair.ack(route, 3);
    for body in [b"one!", b"two!", b"tri!"] {
        assert!(poll(&mut pair.world, heir, there).unwrap().ends_with(body));
    }
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
fn message_in_doubt_is_not_refused_when_the_queue_is_full() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    for _ in 0..5 {
        pair.post(b"fill");
    }
    assert_eq!(pair.doubt(route, 1, b"one!"), Code::SUCCESS, "it may have arrived, and is not to be called unsent");
    assert_eq!(pair.doubt(route, 2, b"two!"), Code::SUCCESS);
    pair.ack(route, 1);
    let got: Vec<Vec<u8>> = std::iter::from_fn(|| pair.poll()).collect();
    assert_eq!(got, [&b"fill"[..], b"fill", b"fill", b"fill", b"fill", b"two!"]);
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
    assert!(pair.fetch(route, 1).message().unwrap().ends_with(b"tick"));
    pair.ack(route, 1);
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_DOWN]);
    pair.world.finish();
    assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len()), (0, 0));
}

/// The server has given its port away and died; the heir, and its name for the port.
fn orphan(pair: &mut Pair) -> (LaneId, Name) {
    let heir = pair.world.task();
    let there = pair.world.give(pair.server, pair.port, 16, heir);
    pair.world.check();
    pair.kill(pair.server);
    (heir, there)
}

fn again(pair: &mut Pair, route: u64, number: u32, body: &[u8]) -> Code {
    let bytes = simple(pair.send, body);
    let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::AGAIN, route, number);
    let status = pair.world.call(pair.client, request).status;
    pair.world.check();
    status
}

#[test]
fn receiver_that_dies_after_its_port_has_moved_leaves_its_routes_to_their_sender() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 3, b"tick");
    let (heir, there) = orphan(&mut pair);
    assert_eq!(pair.closed(), Some((0, 1)));
    assert_eq!(poll(&mut pair.world, heir, there), None);
    // It had received the first two.
    assert_eq!(again(&mut pair, route, 4, b"ring"), Code::SUCCESS);
    assert_eq!(again(&mut pair, route, 4, b"ring"), Code::KERN_INVALID_VALUE, "numbers rise");
    assert_eq!(pair.world.ack(pair.client, route, 2), Code::SUCCESS);
    pair.world.check();
    assert!(poll(&mut pair.world, heir, there).unwrap().ends_with(b"tick"), "the ticket's turn comes first");
    let answer = pair.world.poll(heir, there);
    assert!(answer.message().unwrap().ends_with(b"ring"));
    assert_eq!(poll(&mut pair.world, heir, there), None);
    assert!(pair.world.core.routes.get(Id::from_raw(route)).is_none());
}

#[test]
fn orphans_sender_overtakes_itself_neither_with_old_mail_nor_with_new() {
    let (mut pair, route) = Pair::routed();
    let other = pair.world.task();
    let theirs = pair.world.give(pair.server, pair.port, 20, other);
    pair.recall();
    // Sent after the route's end, and one more that waits for room.
    for _ in 0..4 {
        pair.post(b"late");
    }
    pair.world.send(other, theirs, b"else");
    let second = pair.world.second_lane(pair.client);
    pair.world.start(second, msg(Options::SEND, Name::NULL, &simple(pair.send, b"last")));
    let (heir, there) = orphan(&mut pair);
    assert_eq!(pair.world.answer(second).expect("set aside").status, Code::SUCCESS);
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"else"[..]), "nobody else waits for it");
    assert_eq!(poll(&mut pair.world, heir, there), None);
    assert_eq!(pair.world.send(pair.client, pair.send, b"new!").status, Code::MACH_SEND_IN_PROGRESS);
    assert_eq!(pair.doubt(route, 1, b"ring"), Code::MACH_SEND_IN_PROGRESS);
    assert_eq!(pair.closed(), Some((0, 1)));
    assert_eq!(pair.world.send(pair.client, pair.send, b"new!").status, Code::MACH_SEND_IN_PROGRESS, "before it has sent again");
    assert_eq!(again(&mut pair, route, 1, b"ring"), Code::SUCCESS);
    assert_eq!(pair.world.ack(pair.client, route, 0), Code::SUCCESS);
    pair.world.check();
    let got: Vec<Vec<u8>> = std::iter::from_fn(|| poll(&mut pair.world, heir, there)).collect();
    assert_eq!(got, [&b"ring"[..], b"late", b"late", b"late", b"late", b"last"]);
    pair.post(b"new!");
}

#[test]
fn orphans_sender_that_dies_leaves_its_mail() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"tick");
    pair.recall();
    pair.post(b"late");
    let (heir, there) = orphan(&mut pair);
    pair.kill(pair.client);
    assert!(poll(&mut pair.world, heir, there).unwrap().ends_with(b"tick"));
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"late"[..]));
    assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len()), (0, 0));
}

#[test]
fn orphans_port_that_dies_takes_everything_with_it() {
    let (mut pair, route) = Pair::routed();
    pair.ticket(route, 1, b"tick");
    pair.recall();
    pair.post(b"late");
    let (heir, there) = orphan(&mut pair);
    pair.world.ok(heir, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name: there }));
    assert_eq!(again(&mut pair, route, 2, b"ring"), Code::MACH_SEND_INVALID_DEST);
    pair.world.finish();
    assert_eq!(pair.closed(), Some((0, 1)));
    pair.world.finish();
    assert_eq!((pair.world.core.links.len(), pair.world.core.routes.len(), pair.world.core.mails.len()), (0, 0, 0));
}

#[test]
fn orphans_messages_are_sent_again_without_the_right_that_they_were_sent_with() {
    let (mut pair, route) = Pair::routed();
    let (heir, there) = orphan(&mut pair);
    let inbox = pair.world.port(heir);
    let id = notify::NO_SENDERS as u32;
    let request = control::PortRequestNotification { task: Name::NULL, name: there, id, sync: 0, notify: inbox, disposition: 21 };
    pair.world.ok(heir, Request::PortRequestNotification(request));
    pair.forget();
    assert_eq!(pair.closed(), Some((0, 1)));
    assert_eq!(again(&mut pair, route, 1, b"ring"), Code::SUCCESS);
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"ring"[..]));
    assert_eq!(poll(&mut pair.world, heir, inbox), None, "there may be more");
    assert_eq!(pair.world.ack(pair.client, route, 0), Code::SUCCESS);
    pair.world.check();
    let answer = pair.world.poll(heir, inbox);
    assert!(matches!(Notification::parse(answer.message().unwrap()), Some(Notification::NoSenders(_))));
}

#[test]
fn message_that_came_back_before_its_receiver_died_is_not_sent_again() {
    let (mut pair, route) = Pair::routed();
    pair.recall();
    assert_eq!(pair.give_back(route, 1, &frame(&simple(Name::NULL, b"tri!"), 3, 0, 0)), Code::SUCCESS);
    let (heir, there) = orphan(&mut pair);
    assert_eq!(pair.closed(), Some((3, 1)));
    assert_eq!(again(&mut pair, route, 3, b"tri!"), Code::KERN_INVALID_VALUE);
    assert_eq!(again(&mut pair, route, 4, b"four"), Code::SUCCESS);
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"tri!"[..]));
    assert_eq!(poll(&mut pair.world, heir, there).as_deref(), Some(&b"four"[..]));
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
