//! Fixed-size rows that answers carry in their tails: little-endian fields in the order given, no padding.

mod words;

pub use words::*;

use crate::Name;

macro_rules! records {
    ($($(#[doc = $doc:literal])* $Record:ident { $($(#[doc = $fdoc:literal])* $field:ident : $ty:ident),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $Record { $($(#[doc = $fdoc])* pub $field: $ty),* }

        impl $Record {
            /// Bytes of one row.
            pub const SIZE: usize = 0 $(+ std::mem::size_of::<$ty>())*;
            /// Appends the row.
            pub fn write(&self, out: &mut Vec<u8>) {
                $(records!(@put self.$field, $ty, out);)*
            }
            /// Reads the row at the front.
            pub fn read(bytes: &[u8]) -> Option<$Record> {
                let mut rest = bytes.get(..Self::SIZE)?;
                Some($Record { $($field: records!(@get rest, $ty)),* })
            }
            /// Reads all rows; a last incomplete one is left out.
            pub fn all(bytes: &[u8]) -> impl Iterator<Item = $Record> + '_ {
                bytes.chunks_exact(Self::SIZE).filter_map(Self::read)
            }
        }
    )*};
    (@put $value:expr, Name, $out:ident) => { $out.extend_from_slice(&$value.0.to_le_bytes()) };
    (@put $value:expr, $ty:ident, $out:ident) => { $out.extend_from_slice(&$value.to_le_bytes()) };
    (@get $rest:ident, Name) => { Name(records!(@get $rest, u32)) };
    (@get $rest:ident, $ty:ident) => {{
        let (head, tail) = $rest.split_first_chunk()?;
        $rest = tail;
        let _ = &$rest;
        $ty::from_le_bytes(*head)
    }};
}

