//! Links and routes: plays on the core, and a storm of honest tasks that use both ways.

mod ends;
mod files;
mod grants;
mod idle;
mod links;
mod pair;
mod storm;
mod storm_files;
mod storm_receive;
mod storm_send;
mod traces;

use umach_abi::control::{self, Call, EVENTS_WAIT, Events, Head, Msg, Reply, Request, answer};
use umach_abi::message::{Descriptor, Header, Options};
use umach_abi::records::{Event, Frame};
use umach_abi::{Code, Features, Name, RightKind, VERSION};

use super::*;

/// A core, and what it wants done.
struct World {
    core: Core,
    effects: Effects,
    given: u32,
}

struct Answer {
    op: u16,
    status: Code,
    fields: Vec<u8>,
    attach: Vec<Attach>,
}

impl Answer {
    fn message(&self) -> Option<&[u8]> {
        let frame = Frame::read(&self.fields)?;
        self.fields[Frame::SIZE..].get(..frame.size as usize).filter(|bytes| !bytes.is_empty())
    }
    fn has_events(&self) -> bool {
        self.op & EVENTS_WAIT != 0
    }
}

impl World {
    fn new(direct: Direct) -> World {
        World::limited(direct, Limits::default())
    }
    fn limited(direct: Direct, limits: Limits) -> World {
        let config = Config { pid: 1, features: Features::empty(), limits, direct, machine: Default::default() };
        World { core: Core::new(config), effects: Effects::new(), given: 0 }
    }
    fn stranger(&mut self, features: Features) -> LaneId {
        let lane = self.core.connect(Peer { pid: 7, uid: 1, gid: 2 }, true).unwrap();
        self.ok(lane, Request::Hello(control::Hello { version: VERSION, features: features.bits() }));
        lane
    }
    fn task(&mut self) -> LaneId {
        self.stranger(Features::DIRECT_PLANE)
    }
    fn id(&self, lane: LaneId) -> TaskId {
        self.core.task_of(lane).unwrap()
    }
    fn second_lane(&mut self, lane: LaneId) -> LaneId {
        match self.ok(lane, Request::LaneOpen(control::LaneOpen {})).attach[..] {
            [Attach::NewLane(lane)] => lane,
            _ => panic!("a lane"),
        }
    }
    fn start(&mut self, lane: LaneId, request: Request<'_>) {
        let head = Head { op: request.op(), attached: 0, seq: 9, status: Code(0) };
        self.core.request(lane, head, &request, &mut self.effects).unwrap();
    }
    fn check(&self) {
        self.core.check().unwrap();
    }
    fn finish(&mut self) {
        while self.core.work(64, &mut self.effects) {}
        self.check();
    }
    fn answer(&mut self, wanted: LaneId) -> Option<Answer> {
        let at = self.effects.iter().position(|effect| matches!(effect, Effect::Answer { lane, .. } if *lane == wanted))?;
        let Effect::Answer { packet, attach, .. } = self.effects.remove(at) else { unreachable!() };
        let (head, fields) = Head::read(&packet).unwrap();
        assert_eq!(head.attached as usize, attach.len());
        Some(Answer { op: head.op, status: head.status, fields: fields.to_vec(), attach })
    }
    fn call(&mut self, lane: LaneId, request: Request<'_>) -> Answer {
        self.start(lane, request);
        self.answer(lane).expect("answered at once")
    }
    fn ok(&mut self, lane: LaneId, request: Request<'_>) -> Answer {
        let answer = self.call(lane, request);
        assert_eq!(answer.status, Code::SUCCESS, "{request:?}");
        answer
    }
    fn port(&mut self, lane: LaneId) -> Name {
        let right = RightKind::Receive as u32;
        let answer = self.ok(lane, Request::PortAllocate(control::PortAllocate { task: Name::NULL, right, name: Name::NULL }));
        answer::PortAllocate::take(&answer.fields).unwrap().name
    }
    fn set(&mut self, lane: LaneId) -> Name {
        let right = RightKind::PortSet as u32;
        let answer = self.ok(lane, Request::PortAllocate(control::PortAllocate { task: Name::NULL, right, name: Name::NULL }));
        answer::PortAllocate::take(&answer.fields).unwrap().name
    }
    /// Puts a right of `from`'s into `to`'s space; gives the name there.
    fn give(&mut self, from: LaneId, right: Name, disposition: u32, to: LaneId) -> Name {
        let (me, them) = (self.id(from), self.id(to));
        let port = self.core.tasks[me.0].space.get(right).unwrap().port().unwrap();
        let held = self.core.tasks[them.0].space.name_of(port);
        // Never the same one again, as the kernel's own choice would be.
        self.given += 1;
        let name = held.unwrap_or(Name::new(5000 + self.given, 3));
        let control = self.core.tasks[them.0].control;
        let control = self.core.give_send(me, control).unwrap();
        self.ok(from, Request::PortInsertRight(control::PortInsertRight { task: control, name, right, disposition }));
        self.call(from, Request::PortDeallocate(control::PortDeallocate { task: Name::NULL, name: control }));
        name
    }
    fn send(&mut self, lane: LaneId, to: Name, body: &[u8]) -> Answer {
        self.call(lane, msg(Options::SEND, Name::NULL, &simple(to, body)))
    }
    fn poll(&mut self, lane: LaneId, port: Name) -> Answer {
        self.call(lane, with_flags(msg(Options::RCV, port, &[]), control::msg_flags::TRY_RECEIVE, 0, 0))
    }
    fn events(&mut self, lane: LaneId) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let answer = self.ok(lane, Request::Events(Events {}));
            let fields = answer::Events::take(&answer.fields).unwrap();
            all.extend(Event::all(fields.events));
            if fields.more == 0 {
                return all;
            }
        }
    }
    fn kinds(&mut self, lane: LaneId) -> Vec<u32> {
        self.events(lane).iter().map(|event| event.kind).collect()
    }
    fn ack(&mut self, lane: LaneId, route: u64, accepted: u32) -> Code {
        self.call(lane, Request::RouteAck(control::RouteAck { route, accepted })).status
    }
    fn words(&self, lane: LaneId) -> (u32, u32) {
        let plane = &self.core.tasks[self.id(lane).0].plane;
        (plane.control, plane.mail)
    }
}

