//! `bootstrap_*`: names, on umach's name server.

use std::ffi::{CStr, c_char, c_int};

use libtask::raw::Space;
use libtask::{Code, Name, RightKind, SendRight};
use umach_name_api::{Error, Names};

use crate::process::{check_out, code, current, put};

/// Room for a name, with its zero.
const NAME_MAX: usize = 128;

/// A name server's refusal as bootstrap programs know it.
fn refusal(error: Error) -> Code {
    match error.code() {
        // Of a right that is dead, or a name server that has gone.
        Code::MIG_SERVER_DIED | Code::MACH_SEND_INVALID_DEST => Code::MACH_SEND_INVALID_DEST,
        // Of a name that cannot be one.
        Code::KERN_INVALID_ARGUMENT => Code::BOOTSTRAP_UNKNOWN_SERVICE,
        other => other,
    }
}

/// With the name space behind a bootstrap port.
fn with_names<T>(port: u32, f: impl FnOnce(&Space<'static>, &Names) -> Result<T, Code>) -> Result<T, Code> {
    let task = current()?;
    let space = task.raw();
    let name = Name(port);
    if !name.is_valid() || space.port_get_refs(name, RightKind::Send).unwrap_or(0) == 0 {
        return Err(Code::MACH_SEND_INVALID_DEST);
    }
    // A reference for the value, which gives it back.
    space.port_mod_refs(name, RightKind::Send, 1)?;
    f(&space, &Names::at(SendRight::from_raw(task, name)))
}

/// # Safety
/// `name` is null or a string.
unsafe fn name_of<'a>(name: *const c_char) -> Result<&'a str, Code> {
    check_out(name)?;
    // SAFETY: at most `NAME_MAX` bytes, up to the string's zero.
    let len = unsafe { libc::strnlen(name, NAME_MAX + 1) };
    if len > NAME_MAX {
        return Err(Code::BOOTSTRAP_UNKNOWN_SERVICE);
    }
    // SAFETY: there is a zero within.
    unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| Code::BOOTSTRAP_UNKNOWN_SERVICE)
}

/// # Safety
/// `name` is a string, `port` has room for a name. So below.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_check_in(bp: u32, name: *const c_char, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        // SAFETY: the caller's word.
        let name = unsafe { name_of(name) }?;
        let right = with_names(bp, |_, names| names.check_in(name).map_err(refusal))?;
        // SAFETY: the caller's word.
        unsafe { put(port, right.into_raw().0) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_look_up(bp: u32, name: *const c_char, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        // SAFETY: the caller's word.
        let name = unsafe { name_of(name) }?;
        let right = with_names(bp, |_, names| names.look_up(name).map_err(refusal))?;
        let right = right.into_raw().map_err(|error| error.code())?;
        // SAFETY: the caller's word.
        unsafe { put(port, right.0) }
    })())
}

/// Publishes a copy of a send right; made from the receive right, if the caller has only that.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_register(bp: u32, name: *const c_char, port: u32) -> i32 {
    code((|| {
        // SAFETY: the caller's word.
        let name = unsafe { name_of(name) }?;
        with_names(bp, |space, names| {
            let task = current()?;
            if Name(port) == Name::NULL {
                return names.unregister(name).map_err(refusal);
            }
            if space.port_get_refs(Name(port), RightKind::Send)? == 0 {
                return Err(Code::KERN_INVALID_CAPABILITY);
            }
            space.port_mod_refs(Name(port), RightKind::Send, 1)?;
            names.register(name, SendRight::from_raw(task, Name(port))).map_err(refusal)
        })
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_register2(bp: u32, name: *const c_char, port: u32, _flags: u64) -> i32 {
    // SAFETY: passed on.
    unsafe { bootstrap_register(bp, name, port) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_check_in2(bp: u32, name: *const c_char, port: *mut u32, _flags: u64) -> i32 {
    // SAFETY: passed on.
    unsafe { bootstrap_check_in(bp, name, port) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_look_up2(bp: u32, name: *const c_char, port: *mut u32, _target: c_int, _flags: u64) -> i32 {
    // SAFETY: passed on.
    unsafe { bootstrap_look_up(bp, name, port) }
}

/// A private name space that falls back to this one. It lasts as long as its bootstrap port; the requestor port is not watched.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_subset(bp: u32, _requestor: u32, subset: *mut u32) -> i32 {
    code((|| {
        check_out(subset)?;
        let right = with_names(bp, |_, names| names.subset().map_err(refusal))?;
        let right = right.into_raw().map_err(|error| error.code())?;
        // SAFETY: the caller's word.
        unsafe { put(subset, right.0) }
    })())
}

/// Programs to be started by the name server are declared in its configuration, not by tasks.
#[unsafe(no_mangle)]
extern "C" fn bootstrap_create_server(_bp: u32, _cmd: *const c_char, _uid: u32, _on_demand: c_int, _port: *mut u32) -> i32 {
    Code::KERN_NOT_SUPPORTED.0 as i32
}

/// Names of services are declared there too.
#[unsafe(no_mangle)]
extern "C" fn bootstrap_create_service(_bp: u32, _name: *const c_char, _port: *mut u32) -> i32 {
    Code::KERN_NOT_SUPPORTED.0 as i32
}

/// A name space has no parent that its holder may reach.
#[unsafe(no_mangle)]
extern "C" fn bootstrap_parent(_bp: u32, _parent: *mut u32) -> i32 {
    Code::BOOTSTRAP_NOT_PRIVILEGED.0 as i32
}
