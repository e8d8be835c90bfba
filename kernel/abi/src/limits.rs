//! Sizes that both sides rely on. All are bytes unless said otherwise.

/// The largest Mach message (header, descriptors, body) that travels inside a packet. More goes out of line.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// The largest annex: out-of-line bytes and port arrays that travel behind the message in the same packet.
pub const ANNEX_MAX: usize = 64 * 1024;
/// The largest packet of either direction. Below the 212,992 bytes that a default socket buffer allows in one packet.
pub const PACKET_MAX: usize = MESSAGE_MAX + ANNEX_MAX + 1024;
/// The largest out-of-line payload that libtask puts in the annex; above it a region is cheaper.
pub const ANNEX_THRESHOLD: usize = 32 * 1024;
/// Descriptors of one packet, kernel to task (Linux takes 253).
pub const ATTACH_MAX: usize = 64;
/// Port rights in one message, counting those in port arrays (XNU: 16383).
pub const MESSAGE_PORTS_MAX: usize = 16383;
/// Open files that may be on their way from one task to another: in messages not received, or destroyed with them and not yet taken notice of.
pub const LANE_FILES_MAX: usize = 64;
/// Queue limit of a new port.
pub const QLIMIT_DEFAULT: u32 = 5;
/// Largest queue limit that can be asked for.
pub const QLIMIT_MAX: u32 = 1024;
/// Messages beyond which even send-once rights are refused (`MACH_SEND_NO_BUFFER`).
pub const QUEUE_HARD_MAX: u32 = 65534;
/// User references stick here.
pub const UREFS_MAX: u32 = 65535;
/// Largest index of a name (24 bits).
pub const NAME_INDEX_MAX: u32 = (1 << 24) - 1;
/// Slots of `mach_ports_register`.
pub const REGISTERED_PORTS: usize = 3;
/// Longest label of a task, in bytes.
pub const LABEL_MAX: usize = 64;
/// Traces at once.
pub const TRACES_MAX: usize = 8;
/// Bytes of a message's body in a record of a trace, at most.
pub const TRACE_PREVIEW_MAX: usize = 4096;
/// Longest service name (`BOOTSTRAP_MAX_NAME_LEN`).
pub const SERVICE_NAME_MAX: usize = 128;
/// Largest region.
pub const REGION_MAX: u64 = 1 << 40;
