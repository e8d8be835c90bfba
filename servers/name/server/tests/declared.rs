//! Servers that tasks declare at run time, with real processes: who may, what is started, and what is left of it.

mod common;

use std::os::unix::process::CommandExt;
use std::path::Path;

use common::world::World;
use common::{DEADLINE, call, is_there, signal, tiny_service, until};
use libtask::{Message, Task};
use rustix::process::Signal;
use umach_abi::Code;
use umach_name_api::{DeclaredServer, Error, Event, Kind, Names, NewServer};

const ALLOWED: &str = "[policy]\ncreate_server = \"owner\"\n";

fn world(policy: &str) -> World {
    World::new(|_| policy.to_owned())
}

/// The tiny service with these arguments. It writes its process ids where the world looks for them.
fn tiny(world: &World, arguments: &[&str]) -> NewServer {
    let log = format!("TINY_LOG={}", world.folder.path().join("log").display());
    let program = tiny_service();
    NewServer::new(["/usr/bin/env", &log, program.to_str().unwrap()].iter().chain(arguments).copied())
}

fn code<T: std::fmt::Debug>(answer: Result<T, Error>) -> Code {
    answer.unwrap_err().code()
}

fn is_gone(names: &Names, name: &str) -> Option<()> {
    names.look_up(name).is_err_and(|error| error.is_unknown()).then_some(())
}

/// Another task of this process.
fn guest(world: &World) -> (Task, Names) {
    world.served.as_ref().unwrap().client("guest")
}

