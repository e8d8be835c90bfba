//! The history of numbered messages between many tasks, while the kernel gives and takes routes by chance, receive rights travel, and tasks die.
//!
//! A run is a row of *plays*, each on a kernel of its own in this process and from a seed of its own; the modes of the direct plane take turns. A play has [`MEMBERS`] tasks. Each has a port that dies
//! with it, and [`SENDERS`] threads that send numbers to all ports in every way there is: plain, with rights, with memory, in calls that are
//! answered at once, later, by somebody else, or not at all. [`TRAVELLERS`] more ports go round among the tasks; when their holder dies, a
//! guardian gets them back and hands them on. Some of the tasks end in the middle.
//!
//! What must hold, and is looked at with each message ([`History`]) and at the end:
//!
//! 1. For each sender and port the numbers come in order, none left out, none twice, and all from the task that they say they are from.
//! 2. What a sender was told is sent, and whose port lives, comes; from a sender that died, all that it had sent before it died. Only if a port's
//!    holder and a sender both died may messages of that sender to that port be missing: nobody is left who knew of them (`docs/caveats.md`).
//! 3. Each call ends once: with the answer to it, or with the news that none will come; and that only if the receiver dropped it or somebody died.
//! 4. Each send-once right in a message is used or comes back.
//! 5. Afterwards the kernel holds nothing, and its invariants hold.
//!
//! `UMACH_HISTORY_MESSAGES` sets how many messages come at least, `UMACH_HISTORY_SEED` the seed, `UMACH_HISTORY_PLAY` one play alone.
#![forbid(unsafe_code)]

mod cast;
mod holder;
mod record;
mod sender;

use std::time::{Duration, Instant};

use libtask::local::{Direct, Limits};
use umach_tests::Chance;

/// Tasks that hold ports and send.
const MEMBERS: usize = 6;
/// Threads of each that send.
const SENDERS: usize = 2;
/// Ports that travel, besides the one that each member has.
const TRAVELLERS: usize = 4;
/// All ports.
const PORTS: usize = MEMBERS + TRAVELLERS;
/// Of the members, the first so many end in the middle of some plays.
const MORTAL: usize = 2;
/// Numbers that each sender sends in one play, if it lives.
const NUMBERS: u32 = 8_000;
/// No wait is longer.
const SOON: Duration = Duration::from_secs(15);
/// A run of the default length takes no longer, however slow the machine: it says how far it came and fails.
const LONGEST: Duration = Duration::from_secs(1200);

const DEFAULT_MESSAGES: u64 = 60_000;
const DEFAULT_SEED: u64 = 20_260_731;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn none_is_lost_doubled_reordered_or_invented() {
    let wanted = variable("UMACH_HISTORY_MESSAGES").unwrap_or(DEFAULT_MESSAGES);
    let seed = variable("UMACH_HISTORY_SEED").unwrap_or(DEFAULT_SEED);
    let only = variable("UMACH_HISTORY_PLAY");
    let start = Instant::now();
    let longest = LONGEST.mul_f64((wanted as f64 / 2e6).max(1.0));
    let (mut total, mut plays) = (record::Totals::default(), 0);
    while total.received < wanted {
        let number = only.unwrap_or(plays);
        let mut chance = Chance::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let direct = match number % 5 {
            0 | 2 => Direct::Random { seed: chance.next() },
            1 => Direct::Always,
            3 => Direct::default(),
            _ => Direct::Off,
        };
        let repeat = format!("UMACH_HISTORY_SEED={seed} UMACH_HISTORY_PLAY={number} repeats it");
        match cast::play(Limits::default(), direct, &mut chance) {
            Ok(totals) => total.add(&totals),
            Err(why) => panic!("play {number} with the direct plane {direct}: {why:#}\n{repeat}"),
        }
        plays += 1;
        assert!(start.elapsed() < longest, "only {total} of {wanted} messages in {:?}", start.elapsed());
        if only.is_some() {
            break;
        }
    }
    eprintln!("history: seed {seed}, {plays} plays, {total}, {:.1} s", start.elapsed().as_secs_f64());
    assert!(total.deaths > 0 || only.is_some(), "nobody died: {total}");
    assert!(total.travels > plays, "ports hardly travelled: {total}");
}
