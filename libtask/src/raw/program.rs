//! What `mach_msg` needs of the program that calls it: the bytes that it sends and what their out-of-line addresses mean, and a place for what it
//! receives. [`super::MsgBuffer`] is such a program whose addresses are indices; the C interface is one whose addresses are pointers.

use std::fmt;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

use umach_abi::message::Descriptor;
use umach_abi::{Code, Name};

use crate::direct::Borrowed;

/// What is sent as out-of-line memory.
#[derive(Debug)]
pub enum Outgoing<'p> {
    /// These bytes.
    Bytes(&'p [u8]),
    /// Those of the sealed region with this name; the descriptor's `deallocate` gives the region's right away too.
    Region(Name),
}

/// What an out-of-line descriptor of a received message stands for.
#[derive(Debug)]
pub enum Incoming<'m> {
    /// Memory of which the program makes a copy.
    Bytes(&'m [u8]),
    /// Memory that the sender lent, to be copied.
    Lent(Lent),
    /// Memory to be mapped: a sealed memfd, and how many of its bytes.
    Sealed(File, u64),
    /// Memory that comes back unsent: a right to the region with it, which is the program's, and how many bytes.
    Region(Name, u64),
    /// A port array: names of four bytes each.
    Names(&'m [u8]),
    /// An open file.
    File(OwnedFd),
    /// Memory or open file that could not be had.
    Lost,
}

/// Memory that a sender lent. It goes back when this is dropped.
pub struct Lent(pub(crate) Borrowed);

impl Lent {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies all of them. False if the memory could not be mapped here.
    ///
    /// Panics unless `out` is as long.
    pub fn copy_to(&self, out: &mut [u8]) -> bool {
        assert_eq!(out.len(), self.len(), "all of a lease is copied");
        self.0.memory().map(|(memory, at)| memory.read(at, out)).is_some()
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes lent", self.len())
    }
}

/// Who calls `mach_msg`.
pub trait Program {
    /// The message to send: header, descriptors, body.
    fn message(&self) -> &[u8];
    /// What is to be sent as the `size` bytes at an out-of-line descriptor's address. `None`: they cannot be read.
    fn memory(&self, address: u64, size: usize) -> Option<Outgoing<'_>>;
    /// Appends the `count` names (four bytes each) of the port array at this address. False, and nothing appended: they cannot be read.
    fn names(&self, address: u64, count: usize, annex: &mut Vec<u8>) -> bool;
    /// The open file of a file descriptor.
    fn file(&self, address: u64) -> Option<BorrowedFd<'_>>;

    /// A message came, or what Mach delivers in place of one: its bytes in two parts, out-of-line addresses still blank, and its trailer. `code` is how the
    /// receive ended. There is room for all of it, as the receive's limit says; except that with `MACH_RCV_TOO_LARGE` it may be more.
    fn receive(&mut self, code: Code, message: [&[u8]; 2], trailer: &[u8]);
    /// The address, in the message that came last, for what a descriptor stands for. `None`: no room for it.
    fn place(&mut self, memory: Incoming<'_>) -> Option<u64>;
    /// Writes a descriptor, addresses filled in, at `at` of the message that came last.
    fn describe(&mut self, at: usize, descriptor: &Descriptor);
}
