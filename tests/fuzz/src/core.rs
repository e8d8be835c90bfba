//! Whatever tasks ask the core for: requests of the control protocol with any fields, messages to K's own ports and to others with any descriptors, tasks that come and
//! go, time that passes, things that the outside could not make. After each step the whole state is sound; each lane is owed one answer at most, which fits a
//! packet; and nothing is left when the last task has gone.
//!
//! The input chooses among what there is (names, lanes, links, regions) rather than guessing it.

use std::collections::HashMap;
use std::time::Duration;

use umach_abi::control::{self, HEAD, Head, Request, TABLE, msg_flags};
use umach_abi::limits::PACKET_MAX;
use umach_abi::message::{Descriptor, Header, NDR, Place};
use umach_abi::task_info::Usage;
use umach_abi::{Features, Name, VERSION};
use umach_kernel::core::{
    Attach, Clocks, Config, Core, Direct, Effect, Effects, LaneId, Limits, Machine, Peer, RegionId, TaskId, routine_name,
};

use super::Input;

/// Each input ends soon: the whole state is looked at after each step.
const STEPS: usize = 150;
const TASKS: usize = 4;
/// Numbers and names that a task was told, of which the input takes some.
const KNOWN: usize = 60;

const LIMITS: Limits = Limits {
    task_ports: 40,
    task_names: 80,
    task_queued_bytes: 30_000,
    task_regions: 6,
    task_region_bytes: 1 << 20,
    task_notifications: 12,
    task_lanes: 6,
    task_links: 6,
    task_lane_bytes: 1 << 20,
    user_tasks: 6,
    user_factor: 3,
};

struct Lane {
    id: LaneId,
    /// The request whose answer is still to come.
    pending: Option<u32>,
}

#[derive(Default)]
struct Player {
    lanes: Vec<Lane>,
    known: Vec<u32>,
}

struct Play {
    core: Core,
    effects: Effects,
    players: Vec<Player>,
    /// Which routine has which number.
    routines: Vec<i32>,
    seq: u32,
    now: Duration,
    alarm: Option<Duration>,
    regions: Vec<RegionId>,
    /// So many of the next attachments cannot be made.
    failing: u8,
    came: u32,
}

/// Plays what the input says.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let direct = match input.byte() % 4 {
        0 => Direct::Off,
        1 => Direct::Always,
        2 => Direct::Auto { after: 1 },
        _ => Direct::Random { seed: 7 },
    };
    let config = Config { pid: 1, features: Features::all(), limits: LIMITS, direct, machine: Machine::default() };
    let mut play = Play {
        core: Core::new(config),
        effects: Effects::new(),
        players: Vec::new(),
        routines: ROUTINES.with(Clone::clone),
        seq: 0,
        now: Duration::from_secs(1),
        alarm: None,
        regions: Vec::new(),
        failing: 0,
        came: 0,
    };
    play.join();
    play.join();
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        play.step(&mut input);
    }
    play.core.check().expect("the state is sound");
    // A kernel that ends proves that nothing is left.
}

thread_local! {
    static ROUTINES: Vec<i32> = (0..100_000).filter(|id| routine_name(*id).is_some()).collect();
}

impl Play {
    fn join(&mut self) {
        self.came += 1;
        let peer = Peer { pid: 10 + self.came, uid: self.came % 2, gid: 0 };
        let Ok(lane) = self.core.connect(peer, self.came == 1) else { return };
        self.players.push(Player { lanes: vec![Lane { id: lane, pending: None }], known: vec![0, 1, u32::MAX] });
        let who = self.players.len() - 1;
        self.ask(who, 0, &Request::Hello(control::Hello { version: VERSION, features: Features::all().bits() }));
        // To have somebody to speak to: each with a right to the first one's port.
        let port = control::PortAllocate { task: Name::NULL, right: 1, name: Name::NULL };
        self.ask(who, 0, &Request::PortAllocate(port));
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let what = input.byte();
        match what % 16 {
            13 => self.passes(input),
            14 => self.ends(input),
            15 if self.players.len() < TASKS => self.join(),
            15 => self.failing = input.byte() % 3,
            what => {
                let (who, lane) = (usize::from(input.byte()), usize::from(input.byte()));
                if self.players.is_empty() {
                    return self.join();
                }
                let who = who % self.players.len();
                if self.players[who].lanes.is_empty() {
                    return;
                }
                let lane = lane % self.players[who].lanes.len();
                let mut packet = Vec::new();
                if what < 7 {
                    self.request(who, input, &mut packet)
                } else {
                    self.message(who, input, &mut packet)
                }
                self.send(who, lane, &packet);
            }
        }
    }

