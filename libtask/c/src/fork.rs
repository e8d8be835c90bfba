//! Locks that the thread which forks holds meanwhile, so that the child finds what they guard in order.
//!
//! They are `std`'s: of who waits they know nothing but that somebody does. A lock that keeps a list of waiters may hand itself over, in the child, to a
//! thread that is not there.

use std::cell::UnsafeCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) struct ForkLock<T: 'static> {
    lock: Mutex<T>,
    /// From before a fork until after.
    held: UnsafeCell<Option<MutexGuard<'static, T>>>,
}

// SAFETY: `held` is touched only by who has the lock: the thread that forks, which in the child is its copy.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    pub(crate) const fn new(value: T) -> ForkLock<T> {
        ForkLock { lock: Mutex::new(value), held: UnsafeCell::new(None) }
    }
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn before_fork(&'static self) {
        let guard = self.lock();
        // SAFETY: this thread has the lock.
        unsafe { *self.held.get() = Some(guard) };
    }
    /// In the parent and in the child.
    pub(crate) fn after_fork(&'static self) {
        // SAFETY: this thread, or in the child its copy, has had the lock since `before_fork`.
        drop(unsafe { (*self.held.get()).take() });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// A child whose parent had threads waiting for the lock has it for itself.
    #[test]
    fn child_has_the_lock_for_itself() {
        static LOCK: ForkLock<u32> = ForkLock::new(0);
        static DONE: AtomicBool = AtomicBool::new(false);
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    while !DONE.load(Ordering::Relaxed) {
                        *LOCK.lock() += 1;
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            LOCK.before_fork();
            // They are asleep by now.
            std::thread::sleep(Duration::from_micros(500));
            // SAFETY: the child takes this lock, which nobody has there, and ends.
            let child = unsafe { libc::fork() };
            LOCK.after_fork();
            if child == 0 {
                *LOCK.lock() += 1;
                *LOCK.lock() += 1;
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) };
            }
            let (mut status, end) = (-1, Instant::now() + Duration::from_secs(20));
            // SAFETY: a child of this process, and room for its status.
            while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
                if Instant::now() > end {
                    // SAFETY: a child of this process.
                    unsafe { libc::kill(child, libc::SIGKILL) };
                    panic!("the child waits for the lock");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(status, 0);
        }
        DONE.store(true, Ordering::Relaxed);
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
