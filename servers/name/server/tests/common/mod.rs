//! A name server on a thread of its own, and clients: tasks that were made by the server's task, and so have its bootstrap port.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

pub mod world;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtask::{Message, SendRight, Task};
use rustix::process::{Pid, Signal};
use umach_kernel::shell::ShellConfig;
use umach_name_api::Names;
use umach_name_server::{Config, Server, ServerError, Stop};

/// No wait is longer; what takes so long is stuck.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Rules that allow everybody everything at names without rules of their own.
pub const OPEN: &str = "[policy]\nlook_up = \"any\"\nregister = \"any\"\ncheck_in = \"any\"\n";

pub fn config(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// A running server. Dropping it stops the server and checks that it ended well.
pub struct Served {
    pub task: Task,
    stop: Stop,
    ended: Receiver<Result<(), ServerError>>,
}

impl Served {
    pub fn start(task: Task, config: Config) -> Served {
        let server = Server::new(&task, config).unwrap();
        task.set_bootstrap(&server.bootstrap()).unwrap();
        let stop = server.stopper().unwrap();
        let (tell, ended) = channel();
        std::thread::spawn(move || tell.send(server.run()));
        Served { task, stop, ended }
    }
    pub fn client(&self, label: &str) -> (Task, Names) {
        let (task, _) = self.task.spawn_local(label).unwrap();
        let names = Names::from_bootstrap(&task).unwrap();
        (task, names)
    }
    /// Stops it now and says how it ended.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.stop.stop();
        self.ended.recv_timeout(DEADLINE).expect("the server ends when it is stopped")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        match self.ended.recv_timeout(DEADLINE) {
            _ if std::thread::panicking() => {}
            Ok(result) => result.expect("the server ends well"),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {} // stopped by the test
            Err(timeout) => panic!("the server does not end: {timeout}"),
        }
    }
}

/// A kernel process's shell on a thread of the test. It ends with its last task.
pub fn kernel(folder: &Path) -> (PathBuf, JoinHandle<()>) {
    let socket = folder.join("run/socket");
    let (mut ready, tell) = std::io::pipe().unwrap();
    let shell = ShellConfig { socket: Some(socket.clone()), exit_when_idle: true, ready: Some(tell.into()), ..ShellConfig::default() };
    let thread = std::thread::spawn(move || umach_kernel::shell::run(shell).unwrap());
    ready.read_to_end(&mut Vec::new()).unwrap();
    (socket, thread)
}

/// The example's program; `cargo test` builds it beside the tests.
pub fn tiny_service() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap().join("examples/tiny_service");
    assert!(path.exists(), "{} is not built: run `cargo build --example tiny_service -p umach-name-server`", path.display());
    path
}

/// Whether there is such a process, if only as a zombie.
pub fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// Calls the tiny service; gives the process that answered.
pub fn call(right: &SendRight, text: &[u8]) -> libtask::Result<u32> {
    let answer = right.call_within(Message::new(1).bytes(text), DEADLINE)?;
    let (pid, bytes): (u32, Vec<u8>) = answer.body()?;
    assert_eq!(bytes, text);
    Ok(pid)
}

/// Looks again and again, until it is so.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < DEADLINE, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
