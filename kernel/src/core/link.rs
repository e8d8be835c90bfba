//! Links: the memory that two tasks share, made when the first route between them is granted.
//!
//! The kernel makes the memory and hands it out; it never looks inside. A link ends when one of its tasks ends, when one says that the other broke
//! a rule, or when both say that they do not use it: the first to say so has the other asked. Then its routes end, one piece of work each; when all of them are closed both tasks are told;
//! when both know, the link goes.

use std::collections::{BTreeSet, VecDeque};

use umach_abi::Code;
use umach_abi::control::{self, answer};
use umach_abi::link;
use umach_abi::link::lease::{ARENA_MAX, ARENAS, UNIT};
use umach_abi::records::{LinkRow, RouteRow, down, violation};

use super::Core;
use super::destroy::Work;
use super::effect::{Attach, Effect, LaneId, LinkId, Peer, TaskId};
use super::event::Note;
use super::mail::Right;
use super::quota::{Charge, Kind};
use super::route::{RouteId, State};

/// Tasks that one task remembers not to have links with.
const SHUNNED: usize = 64;
/// In so many requests a task is said to be short of links once at most.
const SHORT_EVERY: u64 = 256;
/// Rows in one page of a listing, and routes looked at for one.
const PAGE: usize = 256;

/// Numbers of routes of one direction; the oldest free one is taken first.
#[derive(Debug, Default)]
pub(super) struct Indices {
    pub(super) free: VecDeque<u32>,
    made: u32,
}

impl Indices {
    pub(super) fn take(&mut self) -> Option<u32> {
        if (self.made as usize) < link::ROUTES {
            self.made += 1;
            return Some(self.made - 1);
        }
        self.free.pop_front()
    }
    pub(super) fn used(&self) -> usize {
        self.made as usize - self.free.len()
    }
}

fn bytes_of(arenas: &[Arena]) -> u64 {
    arenas.iter().map(|arena| arena.charge.amount()).sum()
}

/// A link. What there is two of is in the order of `tasks`.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) tasks: [TaskId; 2],
    pub(super) peers: [Peer; 2],
    /// All of them in both directions that have an index.
    pub(super) routes: BTreeSet<RouteId>,
    pub(super) indices: [Indices; 2],
    /// Live routes.
    pub(super) live: [u32; 2],
    /// Routes that are not closed.
    pub(super) unclosed: u32,
    /// Tickets of its routes.
    pub(super) tickets: u32,
    /// Was told of the link.
    pub(super) told: [bool; 2],
    /// Over; why, as each is to be told.
    pub(super) down: Option<[u32; 2]>,
    /// The routes have been ended, and the tasks are told once they are closed.
    pub(super) fallen: bool,
    /// The end is on its way to the tasks.
    pub(super) announced: bool,
    /// Knows of the end, or never knew of the link.
    pub(super) done: [bool; 2],
    /// Said that it is idle, and has not been told of a route since: it publishes nothing.
    pub(super) idle: [bool; 2],
    /// Has a note that asks whether it is.
    pub(super) asked: [bool; 2],
    /// Has a note that the other rang.
    pub(super) rang: [bool; 2],
    /// Arenas made by each.
    pub(super) arenas: [Vec<Arena>; 2],
    /// Slots (and whose) whose reply has moved, and the task does not know yet.
    pub(super) moved: BTreeSet<(usize, u32, u32)>,
    /// Given back when the task knows of the end.
    pub(super) charges: [Option<Charge>; 2],
}

/// Memory that one task lends from.
#[derive(Debug)]
pub(super) struct Arena {
    /// Of its bytes, to its maker.
    pub(super) charge: Charge,
    /// The other task has been told, or is about to be.
    ready: bool,
}

impl Link {
    pub(super) fn side_of(&self, task: TaskId) -> Option<usize> {
        self.tasks.iter().position(|&other| other == task)
    }
}

