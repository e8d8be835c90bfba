//! Closes big memfds in a thread of its own: freeing a gigabyte takes Linux a hundred milliseconds, and whoever closes last pays.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};

/// From this size on, closing is left to the thread.
const BIG: u64 = 1 << 20;

/// The thread, started when first needed. It ends with the process.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    thread: OnceCell<Option<Sender<OwnedFd>>>,
}

impl Reaper {
    /// Closes it some time soon.
    pub(super) fn close(&self, fd: OwnedFd) {
        let sender = self.thread.get_or_init(|| {
            let (sender, receiver) = channel::<OwnedFd>();
            let thread =
                std::thread::Builder::new().name("reaper".into()).stack_size(64 << 10).spawn(move || receiver.iter().for_each(drop));
            thread.map(|_| sender).ok()
        });
        if let Some(sender) = sender {
            // A thread that has ended gives the descriptor back in the error, which closes it here.
            let _ = sender.send(fd);
        }
    }
}

/// A region's memfd. Shared by the table of regions and the answers on their way that carry it.
#[derive(Debug)]
pub(super) struct Region {
    fd: Option<OwnedFd>,
    size: u64,
    reaper: Rc<Reaper>,
}

impl Region {
    /// Takes the memfd over.
    pub(super) fn new(fd: OwnedFd, size: u64, reaper: &Rc<Reaper>) -> Region {
        Region { fd: Some(fd), size, reaper: reaper.clone() }
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("taken only by drop").as_fd()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match self.fd.take() {
            Some(fd) if self.size >= BIG => self.reaper.close(fd),
            small => drop(small),
        }
    }
}
