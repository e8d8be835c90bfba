//! Memory lent over links, two tasks of an in-process kernel.

mod common;

use std::thread;
use std::time::Duration;

use libtask::local::Direct;
use libtask::{LocalKernel, Message, Next, Received};

use common::Pair;

const SOON: Duration = Duration::from_secs(10);

/// Two tasks of which one has a route to the other.
fn pair() -> Pair {
    pair_in(Direct::Always)
}

fn pair_in(direct: Direct) -> Pair {
    let pair = common::pair(LocalKernel::with_direct(Default::default(), direct));
    // The first message makes the link, and what came by the kernel process is behind both.
    for _ in 0..3 {
        pair.right.send(Message::new(0)).unwrap();
        pair.port.receive_within(SOON).unwrap();
        let _ = pair.port.try_receive().unwrap();
    }
    pair
}

fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + seed * 7 + (n >> 8)) as u8).collect()
}

fn bytes_of(message: &mut Received, part: usize) -> (Vec<u8>, bool) {
    let lease = message.take_lease(part).unwrap();
    let mut seen = Vec::new();
    lease.blocks(|block| seen.extend_from_slice(block));
    assert_eq!(seen.len(), lease.len());
    let mut lines = Vec::with_capacity(seen.len());
    lease.lines(|line| lines.extend_from_slice(line));
    assert!(lines == seen, "two ways to read {} bytes differ", seen.len());
    (seen, lease.is_in_place())
}

#[test]
fn loan_is_read_where_it_was_filled() {
    let pair = pair();
    for (n, len) in [1, 100, 4096, 100_000, 1 << 20, 5 << 20, 64 << 20].into_iter().enumerate() {
        let mut loan = pair.right.loan(len);
        assert!(loan.is_in_place() && loan.len() == len, "{len} bytes");
        let bytes = pattern(n, len);
        loan.copy_from_slice(&bytes);
        pair.right.send(Message::new(1).loan(loan).bytes(b"body")).unwrap();
        let mut got = pair.port.receive_within(SOON).unwrap();
        assert_eq!((got.parts(), got.bytes()), (1, &b"body"[..]));
        let (seen, in_place) = bytes_of(&mut got, 0);
        assert!(in_place && seen == bytes, "{len} bytes");
        assert!(got.take_lease(0).is_err());
    }
}

#[test]
fn memory_of_every_size_is_lent_or_goes_along() {
    let pair = pair();
    for round in 0..3 {
        for len in [0usize, 1, 3, 500, 3900, 4096, 5000, 32 * 1024, 32 * 1024 + 1, 300_000, 1 << 20] {
            let bytes = pattern(len + round, len);
            let message = Message::new(1).memory(bytes.clone()).memory(&bytes[..len.min(10)]).bytes(b"after");
            pair.right.send(message).unwrap();
            let mut got = pair.port.receive_within(SOON).unwrap();
            assert_eq!(got.bytes(), b"after");
            assert!(got.memory(0).unwrap()[..] == bytes[..], "{len} bytes differ");
            let lease = got.take_lease(1).unwrap();
            let mut part = [0; 4];
            if len > 9 {
                lease.read_at(&mut part, 6);
                assert_eq!(part, bytes[6..10]);
            }
            assert_eq!(lease.to_vec(), &bytes[..len.min(10)]);
        }
    }
}

#[test]
fn long_bodies_go_over_links_both_ways() {
    let pair = pair();
    let server = thread::spawn(move || {
        pair.port.serve(|request| match request.id() {
            9 => Next::ReplyAndStop(Message::new(10)),
            _ => Next::Reply(Message::new(101).bytes(request.bytes())),
        })
    });
    for len in [4000, 4080, 4096, 5000, 20_000, 60_000] {
        let body = pattern(len, len);
        let answer = pair.right.call_within(Message::new(100).bytes(&body), SOON).unwrap();
        assert!(answer.bytes() == body, "{len} bytes");
    }
    pair.right.call_within(Message::new(9), SOON).unwrap();
    server.join().unwrap().unwrap();
    drop((pair.client, pair.server));
}

