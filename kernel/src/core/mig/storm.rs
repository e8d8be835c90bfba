//! Random calls as messages, well formed or nearly, by two tasks that hold each other's control rights: the whole state is checked after each.

use proptest::prelude::*;
use umach_abi::control::{self, Head, Reply as _, Request, answer, msg_flags};
use umach_abi::message::{Descriptor, Header, NDR, Options, Place, descriptors, u32_at};
use umach_abi::records::Frame;
use umach_abi::task_info::Usage;
use umach_abi::{Code, Disposition, Features, Name, RightKind, VERSION};

use super::super::{Clocks, Config, Core, Direct, Effect, Effects, LaneId, Limits, Machine, Peer};
use super::routine::{Routine, Want};
use super::table::SUBSYSTEMS;

/// What one step draws on.
#[derive(Debug, Clone, Copy)]
struct Draw {
    who: bool,
    target: u8,
    routine: u16,
    reply: u8,
    form: u8,
    right: u8,
    how: u8,
    args: [u32; 6],
}

fn draw() -> impl Strategy<Value = Draw> {
    let words = (any::<bool>(), any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<[u32; 6]>());
    words.prop_map(|(who, target, routine, reply, form, right, how, args)| Draw { who, target, routine, reply, form, right, how, args })
}

struct Player {
    lane: LaneId,
    /// To call on.
    targets: Vec<Name>,
    /// To speak of.
    names: Vec<Name>,
    reply: Name,
}

struct Play {
    core: Core,
    effects: Effects,
    players: [Player; 2],
}

impl Play {
    fn new() -> Play {
        let limits = Limits { task_ports: 60, task_names: 200, task_queued_bytes: 60_000, ..Limits::default() };
        let config = Config { pid: 1, features: Features::PROCESSES, limits, direct: Direct::Off, machine: Machine::default() };
        let mut core = Core::new(config);
        let player = |core: &mut Core| {
            let lane = core.connect(Peer { pid: 9, uid: 5, gid: 5 }, true).expect("a task");
            Player { lane, targets: Vec::new(), names: vec![Name::NULL, Name::DEAD], reply: Name::NULL }
        };
        let players = [player(&mut core), player(&mut core)];
        let mut play = Play { core, effects: Effects::new(), players };
        for i in 0..2 {
            play.begin(i);
        }
        for i in 0..2 {
            let other = play.core.task_of(play.players[1 - i].lane).expect("alive");
            let control = play.core.tasks[other.0].control;
            let me = play.core.task_of(play.players[i].lane).expect("alive");
            let name = play.core.give_send(me, control).expect("room");
            play.players[i].targets.push(name);
        }
        play
    }

    fn begin(&mut self, i: usize) {
        let fields = self.call(i, Request::Hello(control::Hello { version: VERSION, features: 0 })).expect("hello");
        let hello = answer::Hello::take(&fields).expect("hello");
        self.players[i].targets = vec![hello.task_self, hello.task_self, hello.task_name, hello.host];
        let allocate = control::PortAllocate { task: Name::NULL, right: RightKind::Receive as u32, name: Name::NULL };
        let fields = self.call(i, Request::PortAllocate(allocate)).expect("a port");
        self.players[i].reply = answer::PortAllocate::take(&fields).expect("a name").name;
        let create = control::SemaphoreCreate { task: Name::NULL, policy: 0, value: 1 };
        let fields = self.call(i, Request::SemaphoreCreate(create)).expect("a semaphore");
        self.players[i].targets.push(answer::SemaphoreCreate::take(&fields).expect("a name").semaphore);
    }

