//! Interfaces: what a trait says is what arrives.

#![allow(missing_docs, unreachable_pub)] // the traits here are of nobody else's concern

mod by_hand;
mod evolve;
mod failures;
mod futures;
mod processes;
mod rights;
mod streams;
mod values;

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use libtask::interface::{Interface, Serve};
use libtask::{LocalKernel, Message, SendRight, Task};

/// Long enough for anything that is to happen.
pub const SOON: Duration = Duration::from_secs(10);

/// A server in a task of its own, and a client's task with a right to it.
pub struct Pair {
    pub server: Task,
    pub client: Task,
    running: Option<JoinHandle<libtask::Result<()>>>,
    _kernel: LocalKernel,
}

impl Pair {
    /// Starts the server that `make` makes in its task.
    pub fn start<I, S>(make: impl FnOnce(&Task) -> S) -> (Pair, SendRight<I>)
    where
        I: ?Sized + Interface + Serve<S> + 'static,
        S: Send + 'static,
    {
        let kernel = LocalKernel::start();
        let task = kernel.task("server").unwrap();
        let port = task.new_port_of::<I>().unwrap();
        port.on_no_senders(&port).unwrap();
        // By a message, so that the client's is the only right.
        let door = task.new_port().unwrap();
        task.set_bootstrap(&door.make_send().unwrap()).unwrap();
        let (client, _) = task.spawn_local("client").unwrap();
        let asked = client.bootstrap().unwrap().begin_call(Message::new(1)).unwrap();
        door.receive_within(SOON).unwrap().reply(Message::new(2).move_send(port.make_send().unwrap())).unwrap();
        let right = asked.finish_within(SOON).unwrap().take_send(0).unwrap().typed();
        let server = make(&task);
        let running = std::thread::spawn(move || port.serve(server));
        (Pair { server: task, client, running: Some(running), _kernel: kernel }, right)
    }
    /// The server's thread is to have ended, or to end soon, for nobody can call it any more.
    pub fn join(mut self) {
        let running = self.running.take().unwrap();
        drop(self);
        within(SOON, move || running.join().unwrap().unwrap());
    }
}

/// Runs it in a thread; fails if it takes longer.
pub fn within<T: Send + 'static>(time: Duration, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(f()));
    wait.recv_timeout(time).expect("it should not take so long, or fail")
}
