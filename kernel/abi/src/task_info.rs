//! `task_info`: what is told of a task, as XNU's arrays of integers. The kernel process and the C library tell the same.

use crate::records::TaskRow;

/// The flavours that are told (`TASK_*_INFO`), with XNU's numbers.
pub mod flavor {
    /// `TASK_ABSOLUTETIME_INFO`.
    pub const ABSOLUTE_TIMES: u32 = 1;
    /// `TASK_EVENTS_INFO`.
    pub const EVENTS: u32 = 2;
    /// `TASK_THREAD_TIMES_INFO`.
    pub const THREAD_TIMES: u32 = 3;
    /// `TASK_BASIC_INFO_32`.
    pub const BASIC_32: u32 = 4;
    /// `TASK_BASIC_INFO_64`.
    pub const BASIC_64: u32 = 5;
    /// `TASK_BASIC2_INFO_32`.
    pub const BASIC2_32: u32 = 6;
    /// `TASK_SECURITY_TOKEN`.
    pub const SECURITY_TOKEN: u32 = 13;
    /// `TASK_AUDIT_TOKEN`.
    pub const AUDIT_TOKEN: u32 = 15;
    /// `TASK_BASIC_INFO_64_2`.
    pub const BASIC_64_2: u32 = 18;
    /// `MACH_TASK_BASIC_INFO`.
    pub const MACH_BASIC: u32 = 20;
    /// `TASK_VM_INFO`.
    pub const MEMORY: u32 = 22;
}

/// `POLICY_TIMESHARE`.
const TIMESHARE: u64 = 1;

/// What Linux says of a process. All zeros if it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes mapped.
    pub virtual_size: u64,
    /// Bytes in memory.
    pub resident: u64,
    /// The most there ever were.
    pub resident_max: u64,
    /// Bytes in memory of no file.
    pub anonymous: u64,
    /// Bytes of no file that Linux has put elsewhere.
    pub swapped: u64,
    /// Bytes of a page.
    pub page: u64,
    /// Microseconds in the program.
    pub user: u64,
    /// Microseconds in Linux for it.
    pub system: u64,
    /// Page faults.
    pub faults: u64,
    /// Those of them for which something was read from a disk.
    pub page_ins: u64,
}

impl Usage {
    /// From the texts of `/proc/PID/stat` and `/proc/PID/status`, how many microseconds a tick of the former has, and how many bytes a page.
    pub fn read(stat: &str, status: &str, tick: u64, page: u64) -> Usage {
        // Behind the program's name, which may have anything in it.
        let mut fields =
            stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        // `nth` counts on from where it was: minor and major faults, then times.
        let minor = fields.nth(7).unwrap_or(0);
        let page_ins = fields.nth(1).unwrap_or(0);
        let (user, system) = (fields.nth(1).unwrap_or(0), fields.next().unwrap_or(0));
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Usage {
            virtual_size: kib("VmSize:"),
            resident: kib("VmRSS:"),
            resident_max: kib("VmHWM:"),
            anonymous: kib("RssAnon:"),
            swapped: kib("VmSwap:"),
            page,
            user: user * tick,
            system: system * tick,
            faults: minor + page_ins,
            page_ins,
        }
    }
}

/// Integers, in the order of a structure that C has packed to four bytes.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    /// XNU's fields of this size are signed.
    fn word(mut self, value: u64) -> Words {
        self.0.push(value.min(i32::MAX as u64) as u32);
        self
    }
    fn long(self, value: u64) -> Words {
        self.raw(&[value as u32, (value >> 32) as u32])
    }
    fn time(self, micros: u64) -> Words {
        self.word(micros / 1_000_000).word(micros % 1_000_000)
    }
    fn raw(mut self, values: &[u32]) -> Words {
        self.0.extend_from_slice(values);
        self
    }
}

/// Whether a flavour tells what Linux has to be asked about.
pub fn asks_linux(which: u32) -> bool {
    !matches!(which, flavor::SECURITY_TOKEN | flavor::AUDIT_TOKEN)
}

/// `task_vm_info`, up to its second revision. Ranges, devices, what can be used again or purged, and most peaks are not counted.
fn memory(words: Words, used: &Usage) -> Words {
    let zeros = |words: Words, count: usize| (0..count).fold(words, |words, _| words.long(0));
    let files = used.resident.saturating_sub(used.anonymous);
    let words = words.long(used.virtual_size).word(0).word(used.page).long(used.resident).long(used.resident_max);
    let words = zeros(words, 2).long(used.anonymous).long(0).long(files).long(0);
    // Behind those, what is compressed, its peak, and its sum.
    let words = zeros(words, 5).long(used.swapped).long(used.swapped).long(used.swapped);
    words.long(used.anonymous + used.swapped).long(0).long(MAX_ADDRESS)
}

