//! What there is of threads: a port for each, by which nobody can be moved. Linux has no way to stop or to look into one thread of a process from
//! outside that would not need a debugger.

use libtask::Code;

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
    thread_get_state(thread: u32, flavor: i32, state: *mut u32, count: *mut u32);
    thread_set_state(thread: u32, flavor: i32, state: *const u32, count: u32);
    thread_info(thread: u32, flavor: u32, info: *mut i32, count: *mut u32);
    thread_policy_set(thread: u32, flavor: u32, info: *const i32, count: u32);
    thread_create(task: u32, thread: *mut u32);
    task_threads(task: u32, threads: *mut *mut u32, count: *mut u32);
}
