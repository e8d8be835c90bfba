//! The short ways: what a program does most, without the general exchange. Each says whether it was one of these; if not, nothing has happened.

use std::time::Duration;

use umach_abi::link::SLOT_MAX;
use umach_abi::message::{HEADER, Header};
use umach_abi::{Code, Name};

use super::mixed::Mixed;
use super::{Answered, Exchange, Post, after};
use crate::direct::{Carry, Doubt, Finished, Lazy, Open, Patience, Sent, Until, Want};
use crate::error::Result;
use crate::received::Received;
use crate::right::Held;
use crate::task::Task;

/// Whether a send with this much time waits.
pub(crate) fn patience(timeout: Option<Duration>) -> Patience {
    if timeout == Some(Duration::ZERO) { Patience::None } else { Patience::Waits }
}

/// Sends a plain message over a link, if its destination has a route. `None`: by [`exchange`], and nothing has happened. A message about which there is
/// [`Doubt`] has to go by [`doubted`].
pub(crate) fn send_plain(
    task: &Task,
    name: Name,
    id: i32,
    body: &mut Carry<'_>,
    timeout: Option<Duration>,
    patience: Patience,
) -> Result<Option<Result<Code, Doubt>>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() {
        return Ok(None);
    }
    Ok(match plane.send(task, name, id, body, &Lazy::new(|| after(timeout)), patience)? {
        Sent::Done => Some(Ok(Code::SUCCESS)),
        Sent::Over(code) => Some(Ok(code)),
        Sent::NoRoute => None,
        Sent::Doubt(doubt) => Some(Err(doubt)),
    })
}

/// A message that is there, or comes at once, over a link. `None`: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn receive_soon(held: &Held, wait: bool) -> Result<Option<Received>> {
    let task = held.task();
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() {
        return Ok(None);
    }
    plane.receive_soon(task, &held.shortcut, wait)
}

/// The same for a bare name, in as much room as `want` says.
#[inline]
pub(crate) fn receive_soon_by_name(task: &Task, want: &Want, wait: bool) -> Result<Option<Received>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    match plane.place(want.name) {
        Some(place) => plane.receive_soon_at(task, &place, want, wait),
        None => Ok(None),
    }
}

/// What became of [`call_plain`].
pub(crate) enum Called {
    Answered(Received),
    Code(Code),
    /// To be finished by [`finish`].
    Else(Finished),
}

/// Calls with a plain message over a link, if its destination has a route. `None`: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn call_plain(task: &Task, held: &Held, id: i32, body: &mut Carry<'_>, timeout: Option<Duration>) -> Result<Option<Called>> {
    let until = Lazy::new(|| after(timeout));
    match begin_plain(task, held, id, body, &until, patience(timeout))? {
        None => Ok(None),
        Some(Ok(open)) => finish_plain(task, open, &until).map(Some),
        Some(Err(code)) => Ok(Some(Called::Code(code))),
    }
}

/// The first half of it: the request is on its way, or it was too late.
#[inline]
pub(crate) fn begin_plain(
    task: &Task,
    held: &Held,
    id: i32,
    body: &mut Carry<'_>,
    until: &Lazy<impl FnOnce() -> Until>,
    patience: Patience,
) -> Result<Option<Result<Open, Code>>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() {
        return Ok(None);
    }
    Ok(match plane.begin_call(task, held.name(), id, body, until, patience)? {
        Ok(open) => Some(Ok(open)),
        Err(Sent::Over(code)) => Some(Err(code)),
        Err(_) => None,
    })
}

/// The second half: waits for the answer.
#[inline]
pub(crate) fn finish_plain(task: &Task, open: Open, until: &Lazy<impl FnOnce() -> Until>) -> Result<Called> {
    Ok(match task.0.plane.finish_call(task, open, until)? {
        Finished::Answered(message) => Called::Answered(message),
        Finished::Late => Called::Code(Code::MACH_RCV_TIMED_OUT),
        other => Called::Else(other),
    })
}

/// Answers a call that came over a link with a plain message. False: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn answer_plain(task: &Task, name: Name, id: i32, body: &[u8]) -> Result<bool> {
    task.check_fork()?;
    let plane = &task.0.plane;
    Ok(plane.is_active() && body.len() <= SLOT_MAX && plane.reply_to(task, name, id, &mut Carry::Plain([body, &[], &[]])))
}

/// What became of [`call_own`].
#[allow(clippy::large_enum_variant)] // it is not stored anywhere
pub(crate) enum OwnCall<'t> {
    /// It came to the reply port.
    Answered(Received),
    /// Another end, or the answer came another way.
    Else(Answered<'t>),
}

/// Calls with a plain message and a reply port of the program's own, which `want` receives from. `None`: by [`exchange`], and nothing has happened.
#[inline]
pub(crate) fn call_own<'t>(task: &'t Task, want: &Exchange<'_>, header: &Header, post: Post<'_>) -> Result<Option<OwnCall<'t>>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    if !plane.is_active() || !plane.is_reply_port(header.local) {
        return Ok(None);
    }
    let mixed = Mixed::new(task, want);
    let mut carry = Carry::Plain([&post.bytes[HEADER..], &[], &[]]);
    let begun = plane.begin_call(task, header.remote, header.id, &mut carry, &Lazy::new(|| mixed.send_until()), want.patience())?;
    let open = match begun {
        Ok(open) => open,
        Err(Sent::Over(code)) => return Ok(Some(OwnCall::Else(Answered::just(code)))),
        Err(_) => return Ok(None),
    };
    Ok(Some(match plane.finish_soon(task, open, &Lazy::new(|| mixed.receive_until()))? {
        Ok(Finished::Answered(message)) => OwnCall::Answered(message),
        Ok(finished) => OwnCall::Else(mixed.came_to(header.local, finished, post)?),
        Err(open) => {
            plane.add_pending(header.local, open, &post.bytes[..post.send_size as usize]);
            OwnCall::Else(mixed.receive()?)
        }
    }))
}

/// Finishes what [`send_plain`] left in doubt.
pub(crate) fn doubted<'t>(task: &'t Task, want: &Exchange<'_>, post: Post<'_>, doubt: &Doubt) -> Result<Answered<'t>> {
    Mixed::new(task, want).send_doubted(post, doubt)
}

/// Finishes what [`call_plain`] left.
pub(crate) fn finish<'t>(task: &'t Task, want: &Exchange<'_>, post: Post<'_>, finished: Finished) -> Result<Answered<'t>> {
    Mixed::new(task, want).finished(finished, post)
}
