//! Ports and port sets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::Name;
use umach_abi::limits::QLIMIT_DEFAULT;

use super::arena::Id;
use super::clock::Clock;
use super::effect::{LaneId, RegionId, TaskId};
use super::mail::MailId;
use super::quota::Charge;
use super::route::RouteId;
use super::semaphore::SemaphoreId;

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PortId(pub(super) Id);

/// A port set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SetId(pub(super) Id);

/// What a port stands for when the kernel itself receives on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kobject {
    Task(TaskId),
    TaskName(TaskId),
    Host,
    HostControl,
    Region(RegionId),
    Semaphore(SemaphoreId),
    Clock(Clock),
}

/// Where the receive right is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// In a space, under this name.
    Space(TaskId, Name),
    /// In a message to this port; `None` while that message is not in a queue.
    Transit(Option<PortId>),
    /// With the kernel.
    Kernel(Kobject),
}

/// A dead-name or send-possible request: one per name (task and name), as XNU's.
#[derive(Debug)]
pub(super) struct Request {
    /// The send-once right to notify with.
    pub(super) notify: PortId,
    /// Also wants to know when the queue has room.
    pub(super) possible: bool,
    pub(super) charge: Charge,
}

/// A no-senders or port-destroyed request.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) notify: PortId,
    pub(super) charge: Charge,
}

/// Threads that wait at a port; rarely there, hence boxed.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Blocked in a send; their mail is parked with them. First come, first served.
    pub(super) senders: VecDeque<LaneId>,
    /// Blocked in a receive on the port itself.
    pub(super) receivers: VecDeque<LaneId>,
}

/// Requests on a port; rarely there, hence boxed.
#[derive(Debug, Default)]
pub(super) struct Watches {
    pub(super) requests: BTreeMap<(TaskId, Name), Request>,
    pub(super) no_senders: Option<Watch>,
    pub(super) destroyed: Option<Watch>,
    /// Send-possible requests for which a send has found the queue full since.
    pub(super) armed: BTreeSet<(TaskId, Name)>,
}

/// What a port has to do with routes; boxed, and only there once it matters.
#[derive(Debug, Default)]
pub(super) struct PortPlane {
    /// All routes to it that exist.
    pub(super) routes: BTreeSet<RouteId>,
    /// Those that have not ended, by who sends.
    pub(super) live: BTreeMap<TaskId, RouteId>,
    /// Orphaned ones, likewise.
    pub(super) orphans: BTreeMap<TaskId, RouteId>,
    /// Those that have not ended that the receiver has been told of.
    pub(super) announced: u32,
    /// Ended routes that the receiver has not closed. While there are any, no mail is delivered.
    pub(super) barrier: u32,
    /// Where the queue ended when the first of them did: returned messages go in here.
    pub(super) place: usize,
    /// Routes whose messages come after this mail.
    pub(super) held: Vec<(MailId, RouteId)>,
    /// A receive was answered with "in progress": the receiver is to be rung when there is mail.
    pub(super) watched: bool,
    /// Number of the request that took it off the direct plane; a receive that is newer brings it back.
    pub(super) recalled_at: u64,
    /// Messages since the last route, by sender; the newest senders only.
    pub(super) counts: Vec<(TaskId, u32)>,
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) receiver: Receiver,
    /// Send rights: one for each name, special port, descriptor and header that holds one.
    pub(super) srights: u32,
    /// Send-once rights, likewise; requests hold one each.
    pub(super) sorights: u32,
    pub(super) mscount: u32,
    pub(super) seqno: u32,
    pub(super) qlimit: u32,
    /// The user's cookie, and the guard if `guarded` (they share storage, as in XNU).
    pub(super) context: u64,
    pub(super) guarded: bool,
    pub(super) strict: bool,
    pub(super) immovable: bool,
    /// Its receiver has begun to receive here: it is worth a route.
    pub(super) pinned: bool,
    pub(super) queue: VecDeque<MailId>,
    pub(super) queued_bytes: u64,
    pub(super) waiters: Option<Box<Waiters>>,
    pub(super) watches: Option<Box<Watches>>,
    pub(super) plane: Option<Box<PortPlane>>,
    /// Sets it is in, in the order it was put there.
    pub(super) sets: Vec<SetId>,
    /// Paid by whoever holds the receive right (last held it, while in transit); a semaphore's by its owner. `None` for the kernel's other ports.
    pub(super) charge: Option<Charge>,
    /// The price of one notification for each send-once right out there, so that it can always be told of its end.
    pub(super) reserve: Option<Charge>,
}

