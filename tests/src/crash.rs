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
/// Only has to arrive.
pub const PLAIN: i32 = 106;

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
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] = [Part::Send, Part::Call, Part::Serve, Part::Hold, Part::Link];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Send => "send",
            Part::Call => "call",
            Part::Serve => "serve",
            Part::Hold => "hold",
            Part::Link => "link",
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

/// Whether `strace` is here and may change what its tracees' system calls do. Says so if not, so that a skipped test is seen.
pub fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "-e", "inject=write:signal=KILL:when=1", "true"]).status();
    let can = tried.as_ref().is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: strace is needed here, and allowed to trace ({tried:?})");
    }
    can
}
