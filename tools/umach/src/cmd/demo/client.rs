//! The client: all it has is a right to the name server, and one to report to.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use libtask::{Message, Notification, SendRight, Task};
use umach_file_api::{Dir, FileError, Kind};
use umach_name_api::Names;

use super::script::{Counts, FILES, READ_BACK, READ_THIS, READER, REPORT, Report, SCRATCH, now_nanos};
use super::{show, tree};
use crate::text::plural;

/// Bytes asked for in one message.
const PIECE: u64 = 16 << 20;
/// How often the audience hears of a long walk.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct Client {
    /// What the first file server exports; read directly too, to compare.
    root: PathBuf,
    /// What the second one exports.
    #[arg(long)]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    limits: tree::Limits,
}

impl Client {
    pub(super) fn run(self) -> Result<()> {
        let task = Task::current()?;
        let [director, ..] = task.registered()?;
        let teller = Teller { director: director.context("the client is started by the director")? };
        let names = Names::from_bootstrap(&task)?;

        let files = teller.look_up(&names, FILES)?;
        let mut walk = Walk::new(&teller, FILES, &self.root, self.limits);
        walk.run(Dir::from_right(files.duplicate()))?;
        let mut candidate =
            walk.finish()?.map(|path| OpenAt { service: FILES, dir: Dir::from_right(files.duplicate()), root: &self.root, path });
        if let Some(scratch) = &self.scratch {
            let right = teller.look_up(&names, SCRATCH)?;
            let mut walk = Walk::new(&teller, SCRATCH, scratch, tree::Limits::CHOSEN);
            walk.run(Dir::from_right(right.duplicate()))?;
            if let Some(path) = walk.finish()? {
                candidate = candidate.or(Some(OpenAt { service: SCRATCH, dir: Dir::from_right(right), root: scratch, path }));
            }
        }
        let file = candidate.with_context(|| format!("no file in {} can be read", self.root.display()))?;
        teller.hand_on(&names, &file)?;
        teller.see_death(&task, &files)?;
        teller.tell(Report::Done)
    }
}

/// A file that can be handed on, and where its original is.
struct OpenAt<'a> {
    service: &'static str,
    dir: Dir,
    root: &'a Path,
    path: PathBuf,
}

/// Reports to the director.
struct Teller {
    director: SendRight,
}

impl Teller {
    fn tell(&self, report: Report) -> Result<()> {
        self.director.send(Message::new(REPORT).body(&report))?;
        Ok(())
    }
    fn say(&self, text: String) -> Result<()> {
        self.tell(Report::Said(text))
    }
    fn arrow(&self, from: &str, to: &str, text: &str, answer: bool) -> Result<()> {
        self.tell(Report::Arrow { from: from.into(), to: to.into(), text: text.into(), answer })
    }
    fn check(&self, what: &str, holds: bool, detail: String) -> Result<()> {
        self.tell(Report::Checked { what: what.into(), holds, detail })
    }

    fn look_up(&self, names: &Names, name: &str) -> Result<SendRight> {
        let right = names.look_up_within(name, Duration::from_secs(10))?;
        self.arrow("client", "names", &format!("look up \"{name}\""), false)?;
        self.arrow("names", "client", "a send right", true)?;
        self.say(format!("looks up \"{name}\" and gets {right}"))?;
        self.tell(Report::Walked(Counts { rights: 1, ..Counts::default() }))?;
        Ok(right)
    }

    /// Gives an open file away; the reader reads it and sends back what it saw.
    fn hand_on(&self, names: &Names, open: &OpenAt<'_>) -> Result<()> {
        let OpenAt { service, dir, root, path } = open;
        let original = root.join(path);
        let reader = self.look_up(names, READER)?;
        let file = dir.open_read(path)?;
        self.arrow("client", READER, "an open file", false)?;
        self.say(format!("opens {} and gives the open file to the reader, which has never seen a path", show(path)))?;
        let mut answer = reader.call(Message::new(READ_THIS).move_send(file.into_right()))?;
        let bytes = answer.memory(0)?;
        self.arrow(READER, service, "read", false)?;
        self.arrow(service, READER, "the bytes", true)?;
        self.arrow(READER, "client", &format!("the {} bytes that it read", bytes.len()), true)?;
        let mut expected = Vec::new();
        fs::File::open(&original)?.take(READ_BACK).read_to_end(&mut expected).with_context(|| format!("read {}", original.display()))?;
        let same = expected == bytes[..];
        let detail = format!("{}, {} bytes through the reader, process {}", show(path), bytes.len(), answer.sender().pid);
        self.check("an open file passed to a third task can be read there", same, detail)?;
        // Opened, given away.
        self.tell(Report::Walked(Counts { rights: 2, memory_bytes: bytes.len() as u64, ..Counts::default() }))
    }

    /// Asks to be told of the file server's death, lets it be killed, and is told.
    fn see_death(&self, task: &Task, server: &SendRight) -> Result<()> {
        let port = task.new_port()?;
        // The request stands until it fires; there is no need to withdraw it.
        let _request = server.notify_dead(&port)?;
        self.arrow("client", "kernel", "tell me when it dies", false)?;
        self.say(format!("asks to be told when {server} dies"))?;
        self.tell(Report::Armed)?;
        let mut notice = port.receive_within(Duration::from_secs(20)).context("no notice of the file server's death")?;
        let nanos = now_nanos();
        match notice.take_notification() {
            Some(Notification::DeadName(dead)) => {
                ensure!(dead.was(server), "the notice is about {dead}, not about {server}");
            }
            other => anyhow::bail!("a message that is no dead-name notice: {other:?}"),
        }
        self.tell(Report::Noticed { nanos })?;
        let refused = matches!(Dir::from_right(server.duplicate()).own_stat(), Err(FileError::Gone { .. }));
        self.check("a call to the dead server fails at once", refused, "the error says that the server is gone".to_owned())
    }
}

