//! Calls that are futures, and servers that answer many at once.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{join, join_all};
use libtask::tokio::WithDeadline as _;
use libtask::{Error, Message, Next, PortOptions, Received};
use umach_tests::world_tests;

use super::*;

world_tests!(
    calls_one_after_the_other_are_answered,
    calls_with_rights_both_ways_are_answered,
    server_has_two_hundred_calls_in_flight,
    server_that_dies_fails_all_calls_at_once,
    request_dropped_unanswered_is_told,
    deadline_ends_a_call_and_the_next_one_works,
    call_with_nothing_attached_says_what_to_do,
    calls_and_servers_can_be_spawned,
);

const ADD: i32 = 100;
const STOP: i32 = 101;

/// Answers each number with its successor.
async fn count(request: &mut Received) -> Next {
    match request.id() {
        STOP => Next::ReplyAndStop(Message::new(STOP)),
        _ => Next::Reply(Message::new(ADD).body(&(request.body::<u32>().expect("a number") + 1))),
    }
}

fn calls_one_after_the_other_are_answered(world: &World) {
    let (server, port, client, right) = pair(world);
    for kind in Kind::ALL {
        let serving = port.serve_async(4, count);
        let calling = async {
            for number in 0..200u32 {
                let answer = right.call_async(Message::new(ADD).body(&number)).await.expect("an answer");
                assert_eq!((answer.body::<u32>().expect("a number"), answer.sender().task), (number + 1, server.id()), "{kind:?}");
            }
            right.call_async(Message::new(STOP)).await.expect("an answer");
        };
        let (served, ()) = kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling)));
        served.expect("served");
    }
}

fn calls_with_rights_both_ways_are_answered(world: &World) {
    let (server, port, client, right) = pair(world);
    let own = client.new_port().expect("make a port");
    let before = (names(&server), names(&client));
    for kind in Kind::ALL {
        // Each request has a right that is sent back with the answer, and a message goes through it.
        let serving = port.serve_async(4, async |request: &mut Received| match request.id() {
            STOP => Next::ReplyAndStop(Message::new(STOP)),
            _ => {
                let given = request.take_send(0).expect("a right");
                given.send_async(Message::new(7)).await.expect("send");
                Next::Reply(Message::new(ADD).move_send(given))
            }
        });
        let calling = async {
            for _ in 0..50 {
                let mut answer = right.call_async(Message::new(ADD).make_send(&own)).await.expect("an answer");
                assert_eq!(own.receive_async().await.expect("a message").id(), 7);
                let back = answer.take_send(0).expect("a right");
                assert_eq!(back.name(), own.name());
            }
            right.call_async(Message::new(STOP)).await.expect("an answer");
        };
        let (served, ()) = kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling)));
        served.expect("served");
        umach_tests::eventually("no right is left", || (names(&server), names(&client)) == before);
    }
}

fn server_has_two_hundred_calls_in_flight(world: &World) {
    const CALLS: u32 = 200;
    let (server, port, client, right) = pair_with(world, PortOptions { queue_limit: Some(16), ..PortOptions::default() });
    for kind in Kind::ALL {
        let (inside, most) = (Cell::new(0), Cell::new(0));
        let (open, gate) = tokio::sync::watch::channel(false);
        let serving = port.serve_async(CALLS as usize, async |request: &mut Received| {
            inside.set(inside.get() + 1);
            most.set(most.get().max(inside.get()));
            if inside.get() == CALLS {
                let _ = open.send(true);
            }
            gate.clone().wait_for(|open| *open).await.expect("the gate");
            inside.set(inside.get() - 1);
            let number: u32 = request.body().expect("a number");
            let answer = Message::new(ADD).body(&(number + 1));
            if number == CALLS - 1 { Next::ReplyAndStop(answer) } else { Next::Reply(answer) }
        });
        let calling = join_all((0..CALLS).map(|number| right.call_async(Message::new(ADD).body(&number))));
        let (served, answers) = kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling)));
        served.expect("served");
        assert_eq!(most.get(), CALLS, "{kind:?}: not all at once");
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.expect("an answer").body::<u32>().expect("a number"), number as u32 + 1);
        }
    }
}

