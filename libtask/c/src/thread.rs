//! Threads of this process, as far as Linux tells of them: a port for each, what each has used, and which there are.
//!
//! A thread has a port once it asks for its own, or once somebody asks which threads there are. The port ends with the thread; if the thread never asked for
//! it, when somebody asks about threads next. Nobody answers on it: one thread of a process cannot be stopped or looked into from outside without a debugger,
//! so what would need that is `KERN_NOT_SUPPORTED`.

use std::cell::Cell;
use std::collections::BTreeMap;

use libtask::{Code, Disposition, Name, RightKind};

use crate::exception;
use crate::fork::ForkLock;
use crate::info::Words;
use crate::port::put_array;
use crate::process::{check_out, code, is_self, put, space};

/// A thread that has a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thread {
    tid: i32,
    /// Linux gives numbers out again: when it was started, in ticks.
    started: u64,
}

/// By the names of their ports. Asked of the kernel process while it is held, never the other way round.
static THREADS: ForkLock<BTreeMap<u32, Thread>> = ForkLock::new(BTreeMap::new());

/// This thread's port, which ends with it.
struct Own(Cell<u32>);

thread_local! {
    static OWN: Own = const { Own(Cell::new(0)) };
}

impl Drop for Own {
    fn drop(&mut self) {
        let name = self.0.get();
        if name != 0 {
            THREADS.lock().remove(&name);
            exception::threads::end(own_tid());
            destroy(name);
            exception::set_thread_port(0);
        }
    }
}

fn destroy(name: u32) {
    if let Ok(space) = space() {
        // Gone already if the task is.
        let _ = space.port_mod_refs(Name(name), RightKind::Receive, -1);
    }
}

/// In a forked child there is one thread, and the names mean nothing.
pub(crate) fn before_fork() {
    THREADS.before_fork();
    exception::threads::before_fork();
}

pub(crate) fn after_fork(child: bool) {
    exception::threads::after_fork(child);
    THREADS.after_fork();
    if child {
        THREADS.lock().clear();
        let _ = OWN.try_with(|own| own.0.set(0));
        exception::set_thread_port(0);
    }
}

fn own_tid() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::gettid() }
}

/// What Linux says of a thread.
struct Stat {
    state: u8,
    /// Microseconds.
    user: u64,
    system: u64,
    nice: i64,
    started: u64,
    policy: u64,
    name: String,
}

impl Stat {
    /// `None`: there is no such thread.
    fn of(tid: i32) -> Option<Stat> {
        let text = std::fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The name may have anything in it.
        let (head, tail) = text.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok()).unwrap_or(0);
        // SAFETY: asks for a number.
        let tick = 1_000_000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
        let stat = Stat {
            state: fields.first()?.bytes().next()?,
            user: number(11) as u64 * tick,
            system: number(12) as u64 * tick,
            nice: number(16),
            started: number(19) as u64,
            policy: number(38) as u64,
            name: head.split_once('(')?.1.to_owned(),
        };
        // One that has ended and is still shown is none.
        (!matches!(stat.state, b'Z' | b'X')).then_some(stat)
    }

    /// With the exact times, which only the thread itself is told.
    fn own(tid: i32) -> Option<Stat> {
        let stat = Stat::of(tid)?;
        // SAFETY: an all-zero `rusage` is one.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: room for one.
        if unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut used) } != 0 {
            return Some(stat);
        }
        let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
        Some(Stat { user: micros(used.ru_utime), system: micros(used.ru_stime), ..stat })
    }
}

/// The port of a thread, made if there is none.
fn port_of(tid: i32) -> Result<u32, Code> {
    let thread = Thread { tid, started: Stat::of(tid).ok_or(Code::KERN_TERMINATED)?.started };
    let mut threads = THREADS.lock();
    if let Some((&name, _)) = threads.iter().find(|(_, other)| **other == thread) {
        return Ok(name);
    }
    let space = space()?;
    let name = space.port_allocate(RightKind::Receive)?;
    space.port_insert_right(name, name, Disposition::MakeSend)?;
    threads.insert(name.0, thread);
    Ok(name.0)
}

