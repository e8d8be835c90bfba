//! `umach trace`: live messages.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use libtask::Task;
use libtask::spawn::{LANE_INODE_VARIABLE, LANE_VARIABLE};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::run::spawn_and_wait;
use crate::exit::{Exit, is_no_kernel};
use crate::private::Private;
use crate::system::At;
use crate::trace::filter::What;
use crate::trace::live::{Live, Wish};
use crate::trace::sink::{Shown, Sink, Stream};

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// What the last messages of a command may take.
const LINGER: Duration = Duration::from_millis(20);

/// Shows messages as they are sent: who to whom, what, with which rights, and how long the answer took.
#[derive(Args)]
#[command(after_help = "\
WHAT is a task (T3), a process id, a port (P9) or the name of a service; several may be given. Of a port, the answers to what is sent there \
are shown too. With --follow so is what comes of them: messages to ports of the two that talk, to which rights in shown messages lead. These are the items of a stream, and what an opened file is asked. Without WHAT, everything is shown.

An answer stands under its call, with the time since that was sent. Rights that move are shown with the port that they lead to. Methods, arguments and results are \
shown by the descriptions of interfaces in the programs of the tasks; a body without one is shown as text or bytes.

What is traced goes through the kernel process, whatever it was before: it is slower, and the tasks do not notice otherwise. Afterwards it goes \
over links again. With --no-switch it is left where it is: only what goes through the kernel process anyway is shown, and at the end \
how much went over links. It takes the host's control right, which the kernel's own user and root get.

With a command, that is run (in a private system if there is no kernel) and traced until it ends; lines go to standard error. Exit code: the command's.

JSON: an object a line, `event` says what it is. sent: {time_ns, number, kind: call|answer|send|notification, from: {task, label}, to, port, port_name, id, \
method, says, said: {arguments|result|error|item: ..}, failed, answers, latency_ns, bytes, annex, body (hexadecimal, the first 4096 bytes), body_bytes, rights: [{what, port, name}|{what, bytes}], rights_total, \
plane: kernel|ticket, queued, waits_for_room, dead_port}. received, returned, destroyed, arrived: {time_ns, number, task, port, id, bytes, waited_ns}. \
task: {task, label, pid, uid, parent}. ended: {time_ns, task, label}. lost: {records}. link: {link, from, to, messages, bytes, by_ticket}. begin: {}. end: {messages, lost}. \
Times count from the begin.

Examples:
  umach trace
  umach trace files --follow --for 10s --diagram files.svg
  umach trace T3 --json | jq 'select(.latency_ns > 1e6)'
  umach trace --record trace.jsonl -- umach fs ls /
  umach replay trace.jsonl")]
pub(crate) struct Trace {
    /// Tasks, ports or services.
    #[arg(value_name = "WHAT")]
    what: Vec<What>,
    /// Only messages of this interface, and their answers.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    #[command(flatten)]
    options: Options,
    /// A command to run and trace.
    #[arg(value_name = "CMD", last = true)]
    command: Vec<OsString>,
}

/// What `umach monitor` has too.
#[derive(Args)]
pub(super) struct Options {
    /// Ends after this time: 10s, 500ms, 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Ends after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Also shows what rights in these messages lead to.
    #[arg(long)]
    follow: bool,
    /// Leaves what goes over links there, and does not show it.
    #[arg(long)]
    no_switch: bool,
    /// Records everything into a file, for `umach replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    at: At,
}

/// `10s`, `500ms`, `2m`, `1h`, or seconds.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a time like 10s, 500ms or 2m".into()),
    };
    let number: f64 = number.parse().map_err(|_| "give a time like 10s, 500ms or 2m")?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

impl Trace {
    /// What `umach monitor` does.
    pub(super) fn of(name: String, options: Options) -> Trace {
        Trace { what: vec![What::Name(name)], interface: None, options, command: Vec::new() }
    }

