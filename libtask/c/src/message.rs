//! `mach_msg` and its relatives, on the program's own buffers.
//!
//! What of a buffer's validity is checked, and when:
//!
//! | | |
//! |---|---|
//! | sizes | always |
//! | the message sent, the buffer received into | pages that this thread has not used lately: see `probe` |
//! | out-of-line memory sent | what this thread has not sent lately, unless it came with a message; `vm_deallocate` and `vm_protect` end either |
//!
//! A message that comes for a buffer which cannot be written is received and lost, as in XNU: its rights are in the space.

use std::os::fd::BorrowedFd;

use libtask::raw::{Descriptor, Header, Incoming, Options, Outgoing, Program};
use libtask::{Code, Disposition, Name, RightKind};
use smallvec::SmallVec;
use umach_abi::limits::MESSAGE_MAX;
use umach_abi::message::{HEADER, TRAILER_MAX, descriptors, guard_flags, round4};

use crate::process::space;
use crate::{ool, probe, special};

/// `mach_msg_header_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct MsgHeader {
    pub(crate) bits: u32,
    pub(crate) size: u32,
    pub(crate) remote: u32,
    pub(crate) local: u32,
    pub(crate) voucher: u32,
    pub(crate) id: i32,
}

/// A call of `mach_msg`.
struct Call {
    send: *const u8,
    send_size: usize,
    into: *mut u8,
    limit: usize,
    /// To be received so: the whole message stays queued if it is too large.
    options: u32,
    received: bool,
}

impl Program for Call {
    #[inline]
    fn message(&self) -> &[u8] {
        if self.send_size == 0 {
            return &[];
        }
        // SAFETY: the caller has found these bytes readable, and they are the program's message, which it does not change while it sends it.
        unsafe { std::slice::from_raw_parts(self.send, self.send_size) }
    }
    fn memory(&self, address: u64, size: usize) -> Option<Outgoing<'_>> {
        let at = address as *const u8;
        let can_read = ool::holds(address as usize, size) || probe::memory_readable(at, size);
        // SAFETY: readable as of now; the program may not change or unmap what it is sending.
        can_read.then(|| Outgoing::Bytes(unsafe { std::slice::from_raw_parts(at, size) }))
    }
    fn names(&self, address: u64, count: usize, annex: &mut Vec<u8>) -> bool {
        match self.memory(address, 4 * count) {
            Some(Outgoing::Bytes(bytes)) => annex.extend_from_slice(bytes),
            _ => return false,
        }
        true
    }
    fn file(&self, address: u64) -> Option<BorrowedFd<'_>> {
        let number = i32::try_from(address).ok()?;
        // SAFETY: asks about a number.
        let is_open = number >= 0 && unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
        // SAFETY: open as of now; the program does not close what it is sending.
        is_open.then(|| unsafe { BorrowedFd::borrow_raw(number) })
    }

    #[inline]
    fn receive(&mut self, code: Code, message: [&[u8]; 2], trailer: &[u8]) {
        self.received = true;
        if came_back(code) {
            self.turn_back();
        }
        if code.plain() == Code::MACH_RCV_TOO_LARGE && self.options & Options::RCV_LARGE.bits() != 0 {
            return self.tell_size(message[0]);
        }
        let mut at = 0;
        for part in message {
            self.write(at, part);
            at += part.len();
        }
        self.write(round4(at), trailer);
    }
    fn place(&mut self, memory: Incoming<'_>) -> Option<u64> {
        let copied = |bytes: &[u8]| {
            let to = ool::allocate(bytes.len())?;
            // SAFETY: `allocate` gave room for as many bytes, new to everybody.
            unsafe { to.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            Some(to.as_ptr() as u64)
        };
        match memory {
            Incoming::Bytes([]) | Incoming::Names([]) => Some(0),
            Incoming::Bytes(bytes) | Incoming::Names(bytes) => copied(bytes),
            Incoming::Lent(lent) => {
                let to = ool::allocate(lent.len())?;
                // SAFETY: room for as many bytes, nobody else's; fresh pages and those used before are both initialised.
                let out = unsafe { std::slice::from_raw_parts_mut(to.as_ptr(), lent.len()) };
                lent.copy_to(out).then_some(to.as_ptr() as u64)
            }
            Incoming::Sealed(file, len) => ool::map_sealed(&file, len).map(|at| at.as_ptr() as u64),
            Incoming::Region(name, len) => {
                let space = space().ok()?;
                let mapped = space.region_map(name).ok().and_then(|(_, _, file)| ool::map_sealed(&file, len));
                // The memory is here, or lost.
                let _ = space.port_deallocate(name);
                mapped.map(|at| at.as_ptr() as u64)
            }
            Incoming::File(file) => Some(std::os::fd::IntoRawFd::into_raw_fd(file) as u64),
            Incoming::Lost => None,
        }
    }
    fn describe(&mut self, at: usize, descriptor: &Descriptor) {
        let mut bytes = [0; 16];
        descriptor.write_at(&mut bytes, 0);
        self.write(at, &bytes[..descriptor.size()]);
    }
}

