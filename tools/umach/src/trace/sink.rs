//! Where a trace goes: lines or objects, a recording, a picture, and a sentence at the end.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::entry::Entry;
use super::file::Recorder;
use super::json;
use super::picture::Picture;
use super::show::Show;
use super::story::{Event, Kind, Story};
use crate::exit::complain;
use crate::text::{Paint, duration, grouped, json_line, plural};

/// How a trace is shown: for `trace` and `replay`.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Shown {
    /// Prints an object a line.
    #[arg(long)]
    json: bool,
    /// Draws a sequence diagram at the end: .svg is an image, anything else Mermaid text.
    #[arg(long, value_name = "FILE")]
    diagram: Option<PathBuf>,
    /// Also says when each message was received, and how long it had waited.
    #[arg(long, short)]
    all: bool,
    /// Writes the lines into a file instead.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints no lines.
    #[arg(long, short, conflicts_with_all = ["json", "output", "all"])]
    quiet: bool,
}

/// Where lines go if no file is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    /// Beside a command, whose output is its own.
    Err,
}

/// Takes a trace, entry by entry.
pub(crate) struct Sink {
    story: Story,
    to: Box<dyn Write>,
    lines: Option<Lines>,
    recorder: Option<Recorder>,
    picture: Option<(Picture, PathBuf)>,
    messages: u64,
    lost: u64,
    latencies: Vec<Duration>,
    began: Instant,
    /// Time of the newest message.
    last: u64,
}

enum Lines {
    Text(Show),
    Json,
}

impl Sink {
    pub(crate) fn new(shown: &Shown, stream: Stream, record: Option<&Path>) -> Result<Sink> {
        let terminal =
            shown.output.is_none() && if stream == Stream::Out { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
        let to: Box<dyn Write> = match (&shown.output, stream) {
            (Some(path), _) => Box::new(BufWriter::new(File::create(path).with_context(|| format!("make {}", path.display()))?)),
            (None, Stream::Out) => Box::new(BufWriter::new(std::io::stdout())),
            (None, Stream::Err) => Box::new(BufWriter::new(std::io::stderr())),
        };
        let paint = match (&shown.output, stream) {
            (Some(_), _) => Paint::none(),
            (None, Stream::Out) => Paint::stdout(),
            (None, Stream::Err) => Paint::stderr(),
        };
        let width = if terminal { width_of(stream) } else { 0 };
        let lines = match (shown.quiet, shown.json) {
            (true, _) => None,
            (false, true) => Some(Lines::Json),
            (false, false) => Some(Lines::Text(Show::new(paint, width, shown.all))),
        };
        Ok(Sink {
            story: Story::default(),
            to,
            lines,
            recorder: record.map(Recorder::create).transpose()?,
            picture: shown.diagram.clone().map(|path| (Picture::default(), path)),
            messages: 0,
            lost: 0,
            latencies: Vec::new(),
            began: Instant::now(),
            last: 0,
        })
    }
    /// Says that it begins.
    pub(crate) fn heading(&mut self) -> Result<()> {
        match &self.lines {
            Some(Lines::Text(show)) => self.to.write_all(show.heading().as_bytes())?,
            Some(Lines::Json) => writeln!(self.to, "{}", serde_json::json!({ "event": "begin" }))?,
            None => {}
        }
        Ok(self.to.flush()?)
    }
    /// Messages so far.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }
    /// Takes one entry.
    pub(crate) fn take(&mut self, entry: Entry) -> Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.add(&entry)?;
        }
        let Some(event) = self.story.tell(entry) else { return Ok(()) };
        match &event {
            Event::Message(message) => {
                self.messages += 1;
                self.last = message.sent.time;
                if let Kind::Answer { after, .. } = message.kind {
                    self.latencies.push(after);
                }
            }
            Event::Lost(records) => self.lost += records,
            _ => {}
        }
        if let Some((picture, _)) = &mut self.picture {
            picture.add(&event);
        }
        match &mut self.lines {
            Some(Lines::Text(show)) => {
                if let Some(line) = show.line(&event) {
                    self.to.write_all(line.as_bytes())?;
                }
            }
            Some(Lines::Json) => self.to.write_all(json_line(&json::object(&event))?.as_bytes())?,
            None => {}
        }
        Ok(())
    }
    /// What was taken is where it belongs: to be called when nothing comes for a moment.
    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.to.flush()?)
    }
    /// Draws what is to be drawn, and says how it was.
    pub(crate) fn finish(mut self, live: bool) -> Result<()> {
        self.to.flush()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.flush()?;
        }
        if let Some((picture, path)) = &self.picture {
            picture.draw().write(path)?;
        }
        if !matches!(self.lines, Some(Lines::Json)) {
            let time = if live { self.began.elapsed() } else { Duration::from_nanos(self.last) };
            let missed = if self.lost == 0 { "none missed".to_owned() } else { format!("{} missing", plural(self.lost, "record")) };
            let mut says = format!("{} in {}, {missed}", plural(self.messages, "message"), duration(time));
            self.latencies.sort_unstable();
            if let Some(median) = self.latencies.get(self.latencies.len() / 2) {
                let calls = if self.latencies.len() == 1 { "call".to_owned() } else { "calls".to_owned() };
                says.push_str(&format!(
                    "; {} {calls} answered, half of them within {}",
                    grouped(self.latencies.len() as u64),
                    duration(*median)
                ));
            }
            complain(&says);
        }
        Ok(())
    }
}

fn width_of(stream: Stream) -> usize {
    let size = match stream {
        Stream::Out => rustix::termios::tcgetwinsize(std::io::stdout()),
        Stream::Err => rustix::termios::tcgetwinsize(std::io::stderr()),
    };
    size.map_or(0, |size| size.ws_col.into())
}
