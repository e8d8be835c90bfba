//! The director's means: actors, what they report, and a name server.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;

use libtask::{Child, Command, PortOptions, ReceiveRight, Received, SendRight, Task};
use rustix::process::{Pid, Signal, kill_process};
use umach_name_api::{Names, Ready};
use umach_tests::scenario::{REPORT, Report, SOON};
use umach_tests::{World, eventually};

/// The actors' program.
pub(crate) const ACTOR: &str = env!("CARGO_BIN_EXE_umach-actor");

/// The director's task.
pub(crate) struct Stage {
    pub(crate) task: Task,
    reports: ReceiveRight,
    director: SendRight,
}

impl Stage {
    pub(crate) fn new(world: &World) -> Stage {
        let task = world.task("director");
        let reports = task.new_port_with(PortOptions { queue_limit: Some(1024), ..PortOptions::default() }).expect("make a port");
        let director = reports.make_send().expect("make a send right");
        Stage { task, reports, director }
    }

    fn command(&self, arguments: &[&str], other: Option<&SendRight>) -> Command {
        let command = Command::new(ACTOR).args(arguments).label(arguments[..arguments.len().min(2)].join(" ")).kill_on_drop();
        command.registered([Some(&self.director), other, None])
    }

    /// Starts an actor. It is killed if it is dropped before it ends.
    pub(crate) fn cast(&self, arguments: &[&str], other: Option<&SendRight>) -> Child {
        self.task.spawn(self.command(arguments, other)).expect("start an actor")
    }

    /// Starts an actor and waits for the right to its inbox.
    pub(crate) fn cast_with_inbox(&self, arguments: &[&str], other: Option<&SendRight>) -> (Child, SendRight) {
        let child = self.cast(arguments, other);
        let (report, mut message) = self.hear();
        assert!(matches!(report, Report::Ready(_)), "{arguments:?}: {report:?}");
        (child, message.take_send(0).expect("a right to an inbox"))
    }

    /// Starts a name server with this configuration. From here on it is the actors' bootstrap port.
    pub(crate) fn cast_names(&self, folder: &Path, config: &str) -> (Child, Names) {
        let path = folder.join("names.toml");
        fs::write(&path, config).expect("write a configuration");
        let ready = Ready::new(&self.task).expect("make a port");
        let path = path.to_str().expect("a temporary folder's path is text");
        let command = self.command(&["names", path], None).label("names");
        let child = self.task.spawn(command.bootstrap(&ready.bootstrap().expect("make a send right"))).expect("start the name server");
        let names = ready.wait(SOON).expect("the name server starts");
        self.task.set_bootstrap(names.right()).expect("set the bootstrap port");
        (child, names)
    }

    /// The next report, with the message that it came in.
    pub(crate) fn hear(&self) -> (Report, Received) {
        report(self.reports.receive_within(SOON).expect("a report"))
    }

    /// The next report, if there is one now.
    pub(crate) fn overhear(&self) -> Option<(Report, Received)> {
        self.reports.try_receive().expect("receive").map(report)
    }
}

fn report(message: Received) -> (Report, Received) {
    assert_eq!(message.id(), REPORT, "{message:?}");
    (message.body().expect("a report"), message)
}

/// Waits for an actor's end.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("an actor ends", || {
        status = child.try_wait().expect("look after an actor");
        status.is_some()
    });
    status.expect("just seen")
}

/// Waits for the end of an actor that must be content. What it was not content with is on standard error.
#[track_caller]
pub(crate) fn succeeded(who: &str, mut child: Child) {
    let status = ended(&mut child);
    assert!(status.success(), "{who}: {status}");
}

/// Sends a signal to a process of this play.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("signal an actor");
}

/// Whether the process is stopped.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("look at an actor");
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