impl Call {
    /// What could not be sent comes back to where it was sent from; not at all if that cannot be written.
    #[cold]
    fn turn_back(&mut self) {
        self.into = self.send.cast_mut();
        self.limit = if probe::buffer_writable(self.send, self.send_size) { self.send_size } else { 0 };
    }
    /// As far as there is room.
    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) {
        let len = bytes.len().min(self.limit.saturating_sub(at));
        if len > 0 {
            // SAFETY: inside the `limit` bytes of the program's buffer, which the caller has found writable; no slice of it is in use now.
            unsafe { self.into.add(at).copy_from(bytes.as_ptr(), len) };
        }
    }
    /// XNU writes only these fields when the message stays where it is.
    fn tell_size(&self, message: &[u8]) {
        let Some(header) = Header::read(message) else { return };
        let field = |at: usize, value: u32| {
            if probe::buffer_writable(self.into.wrapping_add(at), 4) {
                // SAFETY: four bytes that can be written, of the header of the program's buffer.
                unsafe { self.into.add(at).cast::<u32>().write_unaligned(value) };
            }
        };
        field(4, header.size);
        if self.options & Options::RCV_LARGE_IDENTITY.bits() != 0 {
            field(12, header.local.0);
        }
    }
}

/// Out-of-line memory that goes away with the message.
fn given_away(message: &[u8]) -> SmallVec<[(usize, usize); 2]> {
    if message.get(3).is_none_or(|bits| bits & 0x80 == 0) {
        return SmallVec::new();
    }
    let all = descriptors(message).map_while(|(_, descriptor)| descriptor.ok());
    all.filter_map(|descriptor| match descriptor {
        Descriptor::Memory { address, deallocate: true, size, .. } => Some((address as usize, size as usize)),
        Descriptor::Ports { address, deallocate: true, count, .. } => Some((address as usize, 4 * count as usize)),
        _ => None,
    })
    .collect()
}

const SEND: u32 = Options::SEND.bits();
const RCV: u32 = Options::RCV.bits();

/// `mach_msg` with the buffer for the receive apart, and the name that is the last argument.
#[expect(clippy::too_many_arguments, reason = "they are the call's")]
fn message_for(
    whom: u32,
    from: *const u8,
    into: *mut u8,
    options: u32,
    send_size: u32,
    rcv_size: u32,
    rcv_name: u32,
    timeout: u32,
) -> Code {
    if special::is_in_step(options)
        && let Err(refused) = space().and_then(|space| special::check_in_step(&space, Name(rcv_name), Name(whom)))
    {
        // What was to be sent is sent, as in XNU.
        let sent = options & SEND != 0;
        let code = if sent { message(from, into, options & !RCV, send_size, 0, 0, timeout) } else { Code::KERN_SUCCESS };
        return if code.is_ok() { refused } else { code };
    }
    message(from, into, options, send_size, rcv_size, rcv_name, timeout)
}

fn message(message: *const u8, into: *mut u8, options: u32, send_size: u32, rcv_size: u32, rcv_name: u32, timeout: u32) -> Code {
    let space = match space() {
        Ok(space) => space,
        Err(code) => return code,
    };
    let send_size = if options & SEND != 0 { send_size as usize } else { 0 };
    if options & SEND != 0 {
        if send_size < HEADER || !send_size.is_multiple_of(4) {
            return Code::MACH_SEND_MSG_TOO_SMALL;
        }
        if send_size > MESSAGE_MAX {
            return Code::MACH_SEND_TOO_LARGE;
        }
        if !probe::buffer_readable(message, send_size) {
            return Code::MACH_SEND_INVALID_DATA;
        }
    }
    // More than a message and its trailer is never written.
    let limit = if options & RCV != 0 { (rcv_size as usize).min(MESSAGE_MAX + TRAILER_MAX) } else { 0 };
    let mut call = Call { send: message, send_size, into, limit, options, received: false };
    let away = given_away(call.message());
    let code = if probe::buffer_writable(into, limit) {
        space.mach_msg_of(&mut call, options, rcv_size, Name(rcv_name), timeout)
    } else {
        receive_elsewhere(&mut call, rcv_size, rcv_name, timeout)
    };
    if !away.is_empty() && (code.is_ok() || came_back(code) && call.received || is_receive_error(code)) {
        away.iter().for_each(|&(at, len)| {
            let _ = ool::release(at, len);
        });
    }
    code
}

