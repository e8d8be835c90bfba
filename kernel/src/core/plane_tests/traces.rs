//! Plays: what a tracer is told, what it is not, and what becomes of routes meanwhile.

use std::time::Duration;

use umach_abi::TypeBits;
use umach_abi::control::{HostTrace, HostTraceEnd, msg_flags};
use umach_abi::limits::TRACES_MAX;
use umach_abi::records::{HeldRow, TraceHead, TraceRight, TraceRow, event, held, trace};

use super::pair::*;
use super::*;

/// A task that holds the host's control right, and a port for records.
pub(super) struct Watcher {
    pub(super) lane: LaneId,
    pub(super) port: Name,
    send: Name,
    host: Name,
    /// Records that found no room, as it was told last.
    lost: u64,
}

/// A record with what follows it.
#[derive(Debug)]
pub(super) struct Seen {
    row: TraceRow,
    rights: Vec<TraceRight>,
    preview: Vec<u8>,
}

impl Watcher {
    pub(super) fn new(world: &mut World) -> Watcher {
        let lane = world.task();
        let port = world.port(lane);
        let send = world.give(lane, port, 20, lane);
        let answer = world.ok(lane, Request::HostControl(control::HostControl {}));
        let host = answer::HostControl::take(&answer.fields).unwrap().name;
        Watcher { lane, port, send, host, lost: 0 }
    }
    fn request<'a>(&self, tasks: u32, who: &'a [u8]) -> HostTrace<'a> {
        HostTrace { host: self.host, port: self.send, flags: 0, first: i32::MIN, last: i32::MAX, preview: 64, tasks, who }
    }
    fn begin(&self, world: &mut World, tasks: u32, who: &[u8]) -> Answer {
        self.begin_with(world, 0, tasks, who)
    }
    pub(super) fn begin_with(&self, world: &mut World, flags: u32, tasks: u32, who: &[u8]) -> Answer {
        world.call(self.lane, Request::HostTrace(HostTrace { flags, ..self.request(tasks, who) }))
    }
    fn all(&self, world: &mut World) -> u64 {
        id_of(&self.begin(world, 0, &[]))
    }
    pub(super) fn end(&self, world: &mut World, trace: u64) -> Answer {
        world.call(self.lane, Request::HostTraceEnd(HostTraceEnd { host: self.host, trace }))
    }
    /// What has come since.
    pub(super) fn read(&mut self, world: &mut World) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            clocks(world);
            let answer = world.call(
                self.lane,
                match msg(Options::RCV, self.port, &[]) {
                    Request::Msg(msg) => Request::Msg(Msg { limit: 1 << 17, flags: msg_flags::TRY_RECEIVE, ..msg }),
                    other => other,
                },
            );
            let Some(message) = answer.message() else { return all };
            assert_eq!(Header::read(message).unwrap().id, trace::BATCH);
            let head = TraceHead::read(&message[24..]).unwrap();
            self.lost = head.lost;
            let mut rest = &message[24 + TraceHead::SIZE..];
            while !rest.is_empty() {
                let row = TraceRow::read(rest).unwrap();
                let (one, more) = rest.split_at(row.size as usize);
                let behind = &one[TraceRow::SIZE..];
                let rights = row.listed as usize * TraceRight::SIZE;
                all.push(Seen {
                    row,
                    rights: TraceRight::all(&behind[..rights]).collect(),
                    preview: behind[rights..][..row.preview as usize].to_vec(),
                });
                rest = more;
            }
        }
    }
    fn read_kinds(&mut self, world: &mut World) -> Vec<u32> {
        let kinds = self.read(world).into_iter().map(|seen| seen.row.kind);
        kinds.filter(|&kind| kind != trace::TASK).collect()
    }
}

fn id_of(answer: &Answer) -> u64 {
    assert_eq!(answer.status, Code::SUCCESS);
    answer::HostTrace::take(&answer.fields).unwrap().trace
}

