//! `umach fs open`: a served file as a program's standard input or output.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use umach_file_api::OpenOptions;

use super::Session;
use super::place::{Place, PlaceParser};
use crate::cmd::run::spawn_and_wait;
use crate::exit::Exit;
use crate::system::At;

/// Runs a command with a file as its standard input or output.
#[derive(Args)]
#[command(after_help = "\
The command gets the open file itself, not a copy: it can seek in it and map it, and needs neither the file server's folder nor a \
right of its own. Ends with the command's exit code.

Examples:
  umach fs open /README.md -- wc -l
  umach fs open --write logs:/today -- date")]
pub(super) struct Open {
    /// Which file.
    #[arg(value_name = "PATH", value_parser = PlaceParser)]
    place: Place,
    /// As its standard output: the file is created, or cut to nothing.
    #[arg(short, long)]
    write: bool,
    #[command(flatten)]
    at: At,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Open {
    pub(super) fn run(self) -> Result<Exit> {
        let [program, arguments @ ..] = &self.command[..] else { bail!("no command") };
        let mut command = Command::new(program);
        command.args(arguments);
        let place = &self.place;
        let root = Session::open(&self.at)?.root(place)?;
        let how = match self.write {
            true => OpenOptions::new().write(true).create(true).truncate(true),
            false => OpenOptions::new().read(true),
        };
        let path = OsStr::from_bytes(&place.path);
        let file = root.open(path, how).and_then(|handle| handle.descriptor()).with_context(|| place.to_string())?;
        match self.write {
            true => command.stdout(file),
            false => command.stdin(file),
        };
        spawn_and_wait(&mut command)
    }
}
