//! The shared memory of a link, as safe code can use it.
//!
//! Two tasks map the same memory ([`umach_abi::link`] is its layout) and each writes its own half only. This crate is all of the code that touches
//! it: rings ([`Outgoing`], [`Incoming`]), bells ([`arm`]), reply slots ([`slot`]), credits ([`credit`]), leases ([`lease`]) and the
//! sleeping that goes with them ([`futex`]). It knows nothing of ports, routes or the kernel process.
//!
//! # Theory
//!
//! *Nothing here believes the peer.* A word of its half is read once into a private copy, the copy is checked, and what is decided is
//! decided from the copy and from private state. What breaks a rule becomes [`Evidence`], and the caller ends the link with it. The peer can make
//! its own messages nonsense at any time, by writing them while they are read: payloads are bytes without a promise.
//!
//! *Sleeping and waking.* Every wait in here has the same shape, and no wake-up is lost because a full fence stands between the store and the load
//! on both sides:
//!
//! ```text
//! who sleeps                          who has something to tell
//!   store flag  "wake me"               store word  (Release; the news)
//!   fence                               fence
//!   load word   (Acquire); news? go on  load flag; set? wake the word's sleepers
//!   sleep on (word, the value seen)
//! ```
//!
//! Each kind of wait names its two fences in [`Fence`], so that a test can take one away and see the model checker find the loss.
//!
//! | news | flag |
//! |---|---|
//! | `TAIL` of the producer | `ARMED` of the consumer |
//! | `HEAD` of the consumer | `SPACE_WANTED` of the producer |
//! | a slot's word, by the replier | `SLOT_WAITS` of the caller |
//! | a route's delivered count, by the receiver | `WANTS` of the sender |
//! | that a task is polled | `ARMED`: a thread that stops looking out arms for the poller, or the poller after it |
//! | `TAIL` of the producer | `CLOSINGS` of the consumer (nobody sleeps; one of the two sees the other) |
//!
//! # Who may call what
//!
//! Every word has one writer, and in a task with several threads that is one thread *at a time*: an [`Outgoing`] and an [`Incoming`] are
//! for whoever holds them mutably, a slot is for the thread that owns its call or its reply, and a route's words are for who holds that route's lock.
//! Nothing here takes a lock or waits, but for the list of what is free in an [`Arena`]; only [`futex`] sleeps.

mod bell;
mod counters;
pub mod credit;
mod evidence;
mod heap;
mod incoming;
pub mod lane;
pub mod lease;
mod memory;
mod outgoing;
mod patience;
pub mod slot;
mod space;
mod sys;

pub use bell::{Bell, arm, disarm, leave};
pub use counters::{count, counters, publish_state, state};
pub use evidence::Evidence;
pub use heap::Heap;
pub use incoming::{Incoming, Record};
pub use memory::{Fence, Memory, Word, read_words, write_words};
pub use outgoing::{Outgoing, PushError, RecordHead, record_size};
pub use patience::{Patience, Pause};
pub use sys::arena::{Arena, Block, Foreign, create_arena};
pub use sys::futex;
pub use sys::mapping::{MapError, Mapping, create, create_sized};
