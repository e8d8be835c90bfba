//! The host's clocks as ports: calls that are messages to them.

use std::ffi::c_int;
use std::time::Duration;

use libtask::raw::{Header, MsgBuffer, NDR, Options, notify};
use libtask::{Code, Disposition, Name, RightKind};

use crate::process::{check_out, code, put, space};
use crate::semaphore::Timespec;
use crate::time::{mach_absolute_time, mach_wait_until};
use crate::timer::{Alarm, alarm_after};

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
        let name = service(host, which)?;
        // SAFETY: the caller's word.
        unsafe { put(clock, name.0) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_get_time(clock: u32, time: *mut Timespec) -> i32 {
    code((|| {
        check_out(time)?;
        let now = now(clock)?;
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

const SYSTEM: c_int = 0;
/// `TIME_ABSOLUTE` and `TIME_RELATIVE`.
const ABSOLUTE: u8 = 0;
const RELATIVE: u8 = 1;

fn service(host: u32, which: c_int) -> Result<Name, Code> {
    let answer = ask(Name(host), HOST + 6, &[which as u32])?;
    match answer.port_at(0) {
        Some(name) => Ok(name),
        None => results(&answer).and(Err(Code::MIG_TYPE_ERROR)),
    }
}

fn now(clock: u32) -> Result<Timespec, Code> {
    let answer = ask(Name(clock), CLOCK, &[])?;
    let results = results(&answer)?;
    Ok(Timespec { seconds: word(results, 0)?, nanoseconds: word(results, 4)? as i32 })
}

fn is_system(clock: u32) -> Result<bool, Code> {
    let space = space()?;
    let system = service(space.host_self().0, SYSTEM)?;
    let _ = space.port_deallocate(system);
    Ok(system == Name(clock))
}

/// Sleeps until, or for, a time of the system's clock, and tells the time after.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_sleep(clock: u32, kind: c_int, time: Timespec, woken: *mut Timespec) -> i32 {
    code((|| {
        if clock == 0 {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if !is_system(clock)? {
            return Err(Code::KERN_FAILURE);
        }
        let wanted = time.duration()?;
        let start = Duration::from_nanos(mach_absolute_time());
        let until = match kind {
            0 => wanted,
            1 => start + wanted,
            _ => return Err(Code::KERN_INVALID_VALUE),
        };
        let slept = mach_wait_until(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
        if !woken.is_null() {
            // SAFETY: not null, so room for a time.
            unsafe { put(woken, now(clock)?)? };
        }
        Code(slept as u32).ok().map(drop)
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_sleep_trap(clock: u32, kind: c_int, seconds: c_int, nanoseconds: c_int, woken: *mut Timespec) -> i32 {
    // SAFETY: passed on.
    unsafe { clock_sleep(clock, kind, Timespec { seconds: seconds as u32, nanoseconds }, woken) }
}

/// A message (`clock_alarm_reply`) to a port at a time of the system's clock; at once if that has been, or is none.
#[unsafe(no_mangle)]
extern "C" fn clock_alarm(clock: u32, kind: c_int, time: Timespec, port: u32) -> i32 {
    code((|| {
        let space = space()?;
        let is_system = is_system(clock)?;
        let here = now(clock)?;
        if !is_system {
            // As in XNU: the calendar has none.
            return Err(Code::KERN_FAILURE);
        }
        let (right, _) = space.port_extract_right(Name(port), Disposition::MakeSendOnce).map_err(|_| Code::KERN_INVALID_CAPABILITY)?;
        let alarm = |code, time: Timespec| Alarm { port: right, code, kind, time: [time.seconds, time.nanoseconds as u32] };
        let wait = match (kind as u8, time.duration()) {
            (ABSOLUTE, Ok(at)) => at.checked_sub(here.duration()?),
            (RELATIVE, Ok(after)) => Some(after),
            _ => {
                alarm(Code::KERN_INVALID_VALUE, here).tell();
                return Ok(());
            }
        };
        match wait {
            None | Some(Duration::ZERO) => alarm(Code::SUCCESS, here).tell(),
            Some(wait) => {
                let at = here.duration()? + wait;
                let at = Timespec { seconds: at.as_secs() as u32, nanoseconds: at.subsec_nanos() as i32 };
                alarm_after(wait, alarm(Code::SUCCESS, at));
            }
        }
        Ok(())
    })())
}
