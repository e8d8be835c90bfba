//! A server whose methods are `async fn`, and a client that calls it fifty times at once, as two tasks in one tokio program.
//!
//! `cargo run -p umach-libtask --features tokio --example async_tokio`. With processes, `Task::current()` takes the place of the local kernel's tasks.

use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join_all};
use libtask::{Caller, Sink, run_local};

/// Doubles, slowly.
#[libtask::interface(name = "org.example.Doubler")]
trait Doubler {
    /// Twice the number.
    #[id(1)]
    #[deadline = "10s"]
    async fn double(&self, number: u64) -> u64;
    /// The number, and what comes of doubling it again and again.
    #[id(2)]
    #[queue = 4]
    async fn series(&self, number: u64, out: Sink<u64>);
    /// Serves no longer.
    #[id(3)]
    fn stop(&self, caller: &Caller);
}

struct Slow;

impl Doubler for Slow {
    async fn double(&self, number: u64) -> u64 {
        // Others are served meanwhile.
        tokio::time::sleep(Duration::from_millis(100)).await;
        2 * number
    }
    async fn series(&self, mut number: u64, out: Sink<u64>) {
        // Waits when the client's queue is full, and ends when the client has enough.
        while out.send_async(number).await.is_ok() {
            number = number.wrapping_mul(2);
        }
    }
    fn stop(&self, caller: &Caller) {
        caller.stop_serving();
    }
}

fn main() -> libtask::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| libtask::Error::Io { what: "starting tokio", source })?;
    run_local(|kernel| {
        let server = kernel.task("server")?;
        let port = server.new_port_of::<dyn Doubler>()?;
        server.set_bootstrap(&port.make_send()?)?;
        let (client, _control) = server.spawn_local("client")?;
        runtime.block_on(async {
            libtask::tokio::attach(&server)?;
            libtask::tokio::attach(&client)?;
            let serving = tokio::spawn(async move { port.serve_async(Slow).await });
            let doubler = client.bootstrap()?.typed::<dyn Doubler>().client();

            let start = Instant::now();
            let sum: u64 = try_join_all((0..50).map(|number| doubler.begin().double(number))).await?.iter().sum();
            println!("50 calls of 100 ms each took {} ms together; the sum is {sum}", start.elapsed().as_millis());

            let (once, mut series) = try_join(doubler.begin().double(3), doubler.begin().series(3)).await?;
            print!("3 doubled is {once}; and so on:");
            for _ in 0..10 {
                print!(" {}", series.next_async().await?.unwrap_or_default());
            }
            println!();
            drop(series);
            doubler.begin().stop().await?;
            serving.await.expect("the server does not panic")
        })
    })
}
