//! `mach_absolute_time` and what waits for it: Linux's monotonic clock, in nanoseconds.

use libtask::Code;

use crate::process::{check_out, code, put};

fn now(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` has room for the answer.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn mach_absolute_time() -> u64 {
    now(libc::CLOCK_MONOTONIC)
}

#[unsafe(no_mangle)]
extern "C" fn mach_approximate_time() -> u64 {
    now(libc::CLOCK_MONOTONIC_COARSE)
}

/// Goes on while the machine sleeps.
#[unsafe(no_mangle)]
extern "C" fn mach_continuous_time() -> u64 {
    now(libc::CLOCK_BOOTTIME)
}

#[unsafe(no_mangle)]
extern "C" fn mach_continuous_approximate_time() -> u64 {
    now(libc::CLOCK_BOOTTIME)
}

/// `mach_timebase_info_data_t`.
#[repr(C)]
struct Timebase {
    numer: u32,
    denom: u32,
}

/// Units are nanoseconds.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_timebase_info(info: *mut Timebase) -> i32 {
    // SAFETY: the caller's word.
    code(check_out(info).and_then(|()| unsafe { put(info, Timebase { numer: 1, denom: 1 }) }))
}

/// Sleeps until then; `KERN_ABORTED` if a signal came before.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mach_wait_until(deadline: u64) -> i32 {
    let until = libc::timespec { tv_sec: (deadline / 1_000_000_000) as i64, tv_nsec: (deadline % 1_000_000_000) as i64 };
    // SAFETY: `until` is a time; what is left of it is not asked for.
    let slept = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut()) };
    code(if slept == 0 { Ok(()) } else { Err(Code::KERN_ABORTED) })
}
