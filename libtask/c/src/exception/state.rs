//! A thread's registers, as programs for XNU know them; and those of the thread whose fault is being dealt with, for whoever asks meanwhile.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use libc::ucontext_t;

pub(super) use machine::is_known;

/// Room for the words of any flavour here.
pub(super) const ROOM: usize = 44;

/// The words of one flavour.
pub(super) struct Registers {
    words: [u32; ROOM],
    len: usize,
}

impl Registers {
    pub(super) fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }
    /// As many words, by what `word` gives for each place.
    pub(super) fn map(&mut self, word: impl Fn(usize) -> u32) {
        self.words[..self.len].iter_mut().enumerate().for_each(|(n, old)| *old = word(n));
    }
}

/// The thread whose fault is being dealt with: its port and its registers. Both are 0 while there is none.
struct Shown {
    /// Somebody looks, or it changes.
    busy: AtomicBool,
    thread: AtomicU32,
    context: AtomicPtr<ucontext_t>,
}

static SHOWN: Shown = Shown { busy: AtomicBool::new(false), thread: AtomicU32::new(0), context: AtomicPtr::new(ptr::null_mut()) };

impl Shown {
    /// For a moment's work, also in a signal handler.
    fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        while self.busy.swap(true, Ordering::Acquire) {
            // SAFETY: lets time pass.
            unsafe { libc::usleep(50) };
        }
        let done = work();
        self.busy.store(false, Ordering::Release);
        done
    }
}

/// Shows the registers of the thread with this port until `work` is done.
pub(super) fn shown<T>(thread: u32, context: &mut ucontext_t, work: impl FnOnce(&mut ucontext_t) -> T) -> T {
    let at = ptr::from_mut(context);
    let show = |thread, context| {
        SHOWN.alone(|| {
            SHOWN.thread.store(thread, Ordering::Relaxed);
            SHOWN.context.store(context, Ordering::Relaxed);
        });
    };
    show(thread, at);
    // SAFETY: what this function was lent. Others change it only between `show`s, one at a time, while this thread waits for an answer in `work`.
    let done = work(unsafe { &mut *at });
    show(0, ptr::null_mut());
    done
}

/// With the registers of the thread that has this port, if a fault of it is being dealt with.
pub(super) fn with_shown<T>(thread: u32, work: impl FnOnce(&mut ucontext_t) -> T) -> Option<T> {
    SHOWN.alone(|| {
        let context = SHOWN.context.load(Ordering::Relaxed);
        if context.is_null() || SHOWN.thread.load(Ordering::Relaxed) != thread {
            return None;
        }
        // SAFETY: it is there until its thread ends the showing, which needs the turn that this thread has.
        Some(work(unsafe { &mut *context }))
    })
}

/// In a forked child nobody else is there.
pub(super) fn forget_shown() {
    SHOWN.thread.store(0, Ordering::Relaxed);
    SHOWN.context.store(ptr::null_mut(), Ordering::Relaxed);
    SHOWN.busy.store(false, Ordering::Release);
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use libc::{
        REG_CR2, REG_CSGSFS, REG_EFL, REG_ERR, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP,
        REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP, REG_TRAPNO,
    };

    use super::{ROOM, Registers, ucontext_t};

    /// `x86_THREAD_STATE64` and `x86_EXCEPTION_STATE64`; and what has one of them with a header: its flavour and its words.
    const THREAD: u32 = 4;
    const EXCEPTION: u32 = 6;
    const THREAD_OF_EITHER_WIDTH: u32 = 7;
    const EXCEPTION_OF_EITHER_WIDTH: u32 = 9;
    const HEADER: usize = 2;

    /// The first in its order; behind them three segments.
    const ORDER: [i32; 18] = [
        REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RDI, REG_RSI, REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13,
        REG_R14, REG_R15, REG_RIP, REG_EFL,
    ];

    /// What is in a flavour, and how many words come before it.
    fn inner(flavor: u32) -> Option<(u32, usize)> {
        match flavor {
            THREAD | EXCEPTION => Some((flavor, 0)),
            THREAD_OF_EITHER_WIDTH => Some((THREAD, HEADER)),
            EXCEPTION_OF_EITHER_WIDTH => Some((EXCEPTION, HEADER)),
            _ => None,
        }
    }

    /// Whether this can be told.
    pub(in crate::exception) fn is_known(flavor: u32) -> bool {
        inner(flavor).is_some()
    }

    impl Registers {
        /// `None`: of no flavour that is known here.
        pub(in crate::exception) fn read(flavor: u32, context: &ucontext_t) -> Option<Registers> {
            let (inner, start) = inner(flavor)?;
            let mut told = Registers { words: [0; ROOM], len: start };
            let mut put = |register: u64| {
                told.words[told.len..told.len + 2].copy_from_slice(&[register as u32, (register >> 32) as u32]);
                told.len += 2;
            };
            let of = |at: i32| context.uc_mcontext.gregs[at as usize] as u64;
            if inner == THREAD {
                ORDER.iter().for_each(|&at| put(of(at)));
                // Code, two unused ones, in sixteen bits each.
                [0, 32, 16].iter().for_each(|shift| put(of(REG_CSGSFS) >> shift & 0xffff));
            } else {
                // The trap's number, a processor, the error's bits; the address.
                put(of(REG_TRAPNO) & 0xffff | of(REG_ERR) << 32);
                put(of(REG_CR2));
            }
            if start > 0 {
                told.words[..start].copy_from_slice(&[inner, (told.len - start) as u32]);
            }
            Some(told)
        }

        /// Segments stay. Linux sees to it that flags are what a program may set. False: this changes nothing, being what is told of an exception, or not what its
        /// header says.
        pub(in crate::exception) fn write(&self, flavor: u32, context: &mut ucontext_t) -> bool {
            let words = match inner(flavor) {
                Some((THREAD, start)) if start == 0 || self.words[0] == THREAD => &self.words()[start..],
                _ => return false,
            };
            for (&at, [low, high]) in ORDER.iter().zip(words.as_chunks::<2>().0) {
                context.uc_mcontext.gregs[at as usize] = (u64::from(*high) << 32 | u64::from(*low)) as i64;
            }
            true
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use super::{Registers, ucontext_t};

    /// None are known here.
    pub(in crate::exception) fn is_known(_flavor: u32) -> bool {
        false
    }

    impl Registers {
        pub(in crate::exception) fn read(_flavor: u32, _context: &ucontext_t) -> Option<Registers> {
            None
        }
        pub(in crate::exception) fn write(&self, _flavor: u32, _context: &mut ucontext_t) -> bool {
            false
        }
    }
}
