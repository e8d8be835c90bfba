//! The control protocol: one table of requests. Encoding, decoding, `docs/wire.md` and the tracer all come from it.
//!
//! A *lane* is one `SOCK_SEQPACKET` connection; a task has one for each thread that is inside the kernel at the same time. On each
//! lane at most one request is in flight: the task sends a request packet and then reads exactly one answer packet. The kernel
//! may keep the answer back while the thread is blocked in a send or a receive, as a trap would; [`Cancel`] is the only packet
//! allowed meanwhile, and it has no answer of its own. Anything else ends the connection.
//!
//! ```text
//! request  | op u16 | zero u16   | seq u32 | length u32 | zero u32 | fields, then the tail if it has one |
//! answer   | op u16 | attached u16 | seq u32 | length u32 | status   | fields, then the tail             |
//! ```
//!
//! `length` counts the whole packet. `attached` is how many file descriptors came along (kernel to task only). When `status` is not
//! success the fields are absent, except in answers to `Msg` and `SendMany`, which always have them (and to `RouteReturn`, which may). Bit 15 of an answer's `op`
//! ([`EVENTS_WAIT`]) says that the task has events to pull.

use std::fmt;

use crate::limits::PACKET_MAX;
use crate::{Code, Name};

/// Bytes of a packet's head.
pub const HEAD: usize = 16;

/// Set in the `op` of an answer while the task has events to pull.
pub const EVENTS_WAIT: u16 = 1 << 15;

/// The head of a request or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Row of the table.
    pub op: u16,
    /// Answers: file descriptors attached. Requests: zero.
    pub attached: u16,
    /// Chosen by the task, repeated in the answer.
    pub seq: u32,
    /// Answers: the result. Requests: zero.
    pub status: Code,
}

impl Head {
    /// Starts a packet in `out`; [`Head::finish`] fills in its length.
    pub fn begin(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.op.to_le_bytes());
        out.extend_from_slice(&self.attached.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.status.0.to_le_bytes());
    }
    /// Writes the packet's length into its head.
    pub fn finish(packet: &mut [u8]) {
        let length = packet.len() as u32;
        packet[8..12].copy_from_slice(&length.to_le_bytes());
    }
    /// Reads a packet's head and checks its length; gives the rest.
    pub fn read(packet: &[u8]) -> Result<(Head, &[u8]), Malformed> {
        if packet.len() < HEAD {
            return Err(Malformed::Short { have: packet.len(), need: HEAD });
        }
        if packet.len() > PACKET_MAX {
            return Err(Malformed::Long { have: packet.len() });
        }
        let word = |at: usize| u32::from_le_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        if word(8) as usize != packet.len() {
            return Err(Malformed::Length { says: word(8), have: packet.len() });
        }
        let head = Head { op: word(0) as u16, attached: (word(0) >> 16) as u16, seq: word(4), status: Code(word(12)) };
        Ok((head, &packet[HEAD..]))
    }
}

/// Why a packet is not one of the protocol's. Carries the offending values: it ends a connection, and the log should say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than its fields need.
    #[error("packet of {have} bytes where {need} are needed")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Larger than any packet.
    #[error("packet of {have} bytes is larger than any")]
    Long {
        /// Bytes there.
        have: usize,
    },
    /// Its own length is wrong.
    #[error("packet says {says} bytes and has {have}")]
    Length {
        /// What the head says.
        says: u32,
        /// Bytes there.
        have: usize,
    },
    /// Bytes left over behind the fields.
    #[error("{extra} bytes behind the last field")]
    Extra {
        /// How many.
        extra: usize,
    },
    /// A reserved field is set.
    #[error("reserved field holds {value:#x}")]
    Reserved {
        /// What it holds.
        value: u32,
    },
    /// No such row.
    #[error("unknown request {op}")]
    UnknownOp {
        /// The number.
        op: u16,
    },
}

crate::explanations! { Malformed besides []:
    Short = PACKET_SHORT, "a packet to or from the kernel process has fewer bytes than its fields need",
        "a program that does not use libtask, or libtask and kernel process of different builds",
        "use the same build on both sides; the log of the kernel process has the bytes";
    Long = PACKET_LONG, "a packet to or from the kernel process is larger than any",
        "a program that does not use libtask, or libtask and kernel process of different builds",
        "use the same build on both sides; the log of the kernel process has the bytes";
    Length = PACKET_LENGTH, "the length that a packet says is not the one that it has",
        "a program that does not use libtask wrote to the lane, or two processes share one lane",
        "give each process a task of its own: spawn it with Task::spawn, or let it connect";
    Extra = PACKET_EXTRA, "bytes are left over behind a packet's last field",
        "libtask and kernel process of different builds",
        "use the same build on both sides";
    Reserved = PACKET_RESERVED, "a field of a packet that must be zero is not",
        "libtask and kernel process of different builds",
        "use the same build on both sides";
    UnknownOp = PACKET_UNKNOWN_REQUEST, "the kernel process does not know the request", "a task that is newer than the kernel process",
        "end the old kernel process (umach doctor says which runs) and start this build's";
}

