//! The memory of a link: one memfd for two tasks, sealed shrink, grow and seal, of two halves with the same layout.
//!
//! Each task writes its own half only, and each word has one writer. What a task reads in the other's half is an allegation: it takes one
//! snapshot, checks it, and decides from its private tables. There is no pointer, lock, count or allocator in here.
//!
//! ```text
//! half | words 4 KiB | credits 16 KiB | wants 4 KiB | leases 4 KiB | sent 4 KiB | ring 32 KiB | 64 reply slots of 4 KiB |
//! ```
//!
//! All offsets count from the start of a half. `mine` is the half of the task that writes.

/// Bytes of one half.
pub const HALF: usize = 0x5_0000;
/// Bytes of a link.
pub const SIZE: usize = 2 * HALF;

/// u32, writer: the sender. Bytes published in this half's ring, ever (mod 2^32). The receiver sleeps on it.
pub const TAIL: usize = 0x000;
/// u32, writer: the receiver. Bytes consumed of the *other* half's ring, ever. A sender without ring space sleeps on it.
pub const HEAD: usize = 0x040;
/// u32: how to wake this half's task when something is published for it ([`bell`], in the low three bits), and in the others the position in
/// the other's ring up to which it has read: a sleeper is rung once.
pub const ARMED: usize = 0x080;
/// u32: nonzero while this half's task waits for space in its own ring; the low three bits say so, the others from which position.
pub const SPACE_WANTED: usize = 0x0c0;
/// u32: changes whenever this half's task closes an incoming route ([`CREDITS`] says which).
pub const CLOSINGS: usize = 0x100;
/// u32: the CPU that this half's task last ran on.
pub const CPU: usize = 0x140;
/// u32: what it is doing ([`state`]).
pub const STATE: usize = 0x144;
/// [`COUNTERS`] u64s about what this half's task did on this link ([`counter`]).
pub const COUNTERS_AT: usize = 0x180;
/// How many counters there are.
pub const COUNTERS: usize = 16;
/// u32 per slot: how to wake the thread of this half's task that waits for the reply ([`bell`]).
pub const SLOT_WAITS: usize = 0x200;
/// u32 per slot: the newest generation whose answer this half's task stopped waiting for; 0 if none.
pub const SLOT_GIVEN_UP: usize = SLOT_WAITS + 4 * SLOTS;
/// Per incoming route: two u32s, the messages delivered ever, and 1 once the route is closed ([`CREDIT_SIZE`] apart).
pub const CREDITS: usize = 0x1000;
/// Bytes between two routes' words at [`CREDITS`].
pub const CREDIT_SIZE: usize = 16;
/// Offset in a route's words: messages delivered.
pub const CREDIT_DELIVERED: usize = 0;
/// Offset in a route's words: closed.
pub const CREDIT_CLOSED: usize = 4;
/// u32 per outgoing route: nonzero while this half's task waits for credit on it.
pub const WANTS: usize = 0x5000;
/// u32 per lease of the *other* half's task: `generation << 1`, plus 1 once this half's task has given that generation back. Without the 1 it says that
/// an answer with the lease was taken.
pub const LEASES_DONE: usize = 0x6000;
/// u32 per outgoing route: what the receiver's count of delivered messages will be once all that was published is delivered. Nobody decides anything by
/// it: it is for people who look.
pub const SENT: usize = 0x7000;
/// The ring's bytes.
pub const RING: usize = 0x8000;
/// Bytes of the ring, a power of two.
pub const RING_SIZE: usize = 0x8000;
/// The reply slots: answers of this half's task to calls of the other.
pub const SLOTS_AT: usize = 0x1_0000;
/// Bytes of a slot.
pub const SLOT_SIZE: usize = 0x1000;
/// Slots in a half: calls that one task may have open to the other through slots.
pub const SLOTS: usize = 64;
/// Routes of one direction.
pub const ROUTES: usize = 1024;
/// Leases of one direction that may be out at a time.
pub const LEASES: usize = 1024;

/// A record in the ring starts at a multiple of this and with [`RECORD_HEAD`] bytes: u32s `len` (of the payload), `kind`, `route`, `slot`,
/// `generation`, `id`. `slot` is 1 + n for a call that wants its reply in slot n.
pub const RECORD_ALIGN: usize = 8;
/// Bytes of a record's head.
pub const RECORD_HEAD: usize = 24;
/// The largest payload of a record.
pub const RECORD_MAX: usize = 4096;

/// Kinds of records.
pub mod record {
    /// The payload is the body of a plain message.
    pub const MESSAGE: u32 = 1;
    /// The message is with the kernel process, under its number on this route.
    pub const TICKET: u32 = 2;
    /// The payload is a message with memory ([`super::lease`]).
    pub const LEASE: u32 = 3;
}

