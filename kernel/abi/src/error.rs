//! Return codes (`kern_return_t`, `mach_msg_return_t`, MIG's and the bootstrap interface's), each with its meaning and what to try.

use std::fmt;

use crate::explain::Explanation;

/// One of Mach's codes. `Display` gives the name and a sentence; [`Code::advice`] says what to try.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($name:ident = $value:literal, $meaning:literal, $cause:literal, $advice:literal;)*) => {
        #[allow(missing_docs)] // the table's second column is the documentation; `KNOWN` carries it
        impl Code {
            $(#[doc = $meaning] pub const $name: Code = Code($value);)*
        }
        /// Every code: its number, and its name, meaning, cause in this system, and what to try.
        pub const KNOWN: &[(Code, Explanation)] = &[$((Code($value), Explanation {
            name: stringify!($name),
            number: Some($value),
            meaning: $meaning,
            cause: $cause,
            advice: $advice,
        })),*];
    };
}

codes! {
    MACH_SEND_IN_PROGRESS = 0x10000001, "the send has not finished",
        "an ended route to the port has not been closed yet; libtask waits for that by itself, so a program sees this only through the raw calls",
        "internal; report it";
    MACH_SEND_INVALID_DATA = 0x10000002, "the message buffer could not be read",
        "the address or length given for the message lies outside the caller's memory",
        "check the buffer's address and size";
    MACH_SEND_INVALID_DEST = 0x10000003, "the destination is not a right that can send: dead, never valid, or of another kind",
        "the port's receiver has died or destroyed it (the name is a dead name then), the right was moved away or released, or the name is a receive right or a set",
        "look the destination up again; its owner may have died";
    MACH_SEND_TIMED_OUT = 0x10000004, "the destination's queue stayed full until the deadline",
        "the receiver does not receive, or receives more slowly than its senders send: its queue limit (5 unless it asked for more) was reached for the whole time",
        "wait longer, or ask for a send-possible notification";
    MACH_SEND_INVALID_VOUCHER = 0x10000005, "a voucher was given that is not one",
        "the header's voucher field is not zero; there are no vouchers here",
        "leave the voucher field zero";
    MACH_SEND_INTERRUPTED = 0x10000007, "the send was interrupted",
        "the connection's request was given up while the sender waited for room",
        "send again";
    MACH_SEND_MSG_TOO_SMALL = 0x10000008, "the size is below a header, no multiple of four, or shorter than its descriptors",
        "a size below 24 bytes, or one that counts fewer descriptors than the body announces",
        "check the size argument";
    MACH_SEND_INVALID_REPLY = 0x10000009, "the reply right is not one, or is dead",
        "the name in the local port field is not held with the disposition given, or its port is dead",
        "make a new reply port";
    MACH_SEND_INVALID_RIGHT = 0x1000000a, "a right in the body is not held, or the disposition does not fit it",
        "a port descriptor names a right that is not held in the way its disposition needs: MAKE_SEND and MOVE_RECEIVE need the receive right, COPY_SEND and MOVE_SEND a send right",
        "check which rights this task holds; rights before the bad one are gone";
    MACH_SEND_INVALID_NOTIFY = 0x1000000b, "the notify port is not a receive right",
        "the port given for the notice is not a receive right of this task",
        "give a receive right";
    MACH_SEND_INVALID_MEMORY = 0x1000000c, "an out-of-line descriptor names memory that cannot be sent",
        "the address and size lie outside the caller's memory, the region is not sealed yet, or a memory descriptor names no region",
        "check address and size, and that the region is sealed";
    MACH_SEND_NO_BUFFER = 0x1000000d, "the receiver's queue quota has no room for this message",
        "the bytes queued for the receiver (task-queued-bytes), or this sender's fair share of them, are used up",
        "let the receiver catch up, or send less at once";
    MACH_SEND_TOO_LARGE = 0x1000000e, "the message is larger than can be carried inline, or carries too many rights",
        "the body is above the inline limit, or there are more descriptors than a message may have",
        "move bulk data out of line";
    MACH_SEND_INVALID_TYPE = 0x1000000f, "a descriptor's type or copy option is unknown",
        "a descriptor's type byte or copy option is none of message.h's",
        "check the descriptors";
    MACH_SEND_INVALID_HEADER = 0x10000010, "the header's dispositions are not valid",
        "the header's bits name a disposition that cannot send (MOVE_RECEIVE, say), or bits that are reserved",
        "use one that can send for the destination, and for the reply if there is one";
    MACH_SEND_INVALID_TRAILER = 0x10000011, "the trailer sent along is malformed",
        "MACH_SEND_TRAILER was given with something that is no trailer",
        "leave it out";
    MACH_SEND_INVALID_CONTEXT = 0x10000012, "the context is not valid",
        "the context of a guarded port does not match",
        "report it";
    MACH_SEND_INVALID_OPTIONS = 0x10000013, "the options contradict each other",
        "options were given together that exclude each other",
        "check the options";
    MACH_SEND_INVALID_RT_OOL_SIZE = 0x10000015, "out-of-line memory is too large for this port",
        "XNU gives this for real-time ports; umach has none, so it came from another server or program",
        "send less";
    MACH_SEND_NO_GRANT_DEST = 0x10000016, "the destination does not accept grants",
        "OSF Mach's; umach never gives it, so it came from another server or program",
        "send without";
    MACH_SEND_MSG_FILTERED = 0x10000017, "the message was refused by a filter",
        "XNU's message filters; umach has none, so it came from another server or program",
        "check the destination's policy";
    MACH_SEND_AUX_TOO_SMALL = 0x10000018, "the auxiliary data are too small",
        "auxiliary data of mach_msg2 that umach does not carry",
        "leave them out";
    MACH_SEND_AUX_TOO_LARGE = 0x10000019, "the auxiliary data are too large",
        "auxiliary data of mach_msg2 that umach does not carry",
        "leave them out";
    MACH_RCV_IN_PROGRESS = 0x10004001, "the receive has not finished",
        "there is no mail at the moment and the caller asked to be rung; libtask waits by itself, so a program sees this only through the raw calls",
        "internal; report it";
    MACH_RCV_INVALID_NAME = 0x10004002, "the name is neither a receive right nor a port set",
        "the port was moved away or destroyed before the receive began, or the name is a send right",
        "check that the port has not been moved or destroyed";
    MACH_RCV_TIMED_OUT = 0x10004003, "no message came before the deadline",
        "nobody sent; the server that should answer is busy, stopped, waits for somebody itself, or has forgotten the request",
        "wait longer, or check that the sender is alive (ask for a dead-name notification)";
    MACH_RCV_TOO_LARGE = 0x10004004, "the message is larger than the buffer",
        "the sender sent more than this receiver expects; without MACH_RCV_LARGE the message is gone",
        "receive with a larger buffer; with RCV_LARGE it is still queued";
    MACH_RCV_INTERRUPTED = 0x10004005, "the receive was interrupted",
        "the wait was given up, by a signal or by the connection's other thread",
        "receive again";
    MACH_RCV_PORT_CHANGED = 0x10004006, "the port was moved away, or died, while waiting on it",
        "another thread moved the receive right away, destroyed it, or the set that was waited on",
        "find out which; receive on the port's new home";
    MACH_RCV_INVALID_NOTIFY = 0x10004007, "the notify port is not valid",
        "MACH_RCV_NOTIFY was given with a port that is not a receive right",
        "give a receive right";
    MACH_RCV_INVALID_DATA = 0x10004008, "the buffer could not be written",
        "the receive buffer lies outside the caller's memory",
        "check the buffer's address and size";
    MACH_RCV_PORT_DIED = 0x10004009, "the port died while waiting on it",
        "the receive right was destroyed; XNU, and so umach, says MACH_RCV_PORT_CHANGED instead",
        "stop receiving";
    MACH_RCV_IN_SET = 0x1000400a, "the port is a member of a set",
        "other Machs refuse to receive on a member of a set; umach, like XNU, allows it",
        "receive from the set";
    MACH_RCV_HEADER_ERROR = 0x1000400b, "the header's rights could not be delivered; the message was destroyed",
        "the receiver has no room for another name (task-names), so the reply right could not be given to it",
        "release names: this task's quota is full";
    MACH_RCV_BODY_ERROR = 0x1000400c, "some rights or memory could not be delivered and are null in the message",
        "the receiver has no room for another name (task-names) or region (task-regions, task-region-bytes), or no memory to map one",
        "release names: this task's quota is full";
    MACH_RCV_INVALID_TYPE = 0x1000400d, "a scatter descriptor does not fit",
        "MACH_RCV_OVERWRITE with a list that does not match the message",
        "check the scatter list";
    MACH_RCV_SCATTER_SMALL = 0x1000400e, "a scatter area is too small",
        "MACH_RCV_OVERWRITE with an area smaller than what came",
        "give more room";
    MACH_RCV_INVALID_TRAILER = 0x1000400f, "the trailer asked for is unknown",
        "the receive options ask for trailer elements that do not exist",
        "check the receive options";
    MACH_RCV_IN_PROGRESS_TIMED = 0x10004011, "the receive has not finished",
        "internal to Mach kernels; umach never gives it",
        "internal; report it";
    MACH_RCV_INVALID_REPLY = 0x10004012, "the reply port is not valid",
        "XNU's special reply ports; umach has none",
        "make a new reply port";
    MACH_RCV_INVALID_ARGUMENTS = 0x10004013, "the arguments contradict each other",
        "options or sizes were given together that exclude each other",
        "check the options";
    KERN_SUCCESS = 0, "success",
        "it worked",
        "nothing";
    KERN_INVALID_ADDRESS = 1, "the address is not valid",
        "the address lies outside the caller's memory, or nothing is mapped there",
        "check the address";
    KERN_PROTECTION_FAILURE = 2, "the memory is protected",
        "the memory is sealed, or mapped without the access that was asked for",
        "check the access asked for";
    KERN_NO_SPACE = 3, "this task's quota of names or ports is used up",
        "the task has as many names (task-names) or ports (task-ports) as it may; often a right is kept for each request and never released",
        "release rights, or raise the quota (umach kernel --help)";
    KERN_INVALID_ARGUMENT = 4, "an argument is not valid",
        "a name is null or of the wrong kind, a number is out of its range, or flags are unknown",
        "check the arguments";
    KERN_FAILURE = 5, "the call cannot be done on this object",
        "the object is in a state in which this has no meaning: guarded, already done, or for another process",
        "check the object's state";
    KERN_RESOURCE_SHORTAGE = 6, "the kernel process or its user ran out of a resource",
        "the kernel process has no descriptor left, or the user's share of tasks, lanes, links or regions is used up",
        "release something, or see umach doctor";
    KERN_NOT_RECEIVER = 7, "the task does not hold the receive right",
        "the receive right is with another task, or in a message on its way",
        "check who receives on the port";
    KERN_NO_ACCESS = 8, "the caller may not do this",
        "the host's control right is for the kernel process's own user and root; a task's control right is with who started the task",
        "ask the holder of the control right";
    KERN_MEMORY_FAILURE = 9, "the memory object failed",
        "what came with the message is not sealed memory of the size it claims",
        "release it";
    KERN_MEMORY_ERROR = 10, "the memory object reported an error",
        "the object behind the memory failed; umach's regions never do, so it came from another server",
        "release it";
    KERN_ALREADY_IN_SET = 11, "the port is already a member of the set",
        "the port was put there before",
        "nothing";
    KERN_NOT_IN_SET = 12, "the port is not a member of the set",
        "it was taken out before, or has moved to another task, which takes a port out of all sets",
        "check the set";
    KERN_NAME_EXISTS = 13, "the name is in use",
        "the caller chose a name that its space uses already",
        "choose another name";
    KERN_ABORTED = 14, "the operation was aborted",
        "the call was given up: the semaphore's or the task's end, or a cancelled request",
        "try again";
    KERN_INVALID_NAME = 15, "the name stands for nothing in this space",
        "the right was released, moved away in a message, or never received; a name is never used again with the same generation",
        "check that the right was not already released or moved";
    KERN_INVALID_TASK = 16, "the name is not a task's control right",
        "the task has ended, or the name is its name port or something else",
        "use a control right";
    KERN_INVALID_RIGHT = 17, "the name stands for another kind of right",
        "a send right where a receive right is needed, a dead name where a live right is, and the like",
        "check the kind of right with port type";
    KERN_INVALID_VALUE = 18, "a value is out of range",
        "a queue limit above the largest, a delta below the references held, a name whose low bits are not as names', a label that is too long",
        "check the value";
    KERN_UREFS_OVERFLOW = 19, "too many user references",
        "GNU Mach's and CMU's; umach, like XNU, keeps the count at its maximum and succeeds",
        "release some";
    KERN_INVALID_CAPABILITY = 20, "the right is not valid here, or is dead",
        "the right given along is dead or not a send right",
        "check the right";
    KERN_RIGHT_EXISTS = 21, "the task already holds this port under another name",
        "send and receive rights to one port come together under one name",
        "use that name";
    KERN_INVALID_HOST = 22, "the name is not a host right",
        "the host port was not asked for, or its control right is needed",
        "use the host right";
    KERN_MEMORY_PRESENT = 23, "the memory is already there",
        "something is mapped there already",
        "nothing";
    KERN_INVALID_POLICY = 28, "the policy is not valid",
        "a semaphore's policy is none of SYNC_POLICY_*",
        "check the policy";
    KERN_ALREADY_WAITING = 30, "somebody is already waiting",
        "another thread waits, where only one may",
        "wait";
    KERN_NOT_SUPPORTED = 46, "umach does not support this",
        "it is a call or flavour of Mach's that serves what Linux does itself, or what nobody needed yet",
        "see docs/caveats.md";
    KERN_NOT_WAITING = 48, "nobody is waiting",
        "semaphore_signal_thread with a thread that does not wait there",
        "nothing";
    KERN_OPERATION_TIMED_OUT = 49, "the operation timed out",
        "nobody signalled the semaphore, or the name did not appear, before the deadline",
        "wait longer";
    KERN_INVALID_OBJECT = 29, "the object is not valid",
        "the object that the right stands for is of another kind, or gone",
        "check the right";
    KERN_TERMINATED = 37, "the object is being destroyed",
        "the kernel process, the task or the object has ended, and what was asked of it can no longer be done",
        "stop using it";
    KERN_DENIED = 53, "denied by policy",
        "a policy of the system forbids it",
        "ask for the right";
    KERN_NOT_FOUND = 56, "not found",
        "there is no such task, link, route, file or special port now; it may have ended a moment ago",
        "check the name";
    MIG_TYPE_ERROR = 0xfffffed4, "the request's types do not fit",
        "the two sides were built from different descriptions, or the message was meant for another server",
        "use the interface's current description";
    MIG_REPLY_MISMATCH = 0xfffffed3, "the reply belongs to another request",
        "two threads used one reply port, or a reply came after its call had been given up",
        "use one reply port per thread";
    MIG_REMOTE_ERROR = 0xfffffed2, "the server detected an error",
        "the server's routine failed in a way that it has no code for",
        "see the server's log";
    MIG_BAD_ID = 0xfffffed1, "the server does not know this message id",
        "the right is to another server than thought, or the server is older than its client",
        "check which server this is";
    MIG_BAD_ARGUMENTS = 0xfffffed0, "the server refused the arguments' form",
        "sizes, descriptors or counts in the request are not as the interface says",
        "check the arguments";
    MIG_NO_REPLY = 0xfffffecf, "no reply is to be sent",
        "a server's routine asks that no answer be sent",
        "nothing";
    MIG_EXCEPTION = 0xfffffece, "the server raised an exception",
        "the server answered with an exception instead of a reply",
        "see the server's log";
    MIG_ARRAY_TOO_LARGE = 0xfffffecd, "an array is too large",
        "an array is longer than the interface's bound",
        "send less";
    MIG_SERVER_DIED = 0xfffffecc, "the server died before it answered",
        "the server was killed or crashed while it worked on the request, or dropped the request (and with it the right to answer)",
        "look the service up again";
    MIG_TRAILER_ERROR = 0xfffffecb, "the trailer is malformed",
        "the server did not get the trailer that it asked for",
        "report it";
    BOOTSTRAP_NOT_PRIVILEGED = 1100, "the name server's policy forbids this",
        "the name server's configuration does not let this user register or look up the name",
        "check the policy for this name and uid";
    BOOTSTRAP_NAME_IN_USE = 1101, "the service name is registered already",
        "another task registered it and lives, or it belongs to a service that starts on demand",
        "choose another name";
    BOOTSTRAP_UNKNOWN_SERVICE = 1102, "no such service",
        "nothing registered it, its server has died, or it is in another name space",
        "list the names that exist (umach names)";
    BOOTSTRAP_SERVICE_ACTIVE = 1103, "the service is already checked in",
        "another process of this service runs",
        "only one task can serve a name";
    BOOTSTRAP_BAD_COUNT = 1104, "bad count",
        "an array's length in the request is not what follows",
        "check the arguments";
    BOOTSTRAP_NO_MEMORY = 1105, "the name server is out of room",
        "the name server holds as many names as it may, or its own quota is used up",
        "unregister names";
    BOOTSTRAP_NO_CHILDREN = 1106, "the subset has no children",
        "the bootstrap port is not a name space made by bootstrap_subset",
        "check the bootstrap port";
}

