//! What generated code calls. Not for people: it may change in any release.

use std::time::Duration;

pub use postcard_schema;
use postcard_schema::schema::NamedType;
pub use serde;
use serde::Serialize;
use umach_abi::Code;
pub use umach_describe::fixed;
use umach_describe::interface::{ANSWER, ITEM};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use super::at_once::{Course, Port, serve_at_once, serve_in_turn};
pub use super::body::{Bytes, Readable, Reader, Writable};
use super::client::Conclude;
pub use super::parts::{End, Incoming};
use super::parts::{Outgoing, Parts};
use super::{CallError, Caller, DESCRIBE, FAILURE, Interface, Later, Pending, PendingSend, Sink, Stream, client, server, stream};
use crate::deliver;
use crate::error::Result;
use crate::message::Message;
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::right::SendRight;

/// What can be an argument, a result, an error or an item.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a message",
    label = "not a type of data",
    note = "put `#[libtask::data]` on a struct or enum of your own; numbers, text, `Option`, `Vec`, maps, tuples, rights, `Memory`, `Lease`, `Region` and \
            `OpenFile` are data; a right to a `dyn Trait` is if the trait has `#[libtask::interface]` on it"
)]
pub trait Data {
    /// Its schema.
    const SCHEMA: &'static NamedType;
}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Serialize + postcard_schema::Schema> Data for T {
    const SCHEMA: &'static NamedType = T::SCHEMA;
}

/// What can be `#[pod]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain old data",
    label = "its bytes cannot be sent as they are",
    note = "derive `FromBytes`, `IntoBytes` and `Immutable` of `libtask::zerocopy` (and `KnownLayout` and `Unaligned`, to read it in place), or leave `#[pod]` away"
)]
pub trait Pod {}

#[diagnostic::do_not_recommend]
impl<T: FromBytes + IntoBytes + Immutable> Pod for T {}

/// How many bytes it has.
pub const fn pod_size<T: Pod>() -> usize {
    size_of::<T>()
}

/// Keeps the description in programs that only call.
#[inline]
pub fn keep(description: &'static [u8]) {
    std::hint::black_box(description);
}

/// A server by a thread that waits. An interface with an `async fn` has none.
#[diagnostic::on_unimplemented(
    message = "a thread that waits cannot serve an interface that has an `async fn`",
    label = "`serve` and `handle` are for interfaces without",
    note = "`port.serve_async(server).await` serves it, many calls at once; with a loop of your own, `interface::answer_async` answers one"
)]
pub trait NeedsNoFuture {
    /// There is no server.
    fn none(&mut self) -> !;
}

// The calling side.

/// A request (or an item) with these arguments.
#[inline]
pub fn request<T: Writable>(id: i32, parts: bool, arguments: &T) -> Message {
    let mut message = Message::new(id);
    if parts {
        with_parts(message, arguments)
    } else {
        message.write_body(arguments);
        message
    }
}

#[inline(never)]
fn with_parts<T: Writable>(mut message: Message, body: &T) -> Message {
    let outgoing = Outgoing::begin();
    message.write_body(body);
    let parts: Parts = outgoing.finish();
    parts.into_iter().fold(message, Message::part)
}

/// A request with plain old data.
#[inline]
pub fn request_pod<T: IntoBytes + Immutable>(id: i32, value: &T) -> Message {
    Message::new(id).pod(value)
}

/// Calls.
#[inline]
pub fn call<I: ?Sized>(right: &SendRight<I>, message: Message, timeout: Duration, method: &'static str) -> Result<Received> {
    let expected = message.id().wrapping_add(ANSWER);
    let answer = deliver::call(&right.held, message, Some(timeout))?;
    client::checked(answer, expected, method)
}

/// Sends a one-way call: waits for room at most so long.
#[inline]
pub fn send<I: ?Sized>(right: &SendRight<I>, message: Message, timeout: Duration) -> Result<()> {
    Ok(right.send_within(message, timeout)?)
}

