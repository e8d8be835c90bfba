//! What each fuzz target does with its input. The input is what a hostile peer writes; nothing that it writes may cause a panic, an access outside the
//! memory, an endless loop, or a value that breaks what the crate promises about it.
//!
//! `ring` and `slot` run beside a thread that goes on writing while the memory is read, through a mapping of its own. The crate's tests replay the
//! corpora through the same functions.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use umach_abi::control::{Reply, Request, answer};
use umach_abi::link::{self, record};
use umach_abi::records::{Event, violation};
use umach_link::slot::Outcome;
use umach_link::{Evidence, Incoming, Mapping, Memory, Outgoing, PushError, RecordHead, credit, lease, record_size};

/// A target: does something with any bytes, and panics if that shows a fault.
pub type Target = fn(&[u8]);

/// The targets, by their names.
pub const TARGETS: [(&str, Target); 5] = [("records", records), ("ring", ring), ("slot", slot), ("leases", leases), ("control", control)];

/// Rounds that the writing thread makes at most.
const ROUNDS: usize = 64;

/// One link as its two tasks see it, clean.
struct Pair {
    mine: Arc<Mapping>,
    theirs: Arc<Mapping>,
}

thread_local! {
    /// Mapped once: it costs more than a round of a target.
    static PAIR: [Arc<Mapping>; 2] = {
        let memfd = umach_link::create().expect("memory for a link");
        std::array::from_fn(|_| Arc::new(Mapping::new(&memfd).expect("a link that was just made is mapped")))
    };
}

impl Pair {
    fn clean() -> Pair {
        let [mine, theirs] = PAIR.with(Clone::clone);
        let zero = [0; link::RING_SIZE];
        for half in [0, link::HALF] {
            mine.write(half, &zero[..link::CREDITS]);
            mine.write(half + link::RING, &zero);
            mine.write(half + link::SLOTS_AT, &zero[..2 * link::SLOT_SIZE]);
        }
        Pair { mine, theirs }
    }
}

/// The input, taken from the front. At its end there are zeros.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
    fn u16(&mut self) -> u16 {
        let mut out = [0; 2];
        let taken = self.bytes(2);
        out[..taken.len()].copy_from_slice(taken);
        u16::from_le_bytes(out)
    }
    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

/// Writes bytes into the peer's ring from `position` on, with its wrap.
fn write_ring(mem: &Mapping, half: usize, position: u32, bytes: &[u8]) {
    for (n, byte) in bytes.iter().enumerate() {
        let at = position.wrapping_add(n as u32) as usize % link::RING_SIZE;
        mem.write(half * link::HALF + link::RING + at, &[*byte]);
    }
}

fn check_evidence(evidence: Evidence) {
    assert!([violation::INDEX, violation::RECORD, violation::SLOT].contains(&evidence.rule), "{evidence}");
    assert!(evidence.to_string().contains(violation::name(evidence.rule)));
}

/// A ring that holds still, against a parser that knows nothing of this crate.
pub fn records(data: &[u8]) {
    let mut input = Input(data);
    let start = input.u32() & !7;
    let published = u32::from(input.u16());
    let image = &input.0[..input.0.len().min(link::RING_SIZE)];
    let Pair { mine, theirs } = Pair::clean();
    let mut incoming = Incoming::starting_at(mine, 1, start);
    write_ring(&theirs, 0, start, image);
    theirs.word(link::TAIL).store(start.wrapping_add(published), Release);

    let word = |at: usize| (0..4).fold(0, |value, n| value | u32::from(*image.get(at + n).unwrap_or(&0)) << (8 * n));
    let end = published as usize;
    let mut at = 0;
    let mut bytes = Vec::new();
    loop {
        let found = incoming.next();
        if !end.is_multiple_of(8) || end > link::RING_SIZE {
            return assert!(matches!(found, Err(Evidence { rule: violation::INDEX, .. })));
        }
        if at == end {
            return assert_eq!(found, Ok(None));
        }
        let (len, kind, slot) = (word(at) as usize, word(at + 4), word(at + 12));
        let fits = at + 24 <= end && len <= link::RECORD_MAX && at + 24 + len <= end;
        if !fits || !(1..=3).contains(&kind) || slot > 64 {
            return check_evidence(found.expect_err("a record that breaks a rule was taken"));
        }
        let record = found.expect("a good record").expect("a published record");
        assert_eq!((record.len as usize, record.kind, record.slot), (len, kind, slot));
        assert_eq!((record.route, record.generation, record.id), (word(at + 8), word(at + 16), word(at + 20)));
        bytes.clear();
        incoming.payload(&record, &mut bytes);
        assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == *image.get(at + 24 + n).unwrap_or(&0)));
        let _ = incoming.consume(record);
        at += (24 + len).next_multiple_of(8);
    }
}

