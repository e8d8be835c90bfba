//! The scenarios. Locks and threads are of kinds that the thread sanitizer understands: code that is built with it, and threads that are joined.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use umach_abi::link::{bell, record};
use umach_link::futex::{self, Woken};
use umach_link::slot::{self, Outcome};
use umach_link::{Heap, Incoming, Mapping, Memory, Outgoing, PushError, Record, RecordHead, credit};

/// Nothing here takes so long, unless a wake-up is lost.
const DEADLINE: Duration = Duration::from_secs(60);

/// Memory that a thread can sleep on.
pub(crate) trait Link: Memory<Word = AtomicU32> + 'static {}
impl<M: Memory<Word = AtomicU32> + 'static> Link for M {}

/// Two mappings of one memfd.
pub(crate) fn mapped() -> [Arc<Mapping>; 2] {
    let memfd = umach_link::create().unwrap();
    [Arc::new(Mapping::new(&memfd).unwrap()), Arc::new(Mapping::new(&memfd).unwrap())]
}

/// A link with small rings, on the heap.
pub(crate) fn heap() -> [Arc<Heap<1024>>; 2] {
    let heap = Arc::new(Heap::small());
    [heap.clone(), heap]
}

/// Runs them all; gives how many they are.
#[allow(dead_code)] // the program for the thread sanitizer calls it
pub(crate) fn all<M: Link>(link: fn() -> [Arc<M>; 2]) -> usize {
    messages_of_many_threads_arrive_once_and_in_order(link());
    calls_of_many_threads_get_their_answers(link());
    credit_paces_a_sender(link());
    3
}

fn sleep<M: Link>(mem: &M, word: usize, value: u32) {
    let woken = futex::wait(&[(mem.word(word), value)], Some(Instant::now() + DEADLINE));
    assert_ne!(woken, Woken::TimedOut, "nobody rang for word {word:#x}");
}

/// What message `id` of a route carries.
fn content(route: u32, id: u32, longest: usize) -> Vec<u8> {
    let len = (id as usize).wrapping_mul(97) % (longest + 1);
    (0..len).map(|at| (route as usize * 5 + id as usize * 3 + at) as u8).collect()
}

fn send<M: Link>(out: &Mutex<Outgoing<M>>, head: RecordHead, payload: &[u8]) {
    loop {
        let mut ring = out.lock();
        match ring.push(head, &[payload]) {
            Ok(bell) => break assert!(!bell.ring(&**ring.memory())),
            Err(PushError::Full) => {}
            Err(PushError::Corrupt(evidence)) => panic!("{evidence}"),
        }
        ring.want_space(true);
        if ring.space() < umach_link::record_size(payload.len()) {
            let (mem, word, seen) = (ring.memory().clone(), ring.head_word(), ring.head_seen());
            drop(ring);
            sleep(&*mem, word, seen);
            ring = out.lock();
        }
        ring.want_space(false);
    }
}

fn receive<M: Link>(incoming: &Mutex<Incoming<M>>) -> (Record, Vec<u8>) {
    loop {
        let mut ring = incoming.lock();
        let mem = ring.memory().clone();
        if let Some(record) = ring.next().unwrap() {
            let mut bytes = Vec::new();
            ring.payload(&record, &mut bytes);
            assert!(!ring.consume(record.clone()).ring(&*mem));
            break (record, bytes);
        }
        umach_link::arm(&*mem, 1, bell::FUTEX);
        if !ring.has_more() {
            let (word, seen) = (ring.tail_word(), ring.tail_seen());
            drop(ring);
            sleep(&*mem, word, seen);
        }
    }
}

pub(crate) fn messages_of_many_threads_arrive_once_and_in_order<M: Link>([a, b]: [Arc<M>; 2]) {
    const SENDERS: u32 = 3;
    const EACH: u32 = 5000;
    let longest = M::RECORD.min(700);
    let out = Arc::new(Mutex::new(Outgoing::new(a, 0)));
    let incoming = Arc::new(Mutex::new(Incoming::new(b, 1)));
    let sender = |route| {
        let out = out.clone();
        thread::spawn(move || {
            (0..EACH).for_each(|id| {
                send(&out, RecordHead { kind: record::MESSAGE, route, id, ..RecordHead::default() }, &content(route, id, longest));
            });
        })
    };
    let receiver = |_| {
        let incoming = incoming.clone();
        thread::spawn(move || {
            let take = |_| {
                let (record, bytes) = receive(&incoming);
                assert_eq!(bytes, content(record.route, record.id, longest));
                (record.at, record.route, record.id)
            };
            (0..SENDERS * EACH / 2).map(take).collect::<Vec<_>>()
        })
    };
    let senders: Vec<_> = (0..SENDERS).map(sender).collect();
    let receivers: Vec<_> = (0..2).map(receiver).collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let mut seen: Vec<_> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
    seen.sort();
    for sender in 0..SENDERS {
        assert!(seen.iter().filter(|(_, route, _)| *route == sender).map(|(_, _, id)| *id).eq(0..EACH), "order of sender {sender}");
    }
}

