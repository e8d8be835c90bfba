//! 1.5 Failed sends, and receiving.

use libtask::raw::{Descriptor, Header, MsgBuffer, Options, notify, received};
use libtask::{Code, Disposition, Message, Name, RightKind, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_5_timed_out_send_is_handed_back,
    s1_5_handed_back_without_room_for_names,
    s1_5_received_header_is_swapped,
    s1_5_receive_needs_a_receive_right_or_set,
    s1_5_receive_from_a_member_of_a_set,
    s1_5_adding_to_a_set_keeps_waiters,
    s1_5_too_large_stays_with_rcv_large,
    s1_5_too_large_is_destroyed_without,
    s1_5_header_error_destroys_the_message,
    s1_5_body_error_delivers_nulls,
    s1_5_unknown_header_bits_are_cleared,
    s1_5_message_destroy_drops_everything,
];

fn s1_5_timed_out_send_is_handed_back(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let full = port(&other);
    other.port_set_qlimit(full, 0).unwrap();
    let dest = world.pass(&b, full, Disposition::MakeSend, &a);
    let inbox = port(&space);
    for timeout in [0, 15] {
        let (name, gone) = (port_with_send(&space), port(&space));
        let once = send_once(&space, name);
        let message = to(dest, 77).local(name, Disposition::MakeSendOnce).port(name, Disposition::MoveSend);
        let message = message.port(gone, Disposition::MoveReceive).port(once, Disposition::MoveSendOnce);
        let large: Vec<u8> = (0..100_000u32).map(|i| (i % 253) as u8).collect();
        let mut message = message.memory(*b"snap").memory(large.clone()).ports([name, Name::DEAD], Disposition::MakeSend).body(b"text");
        assert_eq!(space.send_timeout(&mut message, timeout), Code::MACH_SEND_TIMED_OUT);
        // Nothing swapped, every right as one that was moved here.
        let header = message.header();
        assert_eq!((header.id, header.remote, header.remote_disposition()), (77, dest, received::SEND));
        assert_eq!(header.local_disposition(), received::SEND_ONCE);
        assert_eq!((kind(&space, header.local), sends(&space, dest)), (TypeBits::SEND_ONCE, 2), "the copy came back as a reference");
        let descriptors = message.descriptors();
        assert_eq!(descriptors[0], Descriptor::Port { name, disposition: received::SEND });
        let Descriptor::Port { name: back, disposition: received::RECEIVE } = descriptors[1] else { panic!("{descriptors:?}") };
        let Descriptor::Port { name: once, disposition: received::SEND_ONCE } = descriptors[2] else { panic!("{descriptors:?}") };
        assert_eq!((kind(&space, back), kind(&space, once)), (TypeBits::RECEIVE, TypeBits::SEND_ONCE));
        assert_eq!((message.memory_at(3), message.body_bytes()), (Some(&b"snap"[..]), &b"text"[..]));
        assert_eq!(message.memory_at(4), Some(&large[..]));
        assert_eq!(message.ports_at(5), Some(&[name, Name::DEAD][..]));
        assert!(matches!(descriptors[5], Descriptor::Ports { disposition: received::SEND, .. }));
        assert_eq!(sends(&space, name), 2, "moved and back, and one made for the array");
        // It can be sent as it stands, to somewhere else.
        add_send(&space, inbox);
        let mut message = message.remote(inbox, Disposition::MoveSend);
        assert_eq!(space.send_timeout(&mut message, 0), Code::SUCCESS);
        space.port_deallocate(dest).unwrap();
        let got = receive(&space, inbox);
        assert_eq!((got.header().id, got.memory_at(3), got.body_bytes()), (77, Some(&b"snap"[..]), &b"text"[..]));
    }
    world.assert_silent(&b, full);
}

