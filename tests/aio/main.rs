//! Futures of a task's rights: in tokio with one thread and with several, in smol, and in a loop made by hand around `poll(2)`; on a kernel in this process and on one of its own; and
//! `cargo xtask test` runs all of it with links from the first message on, without any, and with chance deciding.
#![forbid(unsafe_code)]

mod at_once;
mod calls;
mod drops;
mod interfaces;
mod mixed;
mod receives;
mod runtimes;
mod sends;

use std::future::Future;
use std::time::Duration;

use libtask::{Disposition, ReceiveRight, SendRight, Task};
use runtimes::Kind;
use umach_tests::World;

/// Longest wait for what must come.
const LONG: Duration = Duration::from_secs(30);

/// A right of `to` to a port of another task.
fn right_of(world: &World, port: &ReceiveRight, to: &Task) -> SendRight {
    SendRight::from_raw(to, world.pass(port.task(), port.name(), Disposition::MakeSend, to))
}

/// A server with a port, and a client with a right to it.
fn pair(world: &World) -> (Task, ReceiveRight, Task, SendRight) {
    pair_with(world, libtask::PortOptions::default())
}

fn pair_with(world: &World, options: libtask::PortOptions) -> (Task, ReceiveRight, Task, SendRight) {
    let (server, client) = (world.task("server"), world.task("client"));
    let port = server.new_port_with(options).expect("make a port");
    let right = right_of(world, &port, &client);
    (server, port, client, right)
}

/// Fails if the future takes too long.
async fn soon<F: Future>(kind: Kind, what: &str, future: F) -> F::Output {
    let late = async {
        kind.sleep(LONG).await;
        panic!("{what}: nothing came of it")
    };
    futures_util::pin_mut!(future, late);
    match futures_util::future::select(future, late).await {
        futures_util::future::Either::Left((output, _)) => output,
        futures_util::future::Either::Right(((), _)) => unreachable!("it panics"),
    }
}

/// How many names a task has.
fn names(task: &Task) -> usize {
    task.raw().port_names().expect("list names").len()
}
