//! What the tests of the command line share: a folder of their own, the built binary in a clean environment, and a deadline for everything.
#![allow(dead_code, missing_docs)] // each test file uses a part of it, and it documents itself

pub(crate) mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes longer, on however busy a machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// A folder, removed at the end, with a place for a kernel's socket in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::Builder::new().prefix("ut-").tempdir().unwrap() }
    }
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    pub(crate) fn socket(&self) -> PathBuf {
        self.join("kernel/socket")
    }
    /// `umach` with these arguments, in this folder.
    pub(crate) fn umach(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_umach"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        // Every test has its own socket, and none sees the user's.
        command.env("UMACH_SOCKET", self.socket()).env("UMACH", env!("CARGO_BIN_EXE_umach")).env("TMPDIR", self.path());
        for variable in ["UMACH_LANE", "UMACH_LANE_INODE", "UMACH_TRACE", "UMACH_LOG", "XDG_RUNTIME_DIR"] {
            command.env_remove(variable);
        }
        command
    }
    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        finish(self.umach(arguments))
    }
    /// A shell script as a task of a private system; `$UMACH` is the command.
    pub(crate) fn script(&self, options: &[&str], script: &str) -> Output {
        self.run(&[&["run", "--private"], options, &["--", "sh", "-euc", script]].concat())
    }
}

impl Output {
    pub(crate) fn ok(self) -> Output {
        assert!(self.status.success(), "{self:#?}");
        self
    }
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs a command to its end, or kills it at the deadline.
pub(crate) fn finish(command: Command) -> Output {
    finish_within(command, DEADLINE)
}

/// The same with another deadline: for what builds programs.
pub(crate) fn finish_within(mut command: Command, deadline: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Read while it runs: a full pipe would stop it.
    let (out, err) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
    let status = wait_within(&mut child, deadline);
    Output { status, out: out.join().unwrap(), err: err.join().unwrap() }
}

fn read_all(mut stream: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Waits for a process, or kills it at the deadline and fails.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    wait_within(child, DEADLINE)
}

fn wait_within(child: &mut Child, deadline: Duration) -> ExitStatus {
    let until = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("process {} did not end within {deadline:?}", child.id());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is killed and reaped at the end of its scope.
pub(crate) struct Background(pub(crate) Child);

impl Background {
    pub(crate) fn start(mut command: Command) -> Background {
        Background(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long a small project may take to build on a busy machine.
pub(crate) const BUILD: Duration = Duration::from_secs(900);

/// Where the projects of tests are built: kept, so that the libraries are built once.
pub(crate) fn build_folder() -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_umach")).parent().unwrap();
    programs.parent().unwrap().join("umach-new")
}

/// A command that finds `umach` in its PATH, builds into [`build_folder`], and asks no registry.
pub(crate) fn builder(place: &Place, program: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_umach")).parent().unwrap().to_owned();
    let path = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    let path = std::env::join_paths([programs].into_iter().chain(path)).unwrap();
    let mut command = Command::new(program);
    for (name, value) in place.umach(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("PATH", path).env("CARGO_TARGET_DIR", build_folder()).env("CARGO_NET_OFFLINE", "true").env("CARGO_TERM_COLOR", "never");
    // Nobody looks into these with a debugger.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.current_dir(place.path()).stdin(Stdio::null());
    command
}

/// Repeats until it holds, or fails at the deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
