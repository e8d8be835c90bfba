//! What the numbers in rows mean.

/// Where a right is that is in no space.
pub mod held {
    /// In a message: the right to reply with.
    pub const REPLY: u32 = 1;
    /// In a message's body.
    pub const BODY: u32 = 2;
    /// A task's bootstrap port, or the host's.
    pub const BOOTSTRAP: u32 = 3;
    /// One of a task's registered ports.
    pub const REGISTERED: u32 = 4;
    /// A handler of a task's exceptions.
    pub const EXCEPTION: u32 = 5;
    /// Where the records of a task's trace go.
    pub const TRACE: u32 = 6;
}

/// What a thread waits for.
pub mod wait {
    /// Room in a port's queue.
    pub const SEND: u32 = 1;
    /// A message to a port.
    pub const RECEIVE: u32 = 2;
    /// A message to a member of a set.
    pub const RECEIVE_SET: u32 = 3;
    /// A semaphore.
    pub const SEMAPHORE: u32 = 4;
    /// Whatever comes next: it serves.
    pub const EVENTS: u32 = 5;
}

/// Kinds of [`Event`].
pub mod event {
    /// The task's attention page comes attached ([`crate::link::attention`]).
    pub const ATTENTION: u32 = 1;
    /// A link to the task `task` (`pid`, `uid`, `gid`); its memfd comes attached. `index`: which half is this task's to write, 0 or 1.
    pub const LINK: u32 = 2;
    /// The task may send on `route`, by its number `index` on `link`, what it would send to its right `name`; at most `value` messages
    /// ahead of the receiver. `flags >> 8`: so many of its messages that are queued already take credit until they have been received.
    pub const ROUTE_OUT: u32 = 3;
    /// Messages will come on `route`, number `index` of `link`, for the port `name`. `value`: how many ahead. `context`: the port's; `pid`: the
    /// sequence number that its next message gets, if it has had no route before. `flags` 1: there is
    /// mail of that sender's which comes first; [`ROUTE_OPEN`] tells when it has been received. `uid`: how many messages of that mail took credit at first, `flags >> 8`: how many still do; a frame of `Msg`
    /// with such a message names the route's slot, plus one, in `options`.
    pub const ROUTE_IN: u32 = 4;
    /// The mail that comes before the messages of an incoming `route` has been received.
    pub const ROUTE_OPEN: u32 = 5;
    /// An outgoing route has ended: send nothing more on it.
    pub const ROUTE_STOP: u32 = 6;
    /// An incoming route has ended: close it, look at the ring once more, and acknowledge. `value`: what to do with messages that have not been
    /// delivered, one of [`super::undelivered`].
    pub const ROUTE_END: u32 = 7;
    /// An outgoing route that had ended is closed: the receiver took its first `value` messages and no other. `flags` 1: the receiver is dead.
    /// How many it received stands in the link, the first `value` of them came back before it died; the sender sends the others again and
    /// acknowledges. Until then its other messages to the port are refused with `MACH_SEND_IN_PROGRESS`.
    pub const ROUTE_CLOSED: u32 = 8;
    /// The link is over; its routes ended before. `value`: one of [`super::down`].
    pub const LINK_DOWN: u32 = 9;
    /// The reply to the call in slot `index` of generation `value` will come as a message to the port `name`, whose receive right comes with this.
    pub const REPLY_MOVED: u32 = 10;
    /// The port `name`, to which there are routes, is now (`flags` 1) or no longer (0) a member of the set whose name is `index`.
    pub const MEMBER: u32 = 11;
    /// The peer of `link` has something for this task, which asked to be woken through the kernel process.
    pub const RANG: u32 = 12;
    /// The peer's `index`-th arena on `link`, of `context` bytes, comes attached.
    pub const ARENA: u32 = 14;
    /// The sender of an incoming `route` wants to know when it has credit again.
    pub const ROOM_WANTED: u32 = 15;
    /// There is news about file lanes (`FileNews`), or the inbox is full.
    pub const FILES: u32 = 16;
    /// The peer of `link` does not use it any more, or the kernel process wonders: if this task does not use it either, it says so (`LinkEnd`).
    pub const LINK_IDLE: u32 = 17;
    /// There was no room for another link of this task's, or of its user's: those that it does not use should go.
    pub const LINKS_SHORT: u32 = 18;
    /// Whether an event of this kind brings a descriptor.
    pub const fn attaches(kind: u32) -> bool {
        matches!(kind, ATTENTION | LINK | ARENA)
    }
}

/// What a row of `FileNews` tells.
pub mod file_news {
    /// The message with this file was destroyed, or received by another task.
    pub const VOID: u32 = 1;
    /// The lane is over: no message with a file of it will come.
    pub const ENDED: u32 = 2;
}

