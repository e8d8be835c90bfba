//! Clients that mean harm: the server answers or drops what they send, and goes on serving the others.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE, World, await_true, pattern};
use libtask::{Message, Received, SendRight};
use umach_file_api::error::{Failure, Fault};
use umach_file_api::protocol::{Access, List, Narrow, Op, Open, Read, Rename, Write};

fn open_read() -> Open {
    Open { path: b"f".to_vec(), access: Access::READ, create: false, create_new: false, truncate: false, no_follow: false, mode: 0 }
}

fn refused(answer: &Received) -> Option<Fault> {
    // Only a refusal decodes as one: its first byte says which.
    match answer.body::<Result<(), Failure>>() {
        Ok(Err(failure)) => failure.fault(),
        _ => None,
    }
}

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
    let file = hostile.root().create("victim").unwrap();
    for op in Op::ALL {
        for right in [&root, file.right()] {
            for body in [&b""[..], &[0xff; 3], &[0xff; 16], &[0xff; 1000], &[0x80; 60_000], &[0; 60_000]] {
                // Nothing is all that this one says.
                if *op == Op::Descriptor && body.is_empty() {
                    continue;
                }
                let answer = call(right, Message::new(*op as i32).bytes(body));
                assert!(refused(&answer).is_some(), "{op:?} took {} bytes of garbage", body.len());
            }
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
        assert_eq!(refused(&call(&root, Message::new(Op::Open as i32).bytes(body))), Some(Fault::BadRequest));
    }
    let mut extra = postcard::to_stdvec(&open_read()).unwrap();
    extra.push(0);
    assert_eq!(refused(&call(&root, Message::new(Op::Open as i32).bytes(&extra))), Some(Fault::BadRequest));
    assert_serves(&world);
}

#[test]
fn unknown_operations_are_refused() {
    let world = world();
    let root = world.client("hostile").root_right();
    for id in [0, 1, 70, 72, -1, i32::MAX, i32::MIN, 4199, 4214, 4300] {
        assert_eq!(refused(&call(&root, Message::new(id))), Some(Fault::UnknownOperation), "{id}");
    }
    assert_serves(&world);
}

#[test]
fn forged_no_senders_notification_closes_nothing() {
    let world = world();
    let client = world.client("forger");
    let file = client.root().open_read("f").unwrap();
    let forged = Message::new(70).raw_body(&[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(refused(&call(file.right(), forged)), Some(Fault::UnknownOperation));
    assert!(file.read_all().unwrap() == pattern(100_000));
}

#[test]
fn wrong_rights_and_memory_are_refused_or_released() {
    let world = world();
    let hostile = world.client("hostile");
    let root = hostile.root_right();
    let file = hostile.root().create("victim").unwrap();
    let port = hostile.task.new_port().unwrap();
    let write = || Message::new(Op::Write as i32).body(&Write { offset: 0 });
    let rename = || {
        let rename = Rename { from: b"f".to_vec(), to: b"g".to_vec(), replace: true };
        Message::new(Op::Rename as i32).body(&rename)
    };
    let messages = [
        ("a write without memory", file.right(), write()),
        ("a write with a right", file.right(), write().make_send(&port)),
        ("a write with a null right", file.right(), write().no_right()),
        ("a write with two memories", file.right(), write().memory(vec![1; 10]).memory(vec![2; 10])),
        ("a write with an array", file.right(), write().rights([port.make_send().unwrap()])),
        ("a write with a receive right", file.right(), write().move_receive(hostile.task.new_port().unwrap())),
        ("a rename to two directories", &root, rename().copy_send(&root).copy_send(&root)),
    ];
    for (what, right, message) in messages {
        assert_eq!(refused(&call(right, message)), Some(Fault::BadRequest), "{what}");
    }
    let once = port.make_send_once().unwrap();
    assert!(refused(&call(file.right(), write().move_send_once(once))).is_some());
    assert!(port.receive_within(DEADLINE).unwrap().notification().is_some(), "the unused send-once right was released");
    let many = (0..1000).map(|_| port.make_send().unwrap());
    assert!(refused(&call(file.right(), write().rights(many))).is_some());
    assert_eq!(file.stat().unwrap().size, 0);
    drop(file);
    world.await_handles(0);
    assert_serves(&world);
}

#[test]
fn hostile_sizes_and_offsets_are_refused_or_cut() {
    let world = world();
    let hostile = world.client("hostile");
    let file = hostile.root().create("victim").unwrap();
    for offset in [1 << 63, u64::MAX, u64::MAX - 1, i64::MAX as u64] {
        let answer = call(file.right(), Message::new(Op::Write as i32).body(&Write { offset }).memory(vec![1; 10]));
        assert!(refused(&answer).is_some(), "write at {offset}");
        assert!(file.truncate(offset).is_err() || offset == i64::MAX as u64, "truncate to {offset}");
        file.truncate(0).unwrap();
    }
    for (offset, length) in [(u64::MAX, u64::MAX), (1 << 63, 1), (0, u64::MAX), (i64::MAX as u64, 1)] {
        let answer = call(file.right(), Message::new(Op::Read as i32).body(&Read { offset, length }));
        assert!(refused(&answer).is_some() || offset == 0, "read at {offset}");
    }
    for cursor in [1, u64::MAX, i64::MAX as u64] {
        call(&hostile.root_right(), Message::new(Op::List as i32).body(&List { cursor, stat: true }));
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
        let read = Message::new(Op::Read as i32).body(&Read { offset: 0, length: 4 << 20 }).reply_to(&nowhere);
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
            let read = Message::new(Op::Read as i32).body(&Read { offset: 0, length: 4 << 20 }).reply_to(&nowhere);
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
fn requests_without_a_reply_port_are_done_and_leave_nothing() {
    let world = world();
    let client = world.client("mute");
    let root = client.root_right();
    for _ in 0..100 {
        root.send(Message::new(Op::Open as i32).body(&open_read())).unwrap();
        root.send(Message::new(Op::Narrow as i32).body(&Narrow { path: Vec::new(), access: None })).unwrap();
        root.send(Message::new(12345)).unwrap();
    }
    world.await_handles(0);
    assert_serves(&world);
}
