//! Messages over links, two tasks of an in-process kernel.

mod common;

use std::thread;
use std::time::Duration;

use libtask::{LocalKernel, Message, Next, ReceiveRight, SendRight, Task};

use common::Pair;

const SECOND: Duration = Duration::from_secs(10);

fn pair() -> Pair {
    common::pair(LocalKernel::start())
}

#[test]
fn calls_are_answered() {
    let pair = pair();
    let server = thread::spawn(move || {
        pair.port.serve(|request| {
            if request.id() == 9 {
                return Next::ReplyAndStop(Message::new(10));
            }
            let n: u64 = request.body().unwrap();
            Next::Reply(Message::new(101).body(&(n + 1)))
        })
    });
    for n in 0..2000u64 {
        let answer = pair.right.call_within(Message::new(100).body(&n), SECOND).unwrap();
        assert_eq!((answer.id(), answer.body::<u64>().unwrap(), answer.sender().task), (101, n + 1, pair.server.id()));
    }
    pair.right.call_within(Message::new(9), SECOND).unwrap();
    server.join().unwrap().unwrap();
    drop(pair.client);
}

#[test]
fn messages_arrive_in_order() {
    let pair = pair();
    let right = pair.right;
    let sender = thread::spawn(move || {
        for n in 0..20_000u64 {
            right.send_within(Message::new(1).body(&n), SECOND).unwrap();
        }
    });
    for n in 0..20_000u64 {
        assert_eq!(pair.port.receive_within(SECOND).unwrap().body::<u64>().unwrap(), n);
    }
    sender.join().unwrap();
}

/// A task with an inbox, and rights to everybody's inbox.
struct Member {
    task: Task,
    inbox: ReceiveRight,
    others: Vec<SendRight>,
    /// Its place in `others`.
    number: usize,
}

/// So many tasks that can all send to each other.
fn members(kernel: &LocalKernel, count: usize) -> Vec<Member> {
    let director = kernel.task("director").unwrap();
    let hub = director.new_port().unwrap();
    director.set_bootstrap(&hub.make_send().unwrap()).unwrap();
    let mut members = Vec::new();
    let mut rights = Vec::new();
    for n in 0..count {
        let (task, _control) = director.spawn_local(&format!("member {n}")).unwrap();
        let inbox = task.new_port().unwrap();
        task.bootstrap().unwrap().send(Message::new(0).make_send(&inbox)).unwrap();
        rights.push(hub.receive_within(SECOND).unwrap().take_send(0).unwrap());
        members.push(Member { task, inbox, others: Vec::new(), number: n });
    }
    for right in &rights {
        right.send(Message::new(0).rights(rights.iter().map(SendRight::duplicate))).unwrap();
    }
    for member in &mut members {
        let mut all = member.inbox.receive_within(SECOND).unwrap();
        member.others = all.take_rights(0).unwrap().into_iter().flatten().collect();
    }
    members
}

/// A port goes round between three tasks while three others keep sending to it; all that each of them sent arrives, in order.
#[test]
fn port_that_travels_loses_nothing() {
    const TRAVELLERS: usize = 3;
    const SENDERS: usize = 3;
    const NUMBERS: u32 = 2000;
    let kernel = LocalKernel::start();
    let mut all = members(&kernel, TRAVELLERS + SENDERS);
    let senders = all.split_off(TRAVELLERS);
    let options = libtask::PortOptions { queue_limit: Some(16), ..Default::default() };
    let port = all[0].task.new_port_with(options).unwrap();
    for sender in &senders {
        all[0].others[sender.number].send_within(Message::new(0).make_send(&port), SECOND).unwrap();
    }
    let senders: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(n, sender)| {
            thread::spawn(move || {
                let right = sender.inbox.receive_within(SECOND).unwrap().take_send(0).unwrap();
                for number in 0..NUMBERS {
                    right.send_within(Message::new(n as i32).body(&number), SECOND).unwrap();
                }
            })
        })
        .collect();
    all[0].others[0].send_within(Message::new(7).move_receive(port), SECOND).unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new([0u32; SENDERS]));
    let travellers: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(n, member)| {
            let seen = seen.clone();
            thread::spawn(move || {
                loop {
                    let mut baton = member.inbox.receive_within(SECOND).unwrap();
                    let next = &member.others[(n + 1) % TRAVELLERS];
                    if baton.id() == 8 {
                        let _ = next.send_within(Message::new(8), SECOND);
                        return;
                    }
                    let port = baton.take_receive(0).unwrap();
                    for _ in 0..20 {
                        let Ok(message) = port.receive_within(Duration::from_millis(20)) else { break };
                        let (from, number): (usize, u32) = (message.id() as usize, message.body().unwrap());
                        let mut seen = seen.lock().unwrap();
                        assert_eq!(seen[from], number, "sender {from}: lost, doubled or out of order ({message:?})");
                        seen[from] += 1;
                    }
                    let done = seen.lock().unwrap().iter().all(|&seen| seen == NUMBERS);
                    if done {
                        next.send_within(Message::new(8), SECOND).unwrap();
                        return;
                    }
                    next.send_within(Message::new(7).move_receive(port), SECOND).unwrap();
                }
            })
        })
        .collect();
    for thread in senders.into_iter().chain(travellers) {
        thread.join().unwrap();
    }
    kernel.check().unwrap();
}

/// Calls with rights in them, some answered with rights, from several tasks at once.
#[test]
fn calls_with_rights_are_answered() {
    const CLIENTS: usize = 3;
    const CALLS: u32 = 300;
    let kernel = LocalKernel::start();
    let mut all = members(&kernel, CLIENTS + 1);
    let server = all.pop().unwrap();
    let clients: Vec<_> = all
        .into_iter()
        .map(|client| {
            thread::spawn(move || {
                let right = &client.others[CLIENTS];
                let own = client.task.new_port().unwrap();
                for n in 0..CALLS {
                    let request = match n % 3 {
                        0 => Message::new(1).body(&n),
                        1 => Message::new(1).body(&n).make_send(&own),
                        _ => Message::new(2).body(&n).make_send_once(&own),
                    };
                    let mut answer = right.call_within(request, SECOND).unwrap();
                    assert_eq!(answer.body::<u32>().unwrap(), n);
                    if n % 3 == 2 {
                        let _ = answer.take_send(0).unwrap().try_send(Message::new(3));
                        assert_eq!(own.receive_within(SECOND).unwrap().id(), 4);
                    }
                }
                drop(own);
                right.send(Message::new(9)).unwrap();
            })
        })
        .collect();
    let gifts = server.task.new_port().unwrap();
    let mut ended = 0;
    server
        .inbox
        .serve(|request| {
            let n = match request.id() {
                9 => {
                    ended += 1;
                    return if ended == CLIENTS { Next::Stop } else { Next::Continue };
                }
                _ => request.body::<u32>().unwrap(),
            };
            let answer = Message::new(100).body(&n);
            if request.id() == 2 {
                request.take_send_once(0).unwrap().send(Message::new(4)).unwrap();
                return Next::Reply(answer.make_send(&gifts));
            }
            Next::Reply(answer)
        })
        .unwrap();
    for client in clients {
        client.join().unwrap();
    }
    kernel.check().unwrap();
}
