//! A task's doorbell in tokio's reactor.
#![allow(unsafe_code)]

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::aio::Doorbell;

/// Watches it for reading, in the runtime that this is called in.
pub(crate) fn watch(bell: Doorbell) -> io::Result<AsyncFd<Doorbell>> {
    // SAFETY:
    // * the descriptor is open: it belongs to the poller that the doorbell holds, and is closed when that is dropped;
    // * the doorbell, and with it the poller, is moved into the result, so both live as long;
    // * a poller never takes another descriptor, so `as_raw_fd` always says the same.
    let watched = unsafe { AsyncFd::register_with_interest(bell, Interest::READABLE) };
    watched.map_err(|refused| refused.into_parts().1)
}