/// A field of a packet. The tail (`&[u8]`) takes all that is left, so it can only be the last one.
pub trait Field<'a>: Sized {
    /// How the protocol document writes it.
    const SHAPE: &'static str;
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it from the front.
    fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed>;
}

macro_rules! number_fields {
    ($($ty:ty),*) => {$(
        impl<'a> Field<'a> for $ty {
            const SHAPE: &'static str = stringify!($ty);
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed> {
                let Some((head, rest)) = bytes.split_first_chunk() else {
                    return Err(Malformed::Short { have: bytes.len(), need: size_of::<$ty>() });
                };
                *bytes = rest;
                Ok(<$ty>::from_le_bytes(*head))
            }
        }
    )*};
}
number_fields!(u32, i32, u64);

impl<'a> Field<'a> for Name {
    const SHAPE: &'static str = "name";
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed> {
        u32::take(bytes).map(Name)
    }
}

impl<'a> Field<'a> for &'a [u8] {
    const SHAPE: &'static str = "bytes";
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed> {
        Ok(std::mem::take(bytes))
    }
}

/// A row of the table for documents and tools.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Number on the wire.
    pub op: u16,
    /// Name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Request fields and their shapes.
    pub request: &'static [(&'static str, &'static str)],
    /// Answer fields and their shapes.
    pub answer: &'static [(&'static str, &'static str)],
}

/// A request that has an answer type. Implemented for every row.
pub trait Call {
    /// Number on the wire.
    const OP: u16;
    /// Its fields' names and shapes.
    const FIELDS: &'static [(&'static str, &'static str)];
    /// Its answer.
    type Answer<'r>: Reply<'r>;
    /// Writes the whole packet.
    fn encode(&self, seq: u32, out: &mut Vec<u8>);
}

/// The fields of an answer.
pub trait Reply<'r>: Sized + fmt::Debug {
    /// Its fields' names and shapes.
    const FIELDS: &'static [(&'static str, &'static str)];
    /// Appends the fields.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the fields; all bytes must be used.
    fn take(bytes: &'r [u8]) -> Result<Self, Malformed>;
}

/// Writes a whole answer packet.
pub fn encode_answer<'r>(op: u16, seq: u32, status: Code, attached: u16, fields: Option<&impl Reply<'r>>, out: &mut Vec<u8>) {
    Head { op, attached, seq, status }.begin(out);
    if let Some(fields) = fields {
        fields.put(out);
    }
    Head::finish(out);
}