impl Core {
    /// The link between two tasks; a new one if there is none. `None` if there cannot be one now.
    pub(super) fn link_between(&mut self, first: TaskId, second: TaskId) -> Option<LinkId> {
        if let Some(&link) = self.tasks[first.0].plane.links.get(&second) {
            return self.links[link.0].down.is_none().then_some(link);
        }
        if self.tasks[first.0].plane.shunned.contains(&second) {
            return None;
        }
        let tasks = [first, second];
        let mut charges = [None, None];
        for (charge, task) in charges.iter_mut().zip(tasks) {
            *charge = self.ledger.charge(self.tasks[task.0].account, Kind::Links, 1);
            if charge.is_none() {
                charges.into_iter().flatten().for_each(|charge| self.ledger.release(charge));
                self.links_short(task);
                return None;
            }
        }
        let id = LinkId(self.links.insert(Link {
            tasks,
            peers: tasks.map(|task| self.tasks[task.0].peer),
            routes: BTreeSet::new(),
            indices: Default::default(),
            live: [0; 2],
            unclosed: 0,
            tickets: 0,
            told: [false; 2],
            down: None,
            fallen: false,
            announced: false,
            done: [false; 2],
            idle: [false; 2],
            asked: [false; 2],
            rang: [false; 2],
            arenas: Default::default(),
            moved: BTreeSet::new(),
            charges,
        }));
        self.tasks[first.0].plane.links.insert(second, id);
        self.tasks[second.0].plane.links.insert(first, id);
        Some(id)
    }

    /// Tells one of its tasks of a link, once.
    pub(super) fn tell_link(&mut self, id: LinkId, side: usize) {
        let link = &mut self.links[id.0];
        if !std::mem::replace(&mut link.told[side], true) {
            let task = link.tasks[side];
            self.raise(task, Note::Link(id));
        }
    }

    /// The caller's link, and which side of it the caller is. Not one that is over.
    fn own_link(&self, task: TaskId, raw: u64) -> Result<(LinkId, usize), Code> {
        let id = LinkId::from_raw(raw);
        let link = self.links.get(id.0).filter(|link| link.down.is_none());
        let side = link.and_then(|link| link.side_of(task)).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        Ok((id, side))
    }

    // Ends.

    /// There is no room for another link of this task's: whoever has most of those that count against it is to look which of them are idle.
    fn links_short(&mut self, task: TaskId) {
        let (account, uid) = (self.tasks[task.0].account, self.tasks[task.0].peer.uid);
        let at = &mut self.tasks[task.0].plane.short_at;
        if at.is_some_and(|at| self.requests - at < SHORT_EVERY) {
            return;
        }
        *at = Some(self.requests);
        let its_own = self.ledger.used(account, Kind::Links) >= self.ledger.limit(Kind::Links);
        let of_user = self.tasks.iter().filter(|(_, other)| other.peer.uid == uid && !other.dying);
        let most = of_user.max_by_key(|(_, other)| other.plane.links.len()).map(|(id, _)| TaskId(id));
        let asked = most.filter(|_| !its_own).unwrap_or(task);
        if !std::mem::replace(&mut self.tasks[asked.0].plane.short, true) {
            self.raise(asked, Note::Short);
        }
    }

    /// A task is to say whether a link is idle.
    pub(super) fn ask_idle(&mut self, id: LinkId, side: usize) {
        let link = &mut self.links[id.0];
        let task = link.tasks[side];
        if !std::mem::replace(&mut link.asked[side], true) {
            self.raise(task, Note::Idle(id));
        }
    }

    /// A link is over.
    pub(super) fn end_link(&mut self, id: LinkId, why: [u32; 2]) {
        let Some(link) = self.links.get_mut(id.0).filter(|link| link.down.is_none()) else { return };
        link.down = Some(why);
        self.work.push_back(Work::Link(id, None));
    }

    /// One link of a task that has ended.
    pub(super) fn fall_links(&mut self, task: TaskId) {
        let Some((_, link)) = self.tasks.get_mut(task.0).and_then(|task| task.plane.links.pop_first()) else { return };
        self.work.push_front(Work::Links(task));
        self.links[link.0].down.get_or_insert([down::PEER_ENDED; 2]);
        self.work.push_front(Work::Link(link, None));
    }

    /// The route after `after` of a link that is over; then the link itself.
    pub(super) fn fall_link(&mut self, id: LinkId, after: Option<RouteId>) {
        match self.next_route(id, after) {
            Some(route) => {
                self.work.push_front(Work::Link(id, Some(route)));
                self.fall_route(route);
            }
            None => {
                if let Some(link) = self.links.get_mut(id.0) {
                    link.fallen = true;
                    self.settle_link(id);
                }
            }
        }
    }

