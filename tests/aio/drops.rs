//! Futures that are dropped at any moment: no message is lost, and no slot, right or port left behind.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use futures_util::future::{join, join_all};
use libtask::{Message, Next, Received};
use umach_tests::{Chance, world_tests};

use super::*;

world_tests!(
    ten_thousand_calls_with_drops_lose_nothing,
    receives_that_are_dropped_take_nothing,
    handler_of_a_call_that_is_given_up_is_dropped,
    server_sees_that_a_call_was_given_up,
);

const ADD: i32 = 100;
const SLOW: i32 = 101;
const STOP: i32 = 102;

/// Polls a future a few times and drops it unless it is ready. Yields between, so that others go on.
async fn for_a_while<F: Future>(times: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

fn ten_thousand_calls_with_drops_lose_nothing(world: &World) {
    const CALLS: u32 = 2500;
    let (server, port, client, right) = pair(world);
    let own = client.new_port().expect("make a port");
    let warm = |kind: Kind| {
        let serving = port.serve_async(4, async |_: &mut Received| Next::ReplyAndStop(Message::new(STOP)));
        kind.run(&[&server, &client], soon(kind, "the first", join(serving, right.call_async(Message::new(STOP))))).1.expect("an answer");
    };
    for (seed, kind) in Kind::ALL.into_iter().enumerate() {
        warm(kind);
        let before = (names(&server), names(&client));
        let served = AtomicU32::new(0);
        let serving = port.serve_async(32, async |request: &mut Received| {
            if request.id() == STOP {
                return Next::ReplyAndStop(Message::new(STOP));
            }
            if request.id() == SLOW {
                for_a_while(3, std::future::pending::<()>()).await;
            }
            served.fetch_add(1, Ordering::Relaxed);
            Next::Reply(Message::new(ADD).body(&(request.body::<u32>().expect("a number") + 1)))
        });
        let calling = async {
            let clients = (0..10u64).map(|at| {
                let (right, own) = (&right, &own);
                async move {
                    let mut chance = Chance::new(seed as u64 * 1000 + at + 1);
                    let mut answered = 0;
                    for number in 0..CALLS / 10 {
                        let mut message = Message::new(if chance.below(2) == 0 { ADD } else { SLOW }).body(&number);
                        if chance.below(8) == 0 {
                            message = message.make_send(own);
                        }
                        let call = right.call_async(message);
                        let answer = match chance.below(3) {
                            0 => Some(call.await),
                            1 => for_a_while(chance.below(6), call).await,
                            _ => {
                                drop(call);
                                None
                            }
                        };
                        if let Some(answer) = answer {
                            // Another call's answer would show here.
                            assert_eq!(answer.expect("an answer").body::<u32>().expect("a number"), number + 1);
                            answered += 1;
                        }
                    }
                    answered
                }
            });
            let answered: u32 = join_all(clients).await.iter().sum();
            right.call_async(Message::new(STOP)).await.expect("an answer");
            answered
        };
        let (ended, answered) = kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling)));
        ended.expect("served");
        assert!(answered > CALLS / 4 && served.load(Ordering::Relaxed) >= answered, "{kind:?}: {answered} of {CALLS} answered");
        umach_tests::eventually("no right or port is left", || (names(&server), names(&client)) == before);
        // As many at once as there are slots, and more: none was lost.
        let serving = port.serve_async(100, async |request: &mut Received| match request.id() {
            STOP => Next::ReplyAndStop(Message::new(STOP)),
            _ => Next::Reply(Message::new(ADD)),
        });
        let calling = async {
            join_all((0..80).map(|_| right.call_async(Message::new(ADD))))
                .await
                .into_iter()
                .for_each(|answer| drop(answer.expect("an answer")));
            right.call_async(Message::new(STOP)).await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
        umach_tests::eventually("no right or port is left", || (names(&server), names(&client)) == before);
    }
}

fn receives_that_are_dropped_take_nothing(world: &World) {
    const MESSAGES: u32 = 1000;
    let (server, port, _client, right) = pair(world);
    for kind in Kind::ALL {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut chance = Chance::new(5);
                for number in 0..MESSAGES {
                    if chance.below(16) == 0 {
                        std::thread::sleep(Duration::from_micros(chance.below(500)));
                    }
                    right.send_within(Message::new(1).body(&number), LONG).expect("send");
                }
            });
            let mut chance = Chance::new(6);
            kind.run(
                &[&server],
                soon(kind, "messages", async {
                    for number in 0..MESSAGES {
                        let message = loop {
                            let receive = port.receive_async();
                            let came = if chance.below(3) == 0 { Some(receive.await) } else { for_a_while(chance.below(3), receive).await };
                            if let Some(message) = came {
                                break message.expect("a message");
                            }
                        };
                        assert_eq!(message.body::<u32>().expect("a number"), number, "{kind:?}");
                    }
                }),
            );
        });
    }
}

/// Counts when it is dropped.
struct Counts<'c>(&'c AtomicU32);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn handler_of_a_call_that_is_given_up_is_dropped(world: &World) {
    const CALLS: u32 = 10;
    let (server, port, client, right) = pair(world);
    for kind in Kind::ALL {
        let (begun, dropped) = (AtomicU32::new(0), AtomicU32::new(0));
        let serving = port.serve_async(4, async |request: &mut Received| {
            if request.id() == SLOW {
                let _counts = Counts(&dropped);
                begun.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            Next::ReplyAndStop(Message::new(STOP))
        });
        let calling = async {
            for number in 1..=CALLS {
                // Whether it carries a right or not.
                let message = if number % 3 == 0 { Message::new(SLOW).copy_send(&right) } else { Message::new(SLOW) };
                let mut call = pin!(right.call_async(message));
                while begun.load(Ordering::SeqCst) < number {
                    assert!(futures_util::poll!(call.as_mut()).is_pending());
                    kind.sleep(Duration::from_millis(1)).await;
                }
                kind.sleep(Duration::from_millis(u64::from(number % 4))).await;
                assert_eq!(dropped.load(Ordering::SeqCst), number - 1, "{kind:?}: not before it is given up");
                call.set(right.call_async(Message::new(ADD)));
                while dropped.load(Ordering::SeqCst) < number {
                    kind.sleep(Duration::from_millis(1)).await;
                }
            }
            right.call_async(Message::new(STOP)).await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
    }
}

fn server_sees_that_a_call_was_given_up(world: &World) {
    let (server, port, _client, right) = pair(world);
    for round in 0..4 {
        let message = if round % 2 == 0 { Message::new(SLOW) } else { Message::new(SLOW).copy_send(&right) };
        let (kept, given_up) = (right.begin_call(Message::new(ADD)).expect("begin"), right.begin_call(message).expect("begin"));
        let mut first = port.receive_within(LONG).expect("a call");
        let second = port.receive_within(LONG).expect("a call");
        assert!(!first.is_given_up() && !second.is_given_up());
        drop(given_up);
        umach_tests::eventually("it shows", || second.is_given_up());
        assert!(!first.is_given_up());
        drop(second);
        first.reply(Message::new(9)).expect("answer");
        assert_eq!(kept.finish_within(LONG).expect("an answer").id(), 9);
    }
    drop(server);
}