/// A message whose only descriptors are memory, as the payload of a record of kind [`record::LEASE`], or of an answer of kind [`lease::ANSWER`]:
/// u32s `count` and `flags`, `count` rows, the body, and the bytes of the inline rows, each padded to four. A row is u32s `arena`, `lease`, `generation`,
/// `zero`, u64s `offset`, `length`.
pub mod lease {
    /// Bytes before the rows.
    pub const HEAD: usize = 8;
    /// Bytes of a row.
    pub const ROW: usize = 32;
    /// In place of an arena: the bytes are in the payload, and `lease`, `generation` and `offset` are zero.
    pub const INLINE: u32 = u32::MAX;
    /// Flag: the last row is not memory but the message's body, too long for the payload.
    pub const BODY: u32 = 1;
    /// The kind of an answer with such a payload; that of a plain one is 0.
    pub const ANSWER: u32 = 1;
    /// Arenas of one direction.
    pub const ARENAS: u32 = 8;
    /// Bytes of one arena at most.
    pub const ARENA_MAX: u64 = 64 << 20;
    /// An arena and what is lent of it start at multiples of this.
    pub const UNIT: u64 = 4096;
}

/// A slot starts with u32s `word`, `len`, `id`, `kind`; the payload follows at [`SLOT_HEAD`]. `word` is `generation << 2 |` one of these, written last.
pub mod slot {
    /// Answered.
    pub const DONE: u32 = 1;
    /// The request was dropped unanswered: Mach's send-once notification.
    pub const DROPPED: u32 = 2;
}
/// Bytes before a slot's payload.
pub const SLOT_HEAD: usize = 16;
/// The largest payload of a slot.
pub const SLOT_MAX: usize = SLOT_SIZE - SLOT_HEAD;

/// How a task wants to be woken.
pub mod bell {
    /// Not at all: it is looking.
    pub const NONE: u32 = 0;
    /// It sleeps on the word.
    pub const FUTEX: u32 = 1;
    /// Through the kernel process ([`crate::control::LinkRing`]).
    pub const KERNEL: u32 = 2;
}

/// What a task is doing about a link.
pub mod state {
    /// Nothing known.
    pub const UNKNOWN: u32 = 0;
    /// It runs, or spins.
    pub const RUNS: u32 = 1;
    /// It sleeps.
    pub const SLEEPS: u32 = 2;
}

/// What the counters count, by index.
pub mod counter {
    /// Names of the counters, in order.
    pub const NAMES: [&str; 12] = [
        "messages",
        "bytes",
        "bells",
        "sleeps",
        "spun",
        "tickets",
        "no_credit",
        "no_space",
        "kernel_plane",
        "leases",
        "lent_bytes",
        "leases_back",
    ];
    /// Messages published, replies included.
    pub const MESSAGES: usize = 0;
    /// Their bytes.
    pub const BYTES: usize = 1;
    /// Times that the peer had to be woken.
    pub const BELLS: usize = 2;
    /// Times that a thread of this task slept for this link.
    pub const SLEEPS: usize = 3;
    /// Waits that ended before sleeping.
    pub const SPUN: usize = 4;
    /// Messages with rights.
    pub const TICKETS: usize = 5;
    /// Sends that found no credit.
    pub const NO_CREDIT: usize = 6;
    /// Sends that found no ring space.
    pub const NO_SPACE: usize = 7;
    /// Plain messages that went through the kernel process instead.
    pub const KERNEL_PLANE: usize = 8;
    /// Leases given with messages.
    pub const LEASES: usize = 9;
    /// Their bytes.
    pub const LENT_BYTES: usize = 10;
    /// Leases that came back, or were taken back.
    pub const LEASES_BACK: usize = 11;
}

/// A task's attention page: written by the kernel process, read by the task.
pub mod attention {
    /// Bytes of the page.
    pub const SIZE: usize = 4096;
    /// u32 that changes when there are events to pull. Threads sleep on it.
    pub const CONTROL: usize = 0;
    /// u32 that changes when there may be mail for a port on which a receive was answered `MACH_RCV_IN_PROGRESS`. Threads sleep on it.
    pub const MAIL: usize = 64;
    /// u32 that Linux changes when the kernel process ends in any way, and wakes one who sleeps on it: then it has [`KERNEL_DEAD`]. Threads that sleep for long sleep on it too. 0: it
    /// will not change.
    pub const KERNEL: usize = 128;
    /// Linux's `FUTEX_OWNER_DIED`.
    pub const KERNEL_DEAD: u32 = 0x4000_0000;
}

const _: () = assert!(SLOT_GIVEN_UP + 4 * SLOTS <= CREDITS && CREDITS + CREDIT_SIZE * ROUTES <= WANTS && WANTS + 4 * ROUTES <= LEASES_DONE);
const _: () = assert!(
    LEASES_DONE + 4 * LEASES <= SENT && SENT + 4 * ROUTES <= RING && RING + RING_SIZE <= SLOTS_AT && SLOTS_AT + SLOTS * SLOT_SIZE == HALF
);
const _: () = assert!(COUNTERS_AT + 8 * COUNTERS <= SLOT_WAITS && RING_SIZE.is_power_of_two() && HALF.is_multiple_of(4096));
const _: () = assert!(RECORD_HEAD + RECORD_MAX < RING_SIZE / 4);
