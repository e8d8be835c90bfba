//! Handles as rights: passed on, counted, limited, closed.

mod common;

use std::fs;
use std::thread;

use common::{DEADLINE, World, await_true, fault, ids, pattern};
use libtask::Message;
use umach_file_api::{Dir, Fault, File, FileError};
use umach_file_server::HandleLimits;

#[test]
fn open_file_passed_to_a_third_task_is_used_there() {
    let world = World::new();
    fs::write(world.path().join("f"), b"passed on").unwrap();
    let (giver, taker) = (world.client("giver"), world.client("taker"));
    // The taker's port reaches the giver as a right in a message through a port that both know: here, registered with the giver.
    let inbox = taker.task.new_port().unwrap();
    taker.task.register([Some(&inbox.make_send().unwrap()), None, None]).unwrap();
    let (spawned, control) = taker.task.spawn_local("giver's child").unwrap();
    let to_taker = spawned.registered().unwrap()[0].take().unwrap();
    let file = Dir::from_right(spawned.bootstrap().unwrap()).open_read("f").unwrap();
    to_taker.send(Message::new(1).move_send(file.into_right())).unwrap();
    drop((to_taker, giver));
    let mut message = inbox.receive_within(DEADLINE).unwrap();
    let file = File::from_right(message.take_send(0).unwrap());
    control.terminate().unwrap();
    drop(spawned);
    assert_eq!(file.read_all().unwrap(), b"passed on");
    assert_eq!(fault(file.write_at(0, b"x")), Fault::NotPermitted);
    assert_eq!(world.stats().handles, 1);
    drop(file);
    world.await_handles(0);
}

#[test]
fn handle_closes_when_the_last_right_is_gone() {
    let world = World::new();
    fs::write(world.path().join("f"), b"x").unwrap();
    let client = world.client("closer");
    let root = client.root();
    let files: Vec<File> = (0..50).map(|_| root.open_read("f").unwrap()).collect();
    let copies: Vec<File> = files.iter().map(File::duplicate).collect();
    assert_eq!(world.stats().handles, 50);
    drop(files);
    assert_eq!(copies[49].read_all().unwrap(), b"x");
    assert_eq!(world.stats().handles, 50);
    drop(copies);
    world.await_handles(0);
    assert_eq!(root.open_read("f").unwrap().read_all().unwrap(), b"x", "the root stays");
}

#[test]
fn client_that_dies_leaves_nothing_open() {
    let world = World::new();
    fs::write(world.path().join("f"), pattern(1 << 20)).unwrap();
    for _ in 0..5 {
        let client = world.client("mortal");
        let root = client.root();
        let dirs: Vec<Dir> = (0..10).map(|_| root.read_only().unwrap()).collect();
        let files: Vec<File> = (0..10).map(|_| dirs[0].open_read("f").unwrap()).collect();
        // Requests whose answers nobody will read: a long read, and an open whose handle dies on its way.
        let nowhere = client.task.new_port().unwrap();
        for _ in 0..3 {
            files[0].right().send(ids::read(0, 1 << 20).reply_to(&nowhere)).unwrap();
            root.right().send(ids::narrow().reply_to(&nowhere)).unwrap();
        }
        client.control.terminate().unwrap();
        drop((dirs, files, nowhere, root, client));
        world.await_handles(0);
    }
    await_true("regions", || world.kernel.regions() == 0);
    assert_eq!(world.client("heir").root().open_read("f").unwrap().read_all().unwrap().len(), 1 << 20);
}

#[test]
fn one_client_cannot_take_all_handles() {
    let world = World::with(|config| config.handles = Some(HandleLimits { task: 5, user: 8, total: 100 }));
    fs::write(world.path().join("f"), b"x").unwrap();
    let (greedy, other) = (world.client("greedy"), world.client("other"));
    let root = greedy.root();
    let held: Vec<File> = (0..5).map(|_| root.open_read("f").unwrap()).collect();
    assert_eq!(fault(root.open_read("f")), Fault::TooManyHandles);
    assert_eq!(fault(root.read_only()), Fault::TooManyHandles);
    assert_eq!(fault(root.create("not created")), Fault::TooManyHandles);
    assert!(!world.path().join("not created").exists(), "refused before anything is done");
    let others = other.root();
    let also: Vec<File> = (0..3).map(|_| others.open_read("f").unwrap()).collect();
    assert_eq!(fault(others.open_read("f")), Fault::TooManyHandles, "the user's limit");
    assert_eq!(held[0].read_all().unwrap(), b"x");
    drop(held);
    await_true("room", || others.open_read("f").is_ok());
    drop(also);
    world.await_handles(0);
}

