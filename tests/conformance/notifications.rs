//! 1.6 Notifications.

use libtask::raw::{Descriptor, Header, MsgBuffer, NDR, Options, notify, received};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use notify::Notification;
use umach_tests::{SOON, World, world_tests};

use crate::common::*;

world_tests![
    s1_6_ids_and_layouts,
    s1_6_no_task_can_fake_one,
    s1_6_dead_name,
    s1_6_port_deleted,
    s1_6_no_senders,
    s1_6_no_senders_waits_for_sync,
    s1_6_port_destroyed,
    s1_6_send_once,
    s1_6_send_possible,
    s1_6_request_is_an_atomic_swap,
    s1_6_request_with_bad_arguments,
    s1_6_request_on_dead_name,
];

fn s1_6_ids_and_layouts(world: &World) {
    assert_eq!((notify::PORT_DELETED, notify::SEND_POSSIBLE, notify::PORT_DESTROYED), (65, 66, 69));
    assert_eq!((notify::NO_SENDERS, notify::SEND_ONCE, notify::DEAD_NAME), (70, 71, 72));
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    // Header, and behind it as many bytes as XNU has, with a 20-byte trailer.
    let next = |id: i32, size: u32| {
        let mut buffer = MsgBuffer::default();
        let options = 0x102 | 2 << 24;
        assert_eq!(space.mach_msg_options(&mut buffer, options, size + 20, told, SOON, Name::NULL), Code::SUCCESS);
        let complex = if id == notify::PORT_DESTROYED { 1 << 31 } else { 0 };
        let bits = (received::SEND_ONCE as u32) << 8 | complex;
        assert_eq!(buffer.header(), Header { bits, size, remote: Name::NULL, local: told, voucher: Name::NULL, id });
        assert_eq!((buffer.bytes.len(), buffer.trailer.len()), (size as usize, 20));
        if size == 36 {
            assert_eq!(buffer.bytes[24..32], NDR);
        }
        buffer
    };
    let word = |buffer: &MsgBuffer| u32::from_le_bytes(buffer.bytes[32..36].try_into().unwrap());

    let name = port_with_send(&space);
    request(&space, name, notify::DEAD_NAME, 0, told);
    request(&space, name, notify::NO_SENDERS, 0, told);
    destroy(&space, name);
    assert_eq!(word(&next(72, 36)), name.0);
    next(71, 24);
    let name = port_with_send(&space);
    request(&space, name, notify::NO_SENDERS, 0, told);
    space.port_deallocate(name).unwrap();
    assert_eq!(word(&next(70, 36)), 1, "the make-send count");
    request(&space, name, notify::PORT_DESTROYED, 0, told);
    destroy(&space, name);
    let got = next(69, 40);
    let Descriptor::Port { name, disposition: received::RECEIVE } = got.descriptors()[0] else { panic!("a receive right") };
    request(&space, name, notify::DEAD_NAME, 0, told);
    destroy(&space, name);
    assert_eq!(word(&next(65, 36)), name.0);
    let name = port_with_send(&space);
    request(&space, name, notify::SEND_POSSIBLE, 1, told);
    assert_eq!(word(&next(66, 36)), name.0);
}

fn s1_6_no_task_can_fake_one(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let told = port(&space);
    let right = world.pass(&a, told, Disposition::MakeSend, &b);
    let once = world.pass(&a, told, Disposition::MakeSendOnce, &b);
    let fake = |dest, disposition| MsgBuffer::new(72).remote(dest, disposition).body(&NDR).body(&0x103u32.to_le_bytes());
    send(&other, fake(right, Disposition::CopySend));
    send(&other, fake(once, Disposition::MoveSendOnce));
    for _ in 0..2 {
        let got = receive(&space, told);
        assert_eq!((got.header().id, got.notification()), (72, None));
        assert_eq!(Notification::parse(&got.bytes), Some(Notification::DeadName(Name(0x103))), "only the trailer tells");
        assert_eq!(got.trailer().unwrap().task, b.id());
    }
    let once = send_once(&space, told);
    space.port_deallocate(once).unwrap();
    let got = receive(&space, told);
    let trailer = got.trailer().unwrap();
    assert_eq!((trailer.uid, trailer.gid, trailer.pid, trailer.task), (notify::KERNEL_ID, notify::KERNEL_ID, 0, 0));
    assert_eq!(got.notification(), Some(Notification::SendOnce));
}

