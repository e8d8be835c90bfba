//! `task_info`, `host_info` and what else is told in arrays of integers, by flavours.

use std::ffi::{c_char, c_int};

use libtask::{Code, Name};
use umach_abi::task_info::{self, Usage};

use crate::process::{check_out, code, put, space, space_of};

/// Integers, in the order of a structure that C has packed to four bytes.
#[derive(Default)]
pub(crate) struct Words(Vec<i32>);

impl Words {
    pub(crate) fn word(mut self, value: u64) -> Words {
        self.0.push(i32::try_from(value).unwrap_or(i32::MAX));
        self
    }
    pub(crate) fn long(mut self, value: u64) -> Words {
        self.0.extend([value as i32, (value >> 32) as i32]);
        self
    }
    pub(crate) fn time(self, micros: u64) -> Words {
        self.word(micros / 1_000_000).word(micros % 1_000_000)
    }
    pub(crate) fn raw(mut self, values: &[u32]) -> Words {
        self.0.extend(values.iter().map(|&value| value as i32));
        self
    }

    /// # Safety
    /// `count` says for how many integers `info` has room, unless one of them is null.
    pub(crate) unsafe fn store(self, info: *mut i32, count: *mut u32) -> Result<(), Code> {
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

fn usage_of(pid: u32) -> Usage {
    let text = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    // SAFETY: asks for a number.
    let tick = 1_000_000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Usage::read(&text("stat"), &text("status"), tick, crate::ool::page() as u64)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn task_info(task: u32, flavor: u32, info: *mut i32, count: *mut u32) -> i32 {
    code((|| {
        check_out(count)?;
        // SAFETY: not null, so how much room the caller has.
        let room = unsafe { count.read_unaligned() } as usize;
        let row = space_of(task)?.task_info()?;
        let used = if task_info::asks_linux(flavor) { usage_of(row.pid) } else { Usage::default() };
        let words = task_info::words(flavor, &row, &used).and_then(|words| task_info::fitting(flavor, words, room));
        let words = words.ok_or(Code::KERN_INVALID_ARGUMENT)?;
        // SAFETY: passed on.
        unsafe { Words::default().raw(&words).store(info, count) }
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
