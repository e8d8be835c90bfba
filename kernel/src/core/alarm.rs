//! Alarms: messages that come at a time of the system's clock.
//!
//! The core has no clock. A new alarm waits until the outside has read it ([`Effect::ReadClocks`]), which it does at once; the outside is told when the
//! earliest is due ([`Effect::Alarm`]), and says when that is ([`Core::alarm_due`]). Who asked pays until the message is sent, and may ask for so many.
//! An alarm goes with the task that asked for it: its send-once right is dropped, so whoever waits is told.

use std::collections::BTreeMap;
use std::time::Duration;

use umach_abi::{Code, Features};

use super::Core;
use super::effect::{Effect, Effects, TaskId};
use super::mail::Right;
use super::quota::{Charge, Kind};

/// Alarms of one task.
const ALARMS_MAX: usize = 256;

/// `TIME_ABSOLUTE` and `TIME_RELATIVE`.
const ABSOLUTE: u8 = 0;
const RELATIVE: u8 = 1;

/// When, and which of those.
pub(super) type AlarmKey = (Duration, u64);

#[derive(Debug)]
pub(super) struct Alarm {
    pub(super) caller: TaskId,
    /// Send-once: where the message goes.
    pub(super) right: Right,
    kind: u32,
    /// `mach_timespec_t`, as asked for.
    time: [u32; 2],
    pub(super) charge: Charge,
}

/// All alarms.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// Those that nobody has compared with the clock.
    fresh: Vec<Alarm>,
    set: BTreeMap<AlarmKey, Alarm>,
    made: u64,
    /// The time that the outside waits for.
    told: Option<Duration>,
}

impl Alarms {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.fresh.iter().chain(self.set.values())
    }
}

impl Core {
    /// A message to `right` at a time. Gives the right back if that cannot be.
    pub(super) fn new_alarm(&mut self, caller: TaskId, kind: u32, time: [u32; 2], right: Right) -> Result<(), (Code, Right)> {
        // In a kernel that is no process, nobody wakes.
        if !self.config.features.contains(Features::PROCESSES) {
            return Err((Code::KERN_NOT_SUPPORTED, right));
        }
        if !matches!(right, Right::SendOnce(_)) {
            return Err((Code::KERN_INVALID_CAPABILITY, right));
        }
        let task = &self.tasks[caller.0];
        let fresh = self.alarms.fresh.iter().filter(|alarm| alarm.caller == caller).count();
        let charge = match task.alarms.len() + fresh < ALARMS_MAX {
            true => self.ledger.charge(task.account, Kind::Notifications, 1),
            false => None,
        };
        let Some(charge) = charge else { return Err((Code::KERN_RESOURCE_SHORTAGE, right)) };
        if self.alarms.fresh.is_empty() {
            self.effects.push(Effect::ReadClocks);
        }
        self.alarms.fresh.push(Alarm { caller, right, kind, time, charge });
        Ok(())
    }

    /// The time that [`Effect::Alarm`] named has come.
    pub fn alarm_due(&mut self, effects: &mut Effects) {
        self.alarms.told = None;
        self.effects.push(Effect::ReadClocks);
        self.settle(0, effects);
    }

    /// What the system's clock says.
    pub(super) fn keep_alarms(&mut self, now: Duration) {
        for alarm in std::mem::take(&mut self.alarms.fresh) {
            let time = Duration::new(alarm.time[0].into(), alarm.time[1].min(999_999_999));
            let at = match alarm.kind as u8 {
                _ if alarm.time[1] > 999_999_999 => Err(Code::KERN_INVALID_VALUE),
                ABSOLUTE => Ok(time),
                RELATIVE => Ok(now + time),
                _ => Err(Code::KERN_INVALID_VALUE),
            };
            match at {
                Ok(at) if at > now && self.tasks.get(alarm.caller.0).is_some() => {
                    self.alarms.made += 1;
                    let key = (at, self.alarms.made);
                    self.tasks[alarm.caller.0].alarms.insert(key);
                    self.alarms.set.insert(key, alarm);
                }
                at => self.ring_alarm(alarm, at.err().unwrap_or(Code::SUCCESS), now),
            }
        }
        while let Some(entry) = self.alarms.set.first_entry().filter(|entry| entry.key().0 <= now) {
            let (key, alarm) = entry.remove_entry();
            if let Some(task) = self.tasks.get_mut(alarm.caller.0) {
                task.alarms.remove(&key);
            }
            self.ring_alarm(alarm, Code::SUCCESS, key.0);
        }
        self.arm();
    }

    /// Has the outside wait for the earliest.
    fn arm(&mut self) {
        let first = self.alarms.set.first_key_value().map(|((at, _), _)| *at);
        if first != self.alarms.told {
            self.alarms.told = first;
            self.effects.push(Effect::Alarm(first));
        }
    }

    fn ring_alarm(&mut self, alarm: Alarm, code: Code, time: Duration) {
        self.ledger.release(alarm.charge);
        self.tell_alarm(alarm.caller, alarm.right, code, alarm.kind, time);
    }

    /// The task has ended.
    pub(super) fn drop_alarms(&mut self, task: TaskId) {
        let keys = std::mem::take(&mut self.tasks[task.0].alarms);
        let mut dropped: Vec<Alarm> = keys.iter().filter_map(|key| self.alarms.set.remove(key)).collect();
        let (own, fresh) = std::mem::take(&mut self.alarms.fresh).into_iter().partition(|alarm| alarm.caller == task);
        self.alarms.fresh = fresh;
        dropped.extend::<Vec<Alarm>>(own);
        for alarm in dropped {
            self.ledger.release(alarm.charge);
            self.discard(alarm.right);
        }
        if !keys.is_empty() {
            self.arm();
        }
    }
}
