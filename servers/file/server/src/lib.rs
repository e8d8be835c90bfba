//! The file server: exports a directory tree. A directory and an open file are ports, and holding a right to one is the permission to use it.
//!
//! * **Capabilities.** No message names anything from a file system's root. Every path is looked up beneath the directory whose port the
//!   message came on, by `openat2`, so nothing outside can be reached, by `..`, links or races. A handle can be narrowed (a sub-directory, reading
//!   only, appending only) and passed to another task like any right; it never widens. The server acts with its own user's permissions: give
//!   a client a handle only of what it may touch.
//! * **Bulk.** Long reads come as memory: Linux copies from the file into a region, which is sealed and lent; neither the server's memory nor a
//!   socket sees the bytes. Long writes come the same way.
//! * **Life.** The last right to a handle gone, for whatever reason, the kernel process says so and the server closes it.
//! * **Limits.** Handles are charged to the task and user that opened them ([`charge`]); requests take turns by task ([`turns`]); a message's work
//!   is bounded (64 MiB, a page of a listing). Special files are never opened ([`tree`]).
//!
//! What it cannot do: an open file of a *client's own* cannot be handed over as a descriptor (that waits for the direct plane's links); hand over a
//! right to an open file of a server instead. A file system that hangs (a dead NFS or FUSE server) holds the threads that touch it,
//! at most half of the pool for one task; see [`Config::one_file_system`].
//!
//! Modules in reading order: [`tree`] (what Linux does), [`charge`], [`turns`], [`handle`], [`operate`] (what each operation does),
//! [`server`] (the threads).
//!
//! ```
//! use umach_file_api::Dir;
//! use umach_file_server::{Config, Server};
//!
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("hello"), "hello, world")?;
//! libtask::run_local(|kernel| -> Result<(), Box<dyn std::error::Error>> {
//!     let task = kernel.task("files")?;
//!     let server = Server::new(&task, &Config::new(folder.path()))?;
//!     let stopper = server.stopper()?;
//!     // A client that is to find the server by name looks it up; this one inherits the right as its bootstrap port.
//!     task.set_bootstrap(&server.root())?;
//!     let (client, _control) = task.spawn_local("client")?;
//!     let thread = std::thread::spawn(|| server.run());
//!     let dir = Dir::from_right(client.bootstrap()?);
//!     assert_eq!(dir.open_read("hello")?.read_all()?, b"hello, world");
//!     stopper.stop();
//!     Ok(thread.join().expect("the server does not panic")?)
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod charge;
pub mod handle;
pub mod operate;
pub mod server;
pub mod tree;
pub mod turns;

pub use charge::HandleLimits;
pub use server::{Config, ServeError, Server, Stats, Stopper, raise_descriptor_limit, serve};
