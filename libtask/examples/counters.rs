//! A small interface, between two processes: a server that hands out counters, each a capability of its own. Who is given the right to a counter can count with it; nobody
//! else can, and when it is dropped the counter ends.
//!
//! ```sh
//! cargo run --example counters
//! ```

use std::error::Error;

use libtask::spawn::Command;
use libtask::{CallError, Caller, SendRight, Task};

/// Hands out counters.
#[libtask::interface(name = "org.example.Counters")]
pub trait Counters {
    /// A counter that starts at `start`.
    #[id(1)]
    fn counter(&mut self, start: u64) -> Result<SendRight<dyn Counter>, TooMany>;
    /// Ends the server.
    #[id(2)]
    #[oneway]
    fn end(&mut self, caller: &Caller);
}

/// Counts.
#[libtask::interface(name = "org.example.Counter")]
pub trait Counter {
    /// Counts by `step`, and gives what there is now.
    #[id(1)]
    fn count(&mut self, step: u32) -> u64;
}

/// There are too many counters.
#[libtask::data]
#[derive(Debug, PartialEq)]
pub struct TooMany {
    /// How many there may be.
    pub max: u32,
}

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there may be {} counters", self.max)
    }
}

struct Server {
    task: Task,
    left: u32,
}

impl Counters for Server {
    fn counter(&mut self, start: u64) -> Result<SendRight<dyn Counter>, TooMany> {
        self.left = self.left.checked_sub(1).ok_or(TooMany { max: 2 })?;
        let port = self.task.new_port_of::<dyn Counter>().expect("a port");
        // So that the thread ends with the last right.
        port.on_no_senders(&port).expect("a notification");
        let right = port.make_send().expect("a right");
        std::thread::spawn(move || port.serve(Count(start)));
        Ok(right)
    }
    fn end(&mut self, caller: &Caller) {
        caller.stop_serving();
    }
}

struct Count(u64);

impl Counter for Count {
    fn count(&mut self, step: u32) -> u64 {
        self.0 += u64::from(step);
        self.0
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("client") { client() } else { server() }
}

fn server() -> Result<(), Box<dyn Error>> {
    let task = Task::current()?;
    let port = task.new_port_of::<dyn Counters>()?;
    task.set_bootstrap(&port.make_send()?)?;
    let mut child = task.spawn(Command::new(std::env::current_exe()?).arg("client"))?;
    port.serve(Server { task, left: 2 })?;
    child.wait()?;
    Ok(())
}

fn client() -> Result<(), Box<dyn Error>> {
    let counters = CountersClient::from(Task::current()?.bootstrap()?.typed());
    let first = counters.counter(10)?.client();
    let second = counters.counter(0)?.client();
    println!("first: {} {}", first.count(1)?, first.count(1)?);
    println!("second: {}", second.count(5)?);
    match counters.counter(0) {
        Err(CallError::Refused(refused)) => println!("no third: {refused}"),
        other => println!("{other:?}"),
    }
    counters.end()?;
    Ok(())
}
