//! Credits: how far the receiver of a route is, and whether it still takes anything.
//!
//! The receiver counts what it delivered, per route; the sender knows what it sent and how far ahead it may be. Both count modulo 2^32.
//!
//! *Closing.* The receiver closes, fences, and then reads the tail; the sender publishes the tail, fences, and then reads the closings. One of the
//! two sees the other: a record that is not behind the tail that the receiver read belongs to a sender that sees the closing.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use umach_abi::link::{CLOSINGS, CREDIT_CLOSED, CREDIT_DELIVERED, CREDIT_SIZE, CREDITS, ROUTES, WANTS, bell};

use crate::bell::Bell;
use crate::memory::{Fence, Memory, Word, base};

/// Receiver: one more message of incoming route `route` was delivered. Ring the bell: the sender may wait for credit.
#[inline]
pub fn delivered<M: Memory>(mem: &M, mine: usize, route: u32) -> Bell {
    add(mem, mine, route, 1);
    wanted(mem, mine, route)
}

/// Receiver: so many more messages of `route` were delivered. Then ask whether that is [`wanted`], before anything that waits or takes long.
#[inline]
pub fn add<M: Memory>(mem: &M, mine: usize, route: u32, messages: u32) {
    let word = mem.word(word_at(mine, route));
    word.store(word.load(Relaxed).wrapping_add(messages), Release);
}

/// Receiver: whether the sender waits for what was added. Ring the bell.
#[inline]
pub fn wanted<M: Memory>(mem: &M, mine: usize, route: u32) -> Bell {
    let at = word_at(mine, route);
    mem.fence(Fence::Delivered);
    Bell::wanted(mem.word(want_at(mine ^ 1, route)).load(Acquire), at)
}

/// Messages of `route` that the task of half `peer` says it has delivered.
#[inline]
pub fn read<M: Memory>(mem: &M, peer: usize, route: u32) -> u32 {
    mem.word(word_at(peer, route)).load(Acquire)
}

/// Receiver: starts the count of a route whose index was used before.
pub fn reset<M: Memory>(mem: &M, mine: usize, route: u32) {
    mem.word(word_at(mine, route)).store(0, Release);
    reopen(mem, mine, route);
}

/// Receiver: takes nothing more on `route` that is not published already. Then read the tail: what is behind it has been sent.
pub fn close<M: Memory>(mem: &M, mine: usize, route: u32) {
    mem.word(closed_at(mine, route)).store(1, Relaxed);
    let closings = mem.word(base(mine) + CLOSINGS);
    closings.store(closings.load(Relaxed).wrapping_add(1), Release);
    mem.fence(Fence::Close);
}

/// Receiver: takes something on `route` again.
pub fn reopen<M: Memory>(mem: &M, mine: usize, route: u32) {
    mem.word(closed_at(mine, route)).store(0, Release);
}

/// Whether the task of half `peer` has closed `route`.
pub fn closed<M: Memory>(mem: &M, peer: usize, route: u32) -> bool {
    mem.word(closed_at(peer, route)).load(Acquire) != 0
}

/// Changes when the task of half `peer` closes a route. The sender looks at it after each publishing.
#[inline]
pub fn closings<M: Memory>(mem: &M, peer: usize) -> u32 {
    mem.word(base(peer) + CLOSINGS).load(Acquire)
}

/// Sender: says whether it waits for credit on outgoing route `route`. After saying so, [`read`] once more, then sleep on ([`word_at`], the value read).
pub fn want<M: Memory>(mem: &M, mine: usize, route: u32, want: bool) {
    want_by(mem, mine, route, if want { bell::FUTEX } else { bell::NONE });
}

/// The same, and how it is to be woken: a [`umach_abi::link::bell`].
pub fn want_by<M: Memory>(mem: &M, mine: usize, route: u32, bell: u32) {
    mem.word(want_at(mine, route)).store(bell, Relaxed);
    if bell != bell::NONE {
        mem.fence(Fence::CreditWanted);
    }
}

/// Where the delivered count of `route` is that the task of `half` writes.
#[inline]
pub fn word_at(half: usize, route: u32) -> usize {
    assert!((route as usize) < ROUTES, "route {route} is out of range");
    base(half) + CREDITS + CREDIT_SIZE * route as usize + CREDIT_DELIVERED
}

fn closed_at(half: usize, route: u32) -> usize {
    word_at(half, route) - CREDIT_DELIVERED + CREDIT_CLOSED
}

#[inline]
fn want_at(half: usize, route: u32) -> usize {
    assert!((route as usize) < ROUTES, "route {route} is out of range");
    base(half) + WANTS + 4 * route as usize
}
