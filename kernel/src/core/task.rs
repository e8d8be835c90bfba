//! Tasks and lanes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::Name;
use umach_abi::limits::REGISTERED_PORTS;
use umach_abi::message::TrailerRequest;

use super::alarm::AlarmKey;
use super::effect::{FileLaneId, LaneId, LinkId, Peer, RegionId, TaskId};
use super::event::Note;
use super::exception::Handlers;
use super::file::TaskFiles;
use super::mail::MailId;
use super::port::{PortId, SetId};
use super::quota::{AccountId, Charge};
use super::route::RouteId;
use super::semaphore::SemaphoreId;
use super::space::Space;

/// A task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) peer: Peer,
    pub(super) parent: Option<TaskId>,
    pub(super) label: String,
    pub(super) space: Space,
    /// For its names; grows and shrinks with the space.
    pub(super) names: Charge,
    pub(super) account: AccountId,
    /// Its first lane; the others follow.
    pub(super) lanes: Vec<LaneId>,
    pub(super) said_hello: bool,
    /// May have the host's control right.
    pub(super) trusted: bool,
    /// Ending: its lanes are closed and its space is being emptied.
    pub(super) dying: bool,
    pub(super) suspended: u32,
    pub(super) control: PortId,
    pub(super) name_port: PortId,
    /// Send rights held for it.
    pub(super) bootstrap: Option<PortId>,
    pub(super) registered: [Option<PortId>; REGISTERED_PORTS],
    /// Send rights held for it, once there was one.
    pub(super) exceptions: Option<Handlers>,
    /// Those that are its own.
    pub(super) semaphores: BTreeSet<SemaphoreId>,
    /// Those that it asked for.
    pub(super) alarms: BTreeSet<AlarmKey>,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Regions that it made and has not yet turned into rights.
    pub(super) drafts: Vec<RegionId>,
    pub(super) plane: TaskPlane,
    pub(super) files: TaskFiles,
}

/// What a task has to do with links.
#[derive(Debug, Default)]
pub(super) struct TaskPlane {
    /// It speaks the direct plane.
    pub(super) agreed: bool,
    /// Its attention page was raised to it.
    pub(super) attention: bool,
    /// It has the page.
    pub(super) page: bool,
    /// Values of the page's words.
    pub(super) control: u32,
    pub(super) mail: u32,
    /// Each word changes once in a transition.
    pub(super) control_rung: bool,
    pub(super) mail_rung: bool,
    /// In `Core::rung`.
    pub(super) rung: bool,
    /// To be told, in order.
    pub(super) notes: VecDeque<Note>,
    /// Memberships among the notes.
    pub(super) members: BTreeSet<(PortId, Name)>,
    /// Mail that came where nobody waited, ever.
    pub(super) arrivals: u32,
    /// Lanes that wait for such mail or for events.
    pub(super) polling: Vec<LaneId>,
    /// Lanes that wait for events.
    pub(super) waiting: Vec<LaneId>,
    /// By the other task.
    pub(super) links: BTreeMap<TaskId, LinkId>,
    /// Tasks that broke a rule, or said so.
    pub(super) shunned: Vec<TaskId>,
    /// Has a note that links are short.
    pub(super) short: bool,
    /// Number of the request at which there was last seen to be no room for a link of its.
    pub(super) short_at: Option<u64>,
}

/// A way into the kernel for one thread at a time.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) task: TaskId,
    pub(super) pending: Option<Pending>,
    /// Op and seq of the last request.
    pub(super) last: (u16, u32),
    /// Lanes of the open files in its last answer, which may not have been read.
    pub(super) files: Vec<FileLaneId>,
    pub(super) charge: Charge,
    /// For its memory, if it has some.
    pub(super) memory: Option<Charge>,
}

/// The request that a lane is waiting for.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) op: u16,
    pub(super) seq: u32,
    pub(super) what: Wait,
}

/// What it waits for.
#[derive(Debug)]
pub(super) enum Wait {
    /// Room in a queue.
    Send { port: PortId, mail: MailId, then: Option<Receive> },
    /// A message.
    Receive { from: Source, want: Receive },
    /// Events, or a change of the word for mail.
    Events { mail: u32 },
    /// Mail for which nobody waits, or events.
    Poll { seen: u32 },
    /// A semaphore; and the number of the thread.
    Semaphore(SemaphoreId, u32),
    /// The outside: a memfd, its seals, or a socket pair.
    Outside,
}

/// Where a thread receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Port(PortId),
    Set(SetId),
}

/// How a thread receives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receive {
    pub(super) name: Name,
    /// Size of the buffer, trailer included.
    pub(super) limit: u32,
    pub(super) large: bool,
    pub(super) identity: bool,
    pub(super) guarded: bool,
    pub(super) trailer: TrailerRequest,
    /// Do not wait.
    pub(super) poll: bool,
    /// At most so many at once.
    pub(super) count: u32,
    /// Do not wait, and ring when there is mail.
    pub(super) watch: bool,
    /// Not from the queue, but this ticket of this route.
    pub(super) ticket: Option<(RouteId, u32)>,
}

/// Takes `lane` out of a queue of waiting threads.
pub(super) fn unqueue(queue: &mut VecDeque<LaneId>, lane: LaneId) {
    if let Some(at) = queue.iter().position(|&other| other == lane) {
        queue.remove(at);
    }
}