    /// A link that is over may have come nearer to its end.
    pub(super) fn settle_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id.0).filter(|link| link.fallen && link.unclosed == 0) else { return };
        let (tasks, empty) = (link.tasks, link.routes.is_empty());
        if !std::mem::replace(&mut self.links[id.0].announced, true) {
            for (side, task) in tasks.into_iter().enumerate() {
                if self.links[id.0].told[side] {
                    self.raise(task, Note::Down(id));
                } else {
                    self.links[id.0].done[side] = true;
                }
            }
        }
        let over = |(side, &task): (usize, &TaskId)| self.links[id.0].done[side] || !self.living(task);
        if !empty || !tasks.iter().enumerate().all(over) {
            return;
        }
        let link = self.links.remove(id.0).expect("just seen");
        let arenas = link.arenas.into_iter().flatten().map(|arena| arena.charge);
        for charge in link.charges.into_iter().flatten().chain(arenas) {
            self.ledger.release(charge);
        }
        for (task, other) in [(tasks[0], tasks[1]), (tasks[1], tasks[0])] {
            if let Some(task) = self.tasks.get_mut(task.0)
                && task.plane.links.get(&other) == Some(&id)
            {
                task.plane.links.remove(&other);
            }
        }
        self.effects.push(Effect::DropLink(id));
    }

    pub(super) fn link_end(&mut self, task: TaskId, raw: u64, why: u32, found: u64, expected: u64) -> Result<answer::LinkEnd, Code> {
        let (id, side) = self.own_link(task, raw)?;
        let link = &mut self.links[id.0];
        if why == violation::NONE {
            let news = !std::mem::replace(&mut link.idle[side], true);
            // Who does not know of it does not use it.
            if link.idle[1 - side] || !link.told[1 - side] {
                self.end_link(id, [down::IDLE; 2]);
            } else if news {
                self.ask_idle(id, 1 - side);
            }
            return Ok(answer::LinkEnd {});
        }
        let mut reasons = [down::ACCUSED; 2];
        reasons[side] = down::ACCUSER;
        let [accuser, accused] = [side, 1 - side].map(|side| (link.tasks[side], link.peers[side]));
        self.effects.push(Effect::LinkBroken { link: id, accuser, accused, why, found, expected });
        for (one, other) in [(accuser.0, accused.0), (accused.0, accuser.0)] {
            let shunned = &mut self.tasks[one.0].plane.shunned;
            if shunned.len() == SHUNNED {
                shunned.remove(0);
            }
            shunned.push(other);
        }
        self.end_link(id, reasons);
        Ok(answer::LinkEnd {})
    }

    // What goes with it.

    pub(super) fn link_ring(&mut self, task: TaskId, raw: u64) -> Result<answer::LinkRing, Code> {
        let (id, side) = self.own_link(task, raw)?;
        let link = &mut self.links[id.0];
        let (peer, told) = (link.tasks[1 - side], link.told[1 - side]);
        if !told {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if std::mem::replace(&mut link.rang[1 - side], true) {
            self.ring_control(peer);
        } else {
            self.raise(peer, Note::Rang(id));
        }
        Ok(answer::LinkRing {})
    }

    pub(super) fn link_arena(&mut self, lane: LaneId, task: TaskId, raw: u64, size: u64) {
        match self.new_arena(task, raw, size) {
            Ok((link, side, number)) => {
                let attach = Attach::NewArena { link, side: 1 - side as u8, number, size };
                self.reply_with(lane, answer::LinkArena { arena: number }, attach);
            }
            Err(code) => self.reply::<answer::LinkArena>(lane, Err(code)),
        }
    }

    fn new_arena(&mut self, task: TaskId, raw: u64, size: u64) -> Result<(LinkId, usize, u32), Code> {
        let (id, side) = self.own_link(task, raw)?;
        if size == 0 || size > ARENA_MAX || !size.is_multiple_of(UNIT) {
            return Err(Code::KERN_INVALID_VALUE);
        }
        let number = self.links[id.0].arenas[side].len() as u32;
        if number == ARENAS {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let account = self.tasks[task.0].account;
        let charge = self.ledger.charge(account, Kind::RegionBytes, size).ok_or(Code::KERN_RESOURCE_SHORTAGE)?;
        self.links[id.0].arenas[side].push(Arena { charge, ready: false });
        Ok((id, side, number))
    }

    /// The maker has mapped its arena and sealed it against other writers, as far as it cares: now the other task may have it.
    pub(super) fn link_arena_ready(&mut self, task: TaskId, raw: u64, number: u32) -> Result<answer::LinkArenaReady, Code> {
        let (id, side) = self.own_link(task, raw)?;
        let arena = self.links[id.0].arenas[side].get_mut(number as usize).ok_or(Code::KERN_INVALID_VALUE)?;
        if std::mem::replace(&mut arena.ready, true) {
            return Err(Code::KERN_NAME_EXISTS);
        }
        let size = arena.charge.amount();
        self.tell_link(id, 1 - side);
        self.raise(self.links[id.0].tasks[1 - side], Note::Arena(id, number, size));
        Ok(answer::LinkArenaReady {})
    }

    /// The memory could not be made: the number is not used again, and nothing is to be shown under it.
    pub(super) fn undo_arena(&mut self, id: LinkId, side: u8, number: u32) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if let Some(arena) = link.arenas[1 - side as usize].get_mut(number as usize) {
            arena.ready = true;
        }
    }

    // Replies.

    /// The reply to the call in a slot becomes an ordinary send-once right, to a port that the caller gets. Gives the right.
    pub(super) fn explicit(&mut self, id: LinkId, caller: usize, slot: u32, generation: u32) -> Result<Right, Code> {
        // Also over a link whose end was told: a call that outlives its receiver waits for this.
        let link = self.links.get(id.0).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let task = link.tasks[caller];
        let untold = link.moved.iter().filter(|(of, ..)| *of == caller).count();
        if slot as usize >= link::SLOTS || link.moved.contains(&(caller, slot, generation)) || untold >= link::SLOTS || !link.told[caller] {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if !self.living(task) {
            return Err(Code::KERN_TERMINATED);
        }
        let (port, name) = self.new_port(task, None).map_err(|_| Code::KERN_RESOURCE_SHORTAGE)?;
        if !self.reserve_send_once(port) {
            self.destroy_entry(task, name);
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        self.links[id.0].moved.insert((caller, slot, generation));
        self.raise(task, Note::Moved { link: id, slot, generation, name });
        Ok(Right::SendOnce(port))
    }

    pub(super) fn reply_explicit(&mut self, task: TaskId, r: &control::ReplyExplicit) -> Result<answer::ReplyExplicit, Code> {
        let id = LinkId::from_raw(r.link);
        let side = self.links.get(id.0).and_then(|link| link.side_of(task)).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        // The name first, so that the caller is not told of a reply that nobody can send.
        let room = self.ledger.used(self.tasks[task.0].account, Kind::Names) < self.ledger.limit(Kind::Names);
        if !room {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        let mut right = self.explicit(id, 1 - side, r.slot, r.generation)?;
        if r.wanted.is_valid() && r.wanted.0 & 3 == 3 {
            match self.deliver_at(task, r.wanted, right) {
                Ok(()) => return Ok(answer::ReplyExplicit { name: r.wanted }),
                Err((_, back)) => right = back,
            }
        }
        match self.deliver(task, right) {
            Ok(name) => Ok(answer::ReplyExplicit { name }),
            // The user's room is used up by other tasks: the caller hears that its call was dropped.
            Err(right) => {
                self.discard(right);
                Err(Code::KERN_RESOURCE_SHORTAGE)
            }
        }
    }

    // What is shown.

    pub(super) fn host_links(&self, start: u32) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let mut links = self.links.iter_from(start);
        for (id, link) in links.by_ref().take(PAGE) {
            LinkRow {
                link: id.to_raw(),
                first: link.tasks[0].to_raw(),
                second: link.tasks[1].to_raw(),
                forth: link.live[0],
                back: link.live[1],
                tickets: link.tickets,
                flags: u32::from(link.down.is_some()) | u32::from(link.idle[0]) << 1 | u32::from(link.idle[1]) << 2,
                arenas_first: link.arenas[0].len() as u32,
                arenas_second: link.arenas[1].len() as u32,
                arena_bytes_first: bytes_of(&link.arenas[0]),
                arena_bytes_second: bytes_of(&link.arenas[1]),
            }
            .write(&mut rows);
        }
        (links.next().map_or(0, |(id, _)| id.index()), rows)
    }

    pub(super) fn host_routes(&self, start: u32) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let mut routes = self.routes.iter_from(start);
        for (id, route) in routes.by_ref().take(PAGE) {
            let state = match route.state {
                State::Offered => 0,
                State::Live => u32::from(route.opens_at.is_some()),
                State::Ended(_) => 2,
                State::Closed { .. } => 3,
            };
            RouteRow {
                route: id.to_raw(),
                link: route.link.to_raw(),
                sender: route.from.to_raw(),
                port: route.port.0.to_raw(),
                index: route.index,
                name: route.name,
                tickets: route.tickets.len() as u32,
                state,
            }
            .write(&mut rows);
        }
        (routes.next().map_or(0, |(id, _)| id.index()), rows)
    }

    pub(super) fn host_link_map(&mut self, lane: LaneId, raw: u64) {
        let id = LinkId::from_raw(raw);
        match self.links.get(id.0) {
            Some(_) => self.reply_with(lane, answer::HostLinkMap {}, Attach::Link(id)),
            None => self.reply::<answer::HostLinkMap>(lane, Err(Code::KERN_NOT_FOUND)),
        }
    }
}