macro_rules! protocol {
    ($(
        $(#[doc = $doc:literal])*
        $op:literal $Op:ident $(<$lt:lifetime>)? { $($field:ident : $ty:ty),* $(,)? }
            => $(<$alt:lifetime>)? { $($afield:ident : $aty:ty),* $(,)? };
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            #[allow(missing_docs)] // the row above is the documentation; fields are named after Mach's arguments
            pub struct $Op $(<$lt>)? { $(pub $field: $ty),* }

            impl $(<$lt>)? Call for $Op $(<$lt>)? {
                const OP: u16 = $op;
                const FIELDS: &'static [(&'static str, &'static str)] = &[$((stringify!($field), <$ty as Field<'_>>::SHAPE)),*];
                type Answer<'r> = protocol!(@answer $Op $($alt)?);
                fn encode(&self, seq: u32, out: &mut Vec<u8>) {
                    Head { op: $op, attached: 0, seq, status: Code(0) }.begin(out);
                    $(self.$field.put(out);)*
                    Head::finish(out);
                }
            }
        )*

        /// Answers, by the request's name.
        #[allow(missing_docs)]
        pub mod answer {
            use super::*;
            $(
                #[derive(Debug, Clone, Copy, PartialEq, Eq)]
                pub struct $Op $(<$alt>)? { $(pub $afield: $aty),* }

                protocol!(@reply $Op [$($alt)?] $($afield : $aty),*);
            )*
        }

        /// A decoded request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Request<'a> {
            $($Op(protocol!(@request $Op $($lt)?)),)*
        }

        impl<'a> Request<'a> {
            /// Reads a request packet. Everything in it is an allegation; only its form is checked here.
            pub fn decode(packet: &'a [u8]) -> Result<(Head, Request<'a>), Malformed> {
                let (head, mut rest) = Head::read(packet)?;
                if head.attached != 0 || head.status.0 != 0 {
                    return Err(Malformed::Reserved { value: head.status.0 | (head.attached as u32) << 16 });
                }
                let rest = &mut rest;
                let request = match head.op {
                    $($op => Request::$Op($Op { $($field: Field::take(rest)?),* }),)*
                    op => return Err(Malformed::UnknownOp { op }),
                };
                if !rest.is_empty() {
                    return Err(Malformed::Extra { extra: rest.len() });
                }
                Ok((head, request))
            }
            /// The row's number.
            pub fn op(&self) -> u16 {
                match self {
                    $(Request::$Op(_) => $op,)*
                }
            }
            /// The row's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Request::$Op(_) => stringify!($Op),)*
                }
            }
            /// Writes the whole packet.
            pub fn encode(&self, seq: u32, out: &mut Vec<u8>) {
                match self {
                    $(Request::$Op(request) => request.encode(seq, out),)*
                }
            }
        }

        /// The table itself.
        pub const TABLE: &[Row] = &[$(Row {
            op: $op,
            name: stringify!($Op),
            doc: concat!($($doc, "\n"),*),
            request: <protocol!(@still $Op $($lt)?) as Call>::FIELDS,
            answer: <<protocol!(@still $Op $($lt)?) as Call>::Answer<'static> as Reply<'static>>::FIELDS,
        }),*];
    };
    (@answer $Op:ident) => { answer::$Op };
    (@answer $Op:ident $alt:lifetime) => { answer::$Op<$alt> };
    (@request $Op:ident) => { $Op };
    (@request $Op:ident $lt:lifetime) => { $Op<$lt> };
    (@still $Op:ident) => { $Op };
    (@still $Op:ident $lt:lifetime) => { $Op<'static> };
    (@reply $Op:ident [] $($afield:ident : $aty:ty),*) => {
        impl<'r> Reply<'r> for $Op {
            protocol!(@body $($afield : $aty),*);
        }
    };
    (@reply $Op:ident [$alt:lifetime] $($afield:ident : $aty:ty),*) => {
        impl<$alt> Reply<$alt> for $Op<$alt> {
            protocol!(@body $($afield : $aty),*);
        }
    };
    (@body $($afield:ident : $aty:ty),*) => {
        const FIELDS: &'static [(&'static str, &'static str)] = &[$((stringify!($afield), <$aty as Field<'_>>::SHAPE)),*];
        #[allow(unused_variables)]
        fn put(&self, out: &mut Vec<u8>) {
            $(self.$afield.put(out);)*
        }
        fn take(bytes: &'r [u8]) -> Result<Self, Malformed> {
            #[allow(unused_mut)]
            let mut rest = bytes;
            $(let $afield = Field::take(&mut rest)?;)*
            if !rest.is_empty() {
                return Err(Malformed::Extra { extra: rest.len() });
            }
            Ok(Self { $($afield),* })
        }
    };
}

protocol! {
    /// First request of a task. Agrees on version and features, and gives the names that every space starts with: the task's own
    /// control right, its name right, the host right, and the bootstrap right (null if it has none).
    1 Hello { version: u32, features: u64 }
        => { version: u32, features: u64, task: u64, task_self: Name, task_name: Name, host: Name, bootstrap: Name };
    /// Asks for one more lane. Its socket comes attached.
    2 LaneOpen {} => { lane: u32 };
    /// Gives up waiting for the request `seq` of the same lane, if it is still blocked in one of `phases` (1 send, 2 receive). It is
    /// answered with the timed-out code of its phase, or interrupted if `interrupted` is 1. A blocked request in another phase goes on
    /// and only tries, without waiting, when it reaches the phase that was given up. No answer of its own.
    3 Cancel { seq: u32, phases: u32, interrupted: u32 } => {};
    /// Asks for memory for this lane, through which short requests and their answers may go (`kernel/abi/src/lane.rs`). Its memfd comes attached. Once
    /// for a lane.
    4 LaneMemory {} => {};
    /// Something was put into the lane's memory while the kernel process did not look at it. No answer of its own.
    5 LaneBell {} => {};
    /// Answered once every right whose name was put into the lane's memory before has been released.
    6 LaneFlush {} => {};

