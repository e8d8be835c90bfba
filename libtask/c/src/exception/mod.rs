//! Exceptions: a fault in this process becomes a message to whoever the exception ports of the thread, or else of the task, name, and the answer decides.
//!
//! The kernel process keeps the task's table, and `threads` the threads'; it does not see faults (`docs/adr/0008-exception-ports.md`). This is the other half: a handler
//! of the signals that faults are. It may run in the middle of anything, the allocator or libtask included, so it takes no lock and no memory: it asks and sends by a
//! lane that was set aside before `main` ([`Aside`]), and its messages are on its stack. One thread's fault is dealt with at a time; meanwhile other threads can look
//! into its registers, and change them (`state`).
//!
//! If nobody is to be told, or the answer is not success, or none comes, the signal does what it did before this library was there.

mod fault;
mod ports;
mod server;
mod state;
pub(crate) mod threads;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use libtask::raw::{Aside, Header, NDR};
use libtask::{Code, Disposition, Name, Task};
use umach_abi::message::HEADER;

use self::fault::Fault;
use self::state::Registers;
use self::threads::Handler;
use crate::process::{check_out, code, put};
use crate::thread::check_port;

/// How to tell.
mod behavior {
    pub(super) const DEFAULT: u32 = 1;
    pub(super) const STATE: u32 = 2;
    pub(super) const STATE_IDENTITY: u32 = 3;
    /// Codes of eight bytes.
    pub(super) const CODES: u32 = 0x8000_0000;
    pub(super) use umach_abi::exception::FLAGS;
}

/// The first of each family of messages: codes of four bytes, of eight.
const EXC: i32 = 2401;
const MACH_EXC: i32 = 2405;

/// The last only as a crash: no instruction caused it.
const SIGNALS: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT];

/// What the signals did before, in the order of [`SIGNALS`]; written once, before any of them is handled here.
static mut BEFORE: [MaybeUninit<libc::sigaction>; SIGNALS.len()] = [MaybeUninit::uninit(); SIGNALS.len()];

/// The lane that was set aside, while no thread uses it.
static ASIDE: AtomicPtr<Aside> = AtomicPtr::new(ptr::null_mut());
/// The thread whose fault is being dealt with.
static HANDLING: AtomicI32 = AtomicI32::new(0);

thread_local! {
    /// This thread's port, if it has one: a copy that can be read anywhere.
    static THREAD_PORT: Cell<u32> = const { Cell::new(0) };
}

/// The thread has this port, or none any more.
pub(crate) fn set_thread_port(name: u32) {
    let _ = THREAD_PORT.try_with(|port| port.set(name));
}

/// This process has this task now: the lane of one that it had before a fork is its parent's.
pub(crate) fn prepare(task: &Task) {
    HANDLING.store(0, Ordering::Relaxed);
    state::forget_shown();
    // Without one, faults are what they are without this library.
    let aside = task.raw().aside().map_or(ptr::null_mut(), |aside| Box::into_raw(Box::new(aside)));
    ASIDE.store(aside, Ordering::Release);
}

