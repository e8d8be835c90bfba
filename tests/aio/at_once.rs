//! Interfaces whose methods are `async fn`: many calls are in progress at once, each alone with its end.

#![allow(missing_docs)] // the traits here are of nobody else's concern

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use futures_util::future::{join, join_all};
use libtask::interface::{self, CallError, Caller, Sink};
use libtask::{Code, Message, Next, Received};
use umach_tests::world_tests;

use super::runtimes::Executor;
use super::*;

world_tests!(
    hundred_slow_calls_are_answered_together,
    calls_beyond_the_bound_wait_in_the_queue,
    call_that_is_given_up_ends_at_the_server,
    panic_is_the_end_of_its_call_only,
    stream_of_an_async_method_waits_for_its_reader,
    deadline_of_a_method_holds_when_it_is_awaited,
    one_way_call_waits_for_room_as_a_future,
    deadlines_wake_their_own_and_only_once,
    servers_can_be_spawned_and_shared,
    server_with_a_set_answers_calls_of_async_methods,
    server_ends_with_its_last_client_and_finishes_what_was_begun,
);

#[libtask::interface]
pub(crate) trait Office {
    /// Takes so long.
    #[id(1)]
    async fn slow(&self, millis: u64, text: &str) -> String;
    /// Waits until there are a hundred.
    #[id(11)]
    async fn meet(&self, number: u32, text: &str) -> String;
    /// Is never answered.
    #[id(2)]
    async fn never(&self, caller: &Caller) -> u32;
    /// Is a mistake of the server's.
    #[id(3)]
    async fn panic(&self, wait: bool) -> Result<u32, String>;
    /// Is none of the server's waiting.
    #[id(4)]
    fn sum(&self, numbers: Vec<u32>) -> u32;
    /// The numbers up to there.
    #[id(5)]
    #[queue = 8]
    async fn count(&self, to: u32, out: Sink<u32>);
    /// How many calls were in progress at once.
    #[id(6)]
    async fn most(&self) -> u32 {
        0
    }
    #[id(7)]
    #[oneway]
    async fn tell(&self, number: u32);
    /// A stream of nothing, without an end.
    #[id(9)]
    async fn silence(&self, out: Sink<u32>);
    /// Takes two seconds, and its client has a quarter of one.
    #[id(10)]
    #[deadline = "250ms"]
    async fn late(&self) -> Result<u32, String>;
    #[id(8)]
    async fn stop(&self, caller: &Caller);
}

/// In progress, and the most that were.
#[derive(Default)]
struct Gauge(AtomicU32, AtomicU32);

struct InProgress<'g>(&'g Gauge);

