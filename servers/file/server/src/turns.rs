//! Whose request is worked on next, so that one client's flood leaves threads for the others.
//!
//! Requests come from a port set in an order that a client with many handles can fill up with its own. So a task has at most
//! [`Turns::new`]'s `active` requests under work at once; some more wait here, and what exceeds them is refused at once (`Busy`), which costs next
//! to nothing.
//!
//! 1. **No parked request is forgotten**: one is parked only while its task has `active` requests under work or is in `ready`, and the worker that finishes
//!    one of those finds the task in `ready` before it waits for a message again ([`Turns::has_ready`]).
//! 2. **Fair**: `ready` tasks take turns, one request each.

use std::collections::{HashMap, VecDeque};

/// The requests under work and waiting; `J` is a request.
#[derive(Debug)]
pub struct Turns<J> {
    active: usize,
    parked: usize,
    tasks: HashMap<u64, Task<J>>,
    /// Tasks with a parked request and a free turn, each once.
    ready: VecDeque<u64>,
}

#[derive(Debug)]
struct Task<J> {
    active: usize,
    parked: VecDeque<J>,
}

/// What to do with a request that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Work on it now, then call [`Turns::finish`].
    Run,
    /// It waits for its task's turn: [`Turns::park`] it before anybody else looks.
    Park,
    /// Refuse it.
    Busy,
}

impl<J> Turns<J> {
    /// At most `active` requests of a task under work, and `parked` waiting.
    pub fn new(active: usize, parked: usize) -> Turns<J> {
        Turns { active: active.max(1), parked, tasks: HashMap::new(), ready: VecDeque::new() }
    }
    /// A request of `task` came.
    pub fn place(&mut self, task: u64) -> Place {
        let entry = self.tasks.entry(task).or_insert_with(|| Task { active: 0, parked: VecDeque::new() });
        // Behind what waits already, also when a turn is free.
        if entry.active < self.active && entry.parked.is_empty() {
            entry.active += 1;
            Place::Run
        } else if entry.parked.len() < self.parked {
            Place::Park
        } else {
            Place::Busy
        }
    }
    /// Keeps a request for which [`Turns::place`] just said [`Place::Park`].
    pub fn park(&mut self, task: u64, request: J) {
        if let Some(entry) = self.tasks.get_mut(&task) {
            debug_assert!(entry.active == self.active || self.ready.contains(&task), "parked with nobody to come back for it");
            entry.parked.push_back(request);
        }
    }
    /// A request of `task` is done.
    pub fn finish(&mut self, task: u64) {
        let Some(entry) = self.tasks.get_mut(&task) else { return };
        entry.active -= 1;
        if !entry.parked.is_empty() {
            if !self.ready.contains(&task) {
                self.ready.push_back(task);
            }
        } else if entry.active == 0 {
            self.tasks.remove(&task);
        }
    }
    /// Whether [`Turns::take`] has something.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
    /// A parked request whose turn it is. Work on it, then call [`Turns::finish`].
    pub fn take(&mut self) -> Option<(u64, J)> {
        let task = self.ready.pop_front()?;
        let entry = self.tasks.get_mut(&task)?;
        let request = entry.parked.pop_front()?;
        entry.active += 1;
        if entry.active < self.active && !entry.parked.is_empty() {
            self.ready.push_back(task);
        }
        Some((task, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(turns: &mut Turns<char>, task: u64, request: char) -> Place {
        let place = turns.place(task);
        if place == Place::Park {
            turns.park(task, request);
        }
        place
    }

    #[test]
    fn flood_is_parked_then_refused_and_others_run() {
        let mut turns = Turns::new(2, 1);
        assert_eq!(come(&mut turns, 1, 'a'), Place::Run);
        assert_eq!(come(&mut turns, 1, 'b'), Place::Run);
        assert_eq!(come(&mut turns, 1, 'c'), Place::Park);
        assert_eq!(come(&mut turns, 1, 'd'), Place::Busy);
        assert_eq!(come(&mut turns, 2, 'x'), Place::Run);
        assert!(!turns.has_ready());
        turns.finish(1);
        assert!(turns.has_ready());
        assert_eq!(come(&mut turns, 1, 'e'), Place::Busy, "nothing overtakes what waits");
        assert_eq!(turns.take(), Some((1, 'c')));
        assert_eq!(turns.take(), None);
    }

    #[test]
    fn ready_tasks_take_turns_and_leave_nothing_behind() {
        let mut turns = Turns::new(1, 10);
        for task in [1, 2, 3] {
            assert_eq!(come(&mut turns, task, 'r'), Place::Run);
            assert_eq!(come(&mut turns, task, '1'), Place::Park);
            assert_eq!(come(&mut turns, task, '2'), Place::Park);
        }
        for task in [1, 2, 3] {
            turns.finish(task);
        }
        let mut order = Vec::new();
        while let Some((task, request)) = turns.take() {
            order.push((task, request));
            turns.finish(task);
        }
        assert_eq!(order, [(1, '1'), (2, '1'), (3, '1'), (1, '2'), (2, '2'), (3, '2')]);
        assert!(turns.tasks.is_empty() && turns.ready.is_empty());
    }
}
