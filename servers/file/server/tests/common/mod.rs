//! A server on a temporary tree in an in-process kernel, and clients of it that are tasks of their own.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test binary uses a part

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libtask::local::LocalKernel;
use libtask::{SendRight, Task, TaskControl};
use tempfile::TempDir;
use umach_file_api::{Dir, FileError};
use umach_file_server::{Config, ServeError, Server, Stats, Stopper};

/// How long anything may take before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct World {
    pub kernel: LocalKernel,
    pub folder: TempDir,
    server_task: Task,
    stopper: Stopper,
    watch: Box<dyn Fn() -> Stats + Send + Sync>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

pub struct Client {
    pub task: Task,
    pub control: TaskControl,
}

impl World {
    pub fn new() -> World {
        World::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let kernel = LocalKernel::start();
        let server_task = kernel.task("file server").unwrap();
        let mut config = Config::new(folder.path());
        change(&mut config);
        let server = Server::new(&server_task, &config).unwrap();
        // Clients find the root as their bootstrap port, which they inherit.
        server_task.set_bootstrap(&server.root()).unwrap();
        let (stopper, watch) = (server.stopper().unwrap(), Box::new(server.watch()));
        let thread = Some(thread::spawn(move || server.run()));
        World { kernel, folder, server_task, stopper, watch, thread }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn client(&self, label: &str) -> Client {
        let (task, control) = self.server_task.spawn_local(label).unwrap();
        Client { task, control }
    }

    pub fn stats(&self) -> Stats {
        (self.watch)()
    }

    /// Waits until clients hold exactly this many handles.
    pub fn await_handles(&self, handles: usize) {
        await_true("the server's handles", || self.stats().handles == handles);
    }

    pub fn stop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            // The test has failed already; a second panic would hide why.
            self.stopper.stop();
            return;
        }
        self.stop();
        self.kernel.check().unwrap();
    }
}

impl Client {
    pub fn root(&self) -> Dir {
        Dir::from_right(self.root_right())
    }
    pub fn root_right(&self) -> SendRight {
        self.task.bootstrap().unwrap()
    }
}

pub fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The fault of a result that must have one.
#[track_caller]
pub fn fault<T: std::fmt::Debug>(result: Result<T, FileError>) -> umach_file_api::Fault {
    let error = result.unwrap_err();
    error.fault().unwrap_or_else(|| panic!("no fault of the server: {error}"))
}

/// Bytes that are different at every offset modulo a prime.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8 ^ (i / 65536) as u8).collect()
}

/// Messages as a client that is not ours makes them: the methods' ids, and bodies by hand.
pub mod ids {
    use libtask::{Interface, Message};
    use umach_file_api::OpenOptions;
    use umach_file_api::protocol::{Access, Directory, File};

    pub const DIRECTORY: i32 = <dyn Directory as Interface>::BASE;
    pub const FILE: i32 = <dyn File as Interface>::BASE;
    pub const OPEN: i32 = DIRECTORY;
    pub const RENAME: i32 = DIRECTORY + 3;
    pub const WRITE: i32 = FILE + 1;

    /// Every method.
    pub fn all() -> impl Iterator<Item = i32> {
        (DIRECTORY..DIRECTORY + 9).chain(FILE..FILE + 8)
    }
    pub fn open_read() -> Message {
        Message::new(OPEN).body(&(b"f".as_slice(), OpenOptions::new().read(true)))
    }
    pub fn narrow() -> Message {
        Message::new(DIRECTORY + 1).body(&(b"".as_slice(), None::<Access>))
    }
    pub fn rename() -> Message {
        Message::new(RENAME).body(&(b"f".as_slice(), b"g".as_slice(), true, Some(0u32)))
    }
    pub fn list(cursor: u64) -> Message {
        Message::new(DIRECTORY + 6).body(&(cursor, true))
    }
    pub fn read(offset: u64, length: u64) -> Message {
        Message::new(FILE).body(&(offset, length))
    }
    /// The bytes are to be the first part.
    pub fn write(offset: u64) -> Message {
        Message::new(WRITE).body(&(offset, 0u32))
    }
}
