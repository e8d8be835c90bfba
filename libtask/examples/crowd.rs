//! How fast two tasks of one kernel talk, with so many threads on each side: `cargo run --release --example crowd -- call 1 1`.
//!
//! What is done (`call`, `send`), threads of the client, threads of the server, seconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtask::local::{Direct, Limits};
use libtask::{LocalKernel, Message, Next, PortOptions};

const STOP: i32 = 1;
const WORK: i32 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |n: usize, default: &'static str| args.get(n).map_or(default, String::as_str).to_owned();
    let (what, clients, servers): (String, u32, u64) = (text(0, "call"), text(1, "1").parse()?, text(2, "1").parse()?);
    let time = Duration::from_secs_f64(text(3, "1").parse()?);

    let kernel = LocalKernel::with_direct(Limits::default(), Direct::Always);
    let server = kernel.task("server")?;
    let port = server.new_port_with(PortOptions { queue_limit: Some(1024), ..Default::default() })?;
    server.set_bootstrap(&port.make_send()?)?;
    let (client, _control) = server.spawn_local("client")?;
    let right = client.bootstrap()?;
    let (stop, done, left) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(servers));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..servers {
            scope.spawn(|| {
                let stopping = |left: &AtomicU64| {
                    // Each tells the next.
                    if left.fetch_sub(1, Ordering::Relaxed) > 1 {
                        right.send(Message::new(STOP)).expect("sent");
                    }
                };
                if what == "call" {
                    return port
                        .serve(|request| match request.id() {
                            STOP => Next::Stop,
                            _ => Next::Reply(Message::new(WORK).bytes(request.bytes())),
                        })
                        .map(|()| stopping(&left))
                        .expect("served");
                }
                while port.receive_batch(64).expect("messages").iter().all(|message| message.id() != STOP) {}
                stopping(&left);
            });
        }
        let working: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let message = Message::new(WORK).bytes(&[7; 32]);
                        match what.as_str() {
                            "call" => drop(right.call(message).expect("an answer")),
                            _ => right.send(message).expect("sent"),
                        }
                        count += 1;
                    }
                    done.fetch_add(count, Ordering::Relaxed);
                })
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        working.into_iter().for_each(|thread| thread.join().expect("a client"));
        right.send(Message::new(STOP)).expect("sent");
    });
    let rate = done.into_inner() as f64 / start.elapsed().as_secs_f64();
    println!("{what}, {clients} threads to {servers}: {rate:.0}/s, {:.3} us each", 1e6 / rate);
    Ok(())
}
