//! Each part alone, on the heap and on two mappings of one memfd.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use umach_abi::link::{self, record};
use umach_abi::records::violation;
use umach_link::futex::{self, Woken};
use umach_link::{Bell, Evidence, Heap, Incoming, MapError, Mapping, Memory, Outgoing, PushError, RecordHead, Word, credit, lease, slot};

/// A message's head on a route.
fn message(route: u32) -> RecordHead {
    RecordHead { kind: record::MESSAGE, route, ..RecordHead::default() }
}

/// The same link as its two tasks see it.
fn mapped() -> [Arc<Mapping>; 2] {
    let memfd = umach_link::create().unwrap();
    [Arc::new(Mapping::new(&memfd).unwrap()), Arc::new(Mapping::new(&memfd).unwrap())]
}

fn heap() -> [Arc<Heap>; 2] {
    let heap = Arc::new(Heap::new());
    [heap.clone(), heap]
}

/// Runs a generic test on each kind of memory.
macro_rules! on_each_memory {
    ($($name:ident),* $(,)?) => {
        mod on_the_heap { $(#[test] fn $name() { super::$name(super::heap()); })* }
        mod on_a_memfd { $(#[test] fn $name() { super::$name(super::mapped()); })* }
    };
}
on_each_memory!(
    records_pushed_are_taken_in_order,
    bytes_of_any_place_and_length_are_copied,
    ring_filled_and_emptied_wraps,
    room_set_aside_is_not_given_away,
    quiet_records_are_published_at_once,
    bell_is_rung_once_for_all_that_comes_to_a_sleeper,
    space_is_told_to_who_waits_for_it,
    answer_is_seen_for_its_generation_only,
    waiting_caller_is_rung,
    call_that_is_given_up_is_known_to_its_server,
    credit_is_counted_and_rings,
    closing_is_seen,
    lease_comes_back,
    counters_add_up,
    positions_wrap_at_their_end,
    impossible_indices_are_evidence,
    impossible_records_are_evidence,
    impossible_answers_are_evidence,
);

fn take<M: Memory>(incoming: &mut Incoming<M>) -> Option<(u32, Vec<u8>)> {
    let record = incoming.next().unwrap()?;
    let mut bytes = Vec::new();
    incoming.payload(&record, &mut bytes);
    let route = record.route;
    let _ = incoming.consume(record);
    Some((route, bytes))
}

fn records_pushed_are_taken_in_order<M: Memory>([a, b]: [Arc<M>; 2]) {
    let (mut out, mut incoming) = (Outgoing::new(a, 0), Incoming::new(b, 1));
    assert!(!incoming.has_more() && incoming.next().unwrap().is_none());
    let head = RecordHead { kind: record::LEASE, route: 7, slot: 64, generation: 9, id: 11 };
    assert_eq!(out.push(head, &[b"one", b" and two"]), Ok(Bell::None));
    assert_eq!(out.push(message(8), &[]), Ok(Bell::None));
    assert!(incoming.has_more());
    let record = incoming.next().unwrap().unwrap();
    assert_eq!(
        (record.len, record.kind, record.route, record.slot, record.generation, record.id, record.at),
        (11, record::LEASE, 7, 64, 9, 11, 0)
    );
    let mut start = [0; 5];
    incoming.payload_into(&record, &mut start);
    assert_eq!(&start, b"one a");
    assert_eq!(take(&mut incoming), Some((7, b"one and two".to_vec())));
    assert_eq!(take(&mut incoming), Some((8, Vec::new())));
    assert_eq!(take(&mut incoming), None);
    assert_eq!(incoming.position(), out.position());
    assert_eq!(incoming.tail_seen(), incoming.tail_now());
}

fn bytes_of_any_place_and_length_are_copied<M: Memory>([a, b]: [Arc<M>; 2]) {
    let pattern: Vec<u8> = (0..4096u32).map(|n| (n * 7 + n / 256) as u8).collect();
    for at in [0, 1, 3, 4, 7, 8, 13] {
        for len in [0, 1, 2, 3, 7, 8, 9, 23, 24, 64, 511, 512, 513, 1000, 4096 - 16] {
            a.write(link::RING, &vec![0xee; 4096 + 64]);
            a.write(link::RING + 8 + at, &pattern[at..at + len]);
            let mut all = vec![0; 16 + at + len];
            b.read(link::RING, &mut all);
            assert_eq!(&all[8 + at..8 + at + len], &pattern[at..at + len], "{len} bytes at {at}");
            assert!(all[..8 + at].iter().chain(&all[8 + at + len..]).all(|byte| *byte == 0xee), "{len} bytes at {at}: neighbours");
            let mut part = vec![0; len];
            b.read(link::RING + 8 + at, &mut part);
            assert_eq!(part, &pattern[at..at + len], "{len} bytes from {at}");
        }
    }
}

fn ring_filled_and_emptied_wraps<M: Memory>([a, b]: [Arc<M>; 2]) {
    let (mut out, mut incoming) = (Outgoing::new(a, 1), Incoming::new(b, 0));
    let (mut sent, mut taken) = (0u32, 0u32);
    let payload = |n: u32| vec![n as u8; (n as usize * 37) % (link::RECORD_MAX + 1)];
    for _ in 0..20 {
        loop {
            match out.push(message(sent), &[&payload(sent)]) {
                Ok(_) => sent += 1,
                Err(error) => break assert_eq!(error, PushError::Full),
            }
        }
        assert!(out.space() < umach_link::record_size(payload(sent).len()));
        for _ in 0..5 {
            assert_eq!(take(&mut incoming), Some((taken, payload(taken))));
            taken += 1;
        }
        let _ = incoming.settle();
    }
    while let Some(record) = take(&mut incoming) {
        assert_eq!(record, (taken, payload(taken)));
        taken += 1;
    }
    assert_eq!(taken, sent);
    assert_eq!(out.space(), link::RING_SIZE);
}

fn room_set_aside_is_not_given_away<M: Memory>([a, b]: [Arc<M>; 2]) {
    let (mut out, mut incoming) = (Outgoing::new(a, 0), Incoming::new(b, 1));
    out.reserve(0).unwrap();
    out.reserve(100).unwrap();
    while out.push(message(1), &[&[1; 2000]]).is_ok() {}
    while out.push(message(1), &[]).is_ok() {}
    let _ = out.push_reserved(message(2), &[]);
    out.unreserve(100);
    while out.push(message(3), &[]).is_ok() {}
    let mut routes = std::iter::from_fn(|| take(&mut incoming)).map(|(route, _)| route).collect::<Vec<_>>();
    routes.dedup();
    assert_eq!(routes, [1, 2, 3]);
}

fn quiet_records_are_published_at_once<M: Memory>([a, b]: [Arc<M>; 2]) {
    let (mut out, mut incoming) = (Outgoing::new(a, 0), Incoming::new(b.clone(), 1));
    umach_link::arm(&*b, 1, link::bell::FUTEX);
    out.push_quiet(message(1), &[b"a"]).unwrap();
    out.push_quiet(message(2), &[b"b"]).unwrap();
    assert!(!incoming.has_more());
    assert_eq!(out.flush(), Bell::Futex(link::TAIL));
    assert_eq!(out.flush(), Bell::None);
    assert_eq!(take(&mut incoming).unwrap().0, 1);
    assert_eq!(take(&mut incoming).unwrap().0, 2);
}

fn bell_is_rung_once_for_all_that_comes_to_a_sleeper<M: Memory>([a, b]: [Arc<M>; 2]) {
    let (mut out, mut incoming) = (Outgoing::new(a, 1), Incoming::new(b.clone(), 0));
    let word = link::HALF + link::TAIL;
    let mut after = |arm: fn(&M)| {
        while take(&mut incoming).is_some() {}
        arm(&*b);
        [out.push(message(0), &[]).unwrap(), out.push(message(0), &[]).unwrap()]
    };
    let none = Bell::None;
    assert_eq!(after(|_| {}), [none, none]);
    assert_eq!(after(|mem| umach_link::arm(mem, 0, link::bell::FUTEX)), [Bell::Futex(word), none]);
    assert_eq!(after(|_| {}), [Bell::Futex(word), none], "it is still armed, and has consumed everything");
    assert_eq!(after(|mem| umach_link::disarm(mem, 0)), [none, none]);
    assert_eq!(after(|mem| umach_link::arm(mem, 0, link::bell::FUTEX)), [Bell::Futex(word), none], "armed anew");
    assert_eq!(after(|mem| umach_link::arm(mem, 0, link::bell::KERNEL)), [Bell::Kernel, none]);
    let disarmed = |mem: &M| {
        umach_link::arm(mem, 0, link::bell::FUTEX);
        umach_link::disarm(mem, 0);
    };
    assert_eq!(after(disarmed), [none, none]);
}

fn space_is_told_to_who_waits_for_it<M: Memory>([a, b]: [Arc<M>; 2]) {
    let (mut out, mut incoming) = (Outgoing::new(a, 0), Incoming::new(b, 1));
    while out.push(message(1), &[]).is_ok() {}
    let record = incoming.next().unwrap().unwrap();
    assert_eq!(incoming.consume(record), Bell::None);
    assert_eq!(out.push(message(1), &[]), Err(PushError::Full), "one record's worth is not told unasked");
    out.want_space(true);
    let seen = out.head_seen();
    let record = incoming.next().unwrap().unwrap();
    let bell = incoming.consume(record);
    assert_eq!(bell, Bell::Futex(link::HALF + link::HEAD));
    assert_eq!(bell, Bell::Futex(out.head_word()));
    assert_ne!(out.memory().word(out.head_word()).load(Ordering::Relaxed), seen, "a sleeper would not fall asleep again");
    let record = incoming.next().unwrap().unwrap();
    assert_eq!(incoming.consume(record), Bell::None, "it has been rung for");
    assert!(out.push(message(1), &[]).is_ok());
    out.want_space(false);
    let record = incoming.next().unwrap().unwrap();
    assert_eq!(incoming.consume(record), Bell::None);
}

fn answer_is_seen_for_its_generation_only<M: Memory>([caller, replier]: [Arc<M>; 2]) {
    assert_eq!(slot::poll(&*caller, 0, 5, 1), Ok(None));
    let _ = slot::answer(&*replier, 1, 5, 1, 77, 3, &[b"yes", b" sir"]);
    assert_eq!(slot::poll(&*caller, 0, 5, 2), Ok(None));
    assert_eq!(slot::poll(&*caller, 0, 4, 1), Ok(None));
    assert_eq!(slot::poll(&*caller, 0, 5, 1), Ok(Some(slot::Outcome::Answered { len: 7, id: 77, kind: 3 })));
    let mut bytes = b"> ".to_vec();
    slot::read(&*caller, 0, 5, 7, &mut bytes);
    assert_eq!(bytes, b"> yes sir");
    let _ = slot::drop_unanswered(&*replier, 1, 5, 2);
    assert_eq!(slot::poll(&*caller, 0, 5, 2), Ok(Some(slot::Outcome::Dropped)));
    // Two bits of the generation do not fit into the word.
    let _ = slot::answer(&*replier, 1, 63, u32::MAX, 0, 0, &[&[9; link::SLOT_MAX]]);
    assert!(matches!(slot::poll(&*caller, 0, 63, u32::MAX), Ok(Some(slot::Outcome::Answered { len: link::SLOT_MAX, .. }))));
}

fn waiting_caller_is_rung<M: Memory>([caller, replier]: [Arc<M>; 2]) {
    assert_eq!(slot::answer(&*replier, 1, 0, 1, 0, 0, &[]), Bell::None);
    let seen = slot::word_seen(&*caller, 0, 0);
    slot::wait_flag(&*caller, 0, 0, link::bell::FUTEX);
    assert_eq!(slot::answer(&*replier, 1, 1, 1, 0, 0, &[]), Bell::None, "another slot");
    assert_eq!(slot::answer(&*replier, 1, 0, 2, 0, 0, &[]), Bell::Futex(slot::word_at(1, 0)));
    assert_ne!(slot::word_seen(&*caller, 0, 0), seen);
    slot::wait_flag(&*caller, 0, 0, link::bell::KERNEL);
    assert_eq!(slot::drop_unanswered(&*replier, 1, 0, 3), Bell::Kernel);
    slot::wait_flag(&*caller, 0, 0, link::bell::NONE);
    assert_eq!(slot::drop_unanswered(&*replier, 1, 0, 4), Bell::None);
}

fn call_that_is_given_up_is_known_to_its_server<M: Memory>([caller, replier]: [Arc<M>; 2]) {
    assert!(!slot::is_given_up(&*replier, 1, 5, 1));
    slot::give_up(&*caller, 0, 5, 7);
    // It and those before it, but not the next in the same slot, nor those of others.
    let given_up = |slot, generation| slot::is_given_up(&*replier, 1, slot, generation);
    assert!(given_up(5, 7) && given_up(5, 6) && !given_up(5, 8) && !given_up(4, 7));
    slot::give_up(&*caller, 0, 5, slot::GENERATIONS);
    assert!(given_up(5, slot::GENERATIONS) && !given_up(5, 1), "generations wrap around");
}

fn credit_is_counted_and_rings<M: Memory>([sender, receiver]: [Arc<M>; 2]) {
    assert_eq!(credit::delivered(&*receiver, 1, 3), Bell::None);
    assert_eq!((credit::read(&*sender, 1, 3), credit::read(&*sender, 1, 2)), (1, 0));
    credit::want(&*sender, 0, 3, true);
    assert_eq!(credit::delivered(&*receiver, 1, 2), Bell::None);
    assert_eq!(credit::delivered(&*receiver, 1, 3), Bell::Futex(credit::word_at(1, 3)));
    credit::want(&*sender, 0, 3, false);
    assert_eq!(credit::delivered(&*receiver, 1, 3), Bell::None);
    assert_eq!(credit::read(&*sender, 1, 3), 3);
    credit::reset(&*receiver, 1, 3);
    assert_eq!(credit::read(&*sender, 1, 3), 0);
}

fn closing_is_seen<M: Memory>([sender, receiver]: [Arc<M>; 2]) {
    let before = credit::closings(&*sender, 0);
    assert!(!credit::closed(&*sender, 0, 1023));
    credit::close(&*receiver, 0, 1023);
    assert_ne!(credit::closings(&*sender, 0), before);
    assert!(credit::closed(&*sender, 0, 1023) && !credit::closed(&*sender, 0, 1022) && !credit::closed(&*sender, 1, 1023));
    credit::reopen(&*receiver, 0, 1023);
    assert!(!credit::closed(&*sender, 0, 1023));
}

fn lease_comes_back<M: Memory>([sender, receiver]: [Arc<M>; 2]) {
    lease::done(&*receiver, 1, 1023, 5);
    assert_eq!([1023, 1022].map(|index| lease::word(&*sender, 1, index)), [(5, true), (0, false)]);
    assert_eq!(lease::word(&*sender, 0, 1023), (0, false));
}

fn counters_add_up<M: Memory>([a, b]: [Arc<M>; 2]) {
    umach_link::count(&*a, 0, link::counter::BYTES, u64::from(u32::MAX));
    umach_link::count(&*a, 0, link::counter::BYTES, 2);
    let counters = umach_link::counters(&*b, 0);
    assert_eq!(counters[link::counter::BYTES], u64::from(u32::MAX) + 2);
    assert_eq!(counters.iter().sum::<u64>(), counters[link::counter::BYTES]);
    umach_link::publish_state(&*a, 0, link::state::SLEEPS, 3);
    assert_eq!((umach_link::state(&*b, 0), umach_link::state(&*b, 1)), ((link::state::SLEEPS, 3), (link::state::UNKNOWN, 0)));
}

fn positions_wrap_at_their_end<M: Memory>([a, b]: [Arc<M>; 2]) {
    let start = 0u32.wrapping_sub(64);
    let (mut out, mut incoming) = (Outgoing::starting_at(a, 0, start), Incoming::starting_at(b, 1, start));
    for round in 0..1000 {
        let _ = out.push(message(round), &[&[round as u8; 999]]).unwrap();
        assert_eq!(take(&mut incoming), Some((round, vec![round as u8; 999])));
    }
    assert_eq!(out.space(), link::RING_SIZE);
}

fn impossible_indices_are_evidence<M: Memory>([a, b]: [Arc<M>; 2]) {
    let ring = link::RING_SIZE as u32;
    for tail in [8u32.wrapping_neg(), 4, ring + 8, u32::MAX, 1 << 31] {
        let mut incoming = Incoming::new(b.clone(), 1);
        a.word(link::TAIL).store(tail, Ordering::Release);
        assert!(incoming.has_more());
        assert_eq!(incoming.next(), Err(Evidence::new(violation::INDEX, tail, 0u32)));
        assert_eq!(incoming.tail_now(), 0);
    }
    for head in [8u32.wrapping_neg(), 4, 32, 1 << 31] {
        a.word(link::HALF + link::HEAD).store(0, Ordering::Release);
        let mut out = Outgoing::new(a.clone(), 0);
        let _ = out.push(message(1), &[]).unwrap();
        b.word(link::HALF + link::HEAD).store(head, Ordering::Release);
        let refused = std::iter::repeat_with(|| out.push(message(1), &[&[0; 4000]])).find_map(Result::err);
        let bound = out.position();
        let fair = head == 32 && refused == Some(PushError::Full);
        assert!(fair || refused == Some(PushError::Corrupt(Evidence::new(violation::INDEX, head, bound))), "{head}: {refused:?}");
    }
}

fn impossible_records_are_evidence<M: Memory>([a, b]: [Arc<M>; 2]) {
    // len, kind, slot, bytes published, evidence
    let max = link::RECORD_MAX as u32;
    let cases = [
        (1, record::MESSAGE, 0, 24, Evidence::new(violation::RECORD, 1u32, 0u32)),
        (0, record::MESSAGE, 0, 16, Evidence::new(violation::RECORD, 16u32, 24u32)),
        (max + 1, record::MESSAGE, 0, 8192, Evidence::new(violation::RECORD, max + 1, max)),
        (u32::MAX, record::MESSAGE, 0, 8192, Evidence::new(violation::RECORD, u32::MAX, max)),
        (0, 0, 0, 24, Evidence::new(violation::RECORD, 0u32, record::LEASE)),
        (0, 4, 0, 24, Evidence::new(violation::RECORD, 4u32, record::LEASE)),
        (0, record::MESSAGE, 65, 24, Evidence::new(violation::SLOT, 65u32, 64u32)),
    ];
    for (len, kind, slot, published, evidence) in cases {
        let mut incoming = Incoming::new(b.clone(), 1);
        for (at, value) in [(0, len), (4, kind), (12, slot)] {
            a.word(link::RING + at).store(value, Ordering::Relaxed);
        }
        a.word(link::TAIL).store(published, Ordering::Release);
        assert_eq!(incoming.next(), Err(evidence));
        assert_eq!(incoming.next(), Err(evidence), "and it stays so");
    }
}

fn impossible_answers_are_evidence<M: Memory>([a, b]: [Arc<M>; 2]) {
    let at = slot::word_at(1, 2);
    b.word(at).store(9 << 2 | 3, Ordering::Release);
    assert_eq!(slot::poll(&*a, 0, 2, 9), Err(Evidence::new(violation::REPLY, 3u32, 2u32)));
    b.word(at).store(9 << 2, Ordering::Release);
    assert_eq!(slot::poll(&*a, 0, 2, 9), Err(Evidence::new(violation::REPLY, 0u32, 2u32)));
    b.word(at + 4).store(link::SLOT_MAX as u32 + 1, Ordering::Relaxed);
    b.word(at).store(9 << 2 | link::slot::DONE, Ordering::Release);
    let long = Evidence::new(violation::REPLY, link::SLOT_MAX as u64 + 1, link::SLOT_MAX as u64);
    assert_eq!(slot::poll(&*a, 0, 2, 9), Err(long));
    assert_eq!(long.to_string(), "the peer of the link broke a rule (reply): found 0xff1, expected 0xff0");
}

#[test]
fn file_that_is_no_link_is_not_mapped() {
    let plain = tempfile::tempfile().unwrap();
    assert!(matches!(Mapping::new(&plain), Err(MapError::System { .. } | MapError::Seals { .. })));
    let memfd = rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    let file = File::from(memfd);
    file.set_len(link::SIZE as u64 - 4096).unwrap();
    assert!(matches!(Mapping::new(&file), Err(MapError::Seals { .. })));
    let seals = rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::GROW | rustix::fs::SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    assert!(matches!(Mapping::new(&file), Err(MapError::Size { found }) if found == link::SIZE as u64 - 4096));
}

#[test]
fn sleeper_is_woken_by_each_of_its_words() {
    let words: [AtomicU32; 3] = std::array::from_fn(|_| AtomicU32::new(7));
    let late = Instant::now() + Duration::from_secs(20);
    for (which, count) in [(0, 1), (0, 3), (2, 3)] {
        std::thread::scope(|scope| {
            let list: Vec<_> = words[..count].iter().map(|word| (word, 7)).collect();
            let sleeper = scope.spawn(move || futex::wait(&list, Some(late)));
            // It may not sleep yet: wake until it was woken. A wake-up of nobody has no effect.
            while futex::wake_in(&words[which], 1, futex::Scope::Shared) == 0 {
                assert!(Instant::now() < late, "nobody slept on word {which}");
                std::thread::yield_now();
            }
            assert_eq!(sleeper.join().unwrap(), Woken::Rung(which));
        });
    }
}

#[test]
fn sleep_on_changed_word_or_past_deadline_ends() {
    let words = [AtomicU32::new(1), AtomicU32::new(2)];
    let late = Some(Instant::now() + Duration::from_secs(20));
    assert_eq!(futex::wait(&[(&words[0], 2)], late), Woken::Changed);
    assert_eq!(futex::wait(&[(&words[0], 1), (&words[1], 3)], late), Woken::Changed);
    let soon = Some(Instant::now() + Duration::from_millis(2));
    assert_eq!(futex::wait(&[(&words[0], 1)], soon), Woken::TimedOut);
    assert_eq!(futex::wait(&[(&words[0], 1), (&words[1], 2)], soon), Woken::TimedOut);
    assert_eq!(futex::wait_on(&[(&words[0], 1, futex::Scope::Private)], soon), Woken::TimedOut);
    let mixed = [(&words[0], 1, futex::Scope::Private), (&words[1], 2, futex::Scope::Shared)];
    assert_eq!(futex::wait_on(&mixed, soon), Woken::TimedOut);
}
