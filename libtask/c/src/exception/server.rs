//! `exc_server`: what answers messages of exceptions (2401 to 2403) by calling the program's `catch_exception_raise` and its relatives, as MIG would make
//! it; and the calls that send such messages on, to whoever was told before. Programs for `mach_exc` (2405) bring stubs of their own.

use std::ffi::c_int;

use libtask::raw::{MsgBuffer, NDR, Options};
use libtask::{Code, Disposition, Name};
use umach_abi::message::{COMPLEX, HEADER};

use crate::message::MsgHeader;
use crate::mig::{mig_dealloc_reply_port, mig_get_reply_port};
use crate::process::{check_out, code, space};

/// The three that a program may define.
type Raise = unsafe extern "C" fn(u32, u32, u32, c_int, *mut i32, u32) -> i32;
type RaiseState = unsafe extern "C" fn(u32, c_int, *const i32, u32, *mut c_int, *const u32, u32, *mut u32, *mut u32) -> i32;
type RaiseStateIdentity = unsafe extern "C" fn(u32, u32, u32, c_int, *mut i32, u32, *mut c_int, *mut u32, u32, *mut u32, *mut u32) -> i32;

/// Where they are. Whoever links this library need not have them: the linker leaves a null there.
#[repr(C)]
struct Catchers {
    raise: Option<Raise>,
    state: Option<RaiseState>,
    state_identity: Option<RaiseStateIdentity>,
}

std::arch::global_asm!(
    ".weak catch_exception_raise",
    ".weak catch_exception_raise_state",
    ".weak catch_exception_raise_state_identity",
    ".pushsection .data.rel.ro.umach_catchers,\"aw\",%progbits",
    ".balign 8",
    ".hidden umach_catchers",
    ".globl umach_catchers",
    "umach_catchers:",
    ".8byte catch_exception_raise",
    ".8byte catch_exception_raise_state",
    ".8byte catch_exception_raise_state_identity",
    ".popsection",
);

unsafe extern "C" {
    static umach_catchers: Catchers;
}

/// Ids of the requests.
const RAISE: i32 = 2401;
const RAISE_STATE: i32 = 2402;
const RAISE_STATE_IDENTITY: i32 = 2403;

/// `THREAD_STATE_MAX`.
const STATE_MAX: usize = 1296;
/// Codes of an exception, at most.
const CODES_MAX: usize = 2;

/// A request, taken apart.
struct Request {
    /// Behind the header (and the two rights) and `NDR`.
    at: usize,
    ports: [u32; 2],
    exception: c_int,
    codes: [i32; CODES_MAX],
    code_count: u32,
}

/// The words of a message that a program has received.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }
}

impl Request {
    /// `None`: it is not what its id says.
    fn read(message: &Words<'_>, has_ports: bool, complex: bool) -> Option<Request> {
        const COUNT: usize = HEADER;
        const THREAD: usize = HEADER + 4;
        const TASK: usize = THREAD + 12;
        if has_ports != complex || (has_ports && message.word(COUNT)? != 2) {
            return None;
        }
        let ports = if has_ports { [message.word(THREAD)?, message.word(TASK)?] } else { [0; 2] };
        let at = if has_ports { TASK + 12 } else { HEADER } + NDR.len();
        let code_count = message.word(at + 4).filter(|&count| count as usize <= CODES_MAX)?;
        let mut codes = [0; CODES_MAX];
        for (n, code) in codes.iter_mut().enumerate().take(code_count as usize) {
            *code = message.word(at + 8 + 4 * n)? as i32;
        }
        let behind = at + 8 + 4 * code_count as usize;
        Some(Request { at: behind, ports, exception: message.word(at)? as c_int, codes, code_count })
    }
}