    /// A number that the task knows, a small one, or any.
    fn number(&self, who: usize, input: &mut Input<'_>) -> u32 {
        let known = &self.players[who].known;
        match usize::from(input.byte()) {
            at @ 0..=159 => known[at % known.len()],
            at @ 160..=239 => (at - 160) as u32,
            _ => input.word(),
        }
    }

    /// A row of the table, each field with some value.
    fn request(&mut self, who: usize, input: &mut Input<'_>, packet: &mut Vec<u8>) {
        let row = &TABLE[usize::from(input.byte()) % TABLE.len()];
        Head { op: row.op, attached: 0, seq: 0, status: umach_abi::Code(0) }.begin(packet);
        for (_, shape) in row.request {
            match *shape {
                "bytes" => {
                    let count = usize::from(input.byte());
                    for _ in 0..count / 4 {
                        packet.extend_from_slice(&self.number(who, input).to_le_bytes());
                    }
                    packet.extend_from_slice(input.bytes(count % 4));
                }
                "u64" => {
                    // Most are a page or two, or an id that was told.
                    let (low, high) = (self.number(who, input), if input.byte() < 200 { 0 } else { self.number(who, input) });
                    packet.extend_from_slice(&(u64::from(low) | u64::from(high) << 32).to_le_bytes());
                }
                _ => packet.extend_from_slice(&self.number(who, input).to_le_bytes()),
            }
        }
        Head::finish(packet);
    }

    /// A message, and perhaps a receive behind it.
    fn message(&mut self, who: usize, input: &mut Input<'_>, packet: &mut Vec<u8>) {
        let (how, form) = (input.byte(), input.byte());
        let mut bytes = vec![0; 24];
        let descriptors = usize::from(form % 4);
        if descriptors > 0 {
            bytes.extend_from_slice(&(descriptors as u32).to_le_bytes());
        }
        let annex = vec![3; usize::from(form / 4)];
        let address = Place::Annex(0).to_raw();
        for _ in 0..descriptors {
            let (kind, disposition) = (input.byte(), 16 + input.byte() % 8);
            let name = Name(self.number(who, input));
            match kind % 5 {
                0 | 1 => Descriptor::Port { name, disposition },
                2 => Descriptor::Memory { address, deallocate: false, copy: kind / 5 % 4, size: self.number(who, input), volatile: false },
                3 => Descriptor::Ports { address, deallocate: false, copy: 0, disposition, count: u32::from(kind) / 8 },
                _ => Descriptor::Guarded { context: u64::from(self.number(who, input)), flags: u16::from(kind / 5), disposition, name },
            }
            .push(&mut bytes);
        }
        let id = match input.byte() {
            0xff => input.word() as i32,
            at => self.routines[(usize::from(at) + 255 * usize::from(how % 2)) % self.routines.len()],
        };
        if form & 0x80 == 0 {
            bytes.extend_from_slice(&NDR);
        }
        for _ in 0..input.byte() % 12 {
            bytes.extend_from_slice(&self.number(who, input).to_le_bytes());
        }
        let dispositions = [19, 20, 21, 17, 18, 16];
        let local = dispositions[usize::from(how / 4) % 6];
        let (remote, local_name) = (Name(self.number(who, input)), Name(self.number(who, input)));
        let has_local = local_name != Name::NULL;
        let header = Header {
            bits: Header::make_bits(dispositions[usize::from(how / 32) % 6], if has_local { local } else { 0 }, descriptors > 0),
            size: 0,
            remote,
            local: local_name,
            voucher: Name::NULL,
            id,
        };
        bytes[..24].copy_from_slice(&header.to_bytes());
        let options = self.options(input);
        let sends = options & 1 != 0;
        let (send_size, annex) = if sends { (bytes.len() as u32, annex) } else { (0, Vec::new()) };
        let tail = if sends { [&bytes[..], &annex].concat() } else { Vec::new() };
        let request = control::Msg {
            options,
            flags: u32::from(input.byte()) & (msg_flags::TRY_SEND | msg_flags::TRY_RECEIVE),
            receive: Name(self.number(who, input)),
            limit: u32::from(input.byte()) << 8,
            route: 0,
            number: 0,
            count: 1,
            send_size,
            annex: annex.len() as u32,
            tail: &tail,
        };
        Request::Msg(request).encode(0, packet);
    }

