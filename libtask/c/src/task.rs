//! Tasks, their special ports, and giving the processor up.

use std::ffi::c_int;

use libtask::raw::special;
use libtask::{Code, Name, RightKind};

use crate::port::put_array;
use crate::process::{check_out, code, current, put, space, space_of};

#[unsafe(no_mangle)]
unsafe extern "C" fn task_get_special_port(task: u32, which: c_int, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        let space = space_of(task)?;
        let name = match which as u32 {
            // A right of the caller's own: K's special ports of a task do not list it.
            special::KERNEL if space.target() == space.task_self() => {
                space.port_mod_refs(space.task_self(), RightKind::Send, 1)?;
                space.task_self()
            }
            which => space.task_get_special_port(which)?,
        };
        // SAFETY: the caller's word.
        unsafe { put(port, name.0) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn task_set_special_port(task: u32, which: c_int, port: u32) -> i32 {
    code(space_of(task).and_then(|space| space.task_set_special_port(which as u32, Name(port))))
}

/// Slots of `mach_ports_register`.
const SLOTS: usize = 3;

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_ports_register(task: u32, ports: *const u32, count: u32) -> i32 {
    code((|| {
        if count as usize > SLOTS {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        let mut slots = [Name::NULL; SLOTS];
        if count > 0 {
            check_out(ports)?;
            for (n, slot) in slots.iter_mut().enumerate().take(count as usize) {
                // SAFETY: `count` names.
                *slot = Name(unsafe { ports.add(n).read_unaligned() });
            }
        }
        space_of(task)?.ports_register(slots)
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_ports_lookup(task: u32, ports: *mut *mut u32, count: *mut u32) -> i32 {
    code((|| {
        check_out(ports)?;
        check_out(count)?;
        let names = space_of(task)?.ports_lookup()?.map(|name| name.0);
        // SAFETY: the caller's word.
        unsafe { put_array(&names, ports, count) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn task_suspend(task: u32) -> i32 {
    code(space_of(task).and_then(|space| space.task_suspend()))
}

#[unsafe(no_mangle)]
extern "C" fn task_resume(task: u32) -> i32 {
    code(space_of(task).and_then(|space| space.task_resume()))
}

/// Takes all of the task's rights. Of the caller itself it ends the process too.
#[unsafe(no_mangle)]
extern "C" fn task_terminate(task: u32) -> i32 {
    let own = crate::process::is_self(task);
    let done = code(space_of(task).and_then(|space| space.task_terminate()));
    if own && done == 0 {
        // SAFETY: ends the process at once, as the caller asked.
        unsafe { libc::_exit(0) };
    }
    done
}

/// The process behind a task's control or name right.
#[unsafe(no_mangle)]
unsafe extern "C" fn pid_for_task(task: u32, pid: *mut c_int) -> i32 {
    code((|| {
        check_out(pid)?;
        let row = space_of(task).map_err(|_| Code::KERN_FAILURE)?.task_info().map_err(|_| Code::KERN_FAILURE)?;
        // SAFETY: the caller's word.
        unsafe { put(pid, row.pid as c_int) }
    })())
}

/// The control right of a process's task: the caller's own, or any if the caller may have the host's control right.
#[unsafe(no_mangle)]
unsafe extern "C" fn task_for_pid(_target: u32, pid: c_int, task: *mut u32) -> i32 {
    code((|| {
        check_out(task)?;
        let space = space()?;
        // SAFETY: asks for a number.
        let name = if pid == unsafe { libc::getpid() } {
            space.port_mod_refs(space.task_self(), RightKind::Send, 1)?;
            space.task_self()
        } else {
            let host = space.host_control().map_err(|_| Code::KERN_FAILURE)?;
            let found = space.host_tasks(host).and_then(|rows| {
                let row = rows.iter().find(|row| row.pid as c_int == pid).ok_or(Code::KERN_FAILURE)?;
                space.host_task(host, row.task)
            });
            // Only borrowed.
            let _ = space.port_deallocate(host);
            found.map_err(|_| Code::KERN_FAILURE)?
        };
        // SAFETY: the caller's word.
        unsafe { put(task, name.0) }
    })())
}

/// Only the caller's own: there are no name rights to be had by number.
#[unsafe(no_mangle)]
unsafe extern "C" fn task_name_for_pid(_target: u32, pid: c_int, name: *mut u32) -> i32 {
    code((|| {
        check_out(name)?;
        // SAFETY: asks for a number.
        if pid != unsafe { libc::getpid() } {
            return Err(Code::KERN_FAILURE);
        }
        let own = space()?.task_get_special_port(special::NAME)?;
        // SAFETY: the caller's word.
        unsafe { put(name, own.0) }
    })())
}

const SWITCH_OPTION_WAIT: c_int = 2;

/// Gives the processor up; with `SWITCH_OPTION_WAIT` for so many milliseconds.
#[unsafe(no_mangle)]
extern "C" fn thread_switch(_thread: u32, option: c_int, time: u32) -> i32 {
    match option {
        SWITCH_OPTION_WAIT => std::thread::sleep(std::time::Duration::from_millis(time.into())),
        0 | 1 | 3..=5 => std::thread::yield_now(),
        _ => return Code::KERN_INVALID_ARGUMENT.0 as i32,
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn swtch() -> c_int {
    std::thread::yield_now();
    1
}

#[unsafe(no_mangle)]
extern "C" fn swtch_pri(_pri: c_int) -> c_int {
    swtch()
}

/// Names the task for `umach ps`.
///
/// # Safety
/// `label` is a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn umach_task_set_label(label: *const std::ffi::c_char) -> i32 {
    code((|| {
        check_out(label)?;
        // SAFETY: the caller's word.
        let label = unsafe { std::ffi::CStr::from_ptr(label) }.to_string_lossy();
        current()?.set_label(&label).map_err(|error| error.code())
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn host_page_size(_host: u32, size: *mut usize) -> i32 {
    // SAFETY: the caller's word.
    code(check_out(size).and_then(|()| unsafe { put(size, crate::ool::page()) }))
}

/// There are no vouchers.
#[unsafe(no_mangle)]
extern "C" fn mach_voucher_deallocate(_voucher: u32) -> i32 {
    0
}
