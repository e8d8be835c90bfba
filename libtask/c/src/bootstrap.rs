//! `bootstrap_*`: names, on umach's name server.

use std::ffi::{CStr, c_char, c_int};

use libtask::raw::{Space, special};
use libtask::{Code, Name, RightKind, SendRight};
use umach_name_api::{DeclaredServer, Error, Kind, Names, NewServer};

use crate::process::{check_out, code, current, put};

/// Room for a name, with its zero.
const NAME_MAX: usize = 128;
/// Longest command: `BOOTSTRAP_MAX_CMD_LEN` without its zero.
const COMMAND_MAX: usize = 511;

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

/// The same of what is no name's.
fn refusal_of_server(error: Error) -> Code {
    match error.code() {
        Code::KERN_INVALID_ARGUMENT => Code::KERN_INVALID_ARGUMENT,
        _ => refusal(error),
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
    // SAFETY: passed on.
    unsafe { text_of(name, NAME_MAX) }?.ok_or(Code::BOOTSTRAP_UNKNOWN_SERVICE)
}

/// A string of at most `max` bytes; none if it is longer, or not UTF-8.
///
/// # Safety
/// `text` is null or a string.
unsafe fn text_of<'a>(text: *const c_char, max: usize) -> Result<Option<&'a str>, Code> {
    check_out(text)?;
    // SAFETY: at most so many bytes, up to the string's zero.
    if unsafe { libc::strnlen(text, max + 1) } > max {
        return Ok(None);
    }
    // SAFETY: there is a zero within.
    Ok(unsafe { CStr::from_ptr(text) }.to_str().ok())
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

/// A private name space that falls back to this one. It lasts as long as its bootstrap port, and no longer than the requestor, if there is one.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_subset(bp: u32, requestor: u32, subset: *mut u32) -> i32 {
    code((|| {
        check_out(subset)?;
        let right = with_names(bp, |space, names| {
            let requestor = match Name(requestor) {
                Name::NULL => return names.subset().map_err(refusal),
                // The control right is for nobody else; the name right dies with the task as well.
                own if own == space.task_self() => space.task_get_special_port(special::NAME)?,
                other if space.port_get_refs(other, RightKind::Send)? == 0 => return Err(Code::KERN_INVALID_CAPABILITY),
                other => {
                    space.port_mod_refs(other, RightKind::Send, 1)?;
                    other
                }
            };
            names.subset_of(SendRight::<()>::from_raw(current()?, requestor)).map_err(refusal_of_server)
        })?;
        let right = right.into_raw().map_err(|error| error.code())?;
        // SAFETY: the caller's word.
        unsafe { put(subset, right.0) }
    })())
}

/// A server that the name server starts, as this process's user: its server port. `cmd` is split into words at white space, but for what stands in double quotes; a
/// backslash takes the next character as it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_create_server(bp: u32, cmd: *const c_char, uid: u32, on_demand: c_int, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        // SAFETY: the caller's word.
        let words = words(unsafe { text_of(cmd, COMMAND_MAX) }?.ok_or(Code::KERN_INVALID_ARGUMENT)?);
        let new = NewServer::new(words).uid(uid);
        let new = if on_demand == 0 { new.keep_running() } else { new };
        let server = with_names(bp, |_, names| names.create_server(new).map_err(refusal_of_server))?;
        let right = server.into_right().into_raw().map_err(|error| error.code())?;
        // SAFETY: the caller's word.
        unsafe { put(port, right.0) }
    })())
}

/// A service of the server whose port this is.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_create_service(bp: u32, name: *const c_char, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        // SAFETY: the caller's word.
        let name = unsafe { name_of(name) }?;
        let make = |_: &Space<'static>, names: &Names| DeclaredServer::at(names.right().duplicate()).create_service(name).map_err(refusal);
        let right = with_names(bp, make)?.into_raw().map_err(|error| error.code())?;
        // SAFETY: the caller's word.
        unsafe { put(port, right.0) }
    })())
}

/// The words of a command.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quoted = false;
    let mut left = command.chars();
    while let Some(c) = left.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(left.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Whether a service is served now, or started by a message. What it is comes from the list of names that this user may see.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_status(bp: u32, name: *const c_char, status: *mut c_int) -> i32 {
    code((|| {
        check_out(status)?;
        // SAFETY: the caller's word.
        let name = unsafe { name_of(name) }?;
        let all = with_names(bp, |_, names| names.list().map_err(refusal))?;
        let entry = all.into_iter().find(|entry| entry.name == name).ok_or(Code::BOOTSTRAP_UNKNOWN_SERVICE)?;
        let active = match entry.kind {
            Kind::Registered | Kind::Active => 1,
            Kind::OnDemand | Kind::Starting | Kind::BackingOff => 2,
        };
        // SAFETY: the caller's word.
        unsafe { put(status, active) }
    })())
}

/// Of a server port, the bootstrap port that it was made through: for a server's children, which are to be no part of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn bootstrap_unprivileged(bp: u32, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        let right = with_names(bp, |_, names| names.unprivileged().map_err(refusal))?.into_raw().map_err(|error| error.code())?;
        // SAFETY: the caller's word.
        unsafe { put(port, right.0) }
    })())
}

/// A name space has no parent that its holder may reach.
#[unsafe(no_mangle)]
extern "C" fn bootstrap_parent(_bp: u32, _parent: *mut u32) -> i32 {
    Code::BOOTSTRAP_NOT_PRIVILEGED.0 as i32
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn command_is_split_into_words() {
        assert_eq!(words("  /bin/a  b\tc\n"), ["/bin/a", "b", "c"]);
        assert_eq!(words(r#"/a "b c" d\ e "" "f\"g"h"#), ["/a", "b c", "d e", "", "f\"gh"]);
        assert_eq!(words(r#""open"#), ["open"]);
        assert_eq!(words("a\\"), ["a"]);
        assert_eq!(words(" "), [""; 0]);
    }
}
