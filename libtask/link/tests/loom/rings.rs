//! Rings, their bells, space in them, closing, and handing the consumer over. The producer has half 0, the consumer half 1.

use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use umach_abi::link::{self, bell, record};
use umach_link::{Fence, Incoming, Memory, Outgoing, PushError, RecordHead, Word, credit, lease};

use crate::sys::{Cells, Faults};
use crate::{LOST_WAKE_UP, RACE, fails, holds};

/// Two records of eight bytes fill it.
type Tiny = Cells<64>;
const HEAD: usize = link::HALF + link::HEAD;
const ARMED: usize = link::HALF + link::ARMED;

fn memory<const RING: u32>(faults: Faults, words: &[usize]) -> std::sync::Arc<Cells<RING>> {
    std::sync::Arc::new(Cells::new(faults, words, &[]))
}

fn head(id: u32) -> RecordHead {
    RecordHead { kind: record::MESSAGE, id, ..RecordHead::default() }
}

/// What record `id` carries.
fn content(id: u32) -> [u8; 8] {
    (0x0101_0101_0101_0101 * u64::from(id + 1)).to_ne_bytes()
}

/// Pushes, rings, and sleeps while there is no space.
fn send<const RING: u32>(out: &mut Outgoing<Cells<RING>>, id: u32) {
    loop {
        match out.push(head(id), &[&content(id)]) {
            Ok(bell) => break assert!(!bell.ring(&**out.memory())),
            Err(PushError::Full) => {}
            Err(PushError::Corrupt(evidence)) => panic!("{evidence}"),
        }
        out.want_space(true);
        if out.space() < umach_link::record_size(8) {
            out.memory().sleep(out.head_word(), out.head_seen());
        }
        out.want_space(false);
    }
}

/// Takes the next record, if there is one, and looks at what it carries.
fn take<const RING: u32>(incoming: &mut Incoming<Cells<RING>>) -> Option<u32> {
    let record = incoming.next().unwrap()?;
    let mut bytes = Vec::new();
    incoming.payload(&record, &mut bytes);
    let id = record.id;
    assert_eq!(bytes, content(id), "content of record {id}");
    assert!(!incoming.consume(record).ring(&**incoming.memory()));
    Some(id)
}

/// Takes the next record, sleeping until there is one.
fn receive<const RING: u32>(incoming: &mut Incoming<Cells<RING>>) -> u32 {
    loop {
        if let Some(id) = take(incoming) {
            break id;
        }
        let mem = incoming.memory().clone();
        umach_link::arm(&*mem, 1, bell::FUTEX);
        if !incoming.has_more() {
            mem.sleep(incoming.tail_word(), incoming.tail_seen());
        }
        umach_link::disarm(&*mem, 1);
    }
}

/// The producer writes as long as there is space; the consumer takes what it sees; the rest is taken at the end.
fn order(faults: Faults) {
    let mem = memory::<64>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let mut incoming = Incoming::new(mem, 1);
    let producer = thread::spawn(move || (0..3).take_while(|id| out.push(head(*id), &[&content(*id)]).is_ok()).count() as u32);
    let mut seen: Vec<u32> = (0..2).filter_map(|_| take(&mut incoming)).collect();
    let sent = producer.join().unwrap();
    seen.extend(std::iter::from_fn(|| take(&mut incoming)));
    assert_eq!(seen, (0..sent).collect::<Vec<_>>());
}

#[test]
fn records_arrive_whole_and_in_order() {
    holds(order);
}

#[test]
fn records_without_ordering_are_found_torn() {
    fails(RACE, Faults { relaxed: &[link::TAIL], ..Faults::default() }, order);
    fails(RACE, Faults { relaxed: &[HEAD], ..Faults::default() }, order);
}

/// The consumer sleeps when there is nothing.
fn bells(faults: Faults) {
    let mem = memory::<64>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let mut incoming = Incoming::new(mem, 1);
    let producer = thread::spawn(move || (0..2).for_each(|id| send(&mut out, id)));
    assert_eq!((receive(&mut incoming), receive(&mut incoming)), (0, 1));
    producer.join().unwrap();
}

#[test]
fn sleeping_consumer_is_always_woken() {
    holds(bells);
}

#[test]
fn bell_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Armed], ..Faults::default() }, bells);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Published], ..Faults::default() }, bells);
}

#[test]
fn armings_that_look_alike_are_found_lost() {
    fails(LOST_WAKE_UP, Faults { masked: &[(ARMED, 7)], ..Faults::default() }, bells);
}

/// Two threads consume. One arms without the other's knowledge, and sleeps on what it sees after that; the other may take one record meanwhile.
fn shared_bell(faults: Faults) {
    let mem = memory::<64>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let incoming = Arc::new(Mutex::new(Incoming::new(mem.clone(), 1)));
    let other = thread::spawn({
        let incoming = incoming.clone();
        move || {
            let _ = take(&mut incoming.lock().unwrap());
        }
    });
    let producer = thread::spawn(move || (0..2).for_each(|id| send(&mut out, id)));
    while take(&mut incoming.lock().unwrap()).is_none() {
        umach_link::arm(&*mem, 1, bell::FUTEX);
        let ring = incoming.lock().unwrap();
        let (more, word, seen) = (ring.has_more(), ring.tail_word(), ring.tail_seen());
        drop(ring);
        if !more {
            mem.sleep(word, seen);
        }
        umach_link::disarm(&*mem, 1);
    }
    other.join().unwrap();
    producer.join().unwrap();
}

