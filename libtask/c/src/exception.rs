//! Exceptions: a fault in this process becomes a message to whoever the task's exception ports name, and the answer decides.
//!
//! The kernel process keeps the table; it does not see faults (`docs/adr/0008-exception-ports.md`). This is the other half: a handler of the five signals
//! that faults are. It may run in the middle of anything, the allocator or libtask included, so it takes no lock and no memory: it asks and sends by a
//! lane that was set aside before `main` ([`Aside`]), and its messages are on its stack. One thread's fault is dealt with at a time.
//!
//! If nobody is to be told, or the answer is not success, or none comes, the signal does what it did before this library was there.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use libtask::raw::{Aside, ExceptionRow, Header, NDR, Space};
use libtask::{Code, Disposition, Name, Task};
use umach_abi::message::HEADER;

use crate::process::{check_out, code, put, space, space_of};

const BAD_ACCESS: u32 = 1;
const BAD_INSTRUCTION: u32 = 2;
const ARITHMETIC: u32 = 3;
const BREAKPOINT: u32 = 6;

/// How to tell.
mod behavior {
    pub(super) const DEFAULT: u32 = 1;
    pub(super) const STATE: u32 = 2;
    pub(super) const STATE_IDENTITY: u32 = 3;
    /// Codes of eight bytes.
    pub(super) const CODES: u32 = 0x8000_0000;
    pub(super) const FLAGS: u32 = 0xe000_0000;
}

/// The first of each family of messages: codes of four bytes, of eight.
const EXC: i32 = 2401;
const MACH_EXC: i32 = 2405;

const CRASH: u32 = 10;

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

/// A fault in Mach's words.
struct Fault {
    kind: u32,
    codes: [u64; 2],
}

impl Fault {
    fn of(signal: c_int, info: &libc::siginfo_t) -> Fault {
        // SAFETY: a fault's information has an address, or zeros.
        let address = unsafe { info.si_addr() } as u64;
        const INVALID_OPERATION: u64 = 1;
        /// `EXC_I386_GPFLT`: no page's fault, so without an address.
        const PROTECTION: u64 = 13;
        const SI_KERNEL: c_int = 0x80;
        const DIVISION: u64 = 1;
        /// `EXC_I386_SSEEXTERR`.
        const FLOATING: u64 = 8;
        const FPE_INTOVF: c_int = 2;
        const SINGLE_STEP: u64 = 1;
        const BREAKPOINT_TRAP: u64 = 2;
        const SEGV_ACCERR: c_int = 2;
        const TRAP_TRACE: c_int = 2;
        let (kind, codes) = match signal {
            libc::SIGSEGV if info.si_code == SEGV_ACCERR => (BAD_ACCESS, [Code::KERN_PROTECTION_FAILURE.0.into(), address]),
            libc::SIGSEGV if cfg!(target_arch = "x86_64") && info.si_code == SI_KERNEL => (BAD_ACCESS, [PROTECTION, 0]),
            libc::SIGSEGV | libc::SIGBUS => (BAD_ACCESS, [Code::KERN_INVALID_ADDRESS.0.into(), address]),
            libc::SIGILL => (BAD_INSTRUCTION, [INVALID_OPERATION, 0]),
            libc::SIGFPE if info.si_code > FPE_INTOVF => (ARITHMETIC, [FLOATING, 0]),
            libc::SIGFPE => (ARITHMETIC, [DIVISION, 0]),
            _ if info.si_code == TRAP_TRACE => (BREAKPOINT, [SINGLE_STEP, 0]),
            _ => (BREAKPOINT, [BREAKPOINT_TRAP, 0]),
        };
        Fault { kind, codes }
    }

    /// The process ends by a signal: which, and what it was before, packed as XNU does.
    fn crash(signal: c_int, info: &libc::siginfo_t) -> Fault {
        const SOFTWARE: u32 = 5;
        let (kind, codes) = match signal {
            libc::SIGABRT => (SOFTWARE, [0, 0]),
            _ if info.si_code <= 0 => (SOFTWARE, [0, 0]),
            _ => {
                let Fault { kind, codes } = Fault::of(signal, info);
                (kind, codes)
            }
        };
        let number = SIGNALS_OF_XNU.iter().find(|(linux, _)| *linux == signal).map_or(signal as u64, |(_, xnu)| *xnu);
        Fault { kind: CRASH, codes: [number << 24 | u64::from(kind & 0xf) << 20 | codes[0] & 0xf_ffff, codes[1]] }
    }
}

