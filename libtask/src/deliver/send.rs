//! Sends, and what a failed one leaves of its message.

use std::time::Duration;

use umach_abi::control::{PortDeallocate, PortGetRefs, msg_flags};
use umach_abi::message::{Descriptor, Header, Options, Place, descriptors};
use umach_abi::rights::received;
use umach_abi::{Code, Disposition, Name, RightKind};

use super::{receiving, with_bytes};
use crate::error::{Error, RightLabel, SendError};
use crate::exchange::{self, Answered, Exchange, answer_frames, doubted, exchange, send_plain};
use crate::frame::{RawFrame, array_names, take_attached};
use crate::message::{Message, Part, Reply};
use crate::receive::ReceiveRight;
use crate::region::{Memory, Region};
use crate::right::{Held, SendOnceRight, SendRight};
use crate::task::Task;
use crate::trace;
use crate::transport::Lane;

#[inline]
pub(crate) fn send(held: &Held, disposition: Disposition, message: Message, timeout: Option<Duration>) -> Result<(), SendError> {
    send_staged(held, disposition, message, timeout).map_err(given_back)
}

/// What a failed send gives back is as it was before.
pub(super) fn given_back(mut failed: SendError) -> SendError {
    failed.message.iter_mut().for_each(|message| message.unstage());
    failed
}

#[inline]
fn send_staged(held: &Held, disposition: Disposition, mut message: Message, timeout: Option<Duration>) -> Result<(), SendError> {
    const WHAT: &str = "sending";
    let task = held.task();
    let exchange_within = |timeout: Option<Duration>| Exchange {
        options: Options::SEND.bits(),
        flags: if timeout == Some(Duration::ZERO) { msg_flags::TRY_SEND } else { 0 },
        ..receiving(Name::NULL, 0, timeout)
    };
    let mut left = timeout;
    let mut doubt = None;
    if disposition == Disposition::CopySend
        && let Some(mut body) = message.plain(&mut [0; 4])
    {
        trace::sending(task, held.label(), &message);
        match send_plain(task, held.name(), message.id(), &mut body, timeout, exchange::patience(timeout)) {
            Ok(None) => {}
            Ok(Some(Err(unsure))) => doubt = Some(unsure),
            Ok(Some(Ok(code))) => {
                let error = |code| Error::Mach { code, what: WHAT, on: Some(held.label()) };
                return code.ok().map_err(|code| SendError { error: error(code), message: Some(Box::new(message)) });
            }
            Err(error) => return Err(not_sent(error, message)),
        }
    } else {
        left = match message.prepare(task, held.name()).and_then(|()| message.stage(task, held.name(), timeout)) {
            Ok(left) => left,
            Err(error) => return Err(SendError { error, message: Some(Box::new(message)) }),
        };
        trace::sending(task, held.label(), &message);
    }
    let answered = with_bytes(task, &mut message, (held.name(), disposition), |post| {
        let want = Exchange { post: Some(post), ..exchange_within(left) };
        match doubt {
            Some(doubt) => doubted(task, &want, post, &doubt),
            None => exchange(task, &want),
        }
    });
    match answered {
        Err(error) => Err(not_sent(error, message)),
        Ok(answered) if answered.code.is_ok() => {
            drop(answered);
            if disposition == Disposition::MoveSendOnce {
                held.forget();
            }
            message.sent();
            Ok(())
        }
        Ok(mut answered) => {
            let failed = send_failed(&mut answered, task, WHAT, held.label(), message);
            drop(answered);
            let (error, message) = failed;
            if message.is_none() && disposition == Disposition::MoveSendOnce {
                held.forget();
            }
            Err(SendError { error, message: message.map(Box::new) })
        }
    }
}

/// The request never reached the kernel, or nobody knows.
pub(super) fn not_sent(error: Error, message: Message) -> SendError {
    match error {
        Error::KernelGone | Error::Io { .. } | Error::Protocol(_) => SendError { error, message: None },
        error => SendError { error, message: Some(Box::new(message)) },
    }
}