/// To be called once, before other threads exist.
pub(crate) fn install() {
    for (n, signal) in SIGNALS.into_iter().enumerate() {
        // SAFETY: a handler with the three arguments that `SA_SIGINFO` promises; `BEFORE` is written here alone, before it can be read: a signal that
        // comes in between finds no lane, and the default.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            let before = (&raw mut BEFORE).cast::<libc::sigaction>().add(n);
            libc::sigaction(signal, &action, before);
        }
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: this thread's own, as the handler found it; information and context are valid while the handler runs.
    unsafe {
        let errno = *libc::__errno_location();
        let (info, context) = (&*info, &mut *context.cast::<libc::ucontext_t>());
        if !resumes(signal, info, context) {
            as_before(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// Whether the process will end by the signal: nobody handled it before this library.
fn is_fatal(n: usize) -> bool {
    // SAFETY: written by `install`, before a handler of this library's can run.
    let before = unsafe { (*(&raw const BEFORE).cast::<libc::sigaction>().add(n)).sa_sigaction };
    before == libc::SIG_DFL
}

/// From now on the signal does what it did before, beginning with this one.
///
/// # Safety
/// To be called by the signal's handler.
unsafe fn as_before(signal: c_int, info: &libc::siginfo_t, context: &mut libc::ucontext_t) {
    let n = SIGNALS.iter().position(|&other| other == signal).unwrap_or(0);
    if is_fatal(n) {
        // Whatever is answered, the process ends.
        dealing_with_it(|aside| tell(aside, &Fault::crash(signal, info), context));
    }
    // SAFETY: written by `install`.
    unsafe { libc::sigaction(signal, (&raw const BEFORE).cast::<libc::sigaction>().add(n), ptr::null_mut()) };
    // An instruction that faulted does so again; what was sent, or comes after the instruction, does not.
    if info.si_code <= 0 || matches!(signal, libc::SIGTRAP | libc::SIGABRT) {
        // SAFETY: to this thread; it comes when the handler returns.
        unsafe { libc::raise(signal) };
    }
}

/// Tells whoever is to be told. Whether the thread is to go on.
fn resumes(signal: c_int, info: &libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
    // Sent by a process, not by a fault.
    if info.si_code <= 0 || signal == libc::SIGABRT {
        return false;
    }
    dealing_with_it(|aside| tell(aside, &Fault::of(signal, info), context))
}

/// With the lane that was set aside, if it can be had.
fn dealing_with_it(tell: impl FnOnce(&mut Aside) -> Result<bool, Code>) -> bool {
    // SAFETY: asks for a number.
    let me = unsafe { libc::gettid() };
    // Another thread's turn ends; a fault in here is not told of.
    while let Err(holder) = HANDLING.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
        if holder == me {
            return false;
        }
        // SAFETY: lets time pass.
        unsafe { libc::usleep(1000) };
    }
    let aside = ASIDE.load(Ordering::Acquire);
    // SAFETY: a leaked box, which this thread alone uses until it lets `HANDLING` go.
    let resumed = unsafe { aside.as_mut() }.is_some_and(|aside| tell(aside).unwrap_or(false));
    HANDLING.store(0, Ordering::Release);
    resumed
}

/// The thread's own handler first, and the task's if there is none or it does not deal with it.
fn tell(aside: &mut Aside, fault: &Fault, context: &mut libc::ucontext_t) -> Result<bool, Code> {
    // SAFETY: asks for a number.
    let own = threads::handler(unsafe { libc::gettid() }, fault.kind);
    // A reference for the message. A right that is dead has none.
    if let Some(handler) = own.filter(|handler| aside.retain(handler.port).is_ok())
        && let Ok(true) = tell_one(aside, fault, handler, context)
    {
        return Ok(true);
    }
    let (port, behavior, flavor) = aside.exception_port(fault.kind)?;
    if port.is_valid() { tell_one(aside, fault, Handler { port, behavior, flavor }, context) } else { Ok(false) }
}

/// Uses up the handler's right.
fn tell_one(aside: &mut Aside, fault: &Fault, handler: Handler, context: &mut libc::ucontext_t) -> Result<bool, Code> {
    // One that has none gets a port for as long as its fault is dealt with.
    let known = Name(THREAD_PORT.try_with(Cell::get).unwrap_or(0));
    let thread = if known.is_valid() { known } else { aside.port_allocate()? };
    let resumed = state::shown(thread.0, context, |context| send(aside, fault, handler, thread, context));
    if thread != known {
        aside.port_destroy(thread);
    }
    if resumed.is_err() {
        // Perhaps it was not sent.
        aside.deallocate(handler.port);
    }
    resumed
}

fn send(aside: &mut Aside, fault: &Fault, handler: Handler, thread: Name, context: &mut libc::ucontext_t) -> Result<bool, Code> {
    let Handler { port, behavior: how, flavor } = handler;
    let kind = how & !behavior::FLAGS;
    let wide = how & behavior::CODES != 0;
    let identity = matches!(kind, behavior::DEFAULT | behavior::STATE_IDENTITY);
    let state = matches!(kind, behavior::STATE | behavior::STATE_IDENTITY);
    if !identity && !state {
        return Err(Code::KERN_INVALID_ARGUMENT);
    }
    let registers = if state { Some(Registers::read(flavor, context).ok_or(Code::KERN_INVALID_ARGUMENT)?) } else { None };
    let id = if wide { MACH_EXC } else { EXC } + (kind - behavior::DEFAULT) as i32;
    let mut message = Writer::new();
    message.put(&[0; HEADER]);
    if identity {
        message.word(2);
        message.port(thread, Disposition::MakeSend);
        message.port(aside.task_self(), Disposition::CopySend);
    }
    message.put(&NDR);
    message.word(fault.kind);
    message.word(fault.codes.len() as u32);
    for code in fault.codes {
        if wide { message.put(&code.to_le_bytes()) } else { message.word(code as u32) }
    }
    if let Some(registers) = &registers {
        message.word(flavor);
        message.word(registers.words().len() as u32);
        registers.words().iter().for_each(|register| message.word(*register));
    }
    // Moved, for a copy might go over a link, of which nobody here can take care.
    let bits = Header::make_bits(Disposition::MoveSend as u8, 0, identity);
    let header = Header { bits, size: message.len as u32, remote: port, id, ..Header::default() };
    message.bytes[..HEADER].copy_from_slice(&header.to_bytes());
    let mut reply = [0; Writer::ROOM];
    let (header, len) = aside.call(&mut message.bytes[..message.len], &mut reply)?;
    let word = |at: usize| reply[..len].get(at..at + 4).map_or(u32::MAX, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    const RESULT: usize = HEADER + NDR.len();
    if header.id != id + 100 || header.is_complex() || word(RESULT) != 0 {
        return Ok(false);
    }
    if let Some(mut registers) = registers
        && word(RESULT + 4) == flavor
        && word(RESULT + 8) as usize == registers.words().len()
    {
        registers.map(|n| word(RESULT + 12 + 4 * n));
        registers.write(flavor, context);
    }
    Ok(true)
}

/// A message on the stack.
struct Writer {
    bytes: [u8; Writer::ROOM],
    len: usize,
}

impl Writer {
    const ROOM: usize = 512;

    fn new() -> Writer {
        Writer { bytes: [0; Writer::ROOM], len: 0 }
    }
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
    fn word(&mut self, word: u32) {
        self.put(&word.to_le_bytes());
    }
    fn port(&mut self, name: Name, disposition: Disposition) {
        self.word(name.0);
        self.word(0);
        self.put(&[0, 0, disposition as u8, 0]);
    }
}

/// Of a thread whose fault is being dealt with; of others nobody can tell.
#[unsafe(no_mangle)]
unsafe extern "C" fn thread_get_state(thread: u32, flavor: c_int, words: *mut u32, count: *mut u32) -> i32 {
    code((|| {
        check_out(words)?;
        check_out(count)?;
        let read = state::with_shown(thread, |context| Registers::read(flavor as u32, context));
        let Some(read) = read else { return Err(check_port(thread).err().unwrap_or(Code::KERN_NOT_SUPPORTED)) };
        let registers = read.ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let registers = registers.words();
        // SAFETY: the caller's word, so below: room for as many words as it says.
        if (unsafe { count.read_unaligned() } as usize) < registers.len() {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        for (n, word) in registers.iter().enumerate() {
            // SAFETY: as above.
            unsafe { words.add(n).write_unaligned(*word) };
        }
        // SAFETY: as above.
        unsafe { put(count, registers.len() as u32) }
    })())
}

/// The same.
#[unsafe(no_mangle)]
unsafe extern "C" fn thread_set_state(thread: u32, flavor: c_int, words: *const u32, count: u32) -> i32 {
    code((|| {
        check_out(words)?;
        // Read while no turn is taken.
        let given: [u32; state::ROOM] = std::array::from_fn(|n| {
            // SAFETY: the caller's word: as many words as it says.
            if n < count as usize { unsafe { words.add(n).read_unaligned() } } else { 0 }
        });
        let set = state::with_shown(thread, |context| {
            let mut registers = Registers::read(flavor as u32, context).filter(|registers| registers.words().len() == count as usize)?;
            registers.map(|n| given[n]);
            registers.write(flavor as u32, context).then_some(())
        });
        match set {
            Some(set) => set.ok_or(Code::KERN_INVALID_ARGUMENT),
            None => Err(check_port(thread).err().unwrap_or(Code::KERN_NOT_SUPPORTED)),
        }
    })())
}