impl Gauge {
    fn enter(&self) -> InProgress<'_> {
        self.1.fetch_max(self.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        InProgress(self)
    }
    fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

const CALLS: u32 = 100;

struct Clerk {
    kind: Kind,
    all: tokio::sync::Barrier,
    gauge: Gauge,
    /// Items that were sent on.
    items: AtomicU32,
    told: AtomicU32,
}

impl Clerk {
    fn new(kind: Kind) -> Clerk {
        Clerk::who_meets(kind, CALLS)
    }
    fn who_meets(kind: Kind, all: u32) -> Clerk {
        Clerk {
            kind,
            all: tokio::sync::Barrier::new(all as usize),
            gauge: Gauge::default(),
            items: AtomicU32::new(0),
            told: AtomicU32::new(0),
        }
    }
}

impl Office for Clerk {
    async fn slow(&self, millis: u64, text: &str) -> String {
        let _in_progress = self.gauge.enter();
        self.kind.sleep(Duration::from_millis(millis)).await;
        format!("{text}, after {millis} ms")
    }
    async fn meet(&self, number: u32, text: &str) -> String {
        let _in_progress = self.gauge.enter();
        self.all.wait().await;
        format!("{text}: {number}")
    }
    async fn never(&self, caller: &Caller) -> u32 {
        let _in_progress = self.gauge.enter();
        std::future::pending::<()>().await;
        caller.sender().pid
    }
    async fn panic(&self, wait: bool) -> Result<u32, String> {
        let _in_progress = self.gauge.enter();
        if wait {
            self.kind.sleep(Duration::from_millis(5)).await;
        }
        panic!("as it is told, wait: {wait}")
    }
    fn sum(&self, numbers: Vec<u32>) -> u32 {
        numbers.iter().sum()
    }
    async fn silence(&self, out: Sink<u32>) {
        let _in_progress = self.gauge.enter();
        std::future::pending::<()>().await;
        drop(out);
    }
    async fn late(&self) -> Result<u32, String> {
        let _in_progress = self.gauge.enter();
        self.kind.sleep(Duration::from_secs(2)).await;
        Err("too late".to_owned())
    }
    async fn count(&self, to: u32, out: Sink<u32>) {
        let _in_progress = self.gauge.enter();
        for number in 0..to {
            if out.send_async(number).await.is_err() {
                return;
            }
            self.items.fetch_add(1, Ordering::SeqCst);
        }
    }
    async fn most(&self) -> u32 {
        self.gauge.1.load(Ordering::SeqCst)
    }
    async fn tell(&self, number: u32) {
        self.kind.sleep(Duration::from_millis(1)).await;
        self.told.fetch_add(number, Ordering::SeqCst);
    }
    async fn stop(&self, caller: &Caller) {
        caller.stop_serving();
    }
}

fn office(world: &World) -> (Task, ReceiveRight<dyn Office>, Task, OfficeClient) {
    let (server, client) = (world.task("server"), world.task("client"));
    let port = server.new_port_of::<dyn Office>().expect("make a port");
    let right = SendRight::from_raw(&client, world.pass(&server, port.name(), Disposition::MakeSend, &client));
    (server, port, client, OfficeClient::from(right.typed()))
}

fn hundred_slow_calls_are_answered_together(world: &World) {
    let (server, port, client, office) = office(world);
    for kind in Kind::ALL {
        let clerk = Clerk::new(kind);
        let calling = async {
            // Each waits for all others: so they end only if all are in progress.
            let calls = (0..CALLS).map(|at| office.begin().meet(at, "here"));
            for (at, answer) in join_all(calls).await.into_iter().enumerate() {
                assert_eq!(answer.expect("an answer"), format!("here: {at}"));
            }
            assert_eq!(office.begin().most().await.expect("an answer"), CALLS, "{kind:?}");
            assert_eq!(office.begin().sum(vec![1, 2, 3]).await.expect("an answer"), 6);
            office.begin().stop().await.expect("an answer");
        };
        let (served, ()) = kind.run(&[&server, &client], soon(kind, "calls", join(port.serve_async(&clerk), calling)));
        served.expect("served");
    }
}

fn calls_beyond_the_bound_wait_in_the_queue(world: &World) {
    let (server, port, client, office) = office(world);
    for (kind, at_once) in Kind::ALL.into_iter().zip([1, 3, 7, 10]) {
        let clerk = Clerk::who_meets(kind, at_once);
        let calling = async {
            // They go on in groups of so many, so not with fewer in progress.
            let calls = (0..4 * at_once).map(|at| office.begin().meet(at, "here"));
            for answer in join_all(calls).await {
                answer.expect("an answer");
            }
            assert_eq!(office.begin().most().await.expect("an answer"), at_once, "{kind:?}");
            office.begin().stop().await.expect("an answer");
        };
        let serving = port.serve_async_up_to(at_once as usize, &clerk);
        kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
    }
}

fn call_that_is_given_up_ends_at_the_server(world: &World) {
    let (server, port, client, office) = office(world);
    for kind in Kind::ALL {
        let clerk = Clerk::new(kind);
        let in_progress = async |count: u32| {
            let start = Instant::now();
            while clerk.gauge.now() != count {
                kind.sleep(Duration::from_millis(1)).await;
                assert!(start.elapsed() < LONG / 2, "{kind:?}: {} in progress and not {count}", clerk.gauge.now());
            }
        };
        let calling = async {
            for _ in 0..10 {
                // Some through the kernel process, before the two have a link, or because chance has it so.
                let mut kept = pin!(office.begin().never());
                let mut dropped = Box::pin(office.begin().never());
                let start = Instant::now();
                while clerk.gauge.now() != 2 {
                    assert!(start.elapsed() < LONG / 2, "{kind:?}: {} in progress and not 2", clerk.gauge.now());
                    // One for which there was no room is sent while it is polled.
                    assert!(futures_util::poll!(kept.as_mut()).is_pending());
                    assert!(futures_util::poll!(dropped.as_mut()).is_pending());
                    kind.sleep(Duration::from_millis(1)).await;
                }
                drop(dropped);
                in_progress(1).await;
                assert!(futures_util::poll!(kept.as_mut()).is_pending());
            }
            in_progress(0).await;
            office.begin().stop().await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(port.serve_async(&clerk), calling))).0.expect("served");
    }
}

fn panic_is_the_end_of_its_call_only(world: &World) {
    let (server, port, client, office) = office(world);
    for kind in Kind::ALL {
        let clerk = Clerk::new(kind);
        let calling = async {
            for wait in [false, true] {
                let others = (0..5).map(|_| office.begin().slow(30, "done"));
                let panics = (0..5).map(|_| office.begin().panic(wait));
                let (others, panics) = join(join_all(others), join_all(panics)).await;
                for answer in panics {
                    let error = answer.expect_err("it panicked");
                    assert_eq!(error.code(), Some(Code::MIG_REMOTE_ERROR), "{error}");
                    assert!(error.to_string().contains("Office.panic"), "{error}");
                }
                others.into_iter().for_each(|answer| drop(answer.expect("an answer")));
                assert_eq!(clerk.gauge.now(), 0, "the futures that panicked are dropped");
            }
            office.begin().stop().await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(port.serve_async(&clerk), calling))).0.expect("served");
    }
}

