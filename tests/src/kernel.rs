//! A kernel of a test's own: in this process, or a private `umachd` in a temporary directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use libtask::local::{Direct, Limits};
use libtask::{Error, LocalKernel, Task};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Mode, eventually};

/// A limit as `umachd --limits` names it.
pub type Limit = (&'static str, u64);

/// A kernel. Clones are the same one; the process is killed when the last is dropped, if it has not ended before.
#[derive(Debug, Clone)]
pub struct Kernel(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Local(LocalKernel),
    Process(Arc<Process>),
}

#[derive(Debug)]
struct Process {
    child: Mutex<Child>,
    pid: Pid,
    directory: TempDir,
}

impl Kernel {
    /// Starts one that tasks can connect to. `direct`: whether tasks send to each other directly; as the environment says if `None`.
    pub fn start(mode: Mode, limits: &[Limit], direct: Option<Direct>) -> Kernel {
        Kernel(match (mode, direct) {
            (Mode::Local, None) => Inner::Local(LocalKernel::with_limits(local_limits(limits))),
            (Mode::Local, Some(direct)) => Inner::Local(LocalKernel::with_direct(local_limits(limits), direct)),
            (Mode::Process, direct) => Inner::Process(Arc::new(Process::start(limits, direct))),
        })
    }

    /// A new task.
    pub fn task(&self, label: &str) -> Task {
        match &self.0 {
            Inner::Local(kernel) => kernel.task(label).expect("a task of the in-process kernel"),
            Inner::Process(process) => {
                let task = process.connect();
                task.set_label(label).expect("label a task");
                task
            }
        }
    }

    /// The process, if it is one.
    pub fn pid(&self) -> Option<u32> {
        match &self.0 {
            Inner::Local(_) => None,
            Inner::Process(process) => Some(process.pid.as_raw_nonzero().get().unsigned_abs()),
        }
    }

    /// Descriptors that the kernel process has open.
    pub fn descriptors(&self) -> Option<usize> {
        let listing = fs::read_dir(format!("/proc/{}/fd", self.pid()?)).expect("list umachd's descriptors");
        Some(listing.count())
    }

    /// Where the process listens.
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.0 {
            Inner::Local(_) => None,
            Inner::Process(process) => Some(process.socket()),
        }
    }

    /// KiB of memory that the kernel process uses.
    pub fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).expect("look at umachd");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS in /proc/PID/status");
        Some(line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of KiB"))
    }

    /// Checks the kernel's invariants now. A kernel process does so by itself after each request.
    pub fn check(&self) {
        if let Inner::Local(kernel) = &self.0 {
            kernel.check().expect("the kernel's invariants");
        }
    }

    /// Ends it in order and checks that it did.
    pub fn end(&self) {
        match &self.0 {
            Inner::Local(kernel) => {
                assert_eq!(kernel.regions(), 0, "regions left");
                self.check();
            }
            Inner::Process(process) => process.end(),
        }
    }

    /// Kills the process, if it is one.
    pub fn kill(&self) {
        if let Inner::Process(process) = &self.0 {
            process.kill();
        }
    }

    /// What the process wrote to its log.
    pub fn log(&self) -> String {
        match &self.0 {
            Inner::Local(_) => String::new(),
            Inner::Process(process) => process.log(),
        }
    }
}

impl Process {
    fn start(limits: &[Limit], direct: Option<Direct>) -> Process {
        let directory = tempfile::Builder::new()
            .prefix("umach-test")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("make a temporary directory");
        let log = fs::File::create(directory.path().join("log")).expect("make umachd's log");
        let mut command = Command::new(umachd());
        command.arg("--socket").arg(directory.path().join("socket")).args(["--log", "warn"]);
        for (key, value) in limits {
            command.arg("--limits").arg(format!("{key}={value}"));
        }
        if let Some(direct) = direct {
            command.arg("--direct").arg(direct.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env_remove("UMACH_LANE").env_remove("UMACH_LOG");
        let child = command.spawn().expect("start umachd");
        let pid = Pid::from_child(&child);
        Process { child: Mutex::new(child), pid, directory }
    }

    /// Connects; waits for the socket if the process has only just started.
    fn connect(&self) -> Task {
        let mut task = None;
        eventually("umachd can be connected to", || {
            task = match Task::connect(&self.socket()) {
                Ok(task) => Some(task),
                Err(Error::NoKernel { .. }) => None,
                Err(error) => panic!("connecting to umachd: {error}\n{}", self.log()),
            };
            if let (None, Some(status)) = (&task, self.try_wait()) {
                panic!("umachd has ended ({status}):\n{}", self.log());
            }
            task.is_some()
        });
        task.expect("just connected")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn try_wait(&self) -> Option<ExitStatus> {
        self.child.lock().expect("no thread panics with it").try_wait().expect("look after umachd")
    }

    fn end(&self) {
        // It may have ended by itself, which the status then shows.
        let _ = kill_process(self.pid, Signal::TERM);
        let end = Instant::now() + Duration::from_secs(20);
        let status = loop {
            match self.try_wait() {
                Some(status) => break status,
                None if Instant::now() > end => panic!("umachd does not end on SIGTERM:\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert!(status.success(), "umachd ended with {status}:\n{}", self.log());
        assert!(!self.log().contains("panicked"), "umachd panicked:\n{}", self.log());
    }

    fn kill(&self) {
        if let Ok(mut child) = self.child.lock() {
            // Both fail only if it has been waited for already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn local_limits(wanted: &[Limit]) -> Limits {
    let mut limits = Limits::default();
    for (key, value) in wanted {
        let limit = match *key {
            "task-ports" => &mut limits.task_ports,
            "task-names" => &mut limits.task_names,
            "task-queued-bytes" => &mut limits.task_queued_bytes,
            "task-notifications" => &mut limits.task_notifications,
            _ => panic!("{key} is no limit that tests set"),
        };
        *limit = *value;
    }
    limits
}

/// The kernel's program: `UMACHD`, else the one beside this test's program. `cargo xtask test` builds it first; where it is missing, it is
/// built once.
pub fn umachd() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("UMACHD").filter(|path| !path.is_empty()) {
            return path.into();
        }
        let test = std::env::current_exe().expect("this program's path");
        let profile = test.ancestors().nth(2).expect("tests live two folders below their profile's").to_owned();
        let program = profile.join("umachd");
        if !program.exists() {
            build(&profile);
        }
        assert!(program.exists(), "{} is missing; run: cargo build -p umach-kernel --bin umachd", program.display());
        program
    })
}

fn build(profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "umach-kernel", "--bin", "umachd"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = profile.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().expect("start cargo to build umachd");
    assert!(status.success(), "building umachd failed ({status}); run: cargo build -p umach-kernel --bin umachd");
}
