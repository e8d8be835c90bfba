//! What the link's memory costs by itself: one-way records between two threads, and calls with their answers in slots, both sides spinning. Nothing
//! to compare with; run it on two idle cores: `cargo run --release -p umach-link --example floor`.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use umach_abi::link::record;
use umach_link::slot::{self, Outcome};
use umach_link::{Incoming, Mapping, Outgoing, RecordHead};

const MESSAGES: u32 = 2_000_000;
const CALLS: u32 = 300_000;

fn link() -> std::io::Result<[Arc<Mapping>; 2]> {
    let memfd = umach_link::create()?;
    let map = || Mapping::new(&memfd).map(Arc::new).map_err(std::io::Error::other);
    Ok([map()?, map()?])
}

/// The next record, looked for without sleeping.
fn next(incoming: &mut Incoming<Mapping>) -> umach_link::Record {
    loop {
        match incoming.next() {
            Ok(Some(record)) => break record,
            Ok(None) => std::hint::spin_loop(),
            Err(evidence) => panic!("{evidence}"),
        }
    }
}

fn one_way(size: usize) -> std::io::Result<f64> {
    let [a, b] = link()?;
    let sender = thread::spawn(move || {
        let (mut out, payload) = (Outgoing::new(a, 0), vec![7; size]);
        for id in 0..MESSAGES {
            while out.push(RecordHead { kind: record::MESSAGE, id, ..RecordHead::default() }, &[&payload]).is_err() {
                std::hint::spin_loop();
            }
        }
    });
    let mut incoming = Incoming::new(b, 1);
    let (mut bytes, began) = (vec![0; size], Instant::now());
    for id in 0..MESSAGES {
        let record = next(&mut incoming);
        assert_eq!(record.id, id);
        incoming.payload_into(&record, &mut bytes);
        let _ = incoming.consume(record);
    }
    let took = began.elapsed();
    sender.join().expect("the sender's asserts hold");
    Ok(f64::from(MESSAGES) / took.as_secs_f64())
}

fn round_trip(size: usize) -> std::io::Result<f64> {
    let [a, b] = link()?;
    let server = thread::spawn(move || {
        let (mut incoming, mut bytes) = (Incoming::new(b.clone(), 1), Vec::new());
        for _ in 0..CALLS {
            let record = next(&mut incoming);
            bytes.clear();
            incoming.payload(&record, &mut bytes);
            let (slot, generation, id) = (record.slot - 1, record.generation, record.id);
            let _ = incoming.consume(record);
            let _ = slot::answer(&*b, 1, slot, generation, id, 0, &[&bytes]);
        }
    });
    let (mut out, payload, mut bytes) = (Outgoing::new(a.clone(), 0), vec![7; size], vec![0; size]);
    let began = Instant::now();
    for id in 0..CALLS {
        let head = RecordHead { kind: record::MESSAGE, slot: 1, generation: id + 1, id, ..RecordHead::default() };
        let _ = out.push(head, &[&payload]).expect("one call at a time always has space");
        loop {
            match slot::poll(&*a, 0, 0, id + 1) {
                Ok(Some(Outcome::Answered { .. })) => break slot::read_into(&*a, 0, 0, &mut bytes),
                Ok(_) => std::hint::spin_loop(),
                Err(evidence) => panic!("{evidence}"),
            }
        }
    }
    let took = began.elapsed();
    server.join().expect("the server's asserts hold");
    Ok(took.as_secs_f64() * 1e9 / f64::from(CALLS))
}

fn main() -> std::io::Result<()> {
    for size in [32, 64, 512, 1024, 4000] {
        println!("{size:>5} bytes: {:>10.0} records a second one way, {:>6.0} ns there and back", one_way(size)?, round_trip(size)?);
    }
    Ok(())
}
