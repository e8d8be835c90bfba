//! A small call of a method over a link allocates nothing, on neither side; one that is begun, one box.

use std::thread;

use allocation_counter::measure;
use libtask::{Caller, LocalKernel};

const CALLS: u64 = 10_000;
/// Calls before they are counted: both sides get to know each other, and their threads what they keep.
const BEFORE: u64 = 4000;
/// A request that comes between a server's look for it and its look for anything else waits in its port's queue, in memory of its own. That is seldom: each of some thousand calls.
const SELDOM: u64 = CALLS / 200;

/// Small methods.
#[libtask::interface]
trait Small {
    #[id(1)]
    fn add(&mut self, a: u64, b: u64) -> u64;
    #[id(2)]
    fn text(&mut self, text: &str, bytes: &[u8], caller: &Caller) -> Result<u32, u32>;
    #[id(3)]
    fn stop(&mut self, caller: &Caller);
}

struct Server;

impl Small for Server {
    fn add(&mut self, a: u64, b: u64) -> u64 {
        a + b
    }
    fn text(&mut self, text: &str, bytes: &[u8], caller: &Caller) -> Result<u32, u32> {
        if text.len() == bytes.len() { Err(caller.sender().pid) } else { Ok((text.len() + bytes.len()) as u32) }
    }
    fn stop(&mut self, caller: &Caller) {
        caller.stop_serving();
    }
}

#[test]
fn small_call_allocates_nothing_on_either_side() {
    let kernel = LocalKernel::start();
    let server = kernel.task("server").unwrap();
    let port = server.new_port_of::<dyn Small>().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let running = thread::spawn(move || {
        port.serve(Server).unwrap();
        measure(|| port.serve(Server).unwrap()).count_total
    });
    let small = client.bootstrap().unwrap().typed::<dyn Small>().client();
    let calls = |count| {
        for n in 0..count / 2 {
            assert_eq!(small.add(n, 2).unwrap(), n + 2);
            assert_eq!(small.text("text", b"bytes",).unwrap(), 9);
        }
    };
    calls(BEFORE);
    small.stop().unwrap();
    let ours = measure(|| calls(CALLS)).count_total;
    let begun = measure(|| {
        for n in 0..CALLS {
            assert_eq!(small.begin().add(n, 2).finish().unwrap(), n + 2);
        }
    })
    .count_total;
    small.stop().unwrap();
    let theirs = running.join().unwrap();
    assert_eq!(ours, 0, "allocations in {CALLS} calls");
    assert_eq!(begun, CALLS, "allocations in {CALLS} calls that were begun and finished");
    assert!(theirs <= 2 * SELDOM, "{theirs} allocations while {} calls were served", 2 * CALLS);
}