#[test]
fn first_message_to_a_declared_service_starts_its_command() {
    let world = world(ALLOWED);
    let server = world.names().create_server(tiny(&world, &[])).unwrap();
    let made = server.create_service("echo").unwrap();
    let (_guest, theirs) = guest(&world);
    let found = theirs.look_up("echo").unwrap();
    assert_eq!((world.entry("echo").kind, world.started()), (Kind::OnDemand, vec![]));
    let pid = call(&found, b"hello").unwrap();
    assert_eq!(call(&made, b"again").unwrap(), pid);
    let entry = world.entry("echo");
    let uid = rustix::process::geteuid().as_raw();
    let declarer = entry.declared_by.unwrap();
    assert_eq!((entry.kind, entry.pid, declarer.pid, declarer.uid), (Kind::Active, pid, std::process::id(), uid));
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string(), "a session of its own");
    // Who does not hold the server port cannot take its place.
    signal(pid, Signal::KILL);
    until("it is gone", || (world.entry("echo").kind != Kind::Active).then_some(()));
    assert_eq!(code(theirs.check_in("echo")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(code(world.names().check_in("echo")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(code(theirs.unregister("echo")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    let next = call(&found, b"once more").unwrap();
    assert_ne!(next, pid);
    until("the dead are reaped", || (!is_there(pid)).then_some(()));
}

#[test]
fn command_that_crashes_backs_off_and_keeps_its_messages_for_who_holds_the_port() {
    let world = world(ALLOWED);
    let server = world.names().create_server(tiny(&world, &["crash"])).unwrap();
    server.create_service("bad").unwrap().try_send(Message::new(1).bytes(b"kept")).unwrap();
    let detail = until("it backs off", || Some(world.entry("bad")).filter(|entry| entry.kind == Kind::BackingOff)).detail;
    assert!(detail.contains("exited with status 1") && detail.contains("next start in"), "{detail}");
    until("it is tried again and again", || (world.started().len() >= 3).then_some(()));
    let port = server.names().check_in("bad").unwrap();
    assert_eq!(port.receive_within(DEADLINE).unwrap().bytes(), b"kept");
    assert_eq!(code(server.names().check_in("bad")), Code::BOOTSTRAP_SERVICE_ACTIVE);
    assert_eq!(code(server.create_service("bad")), Code::BOOTSTRAP_SERVICE_ACTIVE);
}

#[test]
fn server_that_is_kept_running_is_started_again_without_a_message() {
    let world = world(ALLOWED);
    let server = world.names().create_server(tiny(&world, &[]).keep_running()).unwrap();
    let right = server.create_service("daemon").unwrap();
    let first = call(&right, b"x").unwrap();
    signal(first, Signal::KILL);
    let second = until("it is there again", || Some(world.entry("daemon").pid).filter(|pid| ![0, first].contains(pid)));
    until("it serves", || (world.entry("daemon").kind == Kind::Active).then_some(()));
    assert_eq!((call(&right, b"y").unwrap(), world.started()), (second, vec![first, second]));
    until("the dead are reaped", || (!is_there(first)).then_some(()));
}

#[test]
fn declaration_ends_with_its_declarer_unless_a_process_of_it_runs() {
    let world = world(ALLOWED);
    let names = world.names();
    let mut watch = names.watch_name("idle").unwrap();
    let (guest, theirs) = guest(&world);
    let server = theirs.create_server(tiny(&world, &[])).unwrap();
    let idle = server.create_service("idle").unwrap();
    let busy = theirs.create_server(tiny(&world, &[])).unwrap();
    busy.create_service("busy").unwrap();
    let (idle_found, busy_found) = (names.look_up("idle").unwrap(), names.look_up("busy").unwrap());
    let pid = call(&busy_found, b"x").unwrap();
    assert_eq!(watch.next_within(DEADLINE).unwrap(), Some(Event::Appeared("idle".into())));
    drop((idle, server, busy, theirs, guest));
    assert_eq!(watch.next_within(DEADLINE).unwrap(), Some(Event::Vanished("idle".into())));
    until("its port is dead", || idle_found.is_dead().unwrap().then_some(()));
    // The other one's process has the server port, and serves on.
    assert_eq!(call(&busy_found, b"y").unwrap(), pid);
    signal(pid, Signal::KILL);
    until("it is gone with its process", || is_gone(names, "busy"));
    until("its port is dead", || busy_found.is_dead().unwrap().then_some(()));
    until("the dead are reaped", || (!is_there(pid)).then_some(()));
}

#[test]
fn server_that_stays_is_started_after_its_declarer() {
    let world = world("[policy]\ncreate_server = \"owner\"\nservers_stay = true\n");
    let names = world.names();
    let (guest, theirs) = guest(&world);
    let server = theirs.create_server(tiny(&world, &[]).keep_running()).unwrap();
    let right = server.create_service("daemon").unwrap();
    let found = names.look_up("daemon").unwrap();
    // The first process of a daemon that declares itself, as mach_init's did.
    let port = server.names().check_in("daemon").unwrap();
    drop((port, right, server, theirs, guest));
    let pid =
        until("the next one", || Some(world.entry("daemon")).filter(|entry| entry.kind == Kind::Active && entry.pid != std::process::id()))
            .pid;
    assert_eq!(call(&found, b"x").unwrap(), pid);
}

#[test]
fn server_that_is_undone_loses_its_names_and_its_process() {
    let world = world(ALLOWED);
    let names = world.names();
    let server = names.create_server(tiny(&world, &[])).unwrap();
    let right = server.create_service("a").unwrap();
    server.create_service("b").unwrap();
    server.names().unregister("b").unwrap();
    assert!(is_gone(names, "b").is_some());
    let pid = call(&right, b"x").unwrap();
    // Whoever is given the right may do it.
    DeclaredServer::at(server.right().duplicate()).undo().unwrap();
    assert!(is_gone(names, "a").is_some());
    until("it is killed", || (!is_there(pid)).then_some(()));
    assert!(right.is_dead().unwrap());
    until("its server port is dead", || server.right().is_dead().unwrap().then_some(()));
    assert!(matches!(server.create_service("c"), Err(Error::ServerGone { .. })));
}

#[test]
fn server_of_a_subset_is_found_there_only_and_started_there() {
    let world = world(ALLOWED);
    let names = world.names();
    let subset = Names::at(names.subset().unwrap());
    // Its process publishes a name where it finds itself.
    let server = subset.create_server(tiny(&world, &["register", "inner"])).unwrap();
    let right = server.create_service("start").unwrap();
    assert!(is_gone(names, "start").is_some());
    assert_eq!(subset.list().unwrap()[0].name, "start");
    right.try_send(Message::new(1)).unwrap();
    let inner = subset.look_up_within("inner", DEADLINE).unwrap();
    assert!(is_gone(names, "inner").is_some());
    let pid = call(&inner, b"x").unwrap();
    drop((subset, server, right));
    assert_eq!(call(&inner, b"y").unwrap(), pid, "its process holds on to the subset");
    signal(pid, Signal::KILL);
    until("the dead are reaped", || (!is_there(pid)).then_some(()));
}

#[test]
fn servers_children_may_be_given_what_is_no_server_port() {
    let world = world(ALLOWED);
    let subset = Names::at(world.names().subset().unwrap());
    let server = subset.create_server(tiny(&world, &[])).unwrap();
    server.create_service("svc").unwrap();
    let plain = Names::at(server.names().unprivileged().unwrap());
    assert_eq!(plain.look_up("svc").unwrap().name(), server.names().look_up("svc").unwrap().name());
    assert_eq!(code(plain.check_in("svc")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(code(DeclaredServer::at(plain.right().duplicate()).create_service("x")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    // It keeps the subset as any right to it does, and when that has ended there is none to be had.
    drop(subset);
    assert_eq!(plain.list().unwrap()[0].name, "svc");
    drop(plain);
    until("nobody holds the subset", || server.names().unprivileged().err().filter(|error| error.code() == Code::BOOTSTRAP_NOT_PRIVILEGED));
    assert_eq!(server.names().list().unwrap()[0].name, "svc");
}

#[test]
fn servers_of_a_subset_end_with_its_requestor() {
    let world = world(ALLOWED);
    let requestor = world.task().new_port().unwrap();
    let subset = Names::at(world.names().subset_of(requestor.make_send().unwrap()).unwrap());
    let server = subset.create_server(tiny(&world, &[]).keep_running()).unwrap();
    let right = server.create_service("svc").unwrap();
    let pid = call(&right, b"x").unwrap();
    drop(requestor);
    until("its process is killed", || (!is_there(pid)).then_some(()));
    until("its server port is dead", || server.right().is_dead().unwrap().then_some(()));
    assert!(right.is_dead().unwrap() && subset.right().is_dead().unwrap());
    assert_eq!(world.started(), [pid], "nothing is started again");
}

#[test]
fn strangers_command_and_what_is_not_allowed_are_refused_with_the_reason() {
    let closed = world("");
    let error = closed.names().create_server(NewServer::new(["/bin/true"])).unwrap_err();
    assert_eq!(error.code(), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert!(error.to_string().contains("create_server in [policy]"), "{error}");
    let world = world(ALLOWED);
    let names = world.names();
    let me = rustix::process::geteuid().as_raw();
    for uid in [me + 1, me + 1000, u32::MAX] {
        assert_eq!(code(names.create_server(NewServer::new(["/bin/true"]).uid(uid))), Code::BOOTSTRAP_NOT_PRIVILEGED, "{uid}");
    }
    for command in [&[][..], &["true"], &["bin/true"], &["/bin/true", "a\0b"]] {
        assert_eq!(code(names.create_server(NewServer::new(command.iter().copied()))), Code::KERN_INVALID_ARGUMENT, "{command:?}");
    }
    // A bootstrap port is no server port.
    let plain = DeclaredServer::at(names.right().duplicate());
    assert_eq!(code(plain.create_service("x")), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(code(plain.undo()), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert!(world.started().is_empty() && names.list().unwrap().is_empty());
}

/// Starts the tiny service as another user, who declares a server.
fn stranger(world: &World, arguments: &[&str]) -> libtask::Child {
    let mut command = libtask::spawn::Command::new(tiny_service()).args(arguments).kill_on_drop();
    command.process().uid(NOBODY).gid(NOBODY);
    world.task().spawn(command).unwrap()
}

const NOBODY: u32 = 65534;

#[test]
fn other_user_is_refused_or_served_as_that_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root has tasks of other users");
        return;
    }
    // The build may lie where nobody else may look; a program that everybody may start says who it is by a file that it cannot write.
    let closed = world(ALLOWED);
    let mut refused = stranger(&closed, &["declare", "theirs", "/bin/true"]);
    assert_eq!(refused.wait().unwrap().code(), Some(3));
    drop(refused);
    assert!(closed.names().list().unwrap().is_empty());

    let open = world("[policy]\ncreate_server = [65534]\ncheck_in = \"any\"\n");
    assert_eq!(code(open.names().create_server(NewServer::new(["/bin/true"]))), Code::BOOTSTRAP_NOT_PRIVILEGED, "root is not in the list");
    let program = tiny_service();
    let declarer = stranger(&open, &["declare", "theirs", program.to_str().unwrap()]);
    let right = open.names().look_up_within("theirs", DEADLINE).unwrap();
    let pid = call(&right, b"who?").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((line("Uid:"), line("Gid:"), line("Groups:")), (vec!["65534"; 4], vec!["65534"; 4], vec![]));
    assert_eq!(line("CapPrm:"), ["0000000000000000"]);
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut variables: Vec<_> = environment.split(|byte| *byte == 0).filter(|text| !text.is_empty()).map(String::from_utf8_lossy).collect();
    variables.retain(|text| !["PATH=", "UMACH_SERVICE=", "UMACH_LANE=", "UMACH_LANE_INODE="].iter().any(|known| text.starts_with(known)));
    assert!(variables.is_empty(), "{variables:?}");
    for descriptor in [0, 1, 2] {
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap(), Path::new("/dev/null"));
    }
    let entry = open.entry("theirs");
    assert_eq!((entry.uid, entry.declared_by.unwrap().uid), (NOBODY, NOBODY));
    drop(declarer);
}

#[test]
fn flood_of_declarations_is_bounded_and_leaves_nothing() {
    let world = world(&format!("{ALLOWED}[limits]\nservers = 4\nuser_servers = 6\nservices = 3\n"));
    let names = world.names();
    let rights = || world.served.as_ref().unwrap().task.control().unwrap().names().unwrap().len();
    let before = rights();
    let (flooder, theirs) = guest(&world);
    let mut kept = Vec::new();
    for round in 0..300 {
        match theirs.create_server(tiny(&world, &["crash"])) {
            Ok(server) => {
                // As many names as it gets, each with a message that wants a start.
                for n in 0.. {
                    match server.create_service(&format!("flood.{round}.{n}")) {
                        Ok(right) => drop(right.try_send(Message::new(1))),
                        Err(error) => {
                            assert_eq!((error.code(), n), (Code::BOOTSTRAP_NO_MEMORY, 3));
                            break;
                        }
                    }
                }
                // Most are dropped again at once, with a start under way.
                if round % 50 == 0 {
                    kept.push(server);
                }
            }
            Err(error) => assert_eq!(error.code(), Code::BOOTSTRAP_NO_MEMORY),
        }
        assert!(names.list().unwrap().len() <= 4 * 3, "round {round}");
    }
    assert!(!kept.is_empty());
    // A neighbour has room.
    let mine = names.create_server(tiny(&world, &[])).unwrap();
    assert!(call(&mine.create_service("mine").unwrap(), b"x").is_ok());
    mine.undo().unwrap();
    drop((kept, theirs, flooder));
    until("everything is given back", || (rights() <= before).then_some(()));
    until("the dead are reaped", || world.started().into_iter().all(|pid| !is_there(pid)).then_some(()));
    assert!(names.list().unwrap().is_empty());
}