/// True if the message is one of the three; `reply` is then the answer, and else one that says `MIG_BAD_ID`.
///
/// # Safety
/// `request` is a received message, `reply` has room for its answer.
#[unsafe(no_mangle)]
unsafe extern "C" fn exc_server(request: *mut MsgHeader, reply: *mut MsgHeader) -> c_int {
    // SAFETY: the caller's word, so below.
    let asked = unsafe { request.read_unaligned() };
    let known = (RAISE..=RAISE_STATE_IDENTITY).contains(&asked.id);
    const ERROR: u32 = 36;
    let head =
        MsgHeader { bits: asked.bits & 0x1f, size: ERROR, remote: asked.remote, local: 0, voucher: 0, id: asked.id.wrapping_add(100) };
    // SAFETY: room for an answer; a message's bytes.
    let (answer, message) = unsafe {
        reply.write_unaligned(head);
        let answer = reply.cast::<u8>();
        answer.add(HEADER).copy_from(NDR.as_ptr(), NDR.len());
        (answer, Words(std::slice::from_raw_parts(request.cast::<u8>(), (asked.size as usize).max(HEADER))))
    };
    // SAFETY: words of the answer's, which has room for the largest that the id allows.
    let (put, area) = (|at: usize, word: u32| unsafe { answer.add(at).cast::<u32>().write_unaligned(word) }, unsafe { answer.add(STATE) });
    let result = if known { Request::read(&message, asked.id != RAISE_STATE, asked.bits & COMPLEX != 0) } else { None };
    let code = match result {
        None if known => Code::MIG_BAD_ARGUMENTS.0 as i32,
        None => Code::MIG_BAD_ID.0 as i32,
        // SAFETY: passed on.
        Some(request) if asked.id == RAISE => unsafe { raise(asked.local, request) },
        Some(request) => {
            // SAFETY: passed on.
            let (code, flavor, count) = unsafe { raise_state(asked.id, asked.local, request, &message, area.cast()) };
            if code == 0 {
                put(FLAVOR, flavor as u32);
                put(FLAVOR + 4, count);
                // SAFETY: as above.
                unsafe { reply.write_unaligned(MsgHeader { size: STATE as u32 + 4 * count, ..head }) };
            }
            code
        }
    };
    put(RET_CODE, code as u32);
    c_int::from(known)
}

/// Where an answer has its code, its flavour (and behind it how many words there are), and its state.
const RET_CODE: usize = 32;
const FLAVOR: usize = 36;
const STATE: usize = 44;

/// What a program answers that has no function for this.
const NOT_CAUGHT: i32 = Code::KERN_FAILURE.0 as i32;

unsafe fn raise(port: u32, mut request: Request) -> i32 {
    let [thread, task] = request.ports;
    // SAFETY: the linker's table, and the program's function.
    unsafe {
        match umach_catchers.raise {
            Some(raise) => raise(port, thread, task, request.exception, request.codes.as_mut_ptr(), request.code_count),
            None => NOT_CAUGHT,
        }
    }
}

/// The code, and the flavour and the length of the new state.
unsafe fn raise_state(id: i32, port: u32, mut request: Request, message: &Words<'_>, new: *mut u32) -> (i32, c_int, u32) {
    let bad = (Code::MIG_BAD_ARGUMENTS.0 as i32, 0, 0);
    let (Some(flavor), Some(count)) = (message.word(request.at), message.word(request.at + 4)) else { return bad };
    let mut old: Vec<u32> = (0..(count as usize).min(STATE_MAX)).map_while(|n| message.word(request.at + 8 + 4 * n)).collect();
    if old.len() != count as usize {
        return bad;
    }
    let (mut flavor, mut new_count) = (flavor as c_int, STATE_MAX as u32);
    let Request { ports: [thread, task], exception, codes, code_count, .. } = &mut request;
    let (codes, old) = (codes.as_mut_ptr(), old.as_mut_ptr());
    // SAFETY: the linker's table; the program's function, which finds room for as many words of state as there can be (the caller's word).
    let code = unsafe {
        match (id, umach_catchers.state, umach_catchers.state_identity) {
            (RAISE_STATE, Some(catch), _) => {
                catch(port, *exception, codes, *code_count, &raw mut flavor, old, count, new, &raw mut new_count)
            }
            (RAISE_STATE_IDENTITY, _, Some(catch)) => {
                catch(port, *thread, *task, *exception, codes, *code_count, &raw mut flavor, old, count, new, &raw mut new_count)
            }
            _ => NOT_CAUGHT,
        }
    };
    (code, flavor, new_count.min(STATE_MAX as u32))
}

/// What is to be told, and to whom.
struct Telling<'a> {
    port: u32,
    /// Thread and task.
    identity: Option<[u32; 2]>,
    exception: c_int,
    codes: &'a [i32],
    state: Option<(c_int, &'a [u32])>,
}