/// What the hostile peer writes, again and again: words and bytes of its own half and of ours.
fn scribble(mem: &Mapping, script: &[u8], stop: &AtomicBool) {
    for _ in 0..ROUNDS {
        let mut input = Input(script);
        while !input.0.is_empty() && !stop.load(Acquire) {
            let (what, value) = (input.u16(), input.u32());
            let place = (what >> 4) as usize;
            match what & 15 {
                0..=2 => mem.word(link::TAIL).store(value, Release),
                3 => mem.word(link::HEAD).store(value, Release),
                4 => mem.word(link::ARMED).store(value, Relaxed),
                5 => mem.word(link::SPACE_WANTED).store(value, Relaxed),
                6 => mem.word(link::HALF + link::TAIL).store(value, Relaxed),
                7 => mem.word(link::HALF + link::HEAD).store(value, Relaxed),
                8 => mem.word(link::HALF + link::ARMED).store(value, Relaxed),
                9 => mem.write(link::RING + place * 8, &value.to_le_bytes()[..3]),
                _ => mem.word(link::RING + place * 8).store(value, Relaxed),
            }
        }
        if stop.load(Acquire) {
            return;
        }
        std::thread::yield_now();
    }
}

/// Both ends of ours against a peer that goes on writing.
pub fn ring(data: &[u8]) {
    let mut input = Input(data);
    let start = input.u32() & !7;
    let tail = input.u32();
    let pushes = input.u16();
    let image_len = input.u16() as usize % 4096;
    let image = input.bytes(image_len);
    let script = input.0;
    let Pair { mine, theirs } = Pair::clean();
    let mut incoming = Incoming::starting_at(mine.clone(), 1, start);
    let mut out = Outgoing::starting_at(mine.clone(), 1, start);
    theirs.word(link::HEAD).store(start, Release);
    write_ring(&theirs, 0, start, image);
    theirs.word(link::TAIL).store(tail, Release);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = (!script.is_empty()).then(|| scope.spawn(|| scribble(&theirs, script, &stop)));
        // Stops it also if a check fails.
        let _stop = Stop(&stop);
        consume(&mut incoming);
        produce(&mut out, pushes);
        if writer.is_some() {
            // Once more, from where it got to: there may be something new.
            consume(&mut incoming);
        }
    });
    // What is around our ring is as it was.
    let mut guard = [1; 64];
    for at in [link::RING - 64, link::SLOTS_AT] {
        mine.read(link::HALF + at, &mut guard);
        assert_eq!(guard, [0; 64], "written outside the ring");
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}

fn consume(incoming: &mut Incoming<Mapping>) {
    let mut bytes = Vec::new();
    // A peer that goes on publishing never ends it; this does.
    for round in 0..2000 {
        let before = incoming.position();
        let end = incoming.tail_now();
        assert!(end.wrapping_sub(before) <= link::RING_SIZE as u32 && end.is_multiple_of(8));
        match incoming.next() {
            Err(evidence) => return check_evidence(evidence),
            Ok(None) => {
                // Nothing is left of what was told.
                assert_eq!(incoming.tail_seen(), before);
                umach_link::arm(&**incoming.memory(), 1, link::bell::FUTEX);
                if round > 50 {
                    return;
                }
                std::thread::yield_now();
            }
            Ok(Some(record)) => {
                assert!(record.len as usize <= link::RECORD_MAX && record.slot as usize <= link::SLOTS && record.at == before);
                assert!([record::MESSAGE, record::TICKET, record::LEASE].contains(&record.kind));
                bytes.clear();
                incoming.payload(&record, &mut bytes);
                assert_eq!(bytes.len(), record.len as usize);
                let size = record_size(bytes.len()) as u32;
                let _ = incoming.consume(record);
                assert_eq!(incoming.position(), before.wrapping_add(size));
            }
        }
    }
}