/// Reads the clocks as often as the core wants, a microsecond later each time.
pub(super) fn clocks(world: &mut World) {
    let asks = |effect: &Effect| *effect == Effect::ReadClocks;
    while world.effects.iter().any(asks) {
        world.effects.retain(|effect| !asks(effect));
        world.given += 1;
        let system = Duration::from_micros(u64::from(world.given));
        world.core.clocks_read(Clocks { system, ..Clocks::default() }, &mut world.effects);
        world.check();
    }
}

fn task_of(world: &World, lane: LaneId) -> u64 {
    world.id(lane).to_raw()
}

fn port_of(pair: &Pair) -> u64 {
    let task = pair.world.id(pair.server);
    pair.world.core.tasks[task.0].space.get(pair.port).unwrap().port().unwrap().0.to_raw()
}

fn traced(direct: Direct) -> (Pair, Watcher) {
    let mut pair = Pair::new(direct);
    let watcher = Watcher::new(&mut pair.world);
    (pair, watcher)
}

#[test]
fn message_is_told_with_its_parts_when_sent_and_again_when_received() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    watcher.all(&mut pair.world);
    let bytes = carrying(pair.send, pair.send, 19, b"body");
    assert_eq!(pair.world.call(pair.client, msg(Options::SEND, Name::NULL, &bytes)).status, Code::SUCCESS);
    let told = watcher.read(&mut pair.world);
    let [client, server, sent] = &told[..] else { panic!("{told:?}") };
    assert_eq!([client.row.kind, server.row.kind, sent.row.kind], [trace::TASK, trace::TASK, trace::SENT]);
    assert_eq!((client.row.sender, client.row.id), (task_of(&pair.world, pair.client), 7));
    let (row, port) = (sent.row, port_of(&pair));
    assert_eq!((row.sender, row.receiver), (task_of(&pair.world, pair.client), task_of(&pair.world, pair.server)));
    assert_eq!((row.port, row.id, row.bytes, row.body, row.rights, row.number), (port, 6, bytes.len() as u32, 4, 1, 1));
    assert_eq!((sent.rights[0].what, sent.rights[0].port), (trace::SEND_RIGHT, port));
    assert_eq!(sent.preview, b"body");
    assert!(row.time > 0);
    assert!(pair.poll().is_some());
    let told = watcher.read(&mut pair.world);
    assert_eq!(told.len(), 1, "tasks are introduced once");
    assert_eq!((told[0].row.kind, told[0].row.number), (trace::RECEIVED, 1));
    assert!(told[0].row.time > row.time);
}

#[test]
fn message_that_ends_unreceived_is_told_of() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    watcher.all(&mut pair.world);
    for _ in 0..5 {
        pair.post(b"mail");
    }
    let bytes = simple(pair.send, b"full");
    let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), msg_flags::TRY_SEND, 0, 0);
    assert_eq!(pair.world.call(pair.client, request).status, Code::MACH_SEND_TIMED_OUT);
    pair.destroy();
    let kinds = watcher.read_kinds(&mut pair.world);
    let expected = [[trace::SENT; 6].as_slice(), &[trace::RETURNED], &[trace::DESTROYED; 5]].concat();
    assert_eq!(kinds, expected);
}

#[test]
fn answer_to_a_traced_port_is_told_of_though_it_goes_elsewhere() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    let port = port_of(&pair);
    id_of(&watcher.begin(&mut pair.world, 0, &port.to_le_bytes()));
    let reply = pair.world.port(pair.client);
    let header = Header { bits: Header::make_bits(19, 21, false), remote: pair.send, local: reply, id: 40, ..Header::default() };
    assert_eq!(pair.world.call(pair.client, msg(Options::SEND, Name::NULL, &header.to_bytes())).status, Code::SUCCESS);
    let answer = pair.world.poll(pair.server, pair.port);
    let right = Header::read(answer.message().unwrap()).unwrap().remote;
    // What the client gets at that port from others is none of the tracer's business.
    let other = pair.world.give(pair.client, reply, 20, pair.server);
    pair.world.ok(pair.server, msg(Options::SEND, Name::NULL, &simple(other, b"else")));
    let bytes = Header { bits: Header::make_bits(18, 0, false), remote: right, id: 140, ..Header::default() }.to_bytes();
    assert_eq!(pair.world.call(pair.server, msg(Options::SEND, Name::NULL, &bytes)).status, Code::SUCCESS);
    pair.world.check();
    let told = watcher.read(&mut pair.world);
    let sent: Vec<_> = told.iter().filter(|seen| seen.row.kind == trace::SENT).map(|seen| seen.row).collect();
    assert_eq!(sent.iter().map(|row| (row.id, row.flags & trace::ONCE)).collect::<Vec<_>>(), [(40, 0), (140, trace::ONCE)]);
    assert_eq!(sent[0].reply, sent[1].port, "the answer is found by the port that the call named");
    assert!(sent[0].flags & trace::REPLY_ONCE != 0);
}

