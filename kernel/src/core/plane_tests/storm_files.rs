//! A storm of open files.

use std::collections::BTreeMap;

use umach_abi::records::{FileRow, file_news};

use super::files::{file_of, with_file};
use super::storm::Rng;
use super::*;

/// A task of the storm.
struct Actor {
    lane: LaneId,
    /// Its ports.
    ports: Vec<Name>,
    /// Its send rights.
    rights: Vec<Name>,
}

/// Tasks that send files to each other's ports, which move and die as the tasks do. Each file is given to one receiver or told void, once; all counts agree
/// after each step.
struct Storm {
    world: World,
    actors: Vec<Actor>,
    rng: Rng,
    /// Files whose messages were sent, by lane and number: to whom the lane leads.
    sent: BTreeMap<(u64, u32), TaskId>,
    lanes: BTreeMap<u64, TaskId>,
    number: u32,
}

impl Storm {
    fn actor(&mut self) {
        let lane = self.world.task();
        self.world.ok(lane, Request::FileInbox(control::FileInbox {}));
        let ports = (0..2).map(|_| self.world.port(lane)).collect();
        self.actors.push(Actor { lane, ports, rights: Vec::new() });
    }
    /// Somebody gets a right to somebody's port.
    fn meet(&mut self) {
        let (from, to) = (self.rng.below(self.actors.len()), self.rng.below(self.actors.len()));
        let Some(&port) = self.actors[from].ports.first() else { return };
        if from != to {
            let right = self.world.give(self.actors[from].lane, port, 20, self.actors[to].lane);
            self.actors[to].rights.push(right);
        }
    }
    fn step(&mut self) {
        let at = self.rng.below(self.actors.len());
        let lane = self.actors[at].lane;
        match self.rng.below(20) {
            0..8 => self.send(at),
            8..14 => self.receive(at),
            14..16 => self.news(at),
            16 => self.meet(),
            17 => self.move_port(at),
            18 if self.rng.one_in(3) => {
                if let Some(name) = self.actors[at].ports.pop() {
                    let request = control::PortModRefs { task: Name::NULL, name, right: RightKind::Receive as u32, delta: -1 };
                    self.world.call(lane, Request::PortModRefs(request));
                    self.world.finish();
                    let port = self.world.port(lane);
                    self.actors[at].ports.push(port);
                }
            }
            19 if self.rng.one_in(10) => {
                let task = self.world.id(lane);
                self.world.core.end_task(task, &mut self.world.effects);
                self.world.finish();
                self.sent.retain(|_, to| *to != task);
                self.actors.remove(at);
                self.actor();
            }
            _ => {}
        }
        self.world.check();
    }
    fn send(&mut self, at: usize) {
        let from = self.actors[at].lane;
        let Some(&name) = self.actors[at].rights.get(self.rng.below(self.actors[at].rights.len().max(1))) else { return };
        let except = if self.rng.one_in(10) { self.lanes.keys().next_back().copied().unwrap_or(0) } else { 0 };
        let answer = self.world.call(from, Request::FileLane(control::FileLane { name, except }));
        if !answer.status.is_ok() {
            return;
        }
        let lane = answer::FileLane::take(&answer.fields).unwrap().lane;
        if let [Attach::NewFileLane { to, .. }] = answer.attach[..] {
            self.lanes.insert(lane, to);
        }
        self.number += 1;
        let bytes = with_file(name, lane, self.number);
        let request = with_flags(msg(Options::SEND, Name::NULL, &bytes), control::msg_flags::TRY_SEND, 0, 0);
        if self.world.call(from, request).status.is_ok() {
            self.sent.insert((lane, self.number), self.lanes[&lane]);
        }
    }
    fn receive(&mut self, at: usize) {
        let lane = self.actors[at].lane;
        for port in self.actors[at].ports.clone() {
            if let Some(message) = self.world.poll(lane, port).message() {
                let Descriptor::File { lane: of, number } = file_of(message) else { panic!("a file") };
                if of != 0 {
                    let to = self.sent.remove(&(of, number)).expect("given once, and not void");
                    assert_eq!(to, self.world.id(lane));
                }
            }
        }
    }
    fn news(&mut self, at: usize) {
        let lane = self.actors[at].lane;
        let answer = self.world.ok(lane, Request::FileNews(control::FileNews {}));
        let told: Vec<FileRow> = FileRow::all(answer::FileNews::take(&answer.fields).unwrap().rows).collect();
        for row in told {
            match row.what {
                file_news::VOID => {
                    let to = self.sent.remove(&(row.lane, row.number)).expect("told once, and not given");
                    assert_eq!(to, self.world.id(lane));
                }
                _ => assert!(self.sent.keys().all(|(of, _)| *of != row.lane), "the lane is over and a file is not told of"),
            }
        }
    }
    fn move_port(&mut self, at: usize) {
        let to = self.rng.below(self.actors.len());
        if to != at
            && let Some(port) = self.actors[at].ports.pop()
        {
            let name = self.world.give(self.actors[at].lane, port, 16, self.actors[to].lane);
            self.actors[to].ports.push(name);
        }
    }
}

#[test]
fn storm_of_files_gives_or_voids_each_once() {
    for seed in 1..=20 {
        let world = World::new(Direct::Off);
        let mut storm = Storm { world, actors: Vec::new(), rng: Rng(seed), sent: Default::default(), lanes: Default::default(), number: 0 };
        (0..4).for_each(|_| storm.actor());
        (0..12).for_each(|_| storm.meet());
        (0..1500).for_each(|_| storm.step());
        // What is left is queued, or waits to be told.
        for at in 0..storm.actors.len() {
            (0..64).for_each(|_| storm.receive(at));
        }
        storm.world.finish();
        (0..storm.actors.len()).for_each(|at| storm.news(at));
        assert!(storm.sent.is_empty(), "seed {seed}: neither given nor told of: {:?}", storm.sent);
        assert!(storm.number > 100, "seed {seed}: hardly anything was sent");
    }
}
