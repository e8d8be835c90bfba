//! The process's task: found (or a private kernel process started) before `main`, and made anew in the child of a fork.
//!
//! The task is never dropped: programs hold bare names. Without any kernel process the variables stay null and every call says so with its code.

use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use libtask::raw::{Space, special};
use libtask::{ChildOfFork, Code, Name, RightKind, Task};
use parking_lot::Mutex;

use crate::{exception, mig, ool, probe, sharing, thread, timer};

static TASK: AtomicPtr<Task> = AtomicPtr::new(std::ptr::null_mut());

/// `mach_task_self()`: the task's own control right. A variable of the C interface.
#[unsafe(no_mangle)]
static mach_task_self_: AtomicU32 = AtomicU32::new(0);

/// The right to the name server that this task was given. A variable of the C interface, which programs may set.
#[unsafe(no_mangle)]
static bootstrap_port: AtomicU32 = AtomicU32::new(0);

/// What C calls a page here. Variables of the C interface.
#[unsafe(no_mangle)]
static vm_page_size: AtomicU64Word = AtomicU64Word::new(4096);
#[unsafe(no_mangle)]
static vm_page_mask: AtomicU64Word = AtomicU64Word::new(4095);
#[unsafe(no_mangle)]
static vm_page_shift: AtomicU32 = AtomicU32::new(12);
/// The same once more: there is one size.
#[unsafe(no_mangle)]
static vm_kernel_page_size: AtomicU64Word = AtomicU64Word::new(4096);
#[unsafe(no_mangle)]
static vm_kernel_page_mask: AtomicU64Word = AtomicU64Word::new(4095);
#[unsafe(no_mangle)]
static vm_kernel_page_shift: AtomicU32 = AtomicU32::new(12);

type AtomicU64Word = std::sync::atomic::AtomicU64;

/// Linux runs it before `main`, also in a program that is linked statically: this module is in it for the variables.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let page = ool::page() as u64;
    [&vm_page_size, &vm_kernel_page_size].iter().for_each(|size| size.store(page, Ordering::Relaxed));
    [&vm_page_mask, &vm_kernel_page_mask].iter().for_each(|mask| mask.store(page - 1, Ordering::Relaxed));
    [&vm_page_shift, &vm_kernel_page_shift].iter().for_each(|shift| shift.store(page.trailing_zeros(), Ordering::Relaxed));
    // SAFETY: the three are functions that live as long as the program.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    exception::install();
    // Whoever calls something hears why.
    let _ = current();
}

/// The process's task.
#[inline]
pub(crate) fn current() -> Result<&'static Task, Code> {
    let task = TASK.load(Ordering::Acquire);
    if task.is_null() {
        return find();
    }
    // SAFETY: only leaked boxes are stored there.
    Ok(unsafe { &*task })
}

#[cold]
fn find() -> Result<&'static Task, Code> {
    static FINDING: Mutex<()> = Mutex::new(());
    let _one = FINDING.lock();
    let task = TASK.load(Ordering::Acquire);
    if !task.is_null() {
        // SAFETY: as in `current`.
        return Ok(unsafe { &*task });
    }
    let task = Task::current().map_err(|error| {
        eprintln!("umach: {error}");
        error.code()
    })?;
    Ok(install(task))
}

fn install(task: Task) -> &'static Task {
    let task: &'static Task = Box::leak(Box::new(task));
    TASK.store(std::ptr::from_ref(task).cast_mut(), Ordering::Release);
    mach_task_self_.store(task.raw().task_self().0, Ordering::Release);
    let bootstrap = task.raw().task_get_special_port(special::BOOTSTRAP).unwrap_or(Name::NULL);
    bootstrap_port.store(bootstrap.0, Ordering::Release);
    exception::prepare(task);
    task
}

/// The caller's own space.
#[inline]
pub(crate) fn space() -> Result<Space<'static>, Code> {
    Ok(current()?.raw())
}

/// The space of a task: the caller's own, or that of the control right with this name.
pub(crate) fn space_of(task: u32) -> Result<Space<'static>, Code> {
    let space = space()?;
    // Mach's interface stubs send to the task port, so what is wrong with that is a message's error there.
    match Name(task) {
        Name::NULL | Name::DEAD => Err(Code::MACH_SEND_INVALID_DEST),
        name if name == space.task_self() => Ok(space),
        name => Ok(space.of(name)),
    }
}

/// Whether this is the caller's own task.
pub(crate) fn is_self(task: u32) -> bool {
    space().is_ok_and(|space| space.task_self() == Name(task))
}

/// A result as C has it.
pub(crate) fn code(result: Result<(), Code>) -> i32 {
    result.map_or_else(|code| code.0 as i32, |()| 0)
}

/// Stores a result of C's.
///
/// # Safety
/// `at` is null or points to room for a `T`.
pub(crate) unsafe fn put<T>(at: *mut T, value: T) -> Result<(), Code> {
    check_out(at)?;
    // SAFETY: not null, so room for a `T` (the caller's word); C may have packed it.
    unsafe { at.write_unaligned(value) };
    Ok(())
}

/// To be asked before something is made whose name could not be given out.
pub(crate) fn check_out<T>(at: *const T) -> Result<(), Code> {
    if at.is_null() { Err(Code::KERN_INVALID_ARGUMENT) } else { Ok(()) }
}

#[unsafe(no_mangle)]
extern "C" fn mach_task_self() -> u32 {
    mach_task_self_.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
extern "C" fn task_self_trap() -> u32 {
    mach_task_self()
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn mach_reply_port() -> u32 {
    space().and_then(|space| space.port_allocate(RightKind::Receive)).unwrap_or(Name::NULL).0
}

/// Each call gives a reference.
#[unsafe(no_mangle)]
extern "C" fn mach_host_self() -> u32 {
    let host = || {
        let space = space()?;
        let host = space.host_self();
        space.port_mod_refs(host, RightKind::Send, 1)?;
        Ok::<_, Code>(host)
    };
    host().unwrap_or(Name::NULL).0
}

#[unsafe(no_mangle)]
extern "C" fn host_self_trap() -> u32 {
    mach_host_self()
}

#[unsafe(no_mangle)]
extern "C" fn mach_init() -> i32 {
    code(current().map(drop))
}

thread_local! {
    /// What the thread that forks keeps from before until after. In the child that is the only thread.
    static FORKING: Cell<Option<ChildOfFork>> = const { Cell::new(None) };
}

extern "C" fn before_fork() {
    thread::before_fork();
    timer::before_fork();
    sharing::before_fork();
    ool::before_fork();
    probe::before_fork();
    let task = TASK.load(Ordering::Acquire);
    if task.is_null() {
        return;
    }
    // SAFETY: as in `current`.
    let task = unsafe { &*task };
    FORKING.set(task.before_fork().ok());
}

extern "C" fn after_fork_in_parent() {
    if let Some(child) = FORKING.take() {
        child.in_parent();
    }
    probe::after_fork();
    ool::after_fork();
    sharing::after_fork(false);
    timer::after_fork(false);
    thread::after_fork(false);
}

extern "C" fn after_fork_in_child() {
    probe::after_fork();
    ool::after_fork();
    sharing::after_fork(true);
    timer::after_fork(true);
    thread::after_fork(true);
    mig::forget();
    crate::special::forget();
    TASK.store(std::ptr::null_mut(), Ordering::Release);
    mach_task_self_.store(0, Ordering::Release);
    bootstrap_port.store(0, Ordering::Release);
    // Without one, each call says that this process is a fork.
    if let Some(Ok(task)) = FORKING.take().map(ChildOfFork::in_child) {
        install(task);
    }
}