/// As in `<mach/vm_param.h>`.
const MAX_ADDRESS: u64 = 0x7fff_ffff_ffff;

/// Of the array of one flavour, what fits into `room` words: all of it, or of one that has grown in XNU an earlier form. `None`: nothing does.
pub fn fitting(which: u32, mut words: Vec<u32>, room: usize) -> Option<Vec<u32>> {
    /// Lengths of `task_vm_info`.
    const REVISIONS: [usize; 3] = [42, 38, 36];
    let len = if which == flavor::MEMORY { REVISIONS.into_iter().find(|&len| len <= room)? } else { words.len() };
    words.truncate(len);
    (words.len() <= room).then_some(words)
}

/// The array of one flavour; `None` if there is none of this number.
pub fn words(which: u32, row: &TaskRow, used: &Usage) -> Option<Vec<u32>> {
    let words = Words::default();
    let suspended = row.suspended.into();
    Some(
        match which {
            // The first has the most that was ever in memory, in place of what is.
            flavor::BASIC_32 | flavor::BASIC2_32 => {
                let resident = if which == flavor::BASIC2_32 { used.resident_max } else { used.resident };
                words.word(suspended).word(used.virtual_size).word(resident).time(used.user).time(used.system).word(TIMESHARE)
            }
            flavor::BASIC_64 | flavor::BASIC_64_2 => {
                words.word(suspended).long(used.virtual_size).long(used.resident).time(used.user).time(used.system).word(TIMESHARE)
            }
            flavor::MACH_BASIC => {
                let sizes = words.long(used.virtual_size).long(used.resident).long(used.resident_max);
                sizes.time(used.user).time(used.system).word(TIMESHARE).word(suspended)
            }
            // Threads that live are not told apart from those that have ended.
            flavor::ABSOLUTE_TIMES => {
                let (user, system) = (1000 * used.user, 1000 * used.system);
                words.long(user).long(system).long(user).long(system)
            }
            flavor::MEMORY => memory(words, used),
            flavor::THREAD_TIMES => words.time(used.user).time(used.system),
            // Copy-on-write faults, Mach and Unix calls and switches are not counted.
            flavor::EVENTS => {
                let words = words.word(used.faults).word(used.page_ins).word(0);
                words.word(row.sent).word(row.received).word(0).word(0).word(0)
            }
            flavor::SECURITY_TOKEN => words.raw(&[row.uid, row.gid]),
            flavor::AUDIT_TOKEN => {
                let (low, high) = (row.task as u32, (row.task >> 32) as u32);
                words.raw(&[row.uid, row.uid, row.gid, row.uid, row.gid, row.pid, low, high])
            }
            _ => return None,
        }
        .0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_linux_are_read() {
        let stat = "12 (a (odd) name) S 1 2 3 4 5 6 70 8 9 10 111 222 13 14";
        let status = "Name:\todd\nVmSize:\t   20 kB\nVmHWM:\t 12 kB\nVmRSS:\t    8 kB\nRssAnon:\t 4 kB\nVmSwap: 16 kB\n";
        let used = Usage::read(stat, status, 10_000, 4096);
        let sizes = (used.virtual_size, used.resident, used.resident_max);
        assert_eq!(sizes, (20 << 10, 8 << 10, 12 << 10));
        assert_eq!((used.anonymous, used.swapped, used.page), (4 << 10, 16 << 10, 4096));
        assert_eq!((used.user, used.system, used.faults, used.page_ins), (1_110_000, 2_220_000, 79, 9));
        assert_eq!(Usage::read("", "", 1, 0), Usage::default());
    }

    #[test]
    fn arrays_have_the_lengths_of_xnu() {
        let len = |which| words(which, &TaskRow::default(), &Usage::default()).map(|words| words.len());
        let lens = [(1, 8), (2, 8), (3, 4), (4, 8), (5, 10), (6, 8), (13, 2), (15, 8), (18, 10), (20, 12), (22, 42)];
        for (which, expected) in lens {
            assert_eq!(len(which), Some(expected), "flavour {which}");
        }
        assert_eq!(len(7), None);
    }

    #[test]
    fn memory_has_earlier_forms() {
        let used = Usage { anonymous: 5, swapped: 2, ..Usage::default() };
        let fit = |room| fitting(22, words(22, &TaskRow::default(), &used).unwrap(), room);
        let len = |room| fit(room).map(|words| words.len());
        assert_eq!([35, 36, 37, 38, 41, 42, 99].map(len), [None, Some(36), Some(36), Some(38), Some(38), Some(42), Some(42)]);
        assert_eq!(fit(38).unwrap()[36], 7);
        assert_eq!(fitting(13, vec![1, 2], 1), None);
    }
}
