//! Whom a task can ever reach: the closure that `graph --can` asks.
//!
//! *A reaches B* if A holds a send or send-once right to a port on which B receives, or B's control right, or can be handed one by a task that it
//! reaches. For who can send to a task can ask it for anything that it holds, the right to answer with being in the message. So:
//!
//! * X → Y if a right of X's leads to a port whose receiver is Y, or is Y's control right (which gives all that Y holds), or is the host's (all tasks).
//! * A right in a queued message is the receiver's of that queue; a receive right in one makes that receiver the port's; through as many
//!   messages as there are.
//! * A reaches whatever there is a path to.
//!
//! That is what take-grant systems call *know* with every task on the path taking part. Unasked, it is the other direction too: who can send to a task can
//! hand it rights without being asked, so X → Y is also Y → X. Nobody outside of the model helps: tasks that come later, files, sockets, what Linux lets
//! processes of one user do to each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::model::{Kind, Model, Place, Right};

/// One step of a path: how `to` is reached from `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The port of the right with which the step is taken.
    pub(super) port: u64,
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// It is `to` that holds the right, and hands over what it has without being asked.
    pub(super) unasked: bool,
}

/// Every task that is reached, with the last step to it; none for the tasks from which it starts.
pub(super) type Reached = BTreeMap<u64, Option<Step>>;

/// Whom a right leads to.
fn leads_to(model: &Model, right: &Right) -> Vec<u64> {
    if right.kind == Kind::Receive {
        return Vec::new();
    }
    match model.ports.get(&right.port) {
        Some(port) if port.controls.is_some() => port.controls.into_iter().collect(),
        Some(port) if port.kind == "host-control" => model.tasks.keys().copied().collect(),
        _ => model.receiver(right.port).into_iter().collect(),
    }
}

/// All tasks that these reach, themselves included.
pub(super) fn reach(model: &Model, sources: &BTreeSet<u64>, unasked: bool) -> Reached {
    let mut steps: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
    for right in &model.rights {
        let Some(from) = model.owner(right) else { continue };
        for to in leads_to(model, right) {
            let step = Step { from, to, port: right.port, kind: right.kind, place: right.place, unasked: false };
            steps.entry(from).or_default().push(step);
            if unasked {
                steps.entry(to).or_default().push(Step { from: to, to: from, unasked: true, ..step });
            }
        }
    }
    let mut reached: Reached = sources.iter().map(|task| (*task, None)).collect();
    let mut queue: VecDeque<u64> = sources.iter().copied().collect();
    while let Some(task) = queue.pop_front() {
        for step in steps.get(&task).into_iter().flatten() {
            if let std::collections::btree_map::Entry::Vacant(free) = reached.entry(step.to) {
                free.insert(Some(*step));
                queue.push_back(step.to);
            }
        }
    }
    reached
}

/// The steps to a task that is reached, from the first on.
pub(super) fn path(reached: &Reached, mut to: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(Some(step)) = reached.get(&to) {
        steps.push(*step);
        to = step.from;
    }
    steps.reverse();
    steps
}
