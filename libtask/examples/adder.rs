//! A server and a client as two processes: the parent serves, the child finds it by its bootstrap port.
//!
//! `cargo run -p umach-libtask --example adder`. It uses the kernel process that is there, or starts a private one (build `umachd` first).

use libtask::{Command, Message, Next, Task};

fn main() -> libtask::Result<()> {
    let task = Task::current()?;
    match std::env::args().nth(1).as_deref() {
        Some("client") => client(&task),
        _ => server(&task),
    }
}

fn server(task: &Task) -> libtask::Result<()> {
    let port = task.new_port()?;
    let program = std::env::current_exe().map_err(|source| libtask::Error::Io { what: "finding this program", source })?;
    let mut child = task.spawn(Command::new(program).arg("client").label("client").bootstrap(&port.make_send()?))?;
    // The client holds the only send right: when it ends, however it ends, the port is told.
    port.on_no_senders(&port)?;
    port.serve(|request| {
        if let Some(libtask::Notification::NoSenders { .. }) = request.notification() {
            return Next::Stop;
        }
        match request.body::<(u64, u64)>() {
            Ok((a, b)) => Next::Reply(Message::new(101).body(&(a + b))),
            Err(_) => Next::Continue,
        }
    })?;
    println!("server: no clients left; the child ended with {}", child.wait()?);
    Ok(())
}

fn client(task: &Task) -> libtask::Result<()> {
    let adder = task.bootstrap()?;
    let sum: u64 = adder.call(Message::new(100).body(&(2u64, 3u64)))?.body()?;
    println!("client: 2 + 3 = {sum}");
    Ok(())
}
