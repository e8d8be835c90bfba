//! Processes of jobs: started, seen dying, reaped.
//!
//! A child is a task, so its death is a dead-name notification of its control right. The kernel process ends a task when its process
//! is dead, or when it broke the protocol or hung up; in the latter cases the process may still run, and is killed. Either way it is waited for
//! without blocking, with a timer only while one is dying. No zombie is left and no process without its task.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtask::spawn::{Child, Command};
use libtask::{ReceiveRight, SendRight, Task};
use std::os::unix::process::CommandExt;
use umach_abi::Name;
use umach_abi::limits::LABEL_MAX;
use umach_name_api::SERVICE_VARIABLE;

use crate::config::{Identity, JobConfig};
use crate::job::Ending;
use crate::registry::jobs::JobId;

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

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Children {
    running: Vec<Running>,
    next_look: Option<Duration>,
}

impl Children {
    /// Spawns a job's command; gives its task and process.
    pub(crate) fn start(
        &mut self,
        task: &Task,
        bootstrap: &SendRight,
        notify: &ReceiveRight,
        job: JobId,
        name: &str,
        config: &JobConfig,
    ) -> Result<(u64, u32), String> {
        let (program, arguments) = config.command.split_first().ok_or("its command is empty")?;
        let cannot = |error: &dyn std::fmt::Display| format!("cannot run {program:?}: {error}");
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
        let child = task.spawn(command).map_err(|error| cannot(&error))?;
        // A child that is dead already cannot be asked about; it is reaped all the same.
        let watched = child.control().right().notify_dead(notify).and_then(|_request| child.control().info());
        let dying = watched.is_err();
        let started = (watched.map_or(0, |info| info.task), child.pid());
        self.running.push(Running { job, child, dying });
        if dying {
            self.next_look = Some(Duration::ZERO);
        }
        Ok(started)
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
        while !self.running.is_empty() && started.elapsed() < GRACE {
            self.running.retain_mut(|running| matches!(running.child.process.try_wait(), Ok(None)));
            if !self.running.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        for mut running in self.running.drain(..) {
            let _ = running.child.process.kill();
            let _ = running.child.process.wait();
        }
    }
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