fn s1_6_dead_name(world: &World) {
    let (a, b, c) = (world.task("a"), world.task("b"), world.task("c"));
    let victim = port(&a.raw());
    let mut watched = Vec::new();
    for task in [&b, &c] {
        let space = task.raw();
        let told = port(&space);
        let name = world.pass(&a, victim, Disposition::MakeSend, task);
        let once = world.pass(&a, victim, Disposition::MakeSendOnce, task);
        for name in [name, once] {
            assert_eq!(request(&space, name, notify::DEAD_NAME, 0, told), Name::NULL);
            assert!(space.port_type(name).unwrap().contains(TypeBits::DNREQUEST));
        }
        watched.push((task, told, name, once));
    }
    destroy(&a.raw(), victim);
    for (task, told, name, once) in watched {
        let space = task.raw();
        let seen: std::collections::HashSet<_> = (0..2).map(|_| format!("{:?}", notification(&space, told))).collect();
        let wanted = [name, once].map(|name| format!("{:?}", Notification::DeadName(name))).into_iter().collect();
        assert_eq!(seen, wanted);
        // The notification holds a reference of its own, so that the name means the same until the handler is done with it.
        for name in [name, once] {
            assert_eq!((space.port_type(name), deads(&space, name)), (Ok(TypeBits::DEAD_NAME), 2));
            space.port_deallocate(name).unwrap();
            space.port_deallocate(name).unwrap();
            assert_gone(&space, name);
        }
        world.assert_silent(task, told);
    }
}

fn s1_6_port_deleted(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let (told, inbox) = (port(&space), port(&space));
    add_send(&space, inbox);
    let target = port(&other);
    let new_send = || world.pass(&b, target, Disposition::MakeSend, &a);
    let new_once = || world.pass(&b, target, Disposition::MakeSendOnce, &a);
    let watch = |name| {
        request(&space, name, notify::DEAD_NAME, 0, told);
        name
    };
    let deleted = |name| {
        assert_eq!(notification(&space, told), Notification::PortDeleted(name));
        assert_gone(&space, name);
    };
    let name = watch(new_send());
    space.port_mod_refs(name, RightKind::Send, 1).unwrap();
    space.port_deallocate(name).unwrap();
    world.assert_silent(&a, told);
    space.port_deallocate(name).unwrap();
    deleted(name);
    let name = watch(new_send());
    space.port_mod_refs(name, RightKind::Send, -1).unwrap();
    deleted(name);
    let name = watch(new_send());
    space.port_destroy(name).unwrap();
    deleted(name);
    let name = watch(new_send());
    send(&space, to(inbox, 1).port(name, Disposition::MoveSend));
    deleted(name);
    let name = watch(new_send());
    send(&space, MsgBuffer::new(1).remote(name, Disposition::MoveSend));
    deleted(name);
    let name = watch(new_once());
    space.port_deallocate(name).unwrap();
    deleted(name);
    let name = watch(new_once());
    send(&space, MsgBuffer::new(1).remote(name, Disposition::MoveSendOnce));
    deleted(name);
    let name = watch(new_once());
    send(&space, to(inbox, 2).port(name, Disposition::MoveSendOnce));
    deleted(name);
    // A send-possible request is a request on the name too.
    let name = new_send();
    request(&space, name, notify::SEND_POSSIBLE, 0, told);
    space.port_deallocate(name).unwrap();
    deleted(name);
    // It is the name that counts: as long as a receive right keeps it, the request stays.
    let own = watch(port_with_send(&space));
    space.port_deallocate(own).unwrap();
    assert!(space.port_type(own).unwrap().contains(TypeBits::DNREQUEST));
    world.assert_silent(&a, told);
    send(&space, to(inbox, 3).port(own, Disposition::MoveReceive));
    deleted(own);
    receive(&space, inbox);
    // A request does not follow the right to its next name.
    destroy(&other, target);
    world.assert_silent(&a, told);
}

