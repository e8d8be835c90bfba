//! Processes of a measurement, and what Linux tells about them.
//!
//! A child gets its sockets as standard input and output, which needs no unsafe code and leaves nothing to inherit by accident.

use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use libtask::{Disposition, Name, ReceiveRight, SendRight, Task};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use umach_abi::control::PortConstruct;
use umach_abi::limits::LABEL_MAX;

use crate::child::COMMAND;
use crate::wire::Wire;

/// How long a child may take to come up, or to answer anything but a measured exchange.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long each end of a measurement waits for the other. A server waits as long as its client lives: others have their turns meanwhile.
pub(crate) fn patience(is_server: bool) -> Duration {
    if is_server { Duration::MAX } else { PATIENCE }
}

static VIA: OnceLock<Vec<String>> = OnceLock::new();

/// Says what stands before the work on this program's command line.
pub(crate) fn set_via(via: &[&str]) {
    // Once: a process runs one work.
    let _ = VIA.set(via.iter().map(|part| (*part).to_owned()).collect());
}

/// Set in the process that measures.
const SESSION: &str = "UMACH_BENCH_SESSION";

/// Starts this program again, with the same arguments, in a session of its own that goes before everything else on this machine, as far as this user
/// may; gives its exit code. `None`: this is that process.
///
/// Linux shares the processors between sessions, so what a busy machine does elsewhere comes between any two steps of a measurement. A session of its own
/// can be put first without touching the user's, and ends with the measurement.
pub(crate) fn in_own_session() -> Result<Option<ExitCode>> {
    if std::env::var_os(SESSION).is_some() {
        die_with_parent()?;
        rustix::process::setsid().context("starting a session")?;
        return Ok(None);
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(SESSION, "1");
    let status = command.status().context("starting this program again in a session of its own")?;
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)))
}

/// Puts this session first; says whether that was permitted.
pub(crate) fn go_first() -> bool {
    // Where Linux does not group by session, only the second exists; where it does, only the first counts.
    let group = std::fs::write("/proc/self/autogroup", "-20");
    let own = rustix::process::nice(-20);
    own.is_ok() && group.map_or_else(|why| why.kind() == ErrorKind::NotFound, |()| true)
}

/// Whatever ends the bench, its children end with it: a kernel and its idle tasks would wait for each other for ever.
pub(crate) fn die_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking to end with the parent")
}

/// Stops a process where it is.
pub(crate) fn stop(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)
}

/// Lets it go on.
pub(crate) fn go_on(pid: u32) -> Result<()> {
    signal(pid, Signal::CONT)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process without a number")?;
    kill_process(id, signal).with_context(|| format!("sending a signal to process {pid}"))
}

/// Shows on a terminal what is being done.
pub(crate) fn progress(what: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // Only for people who watch.
        let _ = write!(terminal, "\r\x1b[K{what}");
        let _ = terminal.flush();
    }
}

/// A child, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process(std::process::Child);

impl Process {
    /// Starts this program again in a role.
    pub(crate) fn start(role: &[&str], input: impl Into<Stdio>, output: impl Into<Stdio>) -> Result<Process> {
        let mut command = Command::new("/proc/self/exe");
        command.args(VIA.get().into_iter().flatten()).arg(COMMAND).args(role).stdin(input).stdout(output);
        // A measured kernel does not check itself.
        command.env("UMACH_CHECK", "0");
        command.spawn().map(Process).with_context(|| format!("starting this program again as {}", role[0]))
    }
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
    /// Waits until it has ended, as it was told to; but not for long.
    pub(crate) fn end_by_itself(&mut self) {
        let _ = go_on(self.pid());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    /// Kills it, and does not wait for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill().context("killing a child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.kill();
        let _ = self.0.wait();
    }
}

/// A pair of sockets that keep packets apart.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).context("making a socket pair")
}

/// This process's standard input, as a descriptor of its own.
pub(crate) fn input() -> Result<OwnedFd> {
    rustix::stdio::stdin().try_clone_to_owned().context("taking standard input over")
}

/// A kernel process of its own, and this process as its first task.
pub(crate) struct Kernel {
    process: Process,
    pub(crate) task: Task,
    meeting: ReceiveRight,
}

/// Limits under which a million rights, a hundred thousand ports and a thousand tasks fit.
const LIMITS: &str = "task-ports=4M,task-names=8M,task-notifications=4M,user-tasks=8K,user-factor=64";

/// Whether tasks of a kernel talk to each other directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direct {
    Off,
    Always,
    /// After some messages.
    Auto,
}

