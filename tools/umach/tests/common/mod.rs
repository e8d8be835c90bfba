//! What the tests of the command line share: a folder of their own, the built binary in a clean environment, and a deadline for everything.
#![allow(dead_code, missing_docs)] // each test file uses a part of it, and it documents itself

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
pub(crate) fn finish(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Read while it runs: a full pipe would stop it.
    let (out, err) = (read_all(child.stdout.take().unwrap()), read_all(child.stderr.take().unwrap()));
    let status = wait(&mut child);
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
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("process {} did not end within {DEADLINE:?}", child.id());
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

/// Repeats until it holds, or fails at the deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