    /// The fields of an answer that succeeded; `None` also when the task is gone.
    fn call(&mut self, i: usize, request: Request<'_>) -> Option<Vec<u8>> {
        let lane = self.players[i].lane;
        self.core.task_of(lane)?;
        let head = Head { op: request.op(), attached: 0, seq: 1, status: Code(0) };
        self.core.request(lane, head, &request, &mut self.effects).expect("no violation");
        let mut found = None;
        loop {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::ReadProcess(_) => self.core.process_read(&Usage::default(), &mut self.effects),
                    Effect::ReadClocks => self.core.clocks_read(Clocks::default(), &mut self.effects),
                    Effect::Answer { lane: to, packet, .. } if to == lane => found = Some(packet),
                    _ => {}
                }
            }
            self.core.check().expect("the state is sound");
            if !self.core.work(3, &mut self.effects) && self.effects.is_empty() {
                break;
            }
        }
        let packet = found?;
        let (head, fields) = Head::read(&packet).expect("an answer");
        head.status.is_ok().then(|| fields.to_vec())
    }

    fn send(&mut self, i: usize, options: Options, receive: Name, bytes: &[u8], annex: &[u8]) -> Option<Vec<u8>> {
        let tail = [bytes, annex].concat();
        let (send_size, annex) = (bytes.len() as u32, annex.len() as u32);
        let flags = msg_flags::TRY_SEND | msg_flags::TRY_RECEIVE;
        let options = options.bits();
        let msg = control::Msg { options, flags, receive, limit: 1 << 17, route: 0, number: 0, count: 1, send_size, annex, tail: &tail };
        self.call(i, Request::Msg(msg))
    }

    fn step(&mut self, draw: Draw) {
        let i = usize::from(draw.who);
        let (bytes, annex) = self.message(i, draw);
        let reply = self.players[i].reply;
        self.send(i, Options::SEND, Name::NULL, &bytes, &annex);
        while let Some(fields) = self.send(i, Options::RCV, reply, &[], &[]) {
            self.learn(i, &fields);
        }
    }

    fn message(&self, i: usize, draw: Draw) -> (Vec<u8>, Vec<u8>) {
        let player = &self.players[i];
        let pick = |from: &[Name], at: u32| from.get(at as usize % from.len().max(1)).copied().unwrap_or_default();
        let routines: Vec<&Routine> = SUBSYSTEMS.iter().flat_map(|routines| routines.iter()).filter(|row| row.run.is_ok()).collect();
        let row = routines[draw.routine as usize % routines.len()];
        let word = |at: usize| match draw.args[at % 6] {
            arg if arg % 4 == 0 => pick(&player.names, arg / 4).0,
            arg if arg % 4 == 3 => arg,
            arg => arg / 4 % 24,
        };
        let right = if draw.right < 128 { pick(&player.names, draw.right.into()) } else { pick(&player.targets, draw.right.into()) };
        let how =
            [Disposition::CopySend, Disposition::MakeSend, Disposition::MakeSendOnce, Disposition::MoveReceive, Disposition::MoveSend];
        let mut wants = row.wants.to_vec();
        match draw.form % 16 {
            0 => wants.push(Want::Right),
            1 => drop(wants.pop()),
            _ => {}
        }
        let (mut bytes, annex) = (vec![0; 24], [7u8; 64].to_vec());
        if !wants.is_empty() {
            bytes.extend_from_slice(&(wants.len() as u32).to_le_bytes());
        }
        for want in &wants {
            let disposition = match want {
                Want::SendOnce if draw.how % 8 > 1 => Disposition::MakeSendOnce,
                Want::Send | Want::Sends if draw.how % 8 > 2 => Disposition::CopySend,
                _ => how[draw.how as usize % 5],
            } as u8;
            let address = Place::Annex(0).to_raw();
            match want {
                Want::Send | Want::SendOnce | Want::Right => Descriptor::Port { name: right, disposition },
                Want::Memory => Descriptor::Memory { address, deallocate: false, copy: 0, size: 24, volatile: false },
                Want::Sends => Descriptor::Ports { address, deallocate: false, copy: 0, disposition: 19, count: u32::from(draw.how % 5) },
            }
            .push(&mut bytes);
        }
        if row.fixed > 0 {
            bytes.extend_from_slice(&NDR);
        }
        for at in 0..row.fixed / 4 {
            bytes.extend_from_slice(&word(at).to_le_bytes());
        }
        if let Some((element, _)) = row.array {
            let (count, at) = (draw.args[5] % 18, bytes.len() - 4);
            bytes[at..].copy_from_slice(&count.to_le_bytes());
            bytes.resize((bytes.len() + count as usize * element).next_multiple_of(4), 1);
        }
        match draw.form % 16 {
            2 => bytes.extend_from_slice(&[0; 4]),
            3 => bytes.truncate((bytes.len() - 4).max(24)),
            _ => {}
        }
        let (local, disposition) = match draw.reply % 8 {
            0 => (Name::NULL, 0),
            1 => (pick(&player.targets, draw.reply.into()), Disposition::CopySend as u8),
            _ => (player.reply, Disposition::MakeSendOnce as u8),
        };
        let bits = Header::make_bits(Disposition::CopySend as u8, disposition, !wants.is_empty());
        let remote = pick(&player.targets, draw.target.into());
        let header = Header { bits, size: 0, remote, local, voucher: Name::NULL, id: row.id };
        bytes[..24].copy_from_slice(&header.to_bytes());
        (bytes, annex)
    }

    /// Names that a reply may have brought.
    fn learn(&mut self, i: usize, fields: &[u8]) {
        let Some(frame) = Frame::read(fields) else { return };
        let message = &fields[Frame::SIZE..][..frame.size as usize];
        let Some(header) = Header::read(message) else { return };
        let player = &mut self.players[i];
        if header.is_complex() {
            for (_, descriptor) in descriptors(message) {
                if let Ok(Descriptor::Port { name, .. }) = descriptor {
                    player.names.push(name);
                    player.targets.push(name);
                }
            }
        } else if let Some(word) = u32_at(message, 36) {
            player.names.push(Name(word));
        }
        for list in [&mut player.names, &mut player.targets] {
            if list.len() > 40 {
                list.remove(4);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_as_messages_leave_the_state_sound(draws in proptest::collection::vec(draw(), 1..160)) {
        let mut play = Play::new();
        for draw in draws {
            play.step(draw);
        }
        // A kernel that ends proves that nothing is left.
    }
}