fn s1_6_no_senders(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let (told, name) = (port(&space), port(&space));
    let ask = || request(&space, name, notify::NO_SENDERS, 0, told);
    // At once if there are none.
    assert_eq!(ask(), Name::NULL);
    assert_eq!(notification(&space, told), Notification::NoSenders(0));
    // When the last goes, wherever it is: in this space, in another, in a message.
    add_send(&space, name);
    let held = world.pass(&a, name, Disposition::CopySend, &b);
    ask();
    space.port_mod_refs(name, RightKind::Send, 3).unwrap();
    space.port_mod_refs(name, RightKind::Send, -4).unwrap();
    world.assert_silent(&a, told);
    let inbox = port_with_send(&other);
    send(&other, to(inbox, 1).port(held, Disposition::MoveSend));
    world.assert_silent(&a, told);
    let held = receive(&other, inbox).port_at(0).unwrap();
    world.assert_silent(&a, told);
    other.port_deallocate(held).unwrap();
    assert_eq!(notification(&space, told), Notification::NoSenders(1));
    // Once: the next time needs a new request. Send-once rights do not count.
    add_send(&space, name);
    space.port_deallocate(name).unwrap();
    world.assert_silent(&a, told);
    add_send(&space, name);
    let once = send_once(&space, name);
    ask();
    space.port_deallocate(name).unwrap();
    assert_eq!(notification(&space, told), Notification::NoSenders(3));
    space.port_deallocate(once).unwrap();
    // A task's end counts as well.
    add_send(&space, name);
    let end = world.task("ending");
    let id = end.id();
    world.pass(&a, name, Disposition::MoveSend, &end);
    ask();
    world.assert_silent(&a, told);
    drop(end);
    world.end_task(id);
    assert_eq!(notification(&space, told), Notification::NoSenders(4));
}

fn s1_6_no_senders_waits_for_sync(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (told, name) = (port(&space), port(&space));
    // Not before as many were made as the request says.
    request(&space, name, notify::NO_SENDERS, 1, told);
    world.assert_silent(&task, told);
    add_send(&space, name);
    world.assert_silent(&task, told);
    space.port_deallocate(name).unwrap();
    assert_eq!(notification(&space, told), Notification::NoSenders(1));
    // Immediately if that many were made, and are gone.
    request(&space, name, notify::NO_SENDERS, 1, told);
    assert_eq!(notification(&space, told), Notification::NoSenders(1));
    space.port_set_mscount(name, 50).unwrap();
    request(&space, name, notify::NO_SENDERS, 50, told);
    assert_eq!(notification(&space, told), Notification::NoSenders(50));
}

