//! The Mach message as bytes: header, descriptors, trailer, options. XNU's LP64 layout, everything packed to 4 bytes.
//!
//! ```text
//! 0        24        28                                   send_size  (4-aligned)
//! | header | count u32 | descriptors (12 or 16 bytes each) | body ... | trailer (only when received) |
//!          '-- only if bits has COMPLEX --'
//! ```
//!
//! The same bytes are what a program hands to `mach_msg` and what travels in a packet, with one difference: on the wire the `address`
//! of an out-of-line descriptor is a [`Place`] (in the packet's annex, or a region), since a pointer means nothing to another process.

use crate::Name;

/// Size of a header.
pub const HEADER: usize = 24;
/// Size of header and descriptor count.
pub const BASE: usize = 28;
/// `msgh_bits`: descriptors follow the header.
pub const COMPLEX: u32 = 0x8000_0000;
/// `msgh_bits`: the bits that mean something; the others are cleared (XNU).
pub const BITS_USED: u32 = 0x801f_1f1f;
/// The NDR record of MIG messages: little-endian, ASCII, IEEE.
pub const NDR: [u8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];

bitflags::bitflags! {
    /// Options of `mach_msg`, low 24 bits; the trailer request sits in the top byte (see [`TrailerRequest`]).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Options: u32 {
        /// Send.
        const SEND = 0x1;
        /// Receive, after the send if both.
        const RCV = 0x2;
        /// A message too large for the buffer stays queued.
        const RCV_LARGE = 0x4;
        /// With `RCV_LARGE`: also say which member port has it.
        const RCV_LARGE_IDENTITY = 0x8;
        /// The timeout applies to the send.
        const SEND_TIMEOUT = 0x10;
        /// No effect here.
        const SEND_OVERRIDE = 0x20;
        /// An interrupted send is reported instead of retried.
        const SEND_INTERRUPT = 0x40;
        /// Arm the send-possible request if the queue is full.
        const SEND_NOTIFY = 0x80;
        /// The timeout applies to the receive.
        const RCV_TIMEOUT = 0x100;
        /// No effect here.
        const STRICT_REPLY = 0x200;
        /// An interrupted receive is reported instead of retried.
        const RCV_INTERRUPT = 0x400;
        /// No effect here.
        const RCV_VOUCHER = 0x800;
        /// Guarded descriptors are wanted as such.
        const RCV_GUARDED_DESC = 0x1000;
        /// No effect here.
        const RCV_SYNC_WAIT = 0x4000;
        /// No effect here.
        const RCV_SYNC_PEEK = 0x8000;
        /// No effect here.
        const FILTER_NONFATAL = 0x1_0000;
        /// The sender sends a trailer along; it is checked and dropped.
        const SEND_TRAILER = 0x2_0000;
        /// No effect here.
        const SEND_NOIMPORTANCE = 0x4_0000;
        /// No effect here.
        const SEND_SYNC_OVERRIDE = 0x10_0000;
        /// No effect here.
        const SEND_PROPAGATE_QOS = 0x20_0000;
        /// No effect here.
        const SEND_SYNC_BOOTSTRAP_CHECKIN = 0x80_0000;
        /// The trailer request (type and elements).
        const TRAILER = 0xff00_0000;
    }
}

/// How much of a trailer the receiver asked for (`elements << 24`). Each element includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TrailerRequest {
    /// Type and size only (8 bytes).
    Null = 0,
    /// And the sequence number (12).
    Seqno = 1,
    /// And the sender's uid and gid (20).
    Sender = 2,
    /// And the audit token (52).
    Audit = 3,
    /// And the port's context (60).
    Context = 4,
    /// All of it (68), XNU's AV and LABELS.
    Full = 7,
}

