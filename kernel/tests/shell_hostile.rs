//! Peers that break every rule: each ends itself, and nobody else notices.

mod common;

use std::os::fd::AsFd;
use std::time::Duration;

use common::*;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::{Resource, Rlimit, prlimit};
use umach_abi::control::{Head, Hello, HostInfo, LaneOpen, PortType, RegionCreate};
use umach_abi::limits::PACKET_MAX;
use umach_abi::{Code, Features, Name, VERSION};

/// A well-formed packet, to be spoilt.
fn good() -> Vec<u8> {
    let mut packet = Vec::new();
    umach_abi::control::Call::encode(&PortType { task: Name(0x103), name: Name(0x103) }, 1, &mut packet);
    packet
}

fn spoilt(spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = good();
    spoil(&mut packet);
    packet
}

/// Every kind of garbage, with a name.
fn garbage() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = vec![
        ("an empty packet".into(), vec![]),
        ("a packet one byte too large".into(), vec![0; PACKET_MAX + 1]),
        ("a huge packet".into(), vec![0xff; 200_000]),
        ("the largest packet of zeroes".into(), vec![0; PACKET_MAX]),
        ("attached in a request".into(), spoilt(|packet| packet[2] = 1)),
        ("a status in a request".into(), spoilt(|packet| packet[12] = 1)),
        ("a length too small".into(), spoilt(|packet| packet[8] -= 1)),
        ("a length too large".into(), spoilt(|packet| packet[8] += 1)),
        ("a huge length".into(), spoilt(|packet| packet[8..12].fill(0xff))),
        ("an unknown request".into(), spoilt(|packet| packet[0] = 0xfe)),
        (
            "bytes behind the last field".into(),
            spoilt(|packet| {
                packet.extend_from_slice(&[0; 4]);
                Head::finish(packet);
            }),
        ),
        (
            "half a request".into(),
            spoilt(|packet| {
                packet.truncate(20);
                Head::finish(packet);
            }),
        ),
        ("a second Hello".into(), {
            let mut packet = Vec::new();
            umach_abi::control::Call::encode(&Hello { version: VERSION, features: 0 }, 1, &mut packet);
            packet
        }),
        ("a message longer than its packet".into(), {
            let mut packet = Vec::new();
            let mut send = send_request(&[0; 24], 0);
            send.send_size = 4096;
            umach_abi::control::Call::encode(&send, 1, &mut packet);
            packet
        }),
        ("an annex longer than its packet".into(), {
            let mut packet = Vec::new();
            let mut send = send_request(&[0; 24], 0);
            send.annex = u32::MAX;
            umach_abi::control::Call::encode(&send, 1, &mut packet);
            packet
        }),
    ];
    for length in 1..16 {
        all.push((format!("{length} bytes"), vec![1; length]));
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for n in 0..50 {
        let bytes = (0..16 + n * 7)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        all.push((format!("random bytes {n}"), bytes));
    }
    all
}

#[test]
fn garbage_of_every_kind_ends_only_its_sender() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    for (name, bytes) in garbage() {
        let offender = kernel.task();
        let second = Wire::new(offender.call(&LaneOpen {}).attached.pop().expect("a lane"));
        offender.send(&bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        offender.closed();
        second.closed();
        bystander.exchange_with_itself();
    }
    drop(bystander);
    eventually("all tasks are gone", || tasks(&kernel) == 1);
}

/// Tasks that the kernel counts, the one that asks included.
fn tasks(kernel: &Kernel) -> u32 {
    let task = kernel.task();
    let packet = task.call(&HostInfo { host: task.hello.host });
    umach_abi::records::HostRow::read(packet.ok::<HostInfo>().row).expect("row").tasks
}

#[test]
fn garbage_before_hello_ends_only_its_sender() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    for (name, bytes) in garbage().into_iter().filter(|(name, _)| name != "a second Hello").chain([("a request".into(), good())]) {
        let offender = kernel.connect();
        offender.send(&bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        offender.closed();
        bystander.exchange_with_itself();
    }
}

