//! Rights to tasks and to the host: what a spawner and a monitor hold.

use umach_abi::control::{
    HostFileLanes, HostHeld, HostInfo, HostLinkMap, HostLinks, HostPorts, HostRoutes, HostTask, HostTasks, HostWaits, PortNames,
    PortSpaceInfo, TaskInfo, TaskLabel, TaskResume, TaskSetLabel, TaskSuspend, TaskTerminate,
};
use umach_abi::records::{FileLaneRow, HeldRow, HostRow, LinkRow, NameRow, PortRow, RouteRow, SpaceRow, TaskRow, WaitRow};
use umach_abi::rights::special;
use umach_abi::{Code, Name};

use crate::error::{Error, Result};
use crate::look::LinkSnapshot;
use crate::raw;
use crate::right::SendRight;
use crate::transport::Attached;

/// The control right of a task: whoever holds it can look into the task, change its rights, stop it and end it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TaskControl {
    right: SendRight,
}

/// The host right: tells what the kernel process is. Every task has it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Host {
    right: SendRight,
}

/// The host's control right: shows every task, port and link, and gives the tasks' control rights.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HostControl {
    right: SendRight,
}

macro_rules! kernel_object {
    ($($Right:ident),*) => {$(
        impl $Right {
            pub(crate) fn new(right: SendRight) -> $Right {
                $Right { right }
            }
            /// Takes a send right that came in a message for what it is. Whether it is shows when it is used.
            pub fn from_right(right: SendRight) -> $Right {
                $Right { right }
            }
            /// The right: sending it gives what it can do.
            pub fn right(&self) -> &SendRight {
                &self.right
            }
            /// Only the right.
            pub fn into_right(self) -> SendRight {
                self.right
            }
        }
    )*};
}
kernel_object!(TaskControl, Host, HostControl);

fn row<T>(what: &'static str, read: Option<T>) -> Result<T> {
    read.ok_or(Error::mach(Code::KERN_FAILURE, what))
}

impl TaskControl {
    fn name(&self) -> Name {
        self.right.name()
    }
    fn ask<C: umach_abi::control::Call>(&self, what: &'static str, call: &C) -> Result<()> {
        self.right.task().ask_on(what, &self.right.held, call, |_, _| ())
    }
    /// Counts, limits and identity.
    pub fn info(&self) -> Result<TaskRow> {
        let what = "reading a task's information";
        let read =
            self.right.task().ask_on(what, &self.right.held, &TaskInfo { task: self.name() }, |answer, _| TaskRow::read(answer.row))?;
        row(what, read)
    }
    /// The label.
    pub fn label(&self) -> Result<String> {
        let call = TaskLabel { task: self.name() };
        self.right
            .task()
            .ask_on("reading a task's label", &self.right.held, &call, |answer, _| String::from_utf8_lossy(answer.label).into_owned())
    }
    /// Changes the label.
    pub fn set_label(&self, label: &str) -> Result<()> {
        self.ask("labelling a task", &TaskSetLabel { task: self.name(), label: label.as_bytes() })
    }
    /// Takes all its rights away at once and kills its process.
    pub fn terminate(&self) -> Result<()> {
        self.ask("ending a task", &TaskTerminate { task: self.name() })
    }
    /// Stops its process; counts.
    pub fn suspend(&self) -> Result<()> {
        self.ask("suspending a task", &TaskSuspend { task: self.name() })
    }
    /// Undoes one suspension.
    pub fn resume(&self) -> Result<()> {
        self.ask("resuming a task", &TaskResume { task: self.name() })
    }
    /// Sets, or with `None` takes away, its bootstrap port.
    pub fn set_bootstrap(&self, right: Option<&SendRight>) -> Result<()> {
        self.right.task().set_special("setting a task's bootstrap port", self.name(), special::BOOTSTRAP, right)
    }
    /// Sets its three registered rights.
    pub fn register(&self, rights: [Option<&SendRight>; 3]) -> Result<()> {
        self.right.task().register_for(self.name(), rights)
    }
    /// Its names and what they stand for.
    pub fn names(&self) -> Result<Vec<NameRow>> {
        self.pages("listing a task's names", |start| {
            let call = PortNames { task: self.name(), start };
            self.right.task().ask_on("listing a task's names", &self.right.held, &call, |answer, _| {
                (answer.next, NameRow::all(answer.rows).collect::<Vec<_>>())
            })
        })
    }
    /// Its whole space in detail.
    pub fn space(&self) -> Result<Vec<SpaceRow>> {
        self.pages("listing a task's rights", |start| {
            let call = PortSpaceInfo { task: self.name(), start };
            self.right.task().ask_on("listing a task's rights", &self.right.held, &call, |answer, _| {
                (answer.next, SpaceRow::all(answer.rows).collect::<Vec<_>>())
            })
        })
    }
    fn pages<T>(&self, what: &'static str, page: impl Fn(u32) -> Result<(u32, Vec<T>)>) -> Result<Vec<T>> {
        pages(what, page)
    }
    /// Mach's own calls on that task's space.
    pub fn raw(&self) -> raw::Space<'_> {
        self.right.task().raw().of(self.name())
    }
}

/// Collects the pages of a listing. The world goes on between two pages; a listing that does not move on is cut.
fn pages<T>(what: &'static str, page: impl Fn(u32) -> Result<(u32, Vec<T>)>) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    let mut start = 0;
    loop {
        let (next, mut more) = page(start)?;
        rows.append(&mut more);
        if next == 0 {
            return Ok(rows);
        }
        if next <= start {
            return Err(Error::mach(Code::KERN_FAILURE, what));
        }
        start = next;
    }
}

