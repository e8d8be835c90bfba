//! Short plays on the core, one for each thing that went wrong once or is easily got wrong. The model test covers the breadth.

use umach_abi::control::{self, Call, Head, Reply, Request, answer, phase};
use umach_abi::message::{self, COMPLEX, Descriptor, Header, Options};
use umach_abi::notify::Notification;
use umach_abi::records::{Frame, HeldRow, WaitRow, held, kobject, wait};
use umach_abi::rights::special;
use umach_abi::{Code, Features, Name, RightKind, TypeBits, VERSION};

use super::*;

struct World {
    core: Core,
    effects: Effects,
}

struct Answer {
    status: Code,
    fields: Vec<u8>,
}

impl Answer {
    fn message(&self) -> &[u8] {
        let frame = Frame::read(&self.fields).expect("a frame");
        &self.fields[Frame::SIZE..][..frame.size as usize]
    }
}

impl World {
    fn new() -> World {
        let config =
            Config { pid: 1, features: Features::empty(), limits: Limits::default(), direct: Direct::Off, machine: Machine::default() };
        World { core: Core::new(config), effects: Effects::new() }
    }
    fn task(&mut self) -> LaneId {
        let lane = self.core.connect(Peer { pid: 7, uid: 1, gid: 1 }, true).unwrap();
        self.ok(lane, Request::Hello(control::Hello { version: VERSION, features: 0 }));
        lane
    }
    fn start(&mut self, lane: LaneId, request: Request<'_>) {
        let head = Head { op: request.op(), attached: 0, seq: 9, status: Code(0) };
        self.core.request(lane, head, &request, &mut self.effects).unwrap();
        self.core.check().unwrap();
    }
    fn answer(&mut self, wanted: LaneId) -> Option<Answer> {
        let at = self.effects.iter().position(|effect| matches!(effect, Effect::Answer { lane, .. } if *lane == wanted))?;
        let Effect::Answer { packet, .. } = self.effects.remove(at) else { unreachable!() };
        let (head, fields) = Head::read(&packet).unwrap();
        Some(Answer { status: head.status, fields: fields.to_vec() })
    }
    fn call(&mut self, lane: LaneId, request: Request<'_>) -> Answer {
        self.start(lane, request);
        self.answer(lane).expect("answered at once")
    }
    fn ok(&mut self, lane: LaneId, request: Request<'_>) -> Answer {
        let answer = self.call(lane, request);
        assert_eq!(answer.status, Code::SUCCESS);
        answer
    }
    fn port(&mut self, lane: LaneId) -> Name {
        let right = RightKind::Receive as u32;
        let answer = self.ok(lane, Request::PortAllocate(control::PortAllocate { task: Name::NULL, right, name: Name::NULL }));
        answer::PortAllocate::take(&answer.fields).unwrap().name
    }
    /// Gives `to` a send right to `lane`'s port.
    fn grant(&mut self, lane: LaneId, port: Name, to: LaneId) -> Name {
        let target = self.core.tasks[self.core.task_of(to).unwrap().0].control;
        let me = self.core.task_of(lane).unwrap();
        let control = self.core.give_send(me, target).unwrap();
        self.core.effects.clear();
        let name = Name::new(5000, 3);
        let request = control::PortInsertRight { task: control, name, right: port, disposition: 20 };
        self.ok(lane, Request::PortInsertRight(request));
        name
    }
    fn space(&mut self, lane: LaneId) -> usize {
        self.core.tasks[self.core.task_of(lane).unwrap().0].space.len()
    }
}

