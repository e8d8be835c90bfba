//! `umach doctor`: what this machine offers, what is weaker here, and how to mend it.
//!
//! Each check looks at one thing for itself, by trying it where that is harmless. `ok` is full strength, `warn` is a documented weaker
//! mode, `fail` means umach cannot work.

mod limits;
mod quotas;
mod slow;

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::Result;
use clap::Args;
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::PidfdFlags;
use serde::Serialize;
use umach_abi::Features;

use crate::exit::Exit;
use crate::system::At;
use crate::text::{self, Paint};

/// Checks kernel features, limits and quotas; says what is weaker here, what makes messages slow, and how to fix it.
#[derive(Args)]
#[command(after_help = "\
Of the machine: Linux, what it offers, the limits of processes that are started from here. Of the kernel process at the socket, if \
there is one: its mode, how near its tasks and users are to their quotas, and what held messages up on the links that there are.
Exit code 1 if a check failed (a warning is not a failure).
JSON: an array of {check, state: \"ok\"|\"warn\"|\"fail\", found, means, fix}; `means` and `fix` are null when all is well.

Examples:
  umach doctor
  umach doctor --json | jq '.[] | select(.state != \"ok\")'")]
pub(crate) struct Doctor {
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    /// What that costs.
    means: Option<String>,
    /// What to do about it.
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, state: State::Ok, found: found.into(), means: None, fix: None }
    }
    fn noted(check: &'static str, state: State, found: impl Into<String>, means: &str, fix: &str) -> Finding {
        Finding { check, state, found: found.into(), means: Some(means.to_owned()), fix: Some(fix.to_owned()) }
    }
    fn line(&self, paint: Paint) -> String {
        let state = match self.state {
            State::Ok => paint.green("ok  "),
            State::Warn => paint.yellow("warn"),
            State::Fail => paint.red("fail"),
        };
        let mut out = format!("{state}  {:<18} {}\n", self.check, self.found);
        for (label, note) in [("means", &self.means), ("fix", &self.fix)] {
            if let Some(note) = note {
                out.push_str(&format!("      {label:<18} {note}\n"));
            }
        }
        out
    }
}

impl Doctor {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut findings = vec![linux(), pass_rights(), pidfd(), sealing(), futex_waitv(), landlock()];
        findings.extend(limits::checks());
        findings.extend([runtime_dir(), kernel(&self.at)]);
        findings.extend(quotas::checks(&self.at));
        findings.extend(slow::checks(&self.at));
        if self.json {
            text::print_json(&findings)?;
        } else {
            let paint = Paint::stdout();
            text::print(&findings.iter().map(|finding| finding.line(paint)).collect::<String>())?;
        }
        let failed = findings.iter().any(|finding| finding.state == State::Fail);
        Ok(if failed { Exit::FAILED } else { Exit::DONE })
    }
}

/// Major and minor version of the running Linux.
fn linux_version() -> Option<(u32, u32)> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut parts = release.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn linux() -> Finding {
    const CHECK: &str = "Linux";
    let found = rustix::system::uname().release().to_string_lossy().into_owned();
    match linux_version() {
        Some(version) if version >= (5, 16) => Finding::ok(CHECK, found),
        _ => Finding::noted(CHECK, State::Fail, found, "umach needs Linux 5.16 or later", "install a newer Linux kernel"),
    }
}

fn pass_rights() -> Finding {
    const CHECK: &str = "SO_PASSRIGHTS";
    if linux_version() >= Some((6, 16)) {
        return Finding::ok(CHECK, "descriptors that a task sends up are refused by Linux");
    }
    Finding::noted(
        CHECK,
        State::Warn,
        "absent (it came with Linux 6.16)",
        "a hostile task can send descriptors to the kernel process, and closing one can stall it",
        "use Linux 6.16 or later, or run only tasks that you trust",
    )
}

fn pidfd() -> Finding {
    const CHECK: &str = "pidfd";
    match rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::ok(CHECK, "deaths of tasks are seen at once, whatever they left behind"),
        Err(error) => Finding::noted(
            CHECK,
            State::Warn,
            format!("pidfd_open: {error}"),
            "a task's death shows only as a hang-up, which a hostile task can withhold",
            "allow pidfd_open in the sandbox or container that this runs in",
        ),
    }
}

fn sealing() -> Finding {
    const CHECK: &str = "memfd sealing";
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    let sealed = rustix::fs::memfd_create("umach-doctor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).and_then(|fd| {
        rustix::io::write(&fd, b"x")?;
        rustix::fs::fcntl_add_seals(fd.as_fd(), all)?;
        Ok((rustix::fs::fcntl_get_seals(fd.as_fd())?, rustix::io::write(&fd, b"y")))
    });
    match sealed {
        Ok((seals, Err(rustix::io::Errno::PERM))) if seals.contains(all) => Finding::ok(CHECK, "large messages travel as sealed memory"),
        other => Finding::noted(
            CHECK,
            State::Fail,
            format!("does not hold: {other:?}"),
            "out-of-line memory cannot be given away safely",
            "allow memfd_create and fcntl seals in the sandbox or container that this runs in",
        ),
    }
}