fn s1_6_port_destroyed(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (told, members) = (port(&space), set(&space));
    let name = port_with_send(&space);
    let once = send_once(&space, told);
    let ask = |sync, right| space.port_request_notification(name, notify::PORT_DESTROYED, sync, right, Disposition::MoveSendOnce);
    assert_eq!(ask(1, once), Err(Code::KERN_INVALID_VALUE));
    // A send-once right that was moved into a call that fails is used up.
    assert_eq!(notification(&space, told), Notification::SendOnce);
    request(&space, name, notify::PORT_DESTROYED, 0, told);
    // A second request does not replace the first.
    assert_eq!(ask(0, send_once(&space, told)), Err(Code::KERN_FAILURE));
    assert_eq!(notification(&space, told), Notification::SendOnce);
    fill(&space, name, 2);
    space.port_insert_member(name, members).unwrap();
    space.port_set_context(name, 5).unwrap();
    destroy(&space, name);
    assert_eq!(kind(&space, name), TypeBits::SEND, "the port lives");
    assert_eq!(notification(&space, told), Notification::PortDestroyed(name));
    assert_eq!(kind(&space, name), TypeBits::SEND_RECEIVE);
    assert_eq!((receive(&space, name).header().id, receive(&space, name).header().id), (0, 1), "with its queue");
    let status = space.port_get_receive_status(name).unwrap();
    assert_eq!((status.in_set, status.make_send_count, space.port_get_context(name)), (false, 0, Ok(0)), "as if it had been moved");
    // Once.
    assert!(!status.port_destroyed_requested);
    destroy(&space, name);
    assert_eq!(kind(&space, name), TypeBits::DEAD_NAME);
    world.assert_silent(&task, told);
    // By the end of a task, and of a message that carries the right.
    let (end, saved) = (world.task("ending"), port(&space));
    let id = end.id();
    let there = world.pass(&task, saved, Disposition::MoveReceive, &end);
    let to_told = world.pass(&task, told, Disposition::MakeSendOnce, &end);
    end.raw().port_request_notification(there, notify::PORT_DESTROYED, 0, to_told, Disposition::MoveSendOnce).unwrap();
    drop(end);
    world.end_task(id);
    let Notification::PortDestroyed(saved) = notification(&space, told) else { panic!("the right itself") };
    let queue = port_with_send(&space);
    request(&space, saved, notify::PORT_DESTROYED, 0, told);
    send(&space, to(queue, 1).port(saved, Disposition::MoveReceive));
    destroy(&space, queue);
    assert!(matches!(notification(&space, told), Notification::PortDestroyed(_)));
}

fn s1_6_send_once(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    let new = || send_once(&space, told);
    let fired = || assert_eq!(notification(&space, told), Notification::SendOnce);
    space.port_deallocate(new()).unwrap();
    fired();
    space.port_destroy(new()).unwrap();
    fired();
    space.port_mod_refs(new(), RightKind::SendOnce, -1).unwrap();
    fired();
    let end = world.task("ending");
    let id = end.id();
    world.pass(&task, told, Disposition::MakeSendOnce, &end);
    drop(end);
    world.end_task(id);
    fired();
    let inbox = port_with_send(&space);
    send(&space, to(inbox, 1).local(new(), Disposition::MoveSendOnce));
    destroy(&space, inbox);
    fired();
    // Used, it tells nothing; and it goes into a full queue.
    space.port_set_qlimit(told, 0).unwrap();
    space.port_deallocate(new()).unwrap();
    fired();
    send(&space, MsgBuffer::new(1).remote(new(), Disposition::MoveSendOnce));
    assert_eq!(receive(&space, told).header().id, 1);
    world.assert_silent(&task, told);
}

fn s1_6_send_possible(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let (told, full) = (port(&space), port(&other));
    other.port_set_qlimit(full, 2).unwrap();
    let name = world.pass(&b, full, Disposition::MakeSend, &a);
    let once = world.pass(&b, full, Disposition::MakeSendOnce, &a);
    let ask = |name, sync| request(&space, name, notify::SEND_POSSIBLE, sync, told);
    let fired = |name| assert_eq!(notification(&space, told), Notification::SendPossible(name));
    // At once: not full, a send-once right, a port of the kernel's.
    for name in [name, once, space.task_self()] {
        assert_eq!(ask(name, 1), Name::NULL);
        fired(name);
    }
    // Armed by the request itself.
    fill(&space, name, 2);
    ask(name, 1);
    world.assert_silent(&a, told);
    receive(&other, full);
    fired(name);
    world.assert_silent(&a, told);
    // Armed by a send that did not get through; not by one without the option.
    ask(name, 0);
    fill(&space, name, 1);
    assert_eq!(try_send(&space, to(name, 8)), Code::MACH_SEND_TIMED_OUT);
    receive(&other, full);
    world.assert_silent(&a, told);
    fill(&space, name, 1);
    let options = Options::SEND | Options::SEND_TIMEOUT | Options::SEND_NOTIFY;
    assert_eq!(space.mach_msg(&mut to(name, 9), options, 0, Name::NULL, 0, Name::NULL), Code::MACH_SEND_TIMED_OUT);
    other.port_set_qlimit(full, 3).unwrap();
    fired(name);
    // A port that dies has a better notification.
    fill(&space, name, 1);
    ask(name, 1);
    destroy(&other, full);
    assert_eq!(notification(&space, told), Notification::DeadName(name));
    assert!(deads(&space, name) >= 2);
    world.assert_silent(&a, told);
}

