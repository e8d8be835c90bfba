//! 1.4 Options of `mach_msg`.

use libtask::raw::{Descriptor, MsgBuffer, Options, Trailer, TrailerRequest, notify, received};
use libtask::{Code, Disposition, Name, RightKind};
use umach_tests::{SOON, World, world_tests};

use crate::common::*;

world_tests![
    s1_4_send_then_receive,
    s1_4_timeouts,
    s1_4_send_notify_arms_and_reports,
    s1_4_rcv_large_leaves_the_message,
    s1_4_rcv_large_identity_names_the_member,
    s1_4_options_without_effect,
    s1_4_guarded_descriptors_only_when_asked_for,
    s1_4_trailer_has_what_was_asked_for,
];

fn s1_4_send_then_receive(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let service = port(&other);
    let right = world.pass(&b, service, Disposition::MakeSend, &a);
    let reply = port(&space);
    let server = b.clone();
    let thread = std::thread::spawn(move || {
        let space = server.raw();
        let got = receive(&space, service);
        let back = MsgBuffer::new(got.header().id + 100).remote(got.header().remote, Disposition::MoveSendOnce);
        send(&space, back.body(got.body_bytes()));
    });
    let mut buffer = to(right, 4).local(reply, Disposition::MakeSendOnce).body(b"echo");
    let both = Options::SEND | Options::RCV | Options::SEND_TIMEOUT | Options::RCV_TIMEOUT;
    assert_eq!(space.mach_msg(&mut buffer, both, 4096, reply, SOON, Name::NULL), Code::SUCCESS);
    assert_eq!((buffer.header().id, buffer.body_bytes()), (104, &b"echo"[..]));
    thread.join().unwrap();
    // A send that fails keeps the receive from starting, although there is a message.
    send(&space, MsgBuffer::new(5).remote(reply, Disposition::MakeSend));
    let mut buffer = to(Name(0x7000_0003), 6);
    assert_eq!(space.mach_msg(&mut buffer, both, 4096, reply, 0, Name::NULL), Code::MACH_SEND_INVALID_DEST);
    assert_eq!(buffer.header().id, 6, "the buffer is as it was");
    assert_eq!(receive(&space, reply).header().id, 5);
    // Neither: nothing happens.
    assert_eq!(space.mach_msg(&mut buffer, Options::empty(), 0, Name::NULL, 0, Name::NULL), Code::SUCCESS);
}

fn s1_4_timeouts(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_limit(&space, 1);
    let receive_within = |timeout| space.receive(name, timeout).map(drop);
    assert_eq!((receive_within(0), receive_within(15)), (Err(Code::MACH_RCV_TIMED_OUT), Err(Code::MACH_RCV_TIMED_OUT)));
    fill(&space, name, 1);
    for timeout in [0, 15] {
        assert_eq!(space.send_timeout(&mut to(name, 1), timeout), Code::MACH_SEND_TIMED_OUT);
    }
    // Without the option the number means nothing: both wait for as long as it takes.
    let waiting = {
        let task = task.clone();
        std::thread::spawn(move || task.raw().mach_msg(&mut to(name, 1), Options::SEND, 0, Name::NULL, 0, Name::NULL))
    };
    world.await_blocked_sends(&task, 1);
    assert_eq!((receive(&space, name).header().id, receive(&space, name).header().id), (0, 1));
    assert_eq!(waiting.join().unwrap(), Code::SUCCESS);
    let waiting = {
        let task = task.clone();
        std::thread::spawn(move || task.raw().mach_msg(&mut MsgBuffer::default(), Options::RCV, 4096, name, 0, Name::NULL))
    };
    world.await_blocked_receives(&task, 1);
    send(&space, to(name, 2));
    assert_eq!(waiting.join().unwrap(), Code::SUCCESS);
    // The option of one phase leaves the other alone: the send waits, and then the receive only looks.
    fill(&space, name, 1);
    let reply = port(&space);
    let waiting = {
        let task = task.clone();
        let options = Options::SEND | Options::RCV | Options::RCV_TIMEOUT;
        std::thread::spawn(move || task.raw().mach_msg(&mut to(name, 1), options, 4096, reply, 0, Name::NULL))
    };
    world.await_blocked_sends(&task, 1);
    receive(&space, name);
    assert_eq!(waiting.join().unwrap(), Code::MACH_RCV_TIMED_OUT);
}

fn s1_4_send_notify_arms_and_reports(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, told) = (port_with_limit(&space, 1), port(&space));
    request(&space, name, notify::SEND_POSSIBLE, 0, told);
    let options = Options::SEND | Options::SEND_TIMEOUT | Options::SEND_NOTIFY;
    let polled = |id| space.mach_msg(&mut to(name, id), options, 0, Name::NULL, 0, Name::NULL);
    // Sent while there is room, it arms nothing.
    assert_eq!(polled(0), Code::SUCCESS);
    receive(&space, name);
    world.assert_silent(&task, told);
    fill(&space, name, 1);
    assert_eq!(polled(1), Code::MACH_SEND_TIMED_OUT);
    world.assert_silent(&task, told);
    receive(&space, name);
    assert_eq!(notification(&space, told), notify::Notification::SendPossible(name));
    assert_eq!(polled(2), Code::SUCCESS);
}

fn s1_4_rcv_large_leaves_the_message(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    send(&space, to(name, 3).body(&[9; 40]));
    for limit in [0, 24, 71] {
        let (code, _) = receive_with(&space, name, Options::RCV_LARGE, limit);
        assert_eq!(code, Code::MACH_RCV_TOO_LARGE, "{limit} bytes");
    }
    let (code, got) = receive_with(&space, name, Options::RCV_LARGE, 72);
    assert_eq!((code, got.header().id, got.trailer.len()), (Code::SUCCESS, 3, 8), "message and minimal trailer fit exactly");
}