/// Starts a call, unless there is no port for its stream.
pub fn begin<I: ?Sized, R>(
    right: &SendRight<I>,
    message: Result<Message>,
    timeout: Duration,
    method: &'static str,
    stream: Option<ReceiveRight>,
    read: fn(Result<Received>, Option<ReceiveRight>) -> R,
) -> Pending<R> {
    let expected = message.as_ref().map_or(0, |message| message.id().wrapping_add(ANSWER));
    let call = message.and_then(|message| Ok(right.begin_call_soon(message)?));
    Pending::new(call, timeout, Conclude { expected, method, stream, read })
}

/// Sends a one-way call, if there is room now.
pub fn begin_send<I: ?Sized>(right: &SendRight<I>, message: Message, timeout: Duration) -> PendingSend {
    PendingSend::begin(right, message, timeout)
}

/// Reads an answer.
#[inline]
pub fn value<T>(parts: bool, answer: Received, read: impl FnOnce(&mut Reader<'_>) -> postcard::Result<T>) -> Result<T> {
    client::reading(parts, answer, read)
}

/// Reads the answer of a method that may refuse.
#[inline]
pub fn outcome<T, E>(
    parts: bool,
    answer: Received,
    read: impl FnOnce(&mut Reader<'_>) -> postcard::Result<T>,
    read_error: impl FnOnce(&mut Reader<'_>) -> postcard::Result<E>,
) -> Result<T, CallError<E>> {
    let outcome =
        client::reading(parts, answer, |reader| if reader.read_is_ok()? { read(reader).map(Ok) } else { read_error(reader).map(Err) });
    outcome?.map_err(CallError::Refused)
}

/// Reads an answer of plain old data.
#[inline]
pub fn pod_value<T: FromBytes>(answer: Received) -> Result<T> {
    answer.pod()
}

/// The port of a stream.
pub fn open_stream<I: ?Sized>(right: &SendRight<I>, queue: u32) -> Result<ReceiveRight> {
    stream::open(right.task(), queue)
}

/// What goes into the request for it.
pub fn stream_end(port: &ReceiveRight) -> End<'_> {
    End(port)
}

/// The client's end. `id` is the request's.
pub fn stream_of<T>(port: ReceiveRight, id: i32, method: &'static str) -> Stream<T> {
    Stream::new(port, id.wrapping_add(ITEM), method)
}

// The answering side.

/// The number of the method that is called, if it is one: 0 to 99. (The id is the base plus that.)
#[inline]
pub fn number(caller: &Caller, base: i32) -> i32 {
    caller.request.id().wrapping_sub(base)
}

/// Whether anybody wants an answer. A call that has one and wants none is dropped.
#[inline]
pub fn wants_answer(caller: &Caller) -> bool {
    caller.request.wants_reply()
}

/// Keeps the parts of the request at hand while it is read.
#[inline]
pub fn incoming(parts: bool, caller: &mut Caller) -> Option<Incoming> {
    parts.then(|| Incoming::begin(&mut caller.request))
}

/// Reads the arguments.
#[inline]
pub fn reader(caller: &Caller) -> Reader<'_> {
    Reader::new(caller.request.bytes())
}

/// The server's end of a stream.
pub fn read_sink<T>(reader: &mut Reader<'_>, id: i32) -> postcard::Result<Sink<T>> {
    Ok(Sink::new(reader.read()?, id.wrapping_add(ITEM)))
}

/// The argument that is plain old data, copied out.
#[inline]
pub fn pod_read<T: FromBytes>(caller: &Caller) -> Option<T> {
    T::read_from_bytes(caller.request.bytes()).ok()
}

/// The argument that is plain old data, in place.
#[inline]
pub fn pod_ref<T: FromBytes + KnownLayout + Immutable + Unaligned>(caller: &Caller) -> Option<&T> {
    T::ref_from_bytes(caller.request.bytes()).ok()
}

/// The right to answer later.
pub fn later<R>(caller: &mut Caller, id: i32, method: &'static str) -> Later<R> {
    Later::new(&mut caller.request, id.wrapping_add(ANSWER), method)
}

/// The answer of a method that sends items, when it has sent them, if it was not given before.
pub fn answer_last(last: Option<Later<()>>) -> Option<Message> {
    if let Some(later) = last
        && let Err(error) = later.answer(())
    {
        tracing::debug!(%error, "an answer found nobody");
    }
    None
}

/// The answer to a request with this id.
#[inline]
pub fn answer<T: Writable>(id: i32, parts: bool, result: &T, method: &'static str) -> Option<Message> {
    Some(answer_message(id.wrapping_add(ANSWER), parts, result, method))
}

#[inline]
pub(super) fn answer_message<T: Writable>(id: i32, parts: bool, result: &T, method: &'static str) -> Message {
    let message = request(id, parts, result);
    if message.has_failed() { failure(Code::MIG_REMOTE_ERROR, format!("the result of {method} could not be written")) } else { message }
}

/// The answer of plain old data.
#[inline]
pub fn answer_pod<T: IntoBytes + Immutable>(id: i32, result: &T) -> Option<Message> {
    Some(Message::new(id.wrapping_add(ANSWER)).pod(result))
}

/// A result whose bytes are written at once.
#[inline]
pub fn bytes_result<'r, E>(result: &'r Result<Vec<u8>, E>) -> Result<Bytes<'r>, &'r E> {
    result.as_ref().map(|bytes| Bytes(bytes))
}