impl TrailerRequest {
    /// Reads the request from receive options; `None` if the type is not 0 or the element unknown (`MACH_RCV_INVALID_TRAILER`).
    pub fn from_options(options: u32) -> Option<TrailerRequest> {
        if options >> 28 != 0 {
            return None;
        }
        Some(match options >> 24 & 0xf {
            0 => TrailerRequest::Null,
            1 => TrailerRequest::Seqno,
            2 => TrailerRequest::Sender,
            3 => TrailerRequest::Audit,
            4 => TrailerRequest::Context,
            7 | 8 => TrailerRequest::Full,
            _ => return None,
        })
    }
    /// The bits to OR into receive options.
    pub const fn options(self) -> u32 {
        (self as u32) << 24
    }
    /// Bytes of such a trailer.
    pub const fn size(self) -> usize {
        match self {
            TrailerRequest::Null => 8,
            TrailerRequest::Seqno => 12,
            TrailerRequest::Sender => 20,
            TrailerRequest::Audit => 52,
            TrailerRequest::Context => 60,
            TrailerRequest::Full => TRAILER_MAX,
        }
    }
}

/// Size of the largest trailer.
pub const TRAILER_MAX: usize = 68;

/// The facts about a message that no sender can fake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// Position in the port's stream of received messages.
    pub seqno: u32,
    /// Sender's effective user.
    pub uid: u32,
    /// Sender's effective group.
    pub gid: u32,
    /// Sender's process.
    pub pid: u32,
    /// Sender's task id (never reused while the kernel process lives).
    pub task: u64,
    /// The receiving port's context.
    pub context: u64,
}

impl Trailer {
    /// Appends as much as was asked for. Audit token words: auid, euid, egid, ruid, rgid, pid, task (low), task (high).
    pub fn write(&self, request: TrailerRequest, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes(request)[..request.size()]);
    }
    /// The same with what was not asked for behind it.
    pub fn to_bytes(&self, request: TrailerRequest) -> [u8; TRAILER_MAX] {
        let words = [
            0,
            request.size() as u32,
            self.seqno,
            self.uid,
            self.gid,
            self.uid,
            self.uid,
            self.gid,
            self.uid,
            self.gid,
            self.pid,
            self.task as u32,
            (self.task >> 32) as u32,
            self.context as u32,
            (self.context >> 32) as u32,
            0,
            0,
        ];
        let mut out = [0; TRAILER_MAX];
        for (i, word) in words.into_iter().enumerate() {
            out[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
        out
    }
    /// Reads a trailer of any size; what was not asked for is zero. `None` if it is malformed.
    pub fn read(bytes: &[u8]) -> Option<Trailer> {
        let size = u32_at(bytes, 4)? as usize;
        if size > bytes.len() || size < 8 {
            return None;
        }
        let bytes = &bytes[..size];
        let word = |at| u32_at(bytes, at).unwrap_or(0);
        let double = |at| word(at) as u64 | (word(at + 4) as u64) << 32;
        Some(Trailer { seqno: word(8), uid: word(12), gid: word(16), pid: word(40), task: double(44), context: double(52) })
    }
}

/// `mach_msg_header_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Dispositions of remote, local and voucher, and [`COMPLEX`].
    pub bits: u32,
    /// Size without trailer; ignored on send, where the argument counts.
    pub size: u32,
    /// Sending: destination. Received: where to reply.
    pub remote: Name,
    /// Sending: where to reply. Received: the port it came on.
    pub local: Name,
    /// Voucher; zero here.
    pub voucher: Name,
    /// The program's own.
    pub id: i32,
}

