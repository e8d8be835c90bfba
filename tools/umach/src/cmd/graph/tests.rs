//! Reachability against a search through every state that such a system can get into, and what the pictures must have in them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::{Holder, Kind, Model, Place, Port, Right, Task};
use super::picture::Picture;
use super::reach::{path, reach};
use super::svg::to_svg;
use super::text::to_text;
use crate::text::Paint;

const TASKS: u64 = 3;
const PORTS: u64 = 4;

/// Ports 1 to 4 are ordinary ones, 11 to 13 control the tasks 1 to 3.
fn model(receivers: &[Holder], rights: &[(Holder, u64, bool)]) -> Model {
    let mut model = Model::default();
    for task in 1..=TASKS {
        model.tasks.insert(task, Task { label: format!("task {task}"), pid: task as u32 });
        model.ports.insert(10 + task, Port { kind: "task", controls: Some(task), ..Port::default() });
    }
    let right = |holder, kind, port| {
        let place = if matches!(holder, Holder::Task(_)) { Place::Space } else { Place::Body };
        Right { holder, place, kind, port, name: 0, references: 1, link: None }
    };
    for (number, holder) in receivers.iter().enumerate() {
        model.ports.insert(number as u64 + 1, Port { kind: "port", ..Port::default() });
        model.rights.push(right(*holder, Kind::Receive, number as u64 + 1));
    }
    model.rights.extend(rights.iter().map(|(holder, port, once)| right(*holder, if *once { Kind::Once } else { Kind::Send }, *port)));
    model
}

/// A state of the system, with every right where it is. `asks` are tasks whom the source can ask again, since they have answered it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// Of each port.
    receivers: BTreeMap<u64, Holder>,
    sends: BTreeSet<(Holder, u64)>,
    onces: BTreeSet<(Holder, u64)>,
    asks: BTreeSet<u64>,
}

impl State {
    fn of(model: &Model) -> State {
        let pick = |kind| model.rights.iter().filter(move |right| right.kind == kind).map(|right| (right.holder, right.port));
        State {
            receivers: pick(Kind::Receive).map(|(holder, port)| (port, holder)).collect(),
            sends: pick(Kind::Send).collect(),
            onces: pick(Kind::Once).collect(),
            asks: BTreeSet::new(),
        }
    }
    fn reaches(&self, from: u64, to: u64) -> bool {
        let rights = self.sends.iter().chain(&self.onces).filter(|(holder, _)| *holder == Holder::Task(from));
        let leads = |port: &u64| *port == 10 + to || self.receivers.get(port) == Some(&Holder::Task(to));
        from == to || self.asks.contains(&to) || rights.map(|(_, port)| port).any(leads)
    }
    /// All that a message at `port` holds comes into the task's space.
    fn received(&self, task: u64, port: u64) -> State {
        let (queue, task) = (Holder::Queue(port), Holder::Task(task));
        let place = |holder: &Holder| if *holder == queue { task } else { *holder };
        let moved = |rights: &BTreeSet<(Holder, u64)>| rights.iter().map(|(holder, port)| (place(holder), *port)).collect();
        State {
            receivers: self.receivers.iter().map(|(port, holder)| (*port, place(holder))).collect(),
            sends: moved(&self.sends),
            onces: moved(&self.onces),
            asks: self.asks.clone(),
        }
    }
    /// What `giver` may hand to `taker`, one right at a time: copies of send rights, the others moved.
    fn handed(&self, giver: u64, taker: u64) -> Vec<State> {
        let (from, to) = (Holder::Task(giver), Holder::Task(taker));
        let mut all = Vec::new();
        for (_, port) in self.sends.iter().filter(|(holder, _)| *holder == from) {
            let mut next = self.clone();
            next.sends.insert((to, *port));
            all.push(next);
        }
        for right @ (_, port) in self.onces.iter().filter(|(holder, _)| *holder == from) {
            let mut next = self.clone();
            next.onces.remove(right);
            next.onces.insert((to, *port));
            all.push(next);
        }
        for port in self.receivers.iter().filter(|(_, holder)| **holder == from).map(|(port, _)| *port) {
            let mut next = self.clone();
            next.receivers.insert(port, to);
            all.push(next);
            // A right can be made of it, too.
            let mut next = self.clone();
            next.sends.insert((to, port));
            all.push(next);
        }
        all
    }
    /// Every state that is one step away while `source` asks around.
    fn next(&self, source: u64) -> Vec<State> {
        let mut all = Vec::new();
        for (port, holder) in &self.receivers {
            if let Holder::Task(task) = holder {
                all.push(self.received(*task, *port));
            }
        }
        let mut able = self.asks.clone();
        let receiver = |port: &u64| match self.receivers.get(port) {
            Some(Holder::Task(task)) => Some(*task),
            _ => None,
        };
        for (holder, port) in &self.sends {
            if *holder == Holder::Task(source) {
                able.extend(receiver(port));
                able.extend(port.checked_sub(10).filter(|task| *task > 0));
            }
        }
        for right @ (holder, port) in &self.onces {
            if let (Holder::Task(task), Some(server)) = (holder, receiver(port))
                && *task == source
            {
                // One message, and the answer to it has a right to go on with.
                let mut next = self.clone();
                next.onces.remove(right);
                next.asks.insert(server);
                all.push(next);
            }
        }
        all.extend(able.into_iter().flat_map(|giver| self.handed(giver, source)));
        all
    }
}

