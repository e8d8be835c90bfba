//! 1.2 Dispositions and what they mean for each right.

use libtask::raw::{Descriptor, Header, MsgBuffer, notify, received};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_2_disposition_values,
    s1_2_copy_send_of_live_right,
    s1_2_copy_send_of_dead_name_in_body_gives_dead,
    s1_2_move_of_dead_name_takes_a_reference,
    s1_2_copy_or_make_of_send_once_is_refused,
    s1_2_move_of_last_send_keeps_receive,
    s1_2_make_needs_receive_and_counts,
    s1_2_move_receive_keeps_sends_and_resets_port,
    s1_2_move_receive_takes_guard_and_context_off,
    s1_2_move_receive_tells_blocked_receivers,
    s1_2_null_and_dead_are_carried,
    s1_2_port_dies_in_transit,
    s1_2_bad_destination_consumes_nothing,
    s1_2_dead_send_once_destination_swallows,
    s1_2_dead_reply_is_refused,
    s1_2_destination_equal_to_reply,
    s1_2_destination_dies_after_the_send,
    s1_2_circular_message_is_destroyed,
    s1_2_circular_port_destroyed_notification,
    s1_2_receive_right_moved_twice,
];

fn s1_2_disposition_values(world: &World) {
    use Disposition::*;
    let values = [(MoveReceive, 16), (MoveSend, 17), (MoveSendOnce, 18), (CopySend, 19), (MakeSend, 20), (MakeSendOnce, 21)];
    for (disposition, value) in values {
        assert_eq!(disposition as u8, value);
    }
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let arrives = |disposition, kind: u8| {
        let carried = port_with_send(&space);
        let name = if disposition == MoveSendOnce { send_once(&space, carried) } else { carried };
        send(&space, to(inbox, 1).port(name, disposition));
        let got = receive(&space, inbox);
        let Descriptor::Port { disposition: arrived, .. } = got.descriptors()[0] else { panic!("a port descriptor") };
        assert_eq!(arrived, kind, "{disposition:?}");
    };
    arrives(MoveReceive, 16);
    arrives(MoveSend, 17);
    arrives(CopySend, 17);
    arrives(MakeSend, 17);
    arrives(MoveSendOnce, 18);
    arrives(MakeSendOnce, 18);
    // Not to be sent with: nothing, a plain name, copy-receive, the disposals, protected payload of another dialect.
    let name = port_with_send(&space);
    for disposition in [0, 15, 22, 23, 24, 25, 26, 31] {
        let message = to(inbox, 1).descriptor(Descriptor::Port { name, disposition });
        assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_RIGHT, "body {disposition}");
        let message = MsgBuffer::new(1).remote_raw(inbox, disposition);
        assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_HEADER, "destination {disposition}");
        if disposition != 0 {
            assert_eq!(try_send(&space, to(inbox, 1).local_raw(name, disposition)), Code::MACH_SEND_INVALID_HEADER, "reply {disposition}");
        }
    }
    let message = MsgBuffer::new(1).remote(inbox, MoveReceive);
    assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_HEADER);
    assert_eq!(kind(&space, name), TypeBits::SEND_RECEIVE);
    world.assert_silent(&task, inbox);
}

fn s1_2_copy_send_of_live_right(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let inbox = port(&other);
    let to_b = world.pass(&b, inbox, Disposition::MakeSend, &a);
    let name = port_with_send(&space);
    space.port_mod_refs(name, RightKind::Send, 2).unwrap();
    send(&space, to(to_b, 1).port(name, Disposition::CopySend));
    assert_eq!((sends(&space, name), sends(&space, to_b)), (3, 1), "references stay");
    assert_eq!(space.port_get_srights(name), Ok(2), "one held, one in flight");
    let got = receive(&other, inbox);
    let arrived = got.port_at(0).unwrap();
    assert_eq!((kind(&other, arrived), sends(&other, arrived)), (TypeBits::SEND, 1));
    send(&other, to(arrived, 2));
    assert_eq!(receive(&space, name).header().id, 2);
    assert_eq!(space.port_get_receive_status(name).unwrap().make_send_count, 1, "a copy is not made by the receiver");
}

