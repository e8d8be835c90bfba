//! Links that nothing uses go when both of their tasks agree.
//!
//! Nobody watches links and no clock runs for it: a task looks at its links after it has pulled events, since it is awake then anyway. It offers to let go
//!
//! * of a link whose peer does not use it, as the kernel process says;
//! * when links are short, as the kernel process says: of all that were not used for [`UNUSED_IF_SHORT`];
//! * when it has more than [`MANY`]: of all that were not used for [`UNUSED`].
//!
//! That a link was not used shows in its memory, where both count what they send: a message pays nothing for this.
//!
//! Who makes the offer has stopped its routes over the link, so it publishes nothing there before the kernel process grants it another, which voids the
//! offer. It has no call open there, lends nothing and borrows nothing. Once both have offered, what is on its way is read as at the end of any route,
//! and nothing else can come: the link ends. A peer that does not agree keeps its link; what is sent to it meanwhile goes through the kernel process, which
//! grants a route again. One that agrees and goes on harms its own messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use umach_abi::link::counter;
use umach_abi::records::violation;
use umach_link::credit;

use super::Plane;
use super::link::Link;
use super::route::{InRoute, OutRoute};
use crate::task::Task;

/// A task with more links than that looks for idle ones.
const MANY: usize = 64;
/// How long a link was not used that is let go of if there are many, and if links are short.
const UNUSED: Duration = Duration::from_secs(60);
const UNUSED_IF_SHORT: Duration = Duration::from_secs(3);
/// All links are looked at no more often than that.
const PAUSE: Duration = Duration::from_secs(1);
/// So many are let go of at one look. The next look goes on: when the first peers agree, this task hears of it.
const AT_ONCE: usize = 64;

/// How many messages and answers a link's two tasks say that they have sent.
type Mark = [u64; 2];

/// A link as it was when it was looked at.
#[derive(Clone, Copy)]
struct Seen {
    mark: Mark,
    /// It was so then for the first time, or was in use then although nothing went over it.
    since: Instant,
    /// As far as this task is concerned it may go.
    offered: bool,
}

/// What was seen of links, and which are to be looked at.
#[derive(Default)]
pub(super) struct Reclaim(Mutex<State>);

#[derive(Default)]
struct State {
    /// Links have been short since then. All that are not used for some time after it go, and not only the first to be unused for so long: then there is
    /// room for others for a while.
    short: Option<Instant>,
    looked: Option<Instant>,
    seen: HashMap<u64, Seen>,
    /// Links that somebody asked about, as they were then.
    asked: Vec<(u64, Option<Mark>)>,
}

/// A link that may be idle, and its routes.
struct Candidate {
    link: Arc<Link>,
    out: Vec<Arc<OutRoute>>,
    incoming: Vec<Arc<InRoute>>,
}

impl Reclaim {
    /// The peer does not use this link, or the kernel process wonders.
    pub(super) fn ask(&self, link: u64) {
        let mut state = self.0.lock();
        if !state.asked.iter().any(|&(asked, _)| asked == link) {
            state.asked.push((link, None));
        }
    }
    pub(super) fn are_short(&self) {
        let mut state = self.0.lock();
        if state.short.is_none() {
            (state.short, state.looked) = (Some(Instant::now()), None);
        }
    }
}

impl State {
    /// Links that were unused for long enough, if it is time to look; those first that were so for longest.
    fn unused(&mut self, links: &HashMap<u64, Arc<Link>>) -> Vec<u64> {
        if self.short.is_none() && links.len() <= MANY {
            return Vec::new();
        }
        let now = Instant::now();
        if self.looked.is_some_and(|at| now.duration_since(at) < PAUSE) {
            return Vec::new();
        }
        let limit = if self.short.is_some() { UNUSED_IF_SHORT } else { UNUSED };
        self.seen.retain(|id, _| links.contains_key(id));
        let mut found = Vec::new();
        for (&id, link) in links {
            let mark = link.mark();
            let new = Seen { mark, since: now, offered: false };
            let seen = self.seen.entry(id).or_insert(new);
            if seen.mark != mark {
                *seen = new;
            }
            if !seen.offered && now.duration_since(seen.since) >= limit {
                found.push((seen.since, id));
            }
        }
        if self.short.is_some_and(|since| now.duration_since(since) < limit) {
            self.looked = Some(now);
            return Vec::new();
        }
        found.sort_unstable();
        if found.len() <= AT_ONCE {
            (self.looked, self.short) = (Some(now), None);
        }
        found.into_iter().take(AT_ONCE).map(|(_, id)| id).collect()
    }