    /// Sends, receives, or both (`mach_msg`). `flags`: 1 do not wait in the send, 2 do not wait in the receive. `count`: take at most so
    /// many messages that are ready now (0 counts as 1). The tail is `send_size` bytes of message, then `annex` bytes of annex.
    /// `route` and `number` are zero except on a link's behalf: flag 4 sends the message as the `number`-th of that route, to be fetched when the
    /// receiver comes to its place in the ring (`receive` is 1 + the slot that its reply goes to, or null, and `limit` that slot's generation); flag 8 sends a message again that was published as the `number`-th of a route that was being
    /// closed; flag 16 receives the message that was sent so as the `number`-th, and up to `count` in all that follow it (the receive never waits).
    /// A receive from a port that has routes to the caller, or a set with such a port, does not wait here: if there is no mail it is answered
    /// `MACH_RCV_IN_PROGRESS`, and the task's attention tells when to ask again. Flag 32 asks for that whatever the port. A receive also does not
    /// wait while there are events to pull: it is answered `MACH_RCV_IN_PROGRESS`, and so is one that waits when an event comes up.
    /// Answer: frames, one per message (received, or handed back by a failed send).
    10 Msg<'a> { options: u32, flags: u32, receive: Name, limit: u32, route: u64, number: u32, count: u32, send_size: u32, annex: u32,
        tail: &'a [u8] }
        => <'r> { frames: &'r [u8] };
    /// Sends several messages, none of which waits; stops at the first that fails, which is not consumed if its queue is full. The tail
    /// is `count` frames. Answer: how many were sent; the status is that of the one that failed.
    11 SendMany<'a> { count: u32, tail: &'a [u8] } => { sent: u32 };

    /// `mach_port_allocate` and `mach_port_allocate_name`: a new right of kind `right`, under `name` if that is not null.
    20 PortAllocate { task: Name, right: u32, name: Name } => { name: Name };
    /// `mach_port_construct`.
    21 PortConstruct { task: Name, flags: u32, qlimit: u32, context: u64 } => { name: Name };
    /// `mach_port_deallocate`: drops one user reference.
    22 PortDeallocate { task: Name, name: Name } => {};
    /// `mach_port_destroy`: drops every right under the name.
    23 PortDestroy { task: Name, name: Name } => {};
    /// `mach_port_destruct`: destroys the receive right, checks the guard, drops send references.
    24 PortDestruct { task: Name, name: Name, srdelta: i32, guard: u64 } => {};
    /// `mach_port_mod_refs`.
    25 PortModRefs { task: Name, name: Name, right: u32, delta: i32 } => {};
    /// `mach_port_get_refs`.
    26 PortGetRefs { task: Name, name: Name, right: u32 } => { refs: u32 };
    /// `mach_port_type`.
    27 PortType { task: Name, name: Name } => { kind: u32 };
    /// `mach_port_names`, a page of rows (`NameRow`) starting at table slot `start`; `next` is 0 at the end.
    28 PortNames { task: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };
    /// `mach_port_insert_right`: the caller's right `right` goes into `task` under `name`.
    29 PortInsertRight { task: Name, name: Name, right: Name, disposition: u32 } => {};
    /// `mach_port_extract_right`: a right out of `task` comes to the caller; `kind` says as what.
    30 PortExtractRight { task: Name, name: Name, disposition: u32 } => { name: Name, kind: u32 };
    /// `mach_port_move_member`: out of all sets, then into `after` unless that is null.
    31 PortMoveMember { task: Name, member: Name, after: Name } => {};
    /// `mach_port_insert_member`.
    32 PortInsertMember { task: Name, member: Name, set: Name } => {};
    /// `mach_port_extract_member`.
    33 PortExtractMember { task: Name, member: Name, set: Name } => {};
    /// `mach_port_get_set_status`: names of the members, a page starting at the `start`-th; `next` is 0 at the end.
    34 PortGetSetStatus { task: Name, name: Name, start: u32 } => <'r> { next: u32, names: &'r [u8] };
    /// `mach_port_get_attributes`: the flavour's struct as bytes.
    35 PortGetAttributes { task: Name, name: Name, flavor: u32 } => <'r> { info: &'r [u8] };
    /// `mach_port_set_attributes`.
    36 PortSetAttributes<'a> { task: Name, name: Name, flavor: u32, info: &'a [u8] } => {};
    /// `mach_port_set_mscount`.
    37 PortSetMscount { task: Name, name: Name, count: u32 } => {};
    /// `mach_port_set_seqno`.
    38 PortSetSeqno { task: Name, name: Name, seqno: u32 } => {};
    /// `mach_port_request_notification`; `notify` is a right of the caller, taken by `disposition` (make or move send-once), or null to cancel.
    39 PortRequestNotification { task: Name, name: Name, id: u32, sync: u32, notify: Name, disposition: u32 } => { previous: Name };
    /// `mach_port_guard` (flags 1: strict, 2: immovable receive).
    40 PortGuard { task: Name, name: Name, guard: u64, flags: u32 } => {};
    /// `mach_port_unguard`.
    41 PortUnguard { task: Name, name: Name, guard: u64 } => {};
    /// `mach_port_swap_guard`.
    42 PortSwapGuard { task: Name, name: Name, old: u64, new: u64 } => {};
    /// `mach_port_get_context`.
    43 PortGetContext { task: Name, name: Name } => { context: u64 };
    /// `mach_port_set_context`.
    44 PortSetContext { task: Name, name: Name, context: u64 } => {};
    /// `mach_port_peek`: the queued message with `seqno` (0: the first), not taken out. `options` holds the trailer request.
    45 PortPeek { task: Name, name: Name, options: u32, seqno: u32 } => <'r> { seqno: u32, size: u32, id: i32, trailer: &'r [u8] };
    /// `mach_port_space_info`: a page of rows (`SpaceRow`) starting at table slot `start`; `next` is 0 at the end.
    46 PortSpaceInfo { task: Name, start: u32 } => <'r> { table_size: u32, next: u32, rows: &'r [u8] };
    /// `mach_port_kobject`: what the port stands for (`records::kobject`) and its id.
    47 PortKobject { task: Name, name: Name } => { kind: u32, object: u64 };
    /// `mach_port_get_srights`: send rights of the port whose receive right has this name.
    48 PortGetSrights { task: Name, name: Name } => { count: u32 };

    /// `mach_port_assert_attributes`: succeeds if the port has these attributes (only the guard's flavour is known).
    49 PortAssertAttributes<'a> { task: Name, name: Name, flavor: u32, info: &'a [u8] } => {};

    /// Makes a task that has no process yet: its first lane comes attached and is to be handed to a process, whose Hello completes it. The
    /// bootstrap and registered ports are the caller's. The answer's name is the control right. `label` names it for people.
    60 TaskCreate<'a> { flags: u32, label: &'a [u8] } => { control: Name, task: u64 };
    /// `task_terminate`: its rights are gone at once; its process is killed.
    61 TaskTerminate { task: Name } => {};
    /// `task_suspend`.
    62 TaskSuspend { task: Name } => {};
    /// `task_resume`.
    63 TaskResume { task: Name } => {};
    /// `task_info`: one `TaskRow`. Control and name rights both serve.
    64 TaskInfo { task: Name } => <'r> { row: &'r [u8] };
    /// Reads a task's label.
    65 TaskLabel { task: Name } => <'r> { label: &'r [u8] };
    /// Sets a task's label (at most 64 bytes of UTF-8).
    66 TaskSetLabel<'a> { task: Name, label: &'a [u8] } => {};
    /// `task_get_special_port`.
    67 TaskGetSpecialPort { task: Name, which: u32 } => { name: Name };
    /// `task_set_special_port`: takes a copy of the caller's send right; null clears it. With the host's control right as `task`, sets the
    /// bootstrap port that tasks get which come through the listening socket.
    68 TaskSetSpecialPort { task: Name, which: u32, right: Name } => {};
    /// `mach_ports_register`: three send rights of the caller, copied; null for an empty slot.
    69 PortsRegister { task: Name, first: Name, second: Name, third: Name } => {};
    /// `mach_ports_lookup`.
    70 PortsLookup { task: Name } => { first: Name, second: Name, third: Name };
    /// The host's control right, which shows every task. Given to a task that came through the listening socket as the kernel's own user or
    /// as root, and to the first task of a private kernel.
    71 HostControl {} => { name: Name };
    /// `host_info`: one `HostRow`.
    72 HostInfo { host: Name } => <'r> { row: &'r [u8] };
    /// All tasks (`TaskRow`), a page starting at slot `start`; needs the host's control right.
    73 HostTasks { host: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };
    /// All ports (`PortRow`), likewise.
    74 HostPorts { host: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };
    /// The control right of the task with this id, likewise.
    75 HostTask { host: Name, task: u64 } => { control: Name };

    /// `task_set_exception_ports`: a copy of the caller's send right `port`, or nothing for null, is told of the kinds of exception in `mask`. Flag 1
    /// (`task_swap_exception_ports`): gives what was there before (`ExceptionRow`).
    76 TaskSwapExceptionPorts { task: Name, mask: u32, port: Name, behavior: u32, flavor: u32, flags: u32 } => <'r> { rows: &'r [u8] };
    /// `task_get_exception_ports`: rows of `ExceptionRow`; kinds of exception that are treated alike share one.
    77 TaskGetExceptionPorts { task: Name, mask: u32 } => <'r> { rows: &'r [u8] };
    /// Who is to be told of one kind of exception: for the task's own library when one happens. Null if nobody.
    78 TaskExceptionPort { task: Name, exception: u32 } => { port: Name, behavior: u32, flavor: u32 };
    /// `task_for_pid`: the control right of a task in the process `pid`, if that is the caller, or the caller holds it already, or the host's control right.
    79 TaskForPid { pid: u32 } => { control: Name };

    /// Makes a region of `size` bytes. `shared` 0: a memfd to fill and seal, usable as a right once `RegionSeal` has seen the seals. `shared` 1:
    /// read and written by everyone who holds the right; `name` is that right already. The memfd comes attached.
    80 RegionCreate { size: u64, shared: u32 } => { region: u64, name: Name };
    /// The caller has sealed the memfd (shrink, grow, write and seal): the kernel checks and gives a right to it.
    81 RegionSeal { region: u64 } => { name: Name };
    /// Drops a region that was never sealed.
    82 RegionDrop { region: u64 } => {};
    /// Maps a region: its memfd comes attached.
    83 RegionMap { name: Name } => { size: u64, shared: u32 };

    /// Pulls what has happened to the task's links and routes (`records::Event`), in order. Memfds come attached, one for each event that
    /// brings one. `more` is 1 if there is more to pull.
    100 Events {} => <'r> { more: u32, events: &'r [u8] };
    /// The same, but waits until there is an event or mail to look for: a lane on which it is asked is readable when there is.
    /// `mail` is the attention word for mail that the task has seen.
    101 EventsWait { mail: u32 } => <'r> { more: u32, events: &'r [u8] };
    /// The receiver hands undelivered messages of an ended route back, in order, when the end said so: `count` frames, each with the message's number on
    /// the route in `trailer`. A frame with `attach` 1 + n wants its reply in slot n of the link, of the generation in `options`. Tickets are not
    /// handed back: those that were not fetched find their places by their numbers.
    102 RouteReturn<'a> { route: u64, count: u32, tail: &'a [u8] } => { taken: u32 };
    /// The receiver has closed an ended route: it took the first `accepted` messages of it and no other, and has none of them any more: each was
    /// received, or handed back. From the sender, about a route whose receiver died: the first `accepted` had been received, and the others
    /// have been sent again (flag 64 of `Msg`, in order).
    103 RouteAck { route: u64, accepted: u32 } => {};
    /// Takes a port off the direct plane: all routes to it end, their messages are to be returned. `seqno`: what the next message gets.
    104 PortRecall { name: Name, seqno: u32 } => {};
    /// Makes the reply that the caller owes on a link's slot an ordinary send-once right: under the name `wanted` if that can be had, else under any.
    105 ReplyExplicit { link: u64, slot: u32, generation: u32, wanted: Name } => { name: Name };
    /// Wakes the peer of a link, which asked to be woken this way.
    106 LinkRing { link: u64 } => {};
    /// Ends a link: the peer broke a rule (`why`, a number of `records::violation`), on the evidence of two numbers; or with `why` 0, because it is idle.
    /// An idle link ends when both have said so since the last route of theirs over it. Whoever says so has no call open over it, lends and borrows no
    /// memory over it, and publishes nothing there until it is told of another route.
    107 LinkEnd { link: u64, why: u32, found: u64, expected: u64 } => {};
    /// All links (`records::LinkRow`), a page starting at slot `start`; needs the host's control right.
    108 HostLinks { host: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };
    /// All routes (`records::RouteRow`), likewise.
    109 HostRoutes { host: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };
    /// The memfd of a link comes attached, to read its counters; likewise.
    110 HostLinkMap { host: Name, link: u64 } => {};
    /// Memory of `size` bytes for the caller to lend parts of over a link, its `arena`-th: its memfd comes attached. The caller maps it, seals it against
    /// other writers (`F_SEAL_FUTURE_WRITE`), and says so with `LinkArenaReady`.
    112 LinkArena { link: u64, size: u64 } => { arena: u32 };
    /// A send on this route found no credit and asks to be told: arms the caller's send-possible request for the right, if there is one.
    114 RouteWant { route: u64 } => {};
    /// The receiver has room again on a route whose sender asked (`event::ROOM_WANTED`).
    115 RouteRoom { route: u64 } => {};
    /// The caller's `arena`-th arena of a link may be shown to the peer, who gets it with an event.
    116 LinkArenaReady { link: u64, arena: u32 } => {};

    /// Waits until mail has come to a port of the caller's on which nobody waits, or there are events to pull: a lane on which it is asked is readable
    /// when there is something to do. `seen` is what the last answer said; if mail came since, the answer comes at once. `Cancel` of the receive
    /// phase has it answered.
    117 Poll { seen: u32 } => { seen: u32 };

    /// Says that the caller takes open files, and asks for its inbox: a socket that comes attached, on which the kernel process hands over ends of file
    /// lanes. Each packet is the lane's number (u64), with one descriptor. Once.
    120 FileInbox {} => {};
    /// The file lane from the caller to the task that receives where the right `name` leads: a socket that carries descriptors one way. If it is
    /// `fresh`, the caller's end comes attached; the other end is in the receiver's inbox. `except`, unless it is 0, is a lane of the caller's to
    /// that task whose far end is closed: it ends, and a fresh one is made. A packet is [`file_packet::FILE`] and a number (u32 each) with one descriptor, or
    /// [`file_packet::VOID`] and the number of one whose message was not sent.
    121 FileLane { name: Name, except: u64 } => { lane: u64, fresh: u32 };
    /// What has become of file lanes to the caller (`records::FileRow`): files whose messages were destroyed, lanes that are over.
    122 FileNews {} => <'r> { more: u32, rows: &'r [u8] };
    /// All file lanes (`records::FileLaneRow`), a page starting at slot `start`; needs the host's control right.
    123 HostFileLanes { host: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };

    /// Rights that are in no space (`records::HeldRow`), from position `start` on; needs the host's control right. `what`: 1 those in messages, 2 those that are
    /// kept for tasks and for the host.
    124 HostHeld { host: Name, what: u32, start: u64 } => <'r> { next: u64, rows: &'r [u8] };
    /// Threads that wait in the kernel process (`records::WaitRow`), a page starting at slot `start`; needs the host's control right.
    125 HostWaits { host: Name, start: u32 } => <'r> { next: u32, rows: &'r [u8] };
    /// Tells the port behind the send right `port` (copied) of messages that pass the kernel process; needs the host's control right. `who` is ids (u64 each),
    /// first of `tasks` tasks, then of ports; what is sent or received by one of them, or sent to one of them, is wanted, or everything if there are none. Of that only messages
    /// with ids from `first` to `last`; and the answers to what is wanted. Flag 1 (`KEEP_ROUTES`): what goes over links may do so; else no routes are granted for what
    /// is wanted, and those that there are end. Flag 2 (`FOLLOW`): ports at which sender or receiver of a wanted message receives, and to which that message carries a right, are
    /// wanted too. `preview` bytes of each body are told. What comes is messages of the id `trace::BATCH` with a `TraceHead` and rows of
    /// `TraceRow` in their bodies. The trace ends with the port, with the caller, or by `HostTraceEnd`. `KERN_RESOURCE_SHORTAGE` if there are too many.
    126 HostTrace<'a> { host: Name, port: Name, flags: u32, first: i32, last: i32, preview: u32, tasks: u32, who: &'a [u8] } => { trace: u64 };
    /// Ends a trace, whose last records are sent first; needs the host's control right. `lost` is how many records found no room.
    127 HostTraceEnd { host: Name, trace: u64 } => { lost: u64 };

    /// `semaphore_create`: a semaphore of `task`'s, which is over when that is. `policy`: as `SYNC_POLICY_*`, but threads have no priorities.
    130 SemaphoreCreate { task: Name, policy: u32, value: i32 } => { semaphore: Name };
    /// `semaphore_destroy`: the semaphore is over if it is `task`'s; one reference of the name goes in any case.
    131 SemaphoreDestroy { task: Name, semaphore: Name } => {};
    /// `semaphore_signal`. Flag 1: `semaphore_signal_all`. Flag 2: wakes one thread, or is `KERN_NOT_WAITING`. Flag 4: the same
    /// for the caller's thread of that number, and no other.
    132 SemaphoreSignal { semaphore: Name, flags: u32, thread: u32 } => {};
    /// `semaphore_wait`. `signal`, if it is not null, is signalled once the thread waits. Flag 1: does not wait. `Cancel` of the receive phase ends the
    /// wait with `KERN_OPERATION_TIMED_OUT` or `KERN_ABORTED`. `thread`: a number of the task's own, to be signalled by.
    133 SemaphoreWait { semaphore: Name, signal: Name, flags: u32, thread: u32 } => {};
}

