//! `umach fs`: works with files that a file server exports.

mod change;
mod copy;
mod list;
mod open;
mod place;
mod progress;
mod share;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use umach_file_api::{Dir, Kind};
use umach_name_api::Names;

use crate::exit::Exit;
use crate::system::At;
use place::Place;

/// Works with files that a file server exports: ls, cat, get, put, open, stat, mkdir, mv, rm, share.
#[derive(Args)]
#[command(after_help = "\
A remote PATH is NAME:/path, where NAME is the file server's service name (see umach names), or just /path: then NAME is \
`files`. Nothing outside the exported directory can be reached, whatever the path says.

Examples:
  umach run --export . -- umach fs ls -l /
  umach fs get -r photos:/2024 ./2024
  umach fs put report.pdf /inbox/")]
pub(crate) struct Fs {
    #[command(subcommand)]
    command: FsCommand,
}

#[derive(Subcommand)]
enum FsCommand {
    Ls(list::Ls),
    Stat(list::StatCommand),
    Cat(copy::Cat),
    Get(copy::Get),
    Put(copy::Put),
    Open(open::Open),
    Mkdir(change::Mkdir),
    Mv(change::Mv),
    Rm(change::Rm),
    Share(share::Share),
}

impl Fs {
    pub(crate) fn run(self) -> Result<Exit> {
        match self.command {
            FsCommand::Ls(command) => command.run(),
            FsCommand::Stat(command) => command.run(),
            FsCommand::Cat(command) => command.run(),
            FsCommand::Get(command) => command.run(),
            FsCommand::Put(command) => command.run(),
            FsCommand::Open(command) => return command.run(),
            FsCommand::Mkdir(command) => command.run(),
            FsCommand::Mv(command) => command.run(),
            FsCommand::Rm(command) => command.run(),
            FsCommand::Share(command) => command.run(),
        }?;
        Ok(Exit::DONE)
    }
}

/// A way to the name server, and so to every file server.
struct Session {
    names: Names,
}

impl Session {
    fn open(at: &At) -> Result<Session> {
        Ok(Session { names: at.names()? })
    }
    /// The exported directory of a service.
    fn root(&self, place: &Place) -> Result<Dir> {
        let right = self.names.look_up(&place.service).with_context(|| format!("{place}: no file server `{}`", place.service))?;
        Ok(Dir::from_right(right))
    }
}

/// The letter that `ls -l` starts a line with.
fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Unknown => '?',
    }
}

/// The word that JSON has.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "character-device",
        Kind::BlockDevice => "block-device",
        Kind::Unknown => "unknown",
    }
}

/// A name as a line can show it: what is not printable is escaped, so that a file's name cannot steer a terminal.
fn show(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("\"{}\"", name.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_could_steer_a_terminal_is_escaped() {
        assert_eq!(show("größe".as_bytes()), "größe");
        assert_eq!(show(b"a\x1b[2J"), "\"a\\x1b[2J\"");
        assert_eq!(show(b"caf\xe9"), "\"caf\\xe9\"");
    }
}
