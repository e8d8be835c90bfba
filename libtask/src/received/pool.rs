//! The memory of received messages, kept by each thread for the next ones.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;
use umach_abi::message::{Header, Trailer};

use super::answer::Answer;
use super::notification::Notification;
use super::parts::Slot;

/// What a message consists of, in memory of its own, so that handing it on costs a pointer. Who drops it keeps the memory for the next.
pub(super) struct Pooled(Option<Box<Inner>>);

/// Messages whose memory a thread keeps.
const SPARE: usize = 64;

thread_local! {
    #[allow(clippy::vec_box)] // it is the boxes that are kept
    static POOL: Cell<Vec<Box<Inner>>> = const { Cell::new(Vec::new()) };
}

impl Pooled {
    /// Memory whose header, trailer and body are what they happen to be: to be set by the caller. All else is empty.
    #[inline]
    pub(super) fn stale() -> Pooled {
        let spare = POOL.try_with(|pool| {
            let mut spare = pool.take();
            let last = spare.pop();
            pool.set(spare);
            last
        });
        Pooled(Some(spare.ok().flatten().unwrap_or_default()))
    }
}

impl Drop for Pooled {
    #[inline]
    fn drop(&mut self) {
        let Some(mut inner) = self.0.take() else { return };
        // What is dropped here may be messages again.
        if !matches!(inner.reply, Answer::None) {
            inner.reply = Answer::None;
        }
        if inner.notification.is_some() {
            inner.notification = None;
        }
        inner.slots.clear();
        if inner.body.spilled() {
            inner.body = SmallVec::new();
        }
        let _ = POOL.try_with(|pool| {
            let mut spare = pool.take();
            if spare.len() < SPARE {
                spare.push(inner);
            }
            pool.set(spare);
        });
    }
}

impl Deref for Pooled {
    type Target = Inner;
    #[inline]
    fn deref(&self) -> &Inner {
        self.0.as_ref().expect("present until drop")
    }
}

impl DerefMut for Pooled {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inner {
        self.0.as_mut().expect("present until drop")
    }
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) header: Header,
    pub(super) trailer: Trailer,
    /// All behind the rights. Short ones need no allocation of their own.
    pub(super) body: SmallVec<[u8; 96]>,
    pub(super) slots: SmallVec<[Slot; 1]>,
    pub(super) reply: Answer,
    pub(super) notification: Option<Notification>,
}
