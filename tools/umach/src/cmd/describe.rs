//! `umach describe`: the interfaces that a binary has, or that a server serves.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use umach_describe::{Change, Description, scan};

use crate::exit::Exit;
use crate::foreign::lines;
use crate::system::At;
use crate::text;

/// Prints interfaces: the methods, their numbers and their types.
///
/// The interfaces are those of a binary (a program or a library that has `#[libtask::interface]` traits in it, its own or others'), or the one that the server of a name
/// says it serves.
#[derive(Args)]
#[command(after_help = "\
JSON: an array of descriptions, which is what --check reads. --check exits with 1 if a program built with the saved description and one built \
with this would not understand each other, and names each such change.

Examples:
  umach describe target/release/server
  umach describe org.example.counters --c > counters.h
  umach describe target/release/server --json > api.json
  umach describe target/release/server --check api.json")]
pub(crate) struct Describe {
    /// A binary's path, or the name of a service.
    #[arg(value_name = "BINARY|NAME")]
    what: String,
    /// Only the interface of this name.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// As JSON.
    #[arg(long, group = "form")]
    json: bool,
    /// As a C header.
    #[arg(long, group = "form")]
    c: bool,
    /// As traits (this is so without any of these).
    #[arg(long, group = "form")]
    rust: bool,
    /// Compares with a description that was saved with --json: prints what is incompatible.
    #[arg(long, value_name = "SAVED.json")]
    check: Option<std::path::PathBuf>,
    #[command(flatten)]
    at: At,
}

/// What a check found.
#[derive(Serialize)]
struct Broken {
    interface: String,
    #[serde(flatten)]
    change: Change,
}

impl Describe {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut all = self.descriptions()?;
        if let Some(name) = &self.interface {
            all.retain(|description| description.name == *name);
            if all.is_empty() {
                bail!("{} has no interface {name:?}; without --interface all of them are shown", self.what);
            }
        }
        if let Some(saved) = &self.check {
            return self.check(saved, &all);
        }
        if self.json {
            text::print_json(&all)?;
            return Ok(Exit::DONE);
        }
        let form = if self.c { Description::to_c } else { Description::to_rust };
        let all: Vec<String> = all.iter().map(form).collect();
        text::print(&lines(&all.join("\n")))?;
        Ok(Exit::DONE)
    }

    fn descriptions(&self) -> Result<Vec<Description>> {
        let path = Path::new(&self.what);
        if !path.is_file() && !self.what.contains('/') {
            let names = self.at.names().with_context(|| format!("{:?} is no file, so it was taken for a service's name", self.what))?;
            let right = names.look_up(&self.what)?;
            let description = right.describe().with_context(|| format!("asking the server of {:?} what it serves", self.what))?;
            return Ok(vec![description]);
        }
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let mut all = Vec::new();
        for found in scan(&bytes) {
            match found.description {
                Ok(description) => all.push(description),
                Err(broken) => bail!("{} at byte {}: {broken}", path.display(), found.at),
            }
        }
        if all.is_empty() {
            bail!(
                "{} has no interfaces in it; is it the program that was built with `#[libtask::interface]`, and not a script around it?",
                path.display()
            );
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn check(&self, saved: &Path, all: &[Description]) -> Result<Exit> {
        let file = File::open(saved).with_context(|| format!("reading {}", saved.display()))?;
        let old: Vec<Description> = serde_json::from_reader(io::BufReader::new(file))
            .with_context(|| format!("{} is no description; make one with `umach describe {} --json`", saved.display(), self.what))?;
        let chosen = old.iter().filter(|old| self.interface.as_ref().is_none_or(|name| old.name == *name));
        let mut broken = Vec::new();
        let mut compared = 0;
        for old in chosen {
            compared += 1;
            let changes = match all.iter().find(|new| new.name == old.name) {
                Some(new) => new.changes_since(old),
                None => vec![Change { at: old.name.clone(), what: "the interface is gone".into() }],
            };
            broken.extend(changes.into_iter().map(|change| Broken { interface: old.name.clone(), change }));
        }
        if compared == 0 {
            bail!("{} has nothing to compare with", saved.display());
        }
        if self.json {
            text::print_json(&broken)?;
        } else {
            let told = broken.iter().map(|Broken { interface, change }| format!("{interface}: {change}\n"));
            text::print(&lines(&told.collect::<String>()))?;
            if broken.is_empty() {
                text::print(&format!("compatible with {}\n", saved.display()))?;
            }
        }
        Ok(if broken.is_empty() { Exit::DONE } else { Exit::FAILED })
    }
}
