//! What the direct plane promises about many ports, threads and links at once, on a kernel in this process whose tasks have routes from the first
//! message on.
#![forbid(unsafe_code)]

mod poll;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use libtask::local::{Direct, Limits};
use libtask::{LocalKernel, Message, Next, PortOptions, ReceiveRight, SendRight, Task};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use umach_tests::eventually;

const SOON: Duration = Duration::from_secs(20);

fn kernel() -> LocalKernel {
    LocalKernel::with_direct(Limits::default(), Direct::Always)
}

/// A port of `receiver`'s and `sender`'s right to it, over which one message has gone already.
fn port(receiver: &Task, sender: &Task, hub: &SendRight, inbox: &ReceiveRight, limit: u32) -> (ReceiveRight, SendRight) {
    let options = PortOptions { queue_limit: Some(limit), ..PortOptions::default() };
    let port = receiver.new_port_with(options).expect("make a port");
    hub.send_within(Message::new(1).make_send(&port), SOON).expect("send a right");
    let right = inbox.receive_within(SOON).expect("a message").take_send(0).expect("a right");
    assert_eq!(right.task(), sender);
    // The first receive pins the port; the first message gives the sender its route.
    assert!(port.try_receive().expect("receive").is_none());
    right.send_within(Message::new(2), SOON).expect("send");
    assert_eq!(port.receive_within(SOON).expect("a message").id(), 2);
    (port, right)
}

/// One thread of each of two tasks sends to a port of the other's that nobody looks at, until it has to wait; another sends to a second port, and only
/// when that has come is the first one emptied. If what is sent to one port could block another, all four would wait for ever.
fn full_port_beside_another(limit: u32, messages: u32) {
    let kernel = kernel();
    let one = kernel.task("one").expect("a task");
    let one_inbox = one.new_port().expect("make a port");
    one.set_bootstrap(&one_inbox.make_send().expect("make a right")).expect("set the bootstrap port");
    let (other, _control) = one.spawn_local("other").expect("a task");
    let to_one = other.bootstrap().expect("a right");
    let other_inbox = other.new_port().expect("make a port");
    to_one.send_within(Message::new(1).make_send(&other_inbox), SOON).expect("send a right");
    let to_other = one_inbox.receive_within(SOON).expect("a message").take_send(0).expect("a right");

    let sides = [(&one, &other, &to_other, &other_inbox), (&other, &one, &to_one, &one_inbox)];
    thread::scope(|scope| {
        for (receiver, sender, hub, inbox) in sides {
            let (full, to_full) = port(receiver, sender, hub, inbox, limit);
            let (free, to_free) = port(receiver, sender, hub, inbox, 5);
            let sent = Arc::new(AtomicU32::new(0));
            let count = sent.clone();
            scope.spawn(move || {
                for number in 0..messages {
                    to_full.send_within(Message::new(3).bytes(&[number as u8; 4000]), SOON).expect("there is room in the end");
                    count.store(number + 1, Ordering::Release);
                }
            });
            scope.spawn(move || {
                // As many as may be under way, or as fit into the ring.
                eventually("the first thread gets as far as it can", || sent.load(Ordering::Acquire) >= limit.min(7));
                thread::sleep(Duration::from_millis(20));
                for number in 0..100u32 {
                    to_free.send_within(Message::new(4).body(&number), SOON).expect("the other port has room");
                }
            });
            scope.spawn(move || {
                for number in 0..100u32 {
                    let message = free.receive_within(SOON).expect("what goes to the other port comes");
                    assert_eq!(message.body::<u32>().expect("a number"), number);
                }
                for number in 0..messages {
                    let message = full.receive_within(SOON).expect("and then all the rest");
                    assert_eq!(message.bytes(), [number as u8; 4000]);
                }
            });
        }
    });
    kernel.check().expect("the kernel's invariants");
}

#[test]
fn port_without_credit_does_not_block_another() {
    full_port_beside_another(4, 40);
}

#[test]
fn port_whose_messages_fill_the_ring_does_not_block_another() {
    full_port_beside_another(200, 400);
}

/// One server, a thousand linked clients, in turns and at once.
#[test]
fn thousand_clients_of_one_server_are_all_served() {
    const CLIENTS: usize = 1000;
    // The kernel holds the memory of each link, and a page for each task.
    let needed = 8 * CLIENTS as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        if maximum.is_some_and(|maximum| maximum < needed) {
            eprintln!("SKIPPED: {needed} descriptors are needed here, and {maximum:?} allowed");
            return;
        }
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).expect("raise the limit of descriptors");
    }
    let kernel = LocalKernel::with_direct(Limits { task_links: 2 * CLIENTS as u64, ..Limits::default() }, Direct::Always);
    let server = kernel.task("server").expect("a task");
    let port = server.new_port_with(PortOptions { queue_limit: Some(64), ..PortOptions::default() }).expect("make a port");
    server.set_bootstrap(&port.make_send().expect("make a right")).expect("set the bootstrap port");
    let clients: Vec<(Task, SendRight)> = (0..CLIENTS)
        .map(|n| {
            let (client, _control) = server.spawn_local(&format!("client {n}")).expect("a task");
            let right = client.bootstrap().expect("a right");
            (client, right)
        })
        .collect();
    let serving = thread::spawn(move || {
        let mut served = 0u32;
        let result = port.serve(|request| {
            served += 1;
            match request.id() {
                9 => Next::ReplyAndStop(Message::new(9)),
                _ => Next::Reply(Message::new(2).body(&(request.body::<u32>().expect("a number") + 1))),
            }
        });
        result.expect("it serves to the end");
        served
    });
    let call = |right: &SendRight, number: u32| {
        let answer = right.call_within(Message::new(1).body(&number), SOON).expect("the server answers");
        assert_eq!(answer.body::<u32>().expect("a number"), number + 1);
    };
    // Three rounds over all: links come up, are used, and most of them wait while others are used.
    for round in 0..3u32 {
        for (n, (_, right)) in clients.iter().enumerate() {
            call(right, round * CLIENTS as u32 + n as u32);
        }
    }
    thread::scope(|scope| {
        for part in clients.chunks(CLIENTS / 8) {
            scope.spawn(move || {
                for (_, right) in part {
                    for number in 0..3 {
                        call(right, number);
                    }
                }
            });
        }
    });
    clients[0].1.call_within(Message::new(9), SOON).expect("the end");
    assert_eq!(serving.join().expect("the server"), 6 * CLIENTS as u32 + 1);
    kernel.check().expect("the kernel's invariants");
    drop((clients, server));
    eventually("nothing is left", || kernel.tasks() == 0);
}