fn s1_5_handed_back_without_room_for_names(world: &World) {
    let poor = world.with_limits(&[("task-names", 8)]);
    let task = poor.task("poor");
    let space = task.raw();
    let (full, told) = (port_with_limit(&space, 0), port(&space));
    while space.port_allocate(RightKind::DeadName).is_ok() {}
    let mut message = to(full, 5).local(told, Disposition::MakeSendOnce).port(told, Disposition::MakeSend).body(b"body");
    let code = space.send_timeout(&mut message, 0);
    assert_eq!((code.plain(), code.0 & Code::IPC_SPACE), (Code::MACH_SEND_TIMED_OUT, Code::IPC_SPACE));
    // The reply right found no name and is gone; rights that join a name came back.
    let header = message.header();
    assert_eq!((header.remote, header.local, message.port_at(0), message.body_bytes()), (full, Name::NULL, Some(told), &b"body"[..]));
    assert_eq!((sends(&space, full), sends(&space, told)), (2, 1));
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    drop(task);
    poor.end();
}

fn s1_5_received_header_is_swapped(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let (service, reply) = (port(&space), port(&other));
    let right = world.pass(&a, service, Disposition::MakeSend, &b);
    send(&other, to(right, 1).local(reply, Disposition::MakeSendOnce));
    let Header { bits, remote, local, voucher, size, .. } = receive(&space, service).header();
    assert_eq!((local, kind(&space, remote)), (service, TypeBits::SEND_ONCE), "came on its own name, reply where the destination was");
    assert_eq!((bits, voucher, size), (18 | 17 << 8, Name::NULL, 24));
    // The answer goes back the same way.
    send(&space, MsgBuffer::new(2).remote(remote, Disposition::MoveSendOnce));
    let header = receive(&other, reply).header();
    assert_eq!((header.bits, header.remote, header.local), (18 << 8, Name::NULL, reply));
    // Through a set, the local port is still the member.
    let members = set(&space);
    space.port_insert_member(service, members).unwrap();
    send(&other, to(right, 3).local(right, Disposition::CopySend));
    let header = receive(&space, members).header();
    assert_eq!((header.local, header.remote, header.bits), (service, service, 17 | 17 << 8));
}

fn s1_5_receive_needs_a_receive_right_or_set(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let once = send_once(&space, name);
    for name in [once, dead_name(&space), space.task_self(), Name(0x7000_0003), Name::NULL, Name::DEAD] {
        assert_eq!(space.receive(name, 0).map(drop), Err(Code::MACH_RCV_INVALID_NAME), "{name}");
    }
    for name in [name, set(&space)] {
        assert_eq!(space.receive(name, 0).map(drop), Err(Code::MACH_RCV_TIMED_OUT), "{name}");
    }
}

fn s1_5_receive_from_a_member_of_a_set(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (members, name) = (set(&space), port_with_send(&space));
    space.port_insert_member(name, members).unwrap();
    fill(&space, name, 3);
    assert_eq!(receive(&space, name).header().id, 0);
    assert_eq!(receive(&space, members).header().id, 1);
    assert_eq!(receive(&space, name).header().id, 2);
    // A thread on the member is served before one on the set.
    let on_set = receive_in_thread(&task, members);
    world.await_blocked_receives(&task, 1);
    let on_port = receive_in_thread(&task, name);
    world.await_blocked_receives(&task, 2);
    send(&space, to(name, 3));
    assert_eq!(on_port.join().unwrap().unwrap().header().id, 3);
    send(&space, to(name, 4));
    assert_eq!(on_set.join().unwrap().unwrap().header().id, 4);
}

fn s1_5_adding_to_a_set_keeps_waiters(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (members, name) = (set(&space), port_with_send(&space));
    let waiting = receive_in_thread(&task, name);
    world.await_blocked_receives(&task, 1);
    space.port_insert_member(name, members).unwrap();
    space.port_move_member(name, members).unwrap();
    space.port_extract_member(name, members).unwrap();
    world.await_blocked_receives(&task, 1);
    send(&space, to(name, 6));
    assert_eq!(waiting.join().unwrap().unwrap().header().id, 6);
}

