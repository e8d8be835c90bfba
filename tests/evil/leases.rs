//! Lies about memory that is lent: where it is, how much, of which use; and memory that changes while it is read.

use std::thread;
use std::time::{Duration, Instant};

use umach_abi::link::LEASES;
use umach_abi::link::lease::{BODY, INLINE};

use crate::lies::Lie;
use crate::{READ, Stage};

/// Payloads of records. The first arena of the liar has 8 KiB, its second it does not show.
const LIES: &[(&str, &[u32])] = &[
    ("a lease of an arena that there is not", &[1, 0, 5, 0, 1, 0, 0, 0, 1, 0]),
    ("a lease of an arena that was not shown", &[1, 0, 1, 0, 1, 0, 0, 0, 1, 0]),
    ("a lease that ends beyond its arena", &[1, 0, 0, 0, 1, 0, 4096, 0, 4097, 0]),
    ("a lease that starts beyond its arena", &[1, 0, 0, 0, 1, 0, 8192, 0, 1, 0]),
    ("a lease that ends beyond all numbers", &[1, 0, 0, 0, 1, 0, 4096, 0, u32::MAX, u32::MAX]),
    ("a lease whose end comes before its start", &[1, 0, 0, 0, 1, 0, 0xffff_f000, u32::MAX, 4097, 0]),
    ("a lease without a generation", &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
    ("a lease under a number that there is not", &[1, 0, 0, LEASES as u32, 1, 0, 0, 0, 1, 0]),
    ("more leases than there is room for", &[u32::MAX, 0, 0, 0, 1, 0, 0, 0, 1, 0]),
    ("inline bytes that are not there", &[1, 0, INLINE, 0, 0, 0, 0, 0, u32::MAX, 0]),
    ("a lent body that is longer than any", &[1, BODY, 2, 0, 1, 0, 0, 0, 1 << 20, 0]),
];

pub(crate) fn suffer(stage: &Stage<'_>) {
    for (name, payload) in LIES {
        let lie = Lie { name, rules: &["lease"], tell: |_, _| {} };
        stage.suffer_told(&lie, |evil, route| {
            let _memory = [evil.arena(8192, true), evil.arena(8192, false), evil.arena(2 << 20, true)];
            route.lent(payload, READ as u32);
        });
    }
    let lie = Lie { name: "lent memory that changes while it is read", rules: &[], tell: |_, _| {} };
    stage.suffer_told(&lie, |evil, route| {
        let memory = evil.arena(8192, true);
        let end = Instant::now() + Duration::from_millis(300);
        let mut n = 0u8;
        while Instant::now() < end {
            n = n.wrapping_add(1);
            // Two leases that overlap, under one number, in all messages; more of them than there is credit for at some time.
            if route.is_consumed() {
                route.lent(&[2, 0, 0, 0, 1, 0, 0, 0, 8192, 0, 0, 0, 1, 0, 4096, 0, 5, 0], READ as u32);
            }
            memory.write(u64::from(n) * 32, &[n; 4096]);
            thread::yield_now();
        }
    });
}