fn stream_of_an_async_method_waits_for_its_reader(world: &World) {
    const ITEMS: u32 = 100;
    let (server, port, client, office) = office(world);
    for kind in Kind::ALL {
        let clerk = Clerk::new(kind);
        let calling = async {
            // Answered before all is sent: the queue holds eight.
            let mut items = office.begin().count(ITEMS).await.expect("a stream");
            for number in 0..ITEMS {
                assert_eq!(items.next_async().await.expect("an item"), Some(number), "{kind:?}");
            }
            assert_eq!(items.next_async().await.expect("the end"), None);
            assert_eq!(clerk.gauge.now(), 0);

            // Nobody reads: the method waits with a full queue, and others go on.
            clerk.items.store(0, Ordering::SeqCst);
            let never_read = office.begin().count(ITEMS).await.expect("a stream");
            for _ in 0..20 {
                assert_eq!(office.begin().sum(vec![1, 2]).await.expect("an answer"), 3);
                kind.sleep(Duration::from_millis(1)).await;
            }
            let sent = clerk.items.load(Ordering::SeqCst);
            assert!((1..=10).contains(&sent) && clerk.gauge.now() == 1, "{kind:?}: {sent} items in a queue of eight");
            // And has nobody to send to.
            drop(never_read);
            while clerk.gauge.now() > 0 {
                kind.sleep(Duration::from_millis(1)).await;
            }
            // Also if it sends nothing just now.
            let silent = office.begin().silence().await.expect("a stream");
            while clerk.gauge.now() == 0 {
                kind.sleep(Duration::from_millis(1)).await;
            }
            drop(silent);
            while clerk.gauge.now() > 0 {
                kind.sleep(Duration::from_millis(1)).await;
            }
            office.begin().stop().await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "items", join(port.serve_async(&clerk), calling))).0.expect("served");
    }
}

fn deadline_of_a_method_holds_when_it_is_awaited(world: &World) {
    let (server, port, client, office) = office(world);
    for kind in Kind::ALL {
        let clerk = Clerk::new(kind);
        let calling = async {
            for _ in 0..2 {
                let start = Instant::now();
                // Of three, each has its own; and one is answered in time.
                let (method, shorter, client, in_time) = futures_util::future::join4(
                    office.begin().late(),
                    office.begin().late().with_deadline(Duration::from_millis(50)),
                    office.clone().with_deadline(Duration::from_millis(120)).begin().slow(2000, "late"),
                    office.begin().slow(60, "in time"),
                )
                .await;
                let took = start.elapsed();
                assert!(took >= Duration::from_millis(250) && took < Duration::from_millis(1900), "{kind:?}: {took:?}");
                for late in [method.map(drop).map_err(|error| error.code()), shorter.map(drop).map_err(|error| error.code())] {
                    assert_eq!(late, Err(Some(Code::MACH_RCV_TIMED_OUT)), "{kind:?}");
                }
                assert!(client.expect_err("too late").is_timed_out());
                assert_eq!(in_time.expect("an answer"), "in time, after 60 ms");
                // The server is told.
                while clerk.gauge.now() > 0 {
                    kind.sleep(Duration::from_millis(1)).await;
                }
                assert!(start.elapsed() < Duration::from_millis(1950), "{kind:?}: {:?}", start.elapsed());
            }
            office.begin().stop().await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(port.serve_async(&clerk), calling))).0.expect("served");
    }
}

fn one_way_call_waits_for_room_as_a_future(world: &World) {
    let (server, port, client, office) = office(world);
    for kind in Kind::ALL {
        let clerk = Clerk::new(kind);
        kind.run(
            &[&server, &client],
            soon(kind, "calls", async {
                // Nobody serves: the queue is full, at the latest here.
                let mut sent = 0u32;
                let waiting = loop {
                    let call = office.begin().tell(1);
                    if !call.is_sent() {
                        break call;
                    }
                    call.await.expect("sent");
                    sent += 1;
                    assert!(sent < 5000, "a queue is full some time");
                };
                let start = Instant::now();
                let late = office.clone().with_deadline(Duration::from_millis(40)).begin().tell(1).await.expect_err("no room");
                assert!(late.is_timed_out() && start.elapsed() >= Duration::from_millis(40), "{kind:?}: {late}");
                let calling = async {
                    waiting.await.expect("sent");
                    office.begin().stop().await.expect("an answer");
                };
                join(port.serve_async(&clerk), calling).await.0.expect("served");
                assert_eq!(clerk.told.load(Ordering::SeqCst), sent + 1, "{kind:?}");
            }),
        );
    }
}

