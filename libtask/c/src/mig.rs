//! What stubs made by MIG call.

use std::cell::Cell;
use std::ffi::{c_char, c_int};

use libtask::{Code, Name, RightKind};

use crate::memory;
use crate::message::MsgHeader;
use crate::process::{mach_reply_port, space};

/// A reply port of a thread; given up when the thread ends.
pub(crate) struct ReplyPort(Cell<u32>);

thread_local! {
    static REPLY: ReplyPort = const { ReplyPort::new() };
}

impl ReplyPort {
    /// None yet.
    pub(crate) const fn new() -> ReplyPort {
        ReplyPort(Cell::new(0))
    }
    /// The port, made if there is none.
    pub(crate) fn get_or(&self, make: extern "C" fn() -> u32) -> u32 {
        if self.0.get() == 0 {
            self.0.set(make());
        }
        self.0.get()
    }
    /// Gives the port up if it is this one.
    pub(crate) fn give_up_if(&self, port: u32) {
        if self.0.get() == port {
            self.give_up();
        }
    }
    /// The name means nothing any more.
    pub(crate) fn forget(&self) {
        self.0.set(0);
    }
    fn give_up(&self) {
        let name = Name(self.0.replace(0));
        if name.is_valid()
            && let Ok(space) = space()
        {
            // Gone already if the task is.
            let _ = space.port_mod_refs(name, RightKind::Receive, -1);
        }
    }
}

impl Drop for ReplyPort {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// In a forked child the name means nothing.
pub(crate) fn forget() {
    let _ = REPLY.try_with(ReplyPort::forget);
}

/// This thread's reply port, made when it is first asked for.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mig_get_reply_port() -> u32 {
    REPLY.with(|reply| reply.get_or(mach_reply_port))
}

/// The call has ended, and its port can serve the next one.
#[unsafe(no_mangle)]
extern "C" fn mig_put_reply_port(_port: u32) {}

/// The call has ended so that an answer may still come to the port: the next one gets another port.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mig_dealloc_reply_port(port: u32) {
    REPLY.with(|reply| reply.give_up_if(port));
}

/// `NDR_record_t`: little-endian, ASCII, IEEE.
#[unsafe(no_mangle)]
static NDR_record: [u8; 8] = umach_abi::message::NDR;

/// Copies a string into `len` bytes, the last of them zero. Returns how many bytes count, the zero included.
///
/// # Safety
/// `to` has room for `len` bytes; `from` is a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn mig_strncpy(to: *mut c_char, from: *const c_char, len: c_int) -> c_int {
    // SAFETY: passed on.
    unsafe { copy_string(to, from, len, false) }
}

/// The same, with zeros to the end.
///
/// # Safety
/// As for [`mig_strncpy`].
#[unsafe(no_mangle)]
unsafe extern "C" fn mig_strncpy_zerofill(to: *mut c_char, from: *const c_char, len: c_int) -> c_int {
    // SAFETY: passed on.
    unsafe { copy_string(to, from, len, true) }
}

unsafe fn copy_string(to: *mut c_char, from: *const c_char, len: c_int, fill: bool) -> c_int {
    if len <= 0 || to.is_null() || from.is_null() {
        return 0;
    }
    let room = len as usize - 1;
    // SAFETY: reads the string up to its end or `room` bytes, writes at most `room + 1` bytes.
    unsafe {
        let found = libc::strnlen(from, room);
        to.copy_from(from, found);
        let zeros = if fill { room - found + 1 } else { 1 };
        to.add(found).write_bytes(0, zeros);
        (found + 1) as c_int
    }
}

/// # Safety
/// `at` has room for an address.
#[unsafe(no_mangle)]
unsafe extern "C" fn mig_allocate(at: *mut usize, size: usize) {
    let made = memory::allocate(size).unwrap_or(0);
    if !at.is_null() {
        // SAFETY: not null, so room for an address.
        unsafe { at.write(made) };
    }
}

#[unsafe(no_mangle)]
extern "C" fn mig_deallocate(at: usize, size: usize) {
    memory::deallocate(at, size);
}

/// There are no vouchers: no effect.
#[unsafe(no_mangle)]
extern "C" fn voucher_mach_msg_set(_msg: *mut MsgHeader) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn voucher_mach_msg_clear(_msg: *mut MsgHeader) {}

/// Sets an answer up as the stub of a request's server does before it knows better.
///
/// # Safety
/// `request` is a message, `reply` has room for a `mig_reply_error_t`.
#[unsafe(no_mangle)]
unsafe extern "C" fn mig_reply_setup(request: *const MsgHeader, reply: *mut MsgHeader) {
    // SAFETY: the caller's word.
    unsafe {
        let asked = request.read();
        let head =
            MsgHeader { bits: asked.bits & 0x1f, size: 36, remote: asked.remote, local: 0, voucher: 0, id: asked.id.wrapping_add(100) };
        reply.write(head);
        let bytes = reply.cast::<u8>();
        bytes.add(24).copy_from(NDR_record.as_ptr(), 8);
        bytes.add(32).cast::<u32>().write_unaligned(Code::MIG_BAD_ID.0);
    }
}
