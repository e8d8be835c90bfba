//! Longer scenarios with several threads on each side, under a scheduler that tries random and adversarial orders. It takes every atomic access as
//! sequentially consistent, so this is about the algorithms' logic; orderings are the business of the `loom` tests.

mod memory;

use std::sync::Arc;

use memory::{Cells, RECORD};
use shuttle::sync::Mutex;
use shuttle::thread;
use umach_abi::link::{bell, record};
use umach_link::slot::{self, Outcome};
use umach_link::{Incoming, Outgoing, PushError, Record, RecordHead, credit};

/// The scenario in many random orders, and in many with few but ill-timed switches.
fn explore(scenario: fn()) {
    shuttle::check_random(scenario, 300);
    shuttle::check_pct(scenario, 300, 3);
}

fn head(route: u32, id: u32) -> RecordHead {
    RecordHead { kind: record::MESSAGE, route, id, ..RecordHead::default() }
}

/// Any thread sends, and sleeps while there is no space.
fn send(out: &Mutex<Outgoing<Cells>>, head: RecordHead, payload: &[u8]) {
    loop {
        let mut ring = out.lock().unwrap();
        match ring.push(head, &[payload]) {
            Ok(bell) => break assert!(!bell.ring(&**ring.memory())),
            Err(PushError::Full) => {}
            Err(PushError::Corrupt(evidence)) => panic!("{evidence}"),
        }
        ring.want_space(true);
        if ring.space() < umach_link::record_size(payload.len()) {
            let (mem, word, seen) = (ring.memory().clone(), ring.head_word(), ring.head_seen());
            drop(ring);
            mem.sleep(word, seen);
            ring = out.lock().unwrap();
        }
        ring.want_space(false);
    }
}

/// Any thread takes the next record, and sleeps while there is none. A thread that armed does not disarm, unless told to: another may sleep.
fn receive(incoming: &Mutex<Incoming<Cells>>, disarms: bool) -> (Record, Vec<u8>) {
    loop {
        let mut ring = incoming.lock().unwrap();
        let mem = ring.memory().clone();
        if disarms {
            umach_link::disarm(&*mem, 1);
        }
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
            mem.sleep(word, seen);
        }
    }
}