#[test]
fn consumer_is_woken_though_another_consumed_what_it_armed_for() {
    holds(shared_bell);
}

#[test]
fn arming_that_does_not_keep_up_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { frozen: &[ARMED], ..Faults::default() }, shared_bell);
}

/// The producer sleeps when there is no space.
fn space(faults: Faults) {
    let mem = memory::<64>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let mut incoming = Incoming::new(mem, 1);
    send(&mut out, 0);
    send(&mut out, 1);
    let producer = thread::spawn(move || (2..4).for_each(|id| send(&mut out, id)));
    assert_eq!((take(&mut incoming), take(&mut incoming)), (Some(0), Some(1)));
    producer.join().unwrap();
    assert_eq!((take(&mut incoming), take(&mut incoming)), (Some(2), Some(3)));
}

#[test]
fn producer_without_space_is_always_woken() {
    holds(space);
}

#[test]
fn space_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::SpaceWanted], ..Faults::default() }, space);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Consumed], ..Faults::default() }, space);
}

/// As `space`, but what the producer sleeps on is read from the word after it asked.
fn fresh_space(faults: Faults) {
    let mem = memory::<64>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let mut incoming = Incoming::new(mem.clone(), 1);
    send(&mut out, 0);
    send(&mut out, 1);
    let producer = thread::spawn(move || {
        // Both records have to go.
        while out.space() < 64 {
            out.want_space(true);
            let seen = mem.word(HEAD).load(Acquire);
            if out.space() < 64 {
                mem.sleep(HEAD, seen);
            }
            out.want_space(false);
        }
    });
    assert_eq!((take(&mut incoming), take(&mut incoming)), (Some(0), Some(1)));
    producer.join().unwrap();
}

#[test]
fn producer_that_needs_more_than_one_publishing_frees_is_always_woken() {
    holds(fresh_space);
}

/// As `space`, in a ring where the consumer does not publish its head at every record.
fn lazy_space(faults: Faults) {
    let mem = memory::<256>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let mut incoming = Incoming::new(mem, 1);
    (0..8).for_each(|id| send(&mut out, id));
    let producer = thread::spawn(move || send(&mut out, 8));
    (0..8).for_each(|id| assert_eq!(take(&mut incoming), Some(id)));
    producer.join().unwrap();
    assert_eq!(take(&mut incoming), Some(8));
}

#[test]
fn producer_is_woken_by_a_consumer_that_publishes_late() {
    holds(lazy_space);
}

