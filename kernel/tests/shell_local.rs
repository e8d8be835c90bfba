//! The in-process kernel: the same packets, behind a function.

mod common;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use common::{DEADLINE, message, receive_request, send_request};
use rustix::fs::{SealFlags, fcntl_add_seals};
use umach_abi::control::{
    Call, Cancel, Head, Hello, HostControl, HostTask, LaneOpen, Msg, PortAllocate, PortInsertRight, RegionCreate, RegionDrop, RegionMap,
    RegionSeal, Reply, TaskCreate, phase,
};
use umach_abi::records::Frame;
use umach_abi::{Code, Disposition, Features, Name, RightKind, VERSION};
use umach_kernel::core::Limits;
use umach_kernel::local::{Answer, Attached, LocalKernel, LocalLane};

fn kernel() -> LocalKernel {
    LocalKernel::new(Limits::default())
}

fn request(lane: &LocalLane, call: &impl Call, seq: u32) {
    let mut packet = Vec::new();
    call.encode(seq, &mut packet);
    lane.send(&packet).expect("send");
}

fn answer(lane: &LocalLane) -> (Head, Vec<u8>, Vec<Attached>) {
    let Answer { packet, attached } = lane.receive(Some(Instant::now() + DEADLINE)).expect("the lane is open").expect("an answer in time");
    let (head, body) = Head::read(&packet).expect("head");
    assert_eq!(head.attached as usize, attached.len());
    (head, body.to_vec(), attached)
}

/// A successful answer.
struct Got {
    body: Vec<u8>,
    attached: Vec<Attached>,
}

impl Got {
    fn ok<C: Call>(&self) -> C::Answer<'_> {
        Reply::take(&self.body).expect("fields of the answer")
    }
    fn lane(&mut self) -> LocalLane {
        let Some(Attached::Lane(lane)) = self.attached.pop() else { panic!("a lane") };
        lane
    }
    fn file(&mut self) -> File {
        let Some(Attached::Fd(fd)) = self.attached.pop() else { panic!("a memfd") };
        File::from(fd)
    }
}

fn call<C: Call>(lane: &LocalLane, request_of: &C) -> Got {
    request(lane, request_of, 8);
    let (head, body, attached) = answer(lane);
    assert_eq!((head.op, head.seq, head.status), (C::OP, 8, Code::SUCCESS));
    Got { body, attached }
}

fn task(kernel: &LocalKernel) -> (LocalLane, umach_abi::control::answer::Hello) {
    let lane = kernel.connect().expect("connect");
    let hello = call(&lane, &Hello { version: VERSION, features: (Features::all() - Features::DIRECT_PLANE).bits() }).ok::<Hello>();
    (lane, hello)
}

fn port(lane: &LocalLane, me: Name) -> Name {
    let name = call(lane, &PortAllocate { task: me, right: RightKind::Receive as u32, name: Name::NULL }).ok::<PortAllocate>().name;
    call(lane, &PortInsertRight { task: me, name, right: name, disposition: Disposition::MakeSend as u32 }).ok::<PortInsertRight>();
    name
}

fn body_of(frames: &[u8]) -> Vec<u8> {
    let frame = Frame::read(frames).expect("frame");
    frames[Frame::SIZE + 24..Frame::SIZE + frame.size as usize].to_vec()
}

fn post(lane: &LocalLane, to: Name, body: &[u8]) {
    let message = message(to, body);
    call(lane, &send_request(&message, 0));
}

