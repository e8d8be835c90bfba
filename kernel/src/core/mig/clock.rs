//! Subsystem `clock` (1000).

use std::time::Duration;

use umach_abi::Code;

use super::super::Core;
use super::super::clock::{self, Asked};
use super::super::effect::TaskId;
use super::super::mail::Right;
use super::super::port::Kobject;
use super::Call;
use super::reply::Reply;
use super::routine::Target::Clock;
use super::routine::{Routine, Want};

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
    Routine::new(1002, "clock_alarm", Clock, 12, alarm).with(&[Want::SendOnce]),
];

/// The answer comes when the clocks have been read.
fn get_time(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let Kobject::Clock(clock) = call.kobject else { return Err(Code::KERN_INVALID_ARGUMENT) };
    let reply = std::mem::replace(call.reply, Right::Null);
    core.ask_clock(Asked { caller: call.caller, clock, reply, id: call.id });
    Err(Code::MIG_NO_REPLY)
}

/// What comes at its time is a message of another subsystem, `clock_reply`.
const ALARM_REPLY: i32 = 3_125_107;

fn alarm(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let (kind, time) = (call.word(), [call.word(), call.word()]);
    if call.kobject != Kobject::Clock(clock::Clock::System) {
        // As in XNU: the calendar has none.
        return Err(Code::KERN_FAILURE);
    }
    let right = call.right(0);
    match core.new_alarm(call.caller, kind, time, right) {
        Ok(()) => Reply::done(),
        Err((code, right)) => {
            core.discard(right);
            Err(code)
        }
    }
}

impl Core {
    pub(in super::super) fn tell_alarm(&mut self, caller: TaskId, to: Right, code: Code, kind: u32, time: Duration) {
        let told = Reply::of(code).word(kind).word(time.as_secs() as u32).word(time.subsec_nanos());
        self.answer_call(caller, to, ALARM_REPLY, Ok(told));
    }

    pub(in super::super) fn answer_time(&mut self, asked: Asked, time: Duration) {
        let Asked { caller, reply, id, .. } = asked;
        // `mach_timespec_t` has 32 bits for the seconds.
        let answer = Reply::default().word(time.as_secs() as u32).word(time.subsec_nanos());
        self.answer_call(caller, reply, id, Ok(answer));
    }
}
