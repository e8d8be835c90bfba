//! What goes in and what comes out of the core.

use std::fmt;

use super::arena::Id;

macro_rules! ids {
    ($($(#[doc = $doc:literal])* $Name:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $Name(pub Id);
        impl $Name {
            /// One number that is never used again while the core lives (index and generation).
            pub fn to_raw(self) -> u64 {
                self.0.to_raw()
            }
            /// The inverse of [`Self::to_raw`]; a number from elsewhere gives an id that stands for nothing.
            pub fn from_raw(raw: u64) -> Self {
                Self(Id::from_raw(raw))
            }
        }
        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($Name), "({:?})"), self.0)
            }
        }
    )*};
}

ids! {
    /// A task.
    TaskId;
    /// One way into the kernel for one thread at a time: a socket, or a mailbox of the in-process kernel.
    LaneId;
    /// A memory object.
    RegionId;
    /// The memory that two tasks share, and what goes with it.
    LinkId;
    /// A way for open files from one task to another.
    FileLaneId;
}

/// Who is at the other end, as Linux says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// Process.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// What travels with an answer besides bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// The memfd of this region.
    Region(RegionId),
    /// Make the memfd of this new region first. If that fails, report [`super::Core::attach_failed`] instead of answering.
    NewRegion {
        /// The region.
        id: RegionId,
        /// Bytes.
        size: u64,
        /// Seal it shrink, grow and seal at once, and let everybody write.
        shared: bool,
    },
    /// Make this new lane and hand its far end over. If that fails, report [`super::Core::attach_failed`].
    NewLane(LaneId),
    /// Make the memory of this lane, which the answer goes to, and keep it until the lane is closed. If that fails, report
    /// [`super::Core::attach_failed`].
    LaneMemory(LaneId),
    /// The memfd of this link; make it first if it is not there. Kept until [`Effect::DropLink`].
    Link(LinkId),
    /// The attention page of this task, with these values to begin with; make it first if it is not there. Kept until the task is gone.
    Attention {
        /// The task.
        task: TaskId,
        /// Value of the word for events.
        control: u32,
        /// Value of the word for mail.
        mail: u32,
    },
    /// Make this task's inbox for ends of file lanes: one end goes along, the other is kept until the task is gone.
    FileInbox(TaskId),
    /// Make a socket pair: put one end into the inbox of `to`, the other goes along. If that fails, report [`super::Core::attach_failed`].
    NewFileLane {
        /// The lane's number goes with the end.
        lane: FileLaneId,
        /// Whose inbox.
        to: TaskId,
    },
    /// Make a memfd of this size, sealed against resizing, and keep it for the task of this side as well.
    NewArena {
        /// The link.
        link: LinkId,
        /// For whom it is kept, 0 or 1.
        side: u8,
        /// Counts the arenas that are for that side.
        number: u32,
        /// Bytes.
        size: u64,
    },
    /// The memfd that was kept for this side; it is kept no more.
    Arena {
        /// The link.
        link: LinkId,
        /// For whom.
        side: u8,
        /// Which.
        number: u32,
    },
}

/// What the clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// Since the machine started.
    pub system: std::time::Duration,
    /// Since 1970.
    pub calendar: std::time::Duration,
}

/// What to do to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGKILL.
    Kill,
}

/// What the outside should do now, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this packet on this lane: the one answer it owes. A lane never has two at once.
    Answer {
        /// Where to.
        lane: LaneId,
        /// The whole packet, `attached` already counted.
        packet: Vec<u8>,
        /// File descriptors to send along, in order.
        attach: Vec<Attach>,
    },
    /// Look at this region's seals and size, then report [`super::Core::seals_checked`]. Never blocks (`F_GET_SEALS`, `fstat`).
    CheckSeals {
        /// The region.
        region: RegionId,
        /// Its size must be exactly this.
        size: u64,
    },
    /// Read the clocks, then report [`super::Core::clocks_read`].
    ReadClocks,
    /// When the system's clock says this, report [`super::Core::alarm_due`]; in place of what was asked for before. `None`: not at all.
    Alarm(Option<std::time::Duration>),
    /// Ask Linux about the process of this task, then report [`super::Core::process_read`].
    ReadProcess(TaskId),
    /// Make the memfd of this region with these bytes, sealed. If that fails, whoever receives it is told that it could not be attached.
    FillRegion {
        /// The region.
        region: RegionId,
        /// What it holds.
        bytes: Vec<u8>,
    },
    /// Close the memfd of this region: nobody can name it any more. Answers of the same list may still attach it, so drops come
    /// last.
    DropRegion(RegionId),
    /// Write these values into the task's attention page, and wake whoever sleeps on a word that changes by it.
    Attention {
        /// The task.
        task: TaskId,
        /// The word for events.
        control: u32,
        /// The word for mail.
        mail: u32,
    },
    /// Close the memory of this link, and what was kept with it. Like `DropRegion`, to be done last.
    DropLink(LinkId),
    /// A task says that the other task of a link broke a rule: the log should say so.
    LinkBroken {
        /// The link.
        link: LinkId,
        /// Who says so: task and process.
        accuser: (TaskId, Peer),
        /// Who is said to have done it.
        accused: (TaskId, Peer),
        /// The rule, a number of `records::violation`.
        why: u32,
        /// What was found.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// Signal the task's process, by its pidfd.
    Signal {
        /// The task.
        task: TaskId,
        /// What.
        signal: Signal,
    },
    /// Close this lane.
    CloseLane(LaneId),
    /// The task is gone: forget its pidfd. Its lanes were closed before.
    TaskGone(TaskId),
}

/// The list that a transition appends to.
pub type Effects = Vec<Effect>;

/// Something that no well-behaved task does. It ends the task's connection; the log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A request while another one is in flight on the lane.
    #[error("request {op} while request {pending} is in flight")]
    InFlight {
        /// The second one.
        op: u16,
        /// The one in flight.
        pending: u16,
    },
    /// A first request that is not Hello.
    #[error("request {op} before Hello")]
    BeforeHello {
        /// What came.
        op: u16,
    },
    /// A second Hello.
    #[error("a second Hello")]
    SecondHello,
    /// Hello with another version.
    #[error("protocol version {theirs}, this kernel speaks {ours}")]
    Version {
        /// Theirs.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// Sizes in a request contradict its length.
    #[error("sizes {claimed} in a request with {have} bytes of tail")]
    Sizes {
        /// What the fields say.
        claimed: u64,
        /// Bytes there.
        have: usize,
    },
}

umach_abi::explanations! { Violation besides []:
    InFlight = LANE_REQUEST_IN_FLIGHT, "a task was ended: it made a request while another one was in flight on the same lane",
        "two processes use one lane (it was inherited by a program that took it for its own), or a thread was killed in the middle",
        "give each process a task of its own: spawn it with Task::spawn, or let it connect";
    BeforeHello = LANE_BEFORE_HELLO, "a task was ended: its first request is not Hello",
        "a program that does not use libtask wrote to the socket",
        "connect through libtask";
    SecondHello = LANE_SECOND_HELLO, "a task was ended: it said Hello twice on a lane",
        "two processes use one lane: both took it for their own",
        "give each process a task of its own: spawn it with Task::spawn, or let it connect";
    Version = LANE_VERSION, "a task was refused: it speaks another version of the protocol",
        "libtask and kernel process of different builds",
        "end the old kernel process (umach doctor says which runs) and start this build's";
    Sizes = LANE_SIZES, "a task was ended: sizes in its request contradict the request's length",
        "a program that does not use libtask, or libtask and kernel process of different builds",
        "use the same build on both sides";
}
