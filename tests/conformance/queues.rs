//! 1.3 Queues, and what happens when a port is destroyed.

use libtask::raw::{ConstructFlags, MsgBuffer, Options, notify, received};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{SOON, World, world_tests};

use crate::common::*;

world_tests![
    s1_3_default_limit_is_5,
    s1_3_limit_from_0_to_1024,
    s1_3_raising_the_limit_wakes_senders,
    s1_3_send_once_never_waits,
    s1_3_woken_sender_is_not_overtaken,
    s1_3_order_is_that_of_sending,
    s1_3_sequence_number_is_given_when_dequeued,
    s1_3_queued_message_holds_a_send_right,
    s1_3_limits_of_a_message,
    s1_3_send_size_is_the_argument,
    s1_3_destruction_ends_queued_messages,
    s1_3_destruction_ends_waits,
    s1_3_destruction_leaves_dead_names,
    s1_3_destruction_turns_own_sends_into_dead_names,
];

fn s1_3_default_limit_is_5(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    assert_eq!(space.port_get_receive_status(name).unwrap().queue_limit, 5);
    fill(&space, name, 5);
    assert_eq!(try_send(&space, to(name, 5)), Code::MACH_SEND_TIMED_OUT);
    let status = space.port_get_receive_status(name).unwrap();
    assert_eq!((status.queued, sends(&space, name)), (5, 2), "the refused message's send right came back to the sender");
}

fn s1_3_limit_from_0_to_1024(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let limit = || space.port_get_receive_status(name).unwrap().queue_limit;
    for value in [0, 1, 1024] {
        space.port_set_qlimit(name, value).unwrap();
        assert_eq!(limit(), value);
    }
    for value in [1025, 65534, u32::MAX] {
        assert_eq!(space.port_set_qlimit(name, value), Err(Code::KERN_INVALID_VALUE));
        assert_eq!(space.port_construct(ConstructFlags::QLIMIT, value, 0), Err(Code::KERN_INVALID_VALUE));
        assert_eq!(limit(), 1024);
    }
    space.port_set_qlimit(name, 0).unwrap();
    assert_eq!(try_send(&space, to(name, 1)), Code::MACH_SEND_TIMED_OUT);
    space.port_set_qlimit(name, 1024).unwrap();
    fill(&space, name, 1024);
    assert_eq!(try_send(&space, to(name, 1)), Code::MACH_SEND_TIMED_OUT);
    // Lowered below what is there: nothing is lost, and nothing more is taken until there is room again.
    space.port_set_qlimit(name, 1).unwrap();
    for id in 0..1024 {
        assert_eq!(receive(&space, name).header().id, id);
        if id < 1023 {
            assert_eq!(space.port_get_receive_status(name).unwrap().queued, 1023 - id as u32);
        }
    }
    send(&space, to(name, 1));
}

fn s1_3_raising_the_limit_wakes_senders(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_limit(&space, 1);
    fill(&space, name, 1);
    let mut blocked = Vec::new();
    for id in 1..4 {
        blocked.push(send_in_thread(&task, to(name, id)));
        world.await_blocked_sends(&task, id as u32);
    }
    space.port_set_qlimit(name, 3).unwrap();
    world.await_blocked_sends(&task, 1);
    assert_eq!(space.port_get_receive_status(name).unwrap().queued, 3);
    for id in 0..4 {
        assert_eq!(receive(&space, name).header().id, id);
    }
    for thread in blocked {
        assert_eq!(thread.join().unwrap().0, Code::SUCCESS);
    }
}

fn s1_3_send_once_never_waits(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_limit(&space, 1);
    fill(&space, name, 1);
    for id in 1..20 {
        let once = send_once(&space, name);
        send(&space, MsgBuffer::new(id).remote(once, Disposition::MoveSendOnce));
        assert_gone(&space, once);
    }
    send(&space, MsgBuffer::new(20).remote(name, Disposition::MakeSendOnce));
    assert_eq!(try_send(&space, to(name, 99)), Code::MACH_SEND_TIMED_OUT);
    for id in 0..21 {
        let header = receive(&space, name).header();
        assert_eq!((header.id, header.local_disposition()), (id, if id == 0 { received::SEND } else { received::SEND_ONCE }));
    }
}

fn s1_3_woken_sender_is_not_overtaken(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_limit(&space, 1);
    fill(&space, name, 1);
    let mut blocked = Vec::new();
    for id in 1..5 {
        blocked.push(send_in_thread(&task, to(name, id)));
        world.await_blocked_sends(&task, id as u32);
    }
    for id in 0..5 {
        assert_eq!(receive(&space, name).header().id, id);
        // The room that this made belongs to the next in line at once, whether its thread has run or not.
        if id < 4 {
            assert_eq!(try_send(&space, to(name, 99)), Code::MACH_SEND_TIMED_OUT);
        }
    }
    for thread in blocked {
        assert_eq!(thread.join().unwrap().0, Code::SUCCESS);
    }
    world.assert_silent(&task, name);
}

