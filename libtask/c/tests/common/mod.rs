//! Building C programs against the headers and the library of this build, and running them under `umach run`.
#![allow(dead_code)] // each test uses some of it

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest that a C program may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// As `build.rs` has it.
const SONAME: &str = concat!("libumach.so.", env!("CARGO_PKG_VERSION_MAJOR"));

/// This crate's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with what cargo has built: programs, and beside them or one folder down the library.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("where this test is");
    test.ancestors().nth(2).expect("target/debug/deps/test").to_owned()
}

fn library() -> PathBuf {
    let here = built();
    // The tests' own build is the freshest.
    [here.join("deps"), here].into_iter().find(|dir| dir.join("libumach.so").is_file()).expect("libumach.so: cargo build --workspace")
}

/// The C compilers that are here. None: the test cannot run, and says so.
pub(crate) fn compilers() -> Vec<&'static str> {
    let found: Vec<_> = ["gcc", "clang"].into_iter().filter(|name| works(name)).collect();
    if found.is_empty() {
        eprintln!("SKIPPED: neither gcc nor clang is installed");
    }
    found
}

/// The C++ compilers that are here.
pub(crate) fn cpp_compilers() -> Vec<&'static str> {
    ["g++", "clang++"].into_iter().filter(|name| works(name)).collect()
}

fn works(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Warnings are errors: the headers are to be as clean as the programs.
pub(crate) const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

/// Compiles without linking. Panics with what the compiler says.
pub(crate) fn check(compiler: &str, flags: &[&str], source: &Path) {
    let mut command = Command::new(compiler);
    command.args(STRICT).args(flags).arg("-I").arg(root().join("include")).arg("-fsyntax-only").arg(source);
    succeed(&mut command);
}

/// Compiles and links a program of this crate's files (`examples/adder_client.c`, say) into `folder`. It is called after the first.
pub(crate) fn build(compiler: &str, sources: &[&str], folder: &Path) -> PathBuf {
    let sources: Vec<PathBuf> = sources.iter().map(|source| root().join(source)).collect();
    let program = folder.join(sources[0].file_stem().expect("a source file's name"));
    let library = library();
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-D_GNU_SOURCE", "-g", "-O1"]).args(STRICT).arg("-I").arg(root().join("include"));
    command.args(&sources).arg("-o").arg(&program);
    // Programs ask for the library by the name that an installation gives it.
    match std::os::unix::fs::symlink(library.join("libumach.so"), folder.join(SONAME)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{SONAME}: {error}"),
        _ => {}
    }
    command.arg("-L").arg(&library).args(["-Wl,-rpath,$ORIGIN", "-lumach", "-lpthread"]);
    succeed(&mut command);
    program
}

/// Runs a command. Panics with what it said unless it succeeds.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a shell's script in `folder` in a system of its own, with the direct plane as `direct` says. What it said; panics if it fails, or does not end.
pub(crate) fn run(folder: &Path, script: &str, direct: &str) -> String {
    let mut command = Command::new(binary("umach"));
    command.args(["run", "--private", "--", "sh", "-c", script]);
    wait(command, folder, script, direct)
}

/// The same beside a kernel process that gives tasks no more than these limits (as `umachd --limits` has them), and without a name server.
pub(crate) fn run_at(folder: &Path, script: &str, direct: &str, limits: &str) -> String {
    // The kernel process wants a folder that nobody else may enter.
    let place = tempfile::tempdir_in(folder).expect("a folder for a socket");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o700)).expect("close a folder");
    let socket = place.path().join("socket");
    let mut kernel = Command::new(binary("umachd"));
    kernel.args(["--limits", limits, "--exit-when-idle", "--socket"]).arg(&socket).env("UMACH_DIRECT", direct).env("UMACH_LOG", "warn");
    let mut kernel = Killed(kernel.stdin(Stdio::null()).spawn().expect("start umachd"));
    while !socket.exists() {
        assert!(kernel.0.try_wait().expect("look at umachd").is_none(), "umachd does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("UMACH_SOCKET", &socket);
    wait(command, folder, script, direct)
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended with its last task.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of this build.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(path.is_file(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

fn wait(mut command: Command, folder: &Path, script: &str, direct: &str) -> String {
    let log = folder.join(format!("said.{}", direct.replace(':', "-")));
    let out = std::fs::File::create(&log).expect("make a log");
    let has_socket = command.get_envs().any(|(name, _)| name == "UMACH_SOCKET");
    if !has_socket {
        command.env_remove("UMACH_SOCKET");
    }
    command.current_dir(folder).env("UMACH_DIRECT", direct).env_remove("UMACH_LANE");
    command.stdin(Stdio::null()).stdout(out.try_clone().expect("the log twice")).stderr(out);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("wait for a child") {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                child.kill().expect("end a child");
                panic!("{script:?} did not end ({direct}):\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let said = std::fs::read_to_string(&log).expect("read a log");
    assert!(status.success(), "{script:?} ({direct}): {status}\n{said}");
    said
}

/// Modes of the direct plane in which programs run: as the environment says, or all that differ.
pub(crate) fn modes() -> Vec<String> {
    match std::env::var("UMACH_DIRECT") {
        Ok(mode) => vec![mode],
        Err(_) => ["off", "always", "random:20260731"].map(str::to_owned).into(),
    }
}