/// Signals that have another number in XNU.
const SIGNALS_OF_XNU: [(c_int, u64); 1] = [(libc::SIGBUS, 10)];

fn tell(aside: &mut Aside, fault: &Fault, context: &mut libc::ucontext_t) -> Result<bool, Code> {
    let (port, how, flavor) = aside.exception_port(fault.kind)?;
    if !port.is_valid() {
        return Ok(false);
    }
    // One that has none gets a port for as long as its fault is dealt with.
    let known = Name(THREAD_PORT.try_with(Cell::get).unwrap_or(0));
    let thread = if known.is_valid() { known } else { aside.port_allocate()? };
    let resumed = send(aside, fault, (port, how, flavor), thread, context);
    if thread != known {
        aside.port_destroy(thread);
    }
    if resumed.is_err() {
        // Perhaps it was not sent.
        aside.deallocate(port);
    }
    resumed
}

fn send(
    aside: &mut Aside,
    fault: &Fault,
    (port, how, flavor): (Name, u32, u32),
    thread: Name,
    context: &mut libc::ucontext_t,
) -> Result<bool, Code> {
    let kind = how & !behavior::FLAGS;
    let wide = how & behavior::CODES != 0;
    let identity = matches!(kind, behavior::DEFAULT | behavior::STATE_IDENTITY);
    let state = matches!(kind, behavior::STATE | behavior::STATE_IDENTITY);
    if !identity && !state {
        return Err(Code::KERN_INVALID_ARGUMENT);
    }
    let registers = if state { Some(state::read(flavor, context).ok_or(Code::KERN_INVALID_ARGUMENT)?) } else { None };
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
        registers.words_mut().iter_mut().enumerate().for_each(|(n, register)| *register = word(RESULT + 12 + 4 * n));
        state::write(flavor, context, &registers);
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

/// What a message tells of a thread's state, in as many words as its flavour has.
struct State {
    words: [u32; State::ROOM],
    len: usize,
}

impl State {
    const ROOM: usize = 44;

    fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }
    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words[..self.len]
    }
}

/// A thread's registers, as programs for XNU know them.
#[cfg(target_arch = "x86_64")]
mod state {
    use libc::{
        REG_CR2, REG_CSGSFS, REG_EFL, REG_ERR, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP,
        REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP, REG_TRAPNO,
    };

    use super::State;

    /// `x86_THREAD_STATE64` and `x86_EXCEPTION_STATE64`; and what has one of them with a header: its flavour and its words.
    const THREAD: u32 = 4;
    const EXCEPTION: u32 = 6;
    const THREAD_OF_EITHER_WIDTH: u32 = 7;
    const EXCEPTION_OF_EITHER_WIDTH: u32 = 9;
    const HEADER: usize = 2;

    /// In its order; behind them three segments.
    const ORDER: [i32; 18] = [
        REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RDI, REG_RSI, REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13,
        REG_R14, REG_R15, REG_RIP, REG_EFL,
    ];

    /// Whether a message can tell of this.
    pub(super) fn is_known(flavor: u32) -> bool {
        matches!(flavor, THREAD | EXCEPTION | THREAD_OF_EITHER_WIDTH | EXCEPTION_OF_EITHER_WIDTH)
    }

    pub(super) fn read(flavor: u32, context: &libc::ucontext_t) -> Option<State> {
        let inner = match flavor {
            THREAD | THREAD_OF_EITHER_WIDTH => THREAD,
            EXCEPTION | EXCEPTION_OF_EITHER_WIDTH => EXCEPTION,
            _ => return None,
        };
        let mut state = State { words: [0; State::ROOM], len: if inner == flavor { 0 } else { HEADER } };
        let mut put = |word: u64| {
            state.words_mut_from(2).copy_from_slice(&[word as u32, (word >> 32) as u32]);
        };
        let registers = &context.uc_mcontext.gregs;
        let register = |at: i32| registers[at as usize] as u64;
        if inner == THREAD {
            ORDER.iter().for_each(|&at| put(register(at)));
            // Code, two unused ones, in sixteen bits each.
            let segments = register(REG_CSGSFS);
            [0, 32, 16].iter().for_each(|shift| put(segments >> shift & 0xffff));
        } else {
            // The trap's number, a processor, the error's bits; the address.
            put(register(REG_TRAPNO) & 0xffff | register(REG_ERR) << 32);
            put(register(REG_CR2));
        }
        if inner != flavor {
            state.words[..HEADER].copy_from_slice(&[inner, (state.len - HEADER) as u32]);
        }
        Some(state)
    }