#[cold]
pub(super) fn failure(code: Code, reason: String) -> Message {
    Message::new(FAILURE).body(&(code.0, reason))
}

/// The answer to a request that cannot be read.
#[cold]
pub fn bad(
    caller: &Caller,
    incoming: Option<&Incoming>,
    method: &'static str,
    argument: &'static str,
    why: &postcard::Error,
) -> Option<Message> {
    let (code, why) = match incoming.and_then(Incoming::error) {
        Some(error) => (error.code(), error.to_string()),
        None => (Code::MIG_TYPE_ERROR, why.to_string()),
    };
    let reason = format!("{method}: the argument {argument:?} cannot be read: {why}");
    tracing::debug!(task = caller.task().id(), reason, sender = ?caller.sender(), "refused");
    Some(failure(code, reason))
}

/// The answer to a request whose plain old data is of another size.
#[cold]
pub fn bad_pod(caller: &Caller, method: &'static str, argument: &'static str, size: usize) -> Option<Message> {
    let len = caller.request.bytes().len();
    let reason = format!("{method}: the argument {argument:?} has {size} bytes, and {len} came");
    tracing::debug!(task = caller.task().id(), reason, sender = ?caller.sender(), "refused");
    Some(failure(Code::MIG_TYPE_ERROR, reason))
}

/// What is no call of a method of the interface.
#[cold]
pub fn other<I: ?Sized + Interface>(caller: &Caller) -> Option<Message> {
    if let Some(notification) = caller.request.notification() {
        server::notified(caller, notification);
        return None;
    }
    let id = caller.request.id();
    if !caller.request.wants_reply() {
        tracing::debug!(task = caller.task().id(), message = ?caller.request, "dropped: no method, and no answer wanted");
        return None;
    }
    if id == DESCRIBE {
        return Some(Message::new(DESCRIBE + ANSWER).bytes(I::DESCRIPTION));
    }
    let reason = match id.checked_sub(I::BASE) {
        Some(number @ 0..ANSWER) => format!("{} has no method {number} here", I::NAME),
        _ => format!("message {id} is no method of {}", I::NAME),
    };
    Some(failure(Code::MIG_BAD_ID, reason))
}

/// Whether any of these is or has a part of the message.
pub const fn any_has_parts(types: &[&'static NamedType]) -> bool {
    fixed::any_has_parts(types)
}
