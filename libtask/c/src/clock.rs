//! The host's clocks as ports: calls that are messages to them.

use std::ffi::c_int;

use libtask::raw::{Header, MsgBuffer, NDR, Options, notify};
use libtask::{Code, Disposition, Name, RightKind};

use crate::process::{check_out, code, put, space};
use crate::semaphore::Timespec;

/// The subsystems' first ids.
const HOST: i32 = 200;
const CLOCK: i32 = 1000;

/// Sends a call to a port of the kernel process's, and gives its answer.
fn ask(port: Name, id: i32, arguments: &[u32]) -> Result<MsgBuffer, Code> {
    let space = space()?;
    let reply = space.port_allocate(RightKind::Receive)?;
    // MIG leaves the record out where nothing follows it.
    let record = if arguments.is_empty() { &[][..] } else { &NDR };
    let body: Vec<u8> = record.iter().copied().chain(arguments.iter().flat_map(|word| word.to_le_bytes())).collect();
    let mut message = MsgBuffer::new(id).remote(port, Disposition::CopySend).local(reply, Disposition::MakeSendOnce).body(&body);
    let done = space.mach_msg(&mut message, Options::SEND | Options::RCV, u32::MAX, reply, 0, Name::NULL).ok();
    let _ = space.port_mod_refs(reply, RightKind::Receive, -1);
    done?;
    match message.header() {
        Header { id: answer, .. } if answer == id + 100 => Ok(message),
        Header { id: notify::SEND_ONCE, .. } => Err(Code::MIG_SERVER_DIED),
        _ => Err(Code::MIG_REPLY_MISMATCH),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Code> {
    let word = bytes.get(at..at + 4).ok_or(Code::MIG_TYPE_ERROR)?;
    Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// The results behind `NDR` and the code, which must be success.
fn results(answer: &MsgBuffer) -> Result<&[u8], Code> {
    let body = answer.body_bytes();
    Code(word(body, NDR.len())?).ok()?;
    Ok(&body[NDR.len() + 4..])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn host_get_clock_service(host: u32, which: c_int, clock: *mut u32) -> i32 {
    code((|| {
        check_out(clock)?;
        let answer = ask(Name(host), HOST + 6, &[which as u32])?;
        let Some(name) = answer.port_at(0) else {
            results(&answer)?;
            return Err(Code::MIG_TYPE_ERROR);
        };
        // SAFETY: the caller's word.
        unsafe { put(clock, name.0) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_get_time(clock: u32, time: *mut Timespec) -> i32 {
    code((|| {
        check_out(time)?;
        let answer = ask(Name(clock), CLOCK, &[])?;
        let results = results(&answer)?;
        let now = Timespec { seconds: word(results, 0)?, nanoseconds: word(results, 4)? as i32 };
        // SAFETY: the caller's word.
        unsafe { put(time, now) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_get_attributes(clock: u32, flavor: c_int, attributes: *mut c_int, count: *mut u32) -> i32 {
    code((|| {
        check_out(attributes)?;
        check_out(count)?;
        // SAFETY: a count.
        let room = unsafe { count.read_unaligned() };
        let answer = ask(Name(clock), CLOCK + 1, &[flavor as u32, room])?;
        let results = results(&answer)?;
        let given = word(results, 0)?.min(room);
        for n in 0..given as usize {
            // SAFETY: the caller has room for so many.
            unsafe { put(attributes.add(n), word(results, 4 + 4 * n)? as c_int)? };
        }
        // SAFETY: the caller's word.
        unsafe { put(count, given) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn clock_alarm(_clock: u32, _kind: c_int, _time: Timespec, _port: u32) -> i32 {
    Code::KERN_NOT_SUPPORTED.0 as i32
}
