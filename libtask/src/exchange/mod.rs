//! One Mach message exchange (a send, a receive, or both) on whichever plane it belongs.
//!
//! Above this module a message is the bytes of [`umach_abi::message`] and a right is a name; below it are the lanes of the kernel process and the
//! links of the direct plane. The kernel process could serve every exchange. What goes over a link:
//!
//! | | over a link if |
//! |---|---|
//! | a send | the destination is copied from a send right with a live route. Plain and short: into the ring; memory and long bodies are lent. With rights the kernel process takes it with a ticket |
//! | a call | the same, with a reply port made for it |
//! | an answer | the send-once right stands for a slot of the caller's, and the answer has no rights |
//! | a receive | the port, or a member of the set, has or had routes: looks at both planes |

mod kernel;
mod mixed;
mod short;

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use umach_abi::control::{answer, msg_flags, phase};
use umach_abi::message::{HEADER, Header, TrailerRequest};
use umach_abi::records::Frame as FrameRow;
use umach_abi::{Code, Name};

use crate::direct::{Frame, Patience, Room, Shortcut, Until};
use crate::error::{Error, Result};
use crate::frame::{Frames, RawFrame};
use crate::received::Received;
use crate::task::Task;
use crate::transport::pool::Loan;
use crate::transport::{Lane, Wait};

use mixed::Mixed;

pub(crate) use kernel::drop_reply_port;
pub(crate) use short::{
    Called, OwnCall, answer_plain, begin_plain, call_own, call_plain, doubted, finish, finish_plain, patience, receive_soon,
    receive_soon_by_name, send_plain,
};

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post<'m> {
    /// The Mach message, then its annex.
    pub(crate) bytes: &'m [u8],
    /// How many of them are the message.
    pub(crate) send_size: u32,
    /// What memory at [`umach_abi::message::Place::Lease`] is.
    pub(crate) rooms: &'m [Arc<Room>],
}

/// An exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange<'m> {
    /// `mach_msg` options, trailer request included.
    pub(crate) options: u32,
    /// [`TRY_SEND`](umach_abi::control::msg_flags::TRY_SEND), [`TRY_RECEIVE`](umach_abi::control::msg_flags::TRY_RECEIVE).
    pub(crate) flags: u32,
    pub(crate) post: Option<Post<'m>>,
    /// The answer comes to a reply port of this library's; the header's reply name is left null.
    pub(crate) call: bool,
    pub(crate) receive: Name,
    pub(crate) limit: u32,
    pub(crate) count: u32,
    pub(crate) wait: Wait,
    /// What the handle of `receive` remembers.
    pub(crate) from: Option<&'m Shortcut>,
}

impl Exchange<'_> {
    /// Whether its send waits for room.
    pub(crate) fn patience(&self) -> Patience {
        match self.flags & msg_flags::TRY_SEND == 0 {
            false => Patience::None,
            true if self.wait.interruptible & phase::SEND != 0 => Patience::UntilSignal,
            true => Patience::Waits,
        }
    }
}

/// How it ended, with what came.
pub(crate) struct Answered<'t> {
    pub(crate) code: Code,
    source: Source<'t>,
}

#[allow(clippy::large_enum_variant)] // the large one is the common one, and it is not stored anywhere
enum Source<'t> {
    Nothing,
    /// In the answer that the lane read last.
    Lane(Loan<'t>),
    Frames(SmallVec<[Frame; 1]>),
    /// Messages that came over links, and as much of a trailer as was asked for.
    Messages(SmallVec<[Received; 1]>, TrailerRequest),
}