#[test]
fn answers_lend_and_get_their_memory_back() {
    let pair = pair();
    let server = thread::spawn(move || {
        pair.port.serve(|request| {
            if request.id() == 9 {
                return Next::ReplyAndStop(Message::new(10));
            }
            let len: u64 = request.body().unwrap();
            let mut loan = request.loan(len as usize);
            let in_place = loan.is_in_place();
            loan.fill(len as u8);
            Next::Reply(Message::new(101).loan(loan).body(&in_place))
        })
    });
    let mut held = Vec::new();
    let mut in_place = 0;
    for n in 0..3000u64 {
        let len = if n % 100 == 0 { 3 << 20 } else { 1 + n * 97 % 70_000 };
        let mut answer = pair.right.call_within(Message::new(100).body(&len), SOON).unwrap();
        in_place += u32::from(answer.body::<bool>().unwrap());
        let lease = answer.take_lease(0).unwrap();
        assert_eq!(lease.len() as u64, len);
        lease.blocks(|block| assert!(block.iter().all(|&byte| byte == len as u8)));
        // Some are kept for a while.
        if n % 3 == 0 {
            held.push((lease, len));
        }
        if held.len() == 20 {
            for (lease, len) in held.drain(..) {
                assert!(lease.to_vec().iter().all(|&byte| byte == len as u8));
            }
        }
    }
    assert_eq!(in_place, 3000);
    pair.right.call_within(Message::new(9), SOON).unwrap();
    server.join().unwrap().unwrap();
}

#[test]
fn answers_that_come_too_late_give_their_memory_back() {
    let pair = pair();
    let server = thread::spawn(move || {
        let mut late = Vec::new();
        pair.port.serve(|request| {
            if request.id() == 9 {
                return Next::ReplyAndStop(Message::new(10));
            }
            // Each is answered after the next has come.
            late.push(request.reply_right().unwrap());
            if late.len() > 1 {
                let right = late.remove(0);
                let loan = request.loan(1);
                drop(loan);
                let mut loan = match &right {
                    libtask::ReplyRight::Once(once) => once.loan(8 << 20),
                    libtask::ReplyRight::Send(send) => send.loan(8 << 20),
                };
                assert!(loan.is_in_place(), "what nobody took was not given back");
                loan[0] = 1;
                right.send(Message::new(101).loan(loan)).unwrap();
            }
            Next::Continue
        })
    });
    for _ in 0..60 {
        let error = pair.right.call_within(Message::new(100), Duration::from_millis(5)).unwrap_err();
        assert!(error.is_timed_out(), "{error}");
    }
    pair.right.call_within(Message::new(9), SOON).unwrap();
    server.join().unwrap().unwrap();
}

#[test]
fn peer_that_gives_nothing_back_gets_regions() {
    let pair = pair();
    let mut held = Vec::new();
    let mut copied = 0;
    for n in 0..40 {
        let mut loan = pair.right.loan(16 << 20);
        copied += u32::from(!loan.is_in_place());
        loan[n] = n as u8 + 1;
        pair.right.send(Message::new(n as i32).loan(loan)).unwrap();
        let mut got = pair.port.receive_within(SOON).unwrap();
        assert_eq!(got.id(), n as i32);
        held.push(got.take_lease(0).unwrap());
    }
    assert!(copied > 20, "{copied} of 40");
    for (n, lease) in held.iter().enumerate() {
        let mut byte = [0];
        lease.read_at(&mut byte, n);
        assert_eq!(byte[0], n as u8 + 1);
    }
    drop(held);
    assert!(pair.right.loan(16 << 20).is_in_place());
}

#[test]
fn lent_memory_goes_with_a_port_that_moves() {
    let pair = pair();
    let inbox = pair.client.new_port().unwrap();
    pair.right.send(Message::new(49).make_send(&inbox)).unwrap();
    let to_client = pair.port.receive_within(SOON).unwrap().take_send(0).unwrap();
    for n in 0..4u8 {
        let mut loan = pair.right.loan(100_000);
        loan.fill(n + 1);
        pair.right.send(Message::new(n as i32).loan(loan).memory(vec![n; 50]).bytes(&[n; 8])).unwrap();
    }
    // The server looks at one of them, so that the others are in its own queue, and gives the port away.
    let mut first = pair.port.receive_within(SOON).unwrap();
    to_client.send(Message::new(50).move_receive(pair.port)).unwrap();
    let port = inbox.receive_within(SOON).unwrap().take_receive(0).unwrap();
    assert_eq!(bytes_of(&mut first, 0).0, vec![1; 100_000]);
    for n in 1..4u8 {
        let mut got = port.receive_within(SOON).unwrap();
        assert_eq!((got.id(), got.bytes()), (n as i32, &[n; 8][..]));
        let (seen, in_place) = bytes_of(&mut got, 0);
        assert!(!in_place && seen == vec![n + 1; 100_000]);
        assert_eq!(got.memory(1).unwrap()[..], [n; 50]);
    }
}

