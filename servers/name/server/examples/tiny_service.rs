//! A service to be started on demand, in a few lines; and what can go wrong with one. The name server's tests start it.
//!
//! It learns its name from the environment, checks in, and answers each message with its process id and the message's bytes. The first
//! argument makes it behave otherwise:
//!
//! * `limited N`: passes the bytes of N messages on to the send right in each, then crashes with the rest unread;
//! * `leave`: answers one message and exits with status 0;
//! * `crash`: exits with status 1 before it checks in;
//! * `hang`: never checks in;
//! * `register NAME`: publishes a port under NAME instead of checking in;
//! * `declare NAME COMMAND..`: declares a server that runs COMMAND, with a service NAME, and stays; exits with status 3 if that is refused.
//!
//! If `TINY_LOG` names a file, it appends its process id there when it starts.

use std::io::Write;
use std::process::exit;

use libtask::{Message, Next, Task};
use umach_name_api::{Names, NewServer, SERVICE_VARIABLE};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::var_os("TINY_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        // One write, so that lines of several processes do not mix.
        log.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["crash"] => exit(1),
        ["hang"] => loop {
            std::thread::park();
        },
        _ => {}
    }
    let task = Task::current()?;
    let names = Names::from_bootstrap(&task)?;
    let answer = |bytes: &[u8]| Message::new(1).body(&(std::process::id(), bytes));
    if let ["register", name] = arguments[..] {
        let port = task.new_port()?;
        names.register(name, port.make_send()?)?;
        port.serve(|request| answer(request.bytes()))?;
        return Ok(());
    }
    if let ["declare", name, command @ ..] = &arguments[..] {
        let Ok(server) = names.create_server(NewServer::new(command.iter().copied())) else { exit(3) };
        let _right = server.create_service(name)?;
        loop {
            std::thread::park();
        }
    }
    let port = names.check_in(&std::env::var(SERVICE_VARIABLE)?)?;
    match arguments[..] {
        ["limited", count] => {
            for _ in 0..count.parse()? {
                let mut message = port.receive()?;
                message.take_send(0)?.send(answer(message.bytes()))?;
            }
            std::process::abort();
        }
        ["leave"] => port.serve(|request| Next::ReplyAndStop(answer(request.bytes())))?,
        _ => port.serve(|request| answer(request.bytes()))?,
    }
    Ok(())
}