#[test]
fn second_request_in_flight_ends_its_sender() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let offender = kernel.task();
    let port = offender.port();
    offender.request(&receive_request(port, 0), 1);
    offender.silent();
    offender.request(&receive_request(port, 0), 2);
    offender.closed();
    bystander.exchange_with_itself();
    let log = kernel.log();
    assert!(log.contains("in flight") && log.contains(&format!("pid={}", std::process::id())), "no blame in the log: {log}");
}

#[test]
fn descriptor_sent_up_is_refused_or_at_least_not_kept() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    task.exchange_with_itself();
    let before = kernel.settled_descriptors();
    let (one, _other) = pair();
    let refuses = Features::from_bits_retain(task.hello.features).contains(Features::REFUSES_DESCRIPTORS);
    let sent = task.send_with(&good(), &[one.as_fd(), one.as_fd()]);
    if refuses {
        assert_eq!(sent, Err(Errno::PERM));
        assert_eq!(kernel.connect().send_with(&good(), &[one.as_fd()]), Err(Errno::PERM), "before Hello");
        let lane = Wire::new(task.call(&LaneOpen {}).attached.pop().expect("a lane"));
        assert_eq!(lane.send_with(&good(), &[one.as_fd()]), Err(Errno::PERM), "on a further lane");
        drop(lane);
    } else {
        sent.expect("send");
        task.answer();
    }
    task.exchange_with_itself();
    eventually("the kernel holds nothing", || kernel.descriptors() == before);
}

#[test]
fn connections_by_the_thousand_leave_nothing() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let round = |count| {
        for n in 0..count {
            match n % 4 {
                0 => drop(kernel.connect()),
                1 => kernel.connect().send(b"garbage").expect("send"),
                2 => kernel.connect().request(&Hello { version: VERSION, features: 0 }, 1),
                _ => drop(kernel.task()),
            }
        }
        bystander.exchange_with_itself();
    };
    round(400);
    eventually("only one task is left", || tasks(&kernel) == 2);
    let (descriptors, memory) = (kernel.settled_descriptors(), kernel.status("VmRSS"));
    for _ in 0..8 {
        round(500);
    }
    eventually("no descriptor is left", || kernel.descriptors() == descriptors);
    let grown = kernel.status("VmRSS").saturating_sub(memory);
    assert!(grown < 2048, "{grown} KiB more after 4000 connections");
}

#[test]
fn silent_connections_are_few_and_keep_nobody_out() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let idle: Vec<Wire> = (0..400).map(|_| kernel.connect()).collect();
    kernel.still_serves();
    assert!(kernel.descriptors() < 300, "{} descriptors for silent connections", kernel.descriptors());
    idle[0].closed();
    bystander.exchange_with_itself();
}

#[test]
fn connection_without_hello_is_closed_in_time_and_one_with_it_stays() {
    let kernel = Kernel::start(&["--hello-within", "0.2"]);
    let task = kernel.task();
    kernel.connect().closed();
    task.exchange_with_itself();
}

#[test]
fn task_that_never_reads_stops_only_itself_and_loses_no_answer() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let lazy = kernel.task();
    let memory = kernel.status("VmRSS");
    let mut sent = 0u32;
    let mut packet = Vec::new();
    // Ends when both directions are full: the kernel process has stopped reading this lane.
    let mut full = 0;
    while full < 20 {
        umach_abi::control::Call::encode(&HostInfo { host: lazy.hello.host }, sent, &mut packet);
        match send(&lazy.socket, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => (sent, full) = (sent + 1, 0),
            Err(Errno::AGAIN) => {
                full += 1;
                bystander.exchange_with_itself();
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(why) => panic!("{why}"),
        }
        assert!(sent < 1_000_000, "the kernel process takes requests without end");
    }
    assert!(kernel.status("VmRSS").saturating_sub(memory) < 2048);
    for seq in 0..sent {
        assert_eq!(lazy.answer().head.seq, seq, "of {sent}");
    }
    lazy.exchange_with_itself();
}