#[test]
fn lent_memory_is_sent_again_if_its_receiver_dies_and_the_port_lives() {
    let kernel = LocalKernel::with_direct(Default::default(), Direct::Always);
    let guardian = kernel.task("guardian").unwrap();
    let (hub, notify) = (guardian.new_port().unwrap(), guardian.new_port().unwrap());
    guardian.set_bootstrap(&hub.make_send().unwrap()).unwrap();
    let member = |label| {
        let (task, control) = guardian.spawn_local(label).unwrap();
        let inbox = task.new_port().unwrap();
        task.bootstrap().unwrap().send(Message::new(0).make_send(&inbox)).unwrap();
        (task, control, inbox, hub.receive_within(SOON).unwrap().take_send(0).unwrap())
    };
    let (server, control, server_inbox, to_server) = member("server");
    let (_client, _, client_inbox, to_client) = member("client");
    let port = guardian.new_port().unwrap();
    port.on_destroyed(&notify).unwrap();
    to_client.send(Message::new(0).make_send(&port)).unwrap();
    to_server.send(Message::new(0).move_receive(port)).unwrap();
    let right = client_inbox.receive_within(SOON).unwrap().take_send(0).unwrap();
    let port = server_inbox.receive_within(SOON).unwrap().take_receive(0).unwrap();
    for _ in 0..3 {
        assert!(port.try_receive().unwrap().is_none());
        right.send(Message::new(0)).unwrap();
        port.receive_within(SOON).unwrap();
    }
    for n in 0..4u8 {
        let mut loan = right.loan(100_000);
        assert!(loan.is_in_place());
        loan.fill(n + 1);
        right.send(Message::new(n as i32).loan(loan).memory(vec![n; 50]).bytes(&[n; 8])).unwrap();
    }
    // It has received one and keeps what came with it; the others are on its side.
    let mut first = port.receive_within(SOON).unwrap();
    control.terminate().unwrap();
    let mut found = notify.receive_within(SOON).unwrap();
    let port_again = found.take_receive(0).unwrap();
    right.send_within(Message::new(9), SOON).unwrap();
    for n in 1..4u8 {
        let mut got = port_again.receive_within(SOON).unwrap();
        assert_eq!((got.id(), got.bytes()), (n as i32, &[n; 8][..]));
        assert_eq!(bytes_of(&mut got, 0).0, vec![n + 1; 100_000]);
        assert_eq!(got.memory(1).unwrap()[..], [n; 50]);
    }
    assert_eq!(port_again.receive_within(SOON).unwrap().id(), 9);
    assert!(port_again.try_receive().unwrap().is_none());
    assert_eq!(bytes_of(&mut first, 0).0, vec![1; 100_000]);
    drop((port, server));
}

#[test]
fn calls_that_are_begun_have_each_its_own_answer() {
    for direct in [Direct::Always, Direct::Off] {
        let pair = pair_in(direct);
        let server = thread::spawn(move || {
            pair.port.serve(|request| match request.id() {
                9 => Next::ReplyAndStop(Message::new(10)),
                8 => Next::Continue,
                _ => {
                    let n: u32 = request.body().unwrap();
                    let mut loan = request.loan(10_000);
                    loan.fill(n as u8);
                    Next::Reply(Message::new(101).body(&n).loan(loan))
                }
            })
        });
        for round in 0..30u32 {
            let begin = |n: u32| pair.right.begin_call(Message::new(100).body(&n)).unwrap();
            let mut calls: Vec<_> = (0..4).map(|n| (round * 4 + n, begin(round * 4 + n))).collect();
            // Not in their order, and not all of them.
            calls.rotate_left(round as usize % 4);
            drop(calls.pop());
            for (n, call) in calls {
                let mut answer = call.finish_within(SOON).unwrap();
                assert_eq!(answer.body::<u32>().unwrap(), n);
                assert_eq!(answer.memory(0).unwrap()[..], [n as u8; 10_000]);
            }
        }
        let dropped = pair.right.begin_call(Message::new(8)).unwrap().finish_within(SOON).unwrap_err();
        assert!(dropped.is_server_died(), "{dropped}");
        pair.right.call_within(Message::new(9), SOON).unwrap();
        server.join().unwrap().unwrap();
    }
}
