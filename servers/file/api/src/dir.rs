//! A directory handle.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use libtask::SendRight;

use crate::error::{FileError, Subject};
use crate::file::File;
use crate::protocol::{Access, Directory, DirectoryClient, Entry, Stat};

/// A directory of a file server. Holding it is the permission to use what is beneath it, as far as its [`Access`] goes; nothing outside it
/// can be reached through it. Paths are relative to it and are bytes: any Linux name will do.
///
/// It is a send right: it can be sent to another task ([`Dir::into_right`], [`Dir::right`]), which makes a `Dir` of it again
/// ([`Dir::from_right`]). The server closes it when the last such right is gone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Dir {
    right: SendRight<dyn Directory>,
}

/// How [`Dir::open`] opens a file; the methods mean what those of `std::fs::OpenOptions` do.
#[libtask::data]
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// What the handle shall permit.
    pub access: Access,
    /// Create it if it is not there.
    pub create: bool,
    /// Create it; fail if it is there.
    pub create_new: bool,
    /// Cut it to nothing.
    pub truncate: bool,
    /// Refuse a link at the end of the path.
    pub no_follow: bool,
    /// Permission bits of a created file, under the server's umask.
    pub mode: u32,
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

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

impl Dir {
    /// Takes a right for what it is said to be. If it is something else, the first use says so.
    pub fn from_right(right: SendRight) -> Dir {
        Dir { right: right.typed() }
    }
    /// Only the right.
    pub fn into_right(self) -> SendRight {
        self.right.untyped()
    }
    /// The right, to copy into a message.
    pub fn right(&self) -> &SendRight<dyn Directory> {
        &self.right
    }
    /// Another value for the same handle.
    pub fn duplicate(&self) -> Dir {
        Dir { right: self.right.duplicate() }
    }

    fn client(&self) -> DirectoryClient {
        self.right.duplicate().client()
    }

    /// Opens a regular file.
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<File, FileError> {
        let path = bytes(path.as_ref());
        let (right, _) = self.client().open(path, options).map_err(|error| FileError::of(error, "open", path))?;
        Ok(File::from_right(right.untyped()))
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
        self.client().mkdir(path, mode).map_err(|error| FileError::of(error, "mkdir", path))
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
        let (from, to) = (bytes(from), bytes(to));
        let target = (target != self).then(|| target.right.duplicate());
        self.client().rename(from, to, replace, target).map_err(|error| FileError::of(error, "rename", from))
    }
    /// Removes a file, link, special file or empty directory.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = bytes(path.as_ref());
        self.client().remove(path).map_err(|error| FileError::of(error, "remove", path))
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
        self.client().stat(path, follow).map_err(|error| FileError::of(error, "stat", path))
    }
    /// A symbolic link's target, as it is written there.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf, FileError> {
        let path = bytes(path.as_ref());
        let target = self.client().read_link(path).map_err(|error| FileError::of(error, "read link", path))?;
        Ok(PathBuf::from(OsString::from_vec(target)))
    }
    /// The entries, `.` and `..` left out, fetched page by page as the iterator goes. An entry that stays comes exactly once; one that comes or
    /// goes meanwhile may be seen or not.
    pub fn list(&self) -> Entries<'_> {
        Entries { dir: self, stat: false, next: Some(0), ready: VecDeque::new() }
    }
    /// The same with each entry's facts.
    pub fn list_with_stat(&self) -> Entries<'_> {
        Entries { stat: true, ..self.list() }
    }
    /// Brings the directory's entries to the disk.
    pub fn sync(&self) -> Result<(), FileError> {
        self.client().sync().map_err(|error| FileError::of(error, "sync", b""))
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
        let (right, _) = self.client().narrow(path, access).map_err(|error| FileError::of(error, "open directory", path))?;
        Ok(Dir { right })
    }
}

/// Iterator of [`Dir::list`]. After an error it ends.
#[derive(Debug)]
pub struct Entries<'d> {
    dir: &'d Dir,
    stat: bool,
    /// Where the next page begins, if there is one.
    next: Option<u64>,
    ready: VecDeque<Entry>,
}

impl Entries<'_> {
    fn fetch(&mut self, cursor: u64) -> Result<(), FileError> {
        let page = self.dir.client().list(cursor, self.stat).map_err(|error| FileError::of(error, "list", b""))?;
        // A server that points to the page just read would be followed for ever.
        if page.next == Some(cursor) && page.entries.is_empty() {
            return Err(FileError::Protocol { on: Subject::new("list", b""), detail: "a listing goes in a circle" });
        }
        self.next = page.next;
        self.ready.extend(page.entries);
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
            let cursor = self.next.take()?;
            if let Err(error) = self.fetch(cursor) {
                return Some(Err(error));
            }
        }
    }
}