/// The rule of closing: what the consumer does not accept belongs to a producer that knows.
fn closing(faults: Faults) {
    let mem = memory::<64>(faults, &[link::HALF + link::CLOSINGS, credit::word_at(1, 0) + link::CREDIT_CLOSED]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let mut incoming = Incoming::new(mem.clone(), 1);
    let producer = thread::spawn({
        let mem = mem.clone();
        move || {
            let sent = |id: &u32| {
                let _ = out.push(head(*id), &[&content(*id)]).unwrap();
                credit::closings(&*mem, 1) == 0
            };
            (0..2).take_while(sent).count() as u32
        }
    });
    let _ = take(&mut incoming);
    credit::close(&*mem, 1, 0);
    let end = incoming.tail_now();
    let mut accepted = incoming.position() / 32;
    while incoming.position() != end {
        assert_eq!(take(&mut incoming), Some(accepted));
        accepted += 1;
    }
    let certain = producer.join().unwrap();
    assert!(certain <= accepted, "the producer is certain of {certain} and the consumer took {accepted}");
}

#[test]
fn record_is_accepted_or_its_producer_sees_the_closing() {
    holds(closing);
}

#[test]
fn closing_without_a_fence_is_found_to_lose_records() {
    fails("the producer is certain", Faults { fences: &[Fence::Close], ..Faults::default() }, closing);
    fails("the producer is certain", Faults { fences: &[Fence::Published], ..Faults::default() }, closing);
}

/// Who sees a closing sees what is closed.
fn closed_route(faults: Faults) {
    let mem = memory::<64>(faults, &[link::HALF + link::CLOSINGS, credit::word_at(1, 0) + link::CREDIT_CLOSED]);
    let receiver = thread::spawn({
        let mem = mem.clone();
        move || credit::close(&*mem, 1, 0)
    });
    // Both words in any case: the checker finds more in executions that do not part.
    let (closings, closed) = (credit::closings(&*mem, 1), credit::closed(&*mem, 1, 0));
    assert!(closings == 0 || closed, "a closing of nothing");
    receiver.join().unwrap();
}

#[test]
fn closing_says_what_is_closed() {
    holds(closed_route);
}

#[test]
fn closing_without_ordering_is_found_to_say_nothing() {
    fails("a closing of nothing", Faults { relaxed: &[link::HALF + link::CLOSINGS], ..Faults::default() }, closed_route);
}

/// Two threads share the consumer. With `relaxed` words the ring does not hand over what it should, whatever the lock does.
fn hand_over(faults: Faults) {
    let mem = memory::<64>(faults, &[]);
    let mut out = Outgoing::new(mem.clone(), 0);
    let shared = Arc::new((Mutex::new(Incoming::new(mem, 1)), Mutex::new(Vec::new())));
    let consume = |shared: &(Mutex<Incoming<Tiny>>, Mutex<Vec<u32>>)| {
        let mut incoming = shared.0.lock().unwrap();
        if let Some(id) = take(&mut incoming) {
            shared.1.lock().unwrap().push(id);
        }
    };
    let other = thread::spawn({
        let shared = shared.clone();
        move || consume(&shared)
    });
    let producer = thread::spawn(move || (0..2).for_each(|id| send(&mut out, id)));
    consume(&shared);
    other.join().unwrap();
    producer.join().unwrap();
    let mut seen = shared.1.lock().unwrap();
    seen.extend(std::iter::from_fn(|| take(&mut shared.0.lock().unwrap())));
    assert_eq!(*seen, [0, 1]);
}

#[test]
fn consumer_handed_over_takes_each_record_once() {
    holds(hand_over);
}

#[test]
fn consumer_handed_over_without_ordering_is_found_torn() {
    fails(RACE, Faults { relaxed: &[link::TAIL], ..Faults::default() }, hand_over);
}

/// A lease's memory is written again once it is back.
fn leases(faults: Faults) {
    let arena = link::SLOTS_AT..link::SLOTS_AT + 4;
    let words = [lease::word_at(1, 3)];
    let mem = std::sync::Arc::new(Tiny::new(faults, &words, std::slice::from_ref(&arena)));
    mem.write(arena.start, &[1; 4]);
    let receiver = thread::spawn({
        let mem = mem.clone();
        move || {
            let mut bytes = [0; 4];
            mem.read(link::SLOTS_AT, &mut bytes);
            assert_eq!(bytes, [1; 4]);
            lease::done(&*mem, 1, 3, 9);
        }
    });
    if lease::word(&*mem, 1, 3) == (9, true) {
        mem.write(arena.start, &[2; 4]);
    }
    receiver.join().unwrap();
}

#[test]
fn lease_given_back_is_read_no_more() {
    holds(leases);
}

#[test]
fn lease_given_back_without_ordering_is_found() {
    fails(RACE, Faults { relaxed: &[link::HALF + link::LEASES_DONE + 12], ..Faults::default() }, leases);
}

/// That a descriptor stands for the consumer's task, and that it is readable.
const POLLED: usize = link::HALF + link::CPU;
const READABLE: usize = link::HALF + link::STATE;

/// A thread that looked out stops doing so while a poller begins: whatever is published, the poller's descriptor becomes readable, or the poller has seen
/// it.
fn polling(faults: Faults) {
    let mem = memory::<64>(faults, &[POLLED, READABLE]);
    let ring = |mem: &Tiny| {
        mem.word(READABLE).store(1, Relaxed);
        mem.wake(READABLE);
    };
    let mut out = Outgoing::new(mem.clone(), 0);
    // The consumer, and whether somebody has taken the record.
    let shared = Arc::new(Mutex::new((Incoming::new(mem.clone(), 1), false)));
    umach_link::arm(&*mem, 1, bell::FUTEX);
    let producer = thread::spawn({
        let mem = mem.clone();
        move || {
            let bell = out.push(head(0), &[&content(0)]).unwrap();
            if bell.ring(&*mem) {
                ring(&mem);
            }
        }
    });
    let lookout = thread::spawn({
        let (mem, shared) = (mem.clone(), shared.clone());
        move || {
            let polled = || mem.word(POLLED).load(Relaxed) != 0;
            umach_link::leave(&*mem, 1, polled);
            let mut shared = shared.lock().unwrap();
            if take(&mut shared.0).is_some() {
                shared.1 = true;
                if polled() {
                    ring(&mem);
                }
            }
        }
    });
    mem.word(POLLED).store(1, Relaxed);
    mem.fence(Fence::Polled);
    umach_link::arm(&*mem, 1, bell::KERNEL);
    let mut consumer = shared.lock().unwrap();
    let seen = consumer.1 || take(&mut consumer.0).is_some();
    drop(consumer);
    if !seen {
        mem.sleep(READABLE, 0);
    }
    producer.join().unwrap();
    lookout.join().unwrap();
}

#[test]
fn poller_is_told_whoever_stops_looking_out_meanwhile() {
    holds(polling);
}

#[test]
fn poller_without_a_fence_is_found_to_be_left_alone() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Left], ..Faults::default() }, polling);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Polled], ..Faults::default() }, polling);
}
