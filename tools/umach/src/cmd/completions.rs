//! `umach completions`: scripts that complete this command's words in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::text;

/// Prints a completion script for a shell.
#[derive(Args)]
#[command(after_help = "\
Examples:
  umach completions bash > ~/.local/share/bash-completion/completions/umach
  umach completions zsh > ~/.zfunc/_umach
  umach completions fish > ~/.config/fish/completions/umach.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "umach", &mut script);
        text::print(&String::from_utf8(script)?)?;
        Ok(Exit::DONE)
    }
}
