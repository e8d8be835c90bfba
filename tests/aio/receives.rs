//! Receives that are futures: on ports and sets, as streams, by polling; and what waiting costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use libtask::{Error, Message};
use umach_tests::{Mode, world_tests};

use super::runtimes::Executor;
use super::*;

world_tests!(
    stream_has_all_messages_in_order,
    set_and_ports_are_waited_for_together,
    last_waker_of_who_polls_is_woken,
    futures_that_wait_are_woken_for_their_own,
    who_waits_in_vain_is_not_woken,
    kernel_that_ends_fails_who_waits,
);

fn stream_has_all_messages_in_order(world: &World) {
    use futures_util::StreamExt;
    const MESSAGES: u32 = 500;
    let (server, port, client, right) = pair(world);
    for kind in Kind::ALL {
        let sending = async {
            for number in 0..MESSAGES {
                right.send_async(Message::new(1).body(&number)).await.expect("send");
            }
        };
        let receiving = async {
            let mut incoming = port.incoming().take(MESSAGES as usize);
            let mut next = 0;
            while let Some(message) = StreamExt::next(&mut incoming).await {
                assert_eq!(message.expect("a message").body::<u32>().expect("a number"), next, "{kind:?}");
                next += 1;
            }
            assert_eq!(next, MESSAGES);
        };
        kind.run(&[&server, &client], soon(kind, "messages", futures_util::future::join(sending, receiving)));
    }
}

fn set_and_ports_are_waited_for_together(world: &World) {
    const MESSAGES: u32 = 150;
    let server = world.task("server");
    let ports: Vec<ReceiveRight> = (0..4).map(|_| server.new_port().expect("make a port")).collect();
    let set = server.new_set().expect("make a set");
    set.insert(&ports[0]).expect("join");
    set.insert(&ports[1]).expect("join");
    let clients: Vec<_> = ports
        .iter()
        .map(|port| {
            let client = world.task("client");
            let right = right_of(world, port, &client);
            (client, right)
        })
        .collect();
    for kind in Kind::ALL {
        std::thread::scope(|scope| {
            for (_, right) in &clients {
                scope.spawn(move || (0..MESSAGES).for_each(|number| right.send_within(Message::new(1).body(&number), LONG).expect("send")));
            }
            let from_set = async {
                let mut counts = [0; 2];
                while counts != [MESSAGES; 2] {
                    let message = set.receive_async().await.expect("a message");
                    let at = ports.iter().position(|port| message.came_on(port)).expect("one of the two");
                    assert_eq!(message.body::<u32>().expect("a number"), counts[at]);
                    counts[at] += 1;
                }
            };
            let from = |port: &'static str, at: usize| {
                let right = &ports[at];
                async move {
                    for number in 0..MESSAGES {
                        assert_eq!(right.receive_async().await.expect("a message").body::<u32>().expect("a number"), number, "{port}");
                    }
                }
            };
            kind.run(&[&server], soon(kind, "messages", futures_util::future::join3(from_set, from("third", 2), from("fourth", 3))));
        });
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn last_waker_of_who_polls_is_woken(world: &World) {
    let (server, port, client, right) = pair(world);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async { libtask::tokio::attach(&server).expect("attach") });
    for round in 0..20u32 {
        let wakers: Vec<Arc<Woken>> = (0..3).map(|_| Arc::default()).collect();
        for woken in &wakers {
            let waker = Waker::from(woken.clone());
            // The first may find what was there before.
            assert!(port.poll_receive(&mut Context::from_waker(&waker)).is_pending());
        }
        std::thread::sleep(Duration::from_millis(u64::from(round % 3)));
        let before: Vec<u32> = wakers.iter().map(|woken| woken.0.load(Ordering::SeqCst)).collect();
        right.send_within(Message::new(1).body(&round), LONG).expect("send");
        umach_tests::eventually("the last is woken", || wakers[2].0.load(Ordering::SeqCst) > before[2]);
        assert_eq!((wakers[0].0.load(Ordering::SeqCst), wakers[1].0.load(Ordering::SeqCst)), (before[0], before[1]));
        let Poll::Ready(Ok(message)) = port.poll_receive(&mut Context::from_waker(Waker::noop())) else { panic!("it is there") };
        assert_eq!(message.body::<u32>().expect("a number"), round);
    }
    drop((runtime, client));
}

