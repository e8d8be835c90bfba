//! The actors of the scenarios: `umach-actor ROLE ARGUMENTS`. Each is a task of its own, started by the director or, as a service, by the
//! name server, and dies with the director.
#![forbid(unsafe_code)]

mod calls;
mod crowd;
mod evil;
mod files;
mod neighbours;
mod ring;

use anyhow::{Context, Result, bail};
use libtask::{Message, ReceiveRight, SendRight, Task};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use serde::Serialize;
use umach_tests::scenario::{REPORT, Report, SOON};

/// What every role has.
struct Actor {
    task: Task,
    director: SendRight,
    /// What the role is played against, if it is.
    other: Option<SendRight>,
    arguments: Vec<String>,
}

impl Actor {
    fn new() -> Result<Actor> {
        let task = Task::current()?;
        let [director, other, _] = task.registered()?;
        let director = director.context("the director is the first registered right")?;
        Ok(Actor { task, director, other, arguments: std::env::args().skip(2).collect() })
    }
    fn text(&self, at: usize) -> Result<&str> {
        self.arguments.get(at).map(String::as_str).with_context(|| format!("argument {at} is missing"))
    }
    fn number(&self, at: usize) -> Result<u32> {
        Ok(self.text(at)?.parse()?)
    }
    fn other(&self) -> Result<&SendRight> {
        self.other.as_ref().context("this role needs a second registered right")
    }
    fn report(&self, report: &Report) -> Result<()> {
        Ok(self.director.send_within(message(report), SOON)?)
    }
    /// Tells the director that it plays, and how to speak to it.
    fn ready(&self, number: u32, inbox: &ReceiveRight) -> Result<()> {
        Ok(self.director.send_within(message(&Report::Ready(number)).make_send(inbox), SOON)?)
    }
}

fn message(report: &impl Serialize) -> Message {
    Message::new(REPORT).body(report)
}

/// Ends this process as hard as can be.
fn die() -> ! {
    kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    unreachable!("killed")
}

fn main() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let role = std::env::args().nth(1).context("which role?")?;
    let actor = Actor::new()?;
    match role.as_str() {
        "names" => files::names(&actor),
        "files" => files::files(&actor),
        "client" => files::client(&actor),
        "frail" => calls::frail(&actor),
        "caller" => calls::caller(&actor),
        "member" => ring::member(&actor),
        "sender" => ring::sender(&actor),
        "talker" => neighbours::talker(&actor),
        "listener" => neighbours::listener(&actor),
        "polite" => neighbours::polite(&actor),
        "counter" => crowd::counter(&actor),
        "crowd" => crowd::crowd(&actor),
        "evil" => evil::play(&actor),
        _ => bail!("no role {role:?}"),
    }
    .with_context(|| format!("{role} {:?}", actor.arguments))
}