/// The message is in the sender's buffer again.
#[inline]
fn came_back(code: Code) -> bool {
    matches!(code.plain(), Code::MACH_SEND_TIMED_OUT | Code::MACH_SEND_INTERRUPTED)
}

fn is_receive_error(code: Code) -> bool {
    code.0 >> 28 == 1 && code.0 & 0x4000 != 0
}

/// Not all of the buffer to receive into can be written. What comes may be shorter than the buffer is said to be; if it does not fit either, it is lost.
#[cold]
fn receive_elsewhere(call: &mut Call, rcv_size: u32, rcv_name: u32, timeout: u32) -> Code {
    let Ok(space) = space() else { return Code::KERN_TERMINATED };
    let mut room = vec![0; MESSAGE_MAX + TRAILER_MAX];
    let into = std::mem::replace(&mut call.into, room.as_mut_ptr());
    call.limit = room.len();
    let code = space.mach_msg_of(call, call.options, rcv_size, Name(rcv_name), timeout);
    if !call.received || came_back(code) {
        return code;
    }
    call.into = into;
    let is_too_large = code.plain() == Code::MACH_RCV_TOO_LARGE;
    if is_too_large && call.options & Options::RCV_LARGE.bits() != 0 {
        call.tell_size(&room);
        return code;
    }
    let word = |at: usize| room.get(at..at + 4).map_or(0, |word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]) as usize);
    // The trailer says its own size behind its kind. Of a message that was too large only the header has come.
    let body = if is_too_large { HEADER } else { round4(word(4)) };
    let whole = (body + word(body + 4)).min(room.len());
    if !probe::buffer_writable(into, whole) {
        return if code.is_ok() { Code::MACH_RCV_INVALID_DATA } else { code };
    }
    call.write(0, &room[..whole]);
    code
}

/// `mach_msg_return_t mach_msg(...)`.
#[unsafe(no_mangle)]
extern "C" fn mach_msg(msg: *mut MsgHeader, option: i32, send_size: u32, rcv_size: u32, rcv_name: u32, timeout: u32, notify: u32) -> i32 {
    message_for(notify, msg.cast(), msg.cast(), option as u32, send_size, rcv_size, rcv_name, timeout).0 as i32
}

#[unsafe(no_mangle)]
extern "C" fn mach_msg_overwrite(
    msg: *mut MsgHeader,
    option: i32,
    send_size: u32,
    rcv_size: u32,
    rcv_name: u32,
    timeout: u32,
    notify: u32,
    rcv_msg: *mut MsgHeader,
    _rcv_scatter_size: u32,
) -> i32 {
    let into = if rcv_msg.is_null() { msg } else { rcv_msg };
    message_for(notify, msg.cast(), into.cast(), option as u32, send_size, rcv_size, rcv_name, timeout).0 as i32
}

#[unsafe(no_mangle)]
extern "C" fn mach_msg_trap(
    msg: *mut MsgHeader,
    option: i32,
    send_size: u32,
    rcv_size: u32,
    rcv_name: u32,
    timeout: u32,
    notify: u32,
) -> i32 {
    let interruptible = Options::SEND_INTERRUPT.bits() | Options::RCV_INTERRUPT.bits();
    mach_msg(msg, option | interruptible as i32, send_size, rcv_size, rcv_name, timeout, notify)
}

#[unsafe(no_mangle)]
extern "C" fn mach_msg_overwrite_trap(
    msg: *mut MsgHeader,
    option: i32,
    send_size: u32,
    rcv_size: u32,
    rcv_name: u32,
    timeout: u32,
    notify: u32,
    rcv_msg: *mut MsgHeader,
    rcv_limit: u32,
) -> i32 {
    let interruptible = Options::SEND_INTERRUPT.bits() | Options::RCV_INTERRUPT.bits();
    mach_msg_overwrite(msg, option | interruptible as i32, send_size, rcv_size, rcv_name, timeout, notify, rcv_msg, rcv_limit)
}

/// # Safety
/// `msg` is a message's header.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_msg_send(msg: *mut MsgHeader) -> i32 {
    if !probe::buffer_readable(msg.cast(), HEADER) {
        return Code::MACH_SEND_INVALID_DATA.0 as i32;
    }
    // SAFETY: readable (just seen).
    let size = unsafe { (*msg).size };
    mach_msg(msg, SEND as i32, size, 0, 0, 0, 0)
}

