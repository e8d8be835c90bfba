//! Copies of messages that a receiver may not have received: should it die, they are sent again.

use std::collections::VecDeque;
use std::sync::Weak;

use super::contents::Contents;
use super::lend::Room;
use super::send::Carry;

/// Copies of messages, oldest first, with consecutive numbers. One buffer holds all their bytes.
#[derive(Default)]
pub(super) struct Kept {
    /// The number of the oldest.
    first: u32,
    rows: VecDeque<KeptRow>,
    bytes: VecDeque<u8>,
    lent: VecDeque<Box<Contents<Weak<Room>>>>,
}

/// A message that was kept.
pub(super) enum KeptBody {
    Plain(Vec<u8>),
    /// Of which the lender may have some back by now: then it was received.
    Lent(Box<Contents<Weak<Room>>>),
}

#[derive(Clone, Copy)]
struct KeptRow {
    id: i32,
    /// Bytes of a plain message.
    len: u32,
    what: KeptWhat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptWhat {
    Plain,
    Lent,
    /// Whoever called has it.
    Call,
    /// The kernel process has it.
    Ticket,
}

impl Kept {
    /// Keeps the next message.
    #[inline]
    pub(super) fn push(&mut self, number: u32, call: bool, id: i32, carry: &Carry<'_>) {
        let mut len = 0;
        let what = match carry {
            _ if call => KeptWhat::Call,
            Carry::Plain(body) => {
                for part in body.iter().filter(|part| !part.is_empty()) {
                    self.bytes.extend(*part);
                    len += part.len() as u32;
                }
                KeptWhat::Plain
            }
            Carry::Lent(lending) => {
                self.lent.push_back(Box::new(Contents::kept(lending)));
                KeptWhat::Lent
            }
        };
        self.push_row(number, KeptRow { id, len, what });
    }
    /// Notes that the kernel process has the next message.
    pub(super) fn push_ticket(&mut self, number: u32) {
        self.push_row(number, KeptRow { id: 0, len: 0, what: KeptWhat::Ticket });
    }
    #[inline]
    fn push_row(&mut self, number: u32, row: KeptRow) {
        if self.rows.is_empty() {
            self.first = number;
        }
        debug_assert_eq!(self.first.wrapping_add(self.rows.len() as u32), number, "numbers are consecutive");
        self.rows.push_back(row);
    }
    /// Lets go of messages up to this number.
    pub(super) fn forget(&mut self, upto: u32) {
        let mut bytes = 0;
        while upto.wrapping_sub(self.first) as i32 >= 0
            && let Some(row) = self.rows.pop_front()
        {
            self.first = self.first.wrapping_add(1);
            bytes += row.len as usize;
            if row.what == KeptWhat::Lent {
                self.lent.pop_front();
            }
        }
        self.bytes.drain(..bytes);
    }
    /// Bytes that are kept.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }
    /// Number and id of each message that only this task has.
    pub(super) fn into_messages(mut self) -> Vec<(u32, i32, KeptBody)> {
        let mut found = Vec::new();
        for (n, row) in self.rows.iter().enumerate() {
            let body = match row.what {
                KeptWhat::Plain => KeptBody::Plain(self.bytes.drain(..row.len as usize).collect()),
                KeptWhat::Lent => KeptBody::Lent(self.lent.pop_front().expect("one for each such row")),
                KeptWhat::Call | KeptWhat::Ticket => continue,
            };
            found.push((self.first.wrapping_add(n as u32), row.id, body));
        }
        found
    }
}