impl Kernel {
    pub(crate) fn start(direct: Direct) -> Result<Kernel> {
        let (ours, theirs) = pair()?;
        let mode = match direct {
            Direct::Off => "off",
            Direct::Always => "always",
            Direct::Auto => "auto",
        };
        let role = ["kernel", "--lane", "0", "--exit-when-idle", "--log", "error", "--limits", LIMITS, "--direct", mode];
        let process = Process::start(&role, theirs, Stdio::null())?;
        let task = Task::from_lane(ours)?;
        let meeting = task.new_port()?;
        Ok(Kernel { process, task, meeting })
    }
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A task in this process, with the library.
    pub(crate) fn client(&self, label: &str, bootstrap: &SendRight) -> Result<Task> {
        Ok(Task::from_lane(self.create(label, bootstrap)?.1)?)
    }

    /// A new task without a process, whose bootstrap port is `bootstrap`: its control right's name, and its lane.
    fn create(&self, label: &str, bootstrap: &SendRight) -> Result<(Name, OwnedFd)> {
        self.task.set_bootstrap(bootstrap)?;
        let (control, _, lane) = self.task.raw().task_create(0, label)?;
        Ok((control, lane.ok_or_else(|| anyhow!("a new task came without its lane"))?))
    }

    /// The lane of a new task.
    pub(crate) fn lane(&self, label: &str, bootstrap: &SendRight) -> Result<OwnedFd> {
        Ok(self.create(label, bootstrap)?.1)
    }

    /// A task in this process.
    pub(crate) fn wire(&self, label: &str, bootstrap: &SendRight) -> Result<Wire> {
        Wire::hello(self.create(label, bootstrap)?.1)
    }

    /// A task in this process that receives on a port: the port's name there, and a right to send to it.
    pub(crate) fn wire_server(&self, label: &str) -> Result<(Wire, Name, SendRight)> {
        let (control, lane) = self.create(label, &self.nowhere()?)?;
        let mut wire = Wire::hello(lane)?;
        let port = wire.ask(&PortConstruct { task: wire.task_self, flags: 0, qlimit: 0, context: 0 })?.name;
        let (right, _) = self.task.raw().of(control).port_extract_right(port, Disposition::MakeSend)?;
        Ok((wire, port, SendRight::from_raw(&self.task, right)))
    }

    /// A task in a process of its own. Its first message, sent to its bootstrap port, carries a right to send to it.
    pub(crate) fn child(&self, role: &[&str]) -> Result<(Process, SendRight)> {
        let (_, lane) = self.create(&role.join(" ").chars().take(LABEL_MAX).collect::<String>(), &self.meeting.make_send()?)?;
        let process = Process::start(role, lane, Stdio::null())?;
        let mut hello = self.meeting.receive_within(PATIENCE).with_context(|| format!("waiting for the task {}", role[0]))?;
        let right = hello.take_send(0)?;
        Ok((process, right))
    }

    /// A right that leads nowhere in particular, for tasks that want no bootstrap.
    pub(crate) fn nowhere(&self) -> Result<SendRight> {
        Ok(self.meeting.make_send()?)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        let statm = read(self.pid(), "statm")?;
        let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).context("reading statm")?;
        Ok(pages * rustix::param::page_size() as f64)
    }

    /// Processor time used: clock ticks, nanoseconds, and how often it went to sleep.
    pub(crate) fn usage(&self) -> Result<[u64; 3]> {
        let stat = read(self.pid(), "stat")?;
        let after_name = stat.rsplit_once(") ").context("reading stat")?.1;
        let ticks = after_name.split(' ').skip(11).take(2).map(|n| n.parse::<u64>()).sum::<Result<u64, _>>()?;
        let nanoseconds = read(self.pid(), "schedstat")?.split(' ').next().context("reading schedstat")?.parse()?;
        let status = read(self.pid(), "status")?;
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).context("reading status")?;
        Ok([ticks, nanoseconds, sleeps.trim().parse()?])
    }
}

/// How often the threads of a process went to sleep, or had to leave the CPU to others, so far.
pub(crate) fn sleeps(pid: u32) -> Result<u64> {
    let mut count = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("listing the threads of process {pid}"))? {
        let status = std::fs::read_to_string(thread?.path().join("status")).context("reading a thread's status")?;
        let switches = status.lines().filter(|line| line.contains("voluntary_ctxt_switches:"));
        count += switches.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(count)
}

/// A file about a process.
pub(crate) fn read(pid: u32, what: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{what}");
    std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}
