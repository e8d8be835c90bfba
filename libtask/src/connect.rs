//! Finding a kernel process, or starting a private one.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use umach_kernel::config::{SOCKET_VARIABLE, socket_path};

use crate::error::{Error, Result};
use crate::spawn::{LANE_INODE_VARIABLE, LANE_VARIABLE};
use crate::sys;
use crate::task::Task;

/// `std`'s lock, for it is held over a fork: one that keeps a list of waiters may, in the child, hand itself over to a thread that is not there.
static CURRENT: Mutex<Option<Task>> = Mutex::new(None);

/// What [`Task::current`] gives is not changed while this is held.
pub(crate) fn hold_current() -> MutexGuard<'static, Option<Task>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`Task::current`].
pub(crate) fn current() -> Result<Task> {
    let mut current = hold_current();
    if let Some(task) = &*current {
        task.check_fork()?;
        return Ok(task.clone());
    }
    let task = find()?;
    *current = Some(task.clone());
    Ok(task)
}

fn find() -> Result<Task> {
    let named = std::env::var_os(SOCKET_VARIABLE).is_some_and(|value| !value.is_empty());
    if let Some(lane) = inherited_lane() {
        match Task::from_lane(lane) {
            // A lane is one task's. A shell hands the same one to each program that it starts, and all but the first find it used up.
            Err(Error::KernelGone) if named => {}
            done => return done,
        }
    }
    let path = socket_path();
    let why = match at(&path) {
        Ok(task) => return Ok(task),
        Err(Error::NoKernel { why }) => why,
        Err(e) => return Err(e),
    };
    // A socket that was named on purpose is meant.
    if named {
        return Err(Error::NoKernel { why });
    }
    if std::env::var_os("UMACH_PRIVATE").is_some_and(|value| value == "0") {
        return Err(Error::NoKernel { why: format!("{why}, and UMACH_PRIVATE=0 forbids a private one") });
    }
    let task = private_kernel()?;
    eprintln!("umach: no kernel process at {}; started a private one, which ends with its last task", path.display());
    Ok(task)
}

/// The lane that the spawner left here. A number from elsewhere (a variable that was passed on to a grandchild) does not match.
fn inherited_lane() -> Option<OwnedFd> {
    let number = |variable| std::env::var(variable).ok()?.parse::<u64>().ok();
    let fd = i32::try_from(number(LANE_VARIABLE)?).ok()?;
    sys::process::adopt(fd, number(LANE_INODE_VARIABLE))
}

pub(crate) fn at(path: &Path) -> Result<Task> {
    let absent = |why: String| Error::NoKernel { why: format!("{}: {why}", path.display()) };
    check_directory(path).map_err(absent)?;
    let address = SocketAddrUnix::new(path).map_err(|e| absent(format!("not a socket's path: {e}")))?;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::io("making a socket", e))?;
    loop {
        match rustix::net::connect(&fd, &address) {
            Ok(()) => return Task::from_lane(fd),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(absent(e.to_string())),
        }
    }
}

/// Whoever can put a socket there is this task's kernel: so only this user, root, or a directory that only they can write to.
fn check_directory(path: &Path) -> Result<(), String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let seen = std::fs::metadata(directory).map_err(|e| e.to_string())?;
    let user = rustix::process::geteuid().as_raw();
    if seen.uid() != user && seen.uid() != 0 {
        return Err(format!("{} belongs to user {}, who could pretend to be the kernel process", directory.display(), seen.uid()));
    }
    if seen.mode() & 0o022 != 0 {
        return Err(format!("others can write to {}, and could pretend to be the kernel process", directory.display()));
    }
    Ok(())
}

/// See [`Task::private_kernel`].
pub(crate) fn private_kernel() -> Result<Task> {
    let (program, verb) = kernel_program()?;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::io("making a socket pair", e))?;
    let theirs = sys::process::above_standard(theirs).map_err(|e| Error::io("moving a private kernel's lane", e))?;
    let mut command = Command::new(&program);
    command.args(verb).args(["--lane", &theirs.as_raw_fd().to_string(), "--exit-when-idle"]);
    if std::env::var_os("UMACH_LOG").is_none() {
        command.args(["--log", "warn"]);
    }
    // Ctrl-C at the terminal is for its tasks; it ends with the last of them.
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).env_remove(LANE_VARIABLE).env_remove(LANE_INODE_VARIABLE);
    sys::process::inherit(&mut command, &theirs, false);
    let failed = |why: String| Error::NoKernel { why: format!("{}: {why}", program.display()) };
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    drop(theirs);
    match Task::from_lane(ours) {
        Ok(task) => {
            reap(child);
            Ok(task)
        }
        Err(e) => {
            let _ = child.kill();
            let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
            Err(failed(format!("{e} ({status})")))
        }
    }
}

/// Keeps the private kernel as this process's child and collects those that have ended, without a thread or a signal handler.
fn reap(child: std::process::Child) {
    static KERNELS: parking_lot::Mutex<Vec<std::process::Child>> = parking_lot::Mutex::new(Vec::new());
    let mut kernels = KERNELS.lock();
    kernels.retain_mut(|kernel| matches!(kernel.try_wait(), Ok(None)));
    kernels.push(child);
}

/// The kernel's program and its verb.
fn kernel_program() -> Result<(PathBuf, &'static [&'static str])> {
    let named = |path: PathBuf| -> (PathBuf, &'static [&'static str]) {
        let verb: &[&str] = if path.file_name().is_some_and(|name| name == "umach") { &["kernel"] } else { &[] };
        (path, verb)
    };
    if let Some(path) = std::env::var_os("UMACHD").filter(|path| !path.is_empty()) {
        return Ok(named(path.into()));
    }
    let mut places = Vec::new();
    if let Some(beside) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(beside.to_owned());
        // Tests and examples live one folder further down.
        places.extend(beside.parent().filter(|_| beside.ends_with("deps") || beside.ends_with("examples")).map(Path::to_owned));
    }
    if let Some(path) = std::env::var_os("PATH") {
        places.extend(std::env::split_paths(&path));
    }
    for program in ["umachd", "umach"] {
        if let Some(found) = places.iter().map(|place| place.join(program)).find(|path| path.is_file()) {
            return Ok(named(found));
        }
    }
    Err(Error::NoKernel { why: "neither umachd nor umach is beside this program or in PATH, and UMACHD does not name one".into() })
}
