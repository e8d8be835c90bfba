//! A whole system with real processes: a kernel process's shell on a thread of the test, the name server on another, services as its children.

use std::fs::File;
use std::io::Read;
use std::thread::JoinHandle;

use libtask::Task;
use umach_name_api::{Entry, Names};

use super::{Served, config, is_there, kernel, tiny_service};

/// Kernel, name server, a client, and a folder for what the services write.
pub struct World {
    pub served: Option<Served>,
    client: Option<(Task, Names)>,
    kernel: Option<JoinHandle<()>>,
    pub folder: tempfile::TempDir,
}

impl World {
    /// `services` gets the path of the tiny service's program, quoted for TOML.
    pub fn new(services: impl FnOnce(&str) -> String) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (socket, kernel) = kernel(folder.path());
        let task = Task::connect(&socket).unwrap();
        let program = format!("{:?}", tiny_service().to_str().unwrap());
        let log = format!("{:?}", folder.path().join("log").to_str().unwrap());
        let text = services(&program).replace("LOG", &format!("env = {{ TINY_LOG = {log} }}"));
        let served = Served::start(task, config(&text));
        let client = served.client("client");
        World { served: Some(served), client: Some(client), kernel: Some(kernel), folder }
    }
    pub fn names(&self) -> &Names {
        &self.client.as_ref().unwrap().1
    }
    pub fn task(&self) -> &Task {
        &self.client.as_ref().unwrap().0
    }
    pub fn entry(&self, name: &str) -> Entry {
        self.names().list().unwrap().into_iter().find(|entry| entry.name == name).unwrap()
    }
    /// Processes that the services' log names, oldest first.
    pub fn started(&self) -> Vec<u32> {
        let mut text = String::new();
        if let Ok(mut log) = File::open(self.folder.path().join("log")) {
            log.read_to_string(&mut text).unwrap();
        }
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for World {
    /// Ends everything and checks that no process is left, not even as a zombie.
    fn drop(&mut self) {
        self.client = None;
        self.served = None;
        if !std::thread::panicking() {
            self.kernel.take().unwrap().join().unwrap();
            for pid in self.started() {
                assert!(!is_there(pid), "process {pid} is left");
            }
        }
    }
}