fn s1_5_too_large_stays_with_rcv_large(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (inbox, carried) = (port_with_send(&space), port_with_send(&space));
    send(&space, to(inbox, 3).port(carried, Disposition::MoveSend).memory(vec![1; 10_000]).body(b"12345678"));
    // 28 + 12 + 16 + 8 and the trailer; memory out of line does not count.
    for (trailer, size) in [(0, 72), (1, 76), (3, 116)] {
        let mut buffer = MsgBuffer::default();
        let code = space.mach_msg_options(&mut buffer, 0x106 | trailer << 24, size - 1, inbox, 0, Name::NULL);
        assert_eq!((code, buffer.header().size), (Code::MACH_RCV_TOO_LARGE, size));
    }
    assert_eq!((space.port_get_receive_status(inbox).unwrap().queued, kind(&space, carried)), (1, TypeBits::RECEIVE));
    let (code, got) = receive_with(&space, inbox, Options::RCV_LARGE, 72);
    assert_eq!((code, got.port_at(0), got.body_bytes()), (Code::SUCCESS, Some(carried), &b"12345678"[..]));
    assert_eq!(got.memory_at(1), Some(&[1; 10_000][..]));
}

fn s1_5_too_large_is_destroyed_without(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (inbox, carried, told) = (port_with_send(&space), port_with_send(&space), port(&space));
    let message = to(inbox, 3).local(told, Disposition::MakeSendOnce).port(told, Disposition::MakeSendOnce);
    send(&space, message.port(carried, Disposition::MoveSend).memory(vec![1; 50_000]));
    send(&space, to(inbox, 4));
    let names = space.port_names().unwrap();
    let (code, got) = receive_with(&space, inbox, Options::empty(), 40);
    assert_eq!(code, Code::MACH_RCV_TOO_LARGE);
    let header = got.header();
    assert_eq!((got.bytes.len(), header.id, header.local, header.remote), (24, 3, inbox, Name::NULL));
    assert_eq!(got.trailer.len(), 8, "a minimal trailer");
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    world.settle();
    assert_eq!((space.port_get_srights(carried), space.port_names().unwrap()), (Ok(0), names), "no name came of it");
    assert_eq!((world.host().messages, world.host().regions), (1, 0));
    let next = receive(&space, inbox);
    assert_eq!((next.header().id, next.trailer().unwrap().seqno), (4, 1), "it had a sequence number");
}

/// A world whose tasks can have so many names, a receiver with a port and no room left, and a sender with a right to it.
fn cramped(world: &World, names: u64, test: impl FnOnce(&World, &libtask::Task, Name, &libtask::Task, Name)) {
    let cramped = world.with_limits(&[("task-names", names)]);
    let (receiver, sender) = (cramped.task("receiver"), cramped.task("sender"));
    let inbox = port(&receiver.raw());
    let right = cramped.pass(&receiver, inbox, Disposition::MakeSend, &sender);
    test(&cramped, &receiver, inbox, &sender, right);
    drop((receiver, sender));
    cramped.end();
}

fn s1_5_header_error_destroys_the_message(world: &World) {
    cramped(world, 12, |world, receiver, inbox, sender, right| {
        let (space, other) = (receiver.raw(), sender.raw());
        let (reply, carried) = (port(&other), port_with_send(&other));
        while space.port_allocate(RightKind::DeadName).is_ok() {}
        let message = to(right, 1).local(reply, Disposition::MakeSendOnce).port(carried, Disposition::MoveSend);
        send(&other, message.memory(vec![1; 50_000]));
        send(&other, to(right, 2));
        let (code, _) = receive_with(&space, inbox, Options::empty(), 4096);
        assert_eq!((code.plain(), code.0 & Code::IPC_SPACE), (Code::MACH_RCV_HEADER_ERROR, Code::IPC_SPACE));
        assert_eq!(notification(&other, reply), notify::Notification::SendOnce);
        world.settle();
        assert_eq!((kind(&other, carried), other.port_get_srights(carried)), (TypeBits::RECEIVE, Ok(0)));
        assert_eq!((world.host().messages, world.host().regions), (1, 0));
        assert_eq!(receive(&space, inbox).header().id, 2);
    });
}