fn futex_waitv() -> Finding {
    const CHECK: &str = "futex_waitv";
    let empty = rustix::thread::futex::WaitvFlags::empty();
    // With nothing to wait on it fails in one of two ways: EINVAL if Linux has it.
    match rustix::thread::futex::waitv(&[], empty, None, rustix::thread::futex::ClockId::Monotonic) {
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Finding::noted(
            CHECK,
            State::Warn,
            "absent",
            "tasks cannot wait for messages over links: set UMACH_DIRECT=off; messages through the kernel process are not affected",
            "use Linux 5.16 or later, and allow futex_waitv in the sandbox or container that this runs in",
        ),
        _ => Finding::ok(CHECK, "several words can be waited on at once"),
    }
}

fn landlock() -> Finding {
    const CHECK: &str = "Landlock";
    // Making a rule set that handles all of a version's accesses asks Linux and restricts nobody.
    let offered = |version: ABI| {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(version));
        rules.and_then(|rules| rules.create()).is_ok()
    };
    match [ABI::V5, ABI::V3, ABI::V1].into_iter().find(|version| offered(*version)) {
        Some(ABI::V5) => Finding::ok(CHECK, "tasks can be confined"),
        Some(version) => Finding::noted(
            CHECK,
            State::Warn,
            format!("version {} only", version as u32),
            "newer kinds of access (truncation, device control) cannot be denied to confined tasks",
            "use Linux 6.10 or later",
        ),
        None => Finding::noted(
            CHECK,
            State::Warn,
            "absent",
            "tasks of one user cannot be kept apart from each other by Landlock",
            "start Linux with `lsm=landlock,...` on its command line, and allow its calls in the container that this runs in",
        ),
    }
}

fn runtime_dir() -> Finding {
    const CHECK: &str = "socket folder";
    let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) else {
        return Finding::noted(
            CHECK,
            State::Warn,
            "XDG_RUNTIME_DIR is not set",
            "the kernel's socket is in /tmp, in a folder of this user that a reboot or a cleaner may remove",
            "log in through a session manager, or export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        );
    };
    let dir = Path::new(&dir);
    let show = dir.display();
    let fix = "let the session manager make it, or: mkdir -m 700 the folder and export XDG_RUNTIME_DIR";
    match std::fs::metadata(dir) {
        Err(error) => {
            Finding::noted(CHECK, State::Fail, format!("XDG_RUNTIME_DIR {show}: {error}"), "the kernel's socket cannot be made there", fix)
        }
        Ok(meta) if !meta.is_dir() => Finding::noted(
            CHECK,
            State::Fail,
            format!("XDG_RUNTIME_DIR {show} is not a folder"),
            "the kernel's socket cannot be made there",
            fix,
        ),
        Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() || meta.permissions().mode() & 0o077 != 0 => Finding::noted(
            CHECK,
            State::Warn,
            format!("{show} belongs to uid {}, mode {:o}", meta.uid(), meta.permissions().mode() & 0o777),
            "others may see into the folder; the kernel makes one of its own below it with mode 700",
            "chmod 700 it, or use the folder of this user",
        ),
        Ok(_) => Finding::ok(CHECK, format!("{show} is this user's alone")),
    }
}

fn kernel(at: &At) -> Finding {
    const CHECK: &str = "umach kernel";
    let path = at.socket();
    let show = path.display();
    if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Finding::ok(CHECK, format!("none at {show}; programs start a private one (to share one: umach kernel &)"));
    }
    match at.connect().and_then(|task| Ok((task.host()?.info()?, task.features()))) {
        Ok((host, features)) => {
            let found = format!("process {} at {show}: {} tasks, {} ports, {} messages sent", host.pid, host.tasks, host.ports, host.sent);
            if features.contains(Features::REFUSES_DESCRIPTORS | Features::PIDFD_DEATH) {
                return Finding::ok(CHECK, found);
            }
            let means = "it runs in a weaker mode: it cannot refuse descriptors, or sees deaths only as hang-ups";
            Finding::noted(CHECK, State::Warn, found, means, "see the lines SO_PASSRIGHTS and pidfd above")
        }
        Err(error) => Finding::noted(
            CHECK,
            State::Warn,
            format!("{error:#}"),
            "programs that expect it there cannot connect",
            "if nothing runs there, `umach kernel &` replaces the stale socket",
        ),
    }
}
