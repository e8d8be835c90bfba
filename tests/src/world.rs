//! What a conformance test sees of the world: tasks, and ways to look at them from outside.

use std::cell::RefCell;

use libtask::local::Direct;
use libtask::raw::{HostRow, PortRow};
use libtask::{Code, Disposition, Name, Task};

use crate::kernel::{Kernel, Limit};
use crate::{Mode, eventually};

/// A kernel, and the tasks of a test. Belongs to the test's thread; threads of a test use clones of tasks.
#[derive(Debug)]
pub struct World {
    mode: Mode,
    kernel: Kernel,
    /// A task that only looks. It is there before the first task and after the last.
    observer: Task,
    host_control: Name,
    before: Footprint,
    tasks: RefCell<Vec<Task>>,
}

/// What must be the same before a test and after it.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    tasks: u32,
    ports: u32,
    sets: u32,
    names: u64,
    messages: u32,
    message_bytes: u64,
    regions: u32,
    region_bytes: u64,
    lanes: u32,
    teardown: u64,
    descriptors: Option<usize>,
}

impl World {
    /// A kernel with one task, the observer.
    pub fn start(mode: Mode, limits: &[Limit]) -> World {
        World::start_with(mode, limits, None)
    }

    /// The same, and whether its tasks send to each other directly, whatever the environment says.
    pub fn start_with(mode: Mode, limits: &[Limit], direct: Option<Direct>) -> World {
        let kernel = Kernel::start(mode, limits, direct);
        let observer = kernel.task("observer");
        let host_control = observer.raw().host_control().expect("the host's control right");
        let before = footprint(&kernel, &observer);
        World { mode, kernel, observer, host_control, before, tasks: RefCell::default() }
    }

    /// A second world of the same mode, whose kernel has other limits. Ends with [`World::end`].
    pub fn with_limits(&self, limits: &[Limit]) -> World {
        World::start(self.mode, limits)
    }

    /// Where the test runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The kernel.
    pub fn kernel(&self) -> Kernel {
        self.kernel.clone()
    }

    /// A new task.
    pub fn task(&self, label: &str) -> Task {
        let task = self.kernel.task(label);
        self.tasks.borrow_mut().push(task.clone());
        task
    }

    /// Ends a task that this world made, as if its process had ended. The caller's own clones and rights must be gone: the task's number is
    /// what it is known by.
    pub fn end_task(&self, id: u64) {
        self.tasks.borrow_mut().retain(|task| task.id() != id);
        eventually("the task is gone", || {
            let rows = self.observer.raw().host_tasks(self.host_control).expect("list tasks");
            rows.iter().all(|row| row.task != id)
        });
        self.settle();
    }

    /// The host's own figures.
    pub fn host(&self) -> HostRow {
        look(&self.observer)
    }

    /// The port behind a receive right of `task`, seen from outside.
    pub fn port(&self, task: &Task, name: Name) -> PortRow {
        let rows = self.observer.raw().host_ports(self.host_control).expect("list ports");
        *rows.iter().find(|row| row.receiver == task.id() && row.name == name).expect("the port is listed")
    }

    /// Gives `to` a right of `from`, by extracting it; for tests whose subject is something else. The name is `to`'s.
    pub fn pass(&self, from: &Task, name: Name, disposition: Disposition, to: &Task) -> Name {
        let space = to.raw();
        let host = space.host_control().expect("the host's control right");
        let control = space.host_task(host, from.id()).expect("a task's control right");
        let (passed, _) = space.of(control).port_extract_right(name, disposition).expect("extract a right");
        space.port_deallocate(control).expect("drop a task's control right");
        space.port_deallocate(host).expect("drop the host's control right");
        passed
    }

    /// Waits until the kernel has done all outstanding teardown. What has not come by then does not come.
    pub fn settle(&self) {
        eventually("teardown is done", || self.host().work == 0);
    }

    /// Checks that nothing is waiting on a receive right or set, and that nothing is still on its way there.
    #[track_caller]
    pub fn assert_silent(&self, task: &Task, name: Name) {
        self.settle();
        assert_eq!(task.raw().receive(name, 0).map(|message| message.header()), Err(Code::MACH_RCV_TIMED_OUT), "nothing may come");
    }

    /// Waits until so many threads of `task` are blocked in a send.
    pub fn await_blocked_sends(&self, task: &Task, count: u32) {
        eventually("threads block in a send", || task.raw().task_info().expect("task info").blocked_sends == count);
    }

    /// Waits until so many threads of `task` are blocked in a receive.
    pub fn await_blocked_receives(&self, task: &Task, count: u32) {
        eventually("threads block in a receive", || task.raw().task_info().expect("task info").blocked_receives == count);
    }

    /// Ends all tasks and checks that they left nothing, then ends the kernel.
    pub fn end(self) {
        self.kernel.check();
        self.tasks.borrow_mut().clear();
        let mut after = None;
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while after.as_ref() != Some(&self.before) {
            assert!(std::time::Instant::now() < end, "left behind:\nbefore {:?}\nafter  {:?}", self.before, after);
            std::thread::sleep(std::time::Duration::from_millis(1));
            after = Some(footprint(&self.kernel, &self.observer));
        }
        drop(self.observer);
        self.kernel.end();
    }
}

fn look(observer: &Task) -> HostRow {
    let space = observer.raw();
    space.host_info(space.host_self()).expect("host info")
}

fn footprint(kernel: &Kernel, observer: &Task) -> Footprint {
    let host = look(observer);
    Footprint {
        tasks: host.tasks,
        ports: host.ports,
        sets: host.sets,
        names: host.names,
        messages: host.messages,
        message_bytes: host.message_bytes,
        regions: host.regions,
        region_bytes: host.region_bytes,
        lanes: host.lanes,
        teardown: host.work,
        descriptors: kernel.descriptors(),
    }
}
