//! A fault in Mach's words.

use std::ffi::c_int;

use libtask::Code;

const BAD_ACCESS: u32 = 1;
const BAD_INSTRUCTION: u32 = 2;
const ARITHMETIC: u32 = 3;
const BREAKPOINT: u32 = 6;

const CRASH: u32 = 10;

/// Its kind and its codes.
pub(super) struct Fault {
    pub(super) kind: u32,
    pub(super) codes: [u64; 2],
}

impl Fault {
    pub(super) fn of(signal: c_int, info: &libc::siginfo_t) -> Fault {
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
    pub(super) fn crash(signal: c_int, info: &libc::siginfo_t) -> Fault {
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