#[test]
fn task_that_leaves_descriptors_unread_is_ended() {
    let kernel = Kernel::start(&[]);
    let offender = kernel.task();
    offender.request(&RegionCreate { size: 4096, shared: 0 }, 1);
    offender.request(&RegionCreate { size: 4096, shared: 0 }, 2);
    eventually("the kernel closes the lane", || offender.hung_up());
    assert_eq!(offender.answer().head.seq, 1);
    offender.closed();
    kernel.still_serves();
}

#[test]
fn task_that_vanishes_with_answers_due_is_forgotten() {
    let kernel = Kernel::start(&[]);
    let bystander = kernel.task();
    let before = kernel.settled_descriptors();
    for _ in 0..50 {
        let task = kernel.task();
        let port = task.port();
        let lane = Wire::new(task.call(&LaneOpen {}).attached.pop().expect("a lane"));
        lane.request(&receive_request(port, 0), 1);
        task.request(&RegionCreate { size: 1 << 21, shared: 0 }, 2);
        drop((task, lane));
    }
    bystander.exchange_with_itself();
    eventually("no descriptor is left", || kernel.descriptors() == before);
}

#[test]
fn kernel_out_of_descriptors_serves_who_is_there_and_recovers() {
    let kernel = Kernel::start(&[]);
    let task = kernel.task();
    let room = kernel.descriptors() as u64 + 9;
    prlimit(Some(kernel.pid()), Resource::Nofile, Rlimit { current: Some(room), maximum: Some(room) }).expect("prlimit");
    let crowd: Vec<Wire> = (0..40).map(|_| kernel.connect()).collect();
    for wire in &crowd {
        // Those who came too late are closed at once; nobody is left waiting.
        let _ = wire.send(&good()).map(|()| wire.closed());
    }
    task.exchange_with_itself();
    while let packet = task.call(&LaneOpen {})
        && packet.head.status == Code::SUCCESS
    {
        std::mem::forget(packet.attached);
    }
    // A lane takes two for a moment, so one may be left.
    let mut status = Code::SUCCESS;
    for _ in 0..3 {
        status = task.call(&RegionCreate { size: 4096, shared: 0 }).head.status;
    }
    assert_eq!(status, Code::KERN_RESOURCE_SHORTAGE);
    task.exchange_with_itself();
    drop((crowd, task));
    eventually("newcomers are served again", || {
        let wire = kernel.connect();
        wire.send(&good()).is_ok() && {
            let wire = kernel.connect();
            wire.request(&Hello { version: VERSION, features: 0 }, 1);
            wire.receive().is_some_and(|packet| packet.head.status == Code::SUCCESS)
        }
    });
}

#[test]
fn log_that_nobody_reads_does_not_stop_the_kernel() {
    let dir = directory();
    let socket = dir.path().join("socket");
    let mut command = command(dir.path(), &["--socket", socket.to_str().expect("path")]);
    let mut child = command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().expect("start umachd");
    await_ready(&mut child, dir.path());
    let unread = child.stderr.take().expect("piped");
    let kernel = Kernel { child, dir };
    // Each is worth a line; together they are several times what a pipe holds.
    let full = || rustix::io::ioctl_fionread(&unread).expect("bytes in the pipe") > 60_000;
    for n in 0.. {
        kernel.connect().request(&Hello { version: VERSION, features: 0 }, 1);
        if full() || n == 20_000 {
            break;
        }
    }
    assert!(full(), "the log never filled its pipe");
    for _ in 0..500 {
        kernel.connect().request(&Hello { version: VERSION, features: 0 }, 1);
    }
    kernel.still_serves();
}