fn server_that_dies_fails_all_calls_at_once(world: &World) {
    for kind in Kind::ALL {
        let (server, port, client, right) = pair(world);
        let id = server.id();
        std::thread::scope(|scope| {
            scope.spawn(|| port.receive_within(LONG).expect("a call").reply(Message::new(1)).expect("answer"));
            right.call_within(Message::new(ADD), LONG).expect("an answer");
        });
        let before = names(&client);
        // A few have been received, some wait in the queue, the rest wait for room there.
        std::thread::scope(|scope| {
            let (right, client) = (&right, &client);
            let calling = scope.spawn(move || {
                let calls = join_all((0..100).map(|_| right.call_async(Message::new(ADD))));
                kind.run(&[client], soon(kind, "the server's end", calls))
            });
            let requests: Vec<_> = (0..20).map(|_| port.receive_within(LONG).expect("a call")).collect();
            std::thread::sleep(Duration::from_millis(30));
            drop((port, requests, server));
            world.end_task(id);
            for answer in calling.join().expect("the client") {
                let error = answer.expect_err("nobody answers");
                assert!(error.is_server_died() || error.is_dead(), "{kind:?}: {error}");
            }
        });
        umach_tests::eventually("no right is left", || names(&client) <= before);
    }
}

fn request_dropped_unanswered_is_told(world: &World) {
    let (server, port, client, right) = pair(world);
    for kind in Kind::ALL {
        let serving = port.serve_async(4, async |request: &mut Received| match request.id() {
            STOP => Next::ReplyAndStop(Message::new(STOP)),
            _ => Next::Continue,
        });
        let calling = async {
            for _ in 0..20 {
                let error = right.call_async(Message::new(ADD)).await.expect_err("no answer");
                assert!(error.is_server_died(), "{kind:?}: {error}");
            }
            right.call_async(Message::new(STOP)).await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
    }
}

fn deadline_ends_a_call_and_the_next_one_works(world: &World) {
    let (server, port, client, right) = pair(world);
    for kind in [Kind::Tokio, Kind::TokioThreads, Kind::Smol] {
        let serving = port.serve_async(4, async |request: &mut Received| {
            if request.id() == ADD {
                std::future::pending::<()>().await;
            }
            Next::ReplyAndStop(Message::new(STOP))
        });
        let calling = async {
            for _ in 0..5 {
                let call = right.call_async(Message::new(ADD));
                let short = Duration::from_millis(10);
                let ended = match kind {
                    Kind::Smol => libtask::smol::WithDeadline::with_deadline(call, short).await,
                    _ => call.with_deadline(short).await,
                };
                assert!(ended.expect_err("nobody answers").is_timed_out());
            }
            right.call_async(Message::new(STOP)).await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
    }
}

fn call_with_nothing_attached_says_what_to_do(world: &World) {
    let (_server, port, _client, right) = pair(world);
    let mut call = right.begin_call(Message::new(ADD)).expect("begin");
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = call.poll_answer(&mut cx) else { panic!("nobody is there who would wake it") };
    assert!(matches!(error, Error::NotAttached) && error.to_string().contains("libtask::tokio::attach"), "{error}");
    // The call itself goes on.
    port.receive_within(LONG).expect("the call").reply(Message::new(8)).expect("answer");
    assert_eq!(call.finish_within(LONG).expect("an answer").id(), 8);
}

fn calls_and_servers_can_be_spawned(world: &World) {
    let (server, port, client, right) = pair(world);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("a runtime");
    let answered = Arc::new(AtomicU32::new(0));
    runtime.block_on(async {
        libtask::tokio::attach(&server).expect("attach");
        libtask::tokio::attach(&client).expect("attach");
        libtask::tokio::attach(&client).expect("once more does no harm");
        let serving = tokio::spawn(async move { port.serve_async(50, count).await });
        let calls: Vec<_> = (0..40u32)
            .map(|at| {
                let (right, answered) = (right.duplicate(), answered.clone());
                tokio::spawn(async move {
                    for number in 0..25 {
                        let call = right.call_async(Message::new(ADD).body(&(at + number))).with_deadline(LONG);
                        assert_eq!(call.await.expect("an answer").body::<u32>().expect("a number"), at + number + 1);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.expect("a client");
        }
        right.call_async(Message::new(STOP)).with_deadline(LONG).await.expect("an answer");
        serving.await.expect("the server").expect("served");
    });
    assert_eq!(answered.load(Ordering::Relaxed), 1000);
}
