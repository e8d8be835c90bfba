//! libumach: `<mach/mach.h>` for Linux programs. Each function is Mach's of that name, in XNU's dialect; what it means is libtask's affair
//! ([`libtask::raw`]), and this crate is the edge: pointers in, pointers out, `errno`-free codes back. The headers are in `include/`.
//!
//! * `process` has the process's task: made before `main`, made anew in a forked child. `mach_task_self_` and `bootstrap_port` are variables.
//! * `message` is `mach_msg` on the program's own buffers; `server` the loops around it; `mig` what generated stubs call.
//! * `port`, `task`, `info`, `bootstrap` wrap one request each. `time` and `timer` are Linux's clock.
//! * `exception` makes messages of faults, and answers them; `semaphore` and `clock` are the kernel process's; `thread` is what Linux tells of threads.
//! * `memory`, `mapping`, `sharing` and `regions` are the program's own address space; `ool` the memory that comes with messages; `probe` whether an address is one.
//!
//! Pointers are the program's word: a null one where a result is to be stored is refused with `KERN_INVALID_ARGUMENT`, other wild ones are met as the
//! functions say. A panic cannot cross into C: it ends the process.
#![allow(unsafe_code)]
// The names are C's.
#![allow(non_upper_case_globals)]

mod bootstrap;
mod clock;
mod error;
mod exception;
mod fork;
mod info;
mod mapping;
mod memory;
mod message;
mod mig;
mod ool;
mod port;
mod probe;
mod process;
mod regions;
mod semaphore;
mod server;
mod sharing;
mod special;
mod task;
mod thread;
mod time;
mod timer;
