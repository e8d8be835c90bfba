//! Capabilities, memory and open files as arguments and results.

use std::io::{Read, Seek, Write};

use libtask::interface::OpenFile;
use libtask::{Lease, Memory, ReceiveRight, Region, SendOnceRight, SendRight, SharedRegion, Task};

use crate::{Pair, SOON};

/// Counts.
#[libtask::interface]
pub trait Counter {
    #[id(1)]
    fn count(&mut self, by: u32) -> u32;
}

struct Count(u32);

impl Counter for Count {
    fn count(&mut self, by: u32) -> u32 {
        self.0 += by;
        self.0
    }
}

#[libtask::data]
#[derive(Debug)]
pub struct Parcel {
    pub label: String,
    pub right: Option<SendRight<dyn Counter>>,
    pub more: Vec<SendRight>,
    pub what: Contents,
}

#[libtask::data]
#[derive(Debug)]
pub enum Contents {
    Nothing,
    Memory(Memory),
    File { file: OpenFile, name: String },
}

#[libtask::interface]
pub trait Depot {
    #[id(1)]
    fn counter(&mut self, start: u32) -> SendRight<dyn Counter>;
    #[id(2)]
    fn use_counter(&mut self, counter: SendRight<dyn Counter>, by: u32) -> Result<u32, String>;
    #[id(3)]
    fn send_back(&mut self, parcel: Parcel) -> Parcel;
    #[id(4)]
    fn adopt(&mut self, port: ReceiveRight<dyn Counter>, start: u32);
    #[id(5)]
    fn tell(&mut self, once: SendOnceRight, text: &str);
    #[id(6)]
    fn read_file(&mut self, file: OpenFile) -> String;
    #[id(7)]
    fn sum(&mut self, lent: Lease, memory: Memory, region: Region) -> u64;
    #[id(8)]
    fn fill(&mut self, len: u32, with: u8, caller: &libtask::Caller) -> Lease;
    #[id(9)]
    fn write(&mut self, shared: &SharedRegion, at: u32, bytes: &[u8]);
}

struct Server(Task);

impl Depot for Server {
    fn counter(&mut self, start: u32) -> SendRight<dyn Counter> {
        let port = self.0.new_port_of::<dyn Counter>().unwrap();
        port.on_no_senders(&port).unwrap();
        let right = port.make_send().unwrap();
        std::thread::spawn(move || port.serve(Count(start)));
        right
    }
    fn use_counter(&mut self, counter: SendRight<dyn Counter>, by: u32) -> Result<u32, String> {
        counter.client().count(by).map_err(|error| error.to_string())
    }
    fn send_back(&mut self, parcel: Parcel) -> Parcel {
        parcel
    }
    fn adopt(&mut self, port: ReceiveRight<dyn Counter>, start: u32) {
        std::thread::spawn(move || port.serve(Count(start)));
    }
    fn tell(&mut self, once: SendOnceRight, text: &str) {
        once.send(libtask::Message::new(1).bytes(text.as_bytes())).unwrap();
    }
    fn read_file(&mut self, file: OpenFile) -> String {
        let mut text = String::new();
        std::fs::File::from(file.into_fd().unwrap()).read_to_string(&mut text).unwrap();
        text
    }
    fn sum(&mut self, lent: Lease, memory: Memory, region: Region) -> u64 {
        let mut sum = 0;
        lent.blocks(|block| sum += block.iter().map(|&byte| u64::from(byte)).sum::<u64>());
        sum + memory.iter().chain(region.map().unwrap().iter()).map(|&byte| u64::from(byte)).sum::<u64>()
    }
    fn fill(&mut self, len: u32, with: u8, caller: &libtask::Caller) -> Lease {
        let mut loan = caller.loan(len as usize);
        loan.fill(with);
        loan.into()
    }
    fn write(&mut self, shared: &SharedRegion, at: u32, bytes: &[u8]) {
        shared.write(at as usize, bytes);
    }
}

fn start() -> (Pair, DepotClient) {
    let (pair, right) = Pair::start::<dyn Depot, _>(|task| Server(task.clone()));
    (pair, right.client())
}

#[test]
fn typed_right_that_is_handed_out_is_a_capability() {
    let (pair, depot) = start();
    let counter = depot.counter(10).unwrap();
    assert_eq!(counter.duplicate().client().count(1).unwrap(), 11);
    // And handed back it is used by the other side.
    assert_eq!(depot.use_counter(counter.duplicate(), 5).unwrap(), 16);
    assert_eq!(counter.client().count(0).unwrap(), 16);
    drop(depot);
    pair.join();
}

