//! Names and the rights they stand for, with XNU's numbers.

use std::fmt;

/// A task's name for a right: `index << 8 | generation`, the low two bits set (XNU's form). A name means something only in the space
/// that gave it out; it is a number, not a capability.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Name(pub u32);

impl Name {
    /// No right (`MACH_PORT_NULL`).
    pub const NULL: Name = Name(0);
    /// A right whose port has died (`MACH_PORT_DEAD`).
    pub const DEAD: Name = Name(!0);

    /// Builds the name of table slot `index` in generation byte `generation`.
    pub const fn new(index: u32, generation: u8) -> Name {
        Name(index << 8 | generation as u32)
    }
    /// The slot in the task's table.
    pub const fn index(self) -> u32 {
        self.0 >> 8
    }
    /// The generation byte, low two bits included.
    pub const fn generation(self) -> u8 {
        self.0 as u8
    }
    /// Whether this can name something at all (neither null nor dead).
    pub const fn is_valid(self) -> bool {
        self.0 != 0 && self.0 != !0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Name::NULL => f.write_str("null"),
            Name::DEAD => f.write_str("dead"),
            Name(n) => write!(f, "{n:#x}"),
        }
    }
}

/// The kinds of right (`mach_port_right_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RightKind {
    /// May send.
    Send = 0,
    /// May receive; exactly one per port.
    Receive = 1,
    /// May send one message.
    SendOnce = 2,
    /// A set of receive rights to wait on.
    PortSet = 3,
    /// What a send or send-once right becomes when its port dies.
    DeadName = 4,
}

impl RightKind {
    /// From the wire.
    pub fn from_raw(raw: u32) -> Option<RightKind> {
        Some(match raw {
            0 => RightKind::Send,
            1 => RightKind::Receive,
            2 => RightKind::SendOnce,
            3 => RightKind::PortSet,
            4 => RightKind::DeadName,
            _ => return None,
        })
    }
    /// The type bit of this kind.
    pub const fn bit(self) -> TypeBits {
        TypeBits::from_bits_retain(1 << (self as u32 + 16))
    }
}

bitflags::bitflags! {
    /// What a name stands for (`mach_port_type_t`): the union of the rights under it, and whether requests are armed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TypeBits: u32 {
        /// Send right.
        const SEND = 0x1_0000;
        /// Receive right.
        const RECEIVE = 0x2_0000;
        /// Send-once right.
        const SEND_ONCE = 0x4_0000;
        /// Port set.
        const PORT_SET = 0x8_0000;
        /// Dead name.
        const DEAD_NAME = 0x10_0000;
        /// A dead-name request is registered.
        const DNREQUEST = 0x8000_0000;
        /// A send-possible request is registered.
        const SPREQUEST = 0x4000_0000;
        /// A send-possible request is registered and not yet armed by a send.
        const SPREQUEST_DELAYED = 0x2000_0000;
        /// Send and receive.
        const SEND_RECEIVE = 0x3_0000;
        /// Any right to a port.
        const PORT_RIGHTS = 0x7_0000;
        /// Anything that can be in a name.
        const PORT_OR_DEAD = 0x17_0000;
        /// Any right at all.
        const ALL_RIGHTS = 0x1f_0000;
    }
}

/// How a right is taken from the sender's space (`mach_msg_type_name_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Disposition {
    /// Give the receive right away.
    MoveReceive = 16,
    /// Give one send reference away.
    MoveSend = 17,
    /// Give the send-once right away.
    MoveSendOnce = 18,
    /// Make a send right from a send right.
    CopySend = 19,
    /// Make a send right from the receive right.
    MakeSend = 20,
    /// Make a send-once right from the receive right.
    MakeSendOnce = 21,
}

