//! File lanes.

use umach_abi::records::{FileLaneRow, FileRow, event, file_news};

use super::*;

/// A server with an inbox and a port, and a client with a send right to it.
struct Play {
    world: World,
    server: LaneId,
    client: LaneId,
    port: Name,
    send: Name,
}

impl Play {
    fn new() -> Play {
        let mut world = World::new(Direct::Off);
        let (server, client) = (world.task(), world.task());
        let inbox = world.ok(server, Request::FileInbox(control::FileInbox {}));
        assert_eq!(inbox.attach, [Attach::FileInbox(world.id(server))]);
        let port = world.port(server);
        let send = world.give(server, port, 20, client);
        Play { world, server, client, port, send }
    }
    fn lane(&mut self, except: u64) -> (u64, Vec<Attach>) {
        let answer = self.world.ok(self.client, Request::FileLane(control::FileLane { name: self.send, except }));
        (answer::FileLane::take(&answer.fields).unwrap().lane, answer.attach)
    }
    fn post(&mut self, lane: u64, number: u32) -> Code {
        let bytes = with_file(self.send, lane, number);
        self.world.call(self.client, msg(Options::SEND, Name::NULL, &bytes)).status
    }
    /// The file descriptor of the message at the head of a port.
    fn take(&mut self, lane: LaneId, port: Name) -> Descriptor {
        let answer = self.world.poll(lane, port);
        self.world.check();
        file_of(answer.message().expect("a message"))
    }
    /// What is told, and that there is something only if an event says so.
    fn news(&mut self, lane: LaneId) -> Vec<(u64, u32, u32)> {
        let told = self.world.kinds(lane).contains(&event::FILES);
        let answer = self.world.ok(lane, Request::FileNews(control::FileNews {}));
        self.world.check();
        let fields = answer::FileNews::take(&answer.fields).unwrap();
        assert_eq!(fields.more, 0);
        let rows: Vec<_> = FileRow::all(fields.rows).map(|row| (row.lane, row.number, row.what)).collect();
        assert_eq!(told, !rows.is_empty());
        rows
    }
    fn kill(&mut self, lane: LaneId) {
        let task = self.world.id(lane);
        self.world.core.end_task(task, &mut self.world.effects);
        self.world.finish();
    }
}

pub(super) fn with_file(remote: Name, lane: u64, number: u32) -> Vec<u8> {
    let header = Header { bits: Header::make_bits(19, 0, true), remote, id: 6, ..Header::default() };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    Descriptor::File { lane, number }.push(&mut bytes);
    bytes
}

pub(super) fn file_of(message: &[u8]) -> Descriptor {
    umach_abi::message::descriptors(message).next().unwrap().1.unwrap()
}

fn file(lane: u64, number: u32) -> Descriptor {
    Descriptor::File { lane, number }
}

#[test]
fn token_goes_from_the_sender_of_a_lane_to_its_receiver() {
    let mut play = Play::new();
    let (lane, attach) = play.lane(0);
    let (id, to) = (FileLaneId::from_raw(lane), play.world.id(play.server));
    assert_eq!(attach, [Attach::NewFileLane { lane: id, to }]);
    assert_eq!(play.lane(0), (lane, vec![]), "the same one, already handed out");
    assert_eq!(play.post(lane, 4), Code::SUCCESS);
    assert_eq!(play.take(play.server, play.port), file(lane, 4));
    // A lane of the client's means nothing from another task; nor does one that never was.
    let third = play.world.task();
    let send = play.world.give(play.server, play.port, 20, third);
    for lane in [lane, 99 << 32] {
        play.world.ok(third, msg(Options::SEND, Name::NULL, &with_file(send, lane, 4)));
        assert_eq!(play.take(play.server, play.port), file(0, 0));
    }
    assert_eq!(play.news(play.server), []);
    let host = play.world.ok(third, Request::HostControl(control::HostControl {}));
    let host = answer::HostControl::take(&host.fields).unwrap().name;
    let rows = play.world.ok(third, Request::HostFileLanes(control::HostFileLanes { host, start: 0 }));
    let row = FileLaneRow::read(answer::HostFileLanes::take(&rows.fields).unwrap().rows).unwrap();
    assert_eq!((row.lane, row.sender, row.receiver, row.queued, row.flags), (lane, play.world.id(play.client).to_raw(), to.to_raw(), 0, 0));
}

#[test]
fn lane_leads_to_who_receives_and_takes_files() {
    let mut play = Play::new();
    let ask = |name| Request::FileLane(control::FileLane { name, except: 0 });
    let third = play.world.task();
    let deaf = play.world.port(third);
    let to_deaf = play.world.give(third, deaf, 20, play.client);
    assert_eq!(play.world.call(play.client, ask(to_deaf)).status, Code::KERN_NOT_SUPPORTED, "no inbox");
    assert_eq!(play.world.call(play.client, ask(Name(0x77703))).status, Code::KERN_INVALID_NAME);
    let again = play.world.call(play.server, Request::FileInbox(control::FileInbox {}));
    assert_eq!(again.status, Code::KERN_NAME_EXISTS);
    play.kill(third);
    assert_eq!(play.world.call(play.client, ask(to_deaf)).status, Code::KERN_INVALID_CAPABILITY);
    // A pair that cannot be made, or an inbox that is full, leaves nothing behind.
    let (lane, attach) = play.lane(0);
    play.world.core.attach_failed(play.client, attach[0], &mut play.world.effects);
    assert_eq!(play.world.answer(play.client).unwrap().status, Code::KERN_RESOURCE_SHORTAGE);
    play.world.check();
    let (other, attach) = play.lane(0);
    assert!(other != lane && attach.len() == 1);
}