fn produce(out: &mut Outgoing<Mapping>, pushes: u16) {
    let mut wanted = 0;
    for n in 0..pushes % 64 {
        let before = out.position();
        let payload = &[0xee; link::RECORD_MAX][..(n as usize * 367) % (link::RECORD_MAX + 1)];
        let head = RecordHead { kind: record::MESSAGE, ..RecordHead::default() };
        if n % 7 == 3 && out.reserve(payload.len()).is_ok() {
            let _ = out.push_reserved(head, &[payload]);
            continue;
        }
        match out.push(head, &[payload]) {
            Ok(_) => assert_eq!(out.position(), before.wrapping_add(record_size(payload.len()) as u32)),
            Err(PushError::Full) => {
                out.want_space(true);
                wanted += 1;
            }
            Err(PushError::Corrupt(evidence)) => return check_evidence(evidence),
        }
        assert!(out.space() <= link::RING_SIZE);
        if n % 5 == 4 {
            (0..std::mem::take(&mut wanted)).for_each(|_| out.want_space(false));
        }
    }
}

/// A caller against a replier that writes its slot at any time, and words of credit and closing.
pub fn slot(data: &[u8]) {
    let mut input = Input(data);
    let slot = u32::from(input.u16()) % 2;
    let generation = input.u32();
    let head: Vec<u32> = (0..4).map(|_| input.u32()).collect();
    let script = input.0;
    let Pair { mine, theirs } = Pair::clean();
    let at = umach_link::slot::word_at(1, slot);
    for (n, value) in head.iter().enumerate().rev() {
        theirs.word(at + 4 * n).store(*value, Release);
    }
    let stop = AtomicBool::new(false);
    let rewrite = || {
        for _ in 0..ROUNDS {
            let mut input = Input(script);
            while !input.0.is_empty() && !stop.load(Acquire) {
                let (what, value) = (input.u16() as usize, input.u32());
                // The head more often than the payload.
                let place = if what & 1 == 0 { what / 2 % 4 } else { what / 2 % (link::SLOT_SIZE / 4) };
                theirs.word(at + 4 * place).store(value, Release);
            }
            if stop.load(Acquire) {
                return;
            }
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let writer = (!script.is_empty()).then(|| scope.spawn(rewrite));
        let _stop = Stop(&stop);
        let mut bytes = Vec::new();
        for _ in 0..if writer.is_some() { 50 } else { 1 } {
            let found = umach_link::slot::poll(&*mine, 0, slot, generation);
            if writer.is_none() {
                let ours = head[0] >> 2 == generation & umach_link::slot::GENERATIONS;
                match head[0] & 3 {
                    _ if !ours => assert_eq!(found, Ok(None)),
                    1 if head[1] as usize <= link::SLOT_MAX => {
                        let answered = Outcome::Answered { len: head[1] as usize, id: head[2], kind: head[3] };
                        assert_eq!(found, Ok(Some(answered)));
                    }
                    2 => assert_eq!(found, Ok(Some(Outcome::Dropped))),
                    _ => assert_eq!(found.map_err(|evidence| evidence.rule), Err(violation::REPLY)),
                }
            }
            match found {
                Ok(Some(Outcome::Answered { len, .. })) => {
                    assert!(len <= link::SLOT_MAX);
                    bytes.clear();
                    umach_link::slot::read(&*mine, 0, slot, len, &mut bytes);
                    assert_eq!(bytes.len(), len);
                }
                Ok(Some(Outcome::Dropped)) => {}
                Ok(None) => std::thread::yield_now(),
                Err(evidence) => assert_eq!(evidence.rule, violation::REPLY),
            }
            let _ = (credit::closed(&*mine, 1, slot), credit::closings(&*mine, 1), umach_link::counters(&*mine, 1));
        }
    });
}

