//! A small call of a method allocates nothing, on neither side.

use std::thread;

use allocation_counter::measure;
use libtask::{Caller, LocalKernel};

const CALLS: u64 = 1000;
/// What comes now and then and not with each call: news from the kernel, memory that a thread keeps.
const NOW_AND_THEN: u64 = 20;

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
        // Until both know each other and their threads have what they keep.
        port.serve(Server).unwrap();
        measure(|| port.serve(Server).unwrap()).count_total
    });
    let small = client.bootstrap().unwrap().typed::<dyn Small>().client();
    let calls = || {
        for n in 0..CALLS / 2 {
            assert_eq!(small.add(n, 2).unwrap(), n + 2);
            assert_eq!(small.text("text", b"bytes",).unwrap(), 9);
        }
    };
    (0..4).for_each(|_| calls());
    small.stop().unwrap();
    let ours = measure(calls).count_total;
    small.stop().unwrap();
    let theirs = running.join().unwrap();
    assert!(ours <= NOW_AND_THEN, "{ours} allocations in {CALLS} calls");
    assert!(theirs <= NOW_AND_THEN, "{theirs} allocations while {CALLS} calls were served");
}
