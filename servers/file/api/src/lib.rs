//! Client of the file server: directories and files as rights.
//!
//! A [`Dir`] or [`File`] is a send right to a port of the server; holding it is the permission. They are narrowed ([`Dir::subdir`],
//! [`Dir::read_only`], [`File::narrow`]), passed to other tasks as rights in messages, and closed by dropping them, or by dying.
//!
//! ```
//! use umach_file_api::{Dir, FileError, OpenOptions};
//!
//! // The right comes from a name server's look-up, or in a message.
//! fn tour(right: libtask::SendRight) -> Result<libtask::SendRight, FileError> {
//!     let root = Dir::from_right(right);
//!     for entry in root.list() {
//!         println!("{:?}", entry?.name());
//!     }
//!     let text = root.open_read("notes/today")?.read_all()?;
//!     let log = root.open("log", OpenOptions::new().append(true).create(true))?;
//!     log.append(&text)?;
//!     // A program that must not see more than one folder, and change nothing in it, gets this right and no other.
//!     Ok(root.subdir("notes")?.read_only()?.into_right())
//! }
//! ```
//!
//! Names are bytes, as in Linux. Every failure is a [`FileError`], which says what failed, on what, and what to try.
//!
//! [`File::descriptor`] gives the file as Linux has it, for whatever wants a descriptor: to map it, or to be a program's standard input. It cannot be
//! taken back, and is not closed with the handle.
#![forbid(unsafe_code)]

mod dir;
pub mod error;
mod file;
pub mod protocol;
mod reader;

pub use dir::{Dir, Entries, OpenOptions};
pub use error::{Fault, FileError};
pub use file::{File, Writer};
pub use protocol::{Access, Entry, Kind, Stat, Timestamp};
pub use reader::Reader;