/// The client tells the server of two ports, its own and a stranger's, and the server sends to both.
fn told_of_what_rights_lead_to(pair: &mut Pair, watcher: &mut Watcher, flags: u32) -> Vec<(i32, u64)> {
    let (own, stranger) = (pair.world.port(pair.client), pair.world.task());
    let other = pair.world.port(stranger);
    let other = pair.world.give(stranger, other, 20, pair.client);
    let port = port_of(pair);
    let on = id_of(&watcher.begin_with(&mut pair.world, flags, 0, &port.to_le_bytes()));
    for (right, kind) in [(own, 20), (other, 19)] {
        let bytes = carrying(pair.send, right, kind, b"here");
        assert_eq!(pair.world.call(pair.client, msg(Options::SEND, Name::NULL, &bytes)).status, Code::SUCCESS);
        let body = pair.poll().unwrap();
        let got = Name(u32::from_le_bytes(body[4..8].try_into().unwrap()));
        pair.world.ok(pair.server, msg(Options::SEND, Name::NULL, &simple(got, b"item")));
    }
    let told = watcher.read(&mut pair.world);
    watcher.end(&mut pair.world, on);
    let sent = told.into_iter().filter(|seen| seen.row.kind == trace::SENT);
    sent.map(|seen| (seen.row.id, seen.row.port)).filter(|&(_, to)| to != port).collect()
}

#[test]
fn trace_that_follows_wants_what_goes_to_the_ports_of_those_who_talk() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    assert_eq!(told_of_what_rights_lead_to(&mut pair, &mut watcher, 0), []);
    let told = told_of_what_rights_lead_to(&mut pair, &mut watcher, trace::FOLLOW);
    assert_eq!(told.len(), 1, "the client's port, and not the stranger's");
}

#[test]
fn port_that_is_followed_has_no_routes_any_more() {
    let (mut pair, _) = Pair::routed();
    let watcher = Watcher::new(&mut pair.world);
    let traced = pair.world.port(pair.server);
    let send = pair.world.give(pair.server, traced, 20, pair.client);
    let id = pair.world.core.tasks[pair.world.id(pair.server).0].space.get(traced).unwrap().port().unwrap().0.to_raw();
    id_of(&watcher.begin_with(&mut pair.world, trace::FOLLOW, 0, &id.to_le_bytes()));
    pair.world.finish();
    assert_eq!(pair.end(), (None, false), "it is not wanted yet");
    let bytes = carrying(send, pair.send, 19, b"here");
    assert_eq!(pair.world.call(pair.client, msg(Options::SEND, Name::NULL, &bytes)).status, Code::SUCCESS);
    pair.world.finish();
    pair.world.check();
    assert!(pair.end().0.is_some(), "the route has ended");
}

