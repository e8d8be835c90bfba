//! `mk_timer`: ports that get a message at a time. One thread per process sends them all; it is started with the first timer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use libtask::raw::{MsgBuffer, Options};
use libtask::{Code, Disposition, Name, RightKind};
use parking_lot::{Condvar, Mutex};

use crate::process::{code, put, space};
use crate::time::mach_absolute_time;

/// The timers of this process: when each is due, if it is armed.
#[derive(Default)]
struct Timers {
    due: Mutex<HashMap<u32, Option<u64>>>,
    changed: Condvar,
}

static TIMERS: Mutex<Option<Arc<Timers>>> = Mutex::new(None);

/// In a forked child there is no thread, and the names mean nothing.
pub(crate) fn before_fork() {
    parking_lot::MutexGuard::leak(TIMERS.lock());
}

pub(crate) fn after_fork(child: bool) {
    // SAFETY: this thread, or in the child its copy, has held it since `before_fork`.
    unsafe { TIMERS.force_unlock() };
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
            let fired: Vec<u32> = due.iter().filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(name, _)| *name).collect();
            for name in fired {
                due.insert(name, None);
                fire(Name(name));
            }
            match due.values().flatten().min() {
                None => self.changed.wait(&mut due),
                Some(&at) => {
                    self.changed.wait_for(&mut due, Duration::from_nanos(at.saturating_sub(mach_absolute_time())));
                }
            }
        }
    }
}

/// A timer that has a message waiting needs no second one.
fn fire(name: Name) {
    let Ok(space) = space() else { return };
    let mut message = MsgBuffer::new(0).remote(name, Disposition::MakeSendOnce).body(&[0; 24]);
    space.mach_msg(&mut message, Options::SEND | Options::SEND_TIMEOUT, 0, Name::NULL, 0, Name::NULL);
}

#[unsafe(no_mangle)]
extern "C" fn mk_timer_create() -> u32 {
    let made = space().and_then(|space| space.port_allocate(RightKind::Receive));
    let name = made.unwrap_or(Name::NULL);
    if name.is_valid() {
        timers().due.lock().insert(name.0, None);
    }
    name.0
}

#[unsafe(no_mangle)]
extern "C" fn mk_timer_destroy(name: u32) -> i32 {
    code((|| {
        timers().due.lock().remove(&name).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        space()?.port_mod_refs(Name(name), RightKind::Receive, -1)
    })())
}

#[unsafe(no_mangle)]
extern "C" fn mk_timer_arm(name: u32, at: u64) -> i32 {
    let timers = timers();
    let mut due = timers.due.lock();
    let Some(timer) = due.get_mut(&name) else { return Code::KERN_INVALID_ARGUMENT.0 as i32 };
    *timer = Some(at);
    timers.changed.notify_one();
    0
}

/// Gives when it would have been due; 0 if it was not armed.
#[unsafe(no_mangle)]
unsafe extern "C" fn mk_timer_cancel(name: u32, result: *mut u64) -> i32 {
    let was = timers().due.lock().get_mut(&name).map(Option::take);
    let Some(was) = was else { return Code::KERN_INVALID_ARGUMENT.0 as i32 };
    if result.is_null() {
        return 0;
    }
    // SAFETY: not null, so room for a time.
    code(unsafe { put(result, was.unwrap_or(0)) })
}