fn s1_6_request_is_an_atomic_swap(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (first, second, name) = (port(&space), port(&space), port_with_send(&space));
    for id in [notify::DEAD_NAME, notify::NO_SENDERS] {
        assert_eq!(request(&space, name, id, 0, first), Name::NULL);
        let previous = request(&space, name, id, 0, second);
        assert_eq!(kind(&space, previous), TypeBits::SEND_ONCE);
        send(&space, MsgBuffer::new(id).remote(previous, Disposition::MoveSendOnce));
        assert_eq!(receive(&space, first).header().id, id, "it is the right that was registered first");
        // A null right withdraws.
        let previous = space.port_request_notification(name, id, 0, Name::NULL, Disposition::MakeSendOnce).unwrap();
        space.port_deallocate(previous).unwrap();
        assert_eq!(notification(&space, second), Notification::SendOnce);
        assert_eq!(space.port_request_notification(name, id, 0, Name::NULL, Disposition::MakeSendOnce), Ok(Name::NULL));
    }
    let withdrawn = request(&space, name, notify::PORT_DESTROYED, 0, first);
    assert_eq!(withdrawn, Name::NULL);
    let previous = space.port_request_notification(name, notify::PORT_DESTROYED, 0, Name::NULL, Disposition::MakeSendOnce).unwrap();
    assert_eq!(kind(&space, previous), TypeBits::SEND_ONCE);
    space.port_destroy(name).unwrap();
    world.assert_silent(&task, second);
    world.assert_silent(&task, first);
}

fn s1_6_request_with_bad_arguments(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (told, name) = (port(&space), port_with_send(&space));
    let ask = |name, id, right, disposition| space.port_request_notification(name, id, 0, right, disposition);
    let (dead, died) = (dead_name(&space), port(&space));
    let died_once = send_once(&space, died);
    destroy(&space, died);
    for right in [Name::DEAD, dead, died_once] {
        let code = ask(name, notify::DEAD_NAME, right, Disposition::MoveSendOnce);
        assert_eq!(code, Err(Code::KERN_INVALID_CAPABILITY), "{right}");
    }
    for id in [0, 64, 65, 67, 68, 71, 73] {
        assert_eq!(ask(name, id, told, Disposition::MakeSendOnce), Err(Code::KERN_INVALID_VALUE), "id {id}");
        assert_eq!(notification(&space, told), Notification::SendOnce, "the right that was made is given up");
    }
    for (name, id, code) in [
        (Name(0x7000_0003), notify::DEAD_NAME, Code::KERN_INVALID_NAME),
        (Name(0x7000_0003), notify::NO_SENDERS, Code::KERN_INVALID_NAME),
        (space.task_self(), notify::NO_SENDERS, Code::KERN_INVALID_RIGHT),
        (space.task_self(), notify::PORT_DESTROYED, Code::KERN_INVALID_RIGHT),
        (set(&space), notify::DEAD_NAME, Code::KERN_INVALID_RIGHT),
    ] {
        assert_eq!(ask(name, id, told, Disposition::MakeSendOnce), Err(code), "{name} {id}");
        assert_eq!(notification(&space, told), Notification::SendOnce);
    }
}

fn s1_6_request_on_dead_name(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (told, died) = (port(&space), port_with_send(&space));
    destroy(&space, died);
    for name in [died, dead_name(&space)] {
        for sync in [0, 1] {
            let code = space.port_request_notification(name, notify::DEAD_NAME, sync, told, Disposition::MakeSendOnce);
            assert_eq!(code, Err(Code::KERN_INVALID_ARGUMENT));
            assert_eq!((notification(&space, told), deads(&space, name)), (Notification::SendOnce, 1));
        }
        request(&space, name, notify::SEND_POSSIBLE, 1, told);
        assert_eq!(notification(&space, told), Notification::DeadName(name));
        assert_eq!(deads(&space, name), 2, "with a reference, as always");
    }
}
