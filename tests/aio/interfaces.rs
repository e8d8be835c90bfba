//! Interfaces in async programs: pending calls are futures, streams are streams, and a server's slow methods answer from futures of their own.

#![allow(missing_docs)] // the trait here is of nobody else's concern

use std::time::Instant;

use futures_util::future::{join, join_all};
use libtask::interface::{Caller, Later, Sink};
use umach_tests::world_tests;

use super::*;

world_tests!(typed_calls_are_futures_and_slow_methods_overlap, streams_are_read_and_written_without_threads);

#[libtask::interface]
pub(crate) trait Desk {
    #[id(1)]
    fn add(&mut self, a: u32, b: u32) -> u32;
    #[id(2)]
    fn slow(&mut self, number: u32, answer: Later<u32>);
    #[id(3)]
    fn count(&mut self, to: u32, out: Sink<u32>);
    #[id(4)]
    fn stop(&mut self, caller: &Caller);
}

struct Server;

impl Desk for Server {
    fn add(&mut self, a: u32, b: u32) -> u32 {
        a + b
    }
    fn slow(&mut self, number: u32, answer: Later<u32>) {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer.answer(number + 1).expect("answer");
        });
    }
    fn count(&mut self, to: u32, out: Sink<u32>) {
        tokio::spawn(async move {
            for number in 0..to {
                out.send_async(number).await.expect("send");
            }
        });
    }
    fn stop(&mut self, caller: &Caller) {
        caller.stop_serving();
    }
}

fn desk(world: &World) -> (Task, ReceiveRight<dyn Desk>, Task, DeskClient) {
    let (server, client) = (world.task("server"), world.task("client"));
    let port = server.new_port_of::<dyn Desk>().expect("make a port");
    let right = SendRight::from_raw(&client, world.pass(&server, port.name(), Disposition::MakeSend, &client));
    (server, port, client, DeskClient::from(right.typed()))
}

fn typed_calls_are_futures_and_slow_methods_overlap(world: &World) {
    let (server, port, client, desk) = desk(world);
    for kind in [Kind::Tokio, Kind::TokioThreads] {
        let calling = async {
            for number in 0..50 {
                let pending = desk.begin().add(number, 2);
                assert_eq!(pending.with_deadline(LONG).await.expect("an answer"), number + 2);
            }
            let start = Instant::now();
            let calls: Vec<_> = (0..60).map(|number| desk.begin().slow(number)).collect();
            for (number, answer) in join_all(calls).await.into_iter().enumerate() {
                assert_eq!(answer.expect("an answer"), number as u32 + 1);
            }
            // One after the other it would be three seconds.
            assert!(start.elapsed() < Duration::from_millis(2500), "{kind:?}: {:?}", start.elapsed());
            desk.begin().stop().await.expect("an answer");
        };
        let (served, ()) = kind.run(&[&server, &client], soon(kind, "calls", join(port.serve_async(Server), calling)));
        served.expect("served");
    }
}

fn streams_are_read_and_written_without_threads(world: &World) {
    const ITEMS: u32 = 200;
    let (server, port, client, desk) = desk(world);
    for kind in [Kind::Tokio, Kind::TokioThreads] {
        let calling = async {
            let mut items = desk.begin().count(ITEMS).await.expect("a stream");
            for number in 0..ITEMS {
                assert_eq!(items.next_async().await.expect("an item"), Some(number), "{kind:?}");
            }
            assert_eq!(items.next_async().await.expect("the end"), None);
            desk.begin().stop().await.expect("an answer");
        };
        let (served, ()) = kind.run(&[&server, &client], soon(kind, "items", join(port.serve_async(Server), calling)));
        served.expect("served");
    }
}