#[test]
fn rights_stand_wherever_values_do() {
    let (pair, depot) = start();
    let inbox = pair.client.new_port().unwrap();
    let counter = depot.counter(1).unwrap();
    let parcel = Parcel {
        label: "p".into(),
        right: Some(counter),
        more: vec![inbox.make_send().unwrap(), inbox.make_send().unwrap()],
        what: Contents::Memory(vec![9u8; 5000].into()),
    };
    let parcel = depot.send_back(parcel).unwrap();
    assert_eq!(parcel.label, "p");
    assert_eq!(parcel.right.unwrap().client().count(1).unwrap(), 2);
    assert_eq!(parcel.more.len(), 2);
    for (n, right) in parcel.more.into_iter().enumerate() {
        right.send(libtask::Message::new(n as i32)).unwrap();
        assert_eq!(inbox.receive_within(SOON).unwrap().id(), n as i32);
    }
    assert!(matches!(parcel.what, Contents::Memory(memory) if *memory == [9u8; 5000]));

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"contents").unwrap();
    file.rewind().unwrap();
    let what = Contents::File { file: file.into(), name: "f".into() };
    let parcel = depot.send_back(Parcel { label: String::new(), right: None, more: Vec::new(), what }).unwrap();
    let Contents::File { file, name } = parcel.what else { panic!("{parcel:?}") };
    assert_eq!(name, "f");
    assert_eq!(depot.read_file(file).unwrap(), "contents");
    drop(depot);
    pair.join();
}

#[test]
fn what_there_is_only_one_of_moves() {
    let (pair, depot) = start();
    let port = pair.client.new_port_of::<dyn Counter>().unwrap();
    let counter = port.make_send().unwrap();
    // Sent before anybody receives.
    let early = counter.duplicate().client();
    let early = std::thread::spawn(move || early.count(1));
    depot.adopt(port, 100).unwrap();
    let first = early.join().unwrap().unwrap();
    assert_eq!(first, 101);
    assert_eq!(counter.client().count(1).unwrap(), 102);

    let inbox = pair.client.new_port().unwrap();
    depot.tell(inbox.make_send_once().unwrap(), "once").unwrap();
    assert_eq!(inbox.receive_within(SOON).unwrap().bytes(), b"once");
    drop(depot);
    pair.join();
}

#[test]
fn right_whose_port_is_dead_arrives_as_a_dead_one() {
    let (pair, depot) = start();
    let port = pair.client.new_port_of::<dyn Counter>().unwrap();
    let counter = port.make_send().unwrap();
    drop(port);
    let why = match depot.use_counter(counter, 1) {
        Err(libtask::CallError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(why.contains("dead") || why.contains("died"), "{why}");
    drop(depot);
    pair.join();
}

#[test]
fn memory_is_lent_copied_and_shared() {
    let (pair, depot) = start();
    for len in [0usize, 10, 5000, 300_000] {
        let mut loan = depot.right().loan(len);
        loan.fill(1);
        let region = pair.client.region(&vec![3; len]).unwrap();
        assert_eq!(depot.sum(loan.into(), vec![2; len].into(), region).unwrap(), 6 * len as u64, "{len}");
        let lease = depot.fill(len as u32, 7).unwrap();
        assert_eq!(lease.to_vec(), vec![7; len]);
    }
    let shared = pair.client.shared_region(64).unwrap();
    depot.write(&shared, 8, b"here").unwrap();
    let mut seen = [0; 4];
    shared.read(8, &mut seen);
    assert_eq!(&seen, b"here");
    drop(depot);
    pair.join();
}

#[test]
fn right_outside_of_a_message_has_no_form() {
    let (pair, depot) = start();
    let error = postcard::to_stdvec(depot.right()).unwrap_err();
    assert_eq!(error, postcard::Error::SerdeSerCustom);
    assert!(postcard::from_bytes::<SendRight>(&[0]).is_err());
    // And a failure of that kind leaves nothing behind.
    depot.counter(0).unwrap();
    drop(depot);
    pair.join();
}

#[test]
fn rights_that_the_receiver_does_not_want_are_released() {
    let (pair, depot) = start();
    let port = pair.client.new_port().unwrap();
    let right = port.make_send().unwrap();
    port.on_no_senders(&port).unwrap();
    // An index that is not in the body's: the right comes along and nobody takes it.
    let request = libtask::Message::new(depot_base() + 1).body(&0u32).move_send(right);
    depot.right().duplicate().untyped().call(request).unwrap();
    let notice = port.receive_within(SOON).unwrap();
    assert!(matches!(notice.notification(), Some(libtask::Notification::NoSenders { .. })), "{notice:?}");
    drop(depot);
    pair.join();
}

fn depot_base() -> i32 {
    <dyn Depot as libtask::Interface>::BASE
}
