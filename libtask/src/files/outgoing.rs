//! Lanes that lead to others: writing descriptors before the messages that they belong to.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use umach_abi::control::{FileLane, file_packet};
use umach_abi::{Code, Name};

use super::Files;
use crate::error::{Error, Result};
use crate::task::Task;
use crate::transport::Attached;

/// Attempts at a lane before a sender gives up: about a second.
const TRIES: u64 = 40;

/// Lanes on which this task sends, by number.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<u64, Arc<Lane>>,
    /// How many there were when those without a far end were let go.
    swept: usize,
}

/// A lane's number, and its end unless that was lost.
type Known = (u64, Option<Arc<Lane>>);

/// One lane.
pub(super) struct Lane {
    id: u64,
    socket: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u32,
    /// Numbers whose messages were not sent, which the receiver could not be told yet.
    void: Vec<u32>,
}

/// A file that was written to a lane. Unless its message is sent, the receiver is told that it never will be.
pub(crate) struct Staged {
    lane: Arc<Lane>,
    number: u32,
    sent: AtomicBool,
}

impl Staged {
    /// Lane and number, as the message says them.
    pub(crate) fn token(&self) -> (u64, u32) {
        (self.lane.id, self.number)
    }
    /// The message was sent.
    pub(crate) fn mark_sent(&self) {
        self.sent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.sent.load(Ordering::Relaxed) {
            let mut state = self.lane.state.lock();
            state.void.push(self.number);
            self.lane.send_void(&mut state);
        }
    }
}

impl Lane {
    fn send(&self, kind: u32, number: u32, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let mut packet = [0; 8];
        packet[..4].copy_from_slice(&kind.to_le_bytes());
        packet[4..].copy_from_slice(&number.to_le_bytes());
        let fds: &[BorrowedFd<'_>] = fd.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        loop {
            match sendmsg(&self.socket, &[IoSlice::new(&packet)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Tells the receiver what it need not keep, as far as there is room.
    fn send_void(&self, state: &mut State) {
        while let Some(&number) = state.void.last() {
            if let Err(Errno::AGAIN) = self.send(file_packet::VOID, number, None) {
                return;
            }
            state.void.pop();
        }
    }

    /// Writes a descriptor with the next number.
    fn send_file(&self, fd: BorrowedFd<'_>) -> Result<u32, Errno> {
        let mut state = self.state.lock();
        self.send_void(&mut state);
        let number = state.last.wrapping_add(1);
        self.send(file_packet::FILE, number, Some(fd))?;
        state.last = number;
        Ok(number)
    }

    /// Waits for room. False if it is too late.
    fn wait(&self, until: Option<Instant>) -> bool {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        // Interrupted or not, the next attempt shows whether there is room.
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], timeout.as_ref());
        until.is_none_or(|until| Instant::now() < until)
    }

    fn is_closed(&self) -> bool {
        let mut look = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut look, Some(&now)).is_ok_and(|ready| ready > 0) && look[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl Files {
    /// Writes a file to the lane that leads to the receiver behind `dest`. `None`: nobody receives there, and sending will say what that means.
    pub(crate) fn stage(&self, task: &Task, dest: Name, file: BorrowedFd<'_>, until: Option<Instant>) -> Result<Option<Staged>> {
        const WHAT: &str = "sending an open file";
        // A reply that this task owes in a slot is made a right that the kernel process knows.
        let dest = task.0.plane.make_explicit(task, dest)?.unwrap_or(dest);
        let (mut closed, mut tries) = (0, 0);
        loop {
            let lane = match self.lane(task, dest, closed)? {
                Ok(lane) => lane,
                Err(Code::KERN_INVALID_NAME | Code::KERN_INVALID_CAPABILITY) => return Ok(None),
                // The receiver's inbox is full, most often: it has just been told so.
                Err(Code::KERN_RESOURCE_SHORTAGE) if tries < TRIES && until.is_none_or(|until| Instant::now() < until) => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(tries));
                    continue;
                }
                Err(code) => return Err(Error::mach(code, WHAT)),
            };
            match lane.send_file(file) {
                Ok(number) => return Ok(Some(Staged { lane, number, sent: AtomicBool::new(false) })),
                Err(Errno::AGAIN) => {
                    if !lane.wait(until) {
                        return Err(Error::mach(Code::MACH_SEND_TIMED_OUT, "waiting for room on a file lane"));
                    }
                }
                // The receiver gave it up, or could not take it in. Once more, with another.
                Err(Errno::PIPE | Errno::CONNRESET) if closed == 0 => {
                    self.outgoing.lock().lanes.remove(&lane.id);
                    closed = lane.id;
                }
                Err(why @ Errno::TOOMANYREFS) => {
                    return Err(Error::io("sending an open file: this user has too many descriptors on their way", why));
                }
                Err(why) => return Err(Error::io(WHAT, why)),
            }
        }
    }

    fn lane(&self, task: &Task, name: Name, except: u64) -> Result<Result<Arc<Lane>, Code>> {
        match self.ask_lane(task, name, except)? {
            // Its end was lost: with another that cannot happen unless this process's table is full.
            Ok((id, None)) if except == 0 => {
                Ok(self.ask_lane(task, name, id)?.and_then(|(_, lane)| lane.ok_or(Code::KERN_RESOURCE_SHORTAGE)))
            }
            other => Ok(other.and_then(|(_, lane)| lane.ok_or(Code::KERN_RESOURCE_SHORTAGE))),
        }
    }

    fn ask_lane(&self, task: &Task, name: Name, except: u64) -> Result<Result<Known, Code>> {
        // One at a time: who is told of a lane that another thread has asked for finds its end here.
        let _one = self.asking.lock();
        let asked = task.request(&FileLane { name, except }, |answer, attached| (answer.lane, attached.pop()))?;
        let (id, end) = match asked {
            Ok(asked) => asked,
            Err(code) => return Ok(Err(code)),
        };
        let mut outgoing = self.outgoing.lock();
        if let Some(Attached::Fd(socket)) = end {
            outgoing.add(Arc::new(Lane { id, socket, state: Mutex::default() }));
        }
        Ok(Ok((id, outgoing.lanes.get(&id).cloned())))
    }
}

impl Lanes {
    fn add(&mut self, lane: Arc<Lane>) {
        if self.lanes.len() > 2 * self.swept + 8 {
            self.lanes.retain(|_, lane| !lane.is_closed());
            self.swept = self.lanes.len();
        }
        self.lanes.insert(lane.id, lane);
    }
}
