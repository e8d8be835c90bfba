//! Clients that mean harm: the server answers or drops what they send, and goes on serving the others.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE, World, await_true, ids, pattern};
use libtask::interface::FAILURE;
use libtask::{Code, Message, Received, SendRight};
use umach_file_api::error::{Failure, Fault};

/// How a request was refused.
#[derive(Debug, PartialEq)]
enum Refusal {
    /// By the server.
    Fault(Fault),
    /// Before it came to a method.
    Unread(Code),
}

fn refused(answer: &Received) -> Option<Refusal> {
    if answer.id() == FAILURE {
        return answer.body::<(u32, String)>().ok().map(|(code, _)| Refusal::Unread(Code(code)));
    }
    // Only a refusal decodes as one: its first byte says which.
    match answer.body::<Result<(), Failure>>() {
        Ok(Err(failure)) => failure.fault().map(Refusal::Fault),
        _ => None,
    }
}

const UNREADABLE: Option<Refusal> = Some(Refusal::Unread(Code::MIG_TYPE_ERROR));
const UNKNOWN: Option<Refusal> = Some(Refusal::Unread(Code::MIG_BAD_ID));

fn assert_serves(world: &World) {
    let honest = world.client("honest");
    let file = honest.root().open_read("f").unwrap();
    assert!(file.read_all().unwrap() == pattern(100_000));
}

fn world() -> World {
    let world = World::new();
    fs::write(world.path().join("f"), pattern(100_000)).unwrap();
    world
}

fn call(right: &SendRight, message: Message) -> Received {
    right.call_within(message, DEADLINE).unwrap()
}

#[test]
fn unreadable_bodies_are_refused() {
    let world = world();
    let hostile = world.client("hostile");
    let root = hostile.root_right();
    let file = hostile.root().create("victim").unwrap().into_right();
    // These take nothing, so nothing is too little for them; what stands there beside is from a newer client.
    let takes_nothing = [ids::DIRECTORY + 8, ids::FILE + 4, ids::FILE + 7];
    for id in ids::all() {
        for right in [&root, &file] {
            for body in [&b""[..], &[0xff; 3], &[0xff; 16], &[0xff; 1000], &[0x80; 60_000]] {
                let refused = refused(&call(right, Message::new(id).bytes(body)));
                let taken = takes_nothing.contains(&id);
                assert!(taken || refused.is_some(), "{id} took {} bytes of garbage", body.len());
            }
            // Zeros are a body of most methods: whatever that asks for, there is an answer.
            call(right, Message::new(id).bytes(&[0; 60_000]));
        }
    }
    assert_serves(&world);
}

#[test]
fn lying_lengths_are_refused() {
    let world = world();
    let root = world.client("hostile").root_right();
    // A path that says it has 2^63 bytes, and one that ends before it says.
    for body in [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'f'].as_slice(), &[200, 1, b'f'], &[5, b'f']] {
        assert_eq!(refused(&call(&root, Message::new(ids::OPEN).bytes(body))), UNREADABLE);
    }
    assert_serves(&world);
}

#[test]
fn unknown_operations_are_refused() {
    let world = world();
    let root = world.client("hostile").root_right();
    for id in [0, 1, 70, 72, -1, i32::MAX, i32::MIN, 4199, 4209, 4300, 4499, 4508, 4600] {
        assert_eq!(refused(&call(&root, Message::new(id))), UNKNOWN, "{id}");
    }
    assert_serves(&world);
}