    /// Send, receive or both, and at times more.
    fn options(&self, input: &mut Input<'_>) -> u32 {
        let what = input.byte();
        let basic = [1, 1, 2, 3][usize::from(what % 4)];
        if what < 200 { basic | u32::from(what / 4 % 8) << 24 } else { basic | input.word() }
    }

    fn ask(&mut self, who: usize, lane: usize, request: &Request<'_>) {
        let mut packet = Vec::new();
        request.encode(0, &mut packet);
        self.send(who, lane, &packet);
    }

    /// As the shell does it: what is malformed or breaks the rules ends the task. A lane that is owed an answer can give up only.
    fn send(&mut self, who: usize, lane: usize, packet: &[u8]) {
        self.seq += 1;
        let mut seq = self.seq;
        let entry = &self.players[who].lanes[lane];
        let id = entry.id;
        let cancel;
        let (mut head, request) = match (entry.pending, Request::decode(packet)) {
            (_, Err(_)) => return,
            (Some(pending), Ok((_, Request::Cancel(_)))) | (Some(pending), Ok(_)) => {
                seq = pending;
                cancel = control::Cancel { seq, phases: u32::from(packet[HEAD..].first().copied().unwrap_or(3)) & 3, interrupted: 0 };
                (Head { op: Request::Cancel(cancel).op(), attached: 0, seq, status: umach_abi::Code(0) }, Request::Cancel(cancel))
            }
            (None, Ok((_, Request::Cancel(_)))) => return,
            (None, Ok(decoded)) => decoded,
        };
        head.seq = seq;
        if !matches!(request, Request::Cancel(_) | Request::LaneBell(_)) {
            self.players[who].lanes[lane].pending = Some(seq);
        }
        match self.core.request(id, head, &request, &mut self.effects) {
            Ok(()) => {}
            Err(_) => {
                if let Some(task) = self.core.task_of(id) {
                    self.core.end_task(task, &mut self.effects);
                }
            }
        }
        self.carry_out();
    }

    /// Time passes, or work is done, or the outside has looked at something.
    fn passes(&mut self, input: &mut Input<'_>) {
        match input.byte() % 4 {
            0 => {
                self.now += Duration::from_millis(u64::from(input.byte()) * 300);
                if self.alarm.is_some_and(|at| at <= self.now) {
                    self.core.alarm_due(&mut self.effects);
                }
            }
            1 => drop(self.core.work(usize::from(input.byte()), &mut self.effects)),
            2 => {
                if let Some(region) = self.regions.pop() {
                    self.core.seals_checked(region, input.byte() < 200, &mut self.effects);
                }
            }
            _ => {
                let who = usize::from(input.byte()) % self.players.len().max(1);
                let Some(lane) = self.players.get(who).and_then(|player| player.lanes.first()).map(|lane| lane.id) else { return };
                let names: Vec<Name> = (0..input.byte() % 6).map(|_| Name(self.number(who, input))).collect();
                self.core.release_names(lane, &names, &mut self.effects);
            }
        }
        self.carry_out();
    }