/// Three threads send to two, through a ring of a few records: each sender's come in order, and all come.
fn crowd(each: u32, disarms: bool) {
    let mem = Arc::new(Cells::new(&[], &[]));
    let out = Arc::new(Mutex::new(Outgoing::new(mem.clone(), 0)));
    let incoming = Arc::new(Mutex::new(Incoming::new(mem, 1)));
    let senders: Vec<_> = (0..3)
        .map(|sender| {
            let out = out.clone();
            thread::spawn(move || {
                (0..each).for_each(|id| send(&out, head(sender, id), &[id as u8; RECORD][..(id as usize * 5) % RECORD / 4 * 4]))
            })
        })
        .collect();
    let receivers: Vec<_> = (0..2)
        .map(|_| {
            let incoming = incoming.clone();
            thread::spawn(move || {
                let seen: Vec<_> = (0..3 * each / 2).map(|_| receive(&incoming, disarms)).collect();
                for (record, bytes) in &seen {
                    assert!(bytes.iter().all(|byte| u32::from(*byte) == record.id));
                }
                seen.into_iter().map(|(record, _)| (record.at, record.route, record.id)).collect::<Vec<_>>()
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let mut seen: Vec<_> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
    seen.sort();
    for sender in 0..3 {
        let ids: Vec<u32> = seen.iter().filter(|(_, route, _)| *route == sender).map(|(_, _, id)| *id).collect();
        assert_eq!(ids, (0..each).collect::<Vec<_>>(), "order of sender {sender}");
    }
}

#[test]
fn crowd_of_senders_and_receivers_loses_nothing() {
    explore(|| crowd(8, false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn receiver_that_disarms_leaves_another_asleep() {
    shuttle::check_random(|| crowd(2, true), 20_000);
}

/// Waits for the answer, asleep.
fn answer_of(mem: &Cells, slot: u32, generation: u32) -> Outcome {
    loop {
        slot::wait_flag(mem, 0, slot, bell::FUTEX);
        let seen = slot::word_seen(mem, 0, slot);
        if let Some(outcome) = slot::poll(mem, 0, slot, generation).unwrap() {
            slot::wait_flag(mem, 0, slot, bell::NONE);
            break outcome;
        }
        mem.sleep(slot::word_at(1, slot), seen);
    }
}

/// Two threads call two servers, each with two slots of its own. They give up every third call, and use its slot again only once the late answer is
/// there; every fourth request is dropped.
fn calls() {
    const EACH: u32 = 6;
    let slots: Vec<u32> = (0..4).collect();
    let mem = Arc::new(Cells::new(&slots, &[]));
    let out = Arc::new(Mutex::new(Outgoing::new(mem.clone(), 0)));
    let incoming = Arc::new(Mutex::new(Incoming::new(mem.clone(), 1)));
    let callers: Vec<_> = (0..2)
        .map(|caller| {
            let (out, mem) = (out.clone(), mem.clone());
            thread::spawn(move || {
                let mut abandoned = [0; 2];
                for n in 0..EACH {
                    let (turn, generation) = (n as usize % 2, n + 1);
                    let slot = 2 * caller + turn as u32;
                    if abandoned[turn] != 0 {
                        let _ = answer_of(&mem, slot, abandoned[turn]);
                        abandoned[turn] = 0;
                    }
                    let id = caller * EACH + n;
                    send(&out, RecordHead { slot: slot + 1, generation, ..head(caller, id) }, &[]);
                    if n % 3 == 2 {
                        abandoned[turn] = generation;
                        continue;
                    }
                    match answer_of(&mem, slot, generation) {
                        Outcome::Dropped => assert_eq!(id % 4, 3),
                        Outcome::Answered { len, id: answered, kind } => {
                            assert_eq!((len, answered, kind), (4, id, caller));
                            let mut bytes = Vec::new();
                            slot::read(&*mem, 0, slot, len, &mut bytes);
                            assert_eq!(bytes, generation.to_ne_bytes(), "an answer of another generation");
                        }
                    }
                }
            })
        })
        .collect();
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let (incoming, mem) = (incoming.clone(), mem.clone());
            thread::spawn(move || {
                for _ in 0..EACH {
                    let (record, _) = receive(&incoming, false);
                    let (slot, generation) = (record.slot - 1, record.generation);
                    let bell = if record.id % 4 == 3 {
                        slot::drop_unanswered(&*mem, 1, slot, generation)
                    } else {
                        slot::answer(&*mem, 1, slot, generation, record.id, record.route, &[&generation.to_ne_bytes()])
                    };
                    assert!(!bell.ring(&*mem));
                }
            })
        })
        .collect();
    callers.into_iter().chain(servers).for_each(|thread| thread.join().unwrap());
}

#[test]
fn calls_given_up_and_dropped_confuse_nobody() {
    explore(calls);
}

/// Two ports over one link, each with two messages of credit. One receiver starts only when the other port's whole traffic is through: a port
/// whose credit is used up does not stop the other.
fn ports() {
    const EACH: u32 = 6;
    const CREDIT: u32 = 2;
    let mem = Arc::new(Cells::new(&[], &[0, 1]));
    let out = Arc::new(Mutex::new(Outgoing::new(mem.clone(), 0)));
    let incoming = Arc::new(Mutex::new(Incoming::new(mem.clone(), 1)));
    let senders: Vec<_> = (0..2)
        .map(|route| {
            let (out, mem) = (out.clone(), mem.clone());
            thread::spawn(move || {
                for id in 0..EACH {
                    while id - credit::read(&*mem, 1, route) >= CREDIT {
                        credit::want(&*mem, 0, route, true);
                        let delivered = credit::read(&*mem, 1, route);
                        if id - delivered >= CREDIT {
                            mem.sleep(credit::word_at(1, route), delivered);
                        }
                        credit::want(&*mem, 0, route, false);
                    }
                    send(&out, head(route, id), &[]);
                }
            })
        })
        .collect();
    // The receiver sorts what comes into its own queues: what is not wanted yet stays undelivered, within its credit.
    let mut held: Vec<u32> = Vec::new();
    let deliver = |route: u32| assert!(!credit::delivered(&*mem, 1, route).ring(&*mem));
    let mut fast = 0;
    while fast < EACH {
        let (record, _) = receive(&incoming, false);
        if record.route == 0 {
            assert_eq!(record.id, fast);
            fast += 1;
            deliver(0);
        } else {
            held.push(record.id);
            assert!(held.len() <= CREDIT as usize, "more than the credit");
        }
    }
    held.iter().for_each(|_| deliver(1));
    while held.len() < EACH as usize {
        let (record, _) = receive(&incoming, false);
        held.push(record.id);
        deliver(1);
    }
    assert_eq!(held, (0..EACH).collect::<Vec<_>>());
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn port_without_credit_does_not_stop_another() {
    explore(ports);
}
