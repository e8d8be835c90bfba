//! Several threads of a task that receive: what one leaves behind when it goes to work is another's, at once.

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use libtask::{LocalKernel, Message, Next, ReceiveRight, SendRight};

use common::Pair;

/// Well below the nap after which a thread that sleeps looks by itself.
const SOON: Duration = Duration::from_secs(10);
const STOP: i32 = 9;

fn pair() -> Pair {
    common::pair(LocalKernel::start())
}

/// Some work, of a length that is another each time.
fn work(n: u64) {
    let length = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
    match length % 8 {
        0 => thread::sleep(Duration::from_micros(length / 16)),
        1 => thread::yield_now(),
        _ => (0..length).for_each(|_| std::hint::spin_loop()),
    }
}

/// A thread that received waits until another thread has received what was sent after it.
#[test]
fn message_behind_a_busy_thread_goes_to_another() {
    let pair = pair();
    let (done, is_done): (Sender<u64>, Receiver<u64>) = channel();
    let is_done = std::sync::Mutex::new(is_done);
    thread::scope(|scope| {
        for _ in 0..3 {
            let (port, done, is_done) = (&pair.port, done.clone(), &is_done);
            scope.spawn(move || {
                loop {
                    let mut message = port.receive_within(SOON).unwrap();
                    match message.id() {
                        1 => {
                            let n = message.body::<u64>().unwrap();
                            assert_eq!(is_done.lock().unwrap().recv_timeout(SOON), Ok(n), "nobody took the message after number {n}");
                            message.reply(Message::new(101).body(&n)).unwrap();
                        }
                        2 => done.send(message.body().unwrap()).unwrap(),
                        _ => return,
                    }
                }
            });
        }
        for n in 0..2000u64 {
            let call = pair.right.begin_call(Message::new(1).body(&n)).unwrap();
            work(n);
            pair.right.send_within(Message::new(2).body(&n), SOON).unwrap();
            assert_eq!(call.finish_within(SOON).unwrap().body::<u64>().unwrap(), n);
            work(n + 7);
        }
        (0..3).for_each(|_| pair.right.send_within(Message::new(STOP), SOON).unwrap());
    });
}

#[test]
fn calls_to_a_crew_are_answered_whatever_each_takes() {
    let pair = pair();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                pair.port
                    .serve(|request| match request.body::<u64>() {
                        Ok(n) => {
                            work(n);
                            Next::Reply(Message::new(101).body(&(n + 1)))
                        }
                        Err(_) => Next::Stop,
                    })
                    .unwrap();
            });
        }
        let clients: Vec<_> = (0..3u64)
            .map(|client| {
                let right = &pair.right;
                scope.spawn(move || {
                    for n in (0..1500).map(|n| client << 32 | n) {
                        assert_eq!(right.call_within(Message::new(1).body(&n), SOON).unwrap().body::<u64>().unwrap(), n + 1);
                        work(n + 3);
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        (0..3).for_each(|_| pair.right.send_within(Message::new(STOP).bytes(b"stop"), SOON).unwrap());
    });
}

/// Threads of one task on ports of their own: whoever reads the ring wakes whom a message is for.
#[test]
fn each_thread_gets_what_comes_to_its_port() {
    let kernel = LocalKernel::start();
    let server = kernel.task("server").unwrap();
    let (client, control) = server.spawn_local("client").unwrap();
    let ports: Vec<ReceiveRight> = (0..3).map(|_| server.new_port().unwrap()).collect();
    let rights: Vec<SendRight> = ports
        .iter()
        .map(|port| {
            control.set_bootstrap(Some(&port.make_send().unwrap())).unwrap();
            client.bootstrap().unwrap()
        })
        .collect();
    thread::scope(|scope| {
        for port in &ports {
            scope.spawn(move || {
                for n in 0..1500u64 {
                    assert_eq!(port.receive_within(SOON).unwrap().body::<u64>().unwrap(), n);
                    work(n + 5);
                }
            });
        }
        for n in 0..1500u64 {
            for right in &rights {
                right.send_within(Message::new(1).body(&n), SOON).unwrap();
                work(n);
            }
        }
    });
}
