//! The direct plane from outside: real tasks of a real daemon, and of the in-process kernel, with real memory. What the rules are is tested in the
//! core; here it is what comes along with events, who can write it, and that nothing stays behind.

mod common;

use std::os::fd::{AsFd, OwnedFd};

use common::*;
use umach_abi::control::{
    Call, Events, EventsWait, Hello, LinkArena, LinkArenaReady, LinkEnd, LinkRing, Msg, PortAllocate, PortInsertRight, RouteAck, TaskCreate,
};
use umach_abi::link::{self, attention};
use umach_abi::records::{Event, event, undelivered, violation};
use umach_abi::{Code, Disposition, Features, Name, RightKind};
use umach_kernel::core::{Direct, Limits};
use umach_kernel::local::LocalKernel;

/// Events, and the descriptor that each brought.
fn pull(task: &Wire) -> Vec<(Event, Option<OwnedFd>)> {
    let mut packet = task.call(&Events {});
    let mut attached = std::mem::take(&mut packet.attached).into_iter();
    let events = packet.ok::<Events>();
    assert_eq!((events.more, packet.events), (0, false));
    let told =
        Event::all(events.events).map(|told| (told, event::attaches(told.kind).then(|| attached.next().expect("one each")))).collect();
    assert!(attached.next().is_none());
    told
}

fn kinds(told: &[(Event, Option<OwnedFd>)]) -> Vec<u32> {
    told.iter().map(|(event, _)| event.kind).collect()
}

fn words(page: impl AsFd) -> (u32, u32) {
    let mut bytes = [0; attention::MAIL + 4];
    rustix::io::pread(page, &mut bytes, 0).expect("read the attention page");
    let at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (at(attention::CONTROL), at(attention::MAIL))
}

/// A parent with a port, and a child that may send to it; the child is made by the parent, so that it has a right to something.
fn family(kernel: &Kernel) -> (Task, Task, Name) {
    let parent = kernel.connect().hello_with(Features::all());
    let port = parent.port();
    let set = umach_abi::control::TaskSetSpecialPort { task: Name::NULL, which: umach_abi::rights::special::BOOTSTRAP, right: port };
    parent.call(&set).ok::<umach_abi::control::TaskSetSpecialPort>();
    let mut made = parent.call(&TaskCreate { flags: 0, label: b"child" });
    made.ok::<TaskCreate<'_>>();
    let child = Wire::new(made.attached.pop().expect("a lane")).hello_with(Features::all());
    assert!(child.hello.bootstrap.is_valid());
    (parent, child, port)
}

#[test]
fn link_is_the_same_memory_at_both_ends_and_the_attention_page_is_only_read() {
    let kernel = Kernel::start(&["--direct", "always"]);
    let (parent, child, port) = family(&kernel);
    assert!(Features::from_bits_retain(parent.hello.features).contains(Features::DIRECT_PLANE));
    assert_eq!(parent.call(&receive_request(port, 2)).head.status, Code::MACH_RCV_TIMED_OUT);
    let sent = message(child.hello.bootstrap, b"mail");
    assert!(child.call(&send_request(&sent, 0)).events, "an answer says that there are events");
    let out = pull(&child);
    assert_eq!(kinds(&out), [event::ATTENTION, event::LINK, event::ROUTE_OUT]);
    let into = pull(&parent);
    assert_eq!(kinds(&into), [event::ATTENTION, event::LINK, event::ROUTE_IN]);
    assert_eq!((out[1].0.pid, out[1].0.task), (std::process::id(), parent.hello.task));
    let (one, other) = (out[1].1.as_ref().expect("memory"), into[1].1.as_ref().expect("memory"));
    assert_eq!(rustix::fs::fstat(one).expect("stat").st_size as usize, link::SIZE);
    rustix::io::pwrite(one, b"ring", link::RING as u64).expect("write");
    let mut bytes = [0; 4];
    rustix::io::pread(other, &mut bytes, link::RING as u64).expect("read");
    assert_eq!(&bytes, b"ring");
    assert!(rustix::fs::ftruncate(one, 0).is_err(), "the memory can be cut");
    let page = into[0].1.as_ref().expect("page");
    assert!(rustix::io::pwrite(page, b"x", 0).is_err(), "a task writes its attention page");

    // Mail for a port on which nothing waits any more changes the word.
    assert_eq!(parent.take(port).1, b"mail");
    assert_eq!(kinds(&pull(&parent)), [event::ROUTE_OPEN]);
    assert_eq!(parent.call(&receive_request(port, 0)).head.status, Code::MACH_RCV_IN_PROGRESS);
    let (control, mail) = words(page);
    let lane = parent.call(&umach_abi::control::LaneOpen {}).attached.pop().expect("a lane");
    let lane = Wire::new(lane);
    lane.request(&EventsWait { mail }, 5);
    lane.silent();
    child.call(&LinkRing { link: out[1].0.link }).ok::<LinkRing>();
    let rang = lane.answer();
    assert_eq!(Event::read(rang.ok::<EventsWait>().events).expect("an event").kind, event::RANG);
    eventually("the word for events changes", || words(page).0 != control);
}

