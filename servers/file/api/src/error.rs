//! What can go wrong, twice: [`Fault`] is what the server answers (a stable number and the errno behind it), [`FileError`] is what the
//! caller sees: the same fault with the operation and the name it was tried on, which only the client knows.
//!
//! One table makes both, so a fault cannot lack its sentence or its advice.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

/// Operation and name that an error speaks of; displays as `open "a/b"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What was tried: `open`, `read`, ...
    pub operation: &'static str,
    /// The path as given, relative to the directory handle it was given to; empty for the handle itself.
    pub path: Vec<u8>,
}

impl Subject {
    /// An operation on a path.
    pub fn new(operation: &'static str, path: &[u8]) -> Subject {
        Subject { operation, path: path.to_vec() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_slice() {
            [] => write!(f, "{} on this handle", self.operation),
            // Names are bytes; Debug shows every one of them, also those that are no UTF-8, and cuts nothing.
            path => write!(f, "{} {:?}", self.operation, OsStr::from_bytes(path)),
        }
    }
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $number:literal $Fault:ident, $io:ident, $meaning:literal, $advice:literal;)*) => {
        /// Why the server refused, or what the file system answered. The numbers are the protocol's and never change meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Fault {
            $($(#[doc = $doc])* $Fault = $number,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Fault] = &[$(Fault::$Fault),*];

            /// From the wire.
            pub fn from_number(number: u16) -> Option<Fault> {
                Some(match number { $($number => Fault::$Fault,)* _ => return None })
            }
            /// What happened, in one clause.
            pub fn meaning(self) -> &'static str {
                match self { $(Fault::$Fault => $meaning,)* }
            }
            /// What to try.
            pub fn advice(self) -> &'static str {
                match self { $(Fault::$Fault => $advice,)* }
            }
            /// The nearest of the standard library's kinds.
            pub fn io_kind(self) -> io::ErrorKind {
                match self { $(Fault::$Fault => io::ErrorKind::$io,)* }
            }
        }

        /// Why an operation on a directory or file failed: what, on what, and what to try.
        #[derive(Debug, thiserror::Error)]
        pub enum FileError {
            $(
                $(#[doc = $doc])*
                #[error("{0}: {meaning}; {advice}", meaning = $meaning, advice = $advice)]
                $Fault(Subject),
            )*
            /// The file system answered an error that has no name of its own here.
            #[error("{on}: {error}; see the error number's meaning for this file system", error = io::Error::from_raw_os_error(*.errno))]
            Other {
                /// Operation and name.
                on: Subject,
                /// Linux's error number.
                errno: i32,
            },
            /// The server closed this handle or died.
            #[error("{on}: the handle is stale, the file server has closed it or died; look the server up again and open anew ({source})")]
            Gone {
                /// Operation and name.
                on: Subject,
                /// What the kernel process said.
                source: libtask::Error,
            },
            /// The message could not be sent or its answer not received.
            #[error("{on}: {source}")]
            Ipc {
                /// Operation and name.
                on: Subject,
                /// What failed underneath.
                source: libtask::Error,
            },
            /// The answer is not one that a file server gives.
            #[error("{on}: the answer makes no sense ({detail}); the right is not a file server's, or versions differ: check where it came from")]
            Protocol {
                /// Operation and name.
                on: Subject,
                /// What is wrong with it.
                detail: &'static str,
            },
        }

        impl FileError {
            /// The error for a server's answer.
            pub fn new(failure: Failure, on: Subject) -> FileError {
                match Fault::from_number(failure.fault) {
                    $(Some(Fault::$Fault) => FileError::$Fault(on),)*
                    None if failure.errno != 0 => FileError::Other { on, errno: failure.errno },
                    None => FileError::Protocol { on, detail: "unknown fault number" },
                }
            }
            /// The server's fault; `None` if the error came from elsewhere.
            pub fn fault(&self) -> Option<Fault> {
                match self { $(FileError::$Fault(_) => Some(Fault::$Fault),)* _ => None }
            }
            /// Operation and name.
            pub fn subject(&self) -> &Subject {
                match self {
                    $(FileError::$Fault(on))|* => on,
                    FileError::Other { on, .. } | FileError::Gone { on, .. } | FileError::Ipc { on, .. } | FileError::Protocol { on, .. } => on,
                }
            }
        }
    };
}