    /// Links that were asked about and have not been used since.
    fn asked(&mut self, links: &HashMap<u64, Arc<Link>>) -> Vec<u64> {
        self.asked.retain_mut(|(id, was)| {
            let Some(link) = links.get(id) else { return false };
            let mark = link.mark();
            *was.get_or_insert(mark) == mark
        });
        self.asked.iter().map(|&(id, _)| id).collect()
    }
}

impl Plane {
    /// Offers to let go of links. True if it did. The thread that pulls calls this.
    pub(super) fn reclaim(&self, task: &Task) -> bool {
        let candidates = {
            let tables = self.tables.read();
            let mut state = self.reclaim.0.lock();
            let mut ids = state.asked(&tables.links);
            ids.extend(state.unused(&tables.links));
            if ids.is_empty() {
                return false;
            }
            let mut found: HashMap<u64, Candidate> = HashMap::new();
            for id in ids {
                let link = tables.links[&id].clone();
                found.insert(id, Candidate { link, out: Vec::new(), incoming: Vec::new() });
            }
            for (_, route) in tables.out_ids.values() {
                found.get_mut(&route.link.id).into_iter().for_each(|one| one.out.push(route.clone()));
            }
            for route in tables.incoming.values() {
                found.get_mut(&route.link.id).into_iter().for_each(|one| one.incoming.push(route.clone()));
            }
            found
        };
        let mut offered = false;
        for (id, candidate) in candidates {
            let done = candidate.is_idle() && self.let_go(task, candidate);
            let mut state = self.reclaim.0.lock();
            if done {
                state.asked.retain(|&(asked, _)| asked != id);
            }
            if let Some(seen) = state.seen.get_mut(&id) {
                (seen.offered, seen.since) = (done, if done { seen.since } else { Instant::now() });
            }
            offered |= done;
        }
        offered
    }

    fn let_go(&self, task: &Task, Candidate { link, out, .. }: Candidate) -> bool {
        out.iter().for_each(|route| self.stop(route.id));
        // Who was in the middle of a send has finished. If that was a call, or lent something, the link stays; what is sent next goes through the
        // kernel process, which takes it for the end of the route.
        if link.is_engaged() {
            return false;
        }
        tracing::debug!(task = task.id(), peer = link.peer.task, "a link is not used");
        matches!(self.end_link(task, link.id, violation::NONE, 0, 0), Ok(Ok(())))
    }
}

impl Candidate {
    /// Nothing is on its way over the link.
    fn is_idle(&self) -> bool {
        let link = &self.link;
        let arrived = |route: &Arc<OutRoute>| {
            let Some(mut outbox) = route.try_outbox() else { return false };
            let (_, sending) = outbox.of(route);
            let counted = credit::read(&*link.memory, 1 - link.mine, route.place() as u32);
            sending.stopped || (sending.ahead(counted) == 0 && !route.is_wanted())
        };
        let received =
            |route: &Arc<InRoute>| route.accepted.load(Ordering::Relaxed) == route.delivered.load(Ordering::Relaxed) && !route.held.holds();
        !link.is_down() && !link.has_more() && !link.is_engaged() && self.out.iter().all(arrived) && self.incoming.iter().all(received)
    }
}

impl Link {
    fn mark(&self) -> Mark {
        [0, 1].map(|half| umach_link::counters(&*self.memory, half)[counter::MESSAGES])
    }
    /// This task waits for answers over it, lends or borrows.
    fn is_engaged(&self) -> bool {
        self.calls.lock().open.values().next().is_some() || self.lends() || self.lent_here.are_borrowed()
    }
}
