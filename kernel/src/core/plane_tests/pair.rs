//! A server and its client, for plays.

use umach_abi::control::msg_flags;
use umach_abi::records::event;

use super::*;

/// A server's port and a client that may send to it.
pub(super) struct Pair {
    pub(super) world: World,
    pub(super) server: LaneId,
    pub(super) client: LaneId,
    pub(super) port: Name,
    pub(super) send: Name,
}

impl Pair {
    /// The server has begun to receive.
    pub(super) fn new(direct: Direct) -> Pair {
        Pair::within(World::new(direct))
    }
    pub(super) fn within(mut world: World) -> Pair {
        let (server, client) = (world.task(), world.task());
        let port = world.port(server);
        let send = world.give(server, port, 20, client);
        let mut pair = Pair { world, server, client, port, send };
        pair.poll();
        pair
    }
    /// With a live route, of which both know; gives it. One message went through the kernel.
    pub(super) fn routed() -> (Pair, u64) {
        let mut pair = Pair::new(Direct::Always);
        let route = pair.grant();
        (pair, route)
    }
    pub(super) fn grant(&mut self) -> u64 {
        self.post(b"mail");
        let told = self.world.events(self.client);
        let route = told.iter().rev().find(|event| event.kind == event::ROUTE_OUT).expect("a route").route;
        assert!(self.world.events(self.server).iter().any(|event| event.kind == event::ROUTE_IN && event.route == route));
        assert_eq!(self.poll().as_deref(), Some(&b"mail"[..]));
        assert_eq!(self.world.kinds(self.server), [event::ROUTE_OPEN]);
        route
    }
    pub(super) fn post(&mut self, body: &[u8]) {
        let answer = self.world.send(self.client, self.send, body);
        assert_eq!(answer.status, Code::SUCCESS);
        self.world.check();
    }
    /// Takes the next message's body.
    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        poll(&mut self.world, self.server, self.port)
    }
    pub(super) fn granted(&self) -> bool {
        !self.world.core.routes.is_empty()
    }
    pub(super) fn ticket(&mut self, route: u64, number: u32, body: &[u8]) -> Code {
        let bytes = carrying(self.send, self.send, 19, body);
        let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::TICKET, route, number);
        let status = self.world.call(self.client, request).status;
        self.world.check();
        status
    }
    pub(super) fn fetch(&mut self, route: u64, number: u32) -> Answer {
        let request = with_flags(msg(Options::RCV, self.port, &[]), msg_flags::BY_TICKET, route, number);
        let answer = self.world.call(self.server, request);
        self.world.check();
        answer
    }
    pub(super) fn doubt(&mut self, route: u64, number: u32, body: &[u8]) -> Code {
        let bytes = simple(self.send, body);
        let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::DOUBT | msg_flags::TRY_SEND, route, number);
        let status = self.world.call(self.client, request).status;
        self.world.check();
        status
    }
    pub(super) fn give_back(&mut self, route: u64, count: u32, tail: &[u8]) -> Code {
        let status = self.world.call(self.server, Request::RouteReturn(control::RouteReturn { route, count, tail })).status;
        self.world.check();
        status
    }
    pub(super) fn ack(&mut self, route: u64, accepted: u32) {
        assert_eq!(self.world.ack(self.server, route, accepted), Code::SUCCESS);
        self.world.check();
    }
    pub(super) fn forget(&mut self) {
        self.world.ok(self.client, Request::PortDeallocate(control::PortDeallocate { task: Name::NULL, name: self.send }));
        self.world.check();
    }
    pub(super) fn destroy(&mut self) {
        self.world.ok(self.server, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name: self.port }));
        self.world.finish();
    }
    pub(super) fn recall(&mut self) {
        self.world.ok(self.server, Request::PortRecall(control::PortRecall { name: self.port, seqno: 77 }));
        self.world.check();
    }
    pub(super) fn kill(&mut self, lane: LaneId) {
        let task = self.world.id(lane);
        self.world.core.end_task(task, &mut self.world.effects);
        self.world.finish();
    }
    /// How the route ended: what the server is told to do, and whether the client was stopped.
    pub(super) fn end(&mut self) -> (Option<u32>, bool) {
        let told = self.world.events(self.server);
        let end = told.iter().find(|event| event.kind == event::ROUTE_END).map(|event| event.value);
        (end, self.world.kinds(self.client).contains(&event::ROUTE_STOP))
    }
    /// What the client is told of the closing: how many, and whether the server is dead.
    pub(super) fn closed(&mut self) -> Option<(u32, u32)> {
        let told = self.world.events(self.client);
        told.iter().find(|event| event.kind == event::ROUTE_CLOSED).map(|event| (event.value, event.flags))
    }
}

pub(super) fn poll(world: &mut World, lane: LaneId, port: Name) -> Option<Vec<u8>> {
    let answer = world.poll(lane, port);
    world.check();
    let body = answer.message().map(|message| message[message.len().min(24)..].to_vec());
    assert_eq!(body.is_some(), answer.status.is_ok(), "{}", answer.status);
    body
}
