//! The deadline of everything: some of what is measured can only be waited for without one, so somebody else watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::process::PATIENCE;
use crate::sys::queues::SysV;

/// How long one turn of a contestant may take.
const LIMIT: Duration = PATIENCE.saturating_mul(2);

static LAST: AtomicU64 = AtomicU64::new(0);
static WHO: Mutex<&'static str> = Mutex::new("");

/// Says that something moves, and whose turn it is now. From the first time on somebody watches; if nothing comes for too long, this process ends, and
/// its children with it.
pub(crate) fn beat(who: &'static str) {
    static START: OnceLock<Instant> = OnceLock::new();
    let first = START.get().is_none();
    let start = *START.get_or_init(Instant::now);
    LAST.store(start.elapsed().as_secs(), Ordering::Relaxed);
    *WHO.lock().unwrap_or_else(PoisonError::into_inner) = who;
    if first {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(5));
                if start.elapsed().as_secs() > LAST.load(Ordering::Relaxed) + LIMIT.as_secs() {
                    let who = *WHO.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("umach bench: {who}: nothing moved for {} s; given up", LIMIT.as_secs());
                    SysV::remove_all();
                    std::process::exit(1);
                }
            }
        });
    }
}
