//! What the kernel process tells about rights.

use umach_abi::Name;

use super::Received;
use crate::right::DeadName;
use crate::task::Task;

/// What the kernel process tells about a right.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notification {
    /// A right with a dead-name or send-possible request was released by other means; its name was this.
    PortDeleted(Name),
    /// The queue of the port that this send right names has room.
    SendPossible(Name),
    /// A receive right would have been destroyed. It is here instead: `take_receive(0)`.
    PortDestroyed,
    /// The last send right is gone.
    NoSenders {
        /// How many were ever made from the receive right by its holder: compare, if some are made at the same time.
        make_send_count: u32,
    },
    /// A send-once right was dropped unused.
    SendOnce,
    /// The port died. [`DeadName::was`] tells which.
    DeadName(DeadName),
}

impl Received {
    /// What the kernel process tells with this message; `None` for every message that a task sent, whatever its id.
    pub fn notification(&self) -> Option<&Notification> {
        self.inner.notification.as_ref()
    }
    /// The same, taken out.
    pub fn take_notification(&mut self) -> Option<Notification> {
        self.inner.notification.take()
    }

    /// Whether the reply that was waited for will not come.
    pub(crate) fn is_send_once_notification(&self) -> bool {
        matches!(self.inner.notification, Some(Notification::SendOnce))
    }
}

impl Notification {
    pub(super) fn parse(task: &Task, message: &[u8]) -> Option<Notification> {
        use umach_abi::notify::Notification as Raw;
        Some(match Raw::parse(message)? {
            Raw::PortDeleted(name) => Notification::PortDeleted(name),
            Raw::SendPossible(name) => Notification::SendPossible(name),
            Raw::PortDestroyed(_) => Notification::PortDestroyed,
            Raw::NoSenders(make_send_count) => Notification::NoSenders { make_send_count },
            Raw::SendOnce => Notification::SendOnce,
            Raw::DeadName(name) => Notification::DeadName(DeadName::adopt(task, name)),
        })
    }
}