impl Header {
    /// Reads the first 24 bytes.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            bits: u32_at(bytes, 0)?,
            size: u32_at(bytes, 4)?,
            remote: Name(u32_at(bytes, 8)?),
            local: Name(u32_at(bytes, 12)?),
            voucher: Name(u32_at(bytes, 16)?),
            id: u32_at(bytes, 20)? as i32,
        })
    }
    /// The 24 bytes.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        for (i, word) in [self.bits, self.size, self.remote.0, self.local.0, self.voucher.0, self.id as u32].into_iter().enumerate() {
            out[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
        out
    }
    /// Bits from the three dispositions.
    pub const fn make_bits(remote: u8, local: u8, complex: bool) -> u32 {
        remote as u32 | (local as u32) << 8 | if complex { COMPLEX } else { 0 }
    }
    /// Disposition of `remote`.
    pub const fn remote_disposition(&self) -> u8 {
        (self.bits & 0x1f) as u8
    }
    /// Disposition of `local`.
    pub const fn local_disposition(&self) -> u8 {
        (self.bits >> 8 & 0x1f) as u8
    }
    /// Disposition of `voucher`.
    pub const fn voucher_disposition(&self) -> u8 {
        (self.bits >> 16 & 0x1f) as u8
    }
    /// Whether descriptors follow.
    pub const fn is_complex(&self) -> bool {
        self.bits & COMPLEX != 0
    }
}

/// Descriptor type bytes.
pub mod kind {
    /// One right.
    pub const PORT: u8 = 0;
    /// Memory.
    pub const OOL: u8 = 1;
    /// An array of rights.
    pub const OOL_PORTS: u8 = 2;
    /// Memory; the same here.
    pub const OOL_VOLATILE: u8 = 3;
    /// A guarded receive right.
    pub const GUARDED_PORT: u8 = 4;
    /// An open file: umach's own, where Mach has fileport rights.
    pub const FILE: u8 = 64;
}

/// Why a received message has no open file where its sender put one: the number of a file descriptor of lane 0.
pub mod file_lost {
    /// The sender named no file, or a lane that is over.
    pub const NOT_SENT: u32 = 0;
    /// The message was received by another task than the one that the file was sent to.
    pub const MOVED: u32 = 1;
}

/// Copy options of out-of-line memory.
pub mod copy {
    /// Copy at once.
    pub const PHYSICAL: u8 = 0;
    /// Copy when written (the same snapshot to the receiver).
    pub const VIRTUAL: u8 = 1;
}

/// Flags of a guarded port descriptor.
pub mod guard_flags {
    /// The receive right becomes immovable at the receiver.
    pub const IMMOVABLE_RECEIVE: u16 = 1;
    /// The sender has removed the guard.
    pub const UNGUARDED_ON_SEND: u16 = 2;
}

/// Where out-of-line bytes are, in place of a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing (size 0).
    Null,
    /// At this offset of the packet's annex.
    Annex(u32),
    /// Sending: the sealed region with this name.
    Region(Name),
    /// Received: the n-th file descriptor that came with this message's frame.
    Attached(u32),
    /// Over a link: the n-th lease that goes along. The kernel process knows no such place.
    Lease(u32),
}

impl Place {
    const ANNEX: u32 = 1;
    const REGION: u32 = 2;
    const ATTACHED: u32 = 3;
    const LEASE: u32 = 4;

    /// As the `address` field.
    pub const fn to_raw(self) -> u64 {
        let (tag, value) = match self {
            Place::Null => (0, 0),
            Place::Annex(at) => (Place::ANNEX, at),
            Place::Region(name) => (Place::REGION, name.0),
            Place::Attached(n) => (Place::ATTACHED, n),
            Place::Lease(n) => (Place::LEASE, n),
        };
        (tag as u64) << 32 | value as u64
    }
    /// From the `address` field.
    pub const fn from_raw(raw: u64) -> Option<Place> {
        let value = raw as u32;
        Some(match (raw >> 32) as u32 {
            0 if value == 0 => Place::Null,
            Place::ANNEX => Place::Annex(value),
            Place::REGION => Place::Region(Name(value)),
            Place::ATTACHED => Place::Attached(value),
            Place::LEASE => Place::Lease(value),
            _ => return None,
        })
    }
}

