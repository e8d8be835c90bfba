//! Memory to be sent that is filled where the receiver will read it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::direct::{Owed, Room};
use crate::message::Part;
use crate::right::{Held, SendOnceRight, SendRight};
use crate::task::Task;

/// Memory that is to be sent with a message ([`crate::Message::loan`]). Where two tasks are linked it is a part of memory that both have mapped, so that nothing is
/// copied; else it is a buffer of this task's own, and is copied when it is sent. A program sees no difference but the time it takes.
///
/// What is in it at first is whatever was there before: fill all of it. Dropping it gives it up.
pub struct Loan(pub(crate) Inner);

pub(crate) enum Inner {
    /// Shared by nobody before it is sent.
    Room(Arc<Room>),
    Own(Vec<u8>),
}

impl<I: ?Sized> SendRight<I> {
    /// Memory of `len` bytes to fill and send to this right. It can be sent elsewhere too, and is copied then.
    ///
    /// ```
    /// use libtask::{Message, run_local};
    ///
    /// run_local(|kernel| -> libtask::Result<()> {
    ///     let port = kernel.task("painter")?.new_port()?;
    ///     let to_port = port.make_send()?;
    ///     let mut picture = to_port.loan(1 << 20);
    ///     picture.fill(0x7f);
    ///     to_port.send(Message::new(1).loan(picture))?;
    ///     let lease = port.receive()?.take_lease(0)?;
    ///     let mut light = 0;
    ///     lease.blocks(|block| light += block.iter().map(|&byte| u64::from(byte)).sum::<u64>());
    ///     assert_eq!(light, 0x7f << 20);
    ///     Ok(())
    /// }).unwrap();
    /// ```
    pub fn loan(&self, len: usize) -> Loan {
        Loan::new(&self.held, len)
    }
}

impl SendOnceRight {
    /// Memory of `len` bytes to fill and send to this right: see [`SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        Loan::new(&self.held, len)
    }
}

impl Loan {
    pub(crate) fn new(held: &Held, len: usize) -> Loan {
        let task = held.task();
        // A fork's child has no links.
        let room = task.check_fork().ok().and_then(|()| task.0.plane.room_for(task, held.name(), len));
        room.map_or_else(|| Loan::own(len), |room| Loan(Inner::Room(Arc::new(room))))
    }
    /// For an answer.
    pub(crate) fn over(task: &Task, owed: &Owed, len: usize) -> Loan {
        let room = task.check_fork().ok().and_then(|()| task.0.plane.room_for_answer(task, owed, len));
        room.map_or_else(|| Loan::own(len), |room| Loan(Inner::Room(Arc::new(room))))
    }
    pub(crate) fn own(len: usize) -> Loan {
        Loan(Inner::Own(vec![0; len]))
    }
    /// The bytes, if they are this task's own.
    pub(crate) fn into_own(self) -> Result<Vec<u8>, Loan> {
        match self.0 {
            Inner::Own(bytes) => Ok(bytes),
            room => Err(Loan(room)),
        }
    }
    /// The same memory as a part of a message to be sent. It is filled no more.
    pub(crate) fn part(&self) -> Part {
        match &self.0 {
            Inner::Own(bytes) => Part::Bytes(bytes.clone()),
            Inner::Room(room) => Part::Loan(Loan(Inner::Room(room.clone()))),
        }
    }
    /// Whether it is in memory that the receiver has mapped too.
    pub fn is_in_place(&self) -> bool {
        matches!(self.0, Inner::Room(_))
    }
    /// Sends only the first `len` bytes.
    ///
    /// Panics if there are fewer.
    pub fn truncate(&mut self, len: usize) {
        assert!(len <= self.len(), "a loan of {} bytes does not become longer", self.len());
        match &mut self.0 {
            Inner::Room(room) => Arc::get_mut(room).expect("a loan is not shared before it is sent").block.shorten(len),
            Inner::Own(bytes) => bytes.truncate(len),
        }
    }
}

impl Deref for Loan {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Room(room) => &room.block,
            Inner::Own(bytes) => bytes,
        }
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Inner::Room(room) => &mut Arc::get_mut(room).expect("a loan is not shared before it is sent").block,
            Inner::Own(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loan of {} bytes{}", self.len(), if self.is_in_place() { ", in place" } else { "" })
    }
}
