//! Lanes' memory: what goes through it means the same as over the socket, and whoever misuses it ends itself.

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use umach_abi::control::{
    Call, Cancel, LaneBell, LaneFlush, LaneMemory, LaneOpen, PortGetSrights, PortInsertRight, PortType, RegionCreate, Reply, phase,
};
use umach_abi::{Code, Disposition, Name, lane};
use umach_link::lane::{Asking, Given, Outcome};
use umach_link::{Mapping, Memory as _};

type Memory = Mapping<{ lane::SIZE }>;

/// A task whose first lane has memory.
struct Shared {
    task: Task,
    fd: OwnedFd,
    memory: Arc<Memory>,
    asking: Asking<Memory>,
}

impl std::ops::Deref for Shared {
    type Target = Task;
    fn deref(&self) -> &Task {
        &self.task
    }
}

fn shared(kernel: &Kernel) -> Shared {
    let task = kernel.task();
    let fd = task.call(&LaneMemory {}).attached.pop().expect("the memory");
    let memory = Arc::new(Memory::sized(&fd).expect("map the memory"));
    Shared { asking: Asking::new(memory.clone()), task, fd, memory }
}

impl Shared {
    fn bell(&self) {
        self.request(&LaneBell {}, 0);
    }
    /// Puts bytes in as a request.
    fn put(&mut self, bytes: &[u8]) {
        if !self.asking.ask(bytes, 0) {
            self.bell();
        }
    }
    fn outcome(&self) -> Outcome {
        let mut outcome = None;
        eventually("the request is answered", || {
            outcome = self.asking.poll().expect("the kernel keeps to the rules");
            outcome.is_some()
        });
        outcome.expect("just seen")
    }
    /// The whole answer.
    fn ask(&mut self, request: &impl Call) -> Vec<u8> {
        let mut bytes = Vec::new();
        request.encode(9, &mut bytes);
        self.put(&bytes);
        let Outcome::Here(len) = self.outcome() else { panic!("the answer is at the socket") };
        let mut answer = vec![0; len];
        self.asking.read(&mut answer);
        answer
    }
    fn ask_elsewhere(&mut self, request: &impl Call) {
        let mut bytes = Vec::new();
        request.encode(9, &mut bytes);
        self.put(&bytes);
        assert_eq!(self.outcome(), Outcome::Elsewhere);
    }
    fn release(&mut self, name: Name) {
        match self.asking.release(name.0) {
            Given::Seen => {}
            Given::Unseen => drop(self.call(&LaneFlush {})),
            Given::Full => panic!("the ring is full"),
        }
    }
    fn word(&self, at: usize) -> &std::sync::atomic::AtomicU32 {
        self.memory.word(at)
    }
    fn kind(&self, name: Name) -> Code {
        self.call(&PortType { task: self.me(), name }).head.status
    }
}

#[test]
fn request_in_memory_is_answered_there_and_one_over_the_socket_over_the_socket() {
    let kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    let name = task.port();
    for _ in 0..300 {
        let answer = task.ask(&PortType { task: task.me(), name });
        let (head, fields) = umach_abi::control::Head::read(&answer).expect("an answer");
        assert_eq!((head.op, head.seq, head.status), (PortType::OP, 9, Code::SUCCESS));
        umach_abi::control::answer::PortType::take(fields).expect("its fields");
        assert_eq!(task.kind(name), Code::SUCCESS);
    }
    task.silent();
}

#[test]
fn answer_that_is_kept_back_comes_over_the_socket_and_can_be_given_up() {
    let kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    let port = task.port();
    task.ask_elsewhere(&receive_request(port, 0));
    task.silent();
    task.request(&Cancel { seq: 9, phases: phase::RECEIVE, interrupted: 0 }, 9);
    assert_eq!(task.answer().head.status, Code::MACH_RCV_TIMED_OUT);
    task.exchange_with_itself();
}

#[test]
fn answer_with_a_descriptor_comes_over_the_socket() {
    let kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    task.ask_elsewhere(&RegionCreate { size: 4096, shared: 0 });
    assert_eq!(task.answer().attached.len(), 1);
    task.exchange_with_itself();
}

