//! `umach top`: a running system on the whole screen.
//!
//! A [`sample`] is taken, two of them make a [`model::Frame`], [`draw`] puts it on the screen, and [`app`] says what keys do. Only this file has
//! to do with time and the terminal.

mod app;
mod asker;
mod draw;
mod model;
mod sample;
mod screen;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde::Serialize;

use crate::exit::Exit;
use crate::plane::mode_of;
use crate::system::At;
use crate::text;
use crate::view::View;
use app::App;
use draw::Header;
use model::{Circle, Frame, How, PortRow, Sample, Sort, TaskRow};

/// Shows a running system on the whole screen: tasks, queues, messages a second, who waits for whom.
#[derive(Args)]
#[command(after_help = "\
Keys: ? shows them. Tasks that wait for each other in a circle are named at the bottom; they are stuck if that lasts and none of \
them has a thread that serves.
DOES: serves (a thread waits for whatever comes), calls (waits for an answer), sends (waits for room), runs, stopped, new.
Counts of what goes over links are what the tasks themselves say, as in umach ps --links.
JSON: one object a line, {seconds, messages_per_second, direct_per_second, tasks: [{task, label, pid, state, sent_per_second, \
received_per_second, direct_per_second, direct_bytes_per_second, queued_bytes, queued_bytes_limit, names, ports, links, \
waits_for}], ports: [{port, receiver, name, received_per_second, queued, queue_limit, ahead, routes, blocked_senders}], waits: \
[{task, for, port, what: \"answer\"|\"room\"}], circles: [{tasks, stuck}]}.

Examples:
  umach top
  umach top --once
  umach top --json --count 10 | jq .messages_per_second
  umach top --json --count 1 | jq -e '.circles == []'   # in a test: nobody waits in a circle")]
pub(crate) struct Top {
    /// Prints one screen as text and ends.
    #[arg(long, conflicts_with = "json")]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_interval)]
    interval: f64,
    /// With --json: ends after so many objects.
    #[arg(long, value_name = "N", requires = "json")]
    count: Option<u64>,
    /// What comes first.
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Only tasks whose label has this in it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    #[command(flatten)]
    at: At,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

fn parse_interval(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds)).ok_or_else(|| "give seconds, 0.05 to 3600".to_owned())
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    seconds: f64,
    messages_per_second: f64,
    direct_per_second: f64,
    tasks: &'a [TaskRow],
    ports: &'a [PortRow],
    waits: Vec<WaitRow>,
    circles: &'a [Circle],
}

#[derive(Serialize)]
struct WaitRow {
    task: u64,
    #[serde(rename = "for")]
    on: u64,
    port: Option<u64>,
    what: How,
}

/// Takes samples and keeps the last two.
struct Watcher {
    view: View,
    started: Instant,
    before: Option<Sample>,
    now: Sample,
}

impl Watcher {
    fn new(at: &At) -> Result<Watcher> {
        let view = View::open(at)?;
        let now = sample::take(&view, 0.0)?;
        Ok(Watcher { view, started: Instant::now(), before: None, now })
    }
    fn look(&mut self) -> Result<()> {
        self.view = self.view.again()?;
        let now = sample::take(&self.view, self.started.elapsed().as_secs_f64())?;
        self.before = Some(std::mem::replace(&mut self.now, now));
        Ok(())
    }
    fn frame(&self, sort: Sort, filter: &str) -> Frame {
        Frame::new(self.before.as_ref(), &self.now, sort, filter)
    }
    fn header(&self, at: &At) -> Result<Header> {
        let host = self.view.own_task().host()?.info()?;
        let mode = mode_of(host.pid).map_or_else(|_| "?".to_owned(), |mode| mode.to_string());
        Ok(Header { kernel: host.pid, socket: at.socket().display().to_string(), mode, silent: None })
    }
}

impl Top {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut watcher = Watcher::new(&self.at)?;
        let interval = Duration::from_secs_f64(self.interval);
        if self.json {
            return self.print_json(&mut watcher, interval);
        }
        let header = watcher.header(&self.at)?;
        let app = App { sort: self.sort, filter: self.filter.clone(), ..App::default() };
        if self.once {
            std::thread::sleep(interval);
            watcher.look()?;
            return print_once(&header, &watcher.frame(self.sort, &self.filter), &app);
        }
        ensure!(std::io::IsTerminal::is_terminal(&std::io::stdout()), "standard output is no terminal; see --once and --json");
        screen::run(watcher, header, app, interval)?;
        Ok(Exit::DONE)
    }

    fn print_json(&self, watcher: &mut Watcher, interval: Duration) -> Result<Exit> {
        let mut left = self.count;
        while left != Some(0) {
            std::thread::sleep(interval);
            watcher.look()?;
            let frame = watcher.frame(self.sort, &self.filter);
            let wait =
                |wait: &model::Wait| WaitRow { task: wait.task, on: wait.on, port: (wait.port != 0).then_some(wait.port), what: wait.how };
            let line = Line {
                seconds: watcher.now.seconds,
                messages_per_second: frame.messages_per_second,
                direct_per_second: frame.direct_per_second,
                tasks: &frame.tasks,
                ports: &frame.ports,
                waits: frame.waits.iter().map(wait).collect(),
                circles: &frame.circles,
            };
            text::print_json_line(&line)?;
            left = left.map(|left| left - 1);
        }
        Ok(Exit::DONE)
    }
}

/// The screen as text, as large as it needs to be; as wide as the terminal, if there is one.
fn print_once(header: &Header, frame: &Frame, app: &App) -> Result<Exit> {
    let width = crossterm::terminal::size().map_or(100, |(columns, _)| columns.max(80));
    // Tasks get three fifths of the body.
    let lines = (frame.tasks.len() + 2).max(4) * 5 / 3 + frame.ports.len() + frame.circles.len() + 8;
    let height = u16::try_from(lines).unwrap_or(u16::MAX).min(u16::MAX / width.max(1));
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|to| draw::draw(to, header, frame, app, ""))?;
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    // The line of keys is for who can press them.
    let mut out: Vec<String> = (0..height - 1).map(line).collect();
    out.dedup_by(|next, line| next.is_empty() && line.is_empty());
    text::print(&format!("{}\n", out.join("\n").trim_end()))?;
    Ok(Exit::DONE)
}
