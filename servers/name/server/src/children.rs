//! Processes of jobs: started, seen dying, reaped.
//!
//! A child is a task, so its death is a dead-name notification of its control right. The kernel process ends a task when its process
//! is dead, or when it broke the protocol or hung up; in the latter cases the process may still run, and is killed. Either way it is waited for
//! without blocking, with a timer only while one is dying. No zombie is left and no process without its task.
//!
//! A start waits until its program has been read and set up, and whose program that is may make that take for ever (a file system in user space that does not
//! answer). So each start has a thread to itself ([`Starters`]), which says by a message when it is done; a job has at most one.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use libtask::spawn::{Child, Command};
use libtask::{Message, ReceiveRight, SendRight, Task};
use umach_abi::Name;
use umach_abi::limits::LABEL_MAX;
use umach_name_api::SERVICE_VARIABLE;

use crate::config::{Identity, JobConfig};
use crate::job::Ending;
use crate::registry::jobs::JobId;
use crate::starters::Starters;

/// What other users' commands find programs in.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Pause between looks at a process that is dying.
const PAUSE: Duration = Duration::from_millis(20);
/// What services get to end by themselves when the name server ends.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Running {
    job: JobId,
    child: Child,
    /// Its task is gone; since then it must be reaped.
    dying: bool,
}

/// A child's task and process, or why there is none.
pub(crate) type Spawned = Result<(u64, u32), String>;

/// What a start came to.
struct Started {
    job: JobId,
    child: Result<Child, String>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Children {
    running: Vec<Running>,
    next_look: Option<Duration>,
    starters: Starters,
    /// Starts under way.
    starting: usize,
    tell: Sender<Started>,
    told: Receiver<Started>,
    /// Where a start that is done sends an empty message.
    bell: SendRight,
}

impl Children {
    /// None yet.
    pub(crate) fn new(bell: SendRight) -> Children {
        let (tell, told) = channel();
        Children { running: Vec::new(), next_look: None, starters: Starters::new(), starting: 0, tell, told, bell }
    }
    /// Begins to spawn a job's command; [`Children::started`] gives what came of it.
    pub(crate) fn start(&mut self, task: &Task, bootstrap: &SendRight, job: JobId, name: &str, config: &JobConfig) {
        self.starting += 1;
        let (task, tell, bell) = (task.clone(), self.tell.clone(), self.bell.duplicate());
        let command = command(bootstrap, name, config);
        let spawn = move || {
            let child =
                command.and_then(|(program, command)| task.spawn(command).map_err(|error| format!("cannot run {program:?}: {error}")));
            match tell.send(Started { job, child }) {
                // A bell whose queue is full has been rung.
                Ok(()) => drop(bell.try_send(Message::new(0))),
                // The name server has ended meanwhile.
                Err(unheard) => end_unheard(unheard.0),
            }
        };
        if let Err(error) = self.starters.start(spawn) {
            let child = Err(format!("cannot make a thread to start it in: {error}"));
            // Both ends are here.
            let _ = self.tell.send(Started { job, child });
            let _ = self.bell.try_send(Message::new(0));
        }
    }
    /// The starts that are done: task and process of each job, or why there is none.
    pub(crate) fn started(&mut self, notify: &ReceiveRight) -> Vec<(JobId, Spawned)> {
        let done: Vec<Started> = self.told.try_iter().collect();
        self.starting -= done.len();
        done.into_iter().map(|Started { job, child }| (job, child.map(|child| self.watch(job, child, notify)))).collect()
    }
    fn watch(&mut self, job: JobId, child: Child, notify: &ReceiveRight) -> (u64, u32) {
        // A child that is dead already cannot be asked about; it is reaped all the same.
        let watched = child.control().right().notify_dead(notify).and_then(|_request| child.control().info());
        let dying = watched.is_err();
        let started = (watched.map_or(0, |info| info.task), child.pid());
        self.running.push(Running { job, child, dying });
        if dying {
            self.next_look = Some(Duration::ZERO);
        }
        started
    }
    /// Kills a job's process.
    pub(crate) fn kill(&mut self, job: JobId) {
        for running in self.running.iter_mut().filter(|running| running.job == job) {
            // Its death is noticed like any other.
            let _ = running.child.process.kill();
        }
    }
    /// A port died. Whether it was a child's control port.
    pub(crate) fn task_died(&mut self, control: Name) -> bool {
        let Some(running) = self.running.iter_mut().find(|running| running.child.control().right().name() == control) else {
            return false;
        };
        running.dying = true;
        self.next_look = Some(Duration::ZERO);
        true
    }
    /// When [`Children::reap`] should be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.next_look
    }
    /// Reaps what has ended.
    pub(crate) fn reap(&mut self, now: Duration) -> Vec<(JobId, Ending)> {
        let mut ended = Vec::new();
        if self.next_look.is_none_or(|at| at > now) {
            return ended;
        }
        self.running.retain_mut(|running| {
            if !running.dying {
                return true;
            }
            match running.child.process.try_wait() {
                Ok(None) => {
                    // No task any more, so it serves nobody.
                    let _ = running.child.process.kill();
                    true
                }
                Ok(Some(status)) => {
                    ended.push((running.job, Ending { clean: status.success(), how: how(status) }));
                    false
                }
                Err(error) => {
                    ended.push((running.job, Ending { clean: false, how: format!("was lost: {error}") }));
                    false
                }
            }
        });
        self.next_look = self.running.iter().any(|running| running.dying).then(|| now + PAUSE);
        ended
    }
    /// Asks all to end, kills those that do not, and reaps them.
    pub(crate) fn end_all(&mut self) {
        let pid = |running: &Running| rustix::process::Pid::from_raw(running.child.pid() as i32);
        for pid in self.running.iter().filter_map(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while !(self.running.is_empty() && self.starting == 0) && started.elapsed() < GRACE {
            for unheard in self.told.try_iter() {
                self.starting -= 1;
                end_unheard(unheard);
            }
            self.running.retain_mut(|running| matches!(running.child.process.try_wait(), Ok(None)));
            if !(self.running.is_empty() && self.starting == 0) {
                std::thread::sleep(PAUSE);
            }
        }
        for mut running in self.running.drain(..) {
            let _ = running.child.process.kill();
            let _ = running.child.process.wait();
        }
    }
}

/// A process that nobody wants any more.
fn end_unheard(started: Started) {
    if let Ok(mut child) = started.child {
        // Ended already is as good.
        let _ = child.kill();
    }
}

/// A job's command, with its program's name for people.
fn command(bootstrap: &SendRight, name: &str, config: &JobConfig) -> Result<(String, Command), String> {
    let (program, arguments) = config.command.split_first().ok_or("its command is empty")?;
    let mut command = std::process::Command::new(program);
    if let Identity::OtherUser { uid, gid } = config.identity {
        // Without supplementary groups: std clears them when root changes the user.
        command.env_clear().env("PATH", PATH).uid(uid).gid(gid).stdout(Stdio::null()).stderr(Stdio::null());
    }
    command.args(arguments).envs(&config.env).env(SERVICE_VARIABLE, name).stdin(Stdio::null());
    if let Some(directory) = &config.directory {
        command.current_dir(directory);
    }
    let mut command = Command::from(command).label(label(name)).bootstrap(bootstrap);
    if config.identity != Identity::NameServer {
        command = command.registered([None, None, None]).new_session();
    }
    Ok((program.clone(), command))
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended: {status}"),
    }
}

/// The service's name as a task's label: cut where a label has to end.
fn label(name: &str) -> &str {
    &name[..name.floor_char_boundary(LABEL_MAX)]
}
