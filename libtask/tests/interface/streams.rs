//! Sequences, and calls that are given up.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use libtask::{Later, Sink};

use crate::{Pair, SOON, within};

#[libtask::interface(name = "test.Feed")]
pub trait Feed {
    /// The numbers up to `end`, sent by another thread.
    #[id(1)]
    #[queue = 4]
    fn count(&mut self, end: u32, sink: Sink<u32>);
    /// Says how many there will be.
    #[id(2)]
    fn words(&mut self, text: &str, sink: Sink<String>) -> Result<u32, String>;
    /// Hands the sink to the test.
    #[id(3)]
    #[queue = 2]
    fn by_hand(&mut self, sink: Sink<u32>);
    /// Hands the answer to the test.
    #[id(4)]
    fn long(&mut self, answer: Later<u32>);
}

pub struct Server {
    pub sinks: Sender<Sink<u32>>,
    pub answers: Sender<Later<u32>>,
}

impl Feed for Server {
    fn count(&mut self, end: u32, sink: Sink<u32>) {
        std::thread::spawn(move || (0..end).try_for_each(|n| sink.send(n)));
    }
    fn words(&mut self, text: &str, sink: Sink<String>) -> Result<u32, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err("no words".into());
        }
        for word in &words {
            sink.try_send((*word).to_owned()).map_err(|failed| failed.to_string())?;
        }
        Ok(words.len() as u32)
    }
    fn by_hand(&mut self, sink: Sink<u32>) {
        self.sinks.send(sink).unwrap();
    }
    fn long(&mut self, answer: Later<u32>) {
        self.answers.send(answer).unwrap();
    }
}

struct Hands {
    sinks: Receiver<Sink<u32>>,
    answers: Receiver<Later<u32>>,
}

fn start() -> (Pair, FeedClient, Hands) {
    let (sinks, answers) = (channel(), channel());
    let server = Server { sinks: sinks.0, answers: answers.0 };
    let (pair, right) = Pair::start::<dyn Feed, _>(|_| server);
    (pair, right.client(), Hands { sinks: sinks.1, answers: answers.1 })
}

#[test]
fn stream_gives_every_item_in_order_and_ends() {
    let (pair, feed, _) = start();
    let stream = feed.count(1000).unwrap();
    let items: Vec<u32> = within(SOON, move || stream.map(Result::unwrap).collect());
    assert_eq!(items, (0..1000).collect::<Vec<_>>());
    let (count, mut stream) = feed.words("one two three").unwrap();
    assert_eq!(count, 3);
    assert_eq!(stream.by_ref().map(Result::unwrap).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert!(stream.is_ended() && stream.wait().unwrap().is_none());
    assert!(matches!(feed.words(""), Err(libtask::CallError::Refused(why)) if why == "no words"));
    drop(feed);
    pair.join();
}

#[test]
fn stream_that_was_begun_comes_with_the_answer() {
    let (pair, feed, _) = start();
    let pending = feed.begin().count(3);
    let stream = pending.finish().unwrap();
    assert_eq!(within(SOON, move || stream.map(Result::unwrap).collect::<Vec<_>>()), [0, 1, 2]);
    drop(feed);
    pair.join();
}

#[test]
fn full_queue_holds_the_server_back_and_gives_the_item_back() {
    let (pair, feed, hands) = start();
    let mut stream = feed.by_hand().unwrap();
    let sink = hands.sinks.recv_timeout(SOON).unwrap();
    let sent = (0..).take_while(|&n| sink.try_send(n).is_ok()).count() as u32;
    assert!((2..=3).contains(&sent), "{sent} items in a queue of two");
    let failed = sink.try_send(99).unwrap_err();
    assert!(failed.error.is_timed_out() && failed.item == 99, "{failed:?}");
    let start = Instant::now();
    assert!(sink.send_within(99, Duration::from_millis(50)).unwrap_err().error.is_timed_out());
    assert!(start.elapsed() >= Duration::from_millis(50));
    for n in 0..sent {
        assert_eq!(stream.wait_within(SOON).unwrap(), Some(n));
    }
    assert_eq!(stream.try_next().unwrap(), None);
    assert!(!stream.is_ended());
    sink.send_within(100, SOON).unwrap();
    drop(sink);
    assert_eq!(stream.wait_within(SOON).unwrap(), Some(100));
    assert_eq!(stream.wait_within(SOON).unwrap(), None);
    drop(feed);
    pair.join();
}

#[test]
fn dropped_stream_is_told_to_the_server() {
    let (pair, feed, hands) = start();
    let stream = feed.by_hand().unwrap();
    let sink = hands.sinks.recv_timeout(SOON).unwrap();
    sink.send(1).unwrap();
    assert!(!sink.is_closed());
    drop(stream);
    let failed = (0..).find_map(|n| sink.send_within(n, SOON).err()).unwrap();
    assert!(failed.error.is_dead(), "{failed:?}");
    assert!(sink.is_closed());
    drop(feed);
    pair.join();
}

#[test]
fn dropped_call_is_told_to_a_server_that_asks() {
    let (pair, feed, hands) = start();
    // Over a link, after some calls, and before that through the kernel.
    for _ in 0..20 {
        let pending = feed.begin().long();
        let answer = hands.answers.recv_timeout(SOON).unwrap();
        assert!(!answer.is_cancelled());
        drop(pending);
        let start = Instant::now();
        while !answer.is_cancelled() {
            assert!(start.elapsed() < SOON, "the server is not told");
            std::thread::yield_now();
        }
        // Its slot is free for the next; the answer finds nobody.
        let _ = answer.answer(1);
        let pending = feed.begin().long();
        let answer = hands.answers.recv_timeout(SOON).unwrap();
        assert!(!answer.is_cancelled());
        answer.answer(2).unwrap();
        assert_eq!(pending.finish_within(SOON).unwrap(), 2);
    }
    drop(feed);
    pair.join();
}

#[test]
fn call_whose_time_is_up_is_given_up() {
    let (pair, feed, hands) = start();
    for _ in 0..5 {
        let late = feed.clone().with_deadline(Duration::from_millis(20)).long();
        assert!(late.unwrap_err().is_timed_out());
        let answer = hands.answers.recv_timeout(SOON).unwrap();
        assert!(answer.is_cancelled());
    }
    drop(feed);
    pair.join();
}
