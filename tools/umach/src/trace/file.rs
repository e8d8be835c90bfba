//! Recordings: a trace in a file, to be looked at again.
//!
//! The first line says what the file is and of which version; each other line is one [`Entry`] in JSON, the last one [`Entry::End`]. A reader trusts
//! nothing: lines are of limited length, and what is no entry is an error that says where. A file without an end was cut off; what is there is shown first.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// Version of the format. Fields are only ever added; a change that an older reader would misread raises it.
const VERSION: u32 = 1;
/// Bytes of the longest line: a message's body is cut at 4 KiB when it is traced, a description of an interface can be larger.
const LINE_MAX: u64 = 4 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    umach_trace: u32,
    /// Milliseconds since 1970 when the trace began.
    #[serde(default)]
    started: u64,
}

/// A recording that is being made.
pub(crate) struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Recorder {
    /// Begins one; a file that is there is replaced.
    pub(crate) fn create(path: &Path) -> Result<Recorder> {
        let file = File::create(path).with_context(|| format!("make the recording {}", path.display()))?;
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut recorder = Recorder { path: path.to_owned(), file: BufWriter::new(file) };
        recorder.line(&Head { umach_trace: VERSION, started })?;
        Ok(recorder)
    }
    /// Adds an entry.
    pub(crate) fn add(&mut self, entry: &Entry) -> Result<()> {
        self.line(entry)
    }
    /// Everything so far is in the file.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("write to the recording {}", self.path.display()))
    }
    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text).with_context(|| format!("write to the recording {}", self.path.display()))
    }
}

/// A recording that is being read.
pub(crate) struct Recording {
    path: PathBuf,
    file: Box<dyn BufRead>,
    line: u64,
    ended: bool,
}

impl Recording {
    /// Opens one; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Recording> {
        let file: Box<dyn BufRead> = match path.to_str() {
            Some("-") => Box::new(BufReader::new(std::io::stdin())),
            _ => Box::new(BufReader::new(File::open(path).with_context(|| format!("open the recording {}", path.display()))?)),
        };
        Recording::read(path, file)
    }
    fn read(path: &Path, file: Box<dyn BufRead>) -> Result<Recording> {
        let mut recording = Recording { path: path.to_owned(), file, line: 0, ended: false };
        let first = recording.next_line()?.unwrap_or_default();
        let head: Head = serde_json::from_slice(&first).map_err(|_| {
            anyhow::anyhow!("{} is no recording of `umach trace --record` (its first line does not say so)", path.display())
        })?;
        ensure!(
            head.umach_trace <= VERSION,
            "{} is a recording of version {}, and this umach reads up to version {VERSION}: use a newer one",
            path.display(),
            head.umach_trace
        );
        Ok(recording)
    }
    /// The next entry; `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let Some(line) = self.next_line()? else {
            bail!("the recording {} is cut off after line {}: its end is missing", self.path.display(), self.line);
        };
        let entry: Entry = match serde_json::from_slice(&line) {
            Ok(entry) => entry,
            Err(error) if error.is_eof() => bail!("the recording {} is cut off in line {}", self.path.display(), self.line),
            Err(error) => bail!("line {} of the recording {} is damaged: {error}", self.line, self.path.display()),
        };
        self.ended = matches!(entry, Entry::End { .. });
        Ok(Some(entry))
    }
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self.file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let count = read.with_context(|| format!("read the recording {}", self.path.display()))?;
        self.line += u64::from(count > 0);
        let whole = line.last() == Some(&b'\n');
        ensure!(whole || (count as u64) < LINE_MAX, "line {} of the recording {} is longer than any", self.line, self.path.display());
        Ok((count > 0).then_some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (usize, Option<String>) {
        let mut recording = match Recording::read(Path::new("x"), Box::new(std::io::Cursor::new(text.to_vec()))) {
            Ok(recording) => recording,
            Err(error) => return (0, Some(error.to_string())),
        };
        let mut count = 0;
        loop {
            match recording.next() {
                Ok(Some(_)) => count += 1,
                Ok(None) => return (count, None),
                Err(error) => return (count, Some(error.to_string())),
            }
        }
    }

    fn sample() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        let mut recorder = Recorder::create(&path).unwrap();
        for n in 0..3 {
            recorder.add(&Entry::Lost { records: n }).unwrap();
        }
        recorder.add(&Entry::End { messages: 0, lost: 3 }).unwrap();
        recorder.flush().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn recording_is_read_as_it_was_written_and_cut_anywhere_is_an_error() {
        let text = sample();
        assert_eq!(read(&text), (4, None));
        for cut in 0..text.len() - 1 {
            let (count, error) = read(&text[..cut]);
            let error = error.unwrap_or_else(|| panic!("cut at {cut} went unnoticed"));
            assert!(count < 4 && (error.contains("cut off") || error.contains("no recording")), "cut at {cut}: {error}");
        }
    }

    #[test]
    fn what_is_no_recording_is_refused_with_the_reason() {
        for (text, says) in [
            (&b"{\"umach_trace\":99}\n"[..], "version 99"),
            (b"hello\n", "no recording"),
            (b"{\"umach_trace\":1}\n{\"lost\":{\"records\":-1}}\n", "line 2"),
            (b"{\"umach_trace\":1}\n{\"nonsense\":1}\n", "line 2"),
            (b"{\"umach_trace\":1}\n\xff\xfe\n", "line 2"),
            (&[&b"{\"umach_trace\":1}\n"[..], &[b'['; 100_000], b"\n"].concat(), "line 2"),
        ] {
            let (count, error) = read(text);
            assert!(count == 0 && error.as_ref().is_some_and(|error| error.contains(says)), "{says}: {error:?}");
        }
        let long = [&b"{\"umach_trace\":1}\n"[..], &vec![b' '; LINE_MAX as usize + 1]].concat();
        assert!(read(&long).1.unwrap().contains("longer than any"));
    }
}
