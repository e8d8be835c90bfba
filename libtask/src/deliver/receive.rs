//! Receives.

use std::time::Duration;

use umach_abi::Code;

use super::receiving;
use crate::error::{Error, Result};
use crate::exchange::{Answered, Either, Exchange, delivered, exchange, receive_soon};
use crate::received::Received;
use crate::right::Held;
use crate::task::Task;
use crate::trace;

/// The messages that came.
fn each_received(answered: &mut Answered<'_>, task: &Task, mut take: impl FnMut(Received)) -> Result<()> {
    answered.each_typed(|message| {
        let frame = match message {
            Either::Typed(message) => {
                trace::received(&message);
                take(message);
                return Ok(());
            }
            Either::Raw(frame) => frame,
        };
        if frame.message.is_empty() {
            // Mach destroys a message whose header's rights find no room in the receiver's space.
            tracing::warn!(task = task.id(), code = ?frame.status, "a message was lost");
            return Ok(());
        }
        let message = Received::parse(task, frame)?;
        trace::received(&message);
        take(message);
        Ok(())
    })
}

pub(super) fn first_received(answered: &mut Answered<'_>, task: &Task) -> Result<Received> {
    let mut first = None;
    each_received(answered, task, |received| first = Some(received))?;
    first.ok_or_else(|| Error::mach(Code::MACH_RCV_INVALID_DATA, "receiving: the answer has no message"))
}

pub(crate) fn receive(held: &Held, timeout: Option<Duration>) -> Result<Received> {
    let task = held.task();
    if let Some(received) = receive_soon(held, timeout != Some(Duration::ZERO))? {
        trace::received(&received);
        return Ok(received);
    }
    let want = Exchange { from: Some(&held.shortcut), ..receiving(held.name(), 1, timeout) };
    let mut answered = exchange(task, &want)?;
    let received = match answered.code {
        code if delivered(code) => first_received(&mut answered, task),
        code => Err(Error::on(code, "receiving", held.kind(), held.name())),
    };
    finish(task, answered)?;
    received
}

/// What came up meanwhile is seen to before the program goes on: others may wait for that.
pub(super) fn finish(task: &Task, answered: Answered<'_>) -> Result<()> {
    drop(answered);
    task.0.plane.look(task)
}

pub(crate) fn receive_batch(held: &Held, max: usize, timeout: Option<Duration>) -> Result<Vec<Received>> {
    let task = held.task();
    let max = max.min(u32::MAX as usize) as u32;
    let mut answered = exchange(task, &Exchange { from: Some(&held.shortcut), ..receiving(held.name(), max, timeout) })?;
    match answered.code {
        code if delivered(code) => {
            let mut received = answered.take_typed().unwrap_or_default();
            received.iter().for_each(trace::received);
            each_received(&mut answered, task, |message| received.push(message))?;
            finish(task, answered)?;
            Ok(received)
        }
        code => Err(Error::on(code, "receiving", held.kind(), held.name())),
    }
}