impl Disposition {
    /// From the wire.
    pub fn from_raw(raw: u8) -> Option<Disposition> {
        Some(match raw {
            16 => Disposition::MoveReceive,
            17 => Disposition::MoveSend,
            18 => Disposition::MoveSendOnce,
            19 => Disposition::CopySend,
            20 => Disposition::MakeSend,
            21 => Disposition::MakeSendOnce,
            _ => return None,
        })
    }
    /// The kind of right that the receiver gets.
    pub const fn becomes(self) -> RightKind {
        match self {
            Disposition::MoveReceive => RightKind::Receive,
            Disposition::MoveSend | Disposition::CopySend | Disposition::MakeSend => RightKind::Send,
            Disposition::MoveSendOnce | Disposition::MakeSendOnce => RightKind::SendOnce,
        }
    }
    /// Whether it may stand in a message header (anything that can send).
    pub const fn can_send(self) -> bool {
        !matches!(self, Disposition::MoveReceive)
    }
}

/// As received: the disposition field of a delivered right (`MACH_MSG_TYPE_PORT_*`).
pub mod received {
    /// A receive right arrived.
    pub const RECEIVE: u8 = 16;
    /// A send right arrived.
    pub const SEND: u8 = 17;
    /// A send-once right arrived.
    pub const SEND_ONCE: u8 = 18;
}

/// Task special ports (`task_get_special_port`).
pub mod special {
    /// The task's control port.
    pub const KERNEL: u32 = 1;
    /// The host port.
    pub const HOST: u32 = 2;
    /// The task's name port: identifies, controls nothing.
    pub const NAME: u32 = 3;
    /// The bootstrap port.
    pub const BOOTSTRAP: u32 = 4;
}

bitflags::bitflags! {
    /// Options of `mach_port_construct` (`MPO_*`). Bits that serve Darwin only are accepted and have no effect.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct ConstructFlags: u32 {
        /// The context is also the guard.
        const CONTEXT_AS_GUARD = 0x1;
        /// Set the queue limit.
        const QLIMIT = 0x2;
        /// No effect.
        const TEMPOWNER = 0x4;
        /// No effect.
        const IMPORTANCE_RECEIVER = 0x8;
        /// Also put a send right under the name.
        const INSERT_SEND_RIGHT = 0x10;
        /// The guard is strict: moving the receive right also needs it.
        const STRICT = 0x20;
        /// No effect.
        const DENAP_RECEIVER = 0x40;
        /// The receive right cannot be moved.
        const IMMOVABLE_RECEIVE = 0x80;
        /// No effect.
        const FILTER_MSG = 0x100;
        /// No effect.
        const TG_BLOCK_TRACKING = 0x200;
        /// No effect.
        const SERVICE_PORT = 0x400;
        /// No effect.
        const CONNECTION_PORT = 0x800;
        /// No effect.
        const REPLY_PORT = 0x1000;
        /// No effect.
        const ENFORCE_REPLY_PORT_SEMANTICS = 0x2000;
        /// No effect.
        const PROVISIONAL_REPLY_PORT = 0x4000;
        /// No effect.
        const EXCEPTION_PORT = 0x8000;
    }
}

/// Flavours of `mach_port_get_attributes` and `mach_port_set_attributes`.
pub mod flavor {
    /// `mach_port_limits_t`: the queue limit (4 bytes).
    pub const LIMITS_INFO: u32 = 1;
    /// `mach_port_status_t` (40 bytes); reading only.
    pub const RECEIVE_STATUS: u32 = 2;
    /// Size of the request table (4 bytes).
    pub const DNREQUESTS_SIZE: u32 = 3;
    /// Accepted, no effect.
    pub const TEMPOWNER: u32 = 4;
    /// Accepted, no effect.
    pub const IMPORTANCE_RECEIVER: u32 = 5;
    /// Accepted, no effect.
    pub const DENAP_RECEIVER: u32 = 6;
    /// `mach_port_info_ext_t` (68 bytes); reading only.
    pub const INFO_EXT: u32 = 7;
    /// Guard value (8 bytes); reading only.
    pub const GUARD_INFO: u32 = 8;
    /// Accepted, no effect.
    pub const SERVICE_THROTTLED: u32 = 9;
}