records! {
    /// One message in the answer of `Msg` or in the request of `SendMany`: the row, then `size` bytes of message, `trailer` bytes of
    /// trailer, `annex` bytes of annex. `attach` file descriptors belong to it, in order.
    Frame {
        /// `Code` of this message.
        status: u32,
        /// Bytes of the message, trailer not counted.
        size: u32,
        /// Bytes of the trailer.
        trailer: u32,
        /// Bytes of the annex.
        annex: u32,
        /// File descriptors.
        attach: u32,
        /// Request: options of this send. Answer: see [`event::ROUTE_IN`]; else zero.
        options: u32,
    }

    /// A row of `PortNames`.
    NameRow {
        /// The name.
        name: Name,
        /// [`crate::TypeBits`].
        kind: u32,
    }

    /// A row of `TaskGetExceptionPorts`: kinds of exception that are treated alike.
    ExceptionRow {
        /// Which kinds: bit `n` is exception `n`.
        mask: u32,
        /// Who is told; null if nobody.
        port: Name,
        /// `EXCEPTION_*`.
        behavior: u32,
        /// Which state goes along, for behaviours that send one.
        flavor: u32,
    }

    /// What comes first in the body of each message to a tracer.
    TraceHead {
        /// The trace.
        trace: u64,
        /// Records that found no room, since the trace began.
        lost: u64,
    }

    /// One record of a trace; `listed` rows of `TraceRight` and `preview` bytes of body follow it, and zeros up to `size`.
    TraceRow {
        /// Bytes of the record with what follows it; a multiple of 8.
        size: u32,
        /// What happened ([`trace`]).
        kind: u32,
        /// Nanoseconds of the monotonic clock.
        time: u64,
        /// The message's number in this kernel process, counted over all traces; 0 if nobody was told when it was sent.
        number: u64,
        /// Task that sent it; 0 for the kernel process. `TASK` and `ENDED`: the task.
        sender: u64,
        /// Task that receives it; 0 if that is the kernel process, or nobody yet. `TASK`: its parent.
        receiver: u64,
        /// The port it went to.
        port: u64,
        /// The port of the right to answer with; 0 if there is none.
        reply: u64,
        /// The message's id. `TASK`: the process.
        id: i32,
        /// Bytes of the message with its header. `TASK`: the user.
        bytes: u32,
        /// Bytes of the annex.
        annex: u32,
        /// Bytes of the body, without descriptors.
        body: u32,
        /// Flags ([`trace`]).
        flags: u32,
        /// What the port stands for, if the kernel process receives there ([`kobject`]).
        kobject: u32,
        /// Messages queued at the port, this one not counted.
        queued: u32,
        /// Rights, memory and open files in the message.
        rights: u32,
        /// Those that are listed behind this row.
        listed: u32,
        /// Bytes of the body behind them. `TASK`: of the task's label.
        preview: u32,
    }

    /// A right, memory or an open file in a traced message.
    TraceRight {
        /// What it is ([`trace`]).
        what: u32,
        /// The port that a right or a region leads to.
        port: u64,
        /// Bytes of memory.
        size: u64,
    }

    /// A row of `PortSpaceInfo`: one name of a space, with what it stands for.
    SpaceRow {
        /// The name.
        name: Name,
        /// [`crate::TypeBits`].
        kind: u32,
        /// User references.
        urefs: u32,
        /// Kernel object kind of the port ([`crate::records::kobject`]).
        kobject: u32,
        /// The port's or set's id; the same id in two spaces is the same port. 0 for a dead name.
        object: u64,
        /// Task that receives on the port; 0 if none or in transit.
        receiver: u64,
    }

    /// A row of `HostPorts`.
    PortRow {
        /// The port's id.
        object: u64,
        /// Task that holds the receive right; 0 if in transit or the kernel's.
        receiver: u64,
        /// The receiver's name for it.
        name: Name,
        /// [`crate::records::kobject`].
        kobject: u32,
        /// Send rights, in spaces and in transit.
        send_rights: u32,
        /// Send-once rights.
        send_once_rights: u32,
        /// Queued messages.
        queued: u32,
        /// Queue limit.
        qlimit: u32,
        /// Bytes of the queued messages.
        queued_bytes: u64,
        /// Senders that wait for room.
        blocked_senders: u32,
        /// Threads that wait for a message here.
        waiting_receivers: u32,
        /// Messages received so far.
        seqno: u32,
        /// Make-send count.
        mscount: u32,
        /// Sets it is in.
        sets: u32,
        /// 1: no-senders armed, 2: port-destroyed armed, 4: guarded.
        flags: u32,
    }

    /// A row of `HostTasks`, and the answer of `TaskInfo`; followed by nothing: the label is fetched with `TaskLabel`.
    TaskRow {
        /// The task's id; never reused.
        task: u64,
        /// Process id; 0 before its first request.
        pid: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Suspend count.
        suspended: u32,
        /// Names in its space.
        names: u32,
        /// Ports charged to it.
        ports: u32,
        /// Regions charged to it.
        regions: u32,
        /// Lanes.
        lanes: u32,
        /// Bytes queued for it.
        queued_bytes: u64,
        /// Bytes of regions charged to it.
        region_bytes: u64,
        /// Messages sent.
        sent: u64,
        /// Messages received.
        received: u64,
        /// Threads of it blocked in a send.
        blocked_sends: u32,
        /// Threads of it blocked in a receive.
        blocked_receives: u32,
        /// Limit of names.
        names_limit: u32,
        /// Limit of ports.
        ports_limit: u32,
        /// Limit of bytes queued for it.
        queued_bytes_limit: u64,
        /// Task that spawned it; 0 if it came through the listening socket.
        parent: u64,
    }

    /// What has happened to a link or a route: a row of `Events`. Fields that a kind does not use are zero.
    Event {
        /// One of [`crate::records::event`].
        kind: u32,
        /// See the kind.
        flags: u32,
        /// The link.
        link: u64,
        /// The route.
        route: u64,
        /// See the kind.
        index: u32,
        /// See the kind.
        value: u32,
        /// See the kind.
        name: Name,
        /// The peer's process.
        pid: u32,
        /// The peer's user.
        uid: u32,
        /// The peer's group.
        gid: u32,
        /// The peer's task id.
        task: u64,
        /// See the kind.
        context: u64,
    }

    /// A row of `HostLinks`.
    LinkRow {
        /// The link.
        link: u64,
        /// The task whose half is the first.
        first: u64,
        /// The task whose half is the second.
        second: u64,
        /// Live routes from the first to the second.
        forth: u32,
        /// Live routes from the second to the first.
        back: u32,
        /// Messages with rights on their way.
        tickets: u32,
        /// 1: ending; 2: the first says that it does not use it; 4: the second does.
        flags: u32,
        /// Arenas of the first.
        arenas_first: u32,
        /// Arenas of the second.
        arenas_second: u32,
        /// Bytes of those of the first.
        arena_bytes_first: u64,
        /// Bytes of those of the second.
        arena_bytes_second: u64,
    }

    /// A row of `HostRoutes`.
    RouteRow {
        /// The route.
        route: u64,
        /// Its link.
        link: u64,
        /// The task that sends.
        sender: u64,
        /// The port.
        port: u64,
        /// Index in the sender's direction of the link.
        index: u32,
        /// The sender's name for the port.
        name: Name,
        /// Tickets not fetched.
        tickets: u32,
        /// 0 live, 1 live but behind mail, 2 ended and not yet closed by the receiver, 3 closed, and its sender has
        /// not been told.
        state: u32,
    }

    /// A row of `FileNews`.
    FileRow {
        /// The lane.
        lane: u64,
        /// Which file.
        number: u32,
        /// One of [`crate::records::file_news`].
        what: u32,
    }

    /// A row of `HostFileLanes`.
    FileLaneRow {
        /// The lane.
        lane: u64,
        /// The task that sends.
        sender: u64,
        /// The task that receives.
        receiver: u64,
        /// Files in messages that were not received yet.
        queued: u32,
        /// Files whose messages were destroyed, of which the receiver has not heard.
        void: u32,
        /// 1: nothing more is sent.
        flags: u32,
    }

    /// A row of `HostHeld`: a right that is in no space.
    HeldRow {
        /// Where it is: one of [`crate::records::held`].
        place: u32,
        /// Which right: [`crate::TypeBits`]; a dead name's if its port has died.
        kind: u32,
        /// The port in whose queue the message is, or the task for which the right is kept; 0 if it is the host's.
        holder: u64,
        /// The port that the right is to; 0 for a dead one.
        object: u64,
        /// The task that sent the message; 0 if none did.
        sender: u64,
        /// Kind of that port ([`crate::records::kobject`]).
        kobject: u32,
    }

    /// A row of `HostWaits`: a thread that waits in the kernel process.
    WaitRow {
        /// Its task.
        task: u64,
        /// For what: one of [`crate::records::wait`].
        what: u32,
        /// The port or set; 0 if it waits for something else.
        object: u64,
    }

    /// Answer of `HostInfo`.
    HostRow {
        /// [`crate::VERSION`].
        version: u32,
        /// The kernel process.
        pid: u32,
        /// Agreed features of the host.
        features: u64,
        /// Tasks.
        tasks: u32,
        /// Ports.
        ports: u32,
        /// Port sets.
        sets: u32,
        /// Messages in transit.
        messages: u32,
        /// Names in all spaces.
        names: u64,
        /// Regions.
        regions: u32,
        /// Lanes.
        lanes: u32,
        /// Bytes of messages in transit.
        message_bytes: u64,
        /// Bytes of regions.
        region_bytes: u64,
        /// Requests served.
        requests: u64,
        /// Messages sent.
        sent: u64,
        /// Pieces of teardown still to do.
        work: u64,
    }
}

/// How the id of a task (`T`), port (`P`) or set (`S`) is written for people: `T3`, or `T3.2` for the second task that used slot 3; `-` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub char, pub u64);

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Written(letter, raw) = *self;
        let (slot, generation) = (raw as u32, raw >> 32);
        let text = match (raw, generation) {
            (0, _) => "-".to_owned(),
            (_, 1) => format!("{letter}{slot}"),
            _ => format!("{letter}{slot}.{generation}"),
        };
        f.pad(&text)
    }
}

impl TraceRow {
    /// Where the time is.
    pub const TIME_AT: usize = 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_what_they_wrote() {
        let row = SpaceRow { name: Name(0x103), kind: 0x1_0000, urefs: 2, kobject: 0, object: 9, receiver: 1 << 40 };
        let mut out = Vec::new();
        row.write(&mut out);
        row.write(&mut out);
        assert_eq!(out.len(), 2 * SpaceRow::SIZE);
        assert_eq!(SpaceRow::all(&out).collect::<Vec<_>>(), [row, row]);
        assert_eq!(SpaceRow::read(&out[..SpaceRow::SIZE - 1]), None);
    }
}