/// A payload that says what is lent, against a reader that knows nothing of this crate's: the first half of the rules by arithmetic that cannot overflow.
pub fn leases(data: &[u8]) {
    const SIZES: [u64; 2] = [4096, 1 << 20];
    let mut input = Input(data);
    let body_max = usize::from(input.u16());
    let payload = input.0;
    let found = lease::read(payload, body_max, |arena| SIZES.get(arena as usize).copied());
    let word = |at: usize| payload.get(at..at + 4).map_or(0, |b| u128::from(u32::from_le_bytes(b.try_into().expect("four bytes"))));
    let long = |at: usize| word(at) | word(at + 4) << 32;
    let (count, flags) = (word(0), word(4));
    let fits = payload.len() >= 8 && 8 + 32 * count <= payload.len() as u128 && flags <= 1 && (flags == 0 || count > 0);
    let rows = if fits { count as usize } else { 0 };
    let mut inline = 0u128;
    let mut good = fits;
    for row in (0..rows).map(|n| 8 + 32 * n) {
        let (arena, index, generation, zero, offset, len) =
            (word(row), word(row + 4), word(row + 8), word(row + 12), long(row + 16), long(row + 24));
        good &= zero == 0 && len <= u128::from(u32::MAX);
        if arena == u128::from(u32::MAX) {
            good &= index == 0 && generation == 0 && offset == 0;
            inline += len.next_multiple_of(4);
        } else {
            let size = SIZES.get(arena as usize).copied().unwrap_or(0);
            good &= index < 1024 && (1..1 << 31).contains(&generation) && offset.is_multiple_of(4096);
            good &= len > 0 && offset + len <= u128::from(size);
        }
    }
    let rest = (payload.len() as u128).saturating_sub(8 + 32 * count);
    good &= inline <= rest && (rest - inline.min(rest)).is_multiple_of(4);
    if flags == 1 && rows > 0 {
        let last = 8 + 32 * (rows - 1);
        good &= word(last) != u128::from(u32::MAX)
            && long(last + 24) <= body_max as u128
            && long(last + 24).is_multiple_of(4)
            && rest == inline;
    }
    match found {
        Err(lease::ReadError::Broken(evidence)) => assert!(!good && evidence.rule == violation::LEASE, "{evidence}"),
        Err(lease::ReadError::Unknown(arena)) => assert!(!good && arena as usize >= SIZES.len()),
        Ok(read) => {
            assert!(good, "a payload that breaks a rule was taken: {read:?}");
            assert_eq!(read.pieces.len() + usize::from(read.lent_body.is_some()), rows);
            let mut again = Vec::new();
            lease::write(&read, &mut again);
            // But for what is between inline bytes.
            assert_eq!(lease::read(&again, body_max, |arena| SIZES.get(arena as usize).copied()), Ok(read));
        }
    }
}

/// A packet as the kernel process reads it, and the same bytes as a task reads an answer with events.
pub fn control(data: &[u8]) {
    if let Ok((head, request)) = Request::decode(data) {
        assert_eq!(head.op, request.op());
        let mut again = Vec::new();
        request.encode(head.seq, &mut again);
        assert_eq!(again, data, "{} is not written as it was read", request.name());
    }
    if let Ok(answer::Events { more, events }) = answer::Events::take(data) {
        let mut again = more.to_le_bytes().to_vec();
        let mut count = 0;
        for event in Event::all(events) {
            event.write(&mut again);
            count += 1;
        }
        assert_eq!(count, events.len() / Event::SIZE);
        assert_eq!(again, data[..again.len()], "events are not written as they were read");
    }
}
