//! The lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use umach_abi::control::{LinkEnd, LinkRing, PortRecall, ReplyExplicit, RouteAck, RouteReturn};
use umach_abi::link::{self, bell, record, slot};
use umach_abi::records::violation;
use umach_link::{Incoming, RecordHead, record_size};
use umach_tests::Chance;

use crate::peer::{Evil, Link, plain};

/// How long those last that go on for a while.
const WHILE: Duration = Duration::from_millis(300);

/// What is lied about, and which rules the log may say were broken. None: nobody has to notice.
pub(crate) struct Lie {
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [&'static str],
    pub(crate) tell: fn(&mut Evil, &Route),
}

/// A route that was granted.
pub(crate) struct Route {
    pub(crate) index: u32,
    pub(crate) limit: u32,
    pub(crate) id: u64,
    pub(crate) link: Link,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [link::TAIL, link::HEAD, link::ARMED, link::STATE].map(|at| (self.link.get(at), self.link.get_theirs(at)));
        write!(f, "route {} of {}; tails, heads, arming, states: {words:?}", self.index, self.limit)
    }
}

impl Route {
    fn credits(&self) -> usize {
        link::CREDITS + self.index as usize % link::ROUTES * link::CREDIT_SIZE
    }
    /// The victim has read all that was published.
    pub(crate) fn is_consumed(&self) -> bool {
        self.link.get_theirs(link::HEAD) == self.start()
    }
    /// Publishes one record that says it is lent, with this payload.
    pub(crate) fn lent(&self, payload: &[u32], id: u32) {
        let start = self.start();
        let head = [4 * payload.len() as u32, record::LEASE, self.index, 0, 0, id];
        for (n, word) in head.iter().chain(payload).enumerate() {
            self.link.set(link::RING + (start as usize + 4 * n) % link::RING_SIZE, *word);
        }
        self.tail(record_size(4 * payload.len()) as u32);
    }
    fn start(&self) -> u32 {
        self.link.get(link::TAIL)
    }
    /// Publishes one record with an empty payload and these fields.
    fn record(&self, kind: u32, route: u32, slot: u32, generation: u32) {
        self.link.records(&[[0, kind, route, slot, generation, 1]], self.start() + link::RECORD_HEAD as u32);
    }
    fn tail(&self, by: u32) {
        self.link.set(link::TAIL, self.start().wrapping_add(by));
        self.link.wake(link::TAIL);
    }
}

const HEAD: u32 = link::RECORD_HEAD as u32;

