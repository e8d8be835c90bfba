//! Listing a directory page by page, with nothing kept between two pages.
//!
//! The cursor is the file system's own cookie for "after this entry" (`d_off`), which NFS relies on as well: an entry that stays where
//! it is comes exactly once, however many others come and go between two pages. A page opens the directory anew, so two listings
//! of one handle do not move each other's position, and a client that stops in the middle leaves nothing behind. A forged cursor
//! starts somewhere else in the same directory, no more.

use std::mem::MaybeUninit;

use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom};
use umach_file_api::error::Fault;
use umach_file_api::protocol::{Entry, NAME_MAX, PAGE_MAX, Page};

use super::{Directory, Result, failure, kind_of, retry, stat_of};

/// No entry is larger.
const ENTRY_MAX: usize = NAME_MAX + 112;
/// Room for one batch of getdents; a name and its record fit many times.
const BATCH: usize = 32 * 1024;

impl Directory {
    /// The entries from `cursor` on, `.` and `..` left out. A page may be empty and yet have a next one.
    pub fn list(&self, cursor: u64, with_stat: bool) -> Result<Page> {
        let directory = self.open_for_reading().map_err(|error| match error.fault() {
            // The descriptor is there, the directory is not: it was removed.
            Some(Fault::NotFound) => Fault::Stale.into(),
            _ => error,
        })?;
        if cursor != 0 {
            if cursor > i64::MAX as u64 {
                return Err(Fault::InvalidArgument.into());
            }
            retry(|| rustix::fs::seek(&directory, SeekFrom::Start(cursor)))?;
        }
        let mut page = Page { entries: Vec::new(), next: None };
        let mut room = PAGE_MAX;
        let mut buffer = [MaybeUninit::<u8>::uninit(); BATCH];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::NOENT) => return Err(Fault::Stale.into()),
                Err(errno) => return Err(failure(errno)),
            };
            let name = entry.file_name();
            page.next = Some(entry.next_entry_cookie());
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let need_stat = with_stat || entry.file_type() == FileType::Unknown;
            let stat = need_stat.then(|| rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW).ok()).flatten();
            let stat = stat.as_ref().map(stat_of);
            let kind = stat.map_or(kind_of(entry.file_type()), |stat| stat.kind);
            let entry = Entry::new(name.to_bytes(), kind, entry.ino(), stat.filter(|_| with_stat));
            room -= entry.size_max();
            page.entries.push(entry);
            if room < ENTRY_MAX {
                return Ok(page);
            }
        }
        page.next = None;
        Ok(page)
    }
}
