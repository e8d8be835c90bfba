//! What a call costs by threads that wait and by futures, over a link between two tasks of this process.
//!
//! `cargo run --release -p umach-libtask --features tokio --example async_latency [CALLS]`; under `taskset -c 0` on one processor.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use libtask::{LocalKernel, Message, Next, ReceiveRight, Received, SendRight, Task};

const CALL: i32 = 100;
const STOP: i32 = 101;

fn main() -> libtask::Result<()> {
    let calls = std::env::args().nth(1).and_then(|calls| calls.parse().ok()).unwrap_or(100_000);
    let kernel = LocalKernel::start();
    let server = kernel.task("server")?;
    for (name, async_server, async_client) in [
        ("client and server by threads", false, false),
        ("client by futures", false, true),
        ("server by futures", true, false),
        ("both by futures", true, true),
    ] {
        let port = server.new_port()?;
        server.set_bootstrap(&port.make_send()?)?;
        let (client, _control) = server.spawn_local("client")?;
        let right = client.bootstrap()?;
        let serving = {
            let server = server.clone();
            thread::spawn(move || serve(&server, &port, async_server))
        };
        let times = if async_client { run(&client, call_async(&right, calls)) } else { call(&right, calls) }?;
        serving.join().expect("the server")?;
        println!("{name:<32} p50 {:>9.2?}  p99 {:>9.2?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    }
    // Many calls at once, one thread on either side.
    let port = server.new_port_with(libtask::PortOptions { queue_limit: Some(64), ..Default::default() })?;
    server.set_bootstrap(&port.make_send()?)?;
    let (client, _control) = server.spawn_local("client")?;
    let right = client.bootstrap()?;
    let serving = {
        let server = server.clone();
        thread::spawn(move || serve(&server, &port, true))
    };
    let took = run(&client, async {
        right.call_async(Message::new(CALL)).await?;
        let start = Instant::now();
        for _ in 0..calls / 50 {
            for answer in join_all((0..50).map(|_| right.call_async(Message::new(CALL)))).await {
                answer?;
            }
        }
        let took = start.elapsed();
        right.call_async(Message::new(STOP)).await?;
        Ok::<_, libtask::Error>(took)
    })?;
    serving.join().expect("the server")?;
    println!("{:<32} {:.2?} each", "fifty at once, both by futures", took / (calls / 50 * 50));
    Ok(())
}

fn run<F: Future>(task: &Task, future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        libtask::tokio::attach(task).expect("attach");
        future.await
    })
}

fn serve(server: &Task, port: &ReceiveRight, by_futures: bool) -> libtask::Result<()> {
    let answer = |id: i32| if id == STOP { Next::ReplyAndStop(Message::new(STOP)) } else { Next::Reply(Message::new(CALL)) };
    if by_futures {
        run(server, port.serve_async(64, async |request: &mut Received| answer(request.id())))
    } else {
        port.serve(|request| answer(request.id()))
    }
}

fn call(right: &SendRight, calls: u32) -> libtask::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(calls as usize);
    for _ in 0..calls {
        let start = Instant::now();
        right.call(Message::new(CALL))?;
        times.push(start.elapsed());
    }
    right.call(Message::new(STOP))?;
    times.sort_unstable();
    Ok(times)
}

async fn call_async(right: &SendRight, calls: u32) -> libtask::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(calls as usize);
    for _ in 0..calls {
        let start = Instant::now();
        right.call_async(Message::new(CALL)).await?;
        times.push(start.elapsed());
    }
    right.call_async(Message::new(STOP)).await?;
    times.sort_unstable();
    Ok(times)
}