impl Host {
    /// Version, features, counts.
    pub fn info(&self) -> Result<HostRow> {
        let what = "reading the host's information";
        let call = HostInfo { host: self.right.name() };
        let read = self.right.task().ask_on(what, &self.right.held, &call, |answer, _| HostRow::read(answer.row))?;
        row(what, read)
    }
}

impl HostControl {
    /// Every task.
    pub fn tasks(&self) -> Result<Vec<TaskRow>> {
        pages("listing tasks", |start| {
            let call = HostTasks { host: self.right.name(), start };
            self.right
                .task()
                .ask_on("listing tasks", &self.right.held, &call, |answer, _| (answer.next, TaskRow::all(answer.rows).collect::<Vec<_>>()))
        })
    }
    /// Every port.
    pub fn ports(&self) -> Result<Vec<PortRow>> {
        pages("listing ports", |start| {
            let call = HostPorts { host: self.right.name(), start };
            self.right
                .task()
                .ask_on("listing ports", &self.right.held, &call, |answer, _| (answer.next, PortRow::all(answer.rows).collect::<Vec<_>>()))
        })
    }
    /// Every link between two tasks.
    pub fn links(&self) -> Result<Vec<LinkRow>> {
        pages("listing links", |start| {
            let call = HostLinks { host: self.right.name(), start };
            self.right
                .task()
                .ask_on("listing links", &self.right.held, &call, |answer, _| (answer.next, LinkRow::all(answer.rows).collect::<Vec<_>>()))
        })
    }
    /// Every route over a link, those included that have ended and are not closed yet.
    pub fn routes(&self) -> Result<Vec<RouteRow>> {
        pages("listing routes", |start| {
            let call = HostRoutes { host: self.right.name(), start };
            self.right.task().ask_on("listing routes", &self.right.held, &call, |answer, _| {
                (answer.next, RouteRow::all(answer.rows).collect::<Vec<_>>())
            })
        })
    }
    /// Every file lane.
    pub fn file_lanes(&self) -> Result<Vec<FileLaneRow>> {
        pages("listing file lanes", |start| {
            let call = HostFileLanes { host: self.right.name(), start };
            self.right.task().ask_on("listing file lanes", &self.right.held, &call, |answer, _| {
                (answer.next, FileLaneRow::all(answer.rows).collect::<Vec<_>>())
            })
        })
    }
    /// Every right that is in no space: in messages on their way, and kept for tasks (bootstrap and registered ports, exception handlers, ports that traces go to).
    pub fn held(&self) -> Result<Vec<HeldRow>> {
        let what = "listing rights outside of spaces";
        let mut rows = Vec::new();
        for kind in [1, 2] {
            let mut start = 0;
            loop {
                let call = HostHeld { host: self.right.name(), what: kind, start };
                let (next, page) = self
                    .right
                    .task()
                    .ask_on(what, &self.right.held, &call, |answer, _| (answer.next, HeldRow::all(answer.rows).collect::<Vec<_>>()))?;
                rows.extend(page);
                // By message, then by right in it.
                let order = |at: u64| (at as u32, at >> 32);
                match next {
                    0 => break,
                    next if order(next) <= order(start) => return Err(Error::mach(Code::KERN_FAILURE, what)),
                    next => start = next,
                }
            }
        }
        Ok(rows)
    }
    /// Every thread that waits in the kernel process. Those that wait at links are in [`LinkSnapshot`].
    pub fn waits(&self) -> Result<Vec<WaitRow>> {
        pages("listing waiting threads", |start| {
            let call = HostWaits { host: self.right.name(), start };
            self.right.task().ask_on("listing waiting threads", &self.right.held, &call, |answer, _| {
                (answer.next, WaitRow::all(answer.rows).collect::<Vec<_>>())
            })
        })
    }
    /// What the two tasks of a link say in its memory. `KERN_NOT_FOUND` if it is over.
    pub fn link_snapshot(&self, link: u64) -> Result<LinkSnapshot> {
        let what = "looking at a link";
        let call = HostLinkMap { host: self.right.name(), link };
        let Some(Attached::Fd(memory)) = self.right.task().ask_on(what, &self.right.held, &call, |_, attached| attached.pop())? else {
            return Err(Error::mach(Code::KERN_RESOURCE_SHORTAGE, what));
        };
        LinkSnapshot::read(&memory.into()).map_err(|source| Error::io("reading a link's memory", source))
    }
    /// Sets, or with `None` takes away, the bootstrap port that tasks get which come through the listening socket.
    pub fn set_bootstrap(&self, right: Option<&SendRight>) -> Result<()> {
        self.right.task().set_special("setting the host's bootstrap port", self.right.name(), special::BOOTSTRAP, right)
    }
    /// The control right of the task with this id.
    pub fn task(&self, id: u64) -> Result<TaskControl> {
        let call = HostTask { host: self.right.name(), task: id };
        let name = self.right.task().ask_on("looking a task up", &self.right.held, &call, |answer, _| answer.control)?;
        Ok(TaskControl::new(SendRight::adopt(self.right.task(), name)))
    }
    /// Version, features, counts.
    pub fn info(&self) -> Result<HostRow> {
        Host::new(self.right.duplicate()).info()
    }
}
