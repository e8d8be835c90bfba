//! Pipes and FIFOs: bytes in order, one way each. And what everything made of bytes needs: finding the messages in them.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};

use super::exchange::{Exchange, Receiving, Sending, length, serve};
use super::{CALL_MAX, Contestant, Kind, Peer, Skill};
use crate::process::{Process, input};

const fn peer(name: &'static str, label: &'static str, start: fn(&Contestant) -> Result<Box<dyn Peer>>) -> Contestant {
    let skills = &[Skill::Call, Skill::Stream, Skill::Bulk];
    Contestant { name, label, kind: Kind::Peer, skills, largest: CALL_MAX, burns: false, start, serve: serve_pipes }
}

pub(super) const CONTESTANTS: &[Contestant] = &[peer("pipe", "pipe", start_pipe), peer("fifo", "FIFO", start_fifo)];

/// A descriptor that takes bytes.
pub(super) struct ToBytes(pub(super) std::fs::File);

impl Sending for ToBytes {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.write_all(message).context("writing")
    }
    fn bulk(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(bytes)
    }
}

/// A descriptor that gives bytes, of which as many are read at once as there are: many small messages, or a piece of a large one.
pub(super) struct FromBytes {
    file: std::fs::File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FromBytes {
    pub(super) fn new(fd: OwnedFd) -> FromBytes {
        FromBytes { file: fd.into(), buffer: vec![0; CALL_MAX], start: 0, end: 0 }
    }
    fn have(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
    /// Reads more; `false` at the end.
    fn read_more(&mut self) -> Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let got = self.file.read(&mut self.buffer[self.end..]).context("reading")?;
        self.end += got;
        Ok(got > 0)
    }
}

impl Receiving for FromBytes {
    fn receive(&mut self) -> Result<&[u8]> {
        loop {
            if let Some(len) = length(self.have()) {
                ensure!(len <= self.buffer.len(), "a message of {len} bytes");
                if self.have().len() >= len {
                    self.start += len;
                    return Ok(&self.buffer[self.start - len..self.start]);
                }
            }
            if !self.read_more()? {
                ensure!(self.have().is_empty(), "the other end is gone in the middle of a message");
                return Ok(&[]);
            }
        }
    }
    fn piece(&mut self, most: usize) -> Result<&[u8]> {
        if self.start == self.end {
            self.read_more()?;
        }
        let len = self.have().len().min(most);
        self.start += len;
        Ok(&self.buffer[self.start - len..self.start])
    }
}

fn client(contestant: &Contestant, [there, back]: [(OwnedFd, OwnedFd); 2]) -> Result<Box<dyn Peer>> {
    let server = Process::start(&["peer", contestant.name], there.0, Stdio::from(back.1))?;
    Ok(Exchange::boxed(ToBytes(there.1.into()), FromBytes::new(back.0), server))
}

fn start_pipe(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("making a pipe");
    client(contestant, [pipe()?, pipe()?])
}

fn start_fifo(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let fifo = |name: &str| -> Result<(OwnedFd, OwnedFd)> {
        let path = folder.path().join(name);
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("making a FIFO")?;
        // Opened for both, it lets neither of the next two wait for the other.
        let both = open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let ends =
            (open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?);
        drop(both);
        Ok(ends)
    };
    client(contestant, [fifo("there")?, fifo("back")?])
}

fn serve_pipes(_: &Contestant, _: &[String]) -> Result<()> {
    let to = rustix::stdio::stdout().try_clone_to_owned().context("taking standard output over")?;
    serve(&mut ToBytes(to.into()), &mut FromBytes::new(input()?))
}