#[test]
fn many_clients_read_and_write_at_once() {
    let world = World::new();
    let bytes = pattern(300_000);
    fs::write(world.path().join("shared"), &bytes).unwrap();
    let log = world.client("log").root();
    log.create("log").unwrap();
    thread::scope(|scope| {
        for n in 0..16 {
            let (world, bytes) = (&world, &bytes);
            scope.spawn(move || {
                let client = world.client(&format!("client {n}"));
                let root = client.root();
                let own = root.create(format!("own-{n}")).unwrap();
                let log = root.open("log", umach_file_api::OpenOptions::new().append(true)).unwrap();
                for round in 0..20 {
                    let file = root.open_read("shared").unwrap();
                    assert!(*file.read_range(0, u64::MAX).unwrap() == **bytes);
                    own.write_all_at(round * 1000, &[n; 1000]).unwrap();
                    log.append(&[b'a' + n; 99]).unwrap();
                }
                assert!(own.read_all().is_ok_and(|all| all == vec![n; 20_000]));
            });
        }
    });
    let log = fs::read(world.path().join("log")).unwrap();
    assert_eq!(log.len(), 16 * 20 * 99);
    assert!(log.chunks(99).all(|line| line.iter().all(|byte| *byte == line[0])), "an append was torn");
    world.await_handles(0);
}

#[test]
fn threads_of_one_client_all_get_their_turn() {
    let world = World::new();
    let bytes = pattern(200_000);
    fs::write(world.path().join("f"), &bytes).unwrap();
    let client = world.client("threads");
    let root = client.root();
    thread::scope(|scope| {
        // Far more than may be under work at once, so most of them are parked for a while.
        for _ in 0..40 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(root.open_read("f").unwrap().read_all().unwrap() == bytes);
                }
            });
        }
    });
    world.await_handles(0);
}

#[test]
fn handle_of_a_server_that_ended_is_stale_and_says_so() {
    let mut world = World::new();
    fs::write(world.path().join("f"), b"x").unwrap();
    let client = world.client("survivor");
    let root = client.root();
    let file = root.open_read("f").unwrap();
    world.stop();
    let error = file.read_all().unwrap_err();
    assert!(matches!(error, FileError::Gone { .. }), "{error}");
    assert!(error.to_string().contains("stale"), "{error}");
    assert!(matches!(root.stat("f").unwrap_err(), FileError::Gone { .. }));
}

#[test]
fn directory_of_another_server_is_no_target() {
    let (world, elsewhere) = (World::new(), tempfile::tempdir().unwrap());
    fs::write(world.path().join("f"), b"x").unwrap();
    let client = world.client("between");
    let root = client.root();
    // A port that is no server's at all does as well as another server's.
    let port = client.task.new_port().unwrap();
    let foreign = Dir::from_right(port.make_send().unwrap());
    assert_eq!(fault(root.rename("f", &foreign, "f")), Fault::ForeignDirectory);
    let file = root.open_read("f").unwrap();
    let not_a_directory = Dir::from_right(file.duplicate().into_right());
    assert_eq!(fault(root.rename("f", &not_a_directory, "f")), Fault::NotDirectory);
    assert!(world.path().join("f").exists());
    drop(elsewhere);
}

/// In a test binary of its own this would be one number; here other tests open files too, so only those of this tree are counted.
fn descriptors_beneath(path: &std::path::Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()).filter(|target| target.starts_with(path)).count()
}

#[test]
fn descriptors_are_flat_over_many_opens_and_deaths() {
    let world = World::new();
    fs::write(world.path().join("f"), b"x").unwrap();
    fs::create_dir(world.path().join("d")).unwrap();
    let idle = descriptors_beneath(world.path());
    for round in 0..20 {
        let client = world.client("opener");
        let root = client.root();
        let held: Vec<_> = (0..20).map(|_| (root.open_read("f").unwrap(), root.subdir("d").unwrap(), root.read_only().unwrap())).collect();
        let whole: Vec<_> = held.iter().map(|(file, ..)| file.read_only().unwrap()).collect();
        // A narrowed handle shares the descriptor of the one that it came from.
        assert_eq!(descriptors_beneath(world.path()), idle + 40);
        if round % 2 == 0 {
            client.control.terminate().unwrap();
        }
        drop((held, whole, root, client));
        world.await_handles(0);
        await_true("descriptors", || descriptors_beneath(world.path()) == idle);
    }
}
