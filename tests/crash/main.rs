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

use libtask::raw::HostRow;
use libtask::{Command as TaskCommand, Message, Name, Notification, ReceiveRight, Received, SendRight, Task};
use umach_tests::crash::{BULK, ECHO, GIVE, Part, SERVE, SHOW, TAKE, can_trace, pattern};
use umach_tests::{Mode, World};

/// Every kind of call that the victim makes: those that carry the conversation with the kernel process, then memory and descriptors, then those of
/// starting and ending.
#[rustfmt::skip]
const CALLS: &[&str] = &[
    "sendto", "recvmsg", "recvfrom", "setsockopt", "getsockopt",
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

fn kill_everywhere(part: Part) {
    if !can_trace() {
        return;
    }
    let world = World::start(Mode::Process, &[]);
    let before = steady(&world);
    assert!(run(&world, part, None), "{part}: does not work even when nobody is killed");
    let mut runs = 0;
    for call in CALLS {
        for at in 1.. {
            assert!(at < MOST, "{part}: more than {MOST} calls of {call}");
            let survived = run(&world, part, Some((call, at)));
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
    given: Vec<ReceiveRight>,
    callers: Vec<JoinHandle<()>>,
}

/// Plays one run with a peer of its own; whether the victim lived to its end.
fn run(world: &World, part: Part, kill: Option<(&str, usize)>) -> bool {
    let task = world.task("peer");
    let id = task.id();
    let survived = play(world, &task, part, kill);
    drop(task);
    world.end_task(id);
    survived
}

fn play(world: &World, task: &Task, part: Part, kill: Option<(&str, usize)>) -> bool {
    let service = task.new_port().expect("make a port");
    let notify = task.new_port().expect("make a port");
    let mut command = match kill {
        Some((call, at)) => {
            let inject = format!("inject={call}:signal=KILL:when={at}");
            TaskCommand::new("strace").args(["-qq", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_umach-victim")])
        }
        None => TaskCommand::new(env!("CARGO_BIN_EXE_umach-victim")),
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
        given: vec![],
        callers: vec![],
    };
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
        if status.is_none() {
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
    status.expect("it has ended").success()
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
            ECHO | TAKE if !received.wants_reply() => panic!("a call without a reply right"),
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
