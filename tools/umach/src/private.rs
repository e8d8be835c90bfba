//! A system of our own, for `run` and `demo`: a kernel process, a name server, and what else is wanted, each a process beside this one.
//!
//! The kernel listens in a private folder, so that programs further down (a shell's children, say) can reach it through `UMACH_SOCKET`; a lane
//! serves one task only. Every process is told to end with this one, so nothing survives it, however it ends; what an orderly end
//! additionally removes is the folder. The processes are in groups of their own: Ctrl-C at the terminal is for the program that is run.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtask::spawn::{self, Child};
use libtask::{SendRight, Task};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use umach_name_api::{Names, Ready};

use crate::exit::complain;
use crate::system::{Guardian, NAME_SERVER, publish_name_server};

/// How long a process may take to start before something must be wrong.
const START: Duration = Duration::from_secs(10);
/// How long a kernel may take to end in order.
const END: Duration = Duration::from_secs(5);

/// A private system. Ends when dropped; [`Private::end`] says how that went.
pub(crate) struct Private {
    task: Task,
    names: Option<SendRight>,
    servers: Vec<(String, Child)>,
    kernel: Process,
    socket: PathBuf,
    folder: Option<TempDir>,
}

impl Private {
    /// Starts a kernel and connects to it.
    pub(crate) fn start(label: &str) -> Result<Private> {
        let closed = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("umach-").permissions(closed).tempdir().context("make a private folder")?;
        let socket = folder.path().join("socket");
        let (kernel, ready) = start_kernel(&socket, label)?;
        let mut guard = Unstarted(Some(kernel));
        wait_ready(ready).context("the kernel process did not start")?;
        let task = Task::connect(&socket)?;
        task.set_label(label)?;
        let kernel = guard.0.take().context("the kernel process is held until here")?;
        Ok(Private { task, names: None, servers: Vec::new(), kernel, socket, folder: Some(folder) })
    }
    /// Our own task in it.
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }
    /// Where the kernel listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
    /// The private folder, for what else must be gone afterwards.
    pub(crate) fn folder(&self) -> &Path {
        self.socket.parent().unwrap_or(&self.socket)
    }
    /// The kernel's process id.
    pub(crate) fn kernel_pid(&self) -> u32 {
        self.kernel.id()
    }
    /// The name server's right, once there is one.
    pub(crate) fn names(&self) -> Result<Names> {
        Ok(Names::at(self.names.as_ref().context("the name server is started first")?.duplicate()))
    }

    /// Starts a name server, and makes it the bootstrap port of all that comes after. Returns its process id.
    pub(crate) fn start_name_server(&mut self, config: Option<&Path>) -> Result<u32> {
        let ready = Ready::new(&self.task)?;
        let mut command = self.own_command(["serve", "name"]);
        if let Some(config) = config {
            command = command.arg("--config").arg(config);
        }
        let pid = self.start_task(NAME_SERVER, command.bootstrap(&ready.bootstrap()?))?;
        let names = ready.wait(START).context("the name server did not start")?;
        self.task.set_bootstrap(names.right())?;
        let right = names.right().duplicate().untyped();
        publish_name_server(&self.task, &right)?;
        self.names = Some(right);
        Ok(pid)
    }
    /// Starts a file server that exports `folder` as `name`, and waits for it. Returns its process id.
    pub(crate) fn start_file_server(&mut self, name: &str, folder: &Path) -> Result<u32> {
        let command = self.own_command(["serve", "file", "--name", name]).arg(folder);
        let pid = self.start_task(&format!("file-server {name}"), command)?;
        self.names()?.look_up_within(name, START).with_context(|| format!("the file server for {} did not start", folder.display()))?;
        Ok(pid)
    }
    /// This very program with these arguments, as a process that ends with us.
    pub(crate) fn own_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> spawn::Command {
        let mut command = spawn::Command::new(own_program()).args(arguments).args(Guardian::arguments());
        command.process().process_group(0).stdin(Stdio::null()).env("UMACH_SOCKET", &self.socket);
        command
    }
    /// Starts a task that ends with this system. Returns its process id.
    pub(crate) fn start_task(&mut self, name: &str, command: spawn::Command) -> Result<u32> {
        let child = self.task.spawn(command.label(name)).with_context(|| format!("start {name}"))?;
        let pid = child.pid();
        self.servers.push((name.to_owned(), child));
        Ok(pid)
    }
    /// A task that was started here.
    pub(crate) fn child(&mut self, name: &str) -> Option<&mut Child> {
        self.servers.iter_mut().find(|(known, _)| known == name).map(|(_, child)| child)
    }

    /// Ends the tasks that were started here, last first: in order, since a name server ends the services that it started.
    pub(crate) fn end_tasks(&mut self) {
        while let Some((name, mut child)) = self.servers.pop() {
            if let Err(error) = end_process(&mut child.process) {
                complain(&format!("{name}: {error:#}"));
            }
        }
    }
    /// Ends everything: tasks, kernel, folder.
    pub(crate) fn end(mut self) -> Result<()> {
        self.end_all()
    }

    fn end_all(&mut self) -> Result<()> {
        let Some(folder) = self.folder.take() else { return Ok(()) };
        self.end_tasks();
        let ended = end_process(&mut self.kernel).context("end the kernel process");
        let clean = if self.socket.exists() { Err(anyhow::anyhow!("the kernel process left its socket behind")) } else { Ok(()) };
        folder.close().context("remove the private folder")?;
        ended.and(clean)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = self.end_all() {
            complain(&format!("{error:#}"));
        }
    }
}