/// One descriptor of a complex message. `address` is a pointer in a program's buffer and a [`Place`] on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// A right.
    Port {
        /// Its name.
        name: Name,
        /// How it is taken, or what arrived.
        disposition: u8,
    },
    /// Memory (also volatile).
    Memory {
        /// Where.
        address: u64,
        /// Sending: take it away from the sender.
        deallocate: bool,
        /// [`copy`].
        copy: u8,
        /// Bytes.
        size: u32,
        /// Whether the type byte says volatile.
        volatile: bool,
    },
    /// An array of names.
    Ports {
        /// Where.
        address: u64,
        /// Sending: take the array's memory away from the sender.
        deallocate: bool,
        /// [`copy`].
        copy: u8,
        /// One for all.
        disposition: u8,
        /// How many names.
        count: u32,
    },
    /// A guarded receive right.
    Guarded {
        /// The guard.
        context: u64,
        /// [`guard_flags`].
        flags: u16,
        /// Always move-receive.
        disposition: u8,
        /// Its name.
        name: Name,
    },
    /// An open file, which travels on a file lane between sender and receiver; the message says which.
    File {
        /// The lane; 0 if there is no file. In a program's buffer, an index like the other addresses.
        lane: u64,
        /// Which packet of the lane; without a lane, one of [`file_lost`].
        number: u32,
    },
}

impl Descriptor {
    /// Bytes it occupies.
    pub const fn size(&self) -> usize {
        if matches!(self, Descriptor::Port { .. }) { 12 } else { 16 }
    }
    /// Reads the descriptor at the front. `Err(true)`: too short; `Err(false)`: unknown type.
    pub fn read(bytes: &[u8]) -> Result<Descriptor, bool> {
        let kind = *bytes.get(11).ok_or(true)?;
        let word = |at| u32_at(bytes, at).ok_or(true);
        let double = || Ok::<u64, bool>(word(0)? as u64 | (word(4)? as u64) << 32);
        Ok(match kind {
            kind::PORT => Descriptor::Port { name: Name(word(0)?), disposition: bytes[10] },
            kind::OOL | kind::OOL_VOLATILE => Descriptor::Memory {
                address: double()?,
                deallocate: bytes[8] != 0,
                copy: bytes[9],
                size: word(12)?,
                volatile: kind == kind::OOL_VOLATILE,
            },
            kind::OOL_PORTS => Descriptor::Ports {
                address: double()?,
                deallocate: bytes[8] != 0,
                copy: bytes[9],
                disposition: bytes[10],
                count: word(12)?,
            },
            kind::GUARDED_PORT => Descriptor::Guarded {
                context: double()?,
                flags: u16::from_le_bytes([bytes[8], bytes[9]]),
                disposition: bytes[10],
                name: Name(word(12)?),
            },
            kind::FILE => Descriptor::File { lane: double()?, number: word(12)? },
            _ => return Err(false),
        })
    }
    /// Overwrites the descriptor at `at` of a message. The slice must hold `self.size()` bytes from there.
    pub fn write_at(&self, message: &mut [u8], at: usize) {
        let out = &mut message[at..at + self.size()];
        out.fill(0);
        match *self {
            Descriptor::Port { name, disposition } => {
                out[0..4].copy_from_slice(&name.0.to_le_bytes());
                out[10] = disposition;
                out[11] = kind::PORT;
            }
            Descriptor::Memory { address, deallocate, copy, size, volatile } => {
                out[0..8].copy_from_slice(&address.to_le_bytes());
                out[8] = deallocate as u8;
                out[9] = copy;
                out[11] = if volatile { kind::OOL_VOLATILE } else { kind::OOL };
                out[12..16].copy_from_slice(&size.to_le_bytes());
            }
            Descriptor::Ports { address, deallocate, copy, disposition, count } => {
                out[0..8].copy_from_slice(&address.to_le_bytes());
                out[8] = deallocate as u8;
                out[9] = copy;
                out[10] = disposition;
                out[11] = kind::OOL_PORTS;
                out[12..16].copy_from_slice(&count.to_le_bytes());
            }
            Descriptor::Guarded { context, flags, disposition, name } => {
                out[0..8].copy_from_slice(&context.to_le_bytes());
                out[8..10].copy_from_slice(&flags.to_le_bytes());
                out[10] = disposition;
                out[11] = kind::GUARDED_PORT;
                out[12..16].copy_from_slice(&name.0.to_le_bytes());
            }
            Descriptor::File { lane, number } => {
                out[0..8].copy_from_slice(&lane.to_le_bytes());
                out[11] = kind::FILE;
                out[12..16].copy_from_slice(&number.to_le_bytes());
            }
        }
    }
    /// Appends the descriptor.
    pub fn push(&self, message: &mut Vec<u8>) {
        let at = message.len();
        message.resize(at + self.size(), 0);
        self.write_at(message, at);
    }
}

