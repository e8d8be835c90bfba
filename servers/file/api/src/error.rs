//! What can go wrong, twice: [`Fault`] is what the server answers (a stable number and the errno behind it), [`FileError`] is what the
//! caller sees: the same fault with the operation and the name it was tried on, which only the client knows.
//!
//! One table makes both, so a fault cannot lack its sentence or its advice.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

use libtask::{CallError, Code, Error};
use umach_abi::Explanation;

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
    ($($(#[doc = $doc:literal])* $number:literal $Fault:ident = $NAME:ident, $io:ident, $meaning:literal, $cause:literal, $advice:literal;)*) => {
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
            /// All that is known about it (`umach explain`).
            pub fn explanation(self) -> &'static Explanation {
                match self {
                    $(Fault::$Fault => const {
                        &Explanation { name: stringify!($NAME), number: None, meaning: $meaning, cause: $cause, advice: $advice }
                    })*
                }
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
            /// All that is known about it (`umach explain`).
            pub fn explanation(&self) -> Option<&'static Explanation> {
                match self {
                    FileError::Ipc { source, .. } => source.explanation(),
                    FileError::Gone { .. } => FileError::OTHERS.iter().find(|row| row.name == "FILE_GONE"),
                    FileError::Protocol { .. } => FileError::OTHERS.iter().find(|row| row.name == "FILE_PROTOCOL"),
                    FileError::Other { .. } => FileError::OTHERS.iter().find(|row| row.name == "FILE_ERRNO"),
                    fault => fault.fault().map(Fault::explanation),
                }
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

impl FileError {
    /// What a call came to that gave no result, with what only its caller knows: what was tried, and on what.
    pub(crate) fn of(error: impl Into<CallError<Failure>>, operation: &'static str, path: &[u8]) -> FileError {
        let on = Subject::new(operation, path);
        let source = match error.into().refused() {
            Ok(failure) => return FileError::new(failure, on),
            Err(source) => source,
        };
        match &source {
            _ if source.is_dead() || source.is_server_died() => FileError::Gone { on, source },
            _ if source.is_unknown_method() => FileError::UnknownOperation(on),
            Error::Failure { code: Code::MIG_TYPE_ERROR, .. } => FileError::BadRequest(on),
            Error::Failure { code: Code::MIG_REPLY_MISMATCH, .. } => FileError::Protocol { on, detail: "it answers another request" },
            Error::Body { .. } | Error::Part { .. } => FileError::Protocol { on, detail: "it is not what the operation gives" },
            _ => FileError::Ipc { on, source },
        }
    }
    /// What is no [`Fault`] and has a text of its own.
    pub const OTHERS: &'static [Explanation] = &[
        Explanation {
            name: "FILE_GONE",
            number: None,
            meaning: "the handle is stale: the file server has closed it or died",
            cause: "the server was killed, crashed or was stopped; its handles are ports, and died with it",
            advice: "look the server up again and open anew",
        },
        Explanation {
            name: "FILE_PROTOCOL",
            number: None,
            meaning: "the answer is not one that a file server gives",
            cause: "the right is not a file server's, or client and server are of different versions",
            advice: "check where the right came from",
        },
        Explanation {
            name: "FILE_ERRNO",
            number: None,
            meaning: "the file system answered an error that has no name of its own here",
            cause: "the message has Linux's number and sentence for it",
            advice: "see the error number's meaning for this file system",
        },
    ];
}

faults! {
    /// `ENOENT`.
    1 NotFound = FILE_NOT_FOUND, NotFound, "no such file or directory",
        "nothing of that name is in the exported tree, or a component of the path is missing",
        "list the directory to see what is there";
    /// The handle's own access does not allow it.
    2 NotPermitted = FILE_NOT_PERMITTED, PermissionDenied, "this handle does not permit it",
        "the handle was narrowed before it was given away (to reading, say), or the server exports the tree read-only",
        "ask its giver for one with more access; a handle can only be narrowed";
    /// `EACCES`, `EPERM`: the file system refuses the server.
    3 Denied = FILE_DENIED, PermissionDenied, "the file system denies it to the server's user",
        "mode, owner or an attribute of the file (EACCES, EPERM) keeps the file server's own user out",
        "change the file's mode or owner, or run the server as another user";
    /// The path is absolute or leads (by `..` or a link) out of the tree.
    4 Escape = FILE_ESCAPE, PermissionDenied, "the path leads outside the exported tree",
        "the path is absolute, or `..` or a link in it leads out of the tree that the handle stands for",
        "use a relative path that stays beneath the handle; links that point outside or are absolute are not followed";
    /// Empty, holds a NUL byte, or ends in a component that cannot be created or removed.
    5 BadName = FILE_BAD_NAME, InvalidInput, "not a usable name",
        "the path is empty, holds a NUL byte, or ends in . or .. where something is to be created or removed",
        "give a relative path without NUL bytes that ends in a plain name, not in . or ..";
    /// `ENAMETOOLONG`.
    6 NameTooLong = FILE_NAME_TOO_LONG, InvalidFilename, "the name is too long",
        "a component above 255 bytes or a path above 4095",
        "at most 255 bytes a component and 4095 bytes a path; open a directory on the way and go on from there";
    /// `EEXIST`.
    7 Exists = FILE_EXISTS, AlreadyExists, "it exists already",
        "something of that name is there already",
        "choose another name, or open without create_new";
    /// `ENOTDIR`.
    8 NotDirectory = FILE_NOT_DIRECTORY, NotADirectory, "not a directory",
        "a component in the middle of the path, or the target of a directory operation, is a file",
        "use a file operation, or check the path's components";
    /// `EISDIR`.
    9 IsDirectory = FILE_IS_DIRECTORY, IsADirectory, "it is a directory",
        "a file operation on a directory",
        "use subdir to get a directory handle";
    /// `ENOTEMPTY`.
    10 NotEmpty = FILE_NOT_EMPTY, DirectoryNotEmpty, "the directory is not empty",
        "a directory with something in it was to be removed or replaced",
        "remove what is in it first";
    /// A fifo, socket or device: the server opens none of them.
    11 NotRegular = FILE_NOT_REGULAR, Unsupported, "neither a regular file nor a directory",
        "it is a fifo, a socket or a device",
        "special files are listed and can be removed, but not opened through a server";
    /// `ELOOP`: too many links, a link where none is followed, or one of /proc's magic links.
    12 Link = FILE_LINK, InvalidInput, "a symbolic link is in the way (dangling, looping, magic, or not to be followed)",
        "a symbolic link dangles, loops, is one of /proc's magic ones, or is the last component where none is followed",
        "read the link and open its target";
    /// `ENOSPC`.
    13 NoSpace = FILE_NO_SPACE, StorageFull, "no space left on the file system",
        "the disk is full (ENOSPC)",
        "remove something";
    /// `EDQUOT`.
    14 Quota = FILE_QUOTA, QuotaExceeded, "the server's disk quota is used up",
        "the file server's user has used up its disk quota (EDQUOT)",
        "remove something";
    /// `EFBIG`, or more bytes in one message than the server takes.
    15 TooLarge = FILE_TOO_LARGE, FileTooLarge, "too large for the file system or for one message",
        "a file beyond the file system's limit (EFBIG), or more bytes in one message than the server takes",
        "write in pieces of at most 64 MiB";
    /// `EROFS`.
    16 ReadOnlyTree = FILE_READ_ONLY_TREE, ReadOnlyFilesystem, "the file system is read-only",
        "the file system is mounted read-only (EROFS)",
        "write elsewhere";
    /// `EBUSY`, `ETXTBSY`.
    17 InUse = FILE_IN_USE, ResourceBusy, "it is in use (a mount point, or a program that runs)",
        "a mount point, or a program that runs (EBUSY, ETXTBSY)",
        "try again when it is not";
    /// `EXDEV` of a rename.
    18 CrossDevice = FILE_CROSS_DEVICE, CrossesDevices, "source and target are on different file systems",
        "a rename from one mounted file system to another (EXDEV)",
        "copy and remove instead";
    /// `ESTALE`, or the open directory was removed meanwhile.
    19 Stale = FILE_STALE, StaleNetworkFileHandle, "what the handle stood for is gone",
        "the open file or directory was removed, or its file system went away (ESTALE)",
        "open it again by name";
    /// This client's task or user has as many handles as the server allows.
    20 TooManyHandles = FILE_TOO_MANY_HANDLES, QuotaExceeded, "this task or its user holds as many handles as the server allows",
        "handles are opened and never dropped; each open file and directory counts until its last right is gone",
        "drop handles that are no longer used";
    /// The server is out of descriptors, ports or memory.
    21 ServerFull = FILE_SERVER_FULL, OutOfMemory, "the server has no room for more",
        "the file server has no descriptor, port or memory left (EMFILE, ENFILE, ENOMEM)",
        "try again later, or raise the server's limits";
    /// Too many requests of this task wait already.
    22 Busy = FILE_BUSY, ResourceBusy, "too many requests of this task wait at the server",
        "a client sends many requests at once without reading the answers",
        "wait for answers before asking more";
    /// The message could not be read.
    23 BadRequest = FILE_BAD_REQUEST, InvalidData, "the server could not read the request",
        "client and server are of different versions, or the message was meant for another server",
        "check that both sides have the same version";
    /// The message id is none of the server's.
    24 UnknownOperation = FILE_UNKNOWN_OPERATION, Unsupported, "the server does not know this operation",
        "the right is not a file server's, or the server is older than its client",
        "check that the right is a file server's and versions agree";
    /// The other directory of a rename is not this server's.
    25 ForeignDirectory = FILE_FOREIGN_DIRECTORY, InvalidInput, "the target directory is not a handle of this server",
        "the second directory of a rename is a handle of another file server",
        "rename within one server, or copy and remove";
    /// `EIO`.
    26 Io = FILE_IO, Other, "input/output error",
        "the disk or the file system failed (EIO)",
        "check the disk";
    /// `EINVAL` and offsets beyond 2^63-1.
    27 InvalidArgument = FILE_INVALID_ARGUMENT, InvalidInput, "an argument is out of range or does not fit this file",
        "an offset beyond 2^63-1, or options that this file does not take (EINVAL)",
        "check offset, length and options";
    /// `EAGAIN` of a file that has nothing to give now (some files of /proc).
    28 WouldBlock = FILE_WOULD_BLOCK, WouldBlock, "nothing to read at the moment",
        "a file that has nothing to give now (EAGAIN), as some of /proc",
        "try again later; the server never waits for a file";
}

/// A fault as it travels.
#[libtask::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    fn every_error_is_explained() {
        assert!(FileError::OTHERS.iter().chain(Fault::ALL.iter().map(|fault| fault.explanation())).all(Explanation::is_complete));
        let on = || Subject::new("read", b"");
        let explained = |error: FileError| error.explanation().map(|known| known.name);
        for fault in Fault::ALL {
            let known = fault.explanation();
            assert_eq!((known.meaning, known.advice), (fault.meaning(), fault.advice()));
            assert_eq!(explained(FileError::new((*fault).into(), on())), Some(known.name));
        }
        assert_eq!(explained(FileError::new(Failure { fault: 9999, errno: 0 }, on())), Some("FILE_PROTOCOL"));
        assert_eq!(explained(FileError::Other { on: on(), errno: 61 }), Some("FILE_ERRNO"));
        assert_eq!(explained(FileError::Gone { on: on(), source: libtask::Error::KernelGone }), Some("FILE_GONE"));
        assert_eq!(explained(FileError::Ipc { on: on(), source: libtask::Error::KernelGone }), Some("LIBTASK_KERNEL_GONE"));
    }

    #[test]
    fn call_that_gave_nothing_says_who_is_to_blame() {
        let of = |error: CallError<Failure>| FileError::of(error, "read", b"a");
        let failure = |code| Error::Failure { method: "File.read", code, reason: String::new() };
        assert_eq!(of(CallError::Refused(Fault::Busy.into())).fault(), Some(Fault::Busy));
        assert_eq!(of(failure(Code::MIG_BAD_ID).into()).fault(), Some(Fault::UnknownOperation));
        assert_eq!(of(failure(Code::MIG_TYPE_ERROR).into()).fault(), Some(Fault::BadRequest));
        assert!(matches!(of(failure(Code::MIG_REPLY_MISMATCH).into()), FileError::Protocol { .. }));
        assert!(matches!(of(failure(Code::MIG_REMOTE_ERROR).into()), FileError::Ipc { .. }));
        let body = Error::Body { id: 4600, len: 0, what: "memory", why: String::new() };
        assert!(matches!(of(body.into()), FileError::Protocol { .. }));
        let died = Error::Mach { what: "calling", code: Code::MIG_SERVER_DIED, on: None };
        assert!(matches!(of(died.into()), FileError::Gone { .. }));
        assert_eq!(of(Error::KernelGone.into()).subject(), &Subject::new("read", b"a"));
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