/// # Safety
/// `msg` is a header whose size field says how much room there is.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_msg_receive(msg: *mut MsgHeader) -> i32 {
    if !probe::buffer_readable(msg.cast(), HEADER) {
        return Code::MACH_RCV_INVALID_DATA.0 as i32;
    }
    // SAFETY: readable (just seen).
    let (size, port) = unsafe { ((*msg).size, (*msg).local) };
    mach_msg(msg, RCV as i32, 0, size, port, 0, 0)
}

/// Of `mach_msg2`'s upper half: the message is described by a vector.
const VECTOR: u64 = 1 << 32;

/// `mach_msg_vector_t`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Vector {
    data: u64,
    /// Where to receive, unless 0.
    into: u64,
    send_size: u32,
    rcv_size: u32,
}

/// `mach_msg_aux_header_t`.
const AUX_HEADER: u32 = 8;
const AUX_MAX: u32 = 1024;

/// The message's vector of one or two. The second is for data beside the message, of which there are none: not to be sent, and told to be empty when received.
fn vectors(at: *const u8, options: u32, send_count: u32, rcv_count: u32) -> Result<Vector, Code> {
    let (sends, receives) = (options & SEND != 0, options & RCV != 0);
    let (sent, received) = (if sends { send_count } else { 0 }, if receives { rcv_count } else { 0 });
    let invalid = if sends { Code::MACH_SEND_INVALID_DATA } else { Code::MACH_RCV_INVALID_ARGUMENTS };
    if sends && !(1..=2).contains(&sent) || receives && !(1..=2).contains(&received) {
        return Err(if sends { Code::MACH_SEND_INVALID_DATA } else { Code::MACH_RCV_INVALID_ARGUMENTS });
    }
    let mut both = [Vector::default(); 2];
    let count = sent.max(received) as usize;
    if !probe::readable(at, count * size_of::<Vector>()) {
        return Err(invalid);
    }
    for (n, vector) in both.iter_mut().enumerate().take(count) {
        // SAFETY: so many can be read (just seen).
        *vector = unsafe { at.cast::<Vector>().add(n).read_unaligned() };
    }
    let [message, aux] = both;
    if sends && message.data == 0 {
        return Err(Code::MACH_SEND_INVALID_DATA);
    }
    if sent == 2 && aux.send_size != 0 {
        return Err(match aux.send_size {
            _ if aux.data == 0 => Code::MACH_SEND_INVALID_DATA,
            0..AUX_HEADER => Code::MACH_SEND_AUX_TOO_SMALL,
            AUX_HEADER..=AUX_MAX => Code::MACH_SEND_INVALID_OPTIONS,
            _ => Code::MACH_SEND_AUX_TOO_LARGE,
        });
    }
    if receives && message.data == 0 && message.into == 0 {
        return Err(Code::MACH_RCV_INVALID_ARGUMENTS);
    }
    if received == 2 {
        let into = if aux.into != 0 { aux.into } else { aux.data } as *mut u8;
        if aux.rcv_size < AUX_HEADER || !probe::buffer_writable(into, AUX_HEADER as usize) {
            return Err(Code::MACH_RCV_INVALID_ARGUMENTS);
        }
        // SAFETY: so many bytes can be written (just seen): the header of nothing.
        unsafe { into.cast::<[u32; 2]>().write_unaligned([AUX_HEADER, 0]) };
    }
    Ok(message)
}

