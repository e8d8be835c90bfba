//! The files that a process runs code of: its program, and the shared libraries that it has loaded. Interfaces are looked for in all of them.
//!
//! What a process maps, and what stands there, is its own allegation: it may have mapped anything, and files may have been replaced since. So nothing here waits (what is
//! no regular file is left out), the number and size of files is bounded, and what is found is said to be what the process claims.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use anyhow::{Context, Result};
use umach_describe::{Description, scan};

/// More files of one process, and more bytes of all of them together, are not looked into.
const FILES_MAX: usize = 256;
const BYTES_MAX: u64 = 1 << 30;

/// A file of a process.
#[derive(Debug)]
pub(crate) struct Program {
    file: File,
    len: u64,
    /// Device and inode, and when it was changed: the same for all processes that have it.
    pub(crate) id: (u64, u64, i64),
}

impl Program {
    fn open(path: &str) -> io::Result<Program> {
        // A pipe in the place of a file must not stop us.
        let nonblock = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(nonblock.bits() as i32).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Program { file, len: meta.len(), id: (meta.dev(), meta.ino(), meta.mtime_nsec() ^ meta.mtime() << 30) })
    }
    /// The interfaces that are described in it; damaged ones are left out.
    pub(crate) fn interfaces(self) -> io::Result<Vec<Description>> {
        let mut bytes = Vec::new();
        self.file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(scan(&bytes).into_iter().filter_map(|found| found.description.ok()).collect())
    }
}

/// The files of a process, its program first. Fails if that cannot be read: the process is gone, or another user's.
pub(crate) fn programs_of(pid: u32) -> io::Result<Vec<Program>> {
    let main = Program::open(&format!("/proc/{pid}/exe"))?;
    let mut seen = BTreeSet::from([main.id]);
    let mut left = BYTES_MAX.saturating_sub(main.len);
    let mut all = vec![main];
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    for mapping in maps.lines().filter_map(Mapping::read) {
        if all.len() >= FILES_MAX {
            break;
        }
        // The first is the very file, whatever its path means now, but takes a privilege.
        let paths = [format!("/proc/{pid}/map_files/{}", mapping.at), format!("/proc/{pid}/root{}", mapping.path)];
        let found = paths.iter().find_map(|path| Program::open(path).ok().filter(|program| program.id.1 == mapping.inode));
        if let Some(program) = found.filter(|program| program.len <= left)
            && seen.insert(program.id)
        {
            left -= program.len;
            all.push(program);
        }
    }
    Ok(all)
}

/// The interfaces in all files of a process, each once.
pub(crate) fn interfaces_of(pid: u32) -> Result<Vec<Description>> {
    let mut all: Vec<Description> = Vec::new();
    for program in programs_of(pid).with_context(|| format!("look into process {pid}"))? {
        for found in program.interfaces().unwrap_or_default() {
            if !all.contains(&found) {
                all.push(found);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// A line of `/proc/PID/maps` that has code of a file.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    at: &'a str,
    inode: u64,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn read(line: &'a str) -> Option<Mapping<'a>> {
        let mut parts = line.splitn(6, ' ');
        let (at, modes, _offset, _device, inode) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (inode, path) = (inode.parse().ok()?, parts.next()?.trim_start());
        (modes.contains('x') && inode != 0 && path.starts_with('/')).then_some(Mapping { at, inode, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_read_from_the_list_of_mappings() {
        let line = "7f01-7f02 r-xp 0001f000 fd:01 4711                     /usr/lib/with a space.so";
        assert_eq!(Mapping::read(line), Some(Mapping { at: "7f01-7f02", inode: 4711, path: "/usr/lib/with a space.so" }));
        for line in [
            "7f01-7f02 r--p 0001f000 fd:01 4711                     /usr/lib/a.so",
            "7f01-7f02 r-xp 00000000 00:00 0                        [vdso]",
            "7f01-7f02 r-xp 00000000 00:00 0 ",
            "7f01-7f02 r-xp 00000000 fd:01 4711                     relative",
            "nonsense",
            "",
        ] {
            assert_eq!(Mapping::read(line), None, "{line}");
        }
    }

    #[test]
    fn own_program_and_libraries_are_found_each_once() {
        let all = programs_of(std::process::id()).unwrap();
        let own = std::fs::metadata("/proc/self/exe").unwrap();
        assert_eq!((all[0].id.0, all[0].id.1), (own.dev(), own.ino()));
        assert!(all.len() > 1, "the C library at least: {all:?}");
        let ids: BTreeSet<_> = all.iter().map(|program| program.id).collect();
        assert_eq!(ids.len(), all.len());
        assert!(programs_of(u32::MAX).is_err());
    }
}