/// The program that is running, also if its file was replaced meanwhile.
fn own_program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => PathBuf::from("/proc/self/exe"),
    }
}

/// A kernel process that nobody has taken over yet: ended if that does not happen.
struct Unstarted(Option<Process>);

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(mut kernel) = self.0.take()
            && let Err(error) = end_process(&mut kernel)
        {
            complain(&format!("{error:#}"));
        }
    }
}

fn start_kernel(socket: &Path, label: &str) -> Result<(Process, PipeReader)> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let mut command = Command::new(own_program());
    command.arg("kernel").args(Guardian::arguments()).arg("--socket").arg(socket).args(["--label", label]);
    command.arg("--ready-fd").arg(writer.as_raw_fd().to_string());
    if std::env::var_os("UMACH_LOG").is_none() {
        command.args(["--log", "warn"]);
    }
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    for variable in [spawn::LANE_VARIABLE, spawn::LANE_INODE_VARIABLE] {
        command.env_remove(variable);
    }
    // The child gets the write end by number. Nothing else is started between these two lines.
    rustix::io::fcntl_setfd(&writer, FdFlags::empty())?;
    let kernel = command.spawn().context("start the kernel process")?;
    Ok((kernel, reader))
}

/// Waits for the line `ready`.
fn wait_ready(mut reader: PipeReader) -> Result<()> {
    let mut line = Vec::new();
    let until = Instant::now() + START;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "it did not say that it is ready within {START:?}");
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let mut piece = [0; 16];
        let count = reader.read(&mut piece)?;
        line.extend_from_slice(&piece[..count]);
        if line.contains(&b'\n') {
            return Ok(());
        }
        ensure!(count > 0, "it ended at once; its own message is above");
    }
}

/// Asks a process to end, and makes it end if it takes too long.
fn end_process(process: &mut Process) -> Result<()> {
    if process.try_wait()?.is_some() {
        return Ok(());
    }
    if let Some(pid) = Pid::from_raw(process.id() as i32) {
        kill_process(pid, Signal::TERM)?;
    }
    let until = Instant::now() + END;
    while process.try_wait()?.is_none() {
        if Instant::now() > until {
            process.kill()?;
            process.wait()?;
            anyhow::bail!("it did not end on SIGTERM within {END:?} and was killed");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