fn s1_3_order_is_that_of_sending(world: &World) {
    const EACH: i32 = 200;
    let receiver = world.task("receiver");
    let space = receiver.raw();
    let name = port(&space);
    let senders: Vec<_> = (0..3)
        .map(|i| {
            let task = world.task("sender");
            let right = world.pass(&receiver, name, Disposition::MakeSend, &task);
            std::thread::spawn(move || {
                for n in 0..EACH {
                    let mut message = to(right, i * EACH + n).body(&vec![n as u8; (n % 7) as usize * 100]);
                    assert_eq!(task.raw().send_timeout(&mut message, SOON), Code::SUCCESS);
                }
            })
        })
        .collect();
    let mut next = [0; 3];
    for seqno in 0..3 * EACH {
        let got = receive(&space, name);
        let (sender, n) = (got.header().id / EACH, got.header().id % EACH);
        assert_eq!(n, next[sender as usize], "messages of sender {sender} out of order");
        next[sender as usize] += 1;
        assert_eq!(got.trailer().unwrap().seqno, seqno as u32);
    }
    for thread in senders {
        thread.join().unwrap();
    }
}

fn s1_3_sequence_number_is_given_when_dequeued(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, other, members) = (port_with_send(&space), port_with_send(&space), set(&space));
    let seqno = |from| receive(&space, from).trailer().unwrap().seqno;
    fill(&space, name, 5);
    assert_eq!((seqno(name), seqno(name)), (0, 1));
    // Counted per port, also through a set.
    space.port_insert_member(name, members).unwrap();
    space.port_insert_member(other, members).unwrap();
    assert_eq!(seqno(members), 2);
    fill(&space, other, 1);
    assert_eq!(seqno(other), 0);
    assert_eq!(space.port_get_receive_status(name).unwrap().seqno, 3);
    // A queued message has none yet: what is set counts for it.
    space.port_set_seqno(name, 100).unwrap();
    assert_eq!((seqno(members), seqno(name)), (100, 101));
    space.port_set_seqno(name, u32::MAX).unwrap();
    fill(&space, name, 2);
    assert_eq!((seqno(name), seqno(name)), (u32::MAX, 0));
}

fn s1_3_queued_message_holds_a_send_right(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    for ends_by_receiving in [true, false] {
        let name = port_with_send(&space);
        request(&space, name, notify::NO_SENDERS, 1, told);
        send(&space, MsgBuffer::new(1).remote(name, Disposition::MoveSend).body(&[1; 200]));
        assert_eq!((kind(&space, name), space.port_get_srights(name)), (TypeBits::RECEIVE, Ok(1)));
        world.assert_silent(&task, told);
        if ends_by_receiving {
            receive(&space, name);
        } else {
            assert_eq!(receive_with(&space, name, Options::empty(), 100).0, Code::MACH_RCV_TOO_LARGE);
        }
        assert_eq!(notification(&space, told), notify::Notification::NoSenders(1));
        assert_eq!(space.port_get_srights(name), Ok(0));
    }
}

fn s1_3_limits_of_a_message(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let carried = port_with_send(&space);
    // Inline: 64 KiB with the header.
    let body: Vec<u8> = (0..64 * 1024 - 24).map(|i| i as u8).collect();
    send(&space, to(name, 1).body(&body));
    assert_eq!(receive(&space, name).body_bytes(), body);
    assert_eq!(try_send(&space, to(name, 1).body(&[body, vec![0; 4]].concat())), Code::MACH_SEND_TOO_LARGE);
    // Rights: 16383.
    let array = |count| to(name, 1).ports(vec![carried; count], Disposition::CopySend);
    send(&space, array(16383));
    let got = receive(&space, name);
    assert_eq!(got.ports_at(0).map(<[Name]>::len), Some(16383));
    assert_eq!(sends(&space, carried), 16384);
    assert_eq!(try_send(&space, array(16384)), Code::MACH_SEND_TOO_LARGE);
}

fn s1_3_send_size_is_the_argument(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    for size in [0, 4, 20, 23, 25, 26, 27, 29] {
        let mut message = to(name, 1);
        message.bytes.resize(size, 0);
        assert_eq!(try_send(&space, message), Code::MACH_SEND_MSG_TOO_SMALL, "{size} bytes");
    }
    // The field in the header says nothing.
    for lie in [0, 24, 9999] {
        let mut message = to(name, 1).body(b"12345678");
        message.edit_header(|header| header.size = lie);
        send(&space, message);
        let got = receive(&space, name);
        assert_eq!((got.header().size, got.body_bytes()), (32, &b"12345678"[..]));
    }
}

