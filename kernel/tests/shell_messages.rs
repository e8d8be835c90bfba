//! Two tasks, raw packets: messages, blocking and giving up, lanes, regions.

mod common;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

use common::*;
use rustix::fs::{SealFlags, fcntl_add_seals};
use umach_abi::control::{
    Cancel, HostControl, HostTask, LaneOpen, Msg, PortAllocate, PortInsertRight, PortNames, RegionCreate, RegionDrop, RegionMap,
    RegionSeal, msg_flags, phase,
};
use umach_abi::message::{BASE, COMPLEX, Descriptor, Header, Options, Place, descriptors};
use umach_abi::records::Frame;
use umach_abi::{Code, Disposition, Name, RightKind};

const FULL: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Gives `to` a send right to `port` of `from`.
fn give(from: &Task, port: Name, to: &Task) -> Name {
    let host = from.call(&HostControl {}).ok::<HostControl>().name;
    let control = from.call(&HostTask { host, task: to.hello.task }).ok::<HostTask>().control;
    let name = Name::new(500, 3);
    from.call(&PortInsertRight { task: control, name, right: port, disposition: Disposition::MakeSend as u32 }).ok::<PortInsertRight>();
    name
}

#[test]
fn two_tasks_exchange_a_message() {
    let kernel = Kernel::start(&[]);
    let (server, client) = (kernel.task(), kernel.task());
    let port = server.port();
    let right = give(&server, port, &client);
    // First the message waits for the receiver, then the receiver for the message.
    assert_eq!(client.post(right, b"one.", 0), Code::SUCCESS);
    assert_eq!(server.take(port).1, b"one.");
    server.request(&receive_request(port, 0), 5);
    server.silent();
    assert_eq!(client.post(right, b"two.", 0), Code::SUCCESS);
    let packet = server.answer();
    assert_eq!((packet.head.seq, message_of(&packet).1), (5, b"two.".to_vec()));
}

#[test]
fn sender_at_a_full_queue_waits_until_a_message_is_taken() {
    let kernel = Kernel::start(&[]);
    let (server, client) = (kernel.task(), kernel.task());
    let port = server.port();
    let right = give(&server, port, &client);
    while client.post(right, b"fill", msg_flags::TRY_SEND) == Code::SUCCESS {}
    let last = message(right, b"last");
    client.request(&send_request(&last, 0), 9);
    client.silent();
    assert_eq!(server.take(port).1, b"fill");
    let packet = client.answer();
    assert_eq!((packet.head.seq, packet.head.status), (9, Code::SUCCESS));
}

#[test]
fn receive_given_up_is_answered_once() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let port = task.port();
    for (interrupted, code) in [(0, Code::MACH_RCV_TIMED_OUT), (1, Code::MACH_RCV_INTERRUPTED)] {
        task.request(&receive_request(port, 0), 3);
        task.silent();
        task.request(&Cancel { seq: 3, phases: phase::RECEIVE, interrupted }, 4);
        let packet = task.answer();
        assert_eq!((packet.head.seq, packet.head.status), (3, code));
        // Too late: the request is over, so this says nothing and does nothing.
        task.request(&Cancel { seq: 3, phases: phase::RECEIVE, interrupted }, 5);
        task.silent();
    }
    task.exchange_with_itself();
}

#[test]
fn second_lane_serves_while_the_first_waits() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let port = task.port();
    let mut packet = task.call(&LaneOpen {});
    packet.ok::<LaneOpen>();
    let second = Wire::new(packet.attached.pop().expect("a lane"));
    task.request(&receive_request(port, 0), 1);
    task.silent();
    let ping = message(port, b"ping");
    assert_eq!(second.call(&send_request(&ping, 0)).head.status, Code::SUCCESS);
    assert_eq!(message_of(&task.answer()).1, b"ping");
    // Closing a further lane ends nothing else.
    drop(second);
    task.exchange_with_itself();
}

#[test]
fn first_lane_closed_ends_the_task_and_its_other_lanes() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let second = Wire::new(task.call(&LaneOpen {}).attached.pop().expect("a lane"));
    drop(task);
    second.closed();
}

/// Makes and fills a region, not sealed yet.
fn fill(task: &Task, bytes: &[u8]) -> (u64, File) {
    let mut packet = task.call(&RegionCreate { size: bytes.len() as u64, shared: 0 });
    let region = packet.ok::<RegionCreate>().region;
    let mut file = File::from(packet.attached.pop().expect("a memfd"));
    file.write_all(bytes).expect("fill");
    (region, file)
}

