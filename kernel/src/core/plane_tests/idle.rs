//! Plays: links that nothing uses, and too few of them.

use umach_abi::records::{LinkRow, event, undelivered};

use super::pair::*;
use super::*;

impl Pair {
    fn link(&self) -> u64 {
        self.world.core.links.iter().next().expect("a link").0.to_raw()
    }
    fn offer(&mut self, lane: LaneId) -> Code {
        let end = control::LinkEnd { link: self.link(), why: 0, found: 0, expected: 0 };
        let status = self.world.call(lane, Request::LinkEnd(end)).status;
        self.world.finish();
        status
    }
    fn row(&mut self) -> LinkRow {
        let host = self.world.ok(self.server, Request::HostControl(control::HostControl {}));
        let host = answer::HostControl::take(&host.fields).unwrap().name;
        let links = self.world.ok(self.server, Request::HostLinks(control::HostLinks { host, start: 0 }));
        LinkRow::read(answer::HostLinks::take(&links.fields).unwrap().rows).unwrap()
    }
    /// A client more, which has sent one message to the server's port.
    fn client(&mut self) -> (LaneId, Name) {
        let lane = self.world.task();
        let send = self.world.give(self.server, self.port, 20, lane);
        assert_eq!(self.world.send(lane, send, b"more").status, Code::SUCCESS);
        (lane, send)
    }
}

#[test]
fn link_is_idle_when_both_say_so() {
    let (mut pair, route) = Pair::routed();
    pair.offer(pair.server);
    assert_eq!(pair.world.kinds(pair.client), [event::LINK_IDLE]);
    assert_eq!(pair.row().flags, 4);
    pair.offer(pair.server);
    assert!(pair.world.kinds(pair.client).is_empty(), "one question for one offer");
    pair.offer(pair.client);
    assert_eq!(pair.row().flags, 7);
    assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
    pair.ack(route, 0);
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_DOWN]);
    assert_eq!(pair.world.kinds(pair.client), [event::ROUTE_CLOSED, event::LINK_DOWN]);
    assert!(pair.world.core.links.is_empty());
    let route = pair.grant();
    assert!(pair.granted() && route != 0);
}

#[test]
fn messages_on_their_way_outlive_the_agreement() {
    let (mut pair, route) = Pair::routed();
    assert_eq!(pair.ticket(route, 1, b"tick"), Code::SUCCESS);
    pair.offer(pair.client);
    pair.offer(pair.server);
    pair.post(b"tock");
    assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
    assert_eq!(pair.poll(), None, "it would overtake");
    assert!(pair.world.kinds(pair.server).is_empty(), "the link is not down before all of its messages have been received");
    assert_eq!(pair.fetch(route, 1).status, Code::SUCCESS);
    pair.ack(route, 1);
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_DOWN]);
    assert_eq!(pair.poll().as_deref(), Some(&b"tock"[..]));
}

#[test]
fn route_voids_offers_when_it_is_granted_and_again_when_it_is_learnt_of() {
    let (mut pair, _) = Pair::routed();
    pair.offer(pair.server);
    let second = pair.world.port(pair.server);
    let send = pair.world.give(pair.server, second, 20, pair.client);
    poll(&mut pair.world, pair.server, second);
    assert_eq!(pair.world.send(pair.client, send, b"more").status, Code::SUCCESS);
    assert_eq!(pair.row().flags, 0, "the server's offer is void");
    // The client does not know of the route, and offers.
    pair.offer(pair.client);
    assert_eq!(pair.row().flags, 2);
    let told = pair.world.kinds(pair.client);
    assert_eq!(told, [event::LINK_IDLE, event::ROUTE_OUT]);
    assert_eq!(pair.row().flags, 0, "now it knows, and may send");
    pair.offer(pair.server);
    assert_eq!(pair.row().flags, 4);
    assert_eq!(pair.world.kinds(pair.client), [event::LINK_IDLE]);
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_IDLE, event::ROUTE_IN]);
}

#[test]
fn link_that_only_one_side_knows_of_needs_no_agreement() {
    let mut pair = Pair::new(Direct::Always);
    pair.post(b"mail");
    assert_eq!(pair.offer(pair.client), Code::SUCCESS);
    assert_eq!(pair.world.kinds(pair.client), [event::ATTENTION, event::LINK, event::LINK_DOWN]);
    assert!(pair.world.core.links.is_empty());
    assert_eq!(pair.poll().as_deref(), Some(&b"mail"[..]));
}

#[test]
fn offer_for_a_strangers_link_or_one_that_is_over_is_refused() {
    let (mut pair, _) = Pair::routed();
    let third = pair.world.task();
    assert_eq!(pair.offer(third), Code::KERN_INVALID_ARGUMENT);
    pair.offer(pair.client);
    pair.offer(pair.server);
    assert_eq!(pair.offer(pair.client), Code::KERN_INVALID_ARGUMENT);
    assert!(!pair.world.kinds(pair.client).contains(&event::LINK_IDLE), "nobody is asked about a link that is over");
}

#[test]
fn server_with_as_many_links_as_it_may_have_is_told_now_and_then() {
    let limits = Limits { task_links: 1, ..Limits::default() };
    let mut pair = Pair::within(World::limited(Direct::Always, limits));
    let route = pair.grant();
    let (other, send) = pair.client();
    assert_eq!(pair.world.kinds(pair.server), [event::LINKS_SHORT]);
    pair.world.send(other, send, b"more");
    assert!(pair.world.kinds(pair.server).is_empty(), "not for each message");
    for _ in 0..256 {
        pair.world.kinds(pair.server);
    }
    pair.world.send(other, send, b"more");
    assert_eq!(pair.world.kinds(pair.server), [event::LINKS_SHORT]);
    // The server knows of the end first: there is room for another link at once.
    pair.offer(pair.client);
    pair.offer(pair.server);
    assert_eq!(pair.end(), (Some(undelivered::KEEP), true));
    pair.ack(route, 0);
    assert_eq!(pair.world.kinds(pair.server), [event::LINK_DOWN]);
    assert_eq!(pair.world.core.links.len(), 1);
    pair.world.send(other, send, b"more");
    assert_eq!(pair.world.core.links.len(), 2);
    pair.world.check();
    assert_eq!(pair.world.kinds(pair.client), [event::ROUTE_CLOSED, event::LINK_DOWN]);
    assert_eq!(pair.world.core.links.len(), 1);
}

#[test]
fn user_with_as_many_links_as_it_may_have_has_its_busiest_task_told() {
    let limits = Limits { task_links: 4, user_factor: 1, ..Limits::default() };
    let mut pair = Pair::within(World::limited(Direct::Always, limits));
    pair.grant();
    let (second, _) = pair.client();
    pair.world.events(second);
    assert_eq!(pair.world.core.links.len(), 2);
    let (quiet, port) = (pair.world.task(), pair.world.task());
    let name = pair.world.port(port);
    let send = pair.world.give(port, name, 20, quiet);
    poll(&mut pair.world, port, name);
    pair.world.events(pair.server);
    assert_eq!(pair.world.send(quiet, send, b"more").status, Code::SUCCESS);
    assert_eq!(pair.world.kinds(pair.server), [event::LINKS_SHORT]);
    assert!(pair.world.kinds(quiet).is_empty() && pair.world.kinds(port).is_empty());
}