fn s1_2_copy_send_of_dead_name_in_body_gives_dead(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let died = port_with_send(&space);
    destroy(&space, died);
    let allocated = dead_name(&space);
    for name in [died, allocated] {
        send(&space, to(inbox, 1).port(name, Disposition::CopySend).ports([name, name], Disposition::CopySend));
        let got = receive(&space, inbox);
        assert_eq!(got.descriptors()[0], Descriptor::Port { name: Name::DEAD, disposition: received::SEND });
        assert_eq!(got.ports_at(1), Some(&[Name::DEAD, Name::DEAD][..]));
        assert_eq!(deads(&space, name), 1, "references stay");
    }
}

fn s1_2_move_of_dead_name_takes_a_reference(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let dead = dead_name(&space);
    space.port_mod_refs(dead, RightKind::DeadName, 2).unwrap();
    for (disposition, arrives, left) in [(Disposition::MoveSend, received::SEND, 2), (Disposition::MoveSendOnce, received::SEND_ONCE, 1)] {
        send(&space, to(inbox, 1).port(dead, disposition));
        assert_eq!(receive(&space, inbox).descriptors()[0], Descriptor::Port { name: Name::DEAD, disposition: arrives });
        assert_eq!(deads(&space, dead), left);
    }
    send(&space, to(inbox, 1).port(dead, Disposition::MoveSend));
    assert_gone(&space, dead);
    // A right that died under its name is no different, a send-once right included.
    let died = port(&space);
    let once = send_once(&space, died);
    destroy(&space, died);
    send(&space, to(inbox, 1).port(once, Disposition::MoveSendOnce));
    assert_gone(&space, once);
    receive(&space, inbox);
    assert_eq!(receive(&space, inbox).port_at(0), Some(Name::DEAD));
}

fn s1_2_copy_or_make_of_send_once_is_refused(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let once = send_once(&space, inbox);
    let dead = dead_name(&space);
    use Disposition::*;
    for disposition in [CopySend, MakeSend, MakeSendOnce, MoveSend, MoveReceive] {
        assert_eq!(try_send(&space, to(inbox, 1).port(once, disposition)), Code::MACH_SEND_INVALID_RIGHT, "{disposition:?}");
        assert_eq!(kind(&space, once), TypeBits::SEND_ONCE);
    }
    // Nothing is made out of a dead name either, nor out of names of other kinds or of nothing.
    for disposition in [MakeSend, MakeSendOnce, MoveReceive] {
        assert_eq!(try_send(&space, to(inbox, 1).port(dead, disposition)), Code::MACH_SEND_INVALID_RIGHT, "{disposition:?}");
    }
    for name in [set(&space), Name(0x7000_0003)] {
        assert_eq!(try_send(&space, to(inbox, 1).port(name, CopySend)), Code::MACH_SEND_INVALID_RIGHT, "{name}");
    }
    assert_eq!(deads(&space, dead), 1);
    world.assert_silent(&task, inbox);
}

fn s1_2_move_of_last_send_keeps_receive(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let name = port_with_send(&space);
    send(&space, to(inbox, 1).port(name, Disposition::MoveSend));
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    assert_eq!(space.port_get_refs(name, RightKind::Send), Ok(0));
    assert_eq!(space.port_get_srights(name), Ok(1), "in flight");
    assert_eq!(receive(&space, inbox).port_at(0), Some(name));
    assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND_RECEIVE, 1));
    // Not the last: only a reference goes.
    add_send(&space, name);
    send(&space, to(inbox, 1).port(name, Disposition::MoveSend));
    assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND_RECEIVE, 1));
    receive(&space, inbox);
}

fn s1_2_make_needs_receive_and_counts(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let inbox = port_with_send(&space);
    let name = port(&space);
    let made = || space.port_get_receive_status(name).unwrap().make_send_count;
    assert_eq!(made(), 0);
    send(&space, to(inbox, 1).port(name, Disposition::MakeSend));
    assert_eq!(made(), 1);
    send(&space, to(inbox, 1).ports([name, name], Disposition::MakeSend));
    assert_eq!(made(), 3);
    add_send(&space, name);
    assert_eq!(made(), 4);
    send(&space, to(inbox, 1).local(name, Disposition::MakeSend));
    assert_eq!(made(), 5);
    send(&space, to(inbox, 1).port(name, Disposition::MakeSendOnce));
    send(&space, to(inbox, 1).port(name, Disposition::CopySend));
    assert_eq!(made(), 5, "send-once rights and copies do not count");
    for _ in 0..5 {
        receive(&space, inbox);
        if space.port_get_receive_status(inbox).unwrap().queued == 0 {
            break;
        }
    }
    // A send right is not enough to make more.
    let at_b = world.pass(&a, name, Disposition::CopySend, &b);
    let back = world.pass(&a, inbox, Disposition::CopySend, &b);
    for disposition in [Disposition::MakeSend, Disposition::MakeSendOnce, Disposition::MoveReceive] {
        assert_eq!(try_send(&other, to(back, 1).port(at_b, disposition)), Code::MACH_SEND_INVALID_RIGHT, "{disposition:?}");
        assert_eq!(sends(&other, at_b), 1);
    }
    assert_eq!(try_send(&other, MsgBuffer::new(1).remote(at_b, Disposition::MakeSend)), Code::MACH_SEND_INVALID_DEST);
}