#[test]
fn region_sealed_travels_with_a_message_and_is_mapped_by_its_receiver() {
    let kernel = Kernel::start(&[]);
    let (server, client) = (kernel.task(), kernel.task());
    let port = server.port();
    let right = give(&server, port, &client);
    let bytes = vec![0xa5; 100_000];
    let (region, file) = fill(&client, &bytes);
    fcntl_add_seals(&file, FULL).expect("seal");
    let name = client.call(&RegionSeal { region }).ok::<RegionSeal>().name;

    let bits = Header::make_bits(Disposition::CopySend as u8, 0, true);
    let mut message = Header { bits, remote: right, ..Header::default() }.to_bytes().to_vec();
    message.extend_from_slice(&1u32.to_le_bytes());
    let place = Place::Region(name).to_raw();
    Descriptor::Memory { address: place, deallocate: true, copy: 1, size: bytes.len() as u32, volatile: false }.push(&mut message);
    assert_eq!(client.call(&send_request(&message, 0)).head.status, Code::SUCCESS);

    let mut packet = server.call(&receive_request(port, 0));
    let frames = packet.ok::<Msg<'_>>().frames.to_vec();
    let frame = Frame::read(&frames).expect("frame");
    let got = &frames[Frame::SIZE..Frame::SIZE + frame.size as usize];
    assert_eq!((frame.attach, got.len() > BASE, Header::read(got).expect("header").bits & COMPLEX), (1, true, COMPLEX));
    let Some((_, Ok(Descriptor::Memory { address, size, .. }))) = descriptors(got).next() else { panic!("a memory descriptor") };
    assert_eq!((Place::from_raw(address), size as usize), (Some(Place::Attached(0)), bytes.len()));
    let mut memory = File::from(packet.attached.pop().expect("a memfd"));
    memory.rewind().expect("rewind");
    let mut back = Vec::new();
    memory.read_to_end(&mut back).expect("read");
    assert!(back == bytes && memory.write_all(b"x").is_err());
}

#[test]
fn region_badly_sealed_or_with_holes_is_refused_and_costs_nothing_once_dropped() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    task.exchange_with_itself();
    let before = kernel.settled_descriptors();
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE, SealFlags::SEAL] {
        let (region, file) = fill(&task, &[1; 10_000]);
        fcntl_add_seals(&file, FULL - missing).expect("seal");
        assert_ne!(task.call(&RegionSeal { region }).head.status, Code::SUCCESS, "sealed without {missing:?}");
        task.call(&RegionDrop { region }).ok::<RegionDrop>();
    }
    let mut packet = task.call(&RegionCreate { size: 1 << 20, shared: 0 });
    let region = packet.ok::<RegionCreate>().region;
    fcntl_add_seals(packet.attached.pop().expect("a memfd"), FULL).expect("seal");
    assert_ne!(task.call(&RegionSeal { region }).head.status, Code::SUCCESS, "sealed with holes");
    task.call(&RegionDrop { region }).ok::<RegionDrop>();
    eventually("the kernel lets go of the memory", || kernel.descriptors() == before);
}

#[test]
fn region_shared_is_mapped_by_everyone_who_holds_it() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let mut packet = task.call(&RegionCreate { size: 8192, shared: 1 });
    let name = packet.ok::<RegionCreate>().name;
    let mine = packet.attached.pop().expect("a memfd");
    rustix::io::pwrite(&mine, b"shared", 100).expect("write");
    let mut packet = task.call(&RegionMap { name });
    let map = packet.ok::<RegionMap>();
    assert_eq!((map.size, map.shared), (8192, 1));
    let again = packet.attached.pop().expect("a memfd");
    let mut bytes = [0; 6];
    rustix::io::pread(again.as_fd(), &mut bytes, 100).expect("read");
    assert_eq!(&bytes, b"shared");
    assert!(rustix::fs::ftruncate(&mine, 0).is_err(), "a shared region was resized");
}

#[test]
fn largest_packets_pass_in_both_directions() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let port = task.port();
    let body = vec![9; 60_000];
    assert_eq!(task.post(port, &body, 0), Code::SUCCESS);
    let options = Options::RCV.bits();
    let receive = Msg { options, flags: 0, receive: port, limit: 65_536, route: 0, number: 0, count: 0, send_size: 0, annex: 0, tail: &[] };
    assert_eq!(message_of(&task.call(&receive)).1, body);
    for _ in 0..3000 {
        task.call(&PortAllocate { task: task.me(), right: RightKind::Receive as u32, name: Name::NULL }).ok::<PortAllocate>();
    }
    let (mut start, mut rows) = (0, 0);
    for _ in 0..100 {
        let packet = task.call(&PortNames { task: task.me(), start });
        let page = packet.ok::<PortNames>();
        rows += page.rows.len() / 8;
        start = page.next;
        if start == 0 {
            break;
        }
    }
    assert!(start == 0 && rows > 3000, "{rows} names, next {start}");
}