fn s1_4_rcv_large_identity_names_the_member(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (members, first, second) = (set(&space), port_with_send(&space), port_with_send(&space));
    for name in [first, second] {
        space.port_insert_member(name, members).unwrap();
    }
    send(&space, to(second, 3).body(&[9; 40]));
    let (code, got) = receive_with(&space, members, Options::RCV_LARGE | Options::RCV_LARGE_IDENTITY, 30);
    assert_eq!((code, got.header().local, got.header().size), (Code::MACH_RCV_TOO_LARGE, second, 72));
    // The message can then be taken from that very port.
    assert_eq!(receive(&space, second).header().id, 3);
}

fn s1_4_options_without_effect(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let sending = [0x20, 0x1_0000, 0x2_0000, 0x4_0000, 0x10_0000, 0x20_0000, 0x80_0000, 0x200];
    let receiving = [0x200, 0x800, 0x4000, 0x8000];
    for option in sending {
        let code = space.mach_msg_options(&mut to(name, option as i32), 0x11 | option, 0, Name::NULL, 0, Name::NULL);
        assert_eq!(code, Code::SUCCESS, "{option:#x}");
        let got = receive(&space, name);
        assert_eq!((got.header().id, got.trailer().unwrap().task), (option as i32, task.id()), "{option:#x}");
    }
    // So is a voucher field that names nothing.
    for disposition in [Disposition::CopySend, Disposition::MoveSend] {
        let mut message = to(name, 1);
        message.edit_header(|header| header.bits |= (disposition as u32) << 16);
        send(&space, message);
        let header = receive(&space, name).header();
        assert_eq!((header.voucher, header.bits), (Name::NULL, 17 << 8));
    }
    for option in receiving {
        send(&space, to(name, option));
        let mut buffer = MsgBuffer::default();
        let code = space.mach_msg_options(&mut buffer, 0x102 | option as u32, 4096, name, SOON, Name::NULL);
        assert_eq!((code, buffer.header().id), (Code::SUCCESS, option), "{option:#x}");
    }
}

fn s1_4_guarded_descriptors_only_when_asked_for(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    for wanted in [false, true] {
        let name = port(&space);
        space.port_guard(name, 0x99, 0).unwrap();
        send(&space, to(inbox, 1).guarded(name, 0x99, 0).body(b"tail"));
        let (code, got) = receive_with(&space, inbox, if wanted { Options::RCV_GUARDED_DESC } else { Options::empty() }, 4096);
        assert_eq!(code, Code::SUCCESS);
        let name = got.port_at(0).unwrap();
        let size = match got.descriptors()[0] {
            Descriptor::Guarded { disposition, .. } if wanted => {
                assert_eq!(disposition, received::RECEIVE);
                28 + 16 + 4
            }
            Descriptor::Port { disposition, .. } if !wanted => {
                assert_eq!(disposition, received::RECEIVE);
                28 + 12 + 4
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((got.header().size, got.body_bytes()), (size, &b"tail"[..]));
        assert_eq!(space.port_get_refs(name, RightKind::Receive), Ok(1));
    }
}

fn s1_4_trailer_has_what_was_asked_for(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let name = port(&space);
    space.port_set_context(name, 0x1234_5678_9abc).unwrap();
    let right = world.pass(&a, name, Disposition::MakeSend, &b);
    let info = other.task_info().unwrap();
    let facts = Trailer {
        seqno: 0,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: std::process::id(),
        task: b.id(),
        context: 0x1234_5678_9abc,
    };
    assert_eq!((info.uid, info.gid, info.pid), (facts.uid, facts.gid, facts.pid));
    // Elements 7 and 8 (AV, LABELS) give the largest.
    for (seqno, (element, size)) in [(0, 8), (1, 12), (2, 20), (3, 52), (4, 60), (7, 68), (8, 68)].into_iter().enumerate() {
        send(&other, to(right, 1));
        let mut buffer = MsgBuffer::default();
        let code = space.mach_msg_options(&mut buffer, 0x102 | element << 24, 4096, name, SOON, Name::NULL);
        assert_eq!((code, buffer.trailer.len(), buffer.header().size), (Code::SUCCESS, size, 24), "element {element}");
        let from = |least: u32| if element >= least { u32::MAX } else { 0 };
        let seen = buffer.trailer().unwrap();
        assert_eq!(seen.seqno, seqno as u32 & from(1));
        assert_eq!((seen.uid, seen.gid), (facts.uid & from(2), facts.gid & from(2)));
        assert_eq!((seen.pid, seen.task), (facts.pid & from(3), if element >= 3 { facts.task } else { 0 }));
        assert_eq!(seen.context, if element >= 4 { facts.context } else { 0 });
        let word = |at: usize| u32::from_le_bytes(buffer.trailer[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(4)), (0, size as u32), "type and size");
    }
    // Unknown ones are refused before anything is received.
    send(&other, to(right, 2));
    for request in [5 << 24, 6 << 24, 9 << 24, 1 << 28, 0xf << 28] {
        let code = space.mach_msg_options(&mut MsgBuffer::default(), 0x102 | request, 4096, name, 0, Name::NULL);
        assert_eq!(code, Code::MACH_RCV_INVALID_TRAILER, "{request:#x}");
    }
    let (code, got) = receive_with(&space, name, with_trailer(Options::empty(), TrailerRequest::Seqno), 36);
    assert_eq!((code, got.header().id, got.trailer().unwrap().seqno), (Code::SUCCESS, 2, 7));
}