/// Walks the descriptors of a complex message: yields `(offset, descriptor)`.
pub fn descriptors(message: &[u8]) -> impl Iterator<Item = (usize, Result<Descriptor, bool>)> + '_ {
    let complex = Header::read(message).is_some_and(|h| h.is_complex());
    let mut left = if complex { u32_at(message, HEADER).unwrap_or(0) } else { 0 };
    let mut at = BASE;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let here = at;
        let read = Descriptor::read(message.get(at..).unwrap_or(&[]));
        match &read {
            Ok(descriptor) => at += descriptor.size(),
            Err(_) => left = 0,
        }
        Some((here, read))
    })
}

/// `size` rounded up to a multiple of four.
pub const fn round4(size: usize) -> usize {
    (size + 3) & !3
}

/// The little-endian word at `at`, if it is there.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_written_is_read_back() {
        let all = [
            Descriptor::Port { name: Name(0x103), disposition: 19 },
            Descriptor::Memory { address: 7, deallocate: true, copy: 1, size: 9, volatile: false },
            Descriptor::Ports { address: u64::MAX, deallocate: false, copy: 0, disposition: 17, count: 3 },
            Descriptor::Guarded { context: 5, flags: 1, disposition: 16, name: Name(0x203) },
            Descriptor::File { lane: 3 << 32 | 1, number: 7 },
        ];
        let mut message = Header { bits: COMPLEX, ..Header::default() }.to_bytes().to_vec();
        message.extend_from_slice(&(all.len() as u32).to_le_bytes());
        all.iter().for_each(|d| d.push(&mut message));
        let back: Vec<_> = descriptors(&message).map(|(_, d)| d.unwrap()).collect();
        assert_eq!(back, all);
    }

    #[test]
    fn descriptors_cut_short_end_with_an_error() {
        let mut message = Header { bits: COMPLEX, ..Header::default() }.to_bytes().to_vec();
        message.extend_from_slice(&u32::MAX.to_le_bytes());
        message.extend_from_slice(&[0; 20]);
        let seen: Vec<_> = descriptors(&message).collect();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].1, Err(true));
    }

    #[test]
    fn place_survives_the_address_field() {
        for place in [Place::Null, Place::Annex(7), Place::Region(Name(0x103)), Place::Attached(3)] {
            assert_eq!(Place::from_raw(place.to_raw()), Some(place));
        }
        assert_eq!(Place::from_raw(5), None);
    }

    #[test]
    fn trailer_sizes_are_those_of_the_table() {
        let trailer = Trailer { seqno: 1, uid: 2, gid: 3, pid: 4, task: 5, context: 6 };
        for (request, size) in [
            (TrailerRequest::Null, 8),
            (TrailerRequest::Seqno, 12),
            (TrailerRequest::Sender, 20),
            (TrailerRequest::Audit, 52),
            (TrailerRequest::Context, 60),
            (TrailerRequest::Full, 68),
        ] {
            let mut out = Vec::new();
            trailer.write(request, &mut out);
            assert_eq!(out.len(), size);
            let back = Trailer::read(&out).unwrap();
            assert_eq!(back.seqno, if request >= TrailerRequest::Seqno { 1 } else { 0 });
            assert_eq!(back.task, if request >= TrailerRequest::Audit { 5 } else { 0 });
        }
    }
}