/// The ways to end a port by its receive right.
const ENDS: &[fn(&libtask::raw::Space<'_>, Name)] = &[
    |space, name| space.port_mod_refs(name, RightKind::Receive, -1).unwrap(),
    |space, name| space.port_destroy(name).unwrap(),
    |space, name| space.port_destruct(name, 0, 0).unwrap(),
];

fn s1_3_destruction_ends_queued_messages(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    for end in ENDS {
        let (told, told_of_senders, saved_to) = (port(&space), port(&space), port(&space));
        let victim = port_with_send(&space);
        let (counted, inner, saved) = (port_with_send(&space), port_with_send(&space), port_with_send(&space));
        request(&space, counted, notify::NO_SENDERS, 0, told_of_senders);
        request(&space, saved, notify::PORT_DESTROYED, 0, saved_to);
        // In the victim's queue: a message with a reply right, memory, the last send right of a port, a receive right whose queue holds a
        // send-once right in turn, and a receive right that wants to be saved.
        send(&space, to(inner, 1).port(told, Disposition::MakeSendOnce));
        let message = to(victim, 2).local(told, Disposition::MakeSendOnce).memory(vec![1; 50_000]).memory(*b"small");
        let message = message.ports([counted], Disposition::MoveSend).port(inner, Disposition::MoveReceive);
        send(&space, message.port(saved, Disposition::MoveReceive));
        send(&space, to(victim, 3).port(told, Disposition::MakeSendOnce));
        end(&space, victim);
        for _ in 0..3 {
            assert_eq!(notification(&space, told), notify::Notification::SendOnce);
        }
        assert_eq!(notification(&space, told_of_senders), notify::Notification::NoSenders(1));
        assert_eq!(notification(&space, saved_to), notify::Notification::PortDestroyed(saved));
        assert_eq!(kind(&space, saved), TypeBits::SEND_RECEIVE);
        assert_eq!(kind(&space, inner), TypeBits::DEAD_NAME);
        world.assert_silent(&task, told);
        let host = world.host();
        assert_eq!((host.messages, host.regions), (0, 0));
    }
}

fn s1_3_destruction_ends_waits(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    for end in ENDS {
        let (victim, other, members) = (port_with_limit(&space, 1), port_with_send(&space), set(&space));
        space.port_insert_member(other, members).unwrap();
        space.port_insert_member(victim, members).unwrap();
        let on_set = receive_in_thread(&task, members);
        world.await_blocked_receives(&task, 1);
        let on_port = receive_in_thread(&task, victim);
        world.await_blocked_receives(&task, 2);
        end(&space, victim);
        assert_eq!(on_port.join().unwrap().map(drop), Err(Code::MACH_RCV_PORT_CHANGED));
        world.await_blocked_receives(&task, 1);
        send(&space, to(other, 7));
        assert_eq!(on_set.join().unwrap().unwrap().header().id, 7, "the set goes on without it");
        assert_eq!(space.port_get_set_status(members), Ok(vec![other]));

        let victim = port_with_limit(&space, 1);
        fill(&space, victim, 1);
        let blocked = [send_in_thread(&task, to(victim, 1)), send_in_thread(&task, to(victim, 2))];
        world.await_blocked_sends(&task, 2);
        end(&space, victim);
        for thread in blocked {
            assert_eq!(thread.join().unwrap().0, Code::SUCCESS);
        }
    }
}

fn s1_3_destruction_leaves_dead_names(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    for end in ENDS {
        let (told, told_b) = (port(&space), port(&other));
        let victim = port(&space);
        let held = world.pass(&a, victim, Disposition::MakeSend, &b);
        other.port_mod_refs(held, RightKind::Send, 2).unwrap();
        let once = world.pass(&a, victim, Disposition::MakeSendOnce, &b);
        let watched = world.pass(&a, victim, Disposition::MakeSendOnce, &b);
        request(&other, watched, notify::DEAD_NAME, 0, told_b);
        request(&space, victim, notify::NO_SENDERS, 0, told);
        end(&space, victim);
        assert_eq!((kind(&other, held), deads(&other, held)), (TypeBits::DEAD_NAME, 3));
        assert_eq!((kind(&other, once), deads(&other, once)), (TypeBits::DEAD_NAME, 1));
        assert_eq!(notification(&other, told_b), notify::Notification::DeadName(watched));
        assert_eq!(deads(&other, watched), 2, "one reference came with the notification");
        assert_eq!(notification(&space, told), notify::Notification::SendOnce, "there will be no no-senders notification");
    }
}

fn s1_3_destruction_turns_own_sends_into_dead_names(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    let name = port_with_send(&space);
    space.port_mod_refs(name, RightKind::Send, 4).unwrap();
    destroy(&space, name);
    assert_eq!((kind(&space, name), deads(&space, name)), (TypeBits::DEAD_NAME, 5));
    let name = port_with_send(&space);
    request(&space, name, notify::DEAD_NAME, 0, told);
    destroy(&space, name);
    assert_eq!((kind(&space, name), deads(&space, name)), (TypeBits::DEAD_NAME, 2));
    assert_eq!(notification(&space, told), notify::Notification::DeadName(name));
    // Without send rights nothing is left; an armed request is told that the name went.
    let name = port(&space);
    request(&space, name, notify::DEAD_NAME, 0, told);
    destroy(&space, name);
    assert_gone(&space, name);
    assert_eq!(notification(&space, told), notify::Notification::PortDeleted(name));
    // Destroying all rights under the name leaves nothing either.
    let name = port_with_send(&space);
    space.port_destroy(name).unwrap();
    assert_gone(&space, name);
}
