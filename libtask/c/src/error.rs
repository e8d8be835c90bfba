//! `mach_error`: what codes mean, in words.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

use libtask::Code;
use umach_abi::error::KNOWN;

/// The system and subsystem of a code, as XNU names them.
fn family(code: u32) -> &'static str {
    let code = Code(code).plain().0;
    match code {
        0..0x1000 if (1100..1200).contains(&code) => "bootstrap",
        0..0x4000 => "os/kern",
        0x1000_0000..0x1000_4000 => "ipc/send",
        0x1000_4000..0x1000_8000 => "ipc/rcv",
        _ if (-400..=-300).contains(&(code as i32)) => "ipc/mig",
        _ => "unknown",
    }
}

fn text(code: u32) -> &'static CStr {
    static TEXTS: OnceLock<HashMap<u32, CString>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let row = |(code, _, meaning, _): &(Code, &str, &str, &str)| {
            let text = CString::new(format!("({}) {meaning}", family(code.0))).unwrap_or_default();
            (code.0, text)
        };
        KNOWN.iter().map(row).collect()
    });
    texts.get(&Code(code).plain().0).map_or(c"(unknown) unknown error code", |text| text.as_c_str())
}

#[unsafe(no_mangle)]
extern "C" fn mach_error_string(code: i32) -> *const c_char {
    text(code as u32).as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn mach_error_type(code: i32) -> *const c_char {
    let text = match family(code as u32) {
        "os/kern" => c"(os/kern)",
        "ipc/send" => c"(ipc/send)",
        "ipc/rcv" => c"(ipc/rcv)",
        "ipc/mig" => c"(ipc/mig)",
        "bootstrap" => c"(bootstrap)",
        _ => c"(unknown)",
    };
    text.as_ptr()
}

/// Writes what a code means to standard error.
///
/// # Safety
/// `what` is null or a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_error(what: *const c_char, code: i32) {
    // SAFETY: the caller's word.
    let what = if what.is_null() { c"" } else { unsafe { CStr::from_ptr(what) } };
    eprintln!("{} {} ({:#x})", what.to_string_lossy(), text(code as u32).to_string_lossy(), code);
}

#[unsafe(no_mangle)]
extern "C" fn bootstrap_strerror(code: i32) -> *const c_char {
    mach_error_string(code)
}
