//! What is charged to whom for queued messages, and when that is too much.
//!
//! The receiver of a port pays for its queue. A sender may take of another's budget only its share: of what is free or its own already,
//! at most one part in n + 1, where n tasks of its user hold a share; and if it is of another user, that user likewise among users.

use umach_abi::{Disposition, Name};

use super::message::{NOTIFICATION, SendReq};
use super::state::*;

impl World {
    /// The task that pays for what is queued where this right leads.
    pub(crate) fn payer(&self, right: Right) -> Option<TaskIx> {
        match right {
            Right::Send(port) | Right::Once(port) | Right::Receive(port) if self.ports[port].alive => self.ports[port].payer,
            _ => None,
        }
    }
    /// What is charged to a task for messages: those in queues that it pays for, those of senders that wait there, and for each send-once
    /// right the notification that it may turn into.
    pub(crate) fn queued_bytes(&self, task: TaskIx) -> u64 {
        let mine = |port: PortIx| self.ports[port].payer == Some(task) && self.ports[port].alive;
        let mail: u64 = self.mails().filter(|mail| mine(mail.port())).map(|mail| mail.price).sum();
        let once: u64 = (0..self.ports.len()).filter(|port| mine(*port)).map(|port| self.count_onces(port) as u64).sum();
        let entering = self.entering.filter(|(port, _)| mine(*port)).map_or(0, |(_, price)| price);
        mail + NOTIFICATION * once + entering
    }
    /// Whether budgets can run out at all: most worlds stay far below, and need no counting.
    pub(crate) fn is_tight(&self) -> bool {
        self.budget < 1 << 20
    }
    fn free(&self, task: TaskIx) -> u64 {
        if self.is_tight() { self.budget.saturating_sub(self.queued_bytes(task)) } else { self.budget }
    }
    /// Whether there is no room for the notification of one more send-once right.
    pub(crate) fn is_short(&self, task: TaskIx, name: u32, disposition: Disposition) -> bool {
        let Some(Entry { holds: Holding::Port { port, receive: true, .. }, .. }) = self.entry(task, name) else { return false };
        disposition == Disposition::MakeSendOnce && self.ports[port].payer.is_some_and(|payer| self.free(payer) < NOTIFICATION)
    }
    /// Whether `sender` may queue `price` bytes at `owner`.
    fn may_queue(&self, owner: TaskIx, sender: TaskIx, price: u64) -> bool {
        let free = self.free(owner);
        if price > free || owner == sender || !self.is_tight() {
            return price <= free;
        }
        let uid = |task: TaskIx| self.tasks[task].uid;
        let mut shares = std::collections::BTreeMap::new();
        for mail in self.mails().filter(|mail| self.payer(mail.dest) == Some(owner)) {
            if let Some(sharer) = mail.sharer {
                *shares.entry(sharer).or_insert(0) += mail.price;
            }
        }
        let of_user = |user: u32| shares.iter().filter(move |(task, _)| uid(**task) == user);
        let mut foreign: Vec<_> = shares.keys().map(|task| uid(*task)).filter(|user| *user != uid(owner)).collect();
        foreign.sort_unstable();
        foreign.dedup();
        let fair = |share: u64, sharers: usize| share + price <= (free + share) / (sharers as u64 + u64::from(share == 0) + 1);
        let user_share: u64 = of_user(uid(sender)).map(|(_, share)| share).sum();
        fair(shares.get(&sender).copied().unwrap_or(0), of_user(uid(sender)).count())
            && (uid(sender) == uid(owner) || fair(user_share, foreign.len()))
    }
    /// Whether a send is refused for want of room: for its bytes at the receiver, or for the notifications of the send-once rights that its
    /// header makes at the sender.
    pub(crate) fn lacks_room(&self, task: TaskIx, req: &SendReq) -> bool {
        let owner = match self.entry(task, req.dest.0).map(|entry| entry.holds) {
            Some(Holding::Port { port, .. } | Holding::Once { port }) => self.ports[port].payer,
            _ => None,
        };
        let once = |(name, raw): (u32, u8)| u64::from(Name(name).is_valid() && raw == Disposition::MakeSendOnce as u8);
        let own = NOTIFICATION * (once(req.dest) + once(req.reply)) + if owner == Some(task) { req.price() } else { 0 };
        own > self.free(task) || owner.is_some_and(|owner| !self.may_queue(owner, task, req.price()))
    }
}
