//! The program `umach-name-server`: started by a task, started by itself, ended by a signal, given a bad configuration.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{DEADLINE, call, is_there, kernel, signal, tiny_service, until};
use libtask::Task;
use rustix::process::Signal;
use umach_name_api::{Error, Kind, Names, Ready};

const PROGRAM: &str = env!("CARGO_BIN_EXE_umach-name-server");

fn write_config(folder: &Path, text: &str) -> String {
    let path = folder.join("names.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn name_server_spawned_by_a_task_tells_where_it_is_and_ends_its_services_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, kernel) = kernel(folder.path());
    let task = Task::connect(&socket).unwrap();
    let config = write_config(folder.path(), &format!("[services.echo]\ncommand = [{:?}]\n", tiny_service().to_str().unwrap()));
    let ready = Ready::new(&task).unwrap();
    let command = libtask::spawn::Command::new(PROGRAM).args(["--config", &config]).bootstrap(&ready.bootstrap().unwrap());
    let mut server = task.spawn(command).unwrap();
    let names = ready.wait(DEADLINE).unwrap();
    let pid = call(&names.look_up("echo").unwrap(), b"hello").unwrap();
    assert_eq!(names.list().unwrap()[0].kind, Kind::Active);
    signal(server.pid(), Signal::TERM);
    assert!(server.wait().unwrap().success());
    assert!(!is_there(pid), "the service ended with it");
    assert!(matches!(names.look_up("echo"), Err(Error::ServerGone { .. })));
    drop((names, server, task));
    kernel.join().unwrap();
}

#[test]
fn program_that_ends_before_it_serves_fails_the_wait_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, kernel) = kernel(folder.path());
    let task = Task::connect(&socket).unwrap();
    let config = write_config(folder.path(), "[limits]\nname = 3\n");
    let ready = Ready::new(&task).unwrap();
    let mut command = libtask::spawn::Command::new(PROGRAM).args(["--config", &config]).bootstrap(&ready.bootstrap().unwrap());
    command.process().stderr(Stdio::null());
    let mut server = task.spawn(command).unwrap();
    assert!(matches!(ready.wait(Duration::from_secs(600)), Err(Error::NotStarted)));
    assert!(!server.wait().unwrap().success());
    drop((server, task));
    kernel.join().unwrap();
}

#[test]
fn name_server_started_by_itself_is_found_by_every_newcomer() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, kernel) = kernel(folder.path());
    let first = Task::connect(&socket).unwrap();
    assert!(matches!(Names::from_bootstrap(&first), Err(Error::NoNameServer)));
    let mut server = Command::new(PROGRAM).env("UMACH_SOCKET", &socket).env_remove("UMACH_LANE").spawn().unwrap();
    let connect = || {
        let task = Task::connect(&socket).unwrap();
        Names::from_bootstrap(&task).ok().map(|names| (task, names))
    };
    let (task, names) = until("it serves", connect);
    let (other, others) = connect().unwrap();
    let port = task.new_port().unwrap();
    names.register("a", port.make_send().unwrap()).unwrap();
    assert_eq!(others.list().unwrap()[0].name, "a");
    signal(server.id(), Signal::INT);
    assert!(server.wait().unwrap().success());
    drop((port, names, others, task, other, first));
    kernel.join().unwrap();
}

#[test]
fn configuration_is_checked_without_a_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let config = write_config(folder.path(), text);
        Command::new(PROGRAM).args(["--check", "--config", &config]).env("UMACH_PRIVATE", "0").output().unwrap()
    };
    assert!(check("[services.a]\ncommand = [\"true\"]\n").status.success());
    let bad = check("[services.a]\ncomand = [\"true\"]\n");
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stderr).unwrap();
    assert!(text.contains("names.toml:2:1: unknown field `comand`") && text.contains("try: "), "{text}");
}