fn msg<'a>(options: Options, receive: Name, bytes: &'a [u8]) -> Request<'a> {
    Request::Msg(control::Msg {
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

fn simple(remote: Name, disposition: u8, id: i32) -> Vec<u8> {
    Header { bits: Header::make_bits(disposition, 0, false), remote, id, ..Header::default() }.to_bytes().to_vec()
}

fn carrying(remote: Name, disposition: u8, name: Name, how: u8) -> Vec<u8> {
    let header = Header { bits: Header::make_bits(disposition, 0, true), remote, id: 1, ..Header::default() };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    Descriptor::Port { name, disposition: how }.push(&mut bytes);
    bytes
}

#[test]
fn message_reaches_a_waiting_receiver_in_one_answer() {
    let mut world = World::new();
    let (server, client) = (world.task(), world.task());
    let port = world.port(server);
    let send = world.grant(server, port, client);
    world.start(server, msg(Options::RCV, port, &[]));
    assert!(world.answer(server).is_none());
    assert_eq!(world.call(client, msg(Options::SEND, Name::NULL, &simple(send, 19, 42))).status, Code::SUCCESS);
    let got = world.answer(server).unwrap();
    let header = Header::read(got.message()).unwrap();
    assert_eq!((header.id, header.local), (42, port));
}

#[test]
fn sixth_message_blocks_until_one_is_received() {
    let mut world = World::new();
    let (server, client) = (world.task(), world.task());
    let port = world.port(server);
    let send = world.grant(server, port, client);
    for id in 0..5 {
        world.ok(client, msg(Options::SEND, Name::NULL, &simple(send, 19, id)));
    }
    world.start(client, msg(Options::SEND, Name::NULL, &simple(send, 19, 5)));
    assert!(world.answer(client).is_none());
    world.ok(server, msg(Options::RCV, port, &[]));
    assert_eq!(world.answer(client).unwrap().status, Code::SUCCESS);
    world.start(client, msg(Options::SEND, Name::NULL, &simple(send, 19, 6)));
    world.start(client, Request::Cancel(control::Cancel { seq: 9, phases: phase::SEND, interrupted: 0 }));
    let back = world.answer(client).unwrap();
    assert_eq!(back.status, Code::MACH_SEND_TIMED_OUT);
    assert_eq!(Header::read(back.message()).unwrap().remote, send);
}

#[test]
fn rights_on_their_way_and_waiting_threads_are_shown() {
    let mut world = World::new();
    let (server, client) = (world.task(), world.task());
    let (port, kept) = (world.port(server), world.port(client));
    let send = world.grant(server, port, client);
    let host = answer::HostControl::take(&world.ok(client, Request::HostControl(control::HostControl {})).fields).unwrap().name;
    let held = |world: &mut World, what| {
        let answer = world.ok(client, Request::HostHeld(control::HostHeld { host, what, start: 0 }));
        let answer = answer::HostHeld::take(&answer.fields).unwrap();
        assert_eq!(answer.next, 0);
        HeldRow::all(answer.rows).collect::<Vec<_>>()
    };
    let (queue, subject) = {
        let id = |world: &World, lane, name| {
            let task = world.core.task_of(lane).unwrap();
            world.core.ports.iter().find(|(_, port)| port.receiver == port::Receiver::Space(task, name)).unwrap().0.to_raw()
        };
        (id(&world, server, port), id(&world, client, kept))
    };
    assert_eq!(held(&mut world, 1), []);
    world.ok(client, msg(Options::SEND, Name::NULL, &carrying(send, 19, kept, 20)));
    let sender = world.core.task_of(client).unwrap().to_raw();
    let row = HeldRow { place: held::BODY, kind: TypeBits::SEND.bits(), holder: queue, object: subject, sender, kobject: kobject::NONE };
    assert_eq!(held(&mut world, 1), [row]);
    world.ok(client, Request::TaskSetSpecialPort(control::TaskSetSpecialPort { task: Name::NULL, which: special::BOOTSTRAP, right: send }));
    let row =
        HeldRow { place: held::BOOTSTRAP, kind: TypeBits::SEND.bits(), holder: sender, object: queue, sender: 0, kobject: kobject::NONE };
    assert_eq!(held(&mut world, 2), [row]);
    world.ok(server, msg(Options::RCV, port, &[]));
    assert_eq!(held(&mut world, 1), []);
    assert_eq!(world.call(client, Request::HostHeld(control::HostHeld { host, what: 3, start: 0 })).status, Code::KERN_INVALID_ARGUMENT);

    world.start(server, msg(Options::RCV, port, &[]));
    let answer = world.ok(client, Request::HostWaits(control::HostWaits { host, start: 0 }));
    let rows: Vec<WaitRow> = WaitRow::all(answer::HostWaits::take(&answer.fields).unwrap().rows).collect();
    assert_eq!(rows, [WaitRow { task: world.core.task_of(server).unwrap().to_raw(), what: wait::RECEIVE, object: queue }]);
}

#[test]
fn more_rights_than_a_page_holds_come_in_several() {
    const COUNT: u32 = 600;
    let mut world = World::new();
    let task = world.task();
    let port = world.port(task);
    let host = answer::HostControl::take(&world.ok(task, Request::HostControl(control::HostControl {})).fields).unwrap().name;
    let header = Header { bits: Header::make_bits(20, 0, true), remote: port, id: 1, ..Header::default() };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&COUNT.to_le_bytes());
    (0..COUNT).for_each(|_| Descriptor::Port { name: port, disposition: 20 }.push(&mut bytes));
    world.ok(task, msg(Options::SEND, Name::NULL, &bytes));
    let (mut start, mut pages, mut rows) = (0, 0, 0);
    loop {
        let answer = world.ok(task, Request::HostHeld(control::HostHeld { host, what: 1, start }));
        let answer = answer::HostHeld::take(&answer.fields).unwrap();
        pages += 1;
        rows += HeldRow::all(answer.rows).count();
        start = answer.next;
        if start == 0 {
            break;
        }
    }
    assert_eq!((pages, rows), (3, COUNT as usize));
}

#[test]
fn death_of_a_task_tells_holders_of_its_rights() {
    let mut world = World::new();
    let (server, client) = (world.task(), world.task());
    let port = world.port(server);
    let send = world.grant(server, port, client);
    let notify = world.port(client);
    world.ok(
        client,
        Request::PortRequestNotification(control::PortRequestNotification {
            task: Name::NULL,
            name: send,
            id: umach_abi::notify::DEAD_NAME as u32,
            sync: 0,
            notify,
            disposition: 21,
        }),
    );
    world.start(client, msg(Options::RCV, notify, &[]));
    let dead = world.core.task_of(server).unwrap();
    world.core.end_task(dead, &mut world.effects);
    while world.core.work(1, &mut world.effects) {
        world.core.check().unwrap();
    }
    let got = world.answer(client).unwrap();
    assert_eq!(Notification::parse(got.message()), Some(Notification::DeadName(send)));
    assert!(world.effects.contains(&Effect::TaskGone(dead)));
    world.core.check().unwrap();
}

#[test]
fn receive_right_sent_to_itself_ends_quietly() {
    let mut world = World::new();
    let task = world.task();
    let port = world.port(task);
    let names = world.space(task);
    assert_eq!(world.call(task, msg(Options::SEND, Name::NULL, &carrying(port, 20, port, 16))).status, Code::SUCCESS);
    world.core.work(usize::MAX, &mut world.effects);
    world.core.check().unwrap();
    assert_eq!((world.space(task), world.core.mails.len()), (names - 1, 0));
}

#[test]
fn bad_right_in_the_body_ends_what_came_before_it() {
    let mut world = World::new();
    let task = world.task();
    let (dest, carried) = (world.port(task), world.port(task));
    let mut bytes = carrying(dest, 20, carried, 16);
    bytes[24..28].copy_from_slice(&2u32.to_le_bytes());
    Descriptor::Port { name: Name(0x7f_ff03), disposition: 17 }.push(&mut bytes);
    let status = world.call(task, msg(Options::SEND, Name::NULL, &bytes)).status;
    assert_eq!(status, Code::MACH_SEND_INVALID_RIGHT);
    world.core.work(usize::MAX, &mut world.effects);
    world.core.check().unwrap();
    let kind = world.call(task, Request::PortType(control::PortType { task: Name::NULL, name: carried }));
    assert_eq!(kind.status, Code::KERN_INVALID_NAME);
    assert_eq!(message::u32_at(&bytes, 0).unwrap() & COMPLEX, COMPLEX);
    assert_eq!(control::PortType::OP, 27);
}

#[test]
fn wait_for_a_semaphore_ends_with_cancel_and_with_its_task() {
    let mut world = World::new();
    let (a, b) = (world.task(), world.task());
    let created = world.ok(a, Request::SemaphoreCreate(control::SemaphoreCreate { task: Name::NULL, policy: 0, value: 0 }));
    let semaphore = answer::SemaphoreCreate::take(&created.fields).unwrap().semaphore;
    let wait = |semaphore, flags| Request::SemaphoreWait(control::SemaphoreWait { semaphore, signal: Name::NULL, flags, thread: 0 });
    for (interrupted, code) in [(0, Code::KERN_OPERATION_TIMED_OUT), (1, Code::KERN_ABORTED)] {
        world.start(a, wait(semaphore, 0));
        world.start(a, Request::Cancel(control::Cancel { seq: 9, phases: phase::SEND, interrupted }));
        assert!(world.answer(a).is_none(), "it is no send");
        world.start(a, Request::Cancel(control::Cancel { seq: 9, phases: phase::RECEIVE, interrupted }));
        assert_eq!(world.answer(a).unwrap().status, code);
    }
    let (owner, other) = (world.core.task_of(a).unwrap(), world.core.task_of(b).unwrap());
    let port = world.core.tasks[owner.0].space.get(semaphore).unwrap().port().unwrap();
    let theirs = world.core.give_send(other, port).unwrap();
    world.core.effects.clear();
    world.start(b, wait(theirs, 0));
    world.core.hang_up(b, &mut world.effects);
    world.core.check().unwrap();
    // The signal goes to nobody that is gone: it counts.
    world.ok(a, Request::SemaphoreSignal(control::SemaphoreSignal { semaphore, flags: 0, thread: 0 }));
    world.ok(a, wait(semaphore, control::semaphore_flags::TRY));
    // The end of the owner, with a thread of another task's waiting.
    let c = world.task();
    let third = world.core.task_of(c).unwrap();
    let theirs = world.core.give_send(third, port).unwrap();
    world.core.effects.clear();
    world.start(c, wait(theirs, 0));
    world.core.end_task(owner, &mut world.effects);
    world.core.check().unwrap();
    let signal = Request::SemaphoreSignal(control::SemaphoreSignal { semaphore: theirs, flags: 0, thread: 0 });
    while world.core.work(1, &mut world.effects) {
        world.core.check().unwrap();
    }
    assert_eq!(world.answer(c).unwrap().status, Code::KERN_TERMINATED);
    assert_eq!(world.call(c, signal).status, Code::KERN_TERMINATED);
}

#[test]
fn alarms_come_in_the_order_of_their_times_and_go_with_their_task() {
    let mut world = World::new();
    world.core.config.features.insert(Features::PROCESSES);
    let (a, b) = (world.task(), world.task());
    let (receiver, owner) = (world.core.task_of(a).unwrap(), world.core.task_of(b).unwrap());
    let port = world.port(a);
    let second = std::time::Duration::from_secs;
    let set = |world: &mut World, at: u32| {
        let right = world.core.take(receiver, port, umach_abi::Disposition::MakeSendOnce, false).unwrap();
        world.core.new_alarm(owner, 0, [at, 0], right).unwrap();
        world.effects.append(&mut world.core.effects);
        world.core.check().unwrap();
    };
    let armed = |world: &mut World, now: u64| {
        world.core.clocks_read(Clocks { system: second(now), ..Clocks::default() }, &mut world.effects);
        world.core.check().unwrap();
        world.effects.drain(..).filter_map(|effect| if let Effect::Alarm(at) = effect { Some(at) } else { None }).next_back()
    };
    let id = |world: &mut World| Header::read(world.call(a, msg(Options::RCV, port, &[])).message()).unwrap().id;
    set(&mut world, 10);
    assert_eq!(armed(&mut world, 5), Some(Some(second(10))));
    set(&mut world, 7);
    set(&mut world, 20);
    assert_eq!(armed(&mut world, 5), Some(Some(second(7))));
    assert_eq!(armed(&mut world, 6), None, "nothing has changed");
    world.core.alarm_due(&mut world.effects);
    assert!(world.effects.contains(&Effect::ReadClocks));
    assert_eq!(armed(&mut world, 11), Some(Some(second(20))));
    for _ in 0..2 {
        assert_eq!(id(&mut world), 3_125_107);
    }
    world.core.end_task(owner, &mut world.effects);
    assert!(world.effects.contains(&Effect::Alarm(None)));
    while world.core.work(1, &mut world.effects) {
        world.core.check().unwrap();
    }
    assert_eq!(id(&mut world), umach_abi::notify::SEND_ONCE);
}