#[test]
fn memory_is_given_once_and_not_beyond_the_limit() {
    let kernel = Kernel::start(&["--limits", "task-lane-bytes=32K"]);
    let task = shared(&kernel);
    assert_eq!(task.call(&LaneMemory {}).head.status, Code::KERN_FAILURE);
    let second = Wire::new(task.call(&LaneOpen {}).attached.pop().expect("a lane"));
    assert_eq!(second.call(&LaneMemory {}).head.status, Code::KERN_RESOURCE_SHORTAGE);
    task.exchange_with_itself();
}

#[test]
fn memory_that_cannot_be_made_is_refused_and_can_be_had_later() {
    let kernel = Kernel::start(&["--limits", "task-lane-bytes=32K"]);
    let task = kernel.task();
    task.exchange_with_itself();
    let limit = |descriptors| {
        let limit = Rlimit { current: Some(descriptors), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(kernel.pid()), Resource::Nofile, limit).expect("prlimit")
    };
    // No number is below that, so there are no more descriptors, whatever gaps there are between those that are open.
    let before = limit(0);
    for _ in 0..3 {
        assert_eq!(task.call(&LaneMemory {}).head.status, Code::KERN_RESOURCE_SHORTAGE);
    }
    task.exchange_with_itself();
    limit(before.current.expect("a limit"));
    task.call(&LaneMemory {}).ok::<LaneMemory>();
    task.exchange_with_itself();
}

#[test]
fn memory_ends_with_its_lane_and_may_then_be_had_again() {
    let kernel = Kernel::start(&["--limits", "task-lane-bytes=32K"]);
    let task = kernel.task();
    let maps = || fs::read_to_string(format!("/proc/{}/maps", kernel.child.id())).expect("maps").matches("umach-lane").count();
    for _ in 0..20 {
        let lane = Wire::new(task.call(&LaneOpen {}).attached.pop().expect("a lane"));
        lane.call(&LaneMemory {}).ok::<LaneMemory>();
        assert_eq!(maps(), 1);
        drop(lane);
        eventually("the memory is given back", || maps() == 0);
    }
}

#[test]
fn what_is_released_in_memory_is_gone_before_anything_that_is_asked_later_by_whomever() {
    let kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    let looker = Wire::new(task.call(&LaneOpen {}).attached.pop().expect("a lane"));
    for _ in 0..300 {
        let name = task.port();
        let srights = || looker.call(&PortGetSrights { task: task.me(), name }).ok::<PortGetSrights>().count;
        assert_eq!(srights(), 1);
        task.release(name);
        assert_eq!(looker.call(&PortGetSrights { task: task.me(), name }).ok::<PortGetSrights>().count, 0);
        let insert = PortInsertRight { task: task.me(), name, right: name, disposition: Disposition::MakeSend as u32 };
        task.call(&insert).ok::<PortInsertRight>();
        task.release(name);
        // Its own next request, by the same way.
        let answer = task.ask(&PortGetSrights { task: task.me(), name });
        let (_, fields) = umach_abi::control::Head::read(&answer).expect("an answer");
        assert_eq!(umach_abi::control::answer::PortGetSrights::take(fields).expect("fields").count, 0);
    }
}

#[test]
fn names_that_are_none_are_released_without_harm() {
    let kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    for name in [0, 1, 0x4703, u32::MAX, 0xdead_beef] {
        task.release(Name(name));
    }
    task.call(&LaneFlush {}).ok::<LaneFlush>();
    task.exchange_with_itself();
}

type Misuse = fn(&mut Shared);

/// Each does something that no well-behaved task does.
fn misuses() -> Vec<(&'static str, Misuse)> {
    vec![
        ("a length beyond the memory", |task| {
            task.word(lane::ASKED_LEN).store(u32::MAX, Ordering::Relaxed);
            task.word(lane::ASKED).store(1, Ordering::Release);
            task.bell();
        }),
        ("a number out of turn", |task| {
            task.word(lane::ASKED_LEN).store(16, Ordering::Relaxed);
            task.word(lane::ASKED).store(2, Ordering::Release);
            task.bell();
        }),
        ("a number that runs backwards", |task| {
            task.ask(&LaneFlush {});
            task.ask(&LaneFlush {});
            task.word(lane::ASKED).store(1, Ordering::Release);
            task.bell();
        }),
        ("an impossible number", |task| {
            task.word(lane::ASKED).store(u32::MAX, Ordering::Release);
            task.bell();
        }),
        ("more names than there can be", |task| {
            task.word(lane::RELEASED).store(lane::RELEASES as u32 + 1, Ordering::Release);
            task.bell();
        }),
        ("names that run backwards", |task| {
            task.word(lane::RELEASED).store(u32::MAX, Ordering::Release);
            task.bell();
        }),
        ("garbage in a request", |task| task.put(&[0xff; 64])),
        ("an empty request", |task| task.put(&[])),
        ("half a request", |task| {
            let mut bytes = Vec::new();
            PortType { task: Name(0x103), name: Name(0x103) }.encode(1, &mut bytes);
            task.put(&bytes[..20]);
        }),
        ("a second request in flight", |task| {
            let port = task.port();
            task.ask_elsewhere(&receive_request(port, 0));
            let mut bytes = Vec::new();
            LaneFlush {}.encode(2, &mut bytes);
            task.put(&bytes);
        }),
        ("a request over the socket while one is in flight in memory", |task| {
            let port = task.port();
            task.ask_elsewhere(&receive_request(port, 0));
            task.request(&LaneFlush {}, 2);
        }),
    ]
}