/// Flags of [`Msg`].
pub mod msg_flags {
    /// A send that would wait is timed out at once.
    pub const TRY_SEND: u32 = 1;
    /// A receive that would wait is timed out at once.
    pub const TRY_RECEIVE: u32 = 2;
    /// The send is the `number`-th message of `route`.
    pub const TICKET: u32 = 4;
    /// The send may already have arrived as the `number`-th message of `route`.
    pub const DOUBT: u32 = 8;
    /// The receive is for the `number`-th message of `route`.
    pub const BY_TICKET: u32 = 16;
    /// The receive never waits: without mail it is answered `MACH_RCV_IN_PROGRESS`, whatever the port, and the task's attention tells when to
    /// ask again. `number`, unless it is 0, is the attention word for events as the task knows it; if that is not the newest, the answer is
    /// `MACH_RCV_IN_PROGRESS_TIMED`, and the task should look at its events first: one of its threads may have closed a route meanwhile.
    pub const WATCH: u32 = 32;
    /// The send repeats the `number`-th message of `route`, whose receiver died without receiving it. It goes into the queue, full or not.
    pub const AGAIN: u32 = 64;
}

/// First words of the packets of a file lane, which the kernel process never sees.
pub mod file_packet {
    /// A descriptor.
    pub const FILE: u32 = 0x656c_6966;
    /// The message with the file of this number was not sent.
    pub const VOID: u32 = 0x6469_6f76;
}

