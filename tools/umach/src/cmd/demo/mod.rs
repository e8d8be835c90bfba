//! `umach demo`: all of it at work, in front of one's eyes.
//!
//! This process is the *director*. It starts a private system whose tasks are processes of their own, lets a client walk a tree through the
//! file server, kills a server, ends everything and looks whether anything is left. The client reports what it does in messages
//! ([`script`]); the director narrates, counts and draws. Every claim that is printed with a tick was checked by a program.

mod client;
mod left;
mod reader;
mod script;
mod stage;
mod tree;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use libtask::ReceiveRight;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::Exit;
use crate::private::Private;
use crate::text;
use left::Before;
use script::{Counts, FILES, READER, REPORT, Report, SCRATCH, now_nanos};
use stage::{Check, Stage};

/// The client must say something at least so often.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows everything at work: servers, a client that reads a whole tree through ports, a death, and nothing left behind.
#[derive(Args)]
#[command(after_help = "\
Without DIR the current directory is walked, up to 2,000 files and 256 MiB, hidden and built folders left out; a generated \
tree with a large file joins it if it has none. With DIR all of that tree is walked.
Exit code 1 if a check did not hold.
JSON: one object {ok, seconds, directory, counts: {files, directories, bytes, mapped_files, mapped_bytes, memory_bytes, \
different, skipped, rights}, messages, notice_microseconds, left_behind: [..], checks: [{check, holds, detail}]}.

Examples:
  umach demo
  umach demo /usr/include
  umach demo --diagram demo.svg")]
pub(crate) struct Demo {
    /// The tree that is exported and walked.
    directory: Option<PathBuf>,
    /// Saves the sequence diagram: .svg is an image, anything else Mermaid text.
    #[arg(long, value_name = "FILE")]
    diagram: Option<PathBuf>,
    /// Prints one JSON object at the end instead of telling the story.
    #[arg(long)]
    json: bool,
}

/// A part in the demo, played by a process of its own.
#[derive(Args)]
pub(crate) struct DemoTask {
    #[command(subcommand)]
    part: Part,
    #[command(flatten)]
    guardian: crate::system::Guardian,
}

#[derive(Subcommand)]
enum Part {
    Client(client::Client),
    Reader,
}

impl DemoTask {
    pub(crate) fn run(self) -> Result<Exit> {
        self.guardian.watch()?;
        match self.part {
            Part::Client(client) => client.run(),
            Part::Reader => reader::run(),
        }?;
        Ok(Exit::DONE)
    }
}

/// The result for programs.
#[derive(Serialize)]
struct Summary<'a> {
    ok: bool,
    seconds: f64,
    directory: String,
    counts: Counts,
    messages: u64,
    notice_microseconds: Option<u64>,
    left_behind: &'a [String],
    checks: &'a [Check],
}

/// What the play was about, once it is over.
#[derive(Default)]
struct Outcome {
    counts: Counts,
    messages: u64,
    notice: Option<Duration>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<Exit> {
        let before = Before::note();
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        let root = self.directory.clone().map_or_else(std::env::current_dir, Ok).context("current directory")?;
        let root = root.canonicalize().with_context(|| root.display().to_string())?;
        ensure!(root.is_dir(), "{} is not a directory", root.display());
        let limits = if self.directory.is_some() { tree::Limits::CHOSEN } else { tree::Limits::DEFAULT };

        let mut stage = Stage::new(!self.json);
        let mut private = Private::start("director")?;
        let mut processes = vec![("kernel".to_owned(), private.kernel_pid())];
        let files = [private.socket().to_owned(), private.folder().to_owned()];
        let mut play = Play { stage: &mut stage, private: &mut private, interrupted: &interrupted, processes: &mut processes };
        let outcome = play.perform(&root, limits);
        // Whatever happened on stage, the house is emptied; what went wrong first is what gets reported.
        let ended = private.end();
        let outcome = outcome?;
        ended?;
        let left = before.left(&processes, &files);
        stage.check("nothing is left behind", left.is_empty(), &left_detail(&left, &processes));
        self.finish(stage, &root, outcome, &left)
    }