#[test]
fn filter_of_tasks_and_ids_leaves_the_rest_out() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    let stranger = pair.world.task();
    let send = pair.world.give(pair.server, pair.port, 20, stranger);
    let client = task_of(&pair.world, pair.client).to_le_bytes();
    let by_task = id_of(&watcher.begin(&mut pair.world, 1, &client));
    pair.world.send(stranger, send, b"none");
    assert!(watcher.read(&mut pair.world).is_empty());
    pair.post(b"mail");
    assert_eq!(watcher.read_kinds(&mut pair.world), [trace::SENT]);
    pair.poll();
    pair.poll();
    assert_eq!(watcher.read_kinds(&mut pair.world), [trace::RECEIVED], "the stranger's is not the client's");
    watcher.end(&mut pair.world, by_task);
    let request = HostTrace { first: 6, last: 9, ..watcher.request(0, &[]) };
    pair.world.ok(watcher.lane, Request::HostTrace(request));
    pair.post(b"five");
    let bytes = carrying(pair.send, pair.send, 19, b"six!");
    pair.world.ok(pair.client, msg(Options::SEND, Name::NULL, &bytes));
    let told = watcher.read(&mut pair.world);
    assert_eq!(told.iter().filter(|seen| seen.row.kind == trace::SENT).map(|seen| seen.row.id).collect::<Vec<_>>(), [6]);
}

#[test]
fn route_ends_while_its_port_is_traced_and_is_granted_again_after() {
    let (mut pair, route) = Pair::routed();
    let mut watcher = Watcher::new(&mut pair.world);
    let port = port_of(&pair);
    let trace = id_of(&watcher.begin(&mut pair.world, 0, &port.to_le_bytes()));
    pair.world.check();
    assert_eq!(pair.end(), (Some(umach_abi::records::undelivered::KEEP), true));
    pair.ack(route, 0);
    pair.closed();
    for _ in 0..3 {
        pair.post(b"mail");
        assert!(!pair.granted(), "a route to a traced port");
        pair.poll();
    }
    assert_eq!(watcher.read_kinds(&mut pair.world), [trace::SENT, trace::RECEIVED].repeat(3));
    watcher.end(&mut pair.world, trace);
    pair.grant();
    assert!(watcher.read(&mut pair.world).is_empty());
}

#[test]
fn routes_of_others_and_those_that_may_stay_go_on() {
    let (mut pair, _) = Pair::routed();
    let watcher = Watcher::new(&mut pair.world);
    let stranger = task_of(&pair.world, watcher.lane) + 1000;
    id_of(&watcher.begin(&mut pair.world, 1, &stranger.to_le_bytes()));
    let request = HostTrace { flags: trace::KEEP_ROUTES, ..watcher.request(0, &[]) };
    pair.world.ok(watcher.lane, Request::HostTrace(request));
    assert_eq!(pair.end(), (None, false));
    assert!(pair.granted());
}

#[test]
fn many_routes_end_in_pieces_and_none_is_granted_meanwhile() {
    let mut world = World::new(Direct::Always);
    let server = world.task();
    let port = world.port(server);
    world.poll(server, port);
    let clients: Vec<(LaneId, Name)> = (0..700)
        .map(|_| {
            let client = world.task();
            let send = world.give(server, port, 20, client);
            assert_eq!(world.send(client, send, b"mail").status, Code::SUCCESS);
            world.events(client);
            while world.poll(server, port).message().is_some() {}
            (client, send)
        })
        .collect();
    world.events(server);
    assert_eq!(world.core.routes.len(), clients.len());
    let watcher = Watcher::new(&mut world);
    watcher.all(&mut world);
    assert!(!world.core.work.is_empty(), "so many at once");
    world.check();
    world.finish();
    let told = world.kinds(server);
    assert_eq!(told.iter().filter(|&&kind| kind == event::ROUTE_END).count(), clients.len());
}

#[test]
fn ticket_on_a_route_that_may_stay_is_told_of() {
    let (mut pair, route) = Pair::routed();
    let mut watcher = Watcher::new(&mut pair.world);
    let request = HostTrace { flags: trace::KEEP_ROUTES, ..watcher.request(0, &[]) };
    pair.world.ok(watcher.lane, Request::HostTrace(request));
    assert_eq!(pair.ticket(route, 1, b"rite"), Code::SUCCESS);
    assert!(pair.fetch(route, 1).status.is_ok());
    let told = watcher.read(&mut pair.world);
    let rows: Vec<_> = told.iter().map(|seen| seen.row).filter(|row| row.kind != trace::TASK).collect();
    assert_eq!(rows.iter().map(|row| (row.kind, row.number)).collect::<Vec<_>>(), [(trace::SENT, 1), (trace::RECEIVED, 1)]);
    assert!(rows[0].flags & trace::TICKET != 0);
}