impl Code {
    /// The success code of both families (`MACH_MSG_SUCCESS`).
    pub const SUCCESS: Code = Code(0);

    /// OR-ed into a receive error: a name could not be made.
    pub const IPC_SPACE: u32 = 0x2000;
    /// OR-ed into a receive error: memory could not be mapped.
    pub const VM_SPACE: u32 = 0x1000;
    /// OR-ed into a receive error: the kernel was short of rights.
    pub const IPC_KERNEL: u32 = 0x800;
    /// OR-ed into a receive error: the kernel was short of memory.
    pub const VM_KERNEL: u32 = 0x400;
    /// All the bits that may be OR-ed in (`MACH_MSG_MASK`).
    pub const MASK: u32 = 0x3e00;

    /// Whether this is success.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
    /// `Err(self)` unless success.
    pub const fn ok(self) -> Result<(), Code> {
        if self.0 == 0 { Ok(()) } else { Err(self) }
    }
    /// The code without the bits of [`Code::MASK`].
    pub const fn plain(self) -> Code {
        // Only message errors carry the bits; MIG's negative numbers use them otherwise.
        if self.0 >> 28 == 1 { Code(self.0 & !Code::MASK) } else { self }
    }
    /// All that is known about it, if it is one of the table's.
    pub fn explanation(self) -> Option<&'static Explanation> {
        KNOWN.iter().find(|row| row.0 == self.plain()).map(|row| &row.1)
    }
    /// The constant's name, if known.
    pub fn name(self) -> Option<&'static str> {
        self.explanation().map(|known| known.name)
    }
    /// What happened, in one clause.
    pub fn meaning(self) -> &'static str {
        self.explanation().map_or("unknown code", |known| known.meaning)
    }
    /// What to try.
    pub fn advice(self) -> &'static str {
        self.explanation().map_or("report it", |known| known.advice)
    }
    /// Looks a code up by its constant's name.
    pub fn from_name(name: &str) -> Option<Code> {
        KNOWN.iter().find(|row| row.1.name == name).map(|row| row.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}: {}", self.meaning()),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Code({:#x})", self.0),
        }
    }
}

impl std::error::Error for Code {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_resolve_by_name() {
        for (i, row) in KNOWN.iter().enumerate() {
            assert_eq!(Code::from_name(row.1.name), Some(row.0));
            assert!(KNOWN[i + 1..].iter().all(|other| other.0 != row.0 && other.1.name != row.1.name), "{} twice", row.1.name);
        }
    }

    #[test]
    fn body_error_with_bits_keeps_its_name() {
        assert_eq!(Code(Code::MACH_RCV_BODY_ERROR.0 | Code::IPC_SPACE).name(), Some("MACH_RCV_BODY_ERROR"));
        assert_eq!(Code::MIG_BAD_ID.plain(), Code::MIG_BAD_ID);
    }
}
