//! Tasks that are processes: `Task::spawn`.
//!
//! The kernel process makes the task and its first lane before there is a process, so the spawner can set it up (bootstrap, registered
//! rights) and holds its control right from the start. The child finds the lane in `UMACH_LANE`, and what it says first completes the
//! task.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{self, ExitStatus};

use umach_abi::control::TaskCreate;
use umach_abi::control::create_flags::NO_INHERIT;
use umach_abi::{Code, Name};

use crate::control::TaskControl;
use crate::error::{Error, Result};
use crate::right::SendRight;
use crate::sys;
use crate::task::Task;
use crate::transport::{Attached, Link};

/// The variable that tells a child the number of its lane's descriptor.
pub const LANE_VARIABLE: &str = "UMACH_LANE";
/// The variable that tells which socket that is (its inode), so that a number left over from elsewhere is not taken for one.
pub const LANE_INODE_VARIABLE: &str = "UMACH_LANE_INODE";

/// A program to start as a task: a [`std::process::Command`] and what the task is given.
pub struct Command {
    command: process::Command,
    label: Option<String>,
    bootstrap: Option<SendRight>,
    registered: Option<[Option<SendRight>; 3]>,
    inherit: bool,
    kill_on_drop: bool,
    new_session: bool,
}

/// A spawned task and its process. Dropping it leaves both running, unless [`Command::kill_on_drop`] was set.
#[derive(Debug)]
pub struct Child {
    control: TaskControl,
    /// The process.
    pub process: process::Child,
    kill_on_drop: bool,
}

impl Command {
    /// Starts `program`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::from(process::Command::new(program))
    }
    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.command.arg(arg);
        self
    }
    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.command.args(args);
        self
    }
    /// Sets a variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.command.env(key, value);
        self
    }
    /// Sets the directory to run in.
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Command {
        self.command.current_dir(dir);
        self
    }
    /// The process's own settings: descriptors, environment, user.
    pub fn process(&mut self) -> &mut process::Command {
        &mut self.command
    }
    /// Names the task for people; the program's file name if not set.
    pub fn label(mut self, label: impl Into<String>) -> Command {
        self.label = Some(label.into());
        self
    }
    /// Gives it another bootstrap port than the spawner's.
    pub fn bootstrap<I: ?Sized>(mut self, right: &SendRight<I>) -> Command {
        self.bootstrap = Some(right.duplicate().untyped());
        self
    }
    /// Gives it other registered rights than the spawner's.
    pub fn registered(mut self, rights: [Option<&SendRight>; 3]) -> Command {
        self.registered = Some(rights.map(|right| right.map(SendRight::duplicate)));
        self
    }
    /// Starts it with nothing of the spawner's: no bootstrap and no registered rights but those set here.
    pub fn inherit_nothing(mut self) -> Command {
        self.inherit = false;
        self
    }
    /// Starts it in a session of its own, without a controlling terminal.
    pub fn new_session(mut self) -> Command {
        self.new_session = true;
        self
    }
    /// Ends the task when its [`Child`] is dropped.
    pub fn kill_on_drop(mut self) -> Command {
        self.kill_on_drop = true;
        self
    }
}

impl From<process::Command> for Command {
    fn from(command: process::Command) -> Command {
        Command { command, label: None, bootstrap: None, registered: None, inherit: true, kill_on_drop: false, new_session: false }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

impl Task {
    /// Starts a program as a new task, whose control right comes back.
    pub fn spawn(&self, command: Command) -> Result<Child> {
        let Command { mut command, label, bootstrap, registered, inherit, kill_on_drop, new_session } = command;
        let label = label.unwrap_or_else(|| default_label(command.get_program()));
        let (control, lane) = self.create_task(&label, inherit)?;
        let Attached::Fd(lane) = lane else {
            return Err(Error::mach(Code::KERN_NOT_SUPPORTED, "spawning a process from a task of an in-process kernel"));
        };
        // From here on a task without a process exists: any failure ends it.
        let started = (|| {
            let lane = sys::process::above_standard(lane).map_err(|e| Error::io("moving a new task's lane", e))?;
            if let Some(right) = &bootstrap {
                control.set_bootstrap(Some(right))?;
            }
            if let Some(rights) = &registered {
                control.register([rights[0].as_ref(), rights[1].as_ref(), rights[2].as_ref()])?;
            }
            let inode = sys::process::inode(&lane).map_err(|e| Error::io("looking at a new task's lane", e))?;
            command.env(LANE_VARIABLE, lane.as_raw_fd().to_string()).env(LANE_INODE_VARIABLE, inode.to_string());
            sys::process::inherit(&mut command, &lane, new_session);
            command.spawn().map_err(|e| Error::io("starting a task's program", e))
        })();
        match started {
            Ok(process) => Ok(Child { control, process, kill_on_drop }),
            Err(error) => {
                // It never ran; nothing more can be done if this fails too.
                let _ = control.terminate();
                Err(error)
            }
        }
    }

    /// A new logical task of the same in-process kernel, as [`Task::spawn`] makes processes: it inherits bootstrap and registered rights.
    pub fn spawn_local(&self, label: &str) -> Result<(Task, TaskControl)> {
        let (control, lane) = self.create_task(label, true)?;
        Ok((Task::hello(Link::from_attached(lane))?, control))
    }

    pub(crate) fn create_task(&self, label: &str, inherit: bool) -> Result<(TaskControl, Attached)> {
        let what = "making a task";
        let flags = if inherit { 0 } else { NO_INHERIT };
        let call = TaskCreate { flags, label: label.as_bytes() };
        let (control, lane): (Name, _) = self.ask(what, &call, |answer, attached| (answer.control, attached.pop()))?;
        let control = TaskControl::new(SendRight::adopt(self, control));
        match lane {
            Some(lane) => Ok((control, lane)),
            None => {
                // The descriptor did not fit into this process's table.
                control.terminate()?;
                Err(Error::io(what, std::io::Error::from_raw_os_error(libc::EMFILE)))
            }
        }
    }
}

fn default_label(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
    let mut end = name.len().min(umach_abi::limits::LABEL_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

impl Child {
    /// The task's control right.
    pub fn control(&self) -> &TaskControl {
        &self.control
    }
    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
    /// Waits for the process to end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait().map_err(|e| Error::io("waiting for a task's process", e))
    }
    /// Whether the process has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().map_err(|e| Error::io("looking at a task's process", e))
    }
    /// Takes the task's rights away, kills its process and waits for that.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        // Gone already is as good.
        let _ = self.control.terminate();
        let _ = self.process.kill();
        self.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // A process that cannot be waited for was waited for already.
            let _ = self.kill();
        }
    }
}