/// Of calls that nobody answers each ends by its own deadline, and the program is not woken all the time for that.
fn deadlines_wake_their_own_and_only_once(world: &World) {
    let (server, port, client, office) = office(world);
    let executor = Arc::new(Executor::new());
    executor.attach(&client);
    for _ in 0..2 {
        let start = Instant::now();
        let mut polls = 0;
        let ended = executor.block_on(async {
            // Not in the order of their deadlines.
            let calls = [160, 40, 240, 120, 80, 200].map(|millis| {
                let call = office.begin().late().with_deadline(Duration::from_millis(millis));
                async move {
                    // One that found the queue full was not even sent.
                    match call.await.expect_err("nobody answers") {
                        CallError::Call(error) => assert!(error.is_timed_out(), "{error}"),
                        other => panic!("{other}"),
                    }
                    (millis, Instant::now())
                }
            });
            let mut all = pin!(join_all(calls));
            std::future::poll_fn(|cx| {
                polls += 1;
                all.as_mut().poll(cx)
            })
            .await
        });
        for (millis, at) in ended {
            let took = at - start;
            assert!(took >= Duration::from_millis(millis), "a deadline of {millis} ms after {took:?}");
        }
        assert!(polls < 60, "polled {polls} times for six deadlines");
        // They are over for the next round.
        while port.try_receive().expect("receive").is_some() {}
    }
    drop(server);
}

fn servers_can_be_spawned_and_shared(world: &World) {
    let (server, port, client, office) = office(world);
    let clerk = Arc::new(Clerk::new(Kind::TokioThreads));
    let second = server.new_port_of::<dyn Office>().expect("make a port");
    let other =
        SendRight::from_raw(&client, world.pass(&server, second.name(), Disposition::MakeSend, &client)).typed::<dyn Office>().client();
    Kind::TokioThreads.run(&[&server, &client], async {
        let servers = [(port, clerk.clone()), (second, clerk.clone())]
            .map(|(port, clerk)| tokio::spawn(async move { port.serve_async_up_to(40, clerk).await }));
        let clients = (0..20u32).map(|at| {
            let office = if at % 2 == 0 { office.clone() } else { other.clone() };
            tokio::spawn(async move {
                for number in 0..20 {
                    assert_eq!(office.begin().sum(vec![at, number]).await.expect("an answer"), at + number);
                    office.begin().slow(1, "done").await.expect("an answer");
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        let all = async {
            for client in clients {
                client.await.expect("a client");
            }
            for office in [&office, &other] {
                office.begin().stop().await.expect("an answer");
            }
            for server in servers {
                server.await.expect("a server").expect("served");
            }
        };
        soon(Kind::TokioThreads, "calls", all).await;
    });
    assert!(clerk.gauge.1.load(Ordering::SeqCst) > 1);
}

fn server_with_a_set_answers_calls_of_async_methods(world: &World) {
    let (server, port, client, office) = office(world);
    let set = server.new_set().expect("make a set");
    set.insert(&port).expect("insert");
    for kind in [Kind::Tokio, Kind::Smol] {
        let clerk = Clerk::new(kind);
        let serving =
            set.serve_async(20, async |request: &mut Received| -> Next { interface::answer_async::<dyn Office, _>(&clerk, request).await });
        let calling = async {
            let calls = (0..15).map(|_| office.begin().slow(20, "done"));
            join_all(calls).await.into_iter().for_each(|answer| drop(answer.expect("an answer")));
            let most = office.begin().most().await.expect("an answer");
            assert!(most > 1, "{kind:?}: {most}");
            let unknown = office.right().duplicate().untyped().call_async(Message::new(7)).await.expect("an answer");
            assert_eq!(unknown.id(), interface::FAILURE);
            office.begin().stop().await.expect("an answer");
        };
        kind.run(&[&server, &client], soon(kind, "calls", join(serving, calling))).0.expect("served");
    }
}

fn server_ends_with_its_last_client_and_finishes_what_was_begun(world: &World) {
    let (server, port, client, office) = office(world);
    port.on_no_senders(&port).expect("ask");
    let kind = Kind::TokioThreads;
    let clerk = Clerk::new(kind);
    let calling = async {
        let begun = office.begin().slow(30, "done");
        for _ in 0..10 {
            office.begin().tell(2).await.expect("tell");
        }
        while clerk.gauge.now() == 0 {
            kind.sleep(Duration::from_millis(1)).await;
        }
        drop(office);
        begun.await
    };
    let (served, answer) = kind.run(&[&server, &client], soon(kind, "calls", join(port.serve_async(&clerk), calling)));
    served.expect("served");
    assert_eq!(answer.expect("an answer"), "done, after 30 ms");
    assert_eq!(clerk.told.load(Ordering::SeqCst), 20);
}
