//! Tasks that are processes of their own: who they are, how they die, and that a quiet system sleeps.

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use rustix::process::{Pid, Signal, kill_process};
use umach_abi::control::{
    HostControl, HostInfo, PortRequestNotification, RegionCreate, TaskCreate, TaskInfo, TaskResume, TaskSetSpecialPort, TaskSuspend,
    TaskTerminate,
};
use umach_abi::records::{HostRow, TaskRow};
use umach_abi::rights::special;
use umach_abi::{Code, Disposition, Name, notify};

/// A process that plays a part of this file; killed when dropped.
struct Actor {
    child: Child,
}

impl Actor {
    /// `lane` becomes its standard input.
    fn start(part: &str, lane: &OwnedFd) -> Actor {
        let stdin = Stdio::from(lane.try_clone().expect("duplicate"));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["part", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("UMACH_TEST_PART", part)
            .stdin(stdin)
            .stdout(Stdio::null())
            .spawn()
            .expect("start an actor");
        Actor { child }
    }
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signal");
    }
    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("state")
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of every actor. Run by the other tests only.
#[test]
#[ignore = "a process that the other tests start"]
fn part() {
    let part = std::env::var("UMACH_TEST_PART").expect("UMACH_TEST_PART: this is started by the other tests");
    let lane = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
    let task = Wire::new(lane).hello();
    let bootstrap = task.hello.bootstrap;
    assert_eq!(task.post(bootstrap, &std::process::id().to_le_bytes(), 0), Code::SUCCESS);
    match part.as_str() {
        "sleep" => std::thread::sleep(DEADLINE),
        "post" => (0..20u32).for_each(|n| assert_eq!(task.post(bootstrap, &n.to_le_bytes(), 0), Code::SUCCESS)),
        other => panic!("no such part: {other}"),
    }
}

/// A task of the test, the control right of a child made by it, the port on which the child's messages come, and the child.
struct Family {
    parent: Task,
    control: Name,
    task: u64,
    port: Name,
    lane: OwnedFd,
    actor: Actor,
}

fn family(kernel: &Kernel, part: &str) -> Family {
    let parent = kernel.task();
    let port = parent.port();
    let me = parent.me();
    parent.call(&TaskSetSpecialPort { task: me, which: special::BOOTSTRAP, right: port }).ok::<TaskSetSpecialPort>();
    let mut packet = parent.call(&TaskCreate { flags: 0, label: b"child" });
    let made = packet.ok::<TaskCreate<'_>>();
    let (control, task) = (made.control, made.task);
    let lane = packet.attached.pop().expect("a lane");
    let actor = Actor::start(part, &lane);
    Family { parent, control, task, port, lane, actor }
}

impl Family {
    /// The child's first message: its process id, and what the kernel says it is.
    fn greeted(&self) {
        let (_, body) = self.parent.take(self.port);
        assert_eq!(body, self.actor.child.id().to_le_bytes());
        let row = self.row().expect("alive");
        assert_eq!((row.task, row.pid), (self.task, self.actor.child.id()));
        assert_eq!(row.uid, rustix::process::getuid().as_raw());
    }
    fn row(&self) -> Option<TaskRow> {
        let packet = self.parent.call(&TaskInfo { task: self.control });
        (packet.head.status == Code::SUCCESS).then(|| TaskRow::read(packet.ok::<TaskInfo>().row).expect("row"))
    }
    /// Asks to be told when the child's control port dies.
    fn watch(&self) -> Name {
        let port = self.parent.port();
        let me = self.parent.me();
        let (id, disposition) = (notify::DEAD_NAME, Disposition::MakeSendOnce as u32);
        self.parent
            .call(&PortRequestNotification { task: me, name: self.control, id: id as u32, sync: 0, notify: port, disposition })
            .ok::<PortRequestNotification>();
        port
    }
    fn told_of_death(&self, port: Name) {
        assert_eq!(self.parent.take(port).0.id, notify::DEAD_NAME);
        assert!(self.row().is_none());
    }
}

#[test]
fn process_given_a_lane_is_the_task() {
    let kernel = Kernel::start(&[]);
    let family = family(&kernel, "sleep");
    assert_eq!(family.row().expect("made").task, family.task);
    family.greeted();
}

#[test]
fn process_killed_ends_its_task_although_its_lane_is_held_open() {
    let kernel = Kernel::start(&[]);
    let family = family(&kernel, "sleep");
    family.greeted();
    let watch = family.watch();
    family.actor.signal(Signal::KILL);
    family.told_of_death(watch);
    Wire::new(family.lane.try_clone().expect("duplicate")).closed();
}

#[test]
fn task_terminated_is_killed() {
    let kernel = Kernel::start(&[]);
    let mut family = family(&kernel, "sleep");
    family.greeted();
    let watch = family.watch();
    family.parent.call(&TaskTerminate { task: family.control }).ok::<TaskTerminate>();
    family.told_of_death(watch);
    eventually("the process ends", || family.actor.child.try_wait().expect("wait").is_some());
}

#[test]
fn task_made_and_never_started_ends_with_the_last_descriptor_of_its_lane() {
    let kernel = Kernel::start(&[]);
    let parent = kernel.task();
    let mut packet = parent.call(&TaskCreate { flags: 0, label: b"stillborn" });
    let control = packet.ok::<TaskCreate<'_>>().control;
    parent.call(&TaskInfo { task: control }).ok::<TaskInfo>();
    packet.attached.clear();
    eventually("the task ends", || parent.call(&TaskInfo { task: control }).head.status != Code::SUCCESS);
}

#[test]
fn task_suspended_stops_and_resumed_goes_on() {
    let kernel = Kernel::start(&[]);
    let family = family(&kernel, "sleep");
    family.greeted();
    family.parent.call(&TaskSuspend { task: family.control }).ok::<TaskSuspend>();
    eventually("the process stops", || family.actor.state() == 'T');
    family.parent.call(&TaskResume { task: family.control }).ok::<TaskResume>();
    eventually("the process goes on", || family.actor.state() != 'T');
}

#[test]
fn peer_stopped_by_a_signal_delays_nobody() {
    let kernel = Kernel::start(&[]);
    let family = family(&kernel, "post");
    family.greeted();
    family.actor.signal(Signal::STOP);
    eventually("the process stops", || family.actor.state() == 'T');
    for _ in 0..20 {
        kernel.still_serves();
    }
    family.actor.signal(Signal::CONT);
    for n in 0..20u32 {
        assert_eq!(family.parent.take(family.port).1, n.to_le_bytes());
    }
}

#[test]
fn death_with_big_memory_and_many_ports_leaves_the_kernel_as_it_was() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let round = || {
        let task = kernel.task();
        for _ in 0..200 {
            task.port();
        }
        for _ in 0..4 {
            let packet = task.call(&RegionCreate { size: 4 << 20, shared: 0 });
            rustix::io::pwrite(&packet.attached[0], &[1; 65536], 0).expect("write");
        }
        drop(task);
        bystander.exchange_with_itself();
    };
    let settled = || {
        let packet = bystander.call(&HostInfo { host: bystander.hello.host });
        let row = HostRow::read(packet.ok::<HostInfo>().row).expect("row");
        (row.tasks, row.regions, row.lanes, row.work) == (1, 0, 1, 0)
    };
    round();
    eventually("the first task is cleaned up", settled);
    // The thread that frees big memory has been started now; it stays.
    let (descriptors, memory) = (kernel.settled_descriptors(), kernel.status("VmRSS"));
    for _ in 0..20 {
        round();
    }
    eventually("every task is cleaned up", settled);
    eventually("no descriptor is left", || kernel.descriptors() == descriptors);
    let grown = kernel.status("VmRSS").saturating_sub(memory);
    assert!(grown < 2048, "{grown} KiB more after 20 deaths");
}

#[test]
fn idle_kernel_does_not_wake() {
    let kernel = Kernel::start(&[]);
    let tasks: Vec<Task> = (0..30).map(|_| kernel.task()).collect();
    for task in &tasks {
        let port = task.port();
        task.request(&receive_request(port, 0), 1);
    }
    assert!(tasks[0].hello.host.is_valid() && kernel.task().call(&HostControl {}).head.status == Code::SUCCESS);
    let counters = || (kernel.status("voluntary_ctxt_switches"), kernel.status("nonvoluntary_ctxt_switches"), kernel.ticks());
    let mut before = counters();
    eventually("the kernel has done all there was", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = counters();
        std::mem::replace(&mut before, now) == now
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(counters(), before);
}
