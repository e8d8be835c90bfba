//! Client of the name server.
//!
//! A server and a client that find each other:
//!
//! ```no_run
//! use umach_name_api::Names;
//!
//! // One task becomes the server of a name,
//! let task = libtask::Task::current()?;
//! let port = Names::from_bootstrap(&task)?.check_in("org.example.echo")?;
//! port.serve(|request| libtask::Message::new(request.id() + 100).bytes(request.bytes()))?;
//! # Ok::<(), umach_name_api::Error>(())
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use umach_name_api::Names;
//!
//! // and another finds it, waiting for it to come up if need be.
//! let task = libtask::Task::current()?;
//! let echo = Names::from_bootstrap(&task)?.look_up_within("org.example.echo", Duration::from_secs(5))?;
//! assert_eq!(echo.call(libtask::Message::new(1).bytes(b"hello"))?.bytes(), b"hello");
//! # Ok::<(), umach_name_api::Error>(())
//! ```
//!
//! The interface is [`NameSpace`]; the server is the crate `umach-name-server`.
#![forbid(unsafe_code)]

mod client;
mod error;
pub mod protocol;
mod ready;
mod server;
mod watch;

pub use client::Names;
pub use error::{Error, Result};
pub use protocol::{Declarer, Entry, Event, Kind, NameSpace, NameSpaceClient, ServerSpec};
pub use ready::Ready;
pub use server::{DeclaredServer, NewServer};
pub use watch::Watch;

/// Environment variable by which a service that was started on demand learns the name to check in.
pub const SERVICE_VARIABLE: &str = "UMACH_SERVICE";
