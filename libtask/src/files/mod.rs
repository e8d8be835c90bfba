//! Open files in messages.
//!
//! The kernel process never holds a task's descriptor. A file goes over a *file lane*, a socket pair that the kernel process makes for two tasks, and the
//! message has a token in its place: lane and number. The sender writes the descriptor to the lane before it hands the message over, so it is
//! there when the message is; the receiver reads the lane up to that number, and keeps what belongs to messages that it has not been given yet.
//!
//! What comes on a lane is an allegation of its sender's: only numbers that the kernel process has vouched for in a message are handed to the
//! program. The others are kept within a bound, and closed when the kernel process says that their messages are gone. Closing a stranger's descriptor can
//! take long, so a thread of its own does that ([`closer`]).
//!
//! Lock order: `asking`, then `outgoing`; `incoming`, then [`closer`]'s. Only `asking` is held while a request is at the kernel process.

mod closer;
mod incoming;
mod outgoing;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use umach_abi::control::{FileInbox, FileNews};
use umach_abi::records::{FileRow, file_news};

pub(crate) use closer::Unclaimed;
pub(crate) use incoming::Lost;
pub(crate) use outgoing::Staged;

use crate::error::Result;
use crate::task::Task;
use crate::transport::Attached;

/// A task's side of its file lanes.
#[derive(Default)]
pub(crate) struct Files {
    outgoing: Mutex<outgoing::Lanes>,
    /// Held while a lane is asked for.
    asking: Mutex<()>,
    incoming: Mutex<incoming::Lanes>,
    /// There may be news to ask for.
    news: AtomicBool,
}

impl Files {
    /// Says that this task takes files. To be asked once, before anybody can send it one.
    pub(crate) fn open(&self, task: &Task) -> Result<()> {
        let inbox = task.request(&FileInbox {}, |_, attached| attached.pop())?;
        match inbox {
            Ok(Some(Attached::Fd(fd))) => self.incoming.lock().inbox = Some(fd),
            // Without it nobody can send this task a file, and whoever tries is told.
            other => tracing::warn!(task = task.id(), ?other, "this task takes no open files"),
        }
        Ok(())
    }

    /// The file of a message that was received.
    pub(crate) fn claim(&self, lane: u64, number: u32) -> Result<OwnedFd, Lost> {
        if lane == 0 { Err(Lost::from_number(number)) } else { self.incoming.lock().claim(lane, number) }
    }

    /// The kernel process says that there is something to look at.
    pub(crate) fn look_soon(&self) {
        self.news.store(true, Ordering::Relaxed);
    }

    /// Looks if there is something. To be called with no lane of the task's held.
    pub(crate) fn settle(&self, task: &Task) {
        if self.news.load(Ordering::Relaxed) && self.news.swap(false, Ordering::Relaxed) {
            self.ask(task);
        }
    }

    #[cold]
    fn ask(&self, task: &Task) {
        self.incoming.lock().read_inbox();
        let mut more = true;
        while more {
            let told = task.request(&FileNews {}, |answer, _| (answer.more != 0, FileRow::all(answer.rows).collect::<Vec<_>>()));
            // A connection that is over has no news, and the program hears of that elsewhere.
            let Ok(Ok((again, rows))) = told else { return };
            more = again;
            let mut incoming = self.incoming.lock();
            for row in rows {
                match row.what {
                    file_news::VOID => incoming.void(row.lane, row.number),
                    file_news::ENDED => incoming.end(row.lane),
                    what => tracing::debug!(what, "news of a kind that this version does not know"),
                }
            }
        }
    }
}