    /// A lane or a task ends.
    fn ends(&mut self, input: &mut Input<'_>) {
        let (who, lane, how) = (usize::from(input.byte()), usize::from(input.byte()), input.byte());
        let Some(player) = self.players.get(who % self.players.len().max(1)) else { return };
        let Some(lane) = player.lanes.get(lane % player.lanes.len().max(1)).map(|lane| lane.id) else { return };
        match self.core.task_of(lane) {
            Some(task) if how < 64 => self.core.end_task(task, &mut self.effects),
            _ => self.core.hang_up(lane, &mut self.effects),
        }
        self.forget(lane);
        self.carry_out();
    }

    fn forget(&mut self, lane: LaneId) {
        self.players.iter_mut().for_each(|player| player.lanes.retain(|other| other.id != lane));
    }

    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.effect(effect);
            }
            self.core.check().expect("the state is sound");
        }
        let living: HashMap<LaneId, TaskId> =
            self.players.iter().flat_map(|player| &player.lanes).filter_map(|lane| Some((lane.id, self.core.task_of(lane.id)?))).collect();
        self.players.iter_mut().for_each(|player| player.lanes.retain(|lane| living.contains_key(&lane.id)));
        self.players.retain(|player| !player.lanes.is_empty());
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { lane, packet, attach } => self.answer(lane, &packet, &attach),
            Effect::CheckSeals { region, .. } => self.regions.push(region),
            Effect::ReadClocks => {
                self.core.clocks_read(Clocks { system: self.now, calendar: self.now * 2 }, &mut self.effects);
            }
            Effect::Alarm(at) => {
                self.alarm = at;
                assert!(at.is_none_or(|at| at > self.now), "an alarm for a time that has come");
            }
            Effect::ReadProcess(_) => self.core.process_read(&Usage::default(), &mut self.effects),
            Effect::CloseLane(lane) => self.forget(lane),
            _ => {}
        }
    }

    fn answer(&mut self, lane: LaneId, packet: &[u8], attach: &[Attach]) {
        assert!(packet.len() <= PACKET_MAX, "an answer of {} bytes", packet.len());
        let (head, fields) = Head::read(packet).expect("a readable answer");
        assert_eq!(usize::from(head.attached), attach.len());
        if self.failing > 0
            && let Some(&failed) = attach.last()
        {
            self.failing -= 1;
            return self.core.attach_failed(lane, failed, &mut self.effects);
        }
        let new: Vec<LaneId> =
            attach.iter().filter_map(|attach| if let Attach::NewLane(lane) = attach { Some(*lane) } else { None }).collect();
        let Some(at) = self.players.iter().position(|player| player.lanes.iter().any(|other| other.id == lane)) else { return };
        let player = &mut self.players[at];
        let entry = player.lanes.iter_mut().find(|other| other.id == lane).expect("found before");
        assert_eq!(entry.pending.take(), Some(head.seq), "an answer that nobody waits for");
        for word in fields.chunks_exact(4).take(40).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])) {
            if word > 2 && !player.known.contains(&word) {
                player.known.push(word);
            }
        }
        while player.known.len() > KNOWN {
            // What is known from the beginning stays.
            player.known.remove(12);
        }
        let task = self.core.task_of(lane);
        for lane in new {
            let entry = Lane { id: lane, pending: None };
            if self.core.task_of(lane) == task {
                self.players[at].lanes.push(entry);
            } else if self.players.len() < TASKS {
                // A new task's: somebody says Hello there.
                self.came += 1;
                self.core.identify(lane, Peer { pid: 10 + self.came, uid: 0, gid: 0 });
                self.players.push(Player { lanes: vec![entry], known: vec![0, 1, u32::MAX] });
            } else {
                self.core.hang_up(lane, &mut self.effects);
            }
        }
    }
}