faults! {
    /// `ENOENT`.
    1 NotFound, NotFound, "no such file or directory", "list the directory to see what is there";
    /// The handle's own access does not allow it.
    2 NotPermitted, PermissionDenied, "this handle does not permit it", "ask its giver for one with more access; a handle can only be narrowed";
    /// `EACCES`, `EPERM`: the file system refuses the server.
    3 Denied, PermissionDenied, "the file system denies it to the server's user", "change the file's mode or owner, or run the server as another user";
    /// The path is absolute or leads (by `..` or a link) out of the tree.
    4 Escape, PermissionDenied, "the path leads outside the exported tree", "use a relative path that stays beneath the handle; links that point outside or are absolute are not followed";
    /// Empty, holds a NUL byte, or ends in a component that cannot be created or removed.
    5 BadName, InvalidInput, "not a usable name", "give a relative path without NUL bytes that ends in a plain name, not in . or ..";
    /// `ENAMETOOLONG`.
    6 NameTooLong, InvalidFilename, "the name is too long", "at most 255 bytes a component and 4095 bytes a path; open a directory on the way and go on from there";
    /// `EEXIST`.
    7 Exists, AlreadyExists, "it exists already", "choose another name, or open without create_new";
    /// `ENOTDIR`.
    8 NotDirectory, NotADirectory, "not a directory", "use a file operation, or check the path's components";
    /// `EISDIR`.
    9 IsDirectory, IsADirectory, "it is a directory", "use subdir to get a directory handle";
    /// `ENOTEMPTY`.
    10 NotEmpty, DirectoryNotEmpty, "the directory is not empty", "remove what is in it first";
    /// A fifo, socket or device: the server opens none of them.
    11 NotRegular, Unsupported, "neither a regular file nor a directory", "special files are listed and can be removed, but not opened through a server";
    /// `ELOOP`: too many links, a link where none is followed, or one of /proc's magic links.
    12 Link, InvalidInput, "a symbolic link is in the way (dangling, looping, magic, or not to be followed)", "read the link and open its target";
    /// `ENOSPC`.
    13 NoSpace, StorageFull, "no space left on the file system", "remove something";
    /// `EDQUOT`.
    14 Quota, QuotaExceeded, "the server's disk quota is used up", "remove something";
    /// `EFBIG`, or more bytes in one message than the server takes.
    15 TooLarge, FileTooLarge, "too large for the file system or for one message", "write in pieces of at most 64 MiB";
    /// `EROFS`.
    16 ReadOnlyTree, ReadOnlyFilesystem, "the file system is read-only", "write elsewhere";
    /// `EBUSY`, `ETXTBSY`.
    17 InUse, ResourceBusy, "it is in use (a mount point, or a program that runs)", "try again when it is not";
    /// `EXDEV` of a rename.
    18 CrossDevice, CrossesDevices, "source and target are on different file systems", "copy and remove instead";
    /// `ESTALE`, or the open directory was removed meanwhile.
    19 Stale, StaleNetworkFileHandle, "what the handle stood for is gone", "open it again by name";
    /// This client's task or user has as many handles as the server allows.
    20 TooManyHandles, QuotaExceeded, "this task or its user holds as many handles as the server allows", "drop handles that are no longer used";
    /// The server is out of descriptors, ports or memory.
    21 ServerFull, OutOfMemory, "the server has no room for more", "try again later, or raise the server's limits";
    /// Too many requests of this task wait already.
    22 Busy, ResourceBusy, "too many requests of this task wait at the server", "wait for answers before asking more";
    /// The message could not be read.
    23 BadRequest, InvalidData, "the server could not read the request", "check that both sides have the same version";
    /// The message id is none of the server's.
    24 UnknownOperation, Unsupported, "the server does not know this operation", "check that the right is a file server's and versions agree";
    /// The other directory of a rename is not this server's.
    25 ForeignDirectory, InvalidInput, "the target directory is not a handle of this server", "rename within one server, or copy and remove";
    /// `EIO`.
    26 Io, Other, "input/output error", "check the disk";
    /// `EINVAL` and offsets beyond 2^63-1.
    27 InvalidArgument, InvalidInput, "an argument is out of range or does not fit this file", "check offset, length and options";
    /// `EAGAIN` of a file that has nothing to give now (some files of /proc).
    28 WouldBlock, WouldBlock, "nothing to read at the moment", "try again later; the server never waits for a file";
}