/// Calls in slot `caller`, one after the other; every fifth is dropped by the server.
fn call<M: Link>(out: &Mutex<Outgoing<M>>, mem: &M, caller: u32, calls: u32) {
    for n in 0..calls {
        let generation = n + 1;
        send(out, RecordHead { kind: record::MESSAGE, route: caller, slot: caller + 1, generation, id: n }, &[]);
        let outcome = loop {
            slot::wait_flag(mem, 0, caller, bell::FUTEX);
            let seen = slot::word_seen(mem, 0, caller);
            if let Some(outcome) = slot::poll(mem, 0, caller, generation).unwrap() {
                break outcome;
            }
            sleep(mem, slot::word_at(1, caller), seen);
        };
        slot::wait_flag(mem, 0, caller, bell::NONE);
        match outcome {
            Outcome::Dropped => assert_eq!(n % 5, 4),
            Outcome::Answered { len, id, kind } => {
                let mut bytes = Vec::new();
                slot::read(mem, 0, caller, len, &mut bytes);
                assert_eq!((id, kind, bytes), (n, caller, content(caller, n, 1500)));
            }
        }
    }
}

fn serve<M: Link>(incoming: &Mutex<Incoming<M>>, mem: &M, calls: u32) {
    for _ in 0..calls {
        let (record, _) = receive(incoming);
        let (slot, generation) = (record.slot - 1, record.generation);
        let bell = if record.id % 5 == 4 {
            slot::drop_unanswered(mem, 1, slot, generation)
        } else {
            let body = content(record.route, record.id, 1500);
            let (start, end) = body.split_at(body.len() / 3);
            slot::answer(mem, 1, slot, generation, record.id, record.route, &[start, end])
        };
        assert!(!bell.ring(mem));
    }
}

pub(crate) fn calls_of_many_threads_get_their_answers<M: Link>([a, b]: [Arc<M>; 2]) {
    const EACH: u32 = 4000;
    let out = Arc::new(Mutex::new(Outgoing::new(a.clone(), 0)));
    let incoming = Arc::new(Mutex::new(Incoming::new(b.clone(), 1)));
    let threads: Vec<_> = (0..2)
        .flat_map(|n| {
            let (out, incoming, a, b) = (out.clone(), incoming.clone(), a.clone(), b.clone());
            [thread::spawn(move || call(&out, &*a, n, EACH)), thread::spawn(move || serve(&incoming, &*b, EACH))]
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

pub(crate) fn credit_paces_a_sender<M: Link>([a, b]: [Arc<M>; 2]) {
    const COUNT: u32 = 5000;
    const CREDIT: u32 = 4;
    let sent = Arc::new(AtomicU32::new(0));
    let sender = thread::spawn({
        let (a, sent) = (a.clone(), sent.clone());
        move || {
            for id in 0..COUNT {
                while id.wrapping_sub(credit::read(&*a, 1, 9)) >= CREDIT {
                    credit::want(&*a, 0, 9, true);
                    let delivered = credit::read(&*a, 1, 9);
                    if id.wrapping_sub(delivered) >= CREDIT {
                        sleep(&*a, credit::word_at(1, 9), delivered);
                    }
                    credit::want(&*a, 0, 9, false);
                }
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let late = Instant::now() + DEADLINE;
    for delivered in 0..COUNT {
        while sent.load(Ordering::SeqCst) <= delivered {
            assert!(Instant::now() < late, "the sender sleeps with credit");
            thread::yield_now();
        }
        assert!(sent.load(Ordering::SeqCst) - delivered <= CREDIT, "more than the credit");
        assert!(!credit::delivered(&*b, 1, 9).ring(&*b));
    }
    sender.join().unwrap();
}