#[test]
fn route_past_its_end_and_a_link_past_a_violation() {
    let kernel = Kernel::start(&["--direct", "always"]);
    let (parent, child, port) = family(&kernel);
    parent.call(&receive_request(port, 2));
    child.post(child.hello.bootstrap, b"mail", 0);
    let out = pull(&child);
    let (link, route) = (out[1].0.link, out[2].0.route);
    pull(&parent);
    let end = LinkEnd { link, why: violation::RECORD, found: 7, expected: 8 };
    parent.call(&end).ok::<LinkEnd>();
    let mut told = Vec::new();
    eventually("the end is told", || {
        told.extend(pull(&parent));
        !told.is_empty()
    });
    assert_eq!((told[0].0.kind, told[0].0.route), (event::ROUTE_END, route));
    assert_eq!(told[0].0.value, undelivered::RETURN, "mail comes first");
    parent.call(&RouteAck { route, accepted: 0 }).ok::<RouteAck>();
    assert_eq!(kinds(&pull(&parent)), [event::LINK_DOWN]);
    assert_eq!(kinds(&pull(&child)), [event::ROUTE_STOP, event::ROUTE_CLOSED, event::LINK_DOWN]);
    assert!(kernel.log().contains("rule=\"record length\" found=7 expected=8"), "{}", kernel.log());
    assert_eq!(parent.take(port).1, b"mail");
}

#[test]
fn arena_reaches_the_peer_and_nothing_stays_behind() {
    let kernel = Kernel::start(&["--direct", "always"]);
    let before = kernel.settled_descriptors();
    {
        let (parent, child, port) = family(&kernel);
        parent.call(&receive_request(port, 2));
        child.post(child.hello.bootstrap, b"mail", 0);
        let link = pull(&child)[1].0.link;
        pull(&parent);
        let mut made = child.call(&LinkArena { link, size: 8192 });
        assert_eq!(made.ok::<LinkArena>().arena, 0);
        let lent = made.attached.pop().expect("memory");
        rustix::io::pwrite(&lent, b"lent", 5000).expect("write");
        rustix::fs::fcntl_add_seals(&lent, rustix::fs::SealFlags::FUTURE_WRITE | rustix::fs::SealFlags::SEAL).expect("seal");
        child.call(&LinkArenaReady { link, arena: 0 }).ok::<LinkArenaReady>();
        let told = pull(&parent);
        assert_eq!(kinds(&told), [event::ARENA]);
        let mut bytes = [0; 4];
        let arena = told[0].1.as_ref().expect("memory");
        rustix::io::pread(arena, &mut bytes, 5000).expect("read");
        assert_eq!((&bytes, told[0].0.context), (b"lent", 8192));
        assert!(rustix::fs::ftruncate(arena, 1).is_err() && rustix::io::pwrite(arena, b"mine", 5000).is_err());
        // These are never pulled, or never even ready.
        child.call(&LinkArena { link, size: 4096 }).ok::<LinkArena>();
        child.call(&LinkArenaReady { link, arena: 1 }).ok::<LinkArenaReady>();
        child.call(&LinkArena { link, size: 4096 }).ok::<LinkArena>();
    }
    eventually("the tasks are gone", || kernel.settled_descriptors() <= before);
}

#[test]
fn mode_off_offers_nothing_and_nonsense_is_refused() {
    let kernel = Kernel::start(&["--direct", "off"]);
    let task = kernel.connect().hello_with(Features::all());
    assert!(!Features::from_bits_retain(task.hello.features).contains(Features::DIRECT_PLANE));
    let dir = directory();
    let mut child = command(dir.path(), &["--direct", "sometimes"]).spawn().expect("start umachd");
    let status = child.wait().expect("wait");
    assert!(!status.success());
    let log = std::fs::read_to_string(dir.path().join("log")).expect("log");
    assert!(log.contains("sometimes") && log.contains("always"), "{log}");
}

#[test]
fn kernel_in_the_process_hands_out_the_same() {
    use umach_kernel::local::{Attached, LocalLane};
    fn call<C: Call>(lane: &LocalLane, request: &C) -> (Vec<u8>, Vec<Attached>) {
        let mut packet = Vec::new();
        request.encode(3, &mut packet);
        lane.send(&packet).expect("send");
        let answer = lane.receive(Some(std::time::Instant::now() + DEADLINE)).expect("open").expect("an answer");
        (answer.packet[umach_abi::control::HEAD..].to_vec(), answer.attached)
    }
    let fields = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
    let kernel = LocalKernel::with_direct(Limits::default(), Direct::Always);
    let hello = Hello { version: umach_abi::VERSION, features: Features::all().bits() };
    let server = kernel.connect().expect("connect");
    call(&server, &hello);
    let port = Name(fields(&call(&server, &PortAllocate { task: Name::NULL, right: RightKind::Receive as u32, name: Name::NULL }).0));
    call(&server, &PortInsertRight { task: Name::NULL, name: port, right: port, disposition: Disposition::MakeSend as u32 });
    let which = umach_abi::rights::special::BOOTSTRAP;
    call(&server, &umach_abi::control::TaskSetSpecialPort { task: Name::NULL, which, right: port });
    let Some(Attached::Lane(client)) = call(&server, &TaskCreate { flags: 0, label: b"" }).1.pop() else { panic!("a lane") };
    let answer = call(&client, &hello).0;
    let bootstrap = Name(u32::from_le_bytes(answer[answer.len() - 4..].try_into().expect("four bytes")));
    call::<Msg<'_>>(&server, &receive_request(port, 2));
    call::<Msg<'_>>(&client, &send_request(&message(bootstrap, b"mail"), 0));
    let (events, attached) = call(&client, &Events {});
    assert_eq!(Event::all(&events[4..]).map(|event| event.kind).collect::<Vec<_>>(), [event::ATTENTION, event::LINK, event::ROUTE_OUT]);
    let [Attached::Fd(page), Attached::Fd(memory)] = &attached[..] else { panic!("two descriptors") };
    assert_eq!(words(page).1, 0);
    assert_eq!(rustix::fs::fstat(memory).expect("stat").st_size as usize, link::SIZE);
    assert_eq!(kernel.links(), 1);
    drop((client, server));
    kernel.check().expect("invariants");
    assert_eq!(kernel.links(), 0);
}