/// A fault as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// [`Fault`]'s number, or 0: then `errno` says all.
    pub fault: u16,
    /// Linux's error number behind it; 0 if the server itself refused.
    pub errno: i32,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure { fault: fault as u16, errno: 0 }
    }
}

impl Failure {
    /// The failure for an error number of Linux, kept beside its fault.
    pub fn from_errno(errno: i32) -> Failure {
        Failure { fault: fault_of(errno).map_or(0, |fault| fault as u16), errno }
    }
    /// The fault, if it has a name.
    pub fn fault(self) -> Option<Fault> {
        Fault::from_number(self.fault)
    }
}

/// The fault that an error number of Linux stands for.
fn fault_of(errno: i32) -> Option<Fault> {
    Some(match errno {
        libc::EPERM | libc::EACCES => Fault::Denied,
        libc::ENOENT => Fault::NotFound,
        libc::EIO => Fault::Io,
        libc::EINVAL | libc::EOVERFLOW => Fault::InvalidArgument,
        libc::EAGAIN => Fault::WouldBlock,
        libc::ENOMEM | libc::ENFILE | libc::EMFILE | libc::ENOBUFS => Fault::ServerFull,
        libc::EBUSY | libc::ETXTBSY => Fault::InUse,
        libc::EEXIST => Fault::Exists,
        libc::EXDEV => Fault::CrossDevice,
        libc::ENOTDIR => Fault::NotDirectory,
        libc::EISDIR => Fault::IsDirectory,
        libc::EFBIG => Fault::TooLarge,
        libc::ENOSPC => Fault::NoSpace,
        libc::EROFS => Fault::ReadOnlyTree,
        libc::ENAMETOOLONG => Fault::NameTooLong,
        libc::ENOTEMPTY => Fault::NotEmpty,
        libc::ELOOP => Fault::Link,
        libc::ENXIO => Fault::NotRegular,
        libc::ESTALE => Fault::Stale,
        libc::EDQUOT => Fault::Quota,
        _ => return None,
    })
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> io::Error {
        let kind = match &error {
            FileError::Other { errno, .. } => io::Error::from_raw_os_error(*errno).kind(),
            FileError::Gone { .. } => io::ErrorKind::BrokenPipe,
            FileError::Protocol { .. } => io::ErrorKind::InvalidData,
            other => other.fault().map_or(io::ErrorKind::Other, Fault::io_kind),
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_distinct_numbers_and_survive_the_wire() {
        for (i, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(Fault::from_number(*fault as u16), Some(*fault));
            assert!(Fault::ALL[i + 1..].iter().all(|other| *other as u16 != *fault as u16));
            let error = FileError::new((*fault).into(), Subject::new("open", b"a"));
            assert_eq!(error.fault(), Some(*fault));
        }
    }

    #[test]
    fn error_line_says_what_on_what_and_what_to_try() {
        let error = FileError::new(Failure::from_errno(libc::ENOENT), Subject::new("open", b"caf\xe9/x"));
        let line = error.to_string();
        assert!(line.starts_with("open \"caf\\xE9/x\": no such file"), "{line}");
        assert!(line.contains("list the directory"), "{line}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn unnamed_errno_is_kept_as_it_is() {
        let error = FileError::new(Failure::from_errno(libc::ENODATA), Subject::new("read", b""));
        assert!(matches!(error, FileError::Other { errno: libc::ENODATA, .. }));
        let error = FileError::new(Failure { fault: 9999, errno: 0 }, Subject::new("read", b""));
        assert!(matches!(error, FileError::Protocol { .. }));
    }
}
