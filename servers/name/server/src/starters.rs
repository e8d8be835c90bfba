//! Threads in which programs are started, each when no other is free.
//!
//! They last as long as the name server: a program may ask Linux to be killed with its parent (`PR_SET_PDEATHSIG`), and for Linux that is the *thread* that
//! started it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Starters {
    give: Sender<Work>,
    take: Arc<Mutex<Receiver<Work>>>,
    /// Threads without work, but for what has been given them already.
    free: Arc<AtomicUsize>,
}

impl Starters {
    /// None yet.
    pub(crate) fn new() -> Starters {
        let (give, take) = channel();
        Starters { give, take: Arc::new(Mutex::new(take)), free: Arc::default() }
    }

    /// Does this in a thread of its own, as long as it takes.
    pub(crate) fn start(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).is_err() {
            let (take, free) = (self.take.clone(), self.free.clone());
            let each = move || {
                // Until nobody can give any more.
                while let Ok(work) = next(&take) {
                    work();
                    free.fetch_add(1, Ordering::Relaxed);
                }
            };
            std::thread::Builder::new().name("start".into()).spawn(each)?;
        }
        // Both ends are here.
        let _ = self.give.send(Box::new(work));
        Ok(())
    }
}

fn next(take: &Mutex<Receiver<Work>>) -> Result<Work, std::sync::mpsc::RecvError> {
    take.lock().unwrap_or_else(PoisonError::into_inner).recv()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn threads_are_used_again_and_work_waits_for_no_other() {
        let starters = Starters::new();
        let (say, hear) = channel();
        let (go, gone) = channel::<()>();
        let soon = Duration::from_secs(20);
        // One that takes long.
        starters.start(move || assert!(gone.recv().is_err())).unwrap();
        let mut threads = Vec::new();
        for _ in 0..3 {
            let say = say.clone();
            starters.start(move || say.send(std::thread::current().id()).unwrap()).unwrap();
            threads.push(hear.recv_timeout(soon).expect("it does not wait"));
            let until = std::time::Instant::now() + soon;
            while starters.free.load(Ordering::Relaxed) == 0 {
                assert!(std::time::Instant::now() < until, "the thread is free again");
                std::thread::yield_now();
            }
        }
        assert!(threads.iter().all(|thread| *thread == threads[0]), "{threads:?}");
        drop(go);
    }
}
