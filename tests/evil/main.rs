//! Tasks that own their half of a link and their control socket, and lie there in every way that they can.
//!
//! The victim is an honest task of the library: a server that one evil task after the other talks to, or a client that calls an evil server. After
//! each lie the victim still serves an honest client, and the kernel process's log names the rule that was broken, where the lie is one that
//! can be seen. All the while two bystanders call each other, and each call is checked.
//!
//! The only losses allowed are the liar's own. Nothing is left at the end (see [`World::end`]).
#![forbid(unsafe_code)]

mod files;
mod leases;
mod lies;
mod peer;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libtask::local::Direct;
use libtask::{Disposition, Error, Message, Next, SendRight, Task};
use umach_abi::records::event;
use umach_tests::{Mode, World, eventually};

use lies::{Lie, OF_CLIENTS, OF_SERVERS, Route};
use peer::{Evil, plain};

const SOON: Duration = Duration::from_secs(20);
/// To be answered with the same bytes.
const ECHO: i32 = 500;
/// Carries a right to a port of the evil task's.
const GIVE: i32 = 501;
const END: i32 = 502;
/// The victim takes the file that it carries. With another id, it does not.
const TAKE: i32 = 503;
const IGNORE: i32 = 504;
/// The victim reads all memory that it carries.
const READ: i32 = 505;

#[test]
fn lying_clients_cost_only_themselves() {
    Stage::play("lying clients", |stage| {
        for lie in OF_CLIENTS {
            stage.suffer_client(lie);
        }
    });
}

#[test]
fn lying_servers_cost_only_themselves() {
    Stage::play("lying servers", |stage| {
        for lie in OF_SERVERS {
            stage.suffer_server(lie);
        }
    });
}

#[test]
fn tasks_that_lie_about_files_cost_only_themselves() {
    for direct in [Direct::Always, Direct::Off] {
        Stage::play_in(direct, "lies about files", files::suffer);
    }
}

#[test]
fn tasks_that_lie_about_memory_cost_only_themselves() {
    Stage::play("lies about memory", leases::suffer);
}

struct Stage<'w> {
    world: &'w World,
    victim: Task,
    /// An honest client's right to the victim's port.
    honest: SendRight,
    /// What evil tasks gave to the victim.
    given: Receiver<SendRight>,
    /// What came of each file that the victim was to take.
    files: Receiver<Result<OwnedFd, Error>>,
    talked: Arc<AtomicU64>,
}