    fn finish(&self, stage: Stage, root: &Path, outcome: Outcome, left: &[String]) -> Result<Exit> {
        let Outcome { counts, messages, notice } = outcome;
        let ok = stage.all_hold();
        if self.json {
            text::print_json(&Summary {
                ok,
                seconds: stage.elapsed().as_secs_f64(),
                directory: root.display().to_string(),
                counts,
                messages,
                notice_microseconds: notice.map(|notice| notice.as_micros() as u64),
                left_behind: left,
                checks: stage.checks(),
            })?;
        } else {
            stage.summary(&[
                (
                    "files",
                    format!(
                        "{} in {} directories, {} left out",
                        text::grouped(counts.files),
                        text::grouped(counts.directories),
                        counts.skipped
                    ),
                ),
                ("bytes", format!("{}, each compared with the original", text::bytes(counts.bytes))),
                (
                    "out of line",
                    format!("{}, of these {} as shared memory", text::bytes(counts.memory_bytes), text::bytes(counts.mapped_bytes)),
                ),
                ("messages", text::grouped(messages)),
                ("rights passed", text::grouped(counts.rights)),
                ("death noticed", notice.map_or_else(|| "no".to_owned(), |notice| format!("{} after the kill", text::duration(notice)))),
                ("time", text::duration(stage.elapsed())),
            ])?;
        }
        if let Some(path) = &self.diagram {
            stage.diagram.write(path)?;
        }
        if !ok {
            stage.say_failed();
        }
        Ok(if ok { Exit::DONE } else { Exit::FAILED })
    }
}

fn left_detail(left: &[String], processes: &[(String, u32)]) -> String {
    if left.is_empty() {
        format!("{} processes ended and reaped; no socket, folder, descriptor or mapped memory", processes.len())
    } else {
        left.join(", ")
    }
}

/// One performance.
struct Play<'a> {
    stage: &'a mut Stage,
    private: &'a mut Private,
    interrupted: &'a AtomicBool,
    /// Every process that was started, to look for afterwards.
    processes: &'a mut Vec<(String, u32)>,
}

