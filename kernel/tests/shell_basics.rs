//! Starting and ending: Hello, the private kernel, the socket and its files, the command line.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use common::*;
use rustix::process::Signal;
use tempfile::TempDir;
use umach_abi::control::{Hello, HostControl, HostInfo};
use umach_abi::records::HostRow;
use umach_abi::{Code, Features, Name, VERSION};

/// Runs umachd where it cannot start; gives what it says.
fn refused(dir: &TempDir, args: &[&str]) -> String {
    let mut child = command(dir.path(), args).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("start umachd");
    let mut status = None;
    let end = std::time::Instant::now() + DEADLINE;
    while status.is_none() && std::time::Instant::now() < end {
        status = child.try_wait().expect("wait");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    if status.is_none() {
        child.kill().expect("kill");
    }
    let output = child.wait_with_output().expect("output");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(status.is_some_and(|status| !status.success()), "it started: {said}");
    said
}

#[test]
fn hello_gives_the_names_every_task_starts_with() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let features = Features::from_bits_retain(task.hello.features);
    assert_eq!(task.hello.version, VERSION);
    assert!(features.contains(Features::PROCESSES | Features::PIDFD_DEATH), "{features:?}");
    for name in [task.hello.task_self, task.hello.task_name, task.hello.host] {
        assert!(name.is_valid());
    }
    assert_eq!(task.hello.bootstrap, Name::NULL);
    let other = kernel.task();
    assert_ne!(task.hello.task, other.hello.task);
}

#[test]
fn task_of_the_kernels_user_gets_the_hosts_control_right() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let packet = task.call(&HostControl {});
    assert!(packet.ok::<HostControl>().name.is_valid());
}

#[test]
fn hello_of_another_version_ends_the_connection() {
    let kernel = Kernel::start(&[]);
    let wire = kernel.connect();
    wire.request(&Hello { version: VERSION + 1, features: 0 }, 1);
    wire.closed();
    kernel.still_serves();
}

#[test]
fn private_kernel_serves_its_lane_and_ends_with_its_last_task() {
    let (mut kernel, wire) = Kernel::start_private(&["--exit-when-idle"]);
    let task = wire.hello();
    task.exchange_with_itself();
    assert!(task.call(&HostControl {}).ok::<HostControl>().name.is_valid());
    let row = HostRow::read(task.call(&HostInfo { host: task.hello.host }).ok::<HostInfo>().row).expect("row");
    assert_eq!(row.pid, kernel.child.id());
    drop(task);
    assert!(kernel.ended().success());
}

#[test]
fn lane_that_is_no_seqpacket_socket_is_refused() {
    let dir = directory();
    let said = refused(&dir, &["--lane", "0"]);
    assert!(said.contains("descriptor"), "{said}");
}

#[test]
fn sigterm_closes_the_lanes_and_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut kernel = Kernel::start(&[]);
        let task = kernel.task();
        let idle = kernel.connect();
        kernel.signal(signal);
        assert!(kernel.ended().success());
        task.closed();
        idle.closed();
        let left: Vec<_> = fs::read_dir(kernel.dir.path()).expect("directory").map(|entry| entry.expect("entry").file_name()).collect();
        assert_eq!(left, ["log"]);
    }
}

#[test]
fn stale_socket_is_replaced() {
    let mut first = Kernel::start(&[]);
    first.child.kill().expect("kill");
    first.ended();
    assert!(first.socket().exists(), "a killed kernel leaves its socket");
    let dir = std::mem::replace(&mut first.dir, directory());
    Kernel::start_in(dir, &[]).still_serves();
}

#[test]
fn taken_socket_is_refused_and_its_owner_named() {
    let kernel = Kernel::start(&[]);
    let dir = directory();
    let said = refused(&dir, &["--socket", kernel.socket().to_str().expect("path")]);
    assert!(said.contains(&format!("another kernel (process {}) runs at", kernel.child.id())), "{said}");
    kernel.still_serves();
}

#[test]
fn socket_somebody_answers_on_without_our_lock_is_not_replaced() {
    let dir = directory();
    let path = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("listen");
    let inode = fs::metadata(&path).expect("socket").ino();
    refused(&dir, &["--socket", path.to_str().expect("path")]);
    assert_eq!(fs::metadata(&path).expect("socket is still there").ino(), inode);
}

#[test]
fn file_that_is_no_socket_is_not_replaced() {
    let dir = directory();
    let path = dir.path().join("socket");
    fs::write(&path, "precious").expect("file");
    let said = refused(&dir, &["--socket", path.to_str().expect("path")]);
    assert!(said.contains("not a socket"), "{said}");
    assert_eq!(fs::read_to_string(&path).expect("file is still there"), "precious");
    assert!(!dir.path().join("socket.lock").exists());
}

#[test]
fn directory_others_may_enter_is_refused() {
    let dir = directory();
    let open = dir.path().join("open");
    fs::create_dir(&open).expect("directory");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("mode");
    let said = refused(&dir, &["--socket", open.join("socket").to_str().expect("path")]);
    assert!(said.contains("chmod 700"), "{said}");
}

#[test]
fn directory_that_is_a_symbolic_link_is_refused() {
    let dir = directory();
    let real = dir.path().join("real");
    fs::create_dir(&real).expect("directory");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).expect("mode");
    symlink(&real, dir.path().join("link")).expect("link");
    let said = refused(&dir, &["--socket", dir.path().join("link/socket").to_str().expect("path")]);
    assert!(said.contains("not a directory"), "{said}");
}

#[test]
fn directory_that_is_missing_is_made_private() {
    let dir = directory();
    let socket = dir.path().join("a/b/socket");
    let kernel = Kernel::start_in(dir, &["--label", "nested"]);
    let mut child = command(kernel.dir.path(), &["--socket", socket.to_str().expect("path")]).stdin(Stdio::null()).spawn().expect("start");
    await_ready(&mut child, kernel.dir.path());
    let mode = fs::metadata(socket.parent().expect("parent")).expect("directory").mode();
    Wire::connect(&socket).hello();
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn socket_path_too_long_is_refused_with_a_reason() {
    let dir = directory();
    let said = refused(&dir, &["--socket", dir.path().join("x".repeat(120)).to_str().expect("path")]);
    assert!(said.contains("107"), "{said}");
}

#[test]
fn limits_of_the_command_line_hold() {
    let kernel = Kernel::start(&["--limits", "user-tasks=2"]);
    let _first = kernel.task();
    let second = kernel.task();
    kernel.connect().closed();
    drop(second);
    eventually("the place is free again", || {
        let wire = kernel.connect();
        wire.request(&Hello { version: VERSION, features: 0 }, 1);
        wire.receive().is_some_and(|packet| packet.head.status == Code::SUCCESS)
    });
}

#[test]
fn help_names_every_option() {
    let output = Command::new(env!("CARGO_BIN_EXE_umachd")).arg("--help").output().expect("run umachd");
    let help = String::from_utf8(output.stdout).expect("text");
    for option in ["--socket", "--lane", "--exit-when-idle", "--label", "--limits", "--log", "--ready-fd"] {
        assert!(help.contains(option), "{option} is missing in:\n{help}");
    }
}

#[test]
fn nonsense_on_the_command_line_is_refused() {
    let dir = directory();
    for args in [["--limits", "colour=3"], ["--lane", "99"], ["--log", "==="], ["--hello-within", "-1"]] {
        refused(&dir, &args);
    }
}
