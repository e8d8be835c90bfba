//! A server that answers many slow requests at once, and a client that makes them at once, as two tasks in one tokio program.
//!
//! `cargo run -p umach-libtask --features tokio --example async_tokio`. With processes, `Task::current()` takes the place of the local kernel's tasks.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use libtask::tokio::WithDeadline;
use libtask::{Message, Next, Received, run_local};

const DOUBLE: i32 = 100;
const STOP: i32 = 200;

fn main() -> libtask::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| libtask::Error::Io { what: "starting tokio", source })?;
    run_local(|kernel| {
        let server = kernel.task("server")?;
        let port = server.new_port()?;
        server.set_bootstrap(&port.make_send()?)?;
        let (client, _control) = server.spawn_local("client")?;
        runtime.block_on(async {
            libtask::tokio::attach(&server)?;
            libtask::tokio::attach(&client)?;
            let serving = tokio::spawn(async move {
                port.serve_async(100, async |request: &mut Received| {
                    if request.id() == STOP {
                        return Next::ReplyAndStop(Message::new(STOP));
                    }
                    // Slow work; others are served meanwhile.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    match request.body::<u64>() {
                        Ok(number) => Next::Reply(Message::new(DOUBLE).body(&(2 * number))),
                        Err(_) => Next::Continue, // dropped unanswered: the caller is told
                    }
                })
                .await
            });
            let doubler = client.bootstrap()?;
            let start = Instant::now();
            let calls =
                (0..50u64).map(|number| doubler.call_async(Message::new(DOUBLE).body(&number)).with_deadline(Duration::from_secs(10)));
            let sum: u64 = try_join_all(calls).await?.iter().map(|answer| answer.body::<u64>()).sum::<libtask::Result<u64>>()?;
            println!("50 calls of 100 ms each took {} ms together; the sum is {sum}", start.elapsed().as_millis());
            doubler.call_async(Message::new(STOP)).await?;
            serving.await.expect("the server does not panic")
        })
    })
}
