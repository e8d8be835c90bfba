//! Arguments and results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtask::zerocopy::little_endian::U32;
use libtask::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use libtask::{CallError, Caller, Later};

use crate::{Pair, SOON, within};

#[libtask::data]
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: i32,
    pub y: i32,
    pub label: Option<String>,
}

#[libtask::data]
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Nothing,
    Dot(Point),
    Line { from: Point, to: Point },
    Many(Vec<Shape2>),
}

#[libtask::data]
#[derive(Debug, Clone, PartialEq)]
pub struct Shape2(pub u8, pub char);

#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Sample {
    pub at: U32,
    pub value: U32,
}

/// Gives back what it is given.
#[libtask::interface(name = "test.Echo", version = 3)]
pub trait Echo {
    /// Nothing.
    #[id(0)]
    fn nothing(&mut self);
    #[id(1)]
    fn numbers(&mut self, a: u8, b: i64, c: f64, d: u128) -> (u8, i64, f64, u128);
    #[id(2)]
    fn text(&mut self, a: &str, b: String) -> String;
    #[id(3)]
    fn slice(&mut self, a: &[u8], b: &[u32]) -> Vec<u8>;
    #[id(4)]
    fn bytes(&mut self, a: Vec<u8>) -> Result<Vec<u8>, String>;
    #[id(5)]
    fn shape(&mut self, a: Shape, b: &Shape) -> Vec<Shape>;
    #[id(6)]
    fn map(&mut self, a: BTreeMap<String, Option<u32>>) -> BTreeMap<String, Option<u32>>;
    #[id(7)]
    fn half(&mut self, a: u32) -> Result<u32, Shape>;
    #[id(8)]
    #[pod]
    fn pod(&mut self, #[pod] a: Sample) -> Sample;
    #[id(9)]
    fn pod_in_place(&mut self, #[pod] a: &Sample) -> u32;
    #[id(10)]
    #[oneway]
    fn tell(&mut self, a: u32);
    #[id(11)]
    fn told(&mut self) -> u32;
    #[id(12)]
    fn who(&mut self, caller: &Caller) -> (u64, u32, u64);
    #[id(99)]
    #[deadline = "50ms"]
    fn never(&mut self, answer: Later<()>);
    #[id(98)]
    fn late(&mut self, a: u32, answer: Later<Result<u32, String>>);
}

#[derive(Default)]
struct Server {
    told: u32,
    kept: Vec<Later<()>>,
}

impl Echo for Server {
    fn nothing(&mut self) {}
    fn numbers(&mut self, a: u8, b: i64, c: f64, d: u128) -> (u8, i64, f64, u128) {
        (a, b, c, d)
    }
    fn text(&mut self, a: &str, b: String) -> String {
        a.to_owned() + &b
    }
    fn slice(&mut self, a: &[u8], b: &[u32]) -> Vec<u8> {
        a.iter().copied().chain(b.iter().map(|&b| b as u8)).collect()
    }
    fn bytes(&mut self, a: Vec<u8>) -> Result<Vec<u8>, String> {
        if a.is_empty() { Err("none".into()) } else { Ok(a) }
    }
    fn shape(&mut self, a: Shape, b: &Shape) -> Vec<Shape> {
        vec![a, b.clone()]
    }
    fn map(&mut self, a: BTreeMap<String, Option<u32>>) -> BTreeMap<String, Option<u32>> {
        a
    }
    fn half(&mut self, a: u32) -> Result<u32, Shape> {
        if a.is_multiple_of(2) { Ok(a / 2) } else { Err(Shape::Nothing) }
    }
    fn pod(&mut self, a: Sample) -> Sample {
        Sample { at: a.value, value: a.at }
    }
    fn pod_in_place(&mut self, a: &Sample) -> u32 {
        a.at.get() + a.value.get()
    }
    fn tell(&mut self, a: u32) {
        self.told += a;
    }
    fn told(&mut self) -> u32 {
        self.told
    }
    fn who(&mut self, caller: &Caller) -> (u64, u32, u64) {
        (caller.sender().task, caller.sender().pid, caller.badge())
    }
    fn never(&mut self, answer: Later<()>) {
        self.kept.push(answer);
    }
    fn late(&mut self, a: u32, answer: Later<Result<u32, String>>) {
        std::thread::spawn(move || match a {
            0 => answer.answer(Err("zero".into())).unwrap(),
            1 => drop(answer),
            a => answer.answer(Ok(a)).unwrap(),
        });
    }
}

#[test]
fn values_of_every_form_arrive_and_come_back() {
    let (pair, right) = Pair::start::<dyn Echo, _>(|_| Server::default());
    let echo = right.client();
    echo.nothing().unwrap();
    assert_eq!(echo.numbers(255, -5, 0.5, u128::MAX).unwrap(), (255, -5, 0.5, u128::MAX));
    assert_eq!(echo.text("a", "ß".into()).unwrap(), "aß");
    assert_eq!(echo.slice(b"ab", &[99, 100]).unwrap(), b"abcd");
    assert_eq!(echo.bytes(vec![7; 300]).unwrap(), vec![7; 300]);
    assert!(matches!(echo.bytes(Vec::new()), Err(CallError::Refused(why)) if why == "none"));
    let point = Point { x: -1, y: 1 << 30, label: Some("p".into()) };
    let shapes =
        [Shape::Line { from: point.clone(), to: point.clone() }, Shape::Many(vec![Shape2(1, 'ä'), Shape2(2, 'b')]), Shape::Dot(point)];
    for shape in &shapes {
        assert_eq!(echo.shape(Shape::Nothing, shape).unwrap(), [Shape::Nothing, shape.clone()]);
    }
    let map = BTreeMap::from([("one".to_owned(), Some(1)), ("none".to_owned(), None)]);
    assert_eq!(echo.map(map.clone()).unwrap(), map);
    assert_eq!(echo.half(8).unwrap(), 4);
    assert!(matches!(echo.half(7), Err(CallError::Refused(Shape::Nothing))));
    let sample = Sample { at: 5.into(), value: 9.into() };
    assert_eq!(echo.pod(sample).unwrap(), Sample { at: 9.into(), value: 5.into() });
    assert_eq!(echo.pod_in_place(&sample).unwrap(), 14);
    echo.tell(2).unwrap();
    echo.tell(3).unwrap();
    assert_eq!(echo.told().unwrap(), 5);
    drop(echo);
    pair.join();
}

#[test]
fn caller_is_whom_the_kernel_saw_and_badge_is_the_ports() {
    let (pair, right) = Pair::start::<dyn Echo, _>(|_| Server::default());
    let (task, pid, badge) = right.client().who().unwrap();
    assert_eq!((task, pid, badge), (pair.client.id(), std::process::id(), 0));

    let port = pair.server.new_port_of::<dyn Echo>().unwrap();
    port.set_context(77).unwrap();
    let client = EchoClient::from(port.make_send().unwrap());
    std::thread::spawn(move || port.serve(Server::default()));
    assert_eq!(client.who().unwrap(), (pair.server.id(), std::process::id(), 77));
}

#[test]
fn answer_may_come_after_the_method_has_returned_or_be_dropped() {
    let (pair, right) = Pair::start::<dyn Echo, _>(|_| Server::default());
    let echo = right.client();
    assert_eq!(echo.late(5).unwrap(), 5);
    assert!(matches!(echo.late(0), Err(CallError::Refused(why)) if why == "zero"));
    assert!(matches!(echo.late(1), Err(CallError::Call(error)) if error.is_server_died()));
    drop(echo);
    pair.join();
}

#[test]
fn deadline_is_the_methods_or_the_clients() {
    let (_pair, right) = Pair::start::<dyn Echo, _>(|_| Server::default());
    let echo = right.client();
    let start = std::time::Instant::now();
    assert!(echo.never().unwrap_err().is_timed_out());
    assert!(start.elapsed() >= std::time::Duration::from_millis(50) && start.elapsed() < SOON);
    let start = std::time::Instant::now();
    assert!(echo.clone().with_deadline(std::time::Duration::from_millis(200)).never().unwrap_err().is_timed_out());
    assert!(start.elapsed() >= std::time::Duration::from_millis(200));
    // The late answers are in nobody's way.
    assert_eq!(echo.half(2).unwrap(), 1);
}

#[test]
fn several_calls_are_on_their_way_at_once() {
    let (pair, right) = Pair::start::<dyn Echo, _>(|_| Server::default());
    let echo = right.client();
    let pending: Vec<_> = (2..12).map(|n| echo.begin().late(n)).collect();
    for (n, pending) in (2..12).zip(pending).rev() {
        assert_eq!(pending.finish().unwrap(), n);
    }
    assert!(matches!(echo.begin().half(3).finish(), Err(CallError::Refused(Shape::Nothing))));
    drop(echo);
    pair.join();
}

/// All its methods take `&self`.
#[libtask::interface]
pub trait Shared {
    #[id(1)]
    fn add(&self, by: u32) -> u32;
    /// With a form of its own, which servers need not write.
    #[id(2)]
    fn twice(&self, by: u32) -> u32 {
        self.add(by);
        self.add(by)
    }
}

struct Sum(AtomicU32);

impl Shared for Sum {
    fn add(&self, by: u32) -> u32 {
        self.0.fetch_add(by, Ordering::Relaxed) + by
    }
}

/// Parameters with the names that generated code likes.
#[libtask::interface]
pub trait Names {
    #[id(1)]
    #[allow(clippy::too_many_arguments)]
    fn all(&self, right: u8, message: u8, answer: u8, server: u8, reader: u8, result: u8, deadline: u8, arguments: u8) -> u32;
    #[id(2)]
    #[allow(clippy::too_many_arguments)]
    fn more(&self, stream: u8, incoming: u8, later: u8, value: u8, why: u8, id: u8, who: &Caller) -> Result<u32, u8>;
}

struct Adds;

impl Names for Adds {
    fn all(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u32 {
        [a, b, c, d, e, f, g, h].into_iter().map(u32::from).sum()
    }
    fn more(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, _: &Caller) -> Result<u32, u8> {
        Ok([a, b, c, d, e, f].into_iter().map(u32::from).sum())
    }
}

#[test]
fn parameters_may_have_any_name() {
    let (pair, right) = Pair::start::<dyn Names, _>(|_| Adds);
    let client = right.client();
    assert_eq!(client.all(1, 2, 3, 4, 5, 6, 7, 8).unwrap(), 36);
    assert_eq!(client.begin().more(1, 2, 3, 4, 5, 6).finish().unwrap(), 21);
    drop(client);
    pair.join();
}

#[test]
fn one_server_is_shared_by_threads() {
    let sum = Arc::new(Sum(AtomicU32::new(0)));
    let (pair, right) = Pair::start::<dyn Shared, Arc<Sum>>(|_| sum.clone());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let client = SharedClient::from(right.duplicate());
            std::thread::spawn(move || (0..50).for_each(|_| assert!(client.add(1).unwrap() > 0)))
        })
        .collect();
    within(SOON, move || clients.into_iter().for_each(|client| client.join().unwrap()));
    assert_eq!(right.duplicate().client().twice(5).unwrap(), 210);
    assert_eq!(sum.0.load(Ordering::Relaxed), 210);
    drop(right);
    pair.join();
}