#[test]
fn two_tasks_in_two_threads_exchange_messages() {
    let kernel = kernel();
    let (server, hello) = task(&kernel);
    let port = port(&server, hello.task_self);
    let host = call(&server, &HostControl {}).ok::<HostControl>().name;
    let (client, theirs) = task(&kernel);
    let control = call(&server, &HostTask { host, task: theirs.task }).ok::<HostTask>().control;
    let right = Name::new(500, 3);
    call(&server, &PortInsertRight { task: control, name: right, right: port, disposition: Disposition::MakeSend as u32 })
        .ok::<PortInsertRight>();
    let sender = std::thread::spawn(move || (0..1000u32).for_each(|n| post(&client, right, &n.to_le_bytes())));
    for n in 0..1000u32 {
        assert_eq!(body_of(call(&server, &receive_request(port, 0)).ok::<Msg<'_>>().frames), n.to_le_bytes());
    }
    sender.join().expect("sender");
    kernel.check().expect("invariants");
}

#[test]
fn receive_gives_up_at_its_deadline_and_the_request_goes_on() {
    let kernel = kernel();
    let (lane, hello) = task(&kernel);
    let port = port(&lane, hello.task_self);
    request(&lane, &receive_request(port, 0), 5);
    assert!(lane.receive(Some(Instant::now() + Duration::from_millis(20))).expect("open").is_none());
    request(&lane, &Cancel { seq: 5, phases: phase::RECEIVE, interrupted: 0 }, 6);
    let (head, ..) = answer(&lane);
    assert_eq!((head.seq, head.status), (5, Code::MACH_RCV_TIMED_OUT));
    assert!(lane.receive(Some(Instant::now())).expect("open").is_none());
}

#[test]
fn garbage_ends_its_sender_and_nobody_else() {
    let kernel = kernel();
    let (bystander, hello) = task(&kernel);
    for garbage in [&[][..], &[1; 7], &[0xff; 64]] {
        let (offender, _) = task(&kernel);
        offender.send(garbage).expect("taken like a socket takes it");
        assert_eq!(offender.receive(None).expect_err("closed").kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(offender.send(garbage).expect_err("closed").kind(), std::io::ErrorKind::BrokenPipe);
    }
    assert_eq!(kernel.tasks(), 1);
    port(&bystander, hello.task_self);
    kernel.check().expect("invariants");
}

#[test]
fn lane_dropped_while_its_thread_waits_elsewhere_ends_only_that_wait() {
    let kernel = kernel();
    let (lane, hello) = task(&kernel);
    let port = port(&lane, hello.task_self);
    let second = call(&lane, &LaneOpen {}).lane();
    request(&second, &receive_request(port, 0), 1);
    drop(second);
    post(&lane, port, b"mine");
    assert_eq!(body_of(call(&lane, &receive_request(port, 0)).ok::<Msg<'_>>().frames), b"mine");
    kernel.check().expect("invariants");
}

#[test]
fn task_dropped_leaves_nothing() {
    let kernel = kernel();
    let (lane, hello) = task(&kernel);
    port(&lane, hello.task_self);
    let second = call(&lane, &LaneOpen {}).lane();
    call(&lane, &RegionCreate { size: 10_000, shared: 0 }).ok::<RegionCreate>();
    // An answer that nobody reads, with a lane in it.
    request(&lane, &LaneOpen {}, 9);
    drop(lane);
    assert!(second.receive(None).is_err());
    kernel.check().expect("invariants");
    assert_eq!((kernel.tasks(), kernel.regions()), (0, 0));
}

#[test]
fn region_is_filled_sealed_and_mapped() {
    let kernel = kernel();
    let (lane, _) = task(&kernel);
    let mut made = call(&lane, &RegionCreate { size: 5, shared: 0 });
    let region = made.ok::<RegionCreate>().region;
    let mut file = made.file();
    request(&lane, &RegionSeal { region }, 1);
    assert_ne!(answer(&lane).0.status, Code::SUCCESS, "accepted without seals");
    file.write_all(b"bytes").expect("fill");
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL).expect("seal");
    let name = call(&lane, &RegionSeal { region }).ok::<RegionSeal>().name;
    let mut map = call(&lane, &RegionMap { name });
    let mut back = [0; 5];
    rustix::io::pread(map.file(), &mut back, 0).expect("read");
    assert_eq!((map.ok::<RegionMap>().size, &back), (5, b"bytes"));
    request(&lane, &RegionDrop { region }, 2);
    assert_ne!(answer(&lane).0.status, Code::SUCCESS, "a sealed region is dropped by its rights");
}

#[test]
fn task_made_by_another_is_one_of_its_own() {
    let kernel = kernel();
    let (lane, hello) = task(&kernel);
    let mut made = call(&lane, &TaskCreate { flags: 0, label: b"child" });
    let child = made.lane();
    let theirs = call(&child, &Hello { version: VERSION, features: 0 }).ok::<Hello>();
    assert_eq!(theirs.task, made.ok::<TaskCreate<'_>>().task);
    assert_ne!(theirs.task, hello.task);
    assert_eq!(kernel.tasks(), 2);
    drop(child);
    assert_eq!(kernel.tasks(), 1);
}