impl Telling<'_> {
    /// Sends it and gives the answer.
    fn call(&self) -> Result<MsgBuffer, Code> {
        let id = match (self.identity.is_some(), self.state.is_some()) {
            (_, false) => RAISE,
            (false, true) => RAISE_STATE,
            (true, true) => RAISE_STATE_IDENTITY,
        };
        let words = [self.exception, self.codes.len() as i32].into_iter().chain(self.codes.iter().copied());
        let mut body: Vec<u8> = NDR.into_iter().chain(words.flat_map(i32::to_ne_bytes)).collect();
        if let Some((flavor, state)) = self.state {
            let words = [flavor as u32, state.len() as u32].into_iter().chain(state.iter().copied());
            body.extend(words.flat_map(u32::to_ne_bytes));
        }
        let reply = Name(mig_get_reply_port());
        let mut message = MsgBuffer::new(id).remote(Name(self.port), Disposition::CopySend).local(reply, Disposition::MakeSendOnce);
        for name in self.identity.into_iter().flatten() {
            message = message.port(Name(name), Disposition::CopySend);
        }
        let mut message = message.body(&body);
        let done = space()?.mach_msg(&mut message, Options::SEND | Options::RCV, u32::MAX, reply, 0, Name::NULL).ok();
        // An answer may still come to the port.
        done.inspect_err(|_| mig_dealloc_reply_port(reply.0))?;
        if message.header().id != id + 100 {
            return Err(Code::MIG_REPLY_MISMATCH);
        }
        let code = Words(message.body_bytes()).word(RET_CODE - HEADER).ok_or(Code::MIG_TYPE_ERROR)?;
        Code(code).ok().map(|()| message)
    }
}

/// # Safety
/// `at` is null, if there are none, or has as many.
unsafe fn slice<'a, T>(at: *const T, count: u32, max: usize) -> Result<&'a [T], Code> {
    if count as usize > max {
        return Err(Code::MIG_ARRAY_TOO_LARGE);
    }
    if count == 0 {
        return Ok(&[]);
    }
    check_out(at)?;
    // SAFETY: the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(at, count as usize) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn exception_raise(port: u32, thread: u32, task: u32, exception: c_int, codes: *const i32, count: u32) -> i32 {
    code((|| {
        // SAFETY: the caller's word.
        let codes = unsafe { slice(codes, count, CODES_MAX) }?;
        Telling { port, identity: Some([thread, task]), exception, codes, state: None }.call().map(drop)
    })())
}

/// # Safety
/// The pointers are as [`exception_raise_state`] has them.
unsafe fn with_state(
    mut telling: Telling<'_>,
    flavor: *mut c_int,
    (old, old_count): (*const u32, u32),
    (new, new_count): (*mut u32, *mut u32),
) -> Result<(), Code> {
    check_out(flavor)?;
    check_out(new)?;
    check_out(new_count)?;
    // SAFETY: the caller's word, so below.
    let room = unsafe {
        telling.state = Some((flavor.read_unaligned(), slice(old, old_count, STATE_MAX)?));
        new_count.read_unaligned()
    };
    let answer = telling.call()?;
    let words = Words(answer.body_bytes());
    let count = words.word(FLAVOR + 4 - HEADER).ok_or(Code::MIG_TYPE_ERROR)?;
    if count > room {
        return Err(Code::MIG_ARRAY_TOO_LARGE);
    }
    for n in 0..count as usize {
        let word = words.word(STATE - HEADER + 4 * n).ok_or(Code::MIG_TYPE_ERROR)?;
        // SAFETY: as above: room for so many.
        unsafe { new.add(n).write_unaligned(word) };
    }
    // SAFETY: as above.
    unsafe {
        flavor.write_unaligned(words.word(FLAVOR - HEADER).unwrap_or(0) as c_int);
        new_count.write_unaligned(count);
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn exception_raise_state(
    port: u32,
    exception: c_int,
    codes: *const i32,
    count: u32,
    flavor: *mut c_int,
    old: *const u32,
    old_count: u32,
    new: *mut u32,
    new_count: *mut u32,
) -> i32 {
    // SAFETY: the caller's word.
    code(unsafe { slice(codes, count, CODES_MAX) }.and_then(|codes| {
        let telling = Telling { port, identity: None, exception, codes, state: None };
        // SAFETY: passed on.
        unsafe { with_state(telling, flavor, (old, old_count), (new, new_count)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn exception_raise_state_identity(
    port: u32,
    thread: u32,
    task: u32,
    exception: c_int,
    codes: *const i32,
    count: u32,
    flavor: *mut c_int,
    old: *const u32,
    old_count: u32,
    new: *mut u32,
    new_count: *mut u32,
) -> i32 {
    // SAFETY: the caller's word.
    code(unsafe { slice(codes, count, CODES_MAX) }.and_then(|codes| {
        let telling = Telling { port, identity: Some([thread, task]), exception, codes, state: None };
        // SAFETY: passed on.
        unsafe { with_state(telling, flavor, (old, old_count), (new, new_count)) }
    }))
}
