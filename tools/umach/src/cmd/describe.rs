//! `umach describe`: the interfaces that a binary has, or that a server serves.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use libtask::{SendRight, Task};
use serde::Serialize;
use umach_describe::{Change, Description, scan};
use umach_name_api::Names;

use crate::exit::{Exit, complain};
use crate::foreign::lines;
use crate::ids::Who;
use crate::programs::interfaces_of;
use crate::system::{At, name_server};
use crate::text;
use crate::view::View;

/// Prints interfaces: the methods, their numbers and their types.
///
/// The interfaces are those of a binary (a program or a library that has `#[libtask::interface]` traits in it, its own or others'), those of a task or a process (its
/// program and the libraries that it has loaded), or the one that the server of a name says it serves. If that says nothing, they are those of its process.
#[derive(Args)]
#[command(after_help = "\
JSON: an array of descriptions, which is what --check reads. --check exits with 1 if a program built with the saved description and one built \
with this would not understand each other, and names each such change.

Examples:
  umach describe target/release/server
  umach describe target/release/libcounters.so
  umach describe org.example.counters --c > counters.h
  umach describe T3
  umach describe target/release/server --json > api.json
  umach describe target/release/server --check api.json")]
pub(crate) struct Describe {
    /// A binary's path, the name of a service, a task (T3) or a process id.
    #[arg(value_name = "BINARY|NAME|TASK|PID")]
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
        if path.is_file() || self.what.contains('/') {
            return of_binary(path);
        }
        match self.what.parse() {
            Ok(Who::Pid(pid)) => of_process(pid),
            Ok(who @ Who::Task(_)) => of_process(View::open(&self.at)?.find(who)?[0].row.pid),
            Err(_) => self.of_service(),
        }
    }

    /// What a service says it serves, else what its process may.
    fn of_service(&self) -> Result<Vec<Description>> {
        let task = self.at.connect().with_context(|| format!("{:?} is no file, so it was taken for a service's name", self.what))?;
        let right = Names::at(name_server(&task)?).look_up(&self.what)?;
        let says_nothing = match right.describe() {
            Ok(description) => return Ok(vec![description]),
            Err(error) => anyhow::Error::from(error).context(format!("asking the server of {:?} what it serves", self.what)),
        };
        // To look into others takes a right that not everybody has.
        let Some(pid) = server_of(&task, &right) else { return Err(says_nothing) };
        match interfaces_of(pid) {
            Ok(all) if !all.is_empty() => {
                complain(&format!("{says_nothing:#}; these are the interfaces of its process, {pid}"));
                Ok(all)
            }
            _ => Err(says_nothing),
        }
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

/// The process that receives where a right leads.
fn server_of(task: &Task, right: &SendRight) -> Option<u32> {
    let view = View::with(task).ok()?;
    let port = task.control().ok()?.space().ok()?.into_iter().find(|row| row.name == right.name())?.object;
    let receiver = view.ports().ok()?.into_iter().find(|row| row.object == port)?.receiver;
    view.tasks.iter().find(|task| task.row.task == receiver).map(|task| task.row.pid)
}

fn of_process(pid: u32) -> Result<Vec<Description>> {
    let all = interfaces_of(pid)?;
    if all.is_empty() {
        bail!("neither the program of process {pid} nor a library that it has loaded has interfaces in it");
    }
    Ok(all)
}

fn of_binary(path: &Path) -> Result<Vec<Description>> {
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