impl Stage<'_> {
    fn play(name: &str, play: impl FnOnce(&Stage<'_>)) {
        Stage::play_in(Direct::Always, name, play);
    }

    fn play_in(direct: Direct, name: &str, play: impl FnOnce(&Stage<'_>)) {
        let world = World::start_with(Mode::Process, &[], Some(direct));
        let over = Arc::new(AtomicBool::new(false));
        let (talked, bystanders) = bystanders(&world, &over);
        let victim = world.task("victim");
        let id = victim.id();
        let (server, right, given, files) = serve(&victim);
        let client = child_of(&victim);
        let honest = client.bootstrap().expect("a right to the victim");
        let stage = Stage { world: &world, victim, honest, given, files, talked };
        stage.still_serves();
        play(&stage);
        stage.still_serves();
        over.store(true, Ordering::Release);
        for thread in bystanders {
            thread.join().expect("a bystander");
        }
        stage.honest.call_within(Message::new(END), SOON).expect("end the victim");
        server.join().expect("the victim");
        drop((right, stage, client));
        world.end_task(id);
        eprintln!("{name}: over");
        world.end();
    }

    /// The victim answers an honest client, and the bystanders go on.
    fn still_serves(&self) {
        let talked = self.talked.load(Ordering::Acquire);
        for n in 0..20u32 {
            let answer = self.honest.call_within(Message::new(ECHO).body(&n), SOON).expect("the victim answers an honest client");
            assert_eq!(answer.body::<u32>().expect("a number"), n);
        }
        eventually("the bystanders go on", || self.talked.load(Ordering::Acquire) >= talked + 20);
    }

    fn suffer_client(&self, lie: &Lie) {
        self.suffer_told(lie, lie.tell);
    }

    fn suffer_told(&self, lie: &Lie, tell: impl FnOnce(&mut Evil, &Route)) {
        let before = self.world.kernel().log().len();
        let mut evil = Evil::child_of(&self.victim);
        let status = evil.mail(1, false);
        assert!(status.is_ok(), "{}: the first message: {status}", lie.name);
        let granted = evil.await_event(event::ROUTE_OUT);
        let link = evil.link.clone().expect("a link before its route");
        // An honest message first: once it is taken, nothing is in the way of the others.
        let route = Route { index: granted.index, limit: granted.value, id: granted.route, link };
        let mut out = route.link.outgoing();
        assert!(route.link.push(&mut out, plain(route.index), b"once"), "room for one");
        let end = std::time::Instant::now() + SOON;
        while !route.is_consumed() {
            assert!(std::time::Instant::now() < end, "{}: an honest message is not taken: {route:?}, {:?}", lie.name, evil.events);
            thread::sleep(Duration::from_millis(1));
        }
        tell(&mut evil, &route);
        self.judge(lie, evil, before);
    }

    fn suffer_server(&self, lie: &Lie) {
        let before = self.world.kernel().log().len();
        let mut evil = Evil::child_of(&self.victim);
        let status = evil.mail(GIVE, true);
        assert!(status.is_ok(), "{}: a right to its port: {status}", lie.name);
        let right = self.given.recv_timeout(SOON).expect("the right arrives");
        // Who has not begun to receive gets no route.
        assert!(evil.receive().is_none(), "{}: a message before the first", lie.name);
        // It is answered once through the kernel process, so that the victim gets a route; what comes then is for the lie.
        let first = thread::spawn(move || {
            let answer = right.call_within(Message::new(ECHO).bytes(&[1; 3000]), SOON);
            (right, answer.map(drop))
        });
        let mut request = None;
        eventually("the victim calls", || {
            request = evil.receive();
            request.is_some()
        });
        let granted = evil.await_event(event::ROUTE_IN);
        evil.answer_mail(request.expect("just seen").remote);
        let (right, answer) = first.join().expect("no panic");
        answer.expect("an honest answer");
        let link = evil.link.clone().expect("a link before its route");
        let route = Route { index: granted.index, limit: granted.value, id: granted.route, link };
        let stop = Arc::new(AtomicBool::new(false));
        let caller = {
            let stop = stop.clone();
            // Whatever comes of them, they end.
            thread::spawn(move || {
                for _ in 0..200 {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    let message = Message::new(ECHO).bytes(&[2; 3000]).memory(vec![2; 40_000]);
                    let _ = right.call_within(message, Duration::from_millis(20));
                }
            })
        };
        (lie.tell)(&mut evil, &route);
        stop.store(true, Ordering::Release);
        self.judge(lie, evil, before);
        caller.join().expect("a caller of a liar does not panic");
    }

    fn judge(&self, lie: &Lie, evil: Evil, before: usize) {
        self.still_serves();
        if !lie.rules.is_empty() {
            let mut log = String::new();
            eventually(&format!("the log names one of {:?} after {}", lie.rules, lie.name), || {
                log = self.world.kernel().log().split_off(before);
                lie.rules.iter().any(|rule| log.contains(&format!("rule=\"{rule}\"")))
            });
        }
        drop(evil);
        self.still_serves();
        eprintln!("{}: survived", lie.name);
    }
}

/// A task that has the victim's port as its bootstrap port.
fn child_of(victim: &Task) -> Task {
    let (control, _, lane) = victim.raw().task_create(0, "honest").expect("make a task");
    victim.raw().port_deallocate(control).expect("drop a control right");
    Task::from_lane(lane.expect("a lane")).expect("a task")
}

/// The victim's server.
#[allow(clippy::type_complexity)] // named where it goes
fn serve(victim: &Task) -> (JoinHandle<()>, SendRight, Receiver<SendRight>, Receiver<Result<OwnedFd, Error>>) {
    let port = victim.new_port().expect("make a port");
    let right = port.make_send().expect("make a send right");
    victim.set_bootstrap(&right).expect("set the bootstrap port");
    let (give, given): (Sender<SendRight>, _) = channel();
    let (took, files) = channel();
    let give = Mutex::new((give, took));
    let server = thread::spawn(move || {
        let served = port.serve(|request| match request.id() {
            ECHO => Next::Reply(Message::new(ECHO).raw_body(request.raw_body())),
            GIVE => {
                let right = request.take_send(0).expect("a send right");
                give.lock().expect("one thread").0.send(right).expect("the stage listens");
                Next::Continue
            }
            TAKE => {
                let file = request.take_file(0);
                give.lock().expect("one thread").1.send(file).expect("the stage listens");
                Next::Continue
            }
            READ => {
                for part in 0..request.parts() {
                    let lease = request.take_lease(part).expect("memory");
                    let mut seen = 0;
                    lease.blocks(|block| seen += block.len());
                    assert_eq!((seen, lease.to_vec().len()), (lease.len(), lease.len()));
                }
                Next::Continue
            }
            END => Next::ReplyAndStop(Message::new(END)),
            _ => Next::Continue,
        });
        served.expect("the victim serves to the end");
    });
    (server, right, given, files)
}

/// Two tasks that call each other until it is over, and how often they did.
fn bystanders(world: &World, over: &Arc<AtomicBool>) -> (Arc<AtomicU64>, Vec<JoinHandle<()>>) {
    let (one, other) = (world.task("bystander"), world.task("other bystander"));
    let port = one.new_port().expect("make a port");
    let right = port.make_send().expect("make a send right");
    let right = SendRight::from_raw(&other, world.pass(&one, right.name(), Disposition::CopySend, &other));
    let talked = Arc::new(AtomicU64::new(0));
    let server = thread::spawn(move || {
        let mut expected = 0u64;
        let served = port.serve(|request| {
            if request.id() == END {
                return Next::ReplyAndStop(Message::new(END));
            }
            let number: u64 = request.body().expect("a number");
            assert_eq!(number, expected, "the bystanders' messages are lost, doubled or out of order");
            expected += 1;
            Next::Reply(Message::new(ECHO).body(&number))
        });
        served.expect("a bystander serves to the end");
        drop(one);
    });
    let (count, over) = (talked.clone(), over.clone());
    let client = thread::spawn(move || {
        let mut number = 0u64;
        while !over.load(Ordering::Acquire) {
            let answer = right.call_within(Message::new(ECHO).body(&number), SOON).expect("a bystander answers");
            assert_eq!(answer.body::<u64>().expect("a number"), number);
            number += 1;
            count.store(number, Ordering::Release);
            // Leaves processors to the others.
            thread::sleep(Duration::from_micros(100));
        }
        right.call_within(Message::new(END), SOON).expect("the end");
        drop(other);
    });
    (talked, vec![server, client])
}
