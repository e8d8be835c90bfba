//! A directory handle.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libtask::{Message, SendRight};

use crate::error::{FileError, Subject};
use crate::file::File;
use crate::protocol::{self, Access, GetStat, Kind, List, Mkdir, Narrow, Open, RawEntry, ReadLink, Remove, Rename, Stat, Sync, call};

/// A directory of a file server. Holding it is the permission to use what is beneath it, as far as its [`Access`] goes; nothing outside it
/// can be reached through it. Paths are relative to it and are bytes: any Linux name will do.
///
/// It is a send right: it can be sent to another task ([`Dir::into_right`], [`Dir::right`]), which makes a `Dir` of it again
/// ([`Dir::from_right`]). The server closes it when the last such right is gone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Dir {
    right: SendRight,
}

/// How [`Dir::open`] opens a file; the methods mean what those of `std::fs::OpenOptions` do.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    access: Access,
    create: bool,
    create_new: bool,
    truncate: bool,
    no_follow: bool,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions { access: Access::empty(), create: false, create_new: false, truncate: false, no_follow: false, mode: 0o666 }
    }
}

impl OpenOptions {
    /// Nothing asked for yet.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }
    fn access(mut self, bit: Access, yes: bool) -> OpenOptions {
        self.access.set(bit, yes);
        self
    }
    /// For reading.
    pub fn read(self, yes: bool) -> OpenOptions {
        self.access(Access::READ, yes)
    }
    /// For writing anywhere.
    pub fn write(self, yes: bool) -> OpenOptions {
        self.access(Access::WRITE, yes)
    }
    /// For adding at the end; without `write`, the handle can do nothing else to the file.
    pub fn append(self, yes: bool) -> OpenOptions {
        self.access(Access::APPEND, yes)
    }
    /// Cut it to nothing; needs `write`.
    pub fn truncate(self, yes: bool) -> OpenOptions {
        OpenOptions { truncate: yes, ..self }
    }
    /// Create it if it is not there.
    pub fn create(self, yes: bool) -> OpenOptions {
        OpenOptions { create: yes, ..self }
    }
    /// Create it; fail if it is there.
    pub fn create_new(self, yes: bool) -> OpenOptions {
        OpenOptions { create_new: yes, ..self }
    }
    /// Refuse a symbolic link at the end of the path. (Links that stay in the tree are followed otherwise; others never.)
    pub fn no_follow(self, yes: bool) -> OpenOptions {
        OpenOptions { no_follow: yes, ..self }
    }
    /// Permission bits of a created file, under the server's umask.
    pub fn mode(self, mode: u32) -> OpenOptions {
        OpenOptions { mode, ..self }
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    name: OsString,
    kind: Kind,
    inode: u64,
    stat: Option<Stat>,
}

impl Entry {
    /// Its name: one component, bytes that may be no UTF-8.
    pub fn name(&self) -> &OsStr {
        &self.name
    }
    /// What it is; a link is a link.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// Inode number.
    pub fn inode(&self) -> u64 {
        self.inode
    }
    /// Its facts, from [`Dir::list_with_stat`], unless it went away meanwhile.
    pub fn stat(&self) -> Option<&Stat> {
        self.stat.as_ref()
    }
}

impl From<RawEntry> for Entry {
    fn from(raw: RawEntry) -> Entry {
        Entry { name: OsString::from_vec(raw.name), kind: raw.kind, inode: raw.inode, stat: raw.stat }
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

impl Dir {
    /// Takes a right for what it is said to be. If it is something else, the first use says so.
    pub fn from_right(right: SendRight) -> Dir {
        Dir { right }
    }
    /// Only the right.
    pub fn into_right(self) -> SendRight {
        self.right
    }
    /// The right, to copy into a message.
    pub fn right(&self) -> &SendRight {
        &self.right
    }
    /// Another value for the same handle.
    pub fn duplicate(&self) -> Dir {
        Dir { right: self.right.duplicate() }
    }

    /// Opens a regular file.
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<File, FileError> {
        let path = bytes(path.as_ref());
        let subject = Subject::new("open", &path);
        let OpenOptions { access, create, create_new, truncate, no_follow, mode } = options;
        let (_, mut answer) = call(&self.right, &Open { path, access, create, create_new, truncate, no_follow, mode }, &subject, |m| m)?;
        Ok(File::from_right(protocol::take_right(&mut answer, &subject)?))
    }
    /// Opens a regular file for reading.
    pub fn open_read(&self, path: impl AsRef<Path>) -> Result<File, FileError> {
        self.open(path, OpenOptions::new().read(true))
    }
    /// Creates a file, or cuts one that is there to nothing, for reading and writing.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<File, FileError> {
        self.open(path, OpenOptions::new().read(true).write(true).create(true).truncate(true))
    }
    /// Makes a directory.
    pub fn mkdir(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        self.mkdir_mode(path, 0o777)
    }
    /// Makes a directory with these permission bits, under the server's umask.
    pub fn mkdir_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<(), FileError> {
        let path = bytes(path.as_ref());
        let subject = Subject::new("mkdir", &path);
        call(&self.right, &Mkdir { path, mode }, &subject, |m| m).map(|_| ())
    }
    /// Renames what `from` names here to `to` in `target` (which may be this directory), replacing what is there.
    pub fn rename(&self, from: impl AsRef<Path>, target: &Dir, to: impl AsRef<Path>) -> Result<(), FileError> {
        self.rename_how(from.as_ref(), target, to.as_ref(), true)
    }
    /// The same, but fails if the target exists.
    pub fn rename_new(&self, from: impl AsRef<Path>, target: &Dir, to: impl AsRef<Path>) -> Result<(), FileError> {
        self.rename_how(from.as_ref(), target, to.as_ref(), false)
    }
    fn rename_how(&self, from: &Path, target: &Dir, to: &Path, replace: bool) -> Result<(), FileError> {
        let subject = Subject::new("rename", from.as_os_str().as_bytes());
        let carry = |message: Message| if target == self { message } else { message.copy_send(&target.right) };
        call(&self.right, &Rename { from: bytes(from), to: bytes(to), replace }, &subject, carry).map(|_| ())
    }
    /// Removes a file, link, special file or empty directory.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = bytes(path.as_ref());
        let subject = Subject::new("remove", &path);
        call(&self.right, &Remove { path }, &subject, |m| m).map(|_| ())
    }
    /// Facts about what a path leads to; links that stay in the tree are followed.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Stat, FileError> {
        self.stat_how(path.as_ref(), true)
    }
    /// The same, of a link itself.
    pub fn link_stat(&self, path: impl AsRef<Path>) -> Result<Stat, FileError> {
        self.stat_how(path.as_ref(), false)
    }
    /// Facts about this directory.
    pub fn own_stat(&self) -> Result<Stat, FileError> {
        self.stat_how(Path::new(""), true)
    }
    fn stat_how(&self, path: &Path, follow: bool) -> Result<Stat, FileError> {
        let path = bytes(path);
        let subject = Subject::new("stat", &path);
        call(&self.right, &GetStat { path, follow }, &subject, |m| m).map(|(stat, _)| stat)
    }
    /// A symbolic link's target, as it is written there.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf, FileError> {
        let path = bytes(path.as_ref());
        let subject = Subject::new("read link", &path);
        call(&self.right, &ReadLink { path }, &subject, |m| m).map(|(target, _)| PathBuf::from(OsString::from_vec(target)))
    }
    /// The entries, `.` and `..` left out, fetched page by page as the iterator goes. An entry that stays comes exactly once; one that comes or
    /// goes meanwhile may be seen or not.
    pub fn list(&self) -> Entries<'_> {
        Entries { dir: self, stat: false, pages: Pages::Next(0), ready: VecDeque::new() }
    }
    /// The same with each entry's facts.
    pub fn list_with_stat(&self) -> Entries<'_> {
        Entries { stat: true, ..self.list() }
    }
    /// Brings the directory's entries to the disk.
    pub fn sync(&self) -> Result<(), FileError> {
        call(&self.right, &Sync { data_only: false }, &Subject::new("sync", b""), |m| m).map(|_| ())
    }
    /// A handle of a sub-directory, with this one's permissions: whoever has it cannot come back up.
    pub fn subdir(&self, path: impl AsRef<Path>) -> Result<Dir, FileError> {
        self.narrow_how(path.as_ref(), None)
    }
    /// A handle of this directory with fewer permissions.
    pub fn narrow(&self, access: Access) -> Result<Dir, FileError> {
        self.narrow_how(Path::new(""), Some(access))
    }
    /// A handle of this directory for reading only: so is all that is opened through it.
    pub fn read_only(&self) -> Result<Dir, FileError> {
        self.narrow(Access::READ)
    }
    fn narrow_how(&self, path: &Path, access: Option<Access>) -> Result<Dir, FileError> {
        let path = bytes(path);
        let subject = Subject::new("open directory", &path);
        let (opened, mut answer) = call(&self.right, &Narrow { path, access }, &subject, |m| m)?;
        if opened.stat.kind != Kind::Directory {
            return Err(FileError::NotDirectory(subject));
        }
        Ok(Dir::from_right(protocol::take_right(&mut answer, &subject)?))
    }
}