const fn lie(name: &'static str, rule: &'static [&'static str; 1], tell: fn(&mut Evil, &Route)) -> Lie {
    Lie { name, rules: rule, tell }
}

/// One that only harms itself, if anybody.
const fn quiet(name: &'static str, tell: fn(&mut Evil, &Route)) -> Lie {
    Lie { name, rules: &[], tell }
}

/// Of a client to a server.
pub(crate) const OF_CLIENTS: &[Lie] = &[
    lie("a tail beyond the ring", &["ring index"], |_, route| route.tail(2 * link::RING_SIZE as u32)),
    // Backwards into a record that is not consumed yet, it cuts that one.
    Lie { name: "a tail that runs backwards", rules: &["ring index", "record length"], tell: |_, route| route.tail(8u32.wrapping_neg()) },
    lie("a tail at the end of all numbers", &["ring index"], |_, route| route.tail(0x7fff_ffe8)),
    lie("a tail in the middle of a word", &["ring index"], |_, route| route.tail(HEAD + 4)),
    lie("a record longer than what is published", &["record length"], |_, route| {
        route.link.records(&[[4000, record::MESSAGE, route.index, 0, 0, 1]], route.start() + HEAD);
    }),
    lie("a record longer than the ring", &["record length"], |_, route| {
        route.link.records(&[[u32::MAX, record::MESSAGE, route.index, 0, 0, 1]], route.start() + HEAD);
    }),
    lie("a record without a whole head", &["record length"], |_, route| route.tail(8)),
    lie("a record of no kind", &["record length"], |_, route| route.record(99, route.index, 0, 0)),
    lie("a route that was never granted", &["route"], |_, route| route.record(record::MESSAGE, route.index + 77, 0, 0)),
    lie("a route of a later grant", &["route"], |_, route| {
        route.record(record::MESSAGE, route.index + link::ROUTES as u32, 0, 0);
    }),
    quiet("messages after an offer to let the link go", |evil, route| {
        evil.call(&LinkEnd { link: route.link.id, why: violation::NONE, found: 0, expected: 0 });
        let end = Instant::now() + WHILE;
        while Instant::now() < end {
            route.record(record::MESSAGE, route.index, 0, 0);
            thread::sleep(Duration::from_millis(3));
        }
        // The victim may have been in the middle of one of them when it was asked; now it is not.
        evil.call(&LinkEnd { link: route.link.id, why: violation::NONE, found: 0, expected: 0 });
    }),
    quiet("messages after an agreement to let the link go", |evil, route| {
        evil.call(&LinkEnd { link: route.link.id, why: violation::NONE, found: 0, expected: 0 });
        evil.await_event(umach_abi::records::event::LINK_DOWN);
        (0..100).for_each(|_| route.record(record::MESSAGE, route.index, 0, 0));
    }),
    quiet("a route that is long retired", |_, route| {
        route.record(record::MESSAGE, route.index.wrapping_sub(link::ROUTES as u32), 0, 0);
    }),
    lie("a slot that there is not", &["slot"], |_, route| {
        route.record(record::MESSAGE, route.index, link::SLOTS as u32 + 1, 1);
    }),
    lie("a slot that is in use", &["slot"], |_, route| {
        let head = [0, record::MESSAGE, route.index, 1, 5, 1];
        route.link.records(&[head, head], route.start() + 2 * HEAD);
    }),
    lie("a ticket that was never sent", &["ticket"], |_, route| route.record(record::TICKET, route.index, 0, 0)),
    lie("a ticket for an answer that was never asked for", &["ticket"], |_, route| route.record(record::TICKET, route.index, 3, 9)),
    lie("a lease of nothing", &["lease"], |_, route| route.record(record::LEASE, route.index, 0, 0)),
    lie("more messages than credit", &["credit"], |_, route| {
        let heads = vec![[0, record::MESSAGE, route.index, 0, 0, 1]; route.limit as usize + 40];
        route.link.records(&heads, route.start() + heads.len() as u32 * HEAD);
    }),
    quiet("records that change while they are read", |_, route| {
        mutate(&route.link, link::RING, link::RING_SIZE, |out, link| {
            let mut producer = link.outgoing();
            let head = RecordHead { slot: out, generation: out, ..plain(0) };
            link.push(&mut producer, head, &[0; 512]);
        });
    }),
    quiet("all words of its half, changing", |_, route| mutate(&route.link, 0, link::RING, |_, _| {})),
    quiet("all words of the victim's half, changing", |_, route| scribble(&route.link)),
    quiet("bells a million times", |_, route| {
        let end = Instant::now() + WHILE;
        while Instant::now() < end {
            for word in [link::TAIL, link::HEAD, link::ARMED, link::SLOTS_AT] {
                route.link.wake(word);
            }
            route.link.set(link::ARMED, bell::FUTEX);
            route.link.set(link::ARMED, bell::KERNEL);
            route.link.set(link::SPACE_WANTED, bell::FUTEX);
        }
    }),
    quiet("the kernel's bell without a pause", |evil, route| {
        let end = Instant::now() + WHILE;
        while Instant::now() < end {
            evil.call(&LinkRing { link: route.link.id });
        }
    }),
    lie("an accusation of the victim", &["credit"], |evil, route| {
        evil.call(&LinkEnd { link: route.link.id, why: violation::CREDIT, found: 1, expected: 2 });
    }),
    quiet("nonsense about routes, replies and links", |evil, route| {
        for link in [0, route.link.id, route.link.id + 1, u64::MAX] {
            for slot in [0, 1, 63, 64, u32::MAX] {
                evil.call(&ReplyExplicit { link, slot, generation: slot, wanted: evil.own });
            }
            evil.call(&LinkEnd { link: link.wrapping_add(5), why: 999, found: 0, expected: 0 });
        }
        for id in [0, route.id, route.id + 1, u64::MAX] {
            evil.call(&RouteAck { route: id, accepted: 7 });
            evil.call(&RouteReturn { route: id, count: 3, tail: &[0; 100] });
        }
        evil.call(&PortRecall { name: evil.own, seqno: 9 });
        evil.call(&PortRecall { name: evil.victim, seqno: 9 });
    }),
    quiet("death after a message", |_, route| route.record(record::MESSAGE, route.index, 0, 0)),
    quiet("death after a call", |_, route| route.record(record::MESSAGE, route.index, 1, 1)),
    quiet("death in the middle of a record", |_, route| {
        route.link.set(link::RING + route.start() as usize % link::RING_SIZE, 8);
    }),
];

/// Of a server to a client, which calls all the while, with memory that it lends.
pub(crate) const OF_SERVERS: &[Lie] = &[
    quiet("words of leases, changing", |_, route| {
        mutate(&route.link, link::LEASES_DONE, 4 * link::LEASES, |out, link| {
            for at in 0..link::SLOTS as u32 {
                answer(link, at, out, slot::DONE, 8);
            }
        });
    }),
    quiet("leases given back that are in use", |_, route| {
        answers(route, WHILE, |link, at, generation| {
            for index in 0..8 {
                link.set(link::LEASES_DONE + 4 * index, generation << 1 | 1);
            }
            answer(link, at, generation, slot::DONE, 8);
        })
    }),
    lie("an answer that is lent and has no head", &["lease"], |_, route| {
        answers(route, WHILE, |link, at, generation| answer_lent(link, at, generation, 4, &[]));
    }),
    lie("an answer lent from an arena that there is not", &["lease"], |_, route| {
        answers(route, WHILE, |link, at, generation| answer_lent(link, at, generation, 40, &[1, 0, 3, 0, 1, 0, 0, 0, 8, 0]));
    }),
    lie("an answer whose inline bytes are not there", &["lease"], |_, route| {
        answers(route, WHILE, |link, at, generation| {
            answer_lent(link, at, generation, 40, &[1, 0, link::lease::INLINE, 0, 0, 0, 0, 0, 4000, 0]);
        });
    }),
    quiet("no answer ever", |_, _| thread::sleep(WHILE)),
    quiet("answers before they are asked for", |_, route| {
        answers(route, WHILE, |link, at, generation| {
            for ahead in 1..20 {
                answer(link, at, generation.wrapping_add(ahead), slot::DONE, 8);
            }
        })
    }),
    quiet("answers twice, late, and to other slots", |_, route| {
        answers(route, WHILE, |link, at, generation| {
            answer(link, at, generation.wrapping_sub(1), slot::DONE, 8);
            answer(link, (at + 1) % link::SLOTS as u32, generation, slot::DONE, 8);
            answer(link, at, generation, slot::DONE, 8);
            answer(link, at, generation, slot::DROPPED, 8);
            answer(link, at, generation, slot::DONE, 16);
        })
    }),
    lie("an answer of no kind", &["reply"], |_, route| answers(route, WHILE, |link, at, generation| answer(link, at, generation, 3, 8))),
    lie("an answer longer than its slot", &["reply"], |_, route| {
        answers(route, WHILE, |link, at, generation| {
            answer(link, at, generation, slot::DONE, link::SLOT_MAX as u32 + 4);
        })
    }),
    lie("an answer longer than memory", &["reply"], |_, route| {
        answers(route, WHILE, |link, at, generation| {
            answer(link, at, generation, slot::DONE, u32::MAX);
        })
    }),
    lie("more credit than there were messages", &["credit"], |_, route| {
        route.link.set(route.credits() + link::CREDIT_DELIVERED, 5000);
        answers(route, WHILE, |link, at, generation| answer(link, at, generation, slot::DONE, 8));
    }),
    lie("a head beyond the tail", &["ring index"], |_, route| {
        let credit = route.credits() + link::CREDIT_DELIVERED;
        let end = Instant::now() + 4 * WHILE;
        let mut incoming = Incoming::new(route.link.memory.clone(), route.link.mine);
        while Instant::now() < end {
            if let Ok(Some(record)) = incoming.next() {
                if let Some(at) = record.slot.checked_sub(1) {
                    answer(&route.link, at, record.generation, slot::DONE, 8);
                }
                let _ = incoming.consume(record);
                route.link.set(credit, route.link.get(credit).wrapping_add(1));
            }
            route.link.set(link::HEAD, 0x7fff_fff8);
            thread::yield_now();
        }
    }),
    quiet("all slots, changing", |_, route| mutate(&route.link, link::SLOTS_AT, link::SLOTS * link::SLOT_SIZE, |_, _| {})),
    quiet("routes closed that are not", |_, route| {
        let end = Instant::now() + WHILE;
        let mut n = 0;
        while Instant::now() < end {
            n += 1;
            route.link.set(route.credits() + link::CREDIT_CLOSED, route.index + 1);
            route.link.set(link::CLOSINGS, n);
            thread::yield_now();
        }
    }),
    quiet("death with a call unanswered", |_, _| {}),
];

/// Reads the victim's calls for a while, without ever giving room back, and has each answered.
fn answers(route: &Route, time: Duration, how: fn(&Link, u32, u32)) {
    let mut incoming = Incoming::new(route.link.memory.clone(), route.link.mine);
    let end = Instant::now() + time;
    while Instant::now() < end {
        match incoming.next() {
            Ok(Some(record)) => {
                if let Some(at) = record.slot.checked_sub(1) {
                    how(&route.link, at, record.generation);
                }
                let _ = incoming.consume(record);
            }
            _ => thread::yield_now(),
        }
    }
}

/// Writes an answer that says it is lent, with this payload.
fn answer_lent(link: &Link, at: u32, generation: u32, len: u32, payload: &[u32]) {
    let start = link::SLOTS_AT + at as usize * link::SLOT_SIZE;
    for (n, word) in payload.iter().enumerate() {
        link.set(start + link::SLOT_HEAD + 4 * n, *word);
    }
    link.set(start + 4, len);
    link.set(start + 8, 7);
    link.set(start + 12, link::lease::ANSWER);
    link.set(start, generation << 2 | slot::DONE);
    link.wake(start);
}

/// Writes an answer, whatever it says.
fn answer(link: &Link, at: u32, generation: u32, state: u32, len: u32) {
    let start = link::SLOTS_AT + at as usize * link::SLOT_SIZE;
    link.set(start + 4, len);
    link.set(start + 8, 7);
    link.set(start + 12, 0);
    link.set(start, generation << 2 | state);
    link.wake(start);
}

/// Changes words of the own half from one thread, while another does `meanwhile`.
fn mutate(link: &Link, from: usize, len: usize, meanwhile: fn(u32, &Link)) {
    let stop = Arc::new(AtomicBool::new(false));
    let mutator = {
        let (link, stop) = (link.clone(), stop.clone());
        thread::spawn(move || {
            let mut chance = Chance::new(7);
            while !stop.load(Ordering::Relaxed) {
                let at = from + 4 * chance.below(len as u64 / 4) as usize;
                let value = match chance.below(3) {
                    0 => chance.next() as u32,
                    1 => chance.below(100) as u32,
                    _ => link.get(at).wrapping_add(8),
                };
                link.set(at, value);
                if chance.below(64) == 0 {
                    link.wake(at);
                }
            }
        })
    };
    let end = Instant::now() + WHILE;
    let mut n = 0;
    while Instant::now() < end {
        n += 1;
        meanwhile(n, link);
        thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    mutator.join().expect("the mutator");
}

/// Writes into the victim's half for a while.
fn scribble(link: &Link) {
    let mut chance = Chance::new(11);
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        let at = 4 * chance.below(link::HALF as u64 / 4) as usize;
        link.set_theirs(at, chance.next() as u32);
        link.wake(link::TAIL);
    }
}