#[test]
fn forged_no_senders_notification_closes_nothing() {
    let world = world();
    let client = world.client("forger");
    let file = client.root().open_read("f").unwrap();
    let forged = Message::new(70).raw_body(&[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(refused(&file.right().call_within(forged, DEADLINE).unwrap()), UNKNOWN);
    assert!(file.read_all().unwrap() == pattern(100_000));
}

#[test]
fn wrong_rights_and_memory_are_refused_or_released() {
    let world = world();
    let hostile = world.client("hostile");
    let root = hostile.root_right();
    let victim = hostile.root().create("victim").unwrap();
    let file = victim.duplicate().into_right();
    let port = hostile.task.new_port().unwrap();
    let too_many = Some(Refusal::Fault(Fault::BadRequest));
    let write = || ids::write(0);
    let messages = [
        ("a write without memory", &file, write(), UNREADABLE),
        ("a write with a right", &file, write().make_send(&port), UNREADABLE),
        ("a write with a null right", &file, write().no_right(), UNREADABLE),
        ("a write with two memories", &file, write().memory(vec![1; 10]).memory(vec![2; 10]), too_many),
        ("a write with an array", &file, write().rights([port.make_send().unwrap()]), UNREADABLE),
        ("a write with a receive right", &file, write().move_receive(hostile.task.new_port().unwrap()), UNREADABLE),
        ("a rename into memory", &root, ids::rename().memory(vec![1; 10]), UNREADABLE),
        ("a rename to two directories", &root, ids::rename().copy_send(&root).copy_send(&root), Some(Refusal::Fault(Fault::BadRequest))),
    ];
    for (what, right, message, why) in messages {
        assert_eq!(refused(&call(right, message)), why, "{what}");
    }
    let once = port.make_send_once().unwrap();
    assert!(refused(&call(&file, write().move_send_once(once))).is_some());
    assert!(port.receive_within(DEADLINE).unwrap().notification().is_some(), "the unused send-once right was released");
    let many = (0..1000).map(|_| port.make_send().unwrap());
    assert!(refused(&call(&file, write().rights(many))).is_some());
    assert_eq!(victim.stat().unwrap().size, 0);
    drop((file, victim));
    world.await_handles(0);
    assert_serves(&world);
}

#[test]
fn hostile_sizes_and_offsets_are_refused_or_cut() {
    let world = world();
    let hostile = world.client("hostile");
    let file = hostile.root().create("victim").unwrap();
    for offset in [1 << 63, u64::MAX, u64::MAX - 1, i64::MAX as u64] {
        let answer = file.right().call_within(ids::write(offset).memory(vec![1; 10]), DEADLINE).unwrap();
        assert!(refused(&answer).is_some(), "write at {offset}");
        assert!(file.truncate(offset).is_err() || offset == i64::MAX as u64, "truncate to {offset}");
        file.truncate(0).unwrap();
    }
    for (offset, length) in [(u64::MAX, u64::MAX), (1 << 63, 1), (0, u64::MAX), (i64::MAX as u64, 1)] {
        let answer = file.right().call_within(ids::read(offset, length), DEADLINE).unwrap();
        assert!(refused(&answer).is_some() || offset == 0, "read at {offset}");
    }
    for cursor in [1, u64::MAX, i64::MAX as u64] {
        call(&hostile.root_right(), ids::list(cursor));
    }
    assert_serves(&world);
}

#[test]
fn unread_long_answers_take_no_more_than_the_limit_and_reads_go_on() {
    let world = World::with(|config| config.lent = 8 << 20);
    fs::write(world.path().join("f"), pattern(100_000)).unwrap();
    fs::write(world.path().join("big"), pattern(4 << 20)).unwrap();
    let hostile = world.client("hoarder");
    let file = hostile.root().open_read("big").unwrap();
    let nowhere = hostile.task.new_port().unwrap();
    for _ in 0..10 {
        let read = ids::read(0, 4 << 20).reply_to(&nowhere);
        file.right().send_within(read, DEADLINE).unwrap();
    }
    let before = world.stats().requests;
    let honest = world.client("honest").root();
    assert!(honest.open_read("big").unwrap().read_all().unwrap() == pattern(4 << 20));
    assert!(world.stats().requests > before);
    // Never more than what the limit allows, however many were asked for.
    assert!(world.kernel.regions() <= 2 + 1, "{} regions", world.kernel.regions());
    drop(nowhere);
    await_true("regions", || world.kernel.regions() == 0);
    assert!(*honest.open_read("big").unwrap().read_range(0, 4 << 20).unwrap() == *pattern(4 << 20), "long again");
}

/// Sends without waiting for answers, as fast as the queues take it, until `end`.
fn flood(client: &Client, end: Instant) -> u64 {
    let root = client.root();
    let files: Vec<_> = (0..20).map(|_| root.open_read("big").unwrap()).collect();
    let nowhere = client.task.new_port().unwrap();
    let mut sent = 0;
    while Instant::now() < end {
        for file in &files {
            let read = ids::read(0, 4 << 20).reply_to(&nowhere);
            sent += u64::from(file.right().try_send(read).is_ok());
        }
    }
    sent
}

#[test]
fn flood_of_unread_answers_does_not_stop_the_others() {
    let world = world();
    fs::write(world.path().join("big"), pattern(4 << 20)).unwrap();
    let hostile = world.client("flood");
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&hostile, end));
        let honest = world.client("honest");
        let root = honest.root();
        let mut rounds = 0;
        while Instant::now() < end || rounds == 0 {
            assert!(root.open_read("f").unwrap().read_all().unwrap() == pattern(100_000));
            rounds += 1;
        }
        assert!(flooding.join().unwrap() > 0);
    });
    hostile.control.terminate().unwrap();
    drop(hostile);
    world.await_handles(0);
    await_true("regions", || world.kernel.regions() == 0);
    assert_serves(&world);
}

#[test]
fn requests_without_a_reply_port_leave_nothing() {
    let world = world();
    let client = world.client("mute");
    let root = client.root_right();
    for _ in 0..100 {
        root.send(ids::open_read()).unwrap();
        root.send(ids::narrow()).unwrap();
        root.send(Message::new(12345)).unwrap();
    }
    world.await_handles(0);
    assert_serves(&world);
}