fn s1_2_move_receive_keeps_sends_and_resets_port(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let inbox = port(&other);
    let to_b = world.pass(&b, inbox, Disposition::MakeSend, &a);
    let told = port(&space);
    let name = port_with_send(&space);
    space.port_mod_refs(name, RightKind::Send, 3).unwrap();
    let (first, second) = (set(&space), set(&space));
    space.port_insert_member(name, first).unwrap();
    space.port_insert_member(name, second).unwrap();
    for id in [notify::DEAD_NAME, notify::NO_SENDERS, notify::PORT_DESTROYED] {
        request(&space, name, id, 0, told);
    }
    fill(&space, name, 3);
    receive(&space, name);
    space.port_set_mscount(name, 9).unwrap();
    send(&space, to(to_b, 1).port(name, Disposition::MoveReceive));
    // The sender keeps what it could send with, under the same name.
    assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND, 4));
    assert_eq!((space.port_get_set_status(first), space.port_get_set_status(second)), (Ok(vec![]), Ok(vec![])));
    let arrived = receive(&other, inbox).port_at(0).unwrap();
    assert_eq!(kind(&other, arrived), TypeBits::RECEIVE);
    let status = other.port_get_receive_status(arrived).unwrap();
    assert_eq!((status.make_send_count, status.seqno, status.in_set), (0, 0, false));
    assert_eq!((status.queued, status.has_send_rights), (2, true), "queue and senders stay with the port");
    assert_eq!((status.no_senders_requested, status.port_destroyed_requested), (true, true), "and so do requests");
    // What is sent while it moves, and after, comes to the new holder, in order.
    send(&space, to(name, 3));
    for id in 1..4 {
        let got = receive(&other, arrived);
        assert_eq!((got.header().id, got.trailer().unwrap().seqno), (id, id as u32 - 1));
    }
    // And the requests are answered in the end: the right comes back instead of being destroyed; then it dies for good.
    world.assert_silent(&a, told);
    destroy(&other, arrived);
    assert_eq!(notification(&space, told), notify::Notification::PortDestroyed(name));
    destroy(&space, name);
    let mut seen = [notification(&space, told), notification(&space, told)];
    seen.sort_by_key(|one| *one == notify::Notification::SendOnce);
    assert_eq!(seen, [notify::Notification::DeadName(name), notify::Notification::SendOnce]);
}

fn s1_2_move_receive_takes_guard_and_context_off(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let plain = port(&space);
    space.port_set_context(plain, 77).unwrap();
    let guarded = port(&space);
    space.port_guard(guarded, 0xfeed, 0).unwrap();
    send(&space, to(inbox, 1).port(plain, Disposition::MoveReceive).port(guarded, Disposition::MoveReceive));
    let got = receive(&space, inbox);
    for i in 0..2 {
        let name = got.port_at(i).unwrap();
        assert_eq!(space.port_get_context(name), Ok(0));
        destroy(&space, name);
    }
    // A strict guard and immovability do not come off by moving: they forbid it.
    let strict = port(&space);
    space.port_guard(strict, 5, 1).unwrap();
    let immovable = port(&space);
    space.port_guard(immovable, 5, 2).unwrap();
    for name in [strict, immovable] {
        let refused = try_send(&space, to(inbox, 1).port(name, Disposition::MoveReceive));
        assert_eq!(refused, Code::MACH_SEND_INVALID_RIGHT);
        assert_eq!(kind(&space, name), TypeBits::RECEIVE);
        space.port_unguard(name, 5).unwrap();
        send(&space, to(inbox, 1).port(name, Disposition::MoveReceive));
        receive(&space, inbox);
    }
}

