//! What the tests that kill and starve processes have in common with each other and with the program that they kill.

use std::fmt;
use std::process::Command;
use std::str::FromStr;

/// Carries a send right to a port of the victim's.
pub const SHOW: i32 = 100;
/// To be answered with the same bytes.
pub const ECHO: i32 = 101;
/// Carries a send and the receive right of one port, with a message in its queue.
pub const GIVE: i32 = 102;
/// Carries small and large memory filled with [`pattern`].
pub const BULK: i32 = 103;
/// To be answered with memory and a send right.
pub const TAKE: i32 = 104;
/// Carries a send right to a port that the victim serves.
pub const SERVE: i32 = 105;
/// Carries a send right to a port that the victim goes on serving until it gives it away.
pub const SERVE_ON: i32 = 107;
/// Carries that port.
pub const MOVE: i32 = 108;
/// Only has to arrive.
pub const PLAIN: i32 = 106;
/// Carries an open file with [`pattern`] in it. If it wants an answer, that is to carry one as well.
pub const FILE: i32 = 109;

/// What the victim plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Sends rights and memory, and gives a receive right away.
    Send,
    /// Calls, and takes rights and memory.
    Call,
    /// Is called.
    Serve,
    /// Holds sets, notification requests and regions.
    Hold,
    /// Sends, calls, and gives rights and a port away over a link, between two stops (`SIGSTOP`).
    Link,
    /// Sends open files, and takes some.
    Files,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 6] = [Part::Send, Part::Call, Part::Serve, Part::Hold, Part::Link, Part::Files];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Send => "send",
            Part::Call => "call",
            Part::Serve => "serve",
            Part::Hold => "hold",
            Part::Link => "link",
            Part::Files => "files",
        })
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;
    fn from_str(name: &str) -> anyhow::Result<Part> {
        Part::ALL.into_iter().find(|part| part.to_string() == name).ok_or_else(|| anyhow::anyhow!("no part {name:?}"))
    }
}

/// Bytes whose place can be told from their value.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 8) as u8).collect()
}

/// An open file with [`pattern`] in it, at its start.
pub fn pattern_file() -> std::io::Result<std::fs::File> {
    use std::io::{Seek, Write};
    let mut file = std::fs::File::from(rustix::fs::memfd_create("pattern", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&pattern(1000))?;
    file.rewind()?;
    Ok(file)
}

/// Whether such a file has come.
pub fn is_pattern(file: std::os::fd::OwnedFd) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes)?;
    Ok(bytes == pattern(1000))
}

/// Whether `strace` is here and may change what its tracees' system calls do. Says so if not, so that a skipped test is seen.
pub fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "-e", "inject=write:signal=KILL:when=1", "true"]).status();
    let can = tried.as_ref().is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: strace is needed here, and allowed to trace ({tried:?})");
    }
    can
}
