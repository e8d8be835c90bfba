//! Typed messages: send, receive, call, serve. Each is one exchange ([`crate::exchange`]).
//!
//! What becomes of the rights in a message is decided here, by the code that comes back:
//!
//! | code | the message |
//! |---|---|
//! | success, or an error of the receive | sent: what it moved is no longer ours |
//! | an error in the header | untouched, given back |
//! | timed out or interrupted | comes back from the kernel with the same rights, some under new names |
//! | an error in the body | partly gone: see [`Message::lost`] |

mod begun;
mod call;
mod receive;
mod send;
mod serve;

use std::cell::Cell;
use std::time::Duration;

use umach_abi::control::msg_flags;
use umach_abi::limits::MESSAGE_MAX;
use umach_abi::message::{Options, TRAILER_MAX, TrailerRequest};
use umach_abi::{Disposition, Name};

pub(crate) use self::begun::{
    Begun, Course, Started, answer_at_port, begin_call, begin_soon, finish_call, give_up_call, start_call, take_course,
};
pub(crate) use self::call::{CALLING, call};
pub(crate) use self::receive::{receive, receive_batch};
pub(crate) use self::send::send;
pub(crate) use self::serve::{reply, serve, serve_by_value};
use crate::error::Result;
use crate::exchange::{Exchange, Post};
use crate::message::Message;
use crate::task::Task;
use crate::transport::Wait;

thread_local! {
    /// Where this thread writes its messages; kept for its room.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest buffer that a thread keeps.
const SCRATCH_MAX: usize = 64 * 1024;

/// The message as bytes, while `f` needs them.
fn with_bytes<T>(task: &Task, message: &mut Message, dest: (Name, Disposition), f: impl FnOnce(Post<'_>) -> Result<T>) -> Result<T> {
    let mut bytes = SCRATCH.take();
    bytes.clear();
    let encoded = message.encode(task, dest, None, &mut bytes);
    let rooms = message.rooms();
    let result = encoded.and_then(|sizes| f(Post { bytes: &bytes, send_size: sizes.send_size, rooms: &rooms }));
    if bytes.capacity() <= SCRATCH_MAX {
        SCRATCH.set(bytes);
    }
    result
}

/// A receive of typed messages.
fn receiving(from: Name, count: u32, timeout: Option<Duration>) -> Exchange<'static> {
    Exchange {
        options: Options::RCV.bits() | TrailerRequest::Context.options(),
        flags: if timeout == Some(Duration::ZERO) { msg_flags::TRY_RECEIVE } else { 0 },
        post: None,
        call: false,
        receive: from,
        limit: (MESSAGE_MAX + TRAILER_MAX) as u32,
        count,
        wait: within(timeout),
        from: None,
    }
}

/// A try is answered at once, so there is no time to keep.
fn within(timeout: Option<Duration>) -> Wait {
    match timeout {
        None | Some(Duration::ZERO) => Wait::FOREVER,
        timeout => Wait::within(timeout),
    }
}