/// The ports of threads that have ended end.
fn forget_ended() {
    let mut ended: Vec<(u32, i32)> = Vec::new();
    THREADS.lock().retain(|&name, thread| {
        let lives = Stat::of(thread.tid).is_some_and(|stat| stat.started == thread.started);
        ended.extend((!lives).then_some((name, thread.tid)));
        lives
    });
    for (name, tid) in ended {
        exception::threads::end(tid);
        destroy(name);
    }
}

/// The thread with this port.
fn find(name: u32) -> Result<Thread, Code> {
    if matches!(Name(name), Name::NULL | Name::DEAD) {
        // What a stub that sends there would hear.
        return Err(Code::MACH_SEND_INVALID_DEST);
    }
    forget_ended();
    THREADS.lock().get(&name).copied().ok_or(Code::KERN_INVALID_ARGUMENT)
}

/// The number that Linux gave the thread with this port.
pub(crate) fn tid_of(name: u32) -> Result<i32, Code> {
    find(name).map(|thread| thread.tid)
}

/// Whether a thread of this process has this port.
pub(crate) fn check_port(name: u32) -> Result<(), Code> {
    find(name).map(drop)
}

/// This thread's port; no new reference.
#[unsafe(no_mangle)]
extern "C" fn umach_thread_port() -> u32 {
    OWN.with(|own| {
        if own.0.get() == 0 {
            own.0.set(port_of(own_tid()).unwrap_or(0));
            exception::set_thread_port(own.0.get());
        }
        own.0.get()
    })
}

/// One more reference for the program. A count that is at its end stays there.
fn give(name: u32) -> Result<u32, Code> {
    space()?.port_mod_refs(Name(name), RightKind::Send, 1)?;
    Ok(name)
}

/// Each call gives a reference.
#[unsafe(no_mangle)]
extern "C" fn mach_thread_self() -> u32 {
    match umach_thread_port() {
        0 => 0,
        name => give(name).unwrap_or(name),
    }
}

#[unsafe(no_mangle)]
extern "C" fn thread_self_trap() -> u32 {
    mach_thread_self()
}

/// All threads of the caller's own task, with a reference for each. Of no other task: what its threads are only its own library knows.
#[unsafe(no_mangle)]
unsafe extern "C" fn task_threads(task: u32, threads: *mut *mut u32, count: *mut u32) -> i32 {
    code((|| {
        check_out(threads)?;
        check_out(count)?;
        if !is_self(task) {
            return Err(if matches!(Name(task), Name::NULL | Name::DEAD) {
                Code::MACH_SEND_INVALID_DEST
            } else {
                Code::KERN_NOT_SUPPORTED
            });
        }
        forget_ended();
        let entries = std::fs::read_dir("/proc/self/task").map_err(|_| Code::KERN_FAILURE)?;
        let tids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let mut names = Vec::new();
        for tid in tids {
            match port_of(tid).and_then(give) {
                Ok(name) => names.push(name),
                // It has ended meanwhile.
                Err(Code::KERN_TERMINATED | Code::KERN_INVALID_NAME | Code::KERN_INVALID_RIGHT) => {}
                Err(code) => return Err(code),
            }
        }
        // SAFETY: the caller's word.
        unsafe { put_array(&names, threads, count) }
    })())
}

mod info_flavor {
    pub(super) const BASIC: u32 = 3;
    pub(super) const IDENTIFIER: u32 = 4;
    pub(super) const EXTENDED: u32 = 5;
}

/// `TH_STATE_*`.
fn run_state(state: u8) -> u64 {
    match state {
        b'R' => 1,
        b'T' | b't' => 2,
        b'D' => 4,
        _ => 3,
    }
}

/// `POLICY_*`.
fn policy(linux: u64) -> u64 {
    match linux {
        1 => 4,
        2 => 2,
        _ => 1,
    }
}