fn s1_2_move_receive_tells_blocked_receivers(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let name = port(&space);
    let waiting = [receive_in_thread(&task, name), receive_in_thread(&task, name)];
    world.await_blocked_receives(&task, 2);
    send(&space, to(inbox, 1).port(name, Disposition::MoveReceive));
    for thread in waiting {
        assert_eq!(thread.join().unwrap().map(drop), Err(Code::MACH_RCV_PORT_CHANGED));
    }
    assert_gone(&space, name);
    let arrived = receive(&space, inbox).port_at(0).unwrap();
    // Threads blocked in a send go on waiting, and get through at the new holder.
    add_send(&space, arrived);
    space.port_set_qlimit(arrived, 1).unwrap();
    fill(&space, arrived, 1);
    let (sender, other) = (task.clone(), world.task("b"));
    let blocked = send_in_thread(&sender, to(arrived, 1));
    world.await_blocked_sends(&task, 1);
    let moved = world.pass(&task, arrived, Disposition::MoveReceive, &other);
    world.await_blocked_sends(&task, 1);
    for id in 0..2 {
        assert_eq!(receive(&other.raw(), moved).header().id, id);
    }
    assert_eq!(blocked.join().unwrap().0, Code::SUCCESS);
}

fn s1_2_null_and_dead_are_carried(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    use Disposition::*;
    for name in [Name::NULL, Name::DEAD] {
        for (sent, arrives) in [(MoveReceive, 16), (MoveSend, 17), (CopySend, 17), (MakeSend, 17), (MoveSendOnce, 18), (MakeSendOnce, 18)] {
            let mut message = to(inbox, 1).port(name, sent).ports([name], sent);
            if sent != MoveReceive {
                message = message.local(name, sent);
            }
            send(&space, message);
            let got = receive(&space, inbox);
            assert_eq!(got.descriptors()[0], Descriptor::Port { name, disposition: arrives });
            assert_eq!(got.ports_at(1), Some(&[name][..]));
            let header = got.header();
            assert_eq!(header.remote, if sent == MoveReceive { Name::NULL } else { name });
            assert_eq!(header.remote_disposition(), if sent == MoveReceive { 0 } else { arrives });
        }
    }
    // As a destination neither is anything.
    for name in [Name::NULL, Name::DEAD] {
        assert_eq!(try_send(&space, to(name, 1)), Code::MACH_SEND_INVALID_DEST);
    }
}

fn s1_2_port_dies_in_transit(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let name = port_with_send(&space);
    let message = to(inbox, 1).local(name, Disposition::MakeSendOnce).port(name, Disposition::CopySend);
    send(&space, message.ports([name, inbox, name], Disposition::CopySend).port(name, Disposition::MakeSendOnce));
    destroy(&space, name);
    let got = receive(&space, inbox);
    let header = got.header();
    assert_eq!((header.remote, header.remote_disposition()), (Name::DEAD, received::SEND_ONCE));
    assert_eq!(got.descriptors()[0], Descriptor::Port { name: Name::DEAD, disposition: received::SEND });
    assert_eq!(got.ports_at(1), Some(&[Name::DEAD, inbox, Name::DEAD][..]));
    assert_eq!(got.descriptors()[2], Descriptor::Port { name: Name::DEAD, disposition: received::SEND_ONCE });
    assert_eq!(deads(&space, name), 1, "what arrived dead adds nothing to the name");
}

/// A message full of rights, for tests of what a failed send consumes: a reply, a send right, a send-once right, memory.
fn loaded(dest: Name, disposition: Disposition, reply: Name, moved: Name, once: Name) -> MsgBuffer {
    let message = MsgBuffer::new(1).remote(dest, disposition).local(reply, Disposition::MoveSendOnce);
    message.port(moved, Disposition::MoveSend).port(once, Disposition::MoveSendOnce).memory(*b"memory")
}