#[test]
fn file_whose_message_goes_is_void_and_told_once() {
    let mut play = Play::new();
    let (lane, _) = play.lane(0);
    let (second, third) = (play.world.port(play.server), play.world.task());
    let to_second = play.world.give(play.server, second, 20, play.client);
    play.world.ok(play.client, msg(Options::SEND, Name::NULL, &with_file(to_second, lane, 7)));
    // With its port.
    let drop_port = control::PortModRefs { task: Name::NULL, name: second, right: RightKind::Receive as u32, delta: -1 };
    play.world.ok(play.server, Request::PortModRefs(drop_port));
    play.world.finish();
    assert_eq!(play.post(lane, 8), Code::SUCCESS);
    assert_eq!(play.take(play.server, play.port), file(lane, 8));
    assert_eq!(play.news(play.server), [(lane, 7, file_news::VOID)]);
    assert_eq!(play.news(play.server), []);
    // Received by somebody else.
    assert_eq!(play.post(lane, 9), Code::SUCCESS);
    let moved = play.world.give(play.server, play.port, 16, third);
    assert_eq!(play.take(third, moved), file(0, umach_abi::message::file_lost::MOVED));
    assert_eq!(play.news(play.server), [(lane, 9, file_news::VOID)]);
    // Sent to a port that is somebody else's by now: the same.
    assert_eq!(play.post(lane, 10), Code::SUCCESS);
    assert_eq!(play.take(third, moved), file(0, umach_abi::message::file_lost::MOVED));
    assert_eq!(play.news(play.server), [(lane, 10, file_news::VOID)]);
}

#[test]
fn lane_is_over_when_its_sender_has_ended_and_nobody_can_have_a_file_of_it_unread() {
    let mut play = Play::new();
    let (lane, _) = play.lane(0);
    play.post(lane, 1);
    play.kill(play.client);
    assert_eq!(play.news(play.server), [], "one is queued");
    let reader = play.world.second_lane(play.server);
    assert_eq!(play.take(reader, play.port), file(lane, 1));
    assert_eq!(play.news(play.server), [], "the other thread may be about to take it from the lane");
    play.world.poll(reader, play.port);
    assert_eq!(play.news(play.server), [(lane, 0, file_news::ENDED)]);
    assert!(play.world.core.file_lanes.is_empty());
    play.world.check();
}

#[test]
fn lane_given_up_is_replaced_and_its_files_still_count() {
    let mut play = Play::new();
    let (lane, _) = play.lane(0);
    play.post(lane, 1);
    let (other, attach) = play.lane(lane);
    assert!(other != lane && attach.len() == 1);
    assert_eq!(play.lane(lane), (other, vec![]), "it is the newer one that counts");
    play.post(other, 1);
    play.post(lane, 2);
    for (lane, number) in [(lane, 1), (other, 1), (lane, 2)] {
        assert_eq!(play.take(play.server, play.port), file(lane, number));
    }
    assert_eq!(play.news(play.server), [(lane, 0, file_news::ENDED)]);
    play.post(lane, 3);
    assert_eq!(play.take(play.server, play.port), file(0, 0));
}

#[test]
fn lane_holds_so_many_files_and_the_receiver_makes_room() {
    let mut play = Play::new();
    let (lane, _) = play.lane(0);
    let limits = control::PortSetAttributes { task: Name::NULL, name: play.port, flavor: 1, info: &200u32.to_le_bytes() };
    play.world.ok(play.server, Request::PortSetAttributes(limits));
    let most = umach_abi::limits::LANE_FILES_MAX as u32;
    for number in 0..most {
        assert_eq!(play.post(lane, number), Code::SUCCESS);
    }
    assert_eq!(play.post(lane, most), Code::MACH_SEND_NO_BUFFER);
    assert_eq!(play.take(play.server, play.port), file(lane, 0));
    assert_eq!(play.post(lane, most), Code::SUCCESS);
    // Void ones take room until the receiver has asked.
    let drop_port = control::PortModRefs { task: Name::NULL, name: play.port, right: RightKind::Receive as u32, delta: -1 };
    play.world.ok(play.server, Request::PortModRefs(drop_port));
    play.world.finish();
    play.port = play.world.port(play.server);
    play.send = play.world.give(play.server, play.port, 20, play.client);
    assert_eq!(play.post(lane, most + 1), Code::MACH_SEND_NO_BUFFER);
    assert_eq!(play.news(play.server).len(), most as usize);
    assert_eq!(play.post(lane, most + 1), Code::SUCCESS);
    play.kill(play.server);
    assert!(play.world.core.file_lanes.is_empty());
}

#[test]
fn file_of_a_message_handed_back_is_the_senders_again() {
    let mut play = Play::new();
    let (lane, _) = play.lane(0);
    for number in 1..6 {
        assert_eq!(play.post(lane, number), Code::SUCCESS);
    }
    let bytes = with_file(play.send, lane, 6);
    let tried = play.world.call(play.client, with_flags(msg(Options::SEND, Name::NULL, &bytes), control::msg_flags::TRY_SEND, 0, 0));
    assert_eq!(tried.status, Code::MACH_SEND_TIMED_OUT);
    assert!(tried.message().is_some());
    play.world.check();
    let row = play.world.core.file_lanes.get(FileLaneId::from_raw(lane).0).unwrap();
    assert_eq!((row.queued, row.void), (5, 0));
    assert_eq!(play.news(play.server), []);
}
