//! The name server: finds tasks for each other by name, and starts services when they are needed.
//!
//! Every task is born with a *bootstrap port*, a send right to a name server. Through it a server publishes a port under a name and a client
//! finds it; from then on they talk to each other alone. What can be asked is in [`umach_name_api`], the client's crate.
//!
//! * A name belongs to a port and vanishes with it, by the kernel's dead-name notification, however its task dies.
//! * A *service* of a job (see [`config`]) has a port from the start. While nobody serves it the name server holds the receive right: messages
//!   queue up, the first one starts the service, check-in hands the right over with what is queued, and when the service dies the
//!   right comes back with what it had not received. A service that keeps dying is started more and more rarely.
//! * A *server* is a job that a task declares at run time, if the configuration lets it: it names the command and makes the services.
//! * A *subset* is a private name space that falls back to the one it was made from: for a child that should see other names.
//! * A *watcher* is told of names that come and go. One that does not read is dropped when its queue is full.
//! * Who may look up, register and serve which names is a matter of uids, which come from the kernel's trailer and cannot be faked
//!   ([`policy`]).
//!
//! A name server in the same process as its clients:
//!
//! ```
//! use umach_name_api::Names;
//! use umach_name_server::{Config, Server};
//!
//! let kernel = libtask::LocalKernel::start();
//! let task = kernel.task("name-server")?;
//! let server = Server::new(&task, Config::default())?;
//! let stop = server.stopper()?;
//! task.set_bootstrap(&server.bootstrap())?;
//! let running = std::thread::spawn(|| server.run());
//!
//! // Tasks inherit the bootstrap port of the one that makes them.
//! let (alice, _) = task.spawn_local("alice")?;
//! let port = Names::from_bootstrap(&alice)?.check_in("org.example.alice")?;
//! let (bob, _) = task.spawn_local("bob")?;
//! Names::from_bootstrap(&bob)?.look_up("org.example.alice")?.send(libtask::Message::new(1).bytes(b"hello"))?;
//! assert_eq!(port.receive()?.bytes(), b"hello");
//!
//! stop.stop();
//! running.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In reading order: [`config`] and [`policy`], [`job`] (one command and its services), [`registry`] (everything else that is pure), [`Server`].
//!
//! What is not done: services that put themselves into the background (the process that was started must be the one that serves, or its
//! parent), and ending the services of a name server that was killed with SIGKILL: they live on without it.
#![forbid(unsafe_code)]

mod children;
pub mod config;
pub mod job;
pub mod policy;
pub mod registry;
mod requests;
mod server;
mod starters;

pub use config::{Config, ServiceConfig};
pub use server::{Server, ServerError, Stop};
