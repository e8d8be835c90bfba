//! Return codes (`kern_return_t`, `mach_msg_return_t`, MIG's and the bootstrap interface's), each with its meaning and what to try.

use std::fmt;

/// One of Mach's codes. `Display` gives the name and a sentence; [`Code::advice`] says what to try.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($name:ident = $value:literal, $meaning:literal, $advice:literal;)*) => {
        #[allow(missing_docs)] // the table's second column is the documentation; `KNOWN` carries it
        impl Code {
            $(#[doc = $meaning] pub const $name: Code = Code($value);)*
        }
        /// Every code: number, name, meaning, what to try.
        pub const KNOWN: &[(Code, &str, &str, &str)] = &[$((Code($value), stringify!($name), $meaning, $advice)),*];
    };
}

codes! {
    MACH_SEND_IN_PROGRESS = 0x10000001, "the send has not finished", "internal; report it";
    MACH_SEND_INVALID_DATA = 0x10000002, "the message buffer could not be read", "check the buffer's address and size";
    MACH_SEND_INVALID_DEST = 0x10000003, "the destination is not a right that can send: dead, never valid, or of another kind", "look the destination up again; its owner may have died";
    MACH_SEND_TIMED_OUT = 0x10000004, "the destination's queue stayed full until the deadline", "wait longer, or ask for a send-possible notification";
    MACH_SEND_INVALID_VOUCHER = 0x10000005, "a voucher was given that is not one", "leave the voucher field zero";
    MACH_SEND_INTERRUPTED = 0x10000007, "the send was interrupted", "send again";
    MACH_SEND_MSG_TOO_SMALL = 0x10000008, "the size is below a header, no multiple of four, or shorter than its descriptors", "check the size argument";
    MACH_SEND_INVALID_REPLY = 0x10000009, "the reply right is not one, or is dead", "make a new reply port";
    MACH_SEND_INVALID_RIGHT = 0x1000000a, "a right in the body is not held, or the disposition does not fit it", "check which rights this task holds; rights before the bad one are gone";
    MACH_SEND_INVALID_NOTIFY = 0x1000000b, "the notify port is not a receive right", "give a receive right";
    MACH_SEND_INVALID_MEMORY = 0x1000000c, "an out-of-line descriptor names memory that cannot be sent", "check address and size, and that the region is sealed";
    MACH_SEND_NO_BUFFER = 0x1000000d, "the receiver's queue quota has no room for this message", "let the receiver catch up, or send less at once";
    MACH_SEND_TOO_LARGE = 0x1000000e, "the message is larger than can be carried inline, or carries too many rights", "move bulk data out of line";
    MACH_SEND_INVALID_TYPE = 0x1000000f, "a descriptor's type or copy option is unknown", "check the descriptors";
    MACH_SEND_INVALID_HEADER = 0x10000010, "the header's dispositions are not valid", "use one that can send for the destination, and for the reply if there is one";
    MACH_SEND_INVALID_TRAILER = 0x10000011, "the trailer sent along is malformed", "leave it out";
    MACH_SEND_INVALID_CONTEXT = 0x10000012, "the context is not valid", "report it";
    MACH_SEND_INVALID_OPTIONS = 0x10000013, "the options contradict each other", "check the options";
    MACH_SEND_INVALID_RT_OOL_SIZE = 0x10000015, "out-of-line memory is too large for this port", "send less";
    MACH_SEND_NO_GRANT_DEST = 0x10000016, "the destination does not accept grants", "send without";
    MACH_SEND_MSG_FILTERED = 0x10000017, "the message was refused by a filter", "check the destination's policy";
    MACH_SEND_AUX_TOO_SMALL = 0x10000018, "the auxiliary data are too small", "leave them out";
    MACH_SEND_AUX_TOO_LARGE = 0x10000019, "the auxiliary data are too large", "leave them out";
    MACH_RCV_IN_PROGRESS = 0x10004001, "the receive has not finished", "internal; report it";
    MACH_RCV_INVALID_NAME = 0x10004002, "the name is neither a receive right nor a port set", "check that the port has not been moved or destroyed";
    MACH_RCV_TIMED_OUT = 0x10004003, "no message came before the deadline", "wait longer, or check that the sender is alive (ask for a dead-name notification)";
    MACH_RCV_TOO_LARGE = 0x10004004, "the message is larger than the buffer", "receive with a larger buffer; with RCV_LARGE it is still queued";
    MACH_RCV_INTERRUPTED = 0x10004005, "the receive was interrupted", "receive again";
    MACH_RCV_PORT_CHANGED = 0x10004006, "the port was moved away, or died, while waiting on it", "find out which; receive on the port's new home";
    MACH_RCV_INVALID_NOTIFY = 0x10004007, "the notify port is not valid", "give a receive right";
    MACH_RCV_INVALID_DATA = 0x10004008, "the buffer could not be written", "check the buffer's address and size";
    MACH_RCV_PORT_DIED = 0x10004009, "the port died while waiting on it", "stop receiving";
    MACH_RCV_IN_SET = 0x1000400a, "the port is a member of a set", "receive from the set";
    MACH_RCV_HEADER_ERROR = 0x1000400b, "the header's rights could not be delivered; the message was destroyed", "release names: this task's quota is full";
    MACH_RCV_BODY_ERROR = 0x1000400c, "some rights or memory could not be delivered and are null in the message", "release names: this task's quota is full";
    MACH_RCV_INVALID_TYPE = 0x1000400d, "a scatter descriptor does not fit", "check the scatter list";
    MACH_RCV_SCATTER_SMALL = 0x1000400e, "a scatter area is too small", "give more room";
    MACH_RCV_INVALID_TRAILER = 0x1000400f, "the trailer asked for is unknown", "check the receive options";
    MACH_RCV_IN_PROGRESS_TIMED = 0x10004011, "the receive has not finished", "internal; report it";
    MACH_RCV_INVALID_REPLY = 0x10004012, "the reply port is not valid", "make a new reply port";
    MACH_RCV_INVALID_ARGUMENTS = 0x10004013, "the arguments contradict each other", "check the options";
    KERN_SUCCESS = 0, "success", "nothing";
    KERN_INVALID_ADDRESS = 1, "the address is not valid", "check the address";
    KERN_PROTECTION_FAILURE = 2, "the memory is protected", "check the access asked for";
    KERN_NO_SPACE = 3, "this task's quota of names or ports is used up", "release rights, or raise the quota (umach kernel --help)";
    KERN_INVALID_ARGUMENT = 4, "an argument is not valid", "check the arguments";
    KERN_FAILURE = 5, "the call cannot be done on this object", "check the object's state";
    KERN_RESOURCE_SHORTAGE = 6, "the kernel process or its user ran out of a resource", "release something, or see umach doctor";
    KERN_NOT_RECEIVER = 7, "the task does not hold the receive right", "check who receives on the port";
    KERN_NO_ACCESS = 8, "the caller may not do this", "ask the holder of the control right";
    KERN_MEMORY_FAILURE = 9, "the memory object failed", "release it";
    KERN_MEMORY_ERROR = 10, "the memory object reported an error", "release it";
    KERN_ALREADY_IN_SET = 11, "the port is already a member of the set", "nothing";
    KERN_NOT_IN_SET = 12, "the port is not a member of the set", "check the set";
    KERN_NAME_EXISTS = 13, "the name is in use", "choose another name";
    KERN_ABORTED = 14, "the operation was aborted", "try again";
    KERN_INVALID_NAME = 15, "the name stands for nothing in this space", "check that the right was not already released or moved";
    KERN_INVALID_TASK = 16, "the name is not a task's control right", "use a control right";
    KERN_INVALID_RIGHT = 17, "the name stands for another kind of right", "check the kind of right with port type";
    KERN_INVALID_VALUE = 18, "a value is out of range", "check the value";
    KERN_UREFS_OVERFLOW = 19, "too many user references", "release some";
    KERN_INVALID_CAPABILITY = 20, "the right is not valid here, or is dead", "check the right";
    KERN_RIGHT_EXISTS = 21, "the task already holds this port under another name", "use that name";
    KERN_INVALID_HOST = 22, "the name is not a host right", "use the host right";
    KERN_MEMORY_PRESENT = 23, "the memory is already there", "nothing";
    KERN_INVALID_POLICY = 28, "the policy is not valid", "check the policy";
    KERN_ALREADY_WAITING = 30, "somebody is already waiting", "wait";
    KERN_NOT_SUPPORTED = 46, "umach does not support this", "see docs/caveats.md";
    KERN_NOT_WAITING = 48, "nobody is waiting", "nothing";
    KERN_OPERATION_TIMED_OUT = 49, "the operation timed out", "wait longer";
    KERN_INVALID_OBJECT = 29, "the object is not valid", "check the right";
    KERN_TERMINATED = 37, "the object is being destroyed", "stop using it";
    KERN_DENIED = 53, "denied by policy", "ask for the right";
    KERN_NOT_FOUND = 56, "not found", "check the name";
    MIG_TYPE_ERROR = 0xfffffed4, "the request's types do not fit", "use the interface's current description";
    MIG_REPLY_MISMATCH = 0xfffffed3, "the reply belongs to another request", "use one reply port per thread";
    MIG_REMOTE_ERROR = 0xfffffed2, "the server detected an error", "see the server's log";
    MIG_BAD_ID = 0xfffffed1, "the server does not know this message id", "check which server this is";
    MIG_BAD_ARGUMENTS = 0xfffffed0, "the server refused the arguments' form", "check the arguments";
    MIG_NO_REPLY = 0xfffffecf, "no reply is to be sent", "nothing";
    MIG_EXCEPTION = 0xfffffece, "the server raised an exception", "see the server's log";
    MIG_ARRAY_TOO_LARGE = 0xfffffecd, "an array is too large", "send less";
    MIG_SERVER_DIED = 0xfffffecc, "the server died before it answered", "look the service up again";
    MIG_TRAILER_ERROR = 0xfffffecb, "the trailer is malformed", "report it";
    BOOTSTRAP_NOT_PRIVILEGED = 1100, "the name server's policy forbids this", "check the policy for this name and uid";
    BOOTSTRAP_NAME_IN_USE = 1101, "the service name is registered already", "choose another name";
    BOOTSTRAP_UNKNOWN_SERVICE = 1102, "no such service", "list the names that exist (umach names)";
    BOOTSTRAP_SERVICE_ACTIVE = 1103, "the service is already checked in", "only one task can serve a name";
    BOOTSTRAP_BAD_COUNT = 1104, "bad count", "check the arguments";
    BOOTSTRAP_NO_MEMORY = 1105, "the name server is out of room", "unregister names";
    BOOTSTRAP_NO_CHILDREN = 1106, "the subset has no children", "check the bootstrap port";
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
    fn row(self) -> Option<&'static (Code, &'static str, &'static str, &'static str)> {
        KNOWN.iter().find(|row| row.0 == self.plain())
    }
    /// The constant's name, if known.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }
    /// What happened, in one clause.
    pub fn meaning(self) -> &'static str {
        self.row().map_or("unknown code", |row| row.2)
    }
    /// What to try.
    pub fn advice(self) -> &'static str {
        self.row().map_or("report it", |row| row.3)
    }
    /// Looks a code up by its constant's name.
    pub fn from_name(name: &str) -> Option<Code> {
        KNOWN.iter().find(|row| row.1 == name).map(|row| row.0)
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
            assert_eq!(Code::from_name(row.1), Some(row.0));
            assert!(KNOWN[i + 1..].iter().all(|other| other.0 != row.0 && other.1 != row.1), "{} twice", row.1);
        }
    }

    #[test]
    fn body_error_with_bits_keeps_its_name() {
        assert_eq!(Code(Code::MACH_RCV_BODY_ERROR.0 | Code::IPC_SPACE).name(), Some("MACH_RCV_BODY_ERROR"));
        assert_eq!(Code::MIG_BAD_ID.plain(), Code::MIG_BAD_ID);
    }
}
