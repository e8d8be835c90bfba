//! A task is killed with SIGKILL at each of its system calls, one run per call, in scenarios that send, call, serve and hold everything
//! there is. After each run: nothing of it is left in the kernel process (rights, names, ports, messages, regions, lanes, descriptors), every
//! right to its ports was reported dead exactly once, its peer's no-senders notice came exactly once, and nobody waited for it in vain.
//!
//! `strace` does the killing (`inject=…:signal=KILL:when=N`): the call does not take place, so the task dies *before* its N-th call of that
//! kind. A kind is done when the task outlives its last call. Where `strace` is missing or may not trace, the tests say so and pass.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtask::local::Direct;
use libtask::raw::HostRow;
use libtask::{Command as TaskCommand, Message, Name, Notification, ReceiveRight, Received, SendRight, Task};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use umach_tests::crash::{
    BULK, ECHO, FILE, GIVE, MOVE, PLAIN, Part, SERVE, SERVE_ON, SHOW, TAKE, can_trace, is_pattern, pattern, pattern_file,
};
use umach_tests::{Chance, Mode, World, eventually};

/// Every kind of call that the victim makes: those that carry the conversation with the kernel process, then memory and descriptors, then those of
/// starting and ending.
#[rustfmt::skip]
const CALLS: &[&str] = &[
    "sendto", "sendmsg", "recvmsg", "recvfrom", "setsockopt", "getsockopt",
    "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "memfd_create", "fcntl", "fstat", "newfstatat", "statx", "write", "read", "lseek", "close",
    "futex", "getrandom", "poll", "openat", "rt_sigaction", "sigaltstack", "prlimit64", "sched_getaffinity", "gettid", "exit_group",
];
/// No scenario makes so many calls of one kind.
const MOST: usize = 400;
const SOON: Duration = Duration::from_secs(20);

#[test]
fn killed_while_sending_leaves_nothing() {
    kill_everywhere(Part::Send);
}

#[test]
fn killed_while_calling_leaves_nothing() {
    kill_everywhere(Part::Call);
}

#[test]
fn killed_while_serving_leaves_nothing_and_its_callers_are_told() {
    kill_everywhere(Part::Serve);
}

#[test]
fn killed_while_holding_everything_leaves_nothing() {
    kill_everywhere(Part::Hold);
}

#[test]
fn killed_while_sending_and_taking_files_leaves_nothing_open() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("list descriptors").count();
    let before = open();
    kill_everywhere(Part::Files);
    // The peers of all runs were in this process.
    eventually("all that victims sent is closed", || open() <= before);
}