#[test]
fn port_of_a_trace_is_listed_while_it_is_on() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    let listed = |world: &mut World, watcher: &Watcher| {
        let answer = world.ok(watcher.lane, Request::HostHeld(control::HostHeld { host: watcher.host, what: 2, start: 0 }));
        let rows: Vec<HeldRow> = HeldRow::all(answer::HostHeld::take(&answer.fields).unwrap().rows).collect();
        rows.into_iter().filter(|row| row.place == held::TRACE).map(|row| (row.holder, row.kind)).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut pair.world, &watcher), []);
    let trace = watcher.all(&mut pair.world);
    assert_eq!(listed(&mut pair.world, &watcher), [(task_of(&pair.world, watcher.lane), TypeBits::SEND.bits())]);
    watcher.end(&mut pair.world, trace);
    watcher.read(&mut pair.world);
    assert_eq!(listed(&mut pair.world, &watcher), []);
}

#[test]
fn tracer_sees_nothing_of_itself_or_of_other_tracers() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    let mut second = Watcher::new(&mut pair.world);
    watcher.all(&mut pair.world);
    second.all(&mut pair.world);
    let send = pair.world.give(pair.server, pair.port, 20, watcher.lane);
    pair.world.send(watcher.lane, send, b"mine");
    assert!(watcher.read(&mut pair.world).is_empty() && second.read(&mut pair.world).is_empty());
    pair.poll();
    pair.post(b"mail");
    for one in [&mut watcher, &mut second] {
        assert_eq!(one.read_kinds(&mut pair.world), [trace::SENT]);
    }
}

#[test]
fn route_of_a_tracer_ends_when_its_own_trace_does_and_another_goes_on() {
    let (mut pair, _) = Pair::routed();
    let answer = pair.world.ok(pair.client, Request::HostControl(control::HostControl {}));
    let host = answer::HostControl::take(&answer.fields).unwrap().name;
    let port = pair.world.port(pair.client);
    let send = pair.world.give(pair.client, port, 20, pair.client);
    let own = HostTrace { host, port: send, flags: 0, first: 0, last: 1, preview: 0, tasks: 0, who: &[] };
    let own = id_of(&pair.world.call(pair.client, Request::HostTrace(own)));
    let watcher = Watcher::new(&mut pair.world);
    watcher.all(&mut pair.world);
    pair.world.check();
    assert_eq!(pair.end(), (None, false), "a tracer's route is nobody's business");
    let end = HostTraceEnd { host, trace: own };
    pair.world.ok(pair.client, Request::HostTraceEnd(end));
    pair.world.check();
    assert_eq!(pair.end(), (Some(umach_abi::records::undelivered::KEEP), true));
}

#[test]
fn tracer_that_does_not_read_costs_its_own_room_and_is_told_what_it_missed() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    watcher.all(&mut pair.world);
    let bytes = simple(pair.send, &[7; 200]);
    let mut sent = 0u64;
    // Two megabytes of records: more than is kept.
    for _ in 0..9000 {
        assert_eq!(pair.world.call(pair.client, msg(Options::SEND, Name::NULL, &bytes)).status, Code::SUCCESS);
        pair.world.poll(pair.server, pair.port);
        clocks_unchecked(&mut pair.world);
        sent += 1;
    }
    pair.world.check();
    let kinds = watcher.read_kinds(&mut pair.world);
    assert!(watcher.lost > 0);
    assert_eq!(kinds.len() as u64 + watcher.lost, 2 * sent);
    pair.post(b"mail");
    assert_eq!(watcher.read_kinds(&mut pair.world), [trace::SENT], "there is room again");
}

fn clocks_unchecked(world: &mut World) {
    let asks = |effect: &Effect| *effect == Effect::ReadClocks;
    while world.effects.iter().any(asks) {
        world.effects.retain(|effect| !asks(effect));
        world.core.clocks_read(Clocks::default(), &mut world.effects);
    }
}