/// What XNU gives a thread that asked for nothing, and the most.
const BASE_PRIORITY: i64 = 31;
const MAX_PRIORITY: u64 = 63;
/// `MAXTHREADNAMESIZE`.
const NAME_SIZE: usize = 64;

#[unsafe(no_mangle)]
unsafe extern "C" fn thread_info(thread: u32, flavor: u32, info: *mut i32, count: *mut u32) -> i32 {
    code((|| {
        let thread = find(thread)?;
        let is_own = thread.tid == own_tid();
        let stat = if is_own { Stat::own(thread.tid) } else { Stat::of(thread.tid) }.ok_or(Code::KERN_TERMINATED)?;
        let (policy, state) = (policy(stat.policy), run_state(stat.state));
        let words = Words::default();
        let words = match flavor {
            // Usage, flags, suspend count and sleep time: none.
            info_flavor::BASIC => words.time(stat.user).time(stat.system).word(0).word(policy).word(state).word(0).word(0).word(0),
            info_flavor::IDENTIFIER => {
                // SAFETY: asks for a number.
                let handle = if is_own { unsafe { libc::pthread_self() } } else { 0 };
                words.long(thread.tid as u64).long(handle).long(0)
            }
            info_flavor::EXTENDED => {
                let priority = (BASE_PRIORITY - stat.nice).max(0) as u64;
                let mut name = [0; NAME_SIZE];
                let len = stat.name.len().min(NAME_SIZE - 1);
                name[..len].copy_from_slice(&stat.name.as_bytes()[..len]);
                let name: Vec<u32> = name.chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
                let words = words.long(1000 * stat.user).long(1000 * stat.system).word(0).word(policy).word(state).word(0).word(0);
                words.word(priority).word(priority).word(MAX_PRIORITY).raw(&name)
            }
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        // SAFETY: passed on.
        unsafe { words.store(info, count) }
    })())
}

/// Taken without effect: Linux schedules.
#[unsafe(no_mangle)]
unsafe extern "C" fn thread_policy_set(thread: u32, flavor: u32, info: *const i32, count: u32) -> i32 {
    code((|| {
        find(thread)?;
        let needed = match flavor {
            // THREAD_STANDARD_POLICY, or THREAD_EXTENDED_POLICY with what it means without words.
            1 => 0,
            2 => 4,
            3..=5 | 7 | 8 => 1,
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        if count < needed || (needed > 0 && info.is_null()) { Err(Code::KERN_INVALID_ARGUMENT) } else { Ok(()) }
    })())
}

/// `THREAD_KERNEL_PORT`.
const KERNEL_PORT: i32 = 1;

#[unsafe(no_mangle)]
unsafe extern "C" fn thread_get_special_port(thread: u32, which: i32, port: *mut u32) -> i32 {
    code((|| {
        check_out(port)?;
        find(thread)?;
        if which != KERNEL_PORT {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        // SAFETY: the caller's word.
        unsafe { put(port, give(thread)?) }
    })())
}

/// A thread's own port is what it is.
#[unsafe(no_mangle)]
extern "C" fn thread_set_special_port(thread: u32, which: i32, _port: u32) -> i32 {
    let refused = if which == KERNEL_PORT { Code::KERN_NOT_SUPPORTED } else { Code::KERN_INVALID_ARGUMENT };
    code(find(thread).and(Err(refused)))
}

macro_rules! not_supported {
    ($($name:ident($($argument:ident: $Type:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $Type),*) -> i32 {
            $(let _ = $argument;)*
            Code::KERN_NOT_SUPPORTED.0 as i32
        }
    )*};
}

not_supported! {
    thread_terminate(thread: u32);
    thread_suspend(thread: u32);
    thread_resume(thread: u32);
    thread_abort(thread: u32);
    thread_abort_safely(thread: u32);
    thread_depress_abort(thread: u32);
    thread_policy_get(thread: u32, flavor: u32, info: *mut i32, count: *mut u32, default: *mut i32);
    thread_create(task: u32, thread: *mut u32);
}