fn s1_2_bad_destination_consumes_nothing(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let live = port_with_send(&space);
    let (reply, once) = (send_once(&space, live), send_once(&space, live));
    let moved = port_with_send(&space);
    let dead = dead_name(&space);
    let died = port_with_send(&space);
    destroy(&space, died);
    let other_once = send_once(&space, live);
    let receive_only = port(&space);
    use Disposition::*;
    for (dest, disposition) in [
        (dead, CopySend),
        (dead, MoveSend),
        (dead, MoveSendOnce),
        (died, CopySend),
        (died, MoveSend),
        (set(&space), CopySend),
        (other_once, CopySend),
        (other_once, MoveSend),
        (receive_only, CopySend),
        (receive_only, MoveSendOnce),
        (live, MoveSendOnce),
        (Name(0x7000_0003), CopySend),
        (Name::NULL, CopySend),
        (Name::DEAD, MoveSend),
    ] {
        let code = try_send(&space, loaded(dest, disposition, reply, moved, once));
        assert_eq!(code, Code::MACH_SEND_INVALID_DEST, "{dest} {disposition:?}");
    }
    for name in [reply, once, other_once] {
        assert_eq!(kind(&space, name), TypeBits::SEND_ONCE);
    }
    assert_eq!((sends(&space, moved), deads(&space, dead), deads(&space, died)), (1, 1, 1));
    world.assert_silent(&task, live);
}

fn s1_2_dead_send_once_destination_swallows(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (inbox, carried) = (port_with_send(&space), port_with_send(&space));
    let name = port(&space);
    let once = send_once(&space, name);
    let watched = send_once(&space, name);
    request(&space, watched, notify::DEAD_NAME, 0, inbox);
    destroy(&space, name);
    assert_eq!(notification(&space, inbox), notify::Notification::DeadName(watched));
    let reply = send_once(&space, inbox);
    let message = MsgBuffer::new(1).remote(once, Disposition::MoveSendOnce).local(reply, Disposition::MoveSendOnce);
    send(&space, message.port(carried, Disposition::MoveSend));
    // It is gone with everything in it, as if it had been queued and the port had died then.
    assert_gone(&space, once);
    assert_gone(&space, reply);
    assert_eq!(notification(&space, inbox), notify::Notification::SendOnce);
    assert_eq!(kind(&space, carried), TypeBits::RECEIVE);
    // Where a request was registered the sender knows, and is told so.
    assert_eq!(try_send(&space, MsgBuffer::new(1).remote(watched, Disposition::MoveSendOnce)), Code::MACH_SEND_INVALID_DEST);
}

fn s1_2_dead_reply_is_refused(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let moved = port_with_send(&space);
    let died = port_with_send(&space);
    destroy(&space, died);
    for (name, dispositions) in [
        (died, &[Disposition::CopySend, Disposition::MoveSend, Disposition::MoveSendOnce][..]),
        (dead_name(&space), &[Disposition::CopySend, Disposition::MoveSend]),
        (set(&space), &[Disposition::CopySend]),
        (port(&space), &[Disposition::CopySend, Disposition::MoveSendOnce]),
        (Name(0x7000_0003), &[Disposition::CopySend]),
    ] {
        for &disposition in dispositions {
            let message = MsgBuffer::new(1).remote(inbox, Disposition::MoveSend).local(name, disposition);
            let code = try_send(&space, message.port(moved, Disposition::MoveSend));
            assert_eq!(code, Code::MACH_SEND_INVALID_REPLY, "{name} {disposition:?}");
        }
    }
    assert_eq!((sends(&space, inbox), sends(&space, moved), deads(&space, died)), (1, 1, 1));
    world.assert_silent(&task, inbox);
}