    impl State {
        /// So many more words.
        fn words_mut_from(&mut self, more: usize) -> &mut [u32] {
            let from = self.len;
            self.len += more;
            &mut self.words[from..self.len]
        }
    }

    /// Segments stay. Linux sees to it that flags are what a program may set. What is told of an exception changes nothing.
    pub(super) fn write(flavor: u32, context: &mut libc::ucontext_t, state: &State) {
        let words = match flavor {
            THREAD => state.words(),
            THREAD_OF_EITHER_WIDTH if state.words[0] == THREAD => &state.words()[HEADER..],
            _ => return,
        };
        for (&at, [low, high]) in ORDER.iter().zip(words.as_chunks::<2>().0) {
            context.uc_mcontext.gregs[at as usize] = (u64::from(*high) << 32 | u64::from(*low)) as i64;
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod state {
    use super::State;

    pub(super) fn is_known(_flavor: u32) -> bool {
        false
    }
    pub(super) fn read(_flavor: u32, _context: &libc::ucontext_t) -> Option<State> {
        None
    }
    pub(super) fn write(_flavor: u32, _context: &mut libc::ucontext_t, _state: &State) {}
}

/// What can be registered: with a state, one that messages can tell of; without, any flavour that there is in XNU.
fn check_flavor(port: u32, behavior: c_int, flavor: c_int) -> Result<(), Code> {
    /// The last of XNU's flavours.
    const LAST: c_int = 32;
    let kind = behavior as u32 & !behavior::FLAGS;
    let with_state = matches!(kind, behavior::STATE | behavior::STATE_IDENTITY) && Name(port).is_valid();
    let known = if with_state { state::is_known(flavor as u32) } else { (0..=LAST).contains(&flavor) };
    if known { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
}

/// Four arrays of C's; `count` says how many rows there is room for, and then how many there are.
struct Arrays {
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
}

impl Arrays {
    /// Fills them with what a call gives. A row without room is left out, and its right given back.
    ///
    /// # Safety
    /// The pointers are null or have as much room as `count` says.
    unsafe fn fill(self, task: u32, call: impl FnOnce(&Space<'static>) -> Result<Vec<ExceptionRow>, Code>) -> Result<(), Code> {
        let Arrays { masks, count, ports, behaviors, flavors } = self;
        [masks, count, ports].into_iter().try_for_each(|at| check_out(at))?;
        [behaviors, flavors].into_iter().try_for_each(|at| check_out(at))?;
        let rows = call(&space_of(task)?)?;
        // SAFETY: the caller's word, so below.
        let room = unsafe { count.read_unaligned() } as usize;
        let (told, left_out) = rows.split_at(room.min(rows.len()));
        for (n, row) in told.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                masks.add(n).write_unaligned(row.mask);
                ports.add(n).write_unaligned(row.port.0);
                behaviors.add(n).write_unaligned(row.behavior as c_int);
                flavors.add(n).write_unaligned(row.flavor as c_int);
            }
        }
        let own = space()?;
        for row in left_out.iter().filter(|row| row.port.is_valid()) {
            // It has just been given.
            let _ = own.port_deallocate(row.port);
        }
        // SAFETY: as above.
        unsafe { put(count, told.len() as u32) }
    }
}

#[unsafe(no_mangle)]
extern "C" fn task_set_exception_ports(task: u32, mask: u32, port: u32, behavior: c_int, flavor: c_int) -> i32 {
    code((|| {
        let space = space_of(task)?;
        check_flavor(port, behavior, flavor)?;
        space.task_set_exception_ports(mask, Name(port), behavior as u32, flavor as u32)
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn task_get_exception_ports(
    task: u32,
    mask: u32,
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
) -> i32 {
    let arrays = Arrays { masks, count, ports, behaviors, flavors };
    // SAFETY: the caller's word.
    code(unsafe { arrays.fill(task, |space| space.task_get_exception_ports(mask)) })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // Mach's own
unsafe extern "C" fn task_swap_exception_ports(
    task: u32,
    mask: u32,
    port: u32,
    behavior: c_int,
    flavor: c_int,
    masks: *mut u32,
    count: *mut u32,
    ports: *mut u32,
    behaviors: *mut c_int,
    flavors: *mut c_int,
) -> i32 {
    let arrays = Arrays { masks, count, ports, behaviors, flavors };
    let swap = |space: &Space<'static>| {
        check_flavor(port, behavior, flavor)?;
        space.task_swap_exception_ports(mask, Name(port), behavior as u32, flavor as u32)
    };
    // SAFETY: the caller's word.
    code(unsafe { arrays.fill(task, swap) })
}
