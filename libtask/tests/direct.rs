//! Messages over links, two tasks of an in-process kernel.

use std::thread;
use std::time::Duration;

use libtask::{LocalKernel, Message, Next, ReceiveRight, SendRight, Task};

const SECOND: Duration = Duration::from_secs(10);

struct Pair {
    _kernel: LocalKernel,
    client: Task,
    server: Task,
    port: ReceiveRight,
    right: SendRight,
}

fn pair() -> Pair {
    let kernel = LocalKernel::start();
    let server = kernel.task("server").unwrap();
    let port = server.new_port().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let right = client.bootstrap().unwrap();
    Pair { _kernel: kernel, client, server, port, right }
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