/// Sorts out what a failed send left: see the table above.
pub(super) fn send_failed(
    answered: &mut Answered<'_>,
    task: &Task,
    what: &'static str,
    on: RightLabel,
    message: Message,
) -> (Error, Option<Message>) {
    let code = answered.code;
    let error = Error::Mach { code, what, on: Some(on) };
    let Some(lane) = answered.lane() else {
        // Nothing went out, and the kernel process has not seen it.
        return (error, Some(message));
    };
    let (message, whole) = match code.plain() {
        Code::MACH_SEND_TIMED_OUT | Code::MACH_SEND_INTERRUPTED => handed_back(lane, task, message),
        Code::MACH_SEND_INVALID_RIGHT | Code::MACH_SEND_INVALID_MEMORY | Code::MACH_SEND_INVALID_TYPE => (message, false),
        // In the body this comes from rights that could not be made; else it is the receiver's quota, and nothing was touched.
        Code::MACH_SEND_NO_BUFFER if message.makes_rights() => (message, false),
        _ => (message, true),
    };
    if whole {
        return (error, Some(message));
    }
    message.lost(|name| {
        let call = PortGetRefs { task: task.0.task_self, name, right: RightKind::Receive as u32 };
        matches!(lane.request(&call), Ok(Ok(answer)) if answer.refs == 1)
    });
    (error, None)
}

/// Rebuilds a message that the kernel gave back (Mach's pseudo-receive): the rights are the same, their names may not be. `false`: the answer
/// does not hold one, and the rights are lost.
fn handed_back(lane: &mut Lane, task: &Task, message: Message) -> (Message, bool) {
    let frame = answer_frames(lane).and_then(|mut frames| frames.next()).ok().flatten();
    let Some(frame) = frame else {
        return (message, false);
    };
    let Some(header) = Header::read(frame.message) else {
        return (message, false);
    };
    let RawFrame { message: bytes, annex, mut attached, .. } = frame;
    let (mut shell, parts, reply) = message.take_apart();
    let mut parts = parts.into_iter();
    for (_, descriptor) in descriptors(bytes) {
        let old = parts.next();
        shell = shell.part(match (descriptor, old) {
            (Ok(Descriptor::Port { name, disposition } | Descriptor::Guarded { name, disposition, .. }), old) => {
                old.iter().for_each(Part::sent);
                right_part(task, name, disposition)
            }
            (Ok(Descriptor::Ports { address, count, .. }), old) => {
                old.iter().for_each(Part::sent);
                let names = array_names(annex, address, count).unwrap_or_default();
                let rights = names.into_iter().filter(|name| name.is_valid()).map(|name| SendRight::adopt(task, name));
                Part::Rights { rights: rights.collect(), moved: false }
            }
            (Ok(Descriptor::Memory { address, .. }), Some(old @ Part::Loan(_))) => {
                // It was copied for the kernel process, and is as it was.
                if let Some(Place::Region(name)) = Place::from_raw(address) {
                    drop(SendRight::adopt(task, name));
                }
                old
            }
            (Ok(Descriptor::Memory { address, size, .. }), Some(old @ (Part::OwnRegion(_) | Part::LendRegion(_)))) => {
                match (Place::from_raw(address), old) {
                    // The region's right itself: as good as the one that was moved.
                    (Some(Place::Region(name)), old) => {
                        old.sent();
                        Part::OwnRegion(Region::adopt(SendRight::adopt(task, name), size as u64))
                    }
                    (_, Part::LendRegion(region)) => Part::LendRegion(region),
                    (Some(Place::Attached(n)), old) => {
                        old.sent();
                        let file = take_attached(&mut attached, n);
                        let memory = file.and_then(|file| Memory::from_sealed(&file, size as u64).ok());
                        Part::Bytes(memory.map(Memory::into_vec).unwrap_or_default())
                    }
                    (_, old) => old,
                }
            }
            (_, Some(old)) => old,
            (_, None) => Part::Empty(Name::NULL),
        });
    }
    // The header comes back unswapped. The destination is still the caller's own right, so this reference is one too many.
    if header.remote.is_valid() {
        let _ = lane.request(&PortDeallocate { task: task.0.task_self, name: header.remote });
    }
    if header.local.is_valid() {
        let right = match header.local_disposition() {
            received::SEND_ONCE => Reply::Once(SendOnceRight::adopt(task, header.local)),
            _ => Reply::Send { right: SendRight::adopt(task, header.local), moved: false },
        };
        if let Some(old) = reply {
            old.sent();
            shell.set_reply(right);
        } else {
            // A call's own: it goes with its reply port.
            right.sent();
        }
    }
    (shell, true)
}

fn right_part(task: &Task, name: Name, disposition: u8) -> Part {
    match (name.is_valid(), disposition) {
        (false, _) => Part::Empty(name),
        (_, received::RECEIVE) => Part::MoveReceive(ReceiveRight::adopt(task, name)),
        (_, received::SEND_ONCE) => Part::MoveSendOnce(SendOnceRight::adopt(task, name)),
        _ => Part::MoveSend { right: SendRight::adopt(task, name), moved: false },
    }
}
