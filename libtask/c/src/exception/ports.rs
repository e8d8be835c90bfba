//! The calls about exception ports, of tasks and of threads.

use std::ffi::c_int;

use libtask::raw::ExceptionRow;
use libtask::{Code, Name};

use super::threads::{self, Handler};
use super::{behavior, state};
use crate::process::{check_out, code, put, space, space_of};
use crate::thread::tid_of;

/// What can be registered: with a state, one that messages can tell of; without, any flavour that there is in XNU.
fn check_flavor(port: u32, how: c_int, flavor: c_int) -> Result<(), Code> {
    /// The last of XNU's flavours.
    const LAST: c_int = 32;
    let kind = how as u32 & !behavior::FLAGS;
    let with_state = matches!(kind, behavior::STATE | behavior::STATE_IDENTITY) && Name(port).is_valid();
    let known = if with_state { state::is_known(flavor as u32) } else { (0..=LAST).contains(&flavor) };
    if known { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
}

/// Four arrays of C's; `count` says how many rows there is room for, and then how many there are.
struct Arrays {
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
}

impl Arrays {
    /// Fills them with what a call gives. A row without room is left out, and its right given back.
    ///
    /// # Safety
    /// The pointers are null or have as much room as `count` says.
    unsafe fn fill(self, call: impl FnOnce() -> Result<Vec<ExceptionRow>, Code>) -> Result<(), Code> {
        let Arrays { masks, count, ports, behaviors, flavors } = self;
        [masks, count, ports].into_iter().try_for_each(|at| check_out(at))?;
        [behaviors, flavors].into_iter().try_for_each(|at| check_out(at))?;
        let rows = call()?;
        // SAFETY: the caller's word, so below.
        let room = unsafe { count.read_unaligned() } as usize;
        let (told, left_out) = rows.split_at(room.min(rows.len()));
        for (n, row) in told.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                masks.add(n).write_unaligned(row.mask);
                ports.add(n).write_unaligned(row.port.0);
                behaviors.add(n).write_unaligned(row.behavior as c_int);
                flavors.add(n).write_unaligned(row.flavor as c_int);
            }
        }
        let own = space()?;
        for row in left_out.iter().filter(|row| row.port.is_valid()) {
            // It has just been given.
            let _ = own.port_deallocate(row.port);
        }
        // SAFETY: as above.
        unsafe { put(count, told.len() as u32) }
    }
}

#[unsafe(no_mangle)]
extern "C" fn task_set_exception_ports(task: u32, mask: u32, port: u32, behavior: c_int, flavor: c_int) -> i32 {
    code((|| {
        let space = space_of(task)?;
        check_flavor(port, behavior, flavor)?;
        space.task_set_exception_ports(mask, Name(port), behavior as u32, flavor as u32)
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn task_get_exception_ports(
    task: u32,
    mask: u32,
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
) -> i32 {
    let arrays = Arrays { masks, count, ports, behaviors, flavors };
    // SAFETY: the caller's word.
    code(unsafe { arrays.fill(|| space_of(task)?.task_get_exception_ports(mask)) })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // Mach's own
unsafe extern "C" fn task_swap_exception_ports(
    task: u32,
    mask: u32,
    port: u32,
    behavior: c_int,
    flavor: c_int,
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
) -> i32 {
    let arrays = Arrays { masks, count, ports, behaviors, flavors };
    // SAFETY: the caller's word.
    code(unsafe {
        arrays.fill(|| {
            let space = space_of(task)?;
            check_flavor(port, behavior, flavor)?;
            space.task_swap_exception_ports(mask, Name(port), behavior as u32, flavor as u32)
        })
    })
}

/// To be told so of faults in the thread with this port.
fn thread_handler(thread: u32, port: u32, how: c_int, flavor: c_int) -> Result<(i32, Handler), Code> {
    let tid = tid_of(thread)?;
    check_flavor(port, how, flavor)?;
    Ok((tid, Handler { port: Name(port), behavior: how as u32, flavor: flavor as u32 }))
}

#[unsafe(no_mangle)]
extern "C" fn thread_set_exception_ports(thread: u32, mask: u32, port: u32, behavior: c_int, flavor: c_int) -> i32 {
    code(thread_handler(thread, port, behavior, flavor).and_then(|(tid, handler)| threads::swap(tid, mask, handler, false).map(drop)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn thread_get_exception_ports(
    thread: u32,
    mask: u32,
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
) -> i32 {
    let arrays = Arrays { masks, count, ports, behaviors, flavors };
    // SAFETY: the caller's word.
    code(unsafe { arrays.fill(|| threads::get(tid_of(thread)?, mask)) })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // Mach's own
unsafe extern "C" fn thread_swap_exception_ports(
    thread: u32,
    mask: u32,
    port: u32,
    behavior: c_int,
    flavor: c_int,
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
) -> i32 {
    let arrays = Arrays { masks, count, ports, behaviors, flavors };
    // SAFETY: the caller's word.
    code(unsafe {
        arrays.fill(|| {
            let (tid, handler) = thread_handler(thread, port, behavior, flavor)?;
            threads::swap(tid, mask, handler, true)
        })
    })
}
