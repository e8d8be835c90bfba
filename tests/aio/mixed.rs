//! Threads that wait beside futures, calls that block inside of an async program, and two runtimes in one process.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join;
use libtask::{Message, Next, Received};
use umach_tests::world_tests;

use super::*;

world_tests!(
    threads_and_futures_of_one_task_share_its_links,
    call_that_blocks_works_inside_of_an_async_program,
    two_runtimes_of_one_task_wake_each_others_futures,
    runtime_that_is_over_leaves_the_others_to_wake,
);

const ADD: i32 = 100;
const STOP: i32 = 101;

/// Sends so many numbers to each, with pauses in which receivers fall asleep.
fn send_in_bursts(rights: &[SendRight], messages: u32) {
    for number in 0..messages {
        if number % 8 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
        rights.iter().for_each(|right| right.send_within(Message::new(1).body(&number), LONG).expect("send"));
    }
}

fn threads_and_futures_of_one_task_share_its_links(world: &World) {
    const MESSAGES: u32 = 300;
    let server = world.task("server");
    let ports: Vec<ReceiveRight> = (0..3).map(|_| server.new_port().expect("make a port")).collect();
    let client = world.task("client");
    let rights: Vec<SendRight> = ports.iter().map(|port| right_of(world, port, &client)).collect();
    for kind in Kind::ALL {
        std::thread::scope(|scope| {
            // One thread of the client sends to all three, so that they are behind each other on one ring.
            scope.spawn(|| send_in_bursts(&rights, MESSAGES));
            let thread = scope.spawn(|| {
                for number in 0..MESSAGES {
                    assert_eq!(ports[0].receive_within(LONG).expect("a message").body::<u32>().expect("a number"), number);
                }
            });
            let from = |at: usize| {
                let port = &ports[at];
                async move {
                    for number in 0..MESSAGES {
                        assert_eq!(port.receive_async().await.expect("a message").body::<u32>().expect("a number"), number, "{kind:?}");
                    }
                }
            };
            kind.run(&[&server], soon(kind, "messages", join(from(1), from(2))));
            thread.join().expect("the thread");
        });
    }
}

fn call_that_blocks_works_inside_of_an_async_program(world: &World) {
    let (server, port, client, right) = pair(world);
    let (beside_server, beside, _beside_client, to_beside) = pair(world);
    for kind in Kind::ALL {
        std::thread::scope(|scope| {
            // Nobody but a thread answers this one: the runtime's own stands still meanwhile.
            scope.spawn(|| {
                beside.serve(|request| match request.id() {
                    STOP => Next::ReplyAndStop(Message::new(STOP)),
                    _ => Next::Reply(Message::new(ADD).body(&(request.body::<u32>().expect("a number") + 1))),
                })
            });
            let serving = port.serve_async(4, async |request: &mut Received| match request.id() {
                STOP => Next::ReplyAndStop(Message::new(STOP)),
                _ => {
                    let number: u32 = request.body().expect("a number");
                    let answer = to_beside.call_within(Message::new(ADD).body(&number), LONG).expect("an answer");
                    Next::Reply(Message::new(ADD).body(&answer.body::<u32>().expect("a number")))
                }
            });
            let calling = async {
                for number in 0..100u32 {
                    let answer = right.call_async(Message::new(ADD).body(&number)).await.expect("an answer");
                    assert_eq!(answer.body::<u32>().expect("a number"), number + 1, "{kind:?}");
                }
                right.call_async(Message::new(STOP)).await.expect("an answer");
            };
            kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
            to_beside.call_within(Message::new(STOP), LONG).expect("an answer");
        });
    }
    drop(beside_server);
}

fn two_runtimes_of_one_task_wake_each_others_futures(world: &World) {
    const MESSAGES: u32 = 200;
    let server = world.task("server");
    let ports: Vec<ReceiveRight> = (0..2).map(|_| server.new_port().expect("make a port")).collect();
    let client = world.task("client");
    let rights: Vec<SendRight> = ports.iter().map(|port| right_of(world, port, &client)).collect();
    for (one, other) in [(Kind::Tokio, Kind::Smol), (Kind::Hand, Kind::TokioThreads)] {
        std::thread::scope(|scope| {
            scope.spawn(|| send_in_bursts(&rights, MESSAGES));
            for (kind, port) in [(one, &ports[0]), (other, &ports[1])] {
                let server = &server;
                scope.spawn(move || {
                    kind.run(
                        &[server],
                        soon(kind, "messages", async {
                            for number in 0..MESSAGES {
                                let message = port.receive_async().await.expect("a message");
                                assert_eq!(message.body::<u32>().expect("a number"), number, "{kind:?}");
                            }
                        }),
                    );
                });
            }
        });
    }
}

fn runtime_that_is_over_leaves_the_others_to_wake(world: &World) {
    let (server, port, client, right) = pair(world);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, port, ended) = (&server, &port, &ended);
        let waiting = scope.spawn(move || {
            Kind::Smol.run(
                &[server],
                soon(Kind::Smol, "a message", async {
                    let message = port.receive_async().await.expect("a message");
                    assert!(ended.load(Ordering::SeqCst));
                    message.id()
                }),
            )
        });
        // These come and go while the other waits, one with a future that never ends.
        for _ in 0..5 {
            Kind::Tokio.run(&[server], async {
                let mut receive = std::pin::pin!(port.receive_async());
                assert!(futures_util::poll!(receive.as_mut()).is_pending());
                tokio::time::sleep(Duration::from_millis(3)).await;
            });
        }
        ended.store(true, Ordering::SeqCst);
        right.send_within(Message::new(5), LONG).expect("send");
        assert_eq!(waiting.join().expect("the other"), 5);
    });
    drop(client);
}