/// Iterator of [`Dir::list`]. After an error it ends.
#[derive(Debug)]
pub struct Entries<'d> {
    dir: &'d Dir,
    stat: bool,
    pages: Pages,
    ready: VecDeque<Entry>,
}

#[derive(Debug)]
enum Pages {
    Next(u64),
    Done,
}

impl Entries<'_> {
    fn fetch(&mut self, cursor: u64) -> Result<(), FileError> {
        let subject = Subject::new("list", b"");
        self.pages = Pages::Done;
        let (page, mut answer) = call(&self.dir.right, &List { cursor, stat: self.stat }, &subject, |m| m)?;
        let rows = protocol::take_memory(&mut answer, &subject)?;
        let Some(entries) = protocol::read_entries(&rows, page.count) else {
            return Err(FileError::Protocol { on: subject, detail: "a page of a listing is malformed" });
        };
        self.ready.extend(entries.into_iter().map(Entry::from));
        if let Some(next) = page.next {
            // A server that points to the page just read would be followed for ever.
            if next == cursor && page.count == 0 {
                return Err(FileError::Protocol { on: subject, detail: "a listing goes in a circle" });
            }
            self.pages = Pages::Next(next);
        }
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, FileError>;
    fn next(&mut self) -> Option<Result<Entry, FileError>> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            let Pages::Next(cursor) = self.pages else { return None };
            if let Err(error) = self.fetch(cursor) {
                return Some(Err(error));
            }
        }
    }
}