/// Whether some state in which the source has reached the goal can be got into; `None` if there are too many to tell.
fn search(model: &Model, source: u64, goal: u64) -> Option<bool> {
    const MOST: usize = 20_000;
    let first = State::of(model);
    let (mut seen, mut queue) = (BTreeSet::from([first.clone()]), vec![first]);
    while let Some(state) = queue.pop() {
        if state.reaches(source, goal) {
            return Some(true);
        }
        if seen.len() > MOST {
            return None;
        }
        for next in state.next(source) {
            if seen.insert(next.clone()) {
                queue.push(next);
            }
        }
    }
    Some(false)
}

fn holder() -> impl Strategy<Value = Holder> {
    prop_oneof![3 => (1..=TASKS).prop_map(Holder::Task), 1 => (1..=PORTS).prop_map(Holder::Queue)]
}

fn systems() -> impl Strategy<Value = Model> {
    let port = prop_oneof![6 => 1..=PORTS, 1 => 11..=10 + TASKS];
    let right = (holder(), port, any::<bool>()).prop_map(|(holder, port, once)| (holder, port, once && port <= PORTS));
    (prop::collection::vec(holder(), PORTS as usize), prop::collection::vec(right, 0..5))
        .prop_map(|(receivers, rights)| model(&receivers, &rights))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn closure_is_what_a_search_through_all_states_finds(model in systems(), source in 1..=TASKS, goal in 1..=TASKS) {
        let reached = reach(&model, &BTreeSet::from([source]), false);
        if let Some(found) = search(&model, source, goal) {
            prop_assert_eq!(reached.contains_key(&goal), found, "{:?}", model.rights);
        }
    }

    #[test]
    fn path_goes_from_the_source_to_the_goal(model in systems(), source in 1..=TASKS, unasked in any::<bool>()) {
        let reached = reach(&model, &BTreeSet::from([source]), unasked);
        for goal in reached.keys() {
            let steps = path(&reached, *goal);
            let mut at = source;
            for step in &steps {
                prop_assert_eq!(step.from, at);
                at = step.to;
            }
            prop_assert_eq!(at, *goal);
        }
    }

    #[test]
    fn unasked_goes_both_ways_and_reaches_no_less(model in systems()) {
        for source in 1..=TASKS {
            let of = |task| reach(&model, &BTreeSet::from([task]), true);
            let more = of(source);
            prop_assert!(reach(&model, &BTreeSet::from([source]), false).keys().all(|task| more.contains_key(task)));
            prop_assert!(more.keys().all(|task| of(*task).contains_key(&source)));
        }
    }
}

#[test]
fn right_in_a_queued_message_is_its_receivers() {
    use Holder::{Queue, Task};
    // 1 can send to 2, in whose queue a message has a right to 3.
    let one = model(&[Task(2), Task(3), Task(2), Task(2)], &[(Task(1), 1, false), (Queue(1), 2, true)]);
    let reached = reach(&one, &BTreeSet::from([1]), false);
    assert_eq!(path(&reached, 3).iter().map(|step| step.place).collect::<Vec<_>>(), [Place::Space, Place::Body]);
    // Not if that message is at a port of nobody's: its receive right is in a message to itself.
    let lost = model(&[Task(2), Task(3), Queue(3), Task(2)], &[(Task(1), 1, false), (Queue(3), 2, true)]);
    assert!(!reach(&lost, &BTreeSet::from([1]), false).contains_key(&3));
}

#[test]
fn pictures_have_every_task_port_and_right() {
    use Holder::{Queue, Task};
    let mut model = model(&[Task(2), Task(3), Task(1), Queue(1)], &[(Task(1), 1, false), (Queue(1), 2, true), (Task(3), 11, false)]);
    model.ports.get_mut(&1).unwrap().names.push("na<me>".into());
    let model = model.without_the_usual();
    assert!(!model.ports.contains_key(&3), "nobody has a right to it");
    let text = to_text(&model, Paint::none());
    let parts = [
        "T1.0 task 1",
        "sends to P1.0 \"na<me>\" → T2.0 task 2",
        "holds sends once to P2.0 → T3.0 task 3, in its body",
        "controls T1.0 task 1",
    ];
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    let picture = Picture::new(&model);
    let (dot, mermaid, svg) = (picture.to_dot(), picture.to_mermaid(), to_svg(&picture));
    assert!(dot.contains("T1_0 -> P1_0") && dot.contains("P1_0 -> T2_0") && dot.contains("T3_0 -> T1_0 [color"), "{dot}");
    assert!(mermaid.contains("T1_0 --> P1_0") && mermaid.contains("na#lt;me#gt;"), "{mermaid}");
    assert!(svg.contains("na&lt;me&gt;") && svg.trim_end().ends_with("</svg>") && svg.matches("<ellipse").count() >= 2, "{svg}");
}