impl Play<'_> {
    fn perform(&mut self, root: &Path, limits: tree::Limits) -> Result<Outcome> {
        let kernel = self.private.kernel_pid();
        self.stage.note("kernel", &format!("pid {kernel}"), &format!("a private kernel runs, process {kernel}"));
        let pid = self.private.start_name_server(None)?;
        self.started("names", pid, "the name server is up, a task of its own");
        self.stage.diagram.message("names", "director", "ready");
        self.serve(FILES, root, &format!("a file server exports {}", root.display()))?;
        let mut arguments: Vec<std::ffi::OsString> = ["demo-task", "client"].map(Into::into).into();
        arguments.push(root.into());
        arguments.extend(limits.arguments());
        if !tree::has_large_file(root, limits) {
            let scratch = tree::generate(self.private.folder())?;
            self.serve(SCRATCH, &scratch, "a second file server exports a generated tree with a large file")?;
            arguments.extend(["--scratch".into(), scratch.into()]);
        }
        self.start(READER, &["demo-task".into(), "reader".into()], None, "a third task waits to be handed an open file")?;
        let port = self.private.task().new_port()?;
        self.start(
            "client",
            &arguments,
            Some(&port),
            "the client starts; all it holds is a right to the name server and one to report to",
        )?;

        let mut outcome = Outcome::default();
        let mut killed_at = None;
        loop {
            match self.next_report(&port)? {
                Report::Said(text) => self.stage.say("client", &text),
                Report::Arrow { from, to, text, answer: false } => self.stage.diagram.message(&from, &to, &text),
                Report::Arrow { from, to, text, answer: true } => self.stage.diagram.answer(&from, &to, &text),
                Report::Checked { what, holds, detail } => self.stage.check(&what, holds, &detail),
                Report::Walked(counts) => outcome.counts.add(counts),
                Report::Armed => killed_at = Some(self.kill_server(FILES)?),
                Report::Noticed { nanos } => {
                    let killed_at = killed_at.context("the client saw a death before anybody was killed")?;
                    let delay = Duration::from_nanos(nanos.saturating_sub(killed_at));
                    outcome.notice = Some(delay);
                    let after = text::duration(delay);
                    self.stage.diagram.message("kernel", "client", &format!("dead name, after {after}"));
                    self.stage.check("the client was told of the death at once", true, &format!("{after} from kill -9 to the notice"));
                }
                Report::Done => break,
            }
        }
        ensure!(outcome.notice.is_some(), "the client was done before it saw the file server die");
        self.after(&mut outcome)?;
        Ok(outcome)
    }

    /// Looks at what the survivors know, and at what the kernel still holds once all have gone.
    fn after(&mut self, outcome: &mut Outcome) -> Result<()> {
        let vanished = self.private.names()?.look_up(FILES).is_err_and(|error| error.is_unknown());
        self.stage.check("its name has vanished from the name server", vanished, "a look-up finds nothing");
        for name in ["client", READER] {
            let status = match self.private.child(name) {
                Some(child) => wait_for(child)?,
                None => bail!("{name} was never started"),
            };
            self.stage.check(&format!("the {name} ended by itself"), status.success(), &status.to_string());
        }
        let host = self.private.task().host()?;
        outcome.messages = host.info()?.sent;
        self.private.end_tasks();
        // Teardown is done in slices between requests, so it may take a few.
        let until = Instant::now() + Duration::from_secs(5);
        let mut row = host.info()?;
        while (row.tasks, row.messages, row.regions) != (1, 0, 0) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
            row = host.info()?;
        }
        let detail = format!("{} task (the director), {} messages, {} regions", row.tasks, row.messages, row.regions);
        self.stage.check("the kernel holds nothing of the tasks that ended", (row.tasks, row.messages, row.regions) == (1, 0, 0), &detail);
        Ok(())
    }

    fn started(&mut self, name: &str, pid: u32, story: &str) {
        self.processes.push((name.to_owned(), pid));
        self.stage.note(name, &format!("pid {pid}"), &format!("{story}, process {pid}"));
    }

    fn serve(&mut self, name: &str, folder: &Path, story: &str) -> Result<()> {
        let pid = self.private.start_file_server(name, folder)?;
        self.started(name, pid, story);
        self.stage.diagram.message(name, "names", &format!("check in \"{name}\""));
        self.stage.diagram.answer("names", name, "the receive right");
        Ok(())
    }

    fn start(&mut self, name: &str, arguments: &[std::ffi::OsString], port: Option<&ReceiveRight>, story: &str) -> Result<()> {
        let right = port.map(ReceiveRight::make_send).transpose()?;
        let command = self.private.own_command(arguments).registered([right.as_ref(), None, None]);
        let pid = self.private.start_task(name, command)?;
        self.started(name, pid, story);
        Ok(())
    }

    /// Kills a file server as nothing can be prepared for, and says when, on the clock that all processes share.
    fn kill_server(&mut self, name: &str) -> Result<u64> {
        let server = self.private.child(&format!("file-server {name}")).context("the file server was started before")?;
        let pid = Pid::from_raw(server.pid() as i32).context("a process has an id")?;
        let nanos = now_nanos();
        kill_process(pid, Signal::KILL).context("kill the file server")?;
        self.stage.diagram.end(name, "kill -9");
        self.stage.say("director", &format!("kill -9 {}: the file server dies without a word", pid.as_raw_nonzero()));
        Ok(nanos)
    }

    fn next_report(&mut self, port: &ReceiveRight) -> Result<Report> {
        let until = Instant::now() + PATIENCE;
        loop {
            match port.receive_within(Duration::from_millis(100)) {
                Ok(message) if message.id() == REPORT => return Ok(message.body()?),
                Ok(message) => bail!("the director got message {}, which is in no script", message.id()),
                Err(error) if error.is_timed_out() => {}
                Err(error) => return Err(error.into()),
            }
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if let Some(status) = self.private.child("client").map(|child| child.try_wait()).transpose()?.flatten() {
                // Its last words may have come while we looked.
                match port.try_receive()? {
                    Some(message) => return Ok(message.body()?),
                    None => bail!("the client ended too early: {status}"),
                }
            }
            ensure!(Instant::now() < until, "the client said nothing for {PATIENCE:?}");
        }
    }
}

fn wait_for(child: &mut libtask::spawn::Child) -> Result<std::process::ExitStatus> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ensure!(Instant::now() < until, "process {} does not end", child.pid());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A path as a sentence shows it.
fn show(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("\"{}\"", path.as_os_str().as_bytes().escape_ascii()),
    }
}
