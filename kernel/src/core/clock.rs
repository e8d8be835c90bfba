//! Clocks: two ports of the kernel's own that tell the time.
//!
//! The core has no clock. Who asks for the time is answered (and what is traced gets its time) when the outside has read the clocks ([`Effect::ReadClocks`]), which it does at once.

use super::Core;
use super::effect::{Clocks, Effect, Effects, TaskId};
use super::mail::Right;
use super::port::PortId;

/// Which clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// Since the machine started (`SYSTEM_CLOCK`).
    System,
    /// The time of day (`CALENDAR_CLOCK`).
    Calendar,
}

/// Somebody who wants to know the time.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) caller: TaskId,
    pub(super) clock: Clock,
    /// Where the answer goes, and its id.
    pub(super) reply: Right,
    pub(super) id: i32,
}

impl Core {
    pub(super) fn clock_port(&self, clock: Clock) -> PortId {
        match clock {
            Clock::System => self.clocks[0],
            Clock::Calendar => self.clocks[1],
        }
    }

    pub(super) fn ask_clock(&mut self, asked: Asked) {
        if self.asked.is_empty() {
            self.effects.push(Effect::ReadClocks);
        }
        self.asked.push(asked);
    }

    /// What [`Effect::ReadClocks`] found.
    pub fn clocks_read(&mut self, now: Clocks, effects: &mut Effects) {
        self.stamp_records(now);
        self.keep_alarms(now.system);
        for asked in std::mem::take(&mut self.asked) {
            let time = if asked.clock == Clock::System { now.system } else { now.calendar };
            self.answer_time(asked, time);
        }
        self.settle(0, effects);
    }
}
