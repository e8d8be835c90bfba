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

/// What umach itself never says, and programs may have from elsewhere.
const OTHERS: &[(u32, &str)] = &[
    (24, "the memory has moved"),
    (25, "the copy must be started again"),
    (26, "the name is not a processor set"),
    (27, "the policy's limit is exceeded"),
    (28, "the policy is not valid"),
    (30, "somebody is already waiting"),
    (31, "the default set cannot be destroyed"),
    (32, "the exception port is protected"),
    (33, "the ledger is not valid"),
    (34, "the memory control is not valid"),
    (35, "the security token is not valid"),
    (36, "the thread is not depressed"),
    (38, "the lock set was destroyed"),
    (39, "the lock is unstable"),
    (40, "somebody else has the lock"),
    (41, "the caller has the lock already"),
    (42, "the semaphore was destroyed"),
    (43, "the server of the call has ended"),
    (44, "an orphaned call is to be ended"),
    (45, "an orphaned call is to go on"),
    (47, "the node is down"),
    (48, "nobody is waiting"),
    (50, "the code's signature is not valid"),
    (51, "the policy cannot be changed"),
    (52, "the buffer is too small"),
    (54, "a kernel collection is missing"),
    (55, "a kernel collection is not valid"),
];

/// Codes that mean more here than in the rest of umach.
const HERE: &[(u32, &str)] = &[(3, "there is no room: at this address, or for another name or port in this task's quota")];

fn text(code: u32) -> &'static CStr {
    static TEXTS: OnceLock<HashMap<u32, CString>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let row = |(code, meaning): (u32, &str)| (code, CString::new(format!("({}) {meaning}", family(code))).unwrap_or_default());
        // What comes later stays.
        OTHERS
            .iter()
            .copied()
            .chain(KNOWN.iter().map(|(code, known)| (code.0, known.meaning)))
            .chain(HERE.iter().copied())
            .map(row)
            .collect()
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