/// The trap under `mach_msg2`: the header's fields come as arguments and count in place of those in the buffer.
#[unsafe(no_mangle)]
extern "C" fn mach_msg2_internal(
    data: *mut u8,
    option: u64,
    bits_and_send_size: u64,
    remote_and_local: u64,
    voucher_and_id: u64,
    desc_count_and_rcv_name: u64,
    rcv_size_and_priority: u64,
    timeout: u64,
) -> i32 {
    let options = option as u32;
    let whom = (rcv_size_and_priority >> 32) as u32;
    let (rcv_name, mut rcv_size) = ((desc_count_and_rcv_name >> 32) as u32, rcv_size_and_priority as u32);
    let mut size = (bits_and_send_size >> 32) as usize;
    let (mut data, mut into) = (data, data);
    if option & VECTOR != 0 {
        let vector = match vectors(data, options, size as u32, rcv_size) {
            Ok(vector) => vector,
            Err(code) => return code.0 as i32,
        };
        data = vector.data as *mut u8;
        into = if vector.into != 0 { vector.into as *mut u8 } else { data };
        (size, rcv_size) = (vector.send_size as usize, vector.rcv_size);
    }
    let timeout = u32::try_from(timeout).unwrap_or(u32::MAX);
    if options & SEND == 0 {
        return message_for(whom, into, into, options, 0, rcv_size, rcv_name, timeout).0 as i32;
    }
    if size < HEADER || !size.is_multiple_of(4) {
        return Code::MACH_SEND_MSG_TOO_SMALL.0 as i32;
    }
    if size > MESSAGE_MAX {
        return Code::MACH_SEND_TOO_LARGE.0 as i32;
    }
    if !probe::buffer_readable(data, size) {
        return Code::MACH_SEND_INVALID_DATA.0 as i32;
    }
    let header = Header {
        bits: bits_and_send_size as u32,
        size: size as u32,
        remote: Name(remote_and_local as u32),
        local: Name((remote_and_local >> 32) as u32),
        voucher: Name(voucher_and_id as u32),
        id: (voucher_and_id >> 32) as i32,
    };
    // SAFETY: `size` bytes that can be read (just seen).
    let mut whole = unsafe { std::slice::from_raw_parts(data, size) }.to_vec();
    whole[..HEADER].copy_from_slice(&header.to_bytes());
    let code = message_for(whom, whole.as_mut_ptr(), into, options, size as u32, rcv_size, rcv_name, timeout);
    if came_back(code) && probe::buffer_writable(data, size) {
        // SAFETY: `size` bytes of the program's buffer, found writable: the message that comes back.
        unsafe { data.copy_from(whole.as_ptr(), size) };
    }
    code.0 as i32
}

/// Drops what a name in a message stands for.
fn destroy_right(name: u32, disposition: u8) {
    let name = Name(name);
    let Some(disposition) = Disposition::from_raw(disposition).filter(|_| name.is_valid()) else { return };
    let Ok(space) = space() else { return };
    // What is not held needs no dropping.
    let _ = match disposition {
        Disposition::MoveSend | Disposition::MoveSendOnce => space.port_deallocate(name),
        Disposition::MoveReceive => space.port_mod_refs(name, RightKind::Receive, -1),
        // Made and dropped: whoever waits for the last of them hears of it.
        Disposition::MakeSend => space.port_insert_right(name, name, disposition).and_then(|()| space.port_deallocate(name)),
        Disposition::MakeSendOnce => space.port_extract_right(name, disposition).and_then(|(made, _)| space.port_deallocate(made)),
        Disposition::CopySend => Ok(()),
    };
}

/// Drops every right in a message that was received and gives its memory back.
///
/// # Safety
/// `msg` points to a whole message.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mach_msg_destroy(msg: *mut MsgHeader) {
    // SAFETY: the caller's word.
    let header = unsafe { msg.read_unaligned() };
    destroy_right(header.remote, (header.bits & 0x1f) as u8);
    destroy_right(header.voucher, (header.bits >> 16 & 0x1f) as u8);
    if header.bits & umach_abi::message::COMPLEX == 0 {
        return;
    }
    // SAFETY: as above, `size` bytes.
    let message = unsafe { std::slice::from_raw_parts(msg.cast::<u8>(), header.size as usize) };
    for (_, descriptor) in descriptors(message) {
        match descriptor {
            Ok(Descriptor::Port { name, disposition }) => destroy_right(name.0, disposition),
            Ok(Descriptor::Guarded { name, disposition, flags, context }) => {
                if flags & guard_flags::UNGUARDED_ON_SEND == 0
                    && let Ok(space) = space()
                {
                    // One that came as immovable is guarded; of others there is nothing to be undone.
                    let _ = space.port_unguard(name, context);
                }
                destroy_right(name.0, disposition);
            }
            Ok(Descriptor::Memory { address, deallocate: true, size, .. }) => drop(ool::release(address as usize, size as usize)),
            Ok(Descriptor::Ports { address, deallocate, disposition, count, .. }) => {
                let (at, len) = (address as usize as *const u8, 4 * count as usize);
                if len > 0 && probe::readable(at, len) {
                    // SAFETY: readable (just seen), and the message's own.
                    let names = unsafe { std::slice::from_raw_parts(at, len) };
                    names.chunks_exact(4).for_each(|b| destroy_right(u32::from_le_bytes([b[0], b[1], b[2], b[3]]), disposition));
                }
                if deallocate {
                    ool::release(address as usize, len);
                }
            }
            Ok(Descriptor::File { lane, .. }) => {
                if let Ok(number) = i32::try_from(lane) {
                    // SAFETY: the number came with the message and is the program's to close.
                    unsafe { libc::close(number) };
                }
            }
            Ok(Descriptor::Memory { .. }) => {}
            Err(_) => break,
        }
    }
}
