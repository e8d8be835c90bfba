//! POSIX and System V message queues.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The largest message of a queue of either kind under Linux's default limits.
pub(crate) const LARGEST: usize = 8192;
/// The most messages in a POSIX queue under Linux's default limits.
const MESSAGES: i64 = 10;

/// A new POSIX queue without a name: whoever is to have it gets the descriptor.
pub(crate) fn posix_queue() -> Result<OwnedFd> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("/umach-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = CString::new(name).map_err(Error::other)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: all zero is a value of this plain structure.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    (attributes.mq_maxmsg, attributes.mq_msgsize) = (MESSAGES, LARGEST as i64);
    // SAFETY: the name ends in a zero and the attributes are initialised; both outlive the call.
    let fd = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600 as libc::mode_t, &raw mut attributes) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: as above. The queue lives on until its descriptors are closed.
    let gone = unsafe { libc::mq_unlink(name.as_ptr()) };
    // SAFETY: on Linux a queue descriptor is a file descriptor, and this one is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if gone < 0 { Err(Error::last_os_error()) } else { Ok(fd) }
}

/// Sends, waiting for room.
pub(crate) fn posix_send(queue: BorrowedFd<'_>, message: &[u8]) -> Result<()> {
    // SAFETY: the bytes are there for the whole call, and the descriptor is open.
    let sent = unsafe { libc::mq_send(queue.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Receives into `buffer`, which has room for [`LARGEST`] bytes; gives the length.
pub(crate) fn posix_receive(queue: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: as many bytes may be written as the buffer has, and the descriptor is open.
    let got = unsafe { libc::mq_receive(queue.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), std::ptr::null_mut()) };
    usize::try_from(got).map_err(|_| Error::last_os_error())
}

/// A System V queue. Unlike everything else here it outlives its processes, so somebody has to [`SysV::remove`] it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SysV(i32);

/// A message as the calls want it: its type, which is 1 here, and its bytes.
#[repr(C)]
pub(crate) struct SysVMessage {
    kind: libc::c_long,
    pub(crate) bytes: [u8; LARGEST],
}

impl SysVMessage {
    pub(crate) fn new() -> Box<SysVMessage> {
        Box::new(SysVMessage { kind: 1, bytes: [0; LARGEST] })
    }
}

/// The queues that this process has made and not removed.
fn made() -> MutexGuard<'static, Vec<SysV>> {
    static MADE: Mutex<Vec<SysV>> = Mutex::new(Vec::new());
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SysV {
    pub(crate) fn new() -> Result<SysV> {
        // SAFETY: takes numbers only.
        let id = unsafe { libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600) };
        if id < 0 {
            return Err(Error::last_os_error());
        }
        made().push(SysV(id));
        Ok(SysV(id))
    }
    /// Ends all that this process has made: before it ends in the middle of something.
    pub(crate) fn remove_all() {
        let all = std::mem::take(&mut *made());
        all.into_iter().for_each(SysV::remove);
    }
    /// The queue with this number.
    pub(crate) fn open(id: i32) -> SysV {
        SysV(id)
    }
    pub(crate) fn id(self) -> i32 {
        self.0
    }
    /// Sends the first `len` bytes, waiting for room.
    pub(crate) fn send(self, message: &SysVMessage, len: usize) -> Result<()> {
        assert!(len <= LARGEST);
        // SAFETY: the message is a type and then at least `len` bytes.
        let sent = unsafe { libc::msgsnd(self.0, std::ptr::from_ref(message).cast(), len, 0) };
        if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }
    /// Receives; gives the length.
    pub(crate) fn receive(self, message: &mut SysVMessage) -> Result<usize> {
        // SAFETY: the message has room for a type and `LARGEST` bytes.
        let got = unsafe { libc::msgrcv(self.0, std::ptr::from_mut(message).cast(), LARGEST, 0, 0) };
        usize::try_from(got).map_err(|_| Error::last_os_error())
    }
    /// Ends it; whoever waits on it fails.
    pub(crate) fn remove(self) {
        made().retain(|queue| queue.0 != self.0);
        // SAFETY: this command takes no structure. Gone already is as good.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}