fn s1_2_destination_equal_to_reply(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    use Disposition::*;
    let both = |remote, local| try_send(&space, MsgBuffer::new(1).remote(name, remote).local(name, local));
    // What happens to the one reference that is there: references left after the send, and after the message was received.
    for (remote, local, after, kind) in [
        (CopySend, CopySend, 1, 17),
        (MoveSend, CopySend, 0, 17),
        (CopySend, MoveSend, 0, 17),
        (CopySend, MakeSendOnce, 1, 18),
        (MakeSend, MoveSend, 0, 17),
    ] {
        assert_eq!(both(remote, local), Code::SUCCESS, "{remote:?} {local:?}");
        assert_eq!(sends(&space, name), after, "{remote:?} {local:?}");
        let Header { remote: reply, local: port, bits, .. } = receive(&space, name).header();
        assert_eq!((port, bits & 0x1f), (name, kind));
        if kind == 18 {
            space.port_deallocate(reply).unwrap();
            assert_eq!(notification(&space, name), notify::Notification::SendOnce);
        } else {
            assert_eq!(reply, name);
            space.port_mod_refs(name, RightKind::Send, 1 - sends(&space, name) as i32).unwrap();
        }
    }
    // Two moves need two references.
    assert_eq!(both(MoveSend, MoveSend), Code::MACH_SEND_INVALID_DEST);
    assert_eq!(sends(&space, name), 1);
    space.port_mod_refs(name, RightKind::Send, 1).unwrap();
    assert_eq!(both(MoveSend, MoveSend), Code::SUCCESS);
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    receive(&space, name);
    assert_eq!(sends(&space, name), 1);
    // With a receive right alone, both can be made.
    let bare = port(&space);
    for (remote, local, replies) in
        [(MakeSend, MakeSend, 17), (MakeSendOnce, MakeSendOnce, 18), (MakeSend, MakeSendOnce, 18), (MakeSendOnce, MakeSend, 17)]
    {
        send(&space, MsgBuffer::new(2).remote(bare, remote).local(bare, local));
        let header = receive(&space, bare).header();
        assert_eq!((header.bits & 0x1f, header.local), (replies, bare), "{remote:?} {local:?}");
        space.port_deallocate(header.remote).unwrap();
        if replies == 18 {
            assert_eq!(notification(&space, bare), notify::Notification::SendOnce);
        }
    }
    // A send-once right cannot be both.
    let once = send_once(&space, name);
    for (remote, local) in [(MoveSendOnce, MoveSendOnce), (MoveSendOnce, CopySend), (CopySend, MoveSendOnce)] {
        let message = MsgBuffer::new(1).remote(once, remote).local(once, local);
        assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_DEST, "{remote:?} {local:?}");
        assert_eq!(kind(&space, once), TypeBits::SEND_ONCE);
    }
    world.assert_silent(&task, name);
}

fn s1_2_destination_dies_after_the_send(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let told = port(&space);
    let full = port(&other);
    let to_full = world.pass(&b, full, Disposition::MakeSend, &a);
    fill(&space, to_full, 5);
    let carried = port_with_send(&space);
    let message = to(to_full, 9).port(carried, Disposition::MoveSend).port(told, Disposition::MakeSendOnce);
    let blocked = send_in_thread(&a, message);
    world.await_blocked_sends(&a, 1);
    destroy(&other, full);
    assert_eq!(blocked.join().unwrap().0, Code::SUCCESS);
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    world.settle();
    assert_eq!((kind(&space, carried), space.port_get_srights(carried)), (TypeBits::RECEIVE, Ok(0)));
    assert_eq!(world.host().messages, 0);
    assert_eq!(kind(&space, to_full), TypeBits::DEAD_NAME);
}

fn s1_2_circular_message_is_destroyed(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    // Into itself.
    let own = port_with_send(&space);
    send(&space, to(own, 1).port(own, Disposition::MoveReceive).port(told, Disposition::MakeSendOnce));
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    assert_eq!(kind(&space, own), TypeBits::DEAD_NAME);
    // Around a ring of three: c is queued in b, b in a, and then a goes to c.
    let (a, b, c) = (port_with_send(&space), port_with_send(&space), port_with_send(&space));
    send(&space, to(b, 1).port(c, Disposition::MoveReceive));
    send(&space, to(a, 2).port(b, Disposition::MoveReceive));
    assert_eq!((kind(&space, b), kind(&space, c)), (TypeBits::SEND, TypeBits::SEND));
    send(&space, to(c, 3).port(a, Disposition::MoveReceive).port(told, Disposition::MakeSendOnce));
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    for name in [a, b, c] {
        assert_eq!(kind(&space, name), TypeBits::DEAD_NAME, "destroyed with what it held");
    }
    world.settle();
    assert_eq!(world.host().messages, 0);
}

fn s1_2_circular_port_destroyed_notification(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    // Its own end would be told to itself.
    let name = port_with_send(&space);
    request(&space, name, notify::PORT_DESTROYED, 0, name);
    destroy(&space, name);
    world.settle();
    assert_eq!(kind(&space, name), TypeBits::DEAD_NAME);
    assert_eq!(world.host().messages, 0);
}

fn s1_2_receive_right_moved_twice(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let name = port_with_send(&space);
    let message = to(inbox, 1).port(name, Disposition::MoveReceive).port(name, Disposition::MoveReceive);
    assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_RIGHT);
    assert_eq!(kind(&space, name), TypeBits::DEAD_NAME, "the one that was taken is destroyed");
    world.assert_silent(&task, inbox);
}
