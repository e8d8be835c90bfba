//! Subsystem `clock` (1000).

use std::time::Duration;

use umach_abi::Code;

use super::super::Core;
use super::super::clock::Asked;
use super::super::mail::Right;
use super::super::port::Kobject;
use super::Call;
use super::reply::Reply;
use super::table::Routine;
use super::table::Target::Clock;

/// In XNU's order.
pub(super) const ROUTINES: &[Routine] = &[
    Routine::new(1000, "clock_get_time", Clock, 0, get_time),
    Routine::new(1001, "clock_get_attributes", Clock, 8, |_, call| {
        const GET_TIME_RESOLUTION: u32 = 1;
        match (call.word(), call.word()) {
            (GET_TIME_RESOLUTION, 1..) => Ok(Reply::default().words(&1u32.to_le_bytes())),
            (GET_TIME_RESOLUTION, 0) => Err(Code::KERN_FAILURE),
            _ => Err(Code::KERN_INVALID_VALUE),
        }
    }),
    Routine::unserved(1002, "clock_alarm"),
];

/// The answer comes when the clocks have been read.
fn get_time(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let Kobject::Clock(clock) = call.kobject else { return Err(Code::KERN_INVALID_ARGUMENT) };
    let reply = std::mem::replace(call.reply, Right::Null);
    core.ask_clock(Asked { caller: call.caller, clock, reply, id: call.id });
    Err(Code::MIG_NO_REPLY)
}

impl Core {
    pub(in super::super) fn answer_time(&mut self, asked: Asked, time: Duration) {
        let Asked { caller, reply, id, .. } = asked;
        // `mach_timespec_t` has 32 bits for the seconds.
        let answer = Reply::default().word(time.as_secs() as u32).word(time.subsec_nanos());
        self.answer_call(caller, reply, id, Ok(answer));
    }
}