/// Over a link no system call takes part, so the victim is stepped through what it does there, and killed after so many instructions. `cargo xtask
/// crash` takes more of them (`UMACH_CRASH_SAMPLES`).
#[test]
fn killed_between_instructions_on_a_link_leaves_nothing() {
    let samples = std::env::var("UMACH_CRASH_SAMPLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10u64);
    let world = World::start_with(Mode::Process, &[], Some(Direct::Always));
    let before = steady(&world);
    let Some(window) = run(&world, Part::Link, Some(Kill::After(u64::MAX))).1 else {
        eprintln!("SKIPPED: stepping through another process is not allowed here");
        return;
    };
    let mut chance = Chance::new(samples);
    for _ in 0..samples {
        let after = chance.below(window);
        run(&world, Part::Link, Some(Kill::After(after)));
        let mut now = steady(&world);
        for _ in 0..2000 {
            if now == before {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            now = steady(&world);
        }
        assert_eq!(now, before, "killed after {after} instructions of {window}: something is left (see `steady`)");
    }
    eprintln!("link: {samples} deaths in {window} instructions");
    world.end();
}

/// When the victim is killed.
#[derive(Debug, Clone, Copy)]
enum Kill {
    /// Before its n-th call of a kind.
    Call(&'static str, usize),
    /// After so many instructions between its two stops.
    After(u64),
}

/// Steps through the victim from its first stop on and kills it after so many instructions; how many there were if it got to its second stop. `None` if it
/// may not be traced.
fn step(pid: u32, after: u64) -> Option<u64> {
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    ptrace::seize(pid, ptrace::Options::empty()).ok()?;
    together(pid);
    let is_stop = |status| matches!(status, WaitStatus::Stopped(_, Signal::SIGSTOP) | WaitStatus::PtraceEvent(_, Signal::SIGSTOP, _));
    let wait = || waitpid(pid, None).expect("wait for the victim");
    while !is_stop(wait()) {
        ptrace::cont(pid, None).expect("let the victim go on");
    }
    let mut steps = 0;
    while steps < after {
        ptrace::step(pid, None).expect("step the victim");
        if is_stop(wait()) {
            ptrace::detach(pid, None).expect("let the victim go");
            return Some(steps);
        }
        steps += 1;
    }
    kill(pid, Signal::SIGKILL).expect("kill the victim");
    Some(steps)
}

/// Keeps the victim and the thread that steps it on one processor: each step is a wake-up for either, and across processors that takes three times as long.
fn together(victim: Pid) {
    let here = nix::sched::sched_getcpu().expect("on some processor");
    let mut one = nix::sched::CpuSet::new();
    one.set(here).expect("its number");
    for who in [Pid::from_raw(0), victim] {
        nix::sched::sched_setaffinity(who, &one).expect("stay there");
    }
}

fn kill_everywhere(part: Part) {
    if !can_trace() {
        return;
    }
    let world = World::start(Mode::Process, &[]);
    let before = steady(&world);
    assert!(run(&world, part, None).0, "{part}: does not work even when nobody is killed");
    let mut runs = 0;
    for call in CALLS {
        for at in 1.. {
            assert!(at < MOST, "{part}: more than {MOST} calls of {call}");
            let survived = run(&world, part, Some(Kill::Call(call, at))).0;
            runs += 1;
            let mut after = before;
            for _ in 0..2000 {
                after = steady(&world);
                if after == before {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(after, before, "{part}, killed before {call} {at}: something is left (see `steady`)");
            if survived {
                break;
            }
        }
    }
    eprintln!("{part}: {runs} runs");
    assert!(runs > CALLS.len() + 10, "{part}: only {runs} runs; was anybody killed?");
    world.end();
}

/// What must be the same after each run.
fn steady(world: &World) -> [u64; 9] {
    let HostRow { tasks, ports, sets, messages, names, regions, lanes, message_bytes, work, .. } = world.host();
    [tasks, ports, sets, messages, regions, lanes]
        .map(u64::from)
        .into_iter()
        .chain([names, message_bytes, work])
        .collect::<Vec<_>>()
        .try_into()
        .expect("nine")
}

/// The peer's side of one run.
struct Peer {
    service: ReceiveRight,
    notify: ReceiveRight,
    /// Rights to ports of the victim's, and how often each was reported dead.
    shown: Vec<SendRight>,
    reported: BTreeMap<Name, usize>,
    /// Requests that came too late, and the send-once notifications that say that their right went unused.
    too_late: usize,
    unused: usize,
    no_senders: usize,
    /// Calls that nobody waits for any more.
    orphaned: usize,
    given: Vec<ReceiveRight>,
    callers: Vec<JoinHandle<()>>,
}

/// Plays one run with a peer of its own; whether the victim lived to its end, and how many instructions it was stepped through.
fn run(world: &World, part: Part, kill: Option<Kill>) -> (bool, Option<u64>) {
    let task = world.task("peer");
    let id = task.id();
    let survived = play(world, &task, part, kill);
    drop(task);
    world.end_task(id);
    survived
}

fn play(world: &World, task: &Task, part: Part, kill: Option<Kill>) -> (bool, Option<u64>) {
    let service = task.new_port().expect("make a port");
    let notify = task.new_port().expect("make a port");
    let mut command = match kill {
        Some(Kill::Call(call, at)) => {
            let inject = format!("inject={call}:signal=KILL:when={at}");
            TaskCommand::new("strace").args(["-qq", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_umach-victim")])
        }
        _ => TaskCommand::new(env!("CARGO_BIN_EXE_umach-victim")),
    };
    command = command.arg(part.to_string()).label(part.to_string());
    let right = service.make_send().expect("make a send right");
    let mut child = task.spawn(command.bootstrap(&right)).expect("start the victim");
    drop(right);
    let previous = service.on_no_senders(&notify).expect("ask for no-senders");
    assert!(previous.is_none());

    let set = task.new_set().expect("make a set");
    set.insert(&service).expect("join a set");
    set.insert(&notify).expect("join a set");
    let mut peer = Peer {
        service,
        notify,
        shown: vec![],
        reported: BTreeMap::new(),
        too_late: 0,
        unused: 0,
        no_senders: 0,
        orphaned: 0,
        given: vec![],
        callers: vec![],
    };
    let pid = child.process.id();
    let mut stepper = match kill {
        Some(Kill::After(after)) => Some(std::thread::spawn(move || step(pid, after))),
        _ => None,
    };
    let mut steps = None;
    let end = Instant::now() + SOON;
    let mut status = None;
    // Until the victim is gone and everything that its end must cause has come.
    while status.is_none() || peer.no_senders == 0 || peer.reported.len() < peer.shown.len() {
        assert!(
            Instant::now() < end,
            "{part} {kill:?}: {status:?}, no-senders {}, {:?} reported of {}",
            peer.no_senders,
            peer.reported,
            peer.shown.len()
        );
        if let Some(done) = stepper.take_if(|stepper| stepper.is_finished()) {
            steps = done.join().expect("the stepper");
            if steps.is_none() {
                // It stopped and nobody goes on with it.
                child.process.kill().expect("kill the victim");
            }
        }
        // Until then it is the stepper who waits for it.
        if status.is_none() && stepper.is_none() {
            status = child.try_wait().expect("look after the victim");
        }
        match set.receive_within(Duration::from_millis(2)) {
            Ok(received) => peer.handle(task, received),
            Err(error) => assert!(error.is_timed_out(), "receiving: {error}"),
        }
    }
    // What has not come by now would be one too many.
    world.settle();
    while let Some(received) = set.try_receive().expect("receive") {
        peer.handle(task, received);
    }
    for caller in peer.callers {
        caller.join().expect("a caller");
    }
    assert_eq!(peer.no_senders, 1, "{part} {kill:?}: no-senders comes once");
    assert_eq!(peer.unused, peer.too_late, "{part} {kill:?}: a request refused gives its send-once right's notification");
    assert!(peer.reported.values().all(|&times| times == 1), "{part} {kill:?}: each death is told once: {:?}", peer.reported);
    let survived = status.expect("it has ended").success();
    assert!(!survived || peer.orphaned == 0, "{part} {kill:?}: a call without a reply right");
    (survived, steps)
}

impl Peer {
    fn handle(&mut self, task: &Task, mut received: Received) {
        if let Some(notification) = received.take_notification() {
            assert!(received.came_on(&self.notify), "{notification:?} where none was asked for");
            match notification {
                Notification::NoSenders { .. } => self.no_senders += 1,
                Notification::DeadName(dead) => {
                    let right = self.shown.iter().find(|right| dead.was(right)).expect("a right that was shown");
                    *self.reported.entry(right.name()).or_default() += 1;
                }
                Notification::SendOnce => self.unused += 1,
                other => panic!("{other:?} was not asked for"),
            }
            return;
        }
        assert!(received.came_on(&self.service));
        match received.id() {
            SHOW => {
                // The port may have died on the way.
                if let Ok(right) = received.take_send(0) {
                    self.watch(right);
                }
            }
            FILE => {
                // What was sent before the message is there, whatever has become of its sender.
                for at in 0..received.parts() {
                    assert!(is_pattern(received.take_file(at).expect("a file")).expect("read it"));
                }
                if received.wants_reply() {
                    let _ = received.reply(Message::new(FILE).file(pattern_file().expect("make a file")));
                }
            }
            PLAIN => assert_eq!(received.bytes(), [1; 40]),
            // Its caller died with the port for the answer before it was received.
            ECHO | TAKE if !received.wants_reply() => self.orphaned += 1,
            ECHO => {
                let body = received.bytes().to_vec();
                let _ = received.reply(Message::new(ECHO).bytes(&body)); // the caller may have died
            }
            TAKE => {
                let answer = Message::new(TAKE).memory(pattern(200_000)).make_send(&self.service);
                let _ = received.reply(answer);
            }
            GIVE => {
                let _own = received.take_send(0).expect("a send right");
                let port = received.take_receive(1).expect("a receive right");
                let queued = port.try_receive().expect("receive").expect("the message that was queued before the port moved");
                assert_eq!(queued.bytes(), b"queued before it moves");
                self.given.push(port);
            }
            BULK => {
                assert!(*received.memory(0).expect("small memory") == pattern(10_000)[..]);
                assert!(*received.memory(1).expect("large memory") == pattern(200_000)[..]);
            }
            SERVE => {
                let Ok(right) = received.take_send(0) else { return };
                for round in 0..2u8 {
                    let right = right.duplicate();
                    let call = move || match right.call_within(Message::new(ECHO).bytes(&[round]), SOON) {
                        Ok(answer) => assert_eq!(answer.bytes(), [round]),
                        Err(error) => assert!(!error.is_timed_out(), "a caller waited in vain: {error}"),
                    };
                    self.callers.push(std::thread::spawn(call));
                }
                self.watch(right);
            }
            SERVE_ON => {
                let Ok(right) = received.take_send(0) else { return };
                let caller = right.duplicate();
                self.callers.push(std::thread::spawn(move || {
                    for round in 0..4u8 {
                        match caller.call_within(Message::new(ECHO).bytes(&[round]), SOON) {
                            Ok(answer) => assert_eq!(answer.bytes(), [round]),
                            Err(error) => return assert!(!error.is_timed_out(), "a caller waited in vain: {error}"),
                        }
                    }
                }));
                self.watch(right);
            }
            MOVE => {
                // The last request was on its way, or is still to come. Then the port dies, as all do that were shown.
                let port = received.take_receive(0).expect("a receive right");
                let mut request = port.receive_within(SOON).expect("the request that comes along");
                assert_eq!(request.bytes(), [3]);
                request.reply(Message::new(ECHO).bytes(&[3])).expect("an answer");
            }
            id => panic!("message {id} from {:?}, task {}", received.sender(), task.id()),
        }
    }

    /// Asks to be told when the port behind a right dies. If it is dead already, that is the one report.
    fn watch(&mut self, right: SendRight) {
        if right.notify_dead(&self.notify).is_err() {
            assert!(right.is_dead().expect("look at a right"), "a notification was refused for a live port");
            self.reported.insert(right.name(), 1);
            self.too_late += 1;
        }
        self.shown.push(right);
    }
}