impl Answered<'_> {
    fn just(code: Code) -> Answered<'static> {
        Answered { code, source: Source::Nothing }
    }
    fn frame(frame: Frame) -> Answered<'static> {
        Answered { code: frame.status, source: Source::Frames(SmallVec::from_iter([frame])) }
    }
    /// Whether messages may have come along.
    pub(crate) fn has_messages(&self) -> bool {
        !matches!(self.source, Source::Nothing)
    }
    /// Each message that came, in order: as a typed value if it is one already, else as bytes.
    pub(crate) fn each_typed(&mut self, mut take: impl FnMut(Either<Received, RawFrame<'_>>) -> Result<()>) -> Result<()> {
        match &mut self.source {
            Source::Messages(messages, _) => messages.drain(..).try_for_each(|message| take(Either::Typed(message))),
            _ => self.each(|frame| take(Either::Raw(frame))),
        }
    }
    /// All messages that came, if they are typed values already.
    pub(crate) fn take_typed(&mut self) -> Option<Vec<Received>> {
        match &mut self.source {
            Source::Messages(messages, _) => Some(std::mem::take(messages).into_vec()),
            _ => None,
        }
    }
    /// Each message that came as bytes, in order.
    pub(crate) fn each(&mut self, mut take: impl FnMut(RawFrame<'_>) -> Result<()>) -> Result<()> {
        match &mut self.source {
            Source::Nothing => Ok(()),
            Source::Lane(lane) => {
                let mut frames = answer_frames(lane)?;
                while let Some(frame) = frames.next()? {
                    take(frame)?;
                }
                Ok(())
            }
            Source::Messages(messages, request) => messages.drain(..).try_for_each(|message| {
                let (message, trailer) = message.into_bytes(*request);
                let (attached, leases) = (Vec::new(), Vec::new());
                take(RawFrame { status: Code::SUCCESS, message: &message, trailer: &trailer, annex: &[], attached, leases })
            }),
            Source::Frames(frames) => frames.iter_mut().try_for_each(|frame| {
                let leases = std::mem::take(&mut frame.leases);
                let Frame { status, message, trailer, annex, .. } = frame;
                take(RawFrame { status: *status, message, trailer, annex, attached: Vec::new(), leases })
            }),
        }
    }
    /// A lane for what is left to do, if the exchange took one.
    pub(crate) fn lane(&mut self) -> Option<&mut Lane> {
        match &mut self.source {
            Source::Lane(lane) => Some(lane),
            _ => None,
        }
    }
}

/// A message in one of two forms.
pub(crate) enum Either<T, R> {
    Typed(T),
    Raw(R),
}

pub(crate) fn answer_frames(lane: &mut Lane) -> Result<Frames<'_>> {
    let attached = std::mem::take(&mut lane.attached);
    let tail = <answer::Msg<'_> as umach_abi::control::Reply<'_>>::take(lane.fields()).map_err(Error::Protocol)?.frames;
    Ok(Frames::new(tail, attached))
}

/// A receive that delivered a message, if with some slots empty.
pub(crate) fn delivered(code: Code) -> bool {
    code.is_ok() || code.plain() == Code::MACH_RCV_BODY_ERROR
}

pub(crate) fn is_receive_error(code: Code) -> bool {
    code.0 >> 28 == 1 && code.0 & 0x4000 != 0
}

/// Does it.
pub(crate) fn exchange<'t>(task: &'t Task, want: &Exchange<'_>) -> Result<Answered<'t>> {
    task.check_fork()?;
    let plane = &task.0.plane;
    plane.look(task)?;
    if !plane.is_active() {
        return Mixed { task, plane, want, until: None }.through_kernel(want, want.receive);
    }
    Mixed::new(task, want).run()
}

/// So late from now.
pub(crate) fn after(timeout: Option<Duration>) -> Until {
    timeout.map(|timeout| Instant::now() + timeout)
}

/// When all of it must have ended.
fn until(want: &Exchange<'_>) -> Until {
    want.wait.timeout.filter(|_| want.wait.timed != 0).map(|timeout| Instant::now() + timeout)
}

fn set_port(message: &mut [u8], port: Name) {
    if let Some(mut header) = Header::read(message) {
        header.local = port;
        message[..HEADER].copy_from_slice(&header.to_bytes());
    }
}

fn set_seqno(trailer: &mut [u8], seqno: u32) {
    if let Some(place) = trailer.get_mut(8..12) {
        place.copy_from_slice(&seqno.to_le_bytes());
    }
}

/// Goes over the messages of the answer that the lane read last.
fn patch_frames(lane: &mut Lane, mut patch: impl FnMut(&FrameRow, &mut [u8], &mut [u8])) {
    let mut rest = lane.fields_mut();
    while let Some(row) = FrameRow::read(rest) {
        let (size, trailer, annex) = (row.size as usize, row.trailer as usize, row.annex as usize);
        let whole = FrameRow::SIZE + size + trailer + annex;
        if rest.len() < whole {
            return;
        }
        let (frame, next) = rest.split_at_mut(whole);
        let (message, tail) = frame[FrameRow::SIZE..].split_at_mut(size);
        patch(&row, message, &mut tail[..trailer]);
        rest = next;
    }
}