/// Phases of a blocked request, for [`Cancel`].
pub mod phase {
    /// Waiting for room in a queue.
    pub const SEND: u32 = 1;
    /// Waiting for a message.
    pub const RECEIVE: u32 = 2;
}

/// Flags of [`SemaphoreSignal`] and [`SemaphoreWait`].
pub mod semaphore_flags {
    /// Signals: all threads that wait.
    pub const ALL: u32 = 1;
    /// Signals: only if a thread waits.
    pub const WAITING: u32 = 2;
    /// Signals: one thread of the caller's, if it waits.
    pub const THREAD: u32 = 4;
    /// Waits: not at all.
    pub const TRY: u32 = 1;
}

/// Flags of [`TaskSwapExceptionPorts`].
pub mod exception_flags {
    /// Give what was there before.
    pub const GIVE: u32 = 1;
}

/// Flags of [`TaskCreate`].
pub mod create_flags {
    /// The new task starts without the caller's bootstrap and registered ports.
    pub const NO_INHERIT: u32 = 1;
}

/// The protocol as a document (`docs/wire.md`).
pub fn document() -> String {
    let mut out = String::new();
    let shapes = |fields: &[(&str, &str)]| {
        if fields.is_empty() {
            return "–".to_owned();
        }
        fields.iter().map(|(name, shape)| format!("`{name}` {shape}")).collect::<Vec<_>>().join(", ")
    };
    for row in TABLE {
        out.push_str(&format!("### {} {}\n\n", row.op, row.name));
        out.push_str(&row.doc.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        out.push_str(&format!("\n\n* request: {}\n* answer: {}\n\n", shapes(row.request), shapes(row.answer)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_encoded_is_decoded() {
        let mut packet = Vec::new();
        let request = Request::PortModRefs(PortModRefs { task: Name(1), name: Name(0x103), right: 0, delta: -1 });
        request.encode(7, &mut packet);
        let (head, back) = Request::decode(&packet).unwrap();
        assert_eq!((head.seq, back), (7, request));
    }

    #[test]
    fn request_cut_anywhere_is_refused() {
        let mut packet = Vec::new();
        Msg { options: 3, flags: 0, receive: Name(1), limit: 2, route: 0, number: 0, count: 0, send_size: 24, annex: 0, tail: &[0; 24] }
            .encode(1, &mut packet);
        for cut in 0..packet.len() {
            assert!(Request::decode(&packet[..cut]).is_err());
        }
        packet[2] = 1;
        assert!(matches!(Request::decode(&packet), Err(Malformed::Reserved { .. })));
    }

    #[test]
    fn answer_encoded_is_read() {
        let mut packet = Vec::new();
        encode_answer(PortNames::OP, 3, Code::SUCCESS, 0, Some(&answer::PortNames { next: 9, rows: &[1, 2, 3] }), &mut packet);
        let (head, rest) = Head::read(&packet).unwrap();
        assert_eq!(head.seq, 3);
        assert_eq!(answer::PortNames::take(rest).unwrap(), answer::PortNames { next: 9, rows: &[1, 2, 3] });
    }

    #[test]
    fn table_numbers_rise() {
        assert!(TABLE.windows(2).all(|pair| pair[0].op < pair[1].op));
    }
}