fn msg<'a>(options: Options, receive: Name, bytes: &'a [u8]) -> Request<'a> {
    Request::Msg(Msg {
        options: options.bits(),
        flags: 0,
        receive,
        limit: 4096,
        route: 0,
        number: 0,
        count: 0,
        send_size: bytes.len() as u32,
        annex: 0,
        tail: bytes,
    })
}

fn with_flags(request: Request<'_>, flags: u32, route: u64, number: u32) -> Request<'_> {
    match request {
        Request::Msg(msg) => Request::Msg(Msg { flags, route, number, ..msg }),
        other => other,
    }
}

fn simple(remote: Name, body: &[u8]) -> Vec<u8> {
    let mut bytes = Header { bits: Header::make_bits(19, 0, false), remote, id: 5, ..Header::default() }.to_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// A message that carries a copy of a send right.
fn carrying(remote: Name, carried: Name, how: u8, body: &[u8]) -> Vec<u8> {
    let header = Header { bits: Header::make_bits(19, 0, true), remote, id: 6, ..Header::default() };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    Descriptor::Port { name: carried, disposition: how }.push(&mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// Frames for `RouteReturn`.
fn frame(bytes: &[u8], number: u32, attach: u32, options: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Frame { size: bytes.len() as u32, trailer: number, attach, options, ..Frame::default() }.write(&mut out);
    out.extend_from_slice(bytes);
    out
}

const _: () = assert!(Events::OP == 100);