#[test]
fn trace_takes_the_hosts_control_right_and_a_place() {
    let (mut pair, watcher) = traced(Direct::Off);
    // The host right is no control right, a null port is none, and a filter has whole ids.
    let answer = pair.world.ok(pair.client, Request::TaskGetSpecialPort(control::TaskGetSpecialPort { task: Name::NULL, which: 2 }));
    let host = answer::TaskGetSpecialPort::take(&answer.fields).unwrap().name;
    let refused = HostTrace { host, port: pair.send, ..watcher.request(0, &[]) };
    assert_eq!(pair.world.call(pair.client, Request::HostTrace(refused)).status, Code::KERN_INVALID_HOST);
    for (request, code) in [
        (HostTrace { port: Name::NULL, ..watcher.request(0, &[]) }, Code::KERN_INVALID_NAME),
        (HostTrace { port: watcher.host, ..watcher.request(0, &[]) }, Code::KERN_INVALID_CAPABILITY),
        (watcher.request(0, &[1; 7]), Code::KERN_INVALID_ARGUMENT),
        (watcher.request(2, &[1; 8]), Code::KERN_INVALID_ARGUMENT),
        (HostTrace { first: 2, last: 1, ..watcher.request(0, &[]) }, Code::KERN_INVALID_ARGUMENT),
    ] {
        assert_eq!(pair.world.call(watcher.lane, Request::HostTrace(request)).status, code, "{request:?}");
        pair.world.check();
    }
    let traces: Vec<u64> = (0..TRACES_MAX).map(|_| watcher.all(&mut pair.world)).collect();
    assert_eq!(watcher.begin(&mut pair.world, 0, &[]).status, Code::KERN_RESOURCE_SHORTAGE);
    assert_eq!(watcher.end(&mut pair.world, traces[2]).status, Code::SUCCESS);
    assert_eq!(watcher.end(&mut pair.world, traces[2]).status, Code::KERN_NOT_FOUND);
    watcher.all(&mut pair.world);
    pair.world.check();
}

#[test]
fn trace_ends_with_its_port_and_with_its_owner() {
    let (mut pair, watcher) = traced(Direct::Always);
    watcher.all(&mut pair.world);
    pair.post(b"mail");
    assert!(!pair.granted());
    pair.world.ok(watcher.lane, Request::PortDestroy(control::PortDestroy { task: Name::NULL, name: watcher.port }));
    pair.world.finish();
    assert!(!pair.world.core.traces.is_on());
    pair.poll();
    let second = Watcher::new(&mut pair.world);
    second.all(&mut pair.world);
    pair.post(b"mail");
    assert!(!pair.granted());
    pair.kill(second.lane);
    assert!(!pair.world.core.traces.is_on());
    pair.poll();
    pair.post(b"mail");
    assert!(pair.granted());
}

#[test]
fn death_of_a_task_is_told_to_those_who_know_it() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    watcher.all(&mut pair.world);
    let unknown = pair.world.task();
    pair.post(b"mail");
    pair.poll();
    let client = task_of(&pair.world, pair.client);
    pair.kill(unknown);
    pair.kill(pair.client);
    let told = watcher.read(&mut pair.world);
    let last = told.last().unwrap().row;
    assert_eq!((last.kind, last.sender), (trace::ENDED, client));
    assert_eq!(told.iter().filter(|seen| seen.row.kind == trace::ENDED).count(), 1);
}

#[test]
fn label_that_changes_is_told_with_the_next_message() {
    let (mut pair, mut watcher) = traced(Direct::Off);
    watcher.all(&mut pair.world);
    for label in ["first", "second"] {
        let request = control::TaskSetLabel { task: Name::NULL, label: label.as_bytes() };
        pair.world.ok(pair.client, Request::TaskSetLabel(request));
        pair.post(b"mail");
        pair.poll();
        let told = watcher.read(&mut pair.world);
        let named = told.iter().find(|seen| seen.row.kind == trace::TASK && seen.preview == label.as_bytes());
        assert_eq!(named.unwrap().row.sender, task_of(&pair.world, pair.client));
    }
}