/// One walk through a tree.
struct Walk<'a> {
    teller: &'a Teller,
    service: &'a str,
    original: &'a Path,
    limits: tree::Limits,
    counts: Counts,
    /// The file to hand on: the largest that the reader sends back whole, if there is one.
    candidate: Option<((bool, u64), PathBuf)>,
    first_difference: Option<String>,
    said: Instant,
    buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(teller: &'a Teller, service: &'a str, original: &'a Path, limits: tree::Limits) -> Walk<'a> {
        Walk {
            teller,
            service,
            original,
            limits,
            counts: Counts::default(),
            candidate: None,
            first_difference: None,
            said: Instant::now(),
            buffer: Vec::new(),
        }
    }

    fn run(&mut self, root: Dir) -> Result<()> {
        self.teller.say(format!("walks \"{}\" and compares every file with the original in {}", self.service, self.original.display()))?;
        let mut waiting = vec![PathBuf::new()];
        while let Some(folder) = waiting.pop() {
            let dir = if folder.as_os_str().is_empty() { root.duplicate() } else { self.opened(root.subdir(&folder))? };
            self.counts.directories += 1;
            for entry in dir.list_with_stat() {
                let entry = entry?;
                let path = folder.join(entry.name());
                let size = entry.stat().map_or(0, |stat| stat.size);
                match entry.kind() {
                    Kind::Directory if self.limits.enters(entry.name().as_encoded_bytes()) => waiting.push(path),
                    Kind::File if self.counts.files < self.limits.files && self.counts.bytes + size <= self.limits.bytes => {
                        self.file(&dir, Path::new(entry.name()), &path, size)?;
                    }
                    _ => self.counts.skipped += 1,
                }
            }
        }
        Ok(())
    }

    fn opened<T>(&mut self, result: Result<T, FileError>) -> Result<T, FileError> {
        self.counts.rights += u64::from(result.is_ok());
        result
    }

    fn file(&mut self, dir: &Dir, name: &Path, path: &Path, size: u64) -> Result<()> {
        let file = match self.opened(dir.open_read(name)) {
            Err(FileError::Denied(_) | FileError::NotFound(_) | FileError::NotRegular(_)) => {
                self.counts.skipped += 1;
                return Ok(());
            }
            other => other?,
        };
        let mut same = self.compare(&file, path);
        if !matches!(same, Ok(true)) {
            // Somebody may be writing to it: a second look tells a change from a fault.
            same = self.compare(&file, path);
        }
        self.counts.files += 1;
        if !same.with_context(|| show(path))? {
            self.counts.different += 1;
            self.first_difference.get_or_insert(show(path));
        }
        let rank = (size <= READ_BACK, size);
        if self.candidate.as_ref().is_none_or(|(best, _)| rank > *best) {
            self.candidate = Some((rank, path.to_owned()));
        }
        if self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            let (files, bytes) = (self.counts.files, crate::text::bytes(self.counts.bytes));
            self.teller.say(format!("... {files} files, {bytes}"))?;
        }
        Ok(())
    }

    /// Reads a file through its port and directly, and compares byte by byte.
    fn compare(&mut self, file: &umach_file_api::File, path: &Path) -> Result<bool> {
        let original = fs::File::open(self.original.join(path))?;
        let mut mapped = 0;
        let mut at = 0;
        loop {
            let piece = file.read_range(at, PIECE)?;
            if piece.is_mapped() {
                mapped += piece.len() as u64;
            }
            self.counts.memory_bytes += piece.len() as u64;
            // One byte more than there should be, to see whether the original goes on.
            self.buffer.resize(piece.len().max(1), 0);
            let count = read_full(&original, &mut self.buffer, at)?;
            if count != piece.len() || self.buffer[..count] != piece[..] {
                return Ok(false);
            }
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
        }
        self.counts.bytes += at;
        self.counts.mapped_bytes += mapped;
        self.counts.mapped_files += u64::from(mapped > 0);
        Ok(true)
    }

    /// Reports the walk; gives the file to hand on.
    fn finish(self) -> Result<Option<PathBuf>> {
        let Walk { teller, service, counts, first_difference, candidate, .. } = self;
        let bytes = crate::text::bytes;
        teller.arrow(
            "client",
            service,
            &format!("list {}, read {}", plural(counts.directories, "folder"), plural(counts.files, "file")),
            false,
        )?;
        teller.arrow(service, "client", &format!("{}, {} of it shared", bytes(counts.bytes), bytes(counts.mapped_bytes)), true)?;
        let detail = match first_difference {
            None => {
                let (files, large) = (plural(counts.files, "file"), plural(counts.mapped_files, "large one"));
                format!("{files}, {}; {large} came as shared memory", bytes(counts.bytes))
            }
            Some(first) => format!("{} of {} differ, the first is {first}", counts.different, counts.files),
        };
        teller.check(&format!("every file of \"{service}\" equals its original"), counts.different == 0, detail)?;
        teller.tell(Report::Walked(counts))?;
        Ok(candidate.map(|(_, path)| path))
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &fs::File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read_at(&mut buffer[have..], at + have as u64)? {
            0 => break,
            count => have += count,
        }
    }
    Ok(have)
}
