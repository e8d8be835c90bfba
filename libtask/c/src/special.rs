//! Special reply ports: a reply port that a thread asks for by itself, and on which only that thread waits *in step* with whom it asked (`MACH_RCV_SYNC_WAIT`).
//!
//! In XNU this is how a thread lends its priority to who answers; here nobody has a priority to lend. What a program can tell is served: each call gives another
//! port, whose receive right does not move; the one asked for last is the thread's; and a receive in step takes that one and the name of whom it waits for.

use std::cell::Cell;

use libtask::raw::{Options, Space};
use libtask::{Code, Name, TypeBits};
use umach_abi::rights::ConstructFlags;

use crate::mig::ReplyPort;
use crate::process::space;

thread_local! {
    /// The special reply port that this thread asked for last.
    static BOUND: Cell<u32> = const { Cell::new(0) };
    /// The one that MIG's stubs use.
    static KEPT: ReplyPort = const { ReplyPort::new() };
}

/// In a forked child the names mean nothing.
pub(crate) fn forget() {
    let _ = BOUND.try_with(|bound| bound.set(0));
    let _ = KEPT.try_with(ReplyPort::forget);
}

/// A new special reply port, this thread's from now on. The one before stays as a port like others.
#[unsafe(no_mangle)]
extern "C" fn thread_get_special_reply_port() -> u32 {
    let made = space().and_then(|space| space.port_construct(ConstructFlags::IMMOVABLE_RECEIVE, 0, 0));
    let name = made.unwrap_or(Name::NULL).0;
    // A thread that is ending has nowhere to keep it.
    let _ = BOUND.try_with(|bound| bound.set(name));
    name
}

/// This thread's special reply port for stubs, made when it is first asked for; it goes with the thread.
#[unsafe(no_mangle)]
extern "C" fn mig_get_special_reply_port() -> u32 {
    KEPT.with(|kept| kept.get_or(thread_get_special_reply_port))
}

#[unsafe(no_mangle)]
extern "C" fn mig_dealloc_special_reply_port(port: u32) {
    KEPT.with(|kept| kept.give_up_if(port));
}

/// Whether a receive with these options is one in step, which has its conditions.
pub(crate) fn is_in_step(options: u32) -> bool {
    let options = Options::from_bits_retain(options);
    options.contains(Options::RCV | Options::RCV_SYNC_WAIT) && !options.contains(Options::SEND_SYNC_OVERRIDE)
}

/// The conditions of a receive in step on `port`, for the holder of the port that is called `whom` here.
pub(crate) fn check_in_step(space: &Space<'_>, port: Name, whom: Name) -> Result<(), Code> {
    let kind = space.port_type(port).map_err(|_| Code::MACH_RCV_INVALID_NAME)?;
    if !kind.intersects(TypeBits::RECEIVE | TypeBits::PORT_SET) {
        return Err(Code::MACH_RCV_INVALID_NAME);
    }
    // That `whom` is dead, or nothing at all, is no error.
    if BOUND.get() != port.0 || !whom.is_valid() {
        return Err(Code::MACH_RCV_INVALID_NOTIFY);
    }
    Ok(())
}
