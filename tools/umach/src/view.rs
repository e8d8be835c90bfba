//! A look at everything a kernel process holds, for the listings: its tasks with their labels, its ports, a task's rights.
//!
//! Listings are taken page by page while the system goes on; a task that ends meanwhile is left out, and that is no error.

use anyhow::{Context, Result, bail};
use libtask::{HostControl, Task, TaskControl};
use umach_abi::records::{HeldRow, PortRow, TaskRow, WaitRow};

use crate::foreign::line;
use crate::ids::{TaskNumber, Who};
use crate::plane::Plane;
use crate::system::At;

/// A task and what people call it.
#[derive(Debug, Clone)]
pub(crate) struct Labelled {
    pub(crate) row: TaskRow,
    pub(crate) label: String,
}

/// The tasks as they were, and the right to ask for more.
pub(crate) struct View {
    host: HostControl,
    pub(crate) tasks: Vec<Labelled>,
    /// Our own task, which is gone when the listing is read.
    own: Task,
}

impl View {
    /// Looks into the system at `at`.
    pub(crate) fn open(at: &At) -> Result<View> {
        let task = at.connect()?;
        let host = task.host_control().context("looking at all tasks takes the kernel's own user or root")?;
        View::of(&task, host)
    }
    /// Looks as this task, which holds the host's control right.
    pub(crate) fn with(task: &Task) -> Result<View> {
        View::of(task, task.host_control()?)
    }
    fn of(task: &Task, host: HostControl) -> Result<View> {
        let own = task.clone();
        let mut tasks = Vec::new();
        for row in host.tasks()? {
            let label = host.task(row.task).and_then(|control| control.label()).unwrap_or_default();
            tasks.push(Labelled { row, label });
        }
        tasks.sort_by_key(|task| task.row.task);
        Ok(View { host, tasks, own })
    }
    /// All tasks but our own.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Labelled> {
        self.tasks.iter().filter(|task| task.row.task != self.own.id())
    }
    /// Our own task.
    pub(crate) fn own_task(&self) -> &Task {
        &self.own
    }
    /// Looks again.
    pub(crate) fn again(&self) -> Result<View> {
        View::of(&self.own, HostControl::from_right(self.host.right().duplicate()))
    }
    /// Threads that wait in the kernel process.
    pub(crate) fn waits(&self) -> Result<Vec<WaitRow>> {
        Ok(self.host.waits()?)
    }
    /// Rights that are in no space.
    pub(crate) fn held(&self) -> Result<Vec<HeldRow>> {
        Ok(self.host.held()?)
    }
    /// All ports.
    pub(crate) fn ports(&self) -> Result<Vec<PortRow>> {
        Ok(self.host.ports()?)
    }
    /// All links and routes, as the kernel process lists them.
    pub(crate) fn plane(&self) -> Result<Plane> {
        Plane::list(&self.host)
    }
    /// The same with what stands in the links' memory.
    pub(crate) fn plane_inside(&self) -> Result<Plane> {
        Plane::look(&self.host)
    }
    /// The tasks that `who` means: one task, or all tasks of a process. Never none.
    pub(crate) fn find(&self, who: Who) -> Result<Vec<&Labelled>> {
        let wanted = |task: &&Labelled| match who {
            Who::Task(id) => task.row.task == id,
            Who::Pid(pid) => task.row.pid == pid,
        };
        let found: Vec<&Labelled> = self.tasks.iter().filter(wanted).collect();
        match who {
            Who::Task(id) if found.is_empty() => bail!("no task {} (umach ps lists them)", TaskNumber(id)),
            Who::Pid(pid) if found.is_empty() => bail!("process {pid} has no task at this kernel (umach ps lists them)"),
            _ => Ok(found),
        }
    }
    /// A task's control right.
    pub(crate) fn control(&self, task: &Labelled) -> Result<TaskControl> {
        self.host.task(task.row.task).with_context(|| format!("task {} has ended", TaskNumber(task.row.task)))
    }
    /// What people call a task; empty if it has no label, or is gone.
    pub(crate) fn label(&self, id: u64) -> &str {
        self.tasks.iter().find(|task| task.row.task == id).map_or("", |task| &task.label)
    }
    /// `T3 name`, or `-` for no task.
    pub(crate) fn name(&self, id: u64) -> String {
        format!("{} {}", TaskNumber(id), line(self.label(id))).trim_end().to_owned()
    }
}