/// Of many calls over a link, an answer wakes its own caller.
fn futures_that_wait_are_woken_for_their_own(world: &World) {
    const CALLS: usize = 20;
    let options = libtask::PortOptions { queue_limit: Some(CALLS as u32), ..Default::default() };
    let (_server, port, client, right) = pair_with(world, options);
    // Links, if there are any, come with the first messages to a port that was received from.
    assert!(port.try_receive().expect("receive").is_none());
    for _ in 0..20 {
        let call = right.begin_call(Message::new(1)).expect("begin");
        port.receive_within(LONG).expect("a call").reply(Message::new(2)).expect("answer");
        call.finish_within(LONG).expect("an answer");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async { libtask::tokio::attach(&client).expect("attach") });
    let mut calls = Vec::new();
    let mut requests = Vec::new();
    for _ in 0..CALLS {
        calls.push((right.begin_call(Message::new(1)).expect("begin"), Arc::<Woken>::default()));
        requests.push(port.receive_within(LONG).expect("a call"));
    }
    for (call, woken) in &mut calls {
        assert!(call.poll_answer(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
    }
    // What was on its way when they began to wait.
    std::thread::sleep(Duration::from_millis(20));
    let linked = client
        .host_control()
        .and_then(|host| host.links())
        .is_ok_and(|links| links.iter().any(|link| [link.first, link.second].contains(&client.id())));
    for (at, (mut request, (mut call, woken))) in requests.into_iter().zip(calls).enumerate() {
        let before = woken.0.load(Ordering::SeqCst);
        if linked && std::env::var("UMACH_DIRECT").as_deref() == Ok("always") {
            assert_eq!(before, 0, "call {at} was woken for another's answer");
        }
        request.reply(Message::new(3)).expect("answer");
        let end = Instant::now() + LONG;
        let answer = loop {
            if let Poll::Ready(answer) = call.poll_answer(&mut Context::from_waker(&Waker::from(woken.clone()))) {
                break answer;
            }
            let seen = woken.0.load(Ordering::SeqCst);
            while woken.0.load(Ordering::SeqCst) == seen && seen == before {
                assert!(Instant::now() < end, "call {at}: an answer is there and nobody is woken");
                std::thread::sleep(Duration::from_micros(50));
            }
        };
        assert_eq!(answer.expect("an answer").id(), 3);
    }
    drop(runtime);
}

/// A future waits and nothing comes for it: its loop sleeps, and goes on sleeping.
fn who_waits_in_vain_is_not_woken(world: &World) {
    let (server, port, client, right) = pair(world);
    (0..20).for_each(|_| {
        right.send_within(Message::new(1), LONG).map(|()| drop(port.receive_within(LONG).expect("a message"))).expect("send")
    });
    let executor = Arc::new(Executor::new());
    executor.attach(&server);
    let polls = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let (executor, port, polls) = (&executor, &port, &polls);
        let waiting = scope.spawn(move || {
            executor.block_on(async {
                let mut receive = std::pin::pin!(port.receive_async());
                std::future::poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::SeqCst);
                    receive.as_mut().poll(cx)
                })
                .await
            })
        });
        // What is left of before may wake it a few times.
        let look = || (polls.load(Ordering::SeqCst), executor.sleeps.load(Ordering::SeqCst));
        let end = Instant::now() + LONG;
        loop {
            let before = look();
            std::thread::sleep(Duration::from_millis(200));
            if look() == before && before.1 > 0 {
                break;
            }
            assert!(Instant::now() < end, "it is woken and woken, and nothing is there");
        }
        assert!(polls.load(Ordering::SeqCst) < 20, "woken {} times for nothing", polls.load(Ordering::SeqCst));
        right.send_within(Message::new(77), LONG).expect("send");
        assert_eq!(waiting.join().expect("the loop").expect("a message").id(), 77);
    });
    drop(client);
}

fn kernel_that_ends_fails_who_waits(world: &World) {
    if world.mode() != Mode::Process {
        return;
    }
    for kind in Kind::ALL {
        let other = umach_tests::kernel::Kernel::start(Mode::Process, &[], None);
        let task = other.task("waits");
        let ports: Vec<ReceiveRight> = (0..10).map(|_| task.new_port().expect("make a port")).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                other.kill();
            });
            let waiting = futures_util::future::join_all(ports.iter().map(|port| port.receive_async()));
            for ended in kind.run(&[&task], soon(kind, "the end", waiting)) {
                assert!(matches!(ended, Err(Error::KernelGone)), "{kind:?}: {ended:?}");
            }
        });
    }
}