impl Port {
    pub(super) fn new(receiver: Receiver) -> Port {
        Port {
            receiver,
            srights: 0,
            sorights: 0,
            mscount: 0,
            seqno: 0,
            qlimit: QLIMIT_DEFAULT,
            context: 0,
            guarded: false,
            strict: false,
            immovable: false,
            pinned: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            waiters: None,
            watches: None,
            plane: None,
            sets: Vec::new(),
            charge: None,
            reserve: None,
        }
    }
    pub(super) fn full(&self) -> bool {
        self.queue.len() >= self.qlimit as usize
    }
    pub(super) fn kobject(&self) -> Option<Kobject> {
        match self.receiver {
            Receiver::Kernel(kobject) => Some(kobject),
            _ => None,
        }
    }
    pub(super) fn waiters(&mut self) -> &mut Waiters {
        self.waiters.get_or_insert_default()
    }
    pub(super) fn watches(&mut self) -> &mut Watches {
        self.watches.get_or_insert_default()
    }
    pub(super) fn plane(&mut self) -> &mut PortPlane {
        self.plane.get_or_insert_default()
    }
    /// Whether there are routes to it that its receiver knows of, or ended ones that are not closed.
    pub(super) fn routed(&self) -> bool {
        self.plane.as_ref().is_some_and(|plane| plane.announced > 0 || plane.barrier > 0)
    }
    /// Whether its mail has to wait until ended routes are closed.
    pub(super) fn barred(&self) -> bool {
        self.plane.as_ref().is_some_and(|plane| plane.barrier > 0)
    }
    /// Whether a receive gets a message now.
    pub(super) fn ready(&self) -> bool {
        !self.queue.is_empty() && !self.barred()
    }
    pub(super) fn has_armed(&self) -> bool {
        self.watches.as_ref().is_some_and(|watches| !watches.armed.is_empty())
    }
    /// Gives the boxes back when they are empty.
    pub(super) fn tidy(&mut self) {
        if self.waiters.as_ref().is_some_and(|w| w.senders.is_empty() && w.receivers.is_empty()) {
            self.waiters = None;
        }
        if self.watches.as_ref().is_some_and(|w| w.requests.is_empty() && w.no_senders.is_none() && w.destroyed.is_none()) {
            self.watches = None;
        }
        if self.plane.as_ref().is_some_and(|p| p.routes.is_empty() && !p.watched && p.recalled_at == 0 && p.counts.is_empty()) {
            self.plane = None;
        }
    }
}

/// A set of ports to wait on. It has no queue: messages stay with their ports. Members with messages stand in `ready` and are served in
/// rotation, so that none starves.
#[derive(Debug)]
pub(super) struct PortSet {
    /// Members, and their place in `ready`.
    pub(super) members: BTreeMap<PortId, Option<u64>>,
    pub(super) ready: BTreeMap<u64, PortId>,
    pub(super) turn: u64,
    pub(super) receivers: VecDeque<LaneId>,
    /// Whose it is, and its name there.
    pub(super) owner: (TaskId, Name),
    /// Members that have routes.
    pub(super) routed: u32,
    /// As a port's.
    pub(super) watched: bool,
    /// Number of the request that last received here.
    pub(super) pinned_at: u64,
    pub(super) charge: Charge,
}

impl PortSet {
    /// Notes that `port` has messages; the last of those that have.
    pub(super) fn mark_ready(&mut self, port: PortId) {
        if let Some(place @ None) = self.members.get_mut(&port) {
            self.turn += 1;
            *place = Some(self.turn);
            self.ready.insert(self.turn, port);
        }
    }
    /// Notes that `port` has none, or was just served.
    pub(super) fn unmark(&mut self, port: PortId) {
        if let Some(place) = self.members.get_mut(&port)
            && let Some(turn) = place.take()
        {
            self.ready.remove(&turn);
        }
    }
}
