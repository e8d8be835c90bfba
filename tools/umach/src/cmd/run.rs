//! `umach run`: a command as a task.
//!
//! With a kernel at the socket, and nothing asked for that would change the system there, the command runs in that system. Otherwise there is a
//! private one around it, which ends with it.
//!
//! The command is not handed a lane, as `Task::spawn` would do: a lane is one task's, and a shell hands what it inherits to everything that it starts.
//! It finds the kernel's socket in `UMACH_SOCKET`, as does whatever it starts, and each becomes a task of its own when it first speaks.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::Args;
use libtask::spawn::{LANE_INODE_VARIABLE, LANE_VARIABLE};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Exit, complain, is_no_kernel};
use crate::private::Private;
use crate::system::At;

/// Runs a command as a task, with its children as tasks too, in a private system if there is none.
#[derive(Args)]
#[command(after_help = "\
Without --export, --name and --private the command runs with the kernel at the socket, if there is one. Otherwise a private \
kernel and a name server are started around it and ended afterwards. UMACH_SOCKET tells the command and whatever it starts \
where the kernel is: umach ps, names, fs and so on work in a shell that is run like this.
Exit code: the command's; 128 and the signal if one ended it; 126 it could not be started; 127 it was not found.

Examples:
  umach run -- bash
  umach run --export . -- umach fs ls -l /
  umach run --export photos=/srv/photos --name 'thumbs=thumbnailer --fast' -- ./viewer")]
pub(crate) struct Run {
    /// Exports a directory through a file server called NAME (without NAME: `files`).
    #[arg(long, value_name = "[NAME=]DIR")]
    export: Vec<OsString>,
    /// A service that the name server starts when the first message for NAME arrives. COMMAND is split at spaces.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = parse_service)]
    name: Vec<(String, Vec<String>)>,
    /// A private system even if there is a kernel at the socket.
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    at: At,
    /// The command and its arguments.
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn parse_service(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, command) = text.split_once('=').ok_or("it is not NAME=COMMAND")?;
    let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        return Err("the command is empty".into());
    }
    umach_name_api::protocol::check_name(name).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), command))
}

/// `NAME=DIR`, or `DIR`. A folder that is called like that is still one: what exists is meant.
fn parse_export(text: &OsString) -> (String, PathBuf) {
    let path = PathBuf::from(text);
    match text.to_str().and_then(|text| text.split_once('=')) {
        Some((name, folder)) if !path.exists() && !name.contains('/') => (name.to_owned(), folder.into()),
        _ => ("files".to_owned(), path),
    }
}

impl Run {
    pub(crate) fn run(self) -> Result<Exit> {
        let [program, arguments @ ..] = &self.command[..] else { bail!("no command") };
        let mut command = Command::new(program);
        command.args(arguments).env_remove(LANE_VARIABLE).env_remove(LANE_INODE_VARIABLE);
        if !self.private && self.export.is_empty() && self.name.is_empty() {
            match self.at.connect() {
                Ok(_) => return spawn_and_wait(command.env("UMACH_SOCKET", self.at.socket())),
                Err(error) if is_no_kernel(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut private = Private::start("umach run")?;
        let config = private.folder().join("names.toml");
        std::fs::write(&config, configuration(&self.name)).context("write the name server's configuration")?;
        private.start_name_server(Some(&config))?;
        for text in &self.export {
            let (name, folder) = parse_export(text);
            private.start_file_server(&name, &folder)?;
        }
        let exit = spawn_and_wait(command.env("UMACH_SOCKET", private.socket()));
        private.end()?;
        exit
    }
}

/// The name server's configuration for these services. All tasks come from the command here, which runs as the name server does, so they may declare servers too.
fn configuration(list: &[(String, Vec<String>)]) -> String {
    // A JSON string is a TOML string too.
    let quote = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    let section = |(name, command): &(String, Vec<String>)| {
        let words: Vec<String> = command.iter().map(quote).collect();
        format!("[services.{}]\ncommand = [{}]\n", quote(name), words.join(", "))
    };
    "[policy]\ncreate_server = \"owner\"\n".to_owned() + &list.iter().map(section).collect::<String>()
}

/// Runs the command to its end. Ctrl-C and Ctrl-\ at the terminal reach it by themselves; what is sent to us is passed on.
pub(super) fn spawn_and_wait(command: &mut Command) -> Result<Exit> {
    // Before the command is there, so that a signal that comes early is passed on too. Exec sets handled signals back to their defaults.
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, ignored.clone())?;
    }
    let mut signals = Signals::new([SIGTERM, SIGHUP]).context("watch signals")?;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            complain(&format!("{}: {error}", command.get_program().display()));
            return Ok(if error.kind() == ErrorKind::NotFound { Exit::NOT_FOUND } else { Exit::NOT_STARTED });
        }
    };
    let handle = signals.handle();
    let pid = Pid::from_child(&child);
    let forward = std::thread::spawn(move || {
        for signal in signals.forever() {
            let signal = if signal == SIGHUP { Signal::HUP } else { Signal::TERM };
            // It may have ended a moment ago.
            let _ = kill_process(pid, signal);
        }
    });
    let status = child.wait();
    handle.close();
    // The thread only ends; it has nothing to report.
    let _ = forward.join();
    Ok(Exit::of(status?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_has_a_name_or_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(parse_export(&"photos=/srv".into()), ("photos".into(), "/srv".into()));
        assert_eq!(parse_export(&"/srv".into()), ("files".into(), "/srv".into()));
        let odd = folder.path().join("a=b");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(parse_export(&odd.clone().into()), ("files".into(), odd));
    }

    #[test]
    fn service_is_a_name_and_a_command() {
        assert_eq!(parse_service("a.b=x --y z"), Ok(("a.b".into(), vec!["x".into(), "--y".into(), "z".into()])));
        for wrong in ["a", "a=", "a= ", "=x", "a b=x"] {
            assert!(parse_service(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn services_are_written_as_the_name_server_reads_them() {
        let text = configuration(&[("a.b".into(), vec!["x".into(), "q\"uo\\te".into()])]);
        let config = umach_name_server::config::Config::parse(&text, "test").unwrap();
        assert_eq!(config.services["a.b"].job.command, ["x", "q\"uo\\te"]);
        assert_eq!(config.policy.create_server, umach_name_server::policy::Allow::Owner);
    }
}