    pub(crate) fn run(self) -> Result<Exit> {
        match self.command.first() {
            Some(program) => {
                let mut command = Command::new(program);
                command.args(&self.command[1..]).env_remove(LANE_VARIABLE).env_remove(LANE_INODE_VARIABLE);
                self.around(command)
            }
            None => {
                let over = ends_on_signals()?;
                self.trace(&self.options.at.connect()?, Stream::Out, &over, || {})?;
                Ok(Exit::DONE)
            }
        }
    }

    /// Traces a command in the system that there is, or in one of its own.
    fn around(self, mut command: Command) -> Result<Exit> {
        match self.options.at.connect() {
            Ok(task) => {
                command.env("UMACH_SOCKET", self.options.at.socket());
                self.beside(task, command)
            }
            Err(error) if is_no_kernel(&error) => {
                let mut private = Private::start("umach trace")?;
                private.start_name_server(None)?;
                command.env("UMACH_SOCKET", private.socket());
                let task = At::of(private.socket()).connect()?;
                let exit = self.beside(task, command);
                private.end()?;
                exit
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the command once the trace is on, and ends that when the command does.
    fn beside(self, task: Task, mut command: Command) -> Result<Exit> {
        let over = Arc::new(AtomicBool::new(false));
        let (ready, wait) = std::sync::mpsc::channel();
        let tracing = {
            let over = over.clone();
            std::thread::spawn(move || self.trace(&task, Stream::Err, &over, move || ready.send(()).unwrap_or(())))
        };
        // If the trace does not begin, its thread says why.
        let exit = wait.recv().ok().map(|()| spawn_and_wait(&mut command));
        over.store(true, Ordering::Relaxed);
        let traced = tracing.join().map_err(|_| anyhow::anyhow!("the thread that traces panicked"))?;
        match (exit, traced) {
            (Some(exit), Ok(())) => exit,
            (_, Err(error)) => Err(error),
            (None, Ok(())) => bail!("the trace did not begin"),
        }
    }

    fn trace(&self, task: &Task, stream: Stream, over: &AtomicBool, ready: impl FnOnce()) -> Result<()> {
        let mut sink = Sink::new(&self.options.shown, stream, self.options.record.as_deref())?;
        let wish = Wish {
            what: &self.what,
            interface: self.interface.as_deref(),
            follow: self.options.follow,
            keep_routes: self.options.no_switch,
            with_names: self.options.record.is_some(),
        };
        let mut live = Live::begin(task, &wish)?;
        sink.heading()?;
        let until = self.options.time.map(|time| Instant::now() + time);
        ready();
        let enough = |sink: &Sink| self.options.count.is_some_and(|count| sink.messages() >= count);
        let late = || until.is_some_and(|until| Instant::now() >= until);
        let mut linger = None;
        while !enough(&sink) && !late() {
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
            match live.next(left)? {
                Some(entry) => sink.take(entry)?,
                None => sink.flush()?,
            }
            if over.load(Ordering::Relaxed) && Instant::now() >= *linger.get_or_insert_with(|| Instant::now() + LINGER) {
                break;
            }
        }
        for entry in live.end()? {
            // What was on its way when enough had been seen is not shown.
            let counted = !matches!(entry, crate::trace::Entry::Sent(_));
            if counted || !enough(&sink) {
                sink.take(entry)?;
            }
        }
        sink.finish(true)
    }
}

/// Set when the program is asked to end. A second signal ends it at once.
fn ends_on_signals() -> Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, over.clone()).context("watch signals")?;
        signal_hook::flag::register(signal, over.clone()).context("watch signals")?;
    }
    Ok(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        let seconds = |text| parse_time(text).map(|time| time.as_secs_f64());
        assert_eq!((seconds("500ms"), seconds("2m"), seconds("1.5"), seconds("3s")), (Ok(0.5), Ok(120.0), Ok(1.5), Ok(3.0)));
        for wrong in ["", "s", "3 s", "-1s", "1d", "1.2.3s"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
