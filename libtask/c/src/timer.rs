//! `mk_timer` and `clock_alarm`: messages that come at a time. One thread per process sends them all; it is started with the first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use libtask::raw::{MsgBuffer, NDR, Options};
use libtask::{Code, Disposition, Name, RightKind};
use parking_lot::{Condvar, Mutex};

use crate::fork::ForkLock;
use crate::process::{code, put, space};
use crate::time::mach_absolute_time;

/// What is to come, and when.
#[derive(Default)]
struct Timers {
    due: Mutex<Due>,
    changed: Condvar,
}

#[derive(Default)]
struct Due {
    /// When each timer of this process is due, if it is armed.
    timers: HashMap<u32, Option<u64>>,
    /// Alarms, each with when it is due. They come once.
    alarms: Vec<(u64, Alarm)>,
}

/// What an alarm tells, and whom.
#[derive(Clone, Copy)]
pub(crate) struct Alarm {
    /// A send-once right, which is used up.
    pub(crate) port: Name,
    pub(crate) code: Code,
    pub(crate) kind: i32,
    /// `mach_timespec_t`.
    pub(crate) time: [u32; 2],
}

impl Alarm {
    /// `clock_alarm_reply` of the subsystem `clock_reply`.
    const ID: i32 = 3_125_107;

    /// Sends it now.
    pub(crate) fn tell(self) {
        let Ok(space) = space() else { return };
        let words = [self.code.0, self.kind as u32, self.time[0], self.time[1]];
        let body: Vec<u8> = NDR.into_iter().chain(words.into_iter().flat_map(u32::to_le_bytes)).collect();
        let mut message = MsgBuffer::new(Alarm::ID).remote(self.port, Disposition::MoveSendOnce).body(&body);
        if !space.mach_msg(&mut message, Options::SEND | Options::SEND_TIMEOUT, 0, Name::NULL, 0, Name::NULL).is_ok() {
            let _ = space.port_deallocate(self.port);
        }
    }
}

/// Tells of an alarm `after` so much time.
pub(crate) fn alarm_after(after: Duration, alarm: Alarm) {
    let timers = timers();
    let at = mach_absolute_time().saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    timers.due.lock().alarms.push((at, alarm));
    timers.changed.notify_one();
}

static TIMERS: ForkLock<Option<Arc<Timers>>> = ForkLock::new(None);

/// In a forked child there is no thread, and the names mean nothing.
pub(crate) fn before_fork() {
    TIMERS.before_fork();
}

pub(crate) fn after_fork(child: bool) {
    TIMERS.after_fork();
    if child {
        std::mem::forget(TIMERS.lock().take());
    }
}

fn timers() -> Arc<Timers> {
    let mut timers = TIMERS.lock();
    timers
        .get_or_insert_with(|| {
            let made = Arc::new(Timers::default());
            let theirs = made.clone();
            // Without a thread timers never fire; there is nobody to tell.
            let _ = std::thread::Builder::new().name("mk_timer".into()).spawn(move || theirs.run());
            made
        })
        .clone()
}

impl Timers {
    fn run(&self) {
        let mut due = self.due.lock();
        loop {
            let now = mach_absolute_time();
            for (&name, at) in due.timers.iter_mut().filter(|(_, at)| at.is_some_and(|at| at <= now)) {
                *at = None;
                fire(Name(name));
            }
            due.alarms.extract_if(.., |(at, _)| *at <= now).for_each(|(_, alarm)| alarm.tell());
            let next = due.timers.values().flatten().copied().chain(due.alarms.iter().map(|(at, _)| *at)).min();
            match next {
                None => self.changed.wait(&mut due),
                Some(at) => {
                    self.changed.wait_for(&mut due, Duration::from_nanos(at.saturating_sub(mach_absolute_time())));
                }
            }
        }
    }
}

/// A timer that has a message waiting needs no second one.
fn fire(name: Name) {
    let Ok(space) = space() else { return };
    if space.port_get_receive_status(name).is_ok_and(|status| status.queued > 0) {
        return;
    }
    let mut message = MsgBuffer::new(0).remote(name, Disposition::MakeSendOnce).body(&[0; 24]);
    space.mach_msg(&mut message, Options::SEND | Options::SEND_TIMEOUT, 0, Name::NULL, 0, Name::NULL);
}

#[unsafe(no_mangle)]
extern "C" fn mk_timer_create() -> u32 {
    let made = space().and_then(|space| space.port_allocate(RightKind::Receive));
    let name = made.unwrap_or(Name::NULL);
    if name.is_valid() {
        timers().due.lock().timers.insert(name.0, None);
    }
    name.0
}

#[unsafe(no_mangle)]
extern "C" fn mk_timer_destroy(name: u32) -> i32 {
    code((|| {
        timers().due.lock().timers.remove(&name).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        space()?.port_mod_refs(Name(name), RightKind::Receive, -1)
    })())
}

#[unsafe(no_mangle)]
extern "C" fn mk_timer_arm(name: u32, at: u64) -> i32 {
    let timers = timers();
    let mut due = timers.due.lock();
    if space().and_then(|space| space.port_get_refs(Name(name), RightKind::Receive)).unwrap_or(0) == 0 {
        // The port has gone, and its timer with it.
        due.timers.remove(&name);
    }
    let Some(timer) = due.timers.get_mut(&name) else { return Code::KERN_INVALID_ARGUMENT.0 as i32 };
    *timer = Some(at);
    timers.changed.notify_one();
    0
}

/// Gives when it would have been due; 0 if it was not armed.
#[unsafe(no_mangle)]
unsafe extern "C" fn mk_timer_cancel(name: u32, result: *mut u64) -> i32 {
    let was = timers().due.lock().timers.get_mut(&name).map(Option::take);
    let Some(was) = was else { return Code::KERN_INVALID_ARGUMENT.0 as i32 };
    if result.is_null() {
        return 0;
    }
    // SAFETY: not null, so room for a time.
    code(unsafe { put(result, was.unwrap_or(0)) })
}
