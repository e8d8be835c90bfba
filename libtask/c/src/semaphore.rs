//! Semaphores, which the kernel process holds: a thread that waits is answered when it is signalled.

use std::ffi::c_int;
use std::time::Duration;

use libtask::raw::Space;
use libtask::{Code, Name};

use crate::process::{check_out, code, put, space, space_of};
use crate::thread;

/// Seconds and nanoseconds, as C has them.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Timespec {
    pub(crate) seconds: u32,
    pub(crate) nanoseconds: i32,
}

impl Timespec {
    pub(crate) fn duration(self) -> Result<Duration, Code> {
        let nanoseconds = u32::try_from(self.nanoseconds).ok().filter(|&n| n < 1_000_000_000).ok_or(Code::KERN_INVALID_VALUE)?;
        Ok(Duration::new(self.seconds.into(), nanoseconds))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn semaphore_create(task: u32, semaphore: *mut u32, policy: c_int, value: c_int) -> i32 {
    code((|| {
        check_out(semaphore)?;
        let made = space_of(task)?.semaphore_create(policy as u32, value)?;
        // SAFETY: the caller's word.
        unsafe { put(semaphore, made.0) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_destroy(task: u32, semaphore: u32) -> i32 {
    code(space_of(task).and_then(|space| space.semaphore_destroy(Name(semaphore))))
}

fn here(call: impl FnOnce(Space<'static>) -> Result<(), Code>) -> i32 {
    code(space().and_then(call))
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_signal(semaphore: u32) -> i32 {
    here(|space| space.semaphore_signal(Name(semaphore)))
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_signal_all(semaphore: u32) -> i32 {
    here(|space| space.semaphore_signal_all(Name(semaphore)))
}

/// Without a thread: wakes one that waits, or says that none does. With one it must be of the caller's task.
#[unsafe(no_mangle)]
extern "C" fn semaphore_signal_thread(semaphore: u32, thread: u32) -> i32 {
    here(|space| match thread {
        0 => space.semaphore_signal_waiting(Name(semaphore)),
        _ => space.semaphore_signal_thread(Name(semaphore), thread::tid_of(thread)? as u32),
    })
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_wait(semaphore: u32) -> i32 {
    semaphore_wait_signal(semaphore, 0)
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_wait_signal(semaphore: u32, signal: u32) -> i32 {
    here(|space| space.semaphore_wait_signal(Name(semaphore), Name(signal), None, true))
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_timedwait(semaphore: u32, time: Timespec) -> i32 {
    semaphore_timedwait_signal(semaphore, 0, time)
}

#[unsafe(no_mangle)]
extern "C" fn semaphore_timedwait_signal(semaphore: u32, signal: u32, time: Timespec) -> i32 {
    here(|space| space.semaphore_wait_signal(Name(semaphore), Name(signal), Some(time.duration()?), true))
}

/// The traps under the calls: the same.
mod traps {
    use std::ffi::c_int;

    use super::Timespec;

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_signal_trap(semaphore: u32) -> i32 {
        super::semaphore_signal(semaphore)
    }

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_signal_all_trap(semaphore: u32) -> i32 {
        super::semaphore_signal_all(semaphore)
    }

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_signal_thread_trap(semaphore: u32, thread: u32) -> i32 {
        super::semaphore_signal_thread(semaphore, thread)
    }

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_wait_trap(semaphore: u32) -> i32 {
        super::semaphore_wait(semaphore)
    }

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_wait_signal_trap(semaphore: u32, signal: u32) -> i32 {
        super::semaphore_wait_signal(semaphore, signal)
    }

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_timedwait_trap(semaphore: u32, seconds: u32, nanoseconds: c_int) -> i32 {
        super::semaphore_timedwait(semaphore, Timespec { seconds, nanoseconds })
    }

    #[unsafe(no_mangle)]
    extern "C" fn semaphore_timedwait_signal_trap(semaphore: u32, signal: u32, seconds: u32, nanoseconds: c_int) -> i32 {
        super::semaphore_timedwait_signal(semaphore, signal, Timespec { seconds, nanoseconds })
    }
}
