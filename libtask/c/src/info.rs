//! `task_info`, `host_info` and what else is told in arrays of integers, by flavours.

use std::ffi::{c_char, c_int};

use libtask::raw::TaskRow;
use libtask::{Code, Name};

use crate::process::{check_out, code, put, space, space_of};

/// Integers, in the order of a structure that C has packed to four bytes.
#[derive(Default)]
struct Words(Vec<i32>);

impl Words {
    fn word(mut self, value: u64) -> Words {
        self.0.push(i32::try_from(value).unwrap_or(i32::MAX));
        self
    }
    fn long(mut self, value: u64) -> Words {
        self.0.extend([value as i32, (value >> 32) as i32]);
        self
    }
    fn time(self, micros: u64) -> Words {
        self.word(micros / 1_000_000).word(micros % 1_000_000)
    }
    fn raw(mut self, values: &[u32]) -> Words {
        self.0.extend(values.iter().map(|&value| value as i32));
        self
    }

    /// # Safety
    /// `count` says for how many integers `info` has room, unless one of them is null.
    unsafe fn store(self, info: *mut i32, count: *mut u32) -> Result<(), Code> {
        check_out(info)?;
        check_out(count)?;
        // SAFETY: the caller's word, so below.
        if (unsafe { count.read_unaligned() } as usize) < self.0.len() {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        // SAFETY: as above.
        unsafe {
            info.copy_from(self.0.as_ptr(), self.0.len());
            put(count, self.0.len() as u32)
        }
    }
}

/// What Linux says of a process: sizes in bytes, times in microseconds. Zeros if it says nothing.
#[derive(Default)]
struct Usage {
    virtual_size: u64,
    resident: u64,
    resident_max: u64,
    user: u64,
    system: u64,
}

impl Usage {
    fn of(pid: u32) -> Usage {
        let text = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = text("status");
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        // Behind the program's name, which may have anything in it.
        let stat = text("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        // SAFETY: asks for a number.
        let tick = 1_000_000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
        let time = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * tick;
        Usage { virtual_size: kib("VmSize:"), resident: kib("VmRSS:"), resident_max: kib("VmHWM:"), user: time(11), system: time(12) }
    }
}

mod task_flavor {
    pub(super) const EVENTS: u32 = 2;
    pub(super) const THREAD_TIMES: u32 = 3;
    pub(super) const BASIC_32: u32 = 4;
    pub(super) const BASIC_64: u32 = 5;
    pub(super) const SECURITY_TOKEN: u32 = 13;
    pub(super) const AUDIT_TOKEN: u32 = 15;
    pub(super) const BASIC_64_2: u32 = 18;
    pub(super) const MACH_BASIC: u32 = 20;
}

const TIMESHARE: u64 = 1;

fn task_words(flavor: u32, row: &TaskRow) -> Result<Words, Code> {
    let words = Words::default();
    let usage = || Usage::of(row.pid);
    Ok(match flavor {
        task_flavor::BASIC_32 => {
            let used = usage();
            words.word(row.suspended.into()).word(used.virtual_size).word(used.resident).time(used.user).time(used.system).word(TIMESHARE)
        }
        task_flavor::BASIC_64 | task_flavor::BASIC_64_2 => {
            let used = usage();
            words.word(row.suspended.into()).long(used.virtual_size).long(used.resident).time(used.user).time(used.system).word(TIMESHARE)
        }
        task_flavor::MACH_BASIC => {
            let used = usage();
            let sizes = words.long(used.virtual_size).long(used.resident).long(used.resident_max);
            sizes.time(used.user).time(used.system).word(TIMESHARE).word(row.suspended.into())
        }
        task_flavor::THREAD_TIMES => {
            let used = usage();
            words.time(used.user).time(used.system)
        }
        // Faults, page-ins, copy-on-write faults, messages sent and received, Mach and Unix calls, switches: only messages are counted.
        task_flavor::EVENTS => words.word(0).word(0).word(0).word(row.sent).word(row.received).word(0).word(0).word(0),
        task_flavor::SECURITY_TOKEN => words.raw(&[row.uid, row.gid]),
        task_flavor::AUDIT_TOKEN => {
            let (low, high) = (row.task as u32, (row.task >> 32) as u32);
            words.raw(&[row.uid, row.uid, row.gid, row.uid, row.gid, row.pid, low, high])
        }
        _ => return Err(Code::KERN_INVALID_ARGUMENT),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn task_info(task: u32, flavor: u32, info: *mut i32, count: *mut u32) -> i32 {
    code((|| {
        let row = space_of(task).map_err(|_| Code::KERN_INVALID_ARGUMENT)?.task_info()?;
        // SAFETY: passed on.
        unsafe { task_words(flavor, &row)?.store(info, count) }
    })())
}

mod host_flavor {
    pub(super) const BASIC: c_int = 1;
    pub(super) const SCHEDULING: c_int = 3;
    pub(super) const PRIORITIES: c_int = 5;
    use std::ffi::c_int;
}

/// Whether the caller names a host right.
fn check_host(host: u32) -> Result<(), Code> {
    let space = space()?;
    if Name(host) == space.host_self() {
        return Ok(());
    }
    space.host_info(Name(host)).map(drop).map_err(|_| Code::KERN_INVALID_HOST)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn host_info(host: u32, flavor: c_int, info: *mut i32, count: *mut u32) -> i32 {
    const X86: u64 = 7;
    const ARM: u64 = 12;
    const ABI64: u64 = 0x0100_0000;
    let words = Words::default();
    code((|| {
        check_host(host)?;
        let words = match flavor {
            host_flavor::BASIC => {
                // SAFETY: asks for numbers.
                let ask = |what| unsafe { libc::sysconf(what) }.max(1) as u64;
                let (all, online) = (ask(libc::_SC_NPROCESSORS_CONF), ask(libc::_SC_NPROCESSORS_ONLN));
                let memory = ask(libc::_SC_PHYS_PAGES) * ask(libc::_SC_PAGESIZE);
                let (kind, variant) = if cfg!(target_arch = "x86_64") { (X86 | ABI64, 3) } else { (ARM | ABI64, 0) };
                let cpus = words.word(all).word(online).word(memory).word(kind).word(variant).word(0);
                cpus.word(online).word(all).word(online).word(all).long(memory)
            }
            host_flavor::SCHEDULING => words.word(10).word(10),
            host_flavor::PRIORITIES => [0, 80, 64, 64, 0, 0, 0, 79].into_iter().fold(words, Words::word),
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        // SAFETY: passed on.
        unsafe { words.store(info, count) }
    })())
}

/// # Safety
/// `version` has room for 512 bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn host_kernel_version(host: u32, version: *mut c_char) -> i32 {
    code((|| {
        check_host(host)?;
        check_out(version)?;
        let linux = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let text = format!("umach {} on Linux {}", env!("CARGO_PKG_VERSION"), linux.trim());
        let len = text.len().min(511);
        // SAFETY: the caller's word.
        unsafe {
            version.cast::<u8>().copy_from(text.as_ptr(), len);
            version.add(len).write(0);
        }
        Ok(())
    })())
}