/// What to do with the undelivered messages of an ended route.
pub mod undelivered {
    /// Deliver them: the port is still this task's.
    pub const KEEP: u32 = 0;
    /// Hand them back: the receive right has moved, or is about to.
    pub const RETURN: u32 = 1;
    /// Drop them: the port is dead.
    pub const DROP: u32 = 2;
}

macro_rules! numbered {
    ($($(#[doc = $doc:literal])* $CONST:ident = $number:literal $NAME:ident, $meaning:literal, $cause:literal, $advice:literal;)*) => {
        $($(#[doc = $doc])* pub const $CONST: u32 = $number;)*
        /// One row for each, with its number.
        pub const EXPLANATIONS: &[crate::Explanation] = &[$(crate::Explanation {
            name: stringify!($NAME),
            number: Some($number),
            meaning: $meaning,
            cause: $cause,
            advice: $advice,
        }),*];
    };
}

/// Why a link is over.
pub mod down {
    numbered! {
        /// The peer has ended.
        PEER_ENDED = 1 LINK_PEER_ENDED, "the link is over: the peer has ended",
            "the task at the other end exited, was killed, or was ended by the kernel process",
            "nothing: its ports are dead names now, and calls to it have failed with MIG_SERVER_DIED";
        /// The peer said that this task broke a rule.
        ACCUSED = 2 LINK_ACCUSED, "the link is over: the peer said that this task broke a rule of it",
            "this task's half of the link's memory was not as the rules say: a bug in it, a write through a stray pointer, or a peer that lies",
            "the two go on through the kernel process; the log of `umach kernel` has the rule and the evidence (umach explain LINK_RULE_...)";
        /// This task said so of the peer.
        ACCUSER = 3 LINK_ACCUSER, "the link is over: this task found the peer breaking a rule of it",
            "the peer's half of the link's memory was not as the rules say: it is broken, or hostile",
            "the two go on through the kernel process; do not trust the peer, and see the log of `umach kernel` for the evidence";
        /// Nothing used it.
        IDLE = 4 LINK_IDLE, "the link is over: nothing used it",
            "both tasks said that they do not use it, and links are counted against task-links",
            "nothing: it is made again when the two talk again";
    }
}

/// Rules of a link that a peer can break.
pub mod violation {
    /// Not a violation: the link is idle.
    pub const NONE: u32 = 0;
    numbered! {
        /// An index of the ring runs backwards or beyond the ring.
        INDEX = 1 LINK_RULE_RING_INDEX, "a link was ended: an index of the ring runs backwards or beyond the ring",
            "a task wrote to the words of its half of a link other than through libtask",
            "look for stray pointers in the task that the log names, or do not trust it";
        /// A record is shorter than its head or longer than what was published.
        RECORD = 2 LINK_RULE_RECORD_LENGTH, "a link was ended: a record is shorter than its head, of an unknown kind, or longer than what was published",
            "a task wrote to the ring of its half of a link other than through libtask, or while it was read",
            "look for stray pointers in the task that the log names, or do not trust it";
        /// A record names a route that was never granted, or has ended.
        ROUTE = 3 LINK_RULE_ROUTE, "a link was ended: a record names a route that was never granted, or has ended",
            "the sender made a route up, or went on after it had been told to stop: only a task that does not use libtask does",
            "do not trust the task that the log names";
        /// More messages on a route than its credit.
        CREDIT = 4 LINK_RULE_CREDIT, "a link was ended: more messages on a route than its credit",
            "the sender did not wait for the receiver, whose queue limit is the credit: only a task that does not use libtask does",
            "do not trust the task that the log names";
        /// A ticket that the kernel process does not know.
        TICKET = 5 LINK_RULE_TICKET, "a link was ended: a ticket that the kernel process does not know",
            "the sender announced a message with rights that it never gave to the kernel process",
            "do not trust the task that the log names";
        /// A slot out of range, or a second call in a slot that is in use.
        SLOT = 6 LINK_RULE_SLOT, "a link was ended: a reply slot out of range, or a second call in one that is in use",
            "the caller broke the order of its calls: only a task that does not use libtask does",
            "do not trust the task that the log names";
        /// A reply of impossible length or kind.
        REPLY = 7 LINK_RULE_REPLY, "a link was ended: a reply of impossible length or kind",
            "the server wrote to a reply slot other than through libtask",
            "look for stray pointers in the task that the log names, or do not trust it";
        /// A lease outside its arena.
        LEASE = 8 LINK_RULE_LEASE, "a link was ended: memory was lent that lies outside of its arena, or from an arena that was never given",
            "the sender's description of what it lends is wrong: only a task that does not use libtask does",
            "do not trust the task that the log names";
        /// A request in a lane's memory that is out of turn, or longer than any; or more names to release than there can be.
        LANE = 9 LINK_RULE_LANE_MEMORY, "a task was ended: what it wrote to the memory that it shares with the kernel process is out of turn or too long",
            "a stray pointer wrote to that memory, or the task does not use libtask",
            "look for stray pointers in the task that the log names, or do not trust it";
    }
    /// A name for people.
    pub const fn name(why: u32) -> &'static str {
        match why {
            NONE => "idle",
            INDEX => "ring index",
            RECORD => "record length",
            ROUTE => "route",
            CREDIT => "credit",
            TICKET => "ticket",
            SLOT => "slot",
            REPLY => "reply",
            LEASE => "lease",
            LANE => "lane memory",
            _ => "unknown rule",
        }
    }
}

/// Numbers of traces.
pub mod trace {
    /// Id of the messages to a tracer.
    pub const BATCH: i32 = 0x7472_6163;
    /// Flag of `HostTrace`: what goes over links may go on doing so.
    pub const KEEP_ROUTES: u32 = 1;
    /// Flag of [`crate::control::HostTrace`]: ports that rights in wanted messages lead to are wanted too.
    pub const FOLLOW: u32 = 2;

    /// Record: a message was sent.
    pub const SENT: u32 = 1;
    /// Record: it was received.
    pub const RECEIVED: u32 = 2;
    /// Record: it was given back to its sender, which gave up.
    pub const RETURNED: u32 = 3;
    /// Record: it was destroyed unreceived.
    pub const DESTROYED: u32 = 4;
    /// Record: it repeated what had arrived over a link after all.
    pub const ARRIVED: u32 = 5;
    /// Record: who a task is. Comes before the first one that names it.
    pub const TASK: u32 = 6;
    /// Record: a task has ended.
    pub const ENDED: u32 = 7;

    /// Flag of a record: sent with a send-once right: an answer, or a notification.
    pub const ONCE: u32 = 1;
    /// Flag: a ticket of a route.
    pub const TICKET: u32 = 2;
    /// Flag: its port was dead already.
    pub const DEAD: u32 = 4;
    /// Flag: the queue was full, and the sender may have to wait.
    pub const FULL: u32 = 8;
    /// Flag: an answer is expected, at a send-once right.
    pub const REPLY_ONCE: u32 = 16;

    /// A send right.
    pub const SEND_RIGHT: u32 = 1;
    /// A send-once right.
    pub const SEND_ONCE_RIGHT: u32 = 2;
    /// A receive right.
    pub const RECEIVE_RIGHT: u32 = 3;
    /// Memory.
    pub const MEMORY: u32 = 4;
    /// Memory in a region.
    pub const REGION: u32 = 5;
    /// An open file.
    pub const FILE: u32 = 6;
    /// No right.
    pub const NULL: u32 = 7;
    /// A right to a port that is dead.
    pub const DEAD_NAME: u32 = 8;
    /// A name for people.
    pub const fn right_name(what: u32) -> &'static str {
        match what {
            SEND_RIGHT => "send",
            SEND_ONCE_RIGHT => "send-once",
            RECEIVE_RIGHT => "receive",
            MEMORY => "memory",
            REGION => "region",
            FILE => "file",
            NULL => "null",
            DEAD_NAME => "dead",
            _ => "unknown",
        }
    }
}

/// What a port stands for when the kernel process itself receives on it.
pub mod kobject {
    /// An ordinary port.
    pub const NONE: u32 = 0;
    /// A task's control port.
    pub const TASK: u32 = 1;
    /// A task's name port.
    pub const TASK_NAME: u32 = 2;
    /// The host.
    pub const HOST: u32 = 3;
    /// The host's control port.
    pub const HOST_CONTROL: u32 = 4;
    /// A region.
    pub const REGION: u32 = 5;
    /// A semaphore.
    pub const SEMAPHORE: u32 = 6;
    /// A clock.
    pub const CLOCK: u32 = 7;
    /// The number that XNU's kernel has for a kind (`IKOT_*`), as `mach_port_kobject` tells it.
    pub const fn ikot(kind: u32) -> u32 {
        match kind {
            TASK => 2,
            HOST => 3,
            HOST_CONTROL => 4,
            TASK_NAME => 20,
            SEMAPHORE => 23,
            CLOCK => 25,
            REGION => 28,
            _ => 0,
        }
    }
    /// The name of a kind.
    pub const fn name(kind: u32) -> &'static str {
        match kind {
            NONE => "port",
            TASK => "task",
            TASK_NAME => "task-name",
            HOST => "host",
            HOST_CONTROL => "host-control",
            REGION => "region",
            SEMAPHORE => "semaphore",
            CLOCK => "clock",
            _ => "unknown",
        }
    }
}