fn s1_5_body_error_delivers_nulls(world: &World) {
    cramped(world, 12, |world, receiver, inbox, sender, right| {
        let (space, other) = (receiver.raw(), sender.raw());
        let (told, lost) = (port(&other), port_with_send(&other));
        while space.port_allocate(RightKind::DeadName).is_ok() {}
        // The receiver holds the inbox, so a send right to it needs no new name; the others do.
        let message = to(right, 1).port(right, Disposition::CopySend).port(lost, Disposition::CopySend).memory(*b"kept");
        let message = message.ports([right, lost], Disposition::CopySend).port(told, Disposition::MakeSendOnce);
        send(&other, message.body(b"body"));
        assert_eq!(other.port_get_srights(lost), Ok(3));
        let (code, got) = receive_with(&space, inbox, Options::empty(), 4096);
        assert_eq!((code.plain(), code.0 & Code::IPC_SPACE), (Code::MACH_RCV_BODY_ERROR, Code::IPC_SPACE));
        assert_eq!((got.header().id, got.body_bytes(), got.memory_at(2)), (1, &b"body"[..], Some(&b"kept"[..])));
        assert_eq!((got.port_at(0), got.port_at(1), got.port_at(4)), (Some(inbox), Some(Name::NULL), Some(Name::NULL)));
        assert_eq!(got.ports_at(3), Some(&[inbox, Name::NULL][..]));
        assert_eq!(notification(&other, told), notify::Notification::SendOnce);
        world.settle();
        assert_eq!((other.port_get_srights(lost), sends(&space, inbox)), (Ok(1), 2));
    });
}

fn s1_5_unknown_header_bits_are_cleared(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let mut message = to(name, 1).body(b"body");
    message.edit_header(|header| header.bits |= 0x7fe0_e0e0);
    send(&space, message);
    let got = receive(&space, name);
    assert_eq!((got.header().bits, got.body_bytes()), (17 << 8, &b"body"[..]));
}

fn s1_5_message_destroy_drops_everything(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (service, inner, counted, reply) = (a.new_port().unwrap(), b.new_port().unwrap(), b.new_port().unwrap(), b.new_port().unwrap());
    let (told, own) = (b.new_port().unwrap(), b.new_port().unwrap());
    let right = libtask::SendRight::from_raw(&b, world.pass(&a, service.name(), Disposition::MakeSend, &b));
    let watch = inner.make_send().unwrap();
    counted.on_no_senders_since(1, &told).unwrap();
    let message = Message::new(1).reply_to(&reply).move_send(counted.make_send().unwrap()).make_send_once(&own).move_receive(inner);
    right.send(message.rights([watch.duplicate()]).memory(vec![5; 100_000]).memory(*b"small")).unwrap();
    let before = a.raw().port_names().unwrap();
    let got = service.receive().unwrap();
    assert_eq!(world.host().regions, 0, "mapped already");
    drop(got);
    // Replies, send, send-once and receive rights, arrays: all are given up, and those who wait for it are told.
    let told_at = |port: &libtask::ReceiveRight| port.receive().unwrap().take_notification();
    assert!(matches!(told_at(&reply), Some(libtask::Notification::SendOnce)));
    assert!(matches!(told_at(&own), Some(libtask::Notification::SendOnce)));
    assert!(matches!(told_at(&told), Some(libtask::Notification::NoSenders { make_send_count: 1 })));
    umach_tests::eventually("the receive right is destroyed", || watch.is_dead().unwrap());
    umach_tests::eventually("no name is left", || a.raw().port_names().unwrap() == before);
}