#[test]
fn misuse_of_every_kind_ends_only_its_task() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    for (name, misuse) in misuses() {
        let mut offender = shared(&kernel);
        let second = Wire::new(offender.call(&LaneOpen {}).attached.pop().expect("a lane"));
        misuse(&mut offender);
        eventually(name, || offender.hung_up() && second.hung_up());
        bystander.exchange_with_itself();
    }
    let log = kernel.log();
    assert!(log.contains("lane memory") && log.contains("in flight"), "no blame in the log: {log}");
}

#[test]
fn bell_for_memory_that_is_not_there_ends_its_task() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let offender = kernel.task();
    offender.request(&LaneBell {}, 0);
    offender.closed();
    let early = kernel.connect();
    early.request(&LaneBell {}, 0);
    early.closed();
    bystander.exchange_with_itself();
}

#[test]
fn bells_without_end_keep_nobody_out() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let mut task = shared(&kernel);
    let memory = kernel.status("VmRSS");
    for n in 0..100_000 {
        task.bell();
        if n % 5_000 == 0 {
            bystander.exchange_with_itself();
        }
    }
    task.ask(&LaneFlush {});
    assert!(kernel.status("VmRSS").saturating_sub(memory) < 2048);
    task.exchange_with_itself();
}

#[test]
fn answer_that_nobody_reads_from_memory_stops_only_its_task() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let mut task = shared(&kernel);
    let mut bytes = Vec::new();
    LaneFlush {}.encode(1, &mut bytes);
    for _ in 0..2_000 {
        // Nobody looks at the answers, which are written over.
        task.put(&bytes);
        task.outcome();
    }
    bystander.exchange_with_itself();
    task.exchange_with_itself();
}

#[test]
fn memory_punched_with_holes_while_it_is_used_hurts_only_its_task() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    for _ in 0..10 {
        let task = shared(&kernel);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    fallocate(&task.fd, punch, 0, lane::SIZE as u64).expect("punch a hole");
                }
            });
            let memory = task.memory.clone();
            let mut asking = Asking::new(memory);
            let mut bytes = Vec::new();
            LaneFlush {}.encode(1, &mut bytes);
            for _ in 0..200 {
                let _ = asking.ask(&bytes, 0);
                let _ = asking.release(0x103);
                let mut bell = Vec::new();
                LaneBell {}.encode(0, &mut bell);
                if task.task.send(&bell).is_err() {
                    break; // ended, as it may be
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        bystander.exchange_with_itself();
    }
    kernel.still_serves();
}

#[test]
fn kernel_that_looked_sleeps_when_nobody_asks() {
    let kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    for _ in 0..1_000 {
        task.ask(&LaneFlush {});
    }
    eventually("it says that it looks no more", || task.word(lane::LOOKS).load(Ordering::Acquire) == 0);
    let before = kernel.ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(kernel.ticks() - before <= 1, "{} ticks while nothing happened", kernel.ticks() - before);
}

#[test]
fn kernel_that_ends_tells_who_waits_in_memory() {
    let mut kernel = Kernel::start(&[]);
    let mut task = shared(&kernel);
    let port = task.port();
    task.ask(&LaneFlush {});
    kernel.signal(rustix::process::Signal::TERM);
    kernel.ended();
    let mut bytes = Vec::new();
    receive_request(port, 1).encode(1, &mut bytes);
    // Nobody looks any more, so it would be told over the socket, and finds it closed.
    assert!(!task.asking.ask(&bytes, 0));
    task.closed();
}
