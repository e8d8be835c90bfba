//! 1.8 The `mach_port_*` calls.

use libtask::raw::{ConstructFlags, MsgBuffer, NameRow, flavor, kobject, notify, received};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_8_allocate,
    s1_8_allocate_name,
    s1_8_construct_and_destruct,
    s1_8_construct_flags,
    s1_8_deallocate,
    s1_8_destroy,
    s1_8_mod_refs,
    s1_8_get_refs,
    s1_8_type,
    s1_8_names,
    s1_8_insert_right,
    s1_8_extract_right,
    s1_8_receive_status,
    s1_8_set_mscount_and_seqno,
    s1_8_attributes,
    s1_8_set_status,
    s1_8_guards,
    s1_8_context,
    s1_8_peek,
    s1_8_introspection,
];

/// A name that nothing has.
const NOTHING: Name = Name(0x7000_0003);

fn s1_8_allocate(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let space = a.raw();
    assert_eq!(kind(&space, port(&space)), TypeBits::RECEIVE);
    assert_eq!(kind(&space, set(&space)), TypeBits::PORT_SET);
    let dead = dead_name(&space);
    assert_eq!((kind(&space, dead), deads(&space, dead)), (TypeBits::DEAD_NAME, 1));
    for right in [RightKind::Send, RightKind::SendOnce] {
        assert_eq!(space.port_allocate(right), Err(Code::KERN_INVALID_VALUE));
    }
    // In another task, by its control right.
    let control = world.pass(&b, b.raw().task_self(), Disposition::CopySend, &a);
    let name = space.of(control).port_allocate(RightKind::Receive).unwrap();
    assert_eq!(kind(&b.raw(), name), TypeBits::RECEIVE);
    assert_eq!(space.of(NOTHING).port_allocate(RightKind::Receive), Err(Code::KERN_INVALID_TASK));
    assert_eq!(space.of(space.task_name()).port_allocate(RightKind::Receive), Err(Code::KERN_INVALID_TASK));
}

fn s1_8_allocate_name(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    for (number, right) in [(0x6000_0003, RightKind::Receive), (0x6000_0107, RightKind::PortSet), (0x6000_020f, RightKind::DeadName)] {
        space.port_allocate_name(right, Name(number)).unwrap();
        assert_eq!(kind(&space, Name(number)), right.bit());
        for right in [RightKind::Receive, RightKind::PortSet, RightKind::DeadName] {
            assert_eq!(space.port_allocate_name(right, Name(number)), Err(Code::KERN_NAME_EXISTS));
        }
        space.port_destroy(Name(number)).unwrap();
        space.port_allocate_name(right, Name(number)).unwrap();
    }
    assert_eq!(space.port_allocate_name(RightKind::Receive, Name::DEAD), Err(Code::KERN_INVALID_VALUE));
}

fn s1_8_construct_and_destruct(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let all = ConstructFlags::INSERT_SEND_RIGHT | ConstructFlags::QLIMIT | ConstructFlags::CONTEXT_AS_GUARD;
    let name = space.port_construct(all, 17, 0xabc).unwrap();
    let status = space.port_get_receive_status(name).unwrap();
    assert_eq!((status.queue_limit, status.make_send_count, status.has_send_rights), (17, 1, true));
    assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND_RECEIVE, 1));
    space.port_mod_refs(name, RightKind::Send, 2).unwrap();
    for (delta, guard, code) in [
        (0, 0, Code::KERN_INVALID_ARGUMENT),
        (0, 0xabd, Code::KERN_INVALID_ARGUMENT),
        (1, 0xabc, Code::KERN_INVALID_VALUE),
        (-4, 0xabc, Code::KERN_INVALID_VALUE),
    ] {
        assert_eq!(space.port_destruct(name, delta, guard), Err(code), "{delta} {guard:#x}");
        assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND_RECEIVE, 3));
    }
    space.port_destruct(name, -2, 0xabc).unwrap();
    assert_eq!((kind(&space, name), deads(&space, name)), (TypeBits::DEAD_NAME, 1));
    let name = space.port_construct(all, 17, 0xabc).unwrap();
    space.port_destruct(name, -1, 0xabc).unwrap();
    assert_gone(&space, name);
    let plain = port(&space);
    assert_eq!(space.port_destruct(plain, -1, 0), Err(Code::KERN_INVALID_RIGHT));
    space.port_destruct(plain, 0, 0).unwrap();
    assert_gone(&space, plain);
    assert_eq!(space.port_destruct(NOTHING, 0, 0), Err(Code::KERN_INVALID_NAME));
    assert_eq!(space.port_destruct(space.task_self(), 0, 0), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_8_construct_flags(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    // Those that have an effect.
    let plain = space.port_construct(ConstructFlags::empty(), 99, 7).unwrap();
    assert_eq!((kind(&space, plain), space.port_get_context(plain)), (TypeBits::RECEIVE, Ok(7)));
    assert_eq!(space.port_get_receive_status(plain).unwrap().queue_limit, 5, "the limit counts only with its flag");
    let strict = ConstructFlags::STRICT | ConstructFlags::CONTEXT_AS_GUARD;
    for flags in [strict, ConstructFlags::IMMOVABLE_RECEIVE] {
        let name = space.port_construct(flags, 0, 3).unwrap();
        assert_eq!(try_send(&space, to(inbox, 1).port(name, Disposition::MoveReceive)), Code::MACH_SEND_INVALID_RIGHT, "{flags:?}");
        assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    }
    assert_eq!(space.port_construct(ConstructFlags::STRICT, 0, 3), Err(Code::KERN_INVALID_ARGUMENT));
    // Those that serve Darwin are taken and change nothing.
    for bit in [0x4, 0x8, 0x40, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x8000] {
        let name = space.port_construct(ConstructFlags::from_bits_retain(bit), 0, 0).unwrap();
        send(&space, to(inbox, 1).port(name, Disposition::MoveReceive));
        let name = receive(&space, inbox).port_at(0).unwrap();
        destroy(&space, name);
    }
    for bit in [0x1_0000, 0x8000_0000] {
        assert_eq!(space.port_construct(ConstructFlags::from_bits_retain(bit), 0, 0), Err(Code::KERN_INVALID_ARGUMENT));
    }
}

fn s1_8_deallocate(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (told, name) = (port(&space), port_with_send(&space));
    space.port_mod_refs(name, RightKind::Send, 1).unwrap();
    space.port_deallocate(name).unwrap();
    assert_eq!(sends(&space, name), 1);
    space.port_deallocate(name).unwrap();
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    assert_eq!(space.port_deallocate(name), Err(Code::KERN_INVALID_RIGHT), "never a receive right");
    let once = send_once(&space, told);
    space.port_deallocate(once).unwrap();
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    let dead = dead_name(&space);
    space.port_mod_refs(dead, RightKind::DeadName, 1).unwrap();
    space.port_deallocate(dead).unwrap();
    assert_eq!(deads(&space, dead), 1);
    space.port_deallocate(dead).unwrap();
    for gone in [once, dead, NOTHING] {
        assert_eq!(space.port_deallocate(gone), Err(Code::KERN_INVALID_NAME));
    }
    for nothing in [Name::NULL, Name::DEAD] {
        assert_eq!(space.port_deallocate(nothing), Ok(()));
    }
}

fn s1_8_destroy(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (told, name) = (port(&space), port_with_send(&space));
    space.port_mod_refs(name, RightKind::Send, 8).unwrap();
    let once = send_once(&space, told);
    let dead = dead_name(&space);
    space.port_mod_refs(dead, RightKind::DeadName, 8).unwrap();
    for name in [name, once, dead, set(&space)] {
        space.port_destroy(name).unwrap();
        assert_gone(&space, name);
        assert_eq!(space.port_destroy(name), Err(Code::KERN_INVALID_NAME));
    }
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    for nothing in [Name::NULL, Name::DEAD] {
        assert_eq!(space.port_destroy(nothing), Ok(()));
    }
}

fn s1_8_mod_refs(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, told) = (port_with_send(&space), port(&space));
    let once = send_once(&space, told);
    let (members, dead) = (set(&space), dead_name(&space));
    let change = |name, right, delta| space.port_mod_refs(name, right, delta);
    // Zero is always a question; more than nothing only for what is counted.
    let all = [
        (name, RightKind::Send),
        (name, RightKind::Receive),
        (once, RightKind::SendOnce),
        (members, RightKind::PortSet),
        (dead, RightKind::DeadName),
    ];
    for (name, right) in all {
        change(name, right, 0).unwrap();
        let counted = matches!(right, RightKind::Send | RightKind::DeadName);
        assert_eq!(change(name, right, 1).is_ok(), counted, "{right:?}");
        assert_eq!(space.port_get_refs(name, right), Ok(1 + counted as u32));
    }
    // The kind of right must be there.
    for (held, right) in all {
        for other in [RightKind::Send, RightKind::Receive, RightKind::SendOnce, RightKind::PortSet, RightKind::DeadName] {
            if other != right && held != name {
                assert_eq!(change(held, other, -1), Err(Code::KERN_INVALID_RIGHT), "{other:?} of {right:?}");
            }
        }
    }
    change(name, RightKind::Send, -2).unwrap();
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    assert_eq!(change(name, RightKind::Send, 1), Err(Code::KERN_INVALID_RIGHT), "nothing to add to");
    change(name, RightKind::Receive, -1).unwrap();
    change(once, RightKind::SendOnce, -1).unwrap();
    change(members, RightKind::PortSet, -1).unwrap();
    change(dead, RightKind::DeadName, -2).unwrap();
    for name in [name, once, members, dead] {
        assert_gone(&space, name);
    }
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    assert_eq!(change(NOTHING, RightKind::Send, 1), Err(Code::KERN_INVALID_NAME));
    for nothing in [Name::NULL, Name::DEAD] {
        assert_eq!((change(nothing, RightKind::Send, -1), change(nothing, RightKind::SendOnce, 5)), (Ok(()), Ok(())));
        assert_eq!(change(nothing, RightKind::Receive, -1), Err(Code::KERN_INVALID_NAME));
    }
}

fn s1_8_get_refs(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let refs = |name, right| space.port_get_refs(name, right);
    assert_eq!((refs(name, RightKind::Send), refs(name, RightKind::Receive)), (Ok(1), Ok(1)));
    for right in [RightKind::SendOnce, RightKind::PortSet, RightKind::DeadName] {
        assert_eq!(refs(name, right), Ok(0), "{right:?} is not held");
    }
    assert_eq!(refs(dead_name(&space), RightKind::Send), Ok(0));
    assert_eq!(refs(NOTHING, RightKind::Send), Err(Code::KERN_INVALID_NAME));
    for nothing in [Name::NULL, Name::DEAD] {
        assert_eq!((refs(nothing, RightKind::Send), refs(nothing, RightKind::SendOnce)), (Ok(1), Ok(1)));
        for right in [RightKind::Receive, RightKind::PortSet, RightKind::DeadName] {
            assert_eq!(refs(nothing, right), Err(Code::KERN_INVALID_NAME));
        }
    }
}

fn s1_8_type(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    request(&space, name, notify::DEAD_NAME, 0, name);
    assert_eq!(space.port_type(name), Ok(TypeBits::SEND | TypeBits::RECEIVE | TypeBits::DNREQUEST));
    assert_eq!(space.port_type(Name::DEAD), Ok(TypeBits::DEAD_NAME));
    for name in [Name::NULL, NOTHING] {
        assert_eq!(space.port_type(name), Err(Code::KERN_INVALID_NAME));
    }
}

fn s1_8_names(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let before = space.port_names().unwrap();
    let known: Vec<Name> = before.iter().map(|row| row.name).collect();
    for name in [space.task_self(), space.task_name(), space.host_self()] {
        assert!(known.contains(&name), "{name} is there from the start");
    }
    let receive = port_with_send(&space);
    let made = [receive, send_once(&space, receive), set(&space), dead_name(&space)];
    space.port_allocate_name(RightKind::DeadName, NOTHING).unwrap();
    let names = space.port_names().unwrap();
    assert_eq!(names.len(), before.len() + 5);
    for name in made.into_iter().chain(known).chain([NOTHING]) {
        let kind = space.port_type(name).unwrap().bits();
        assert!(names.contains(&NameRow { name, kind }), "{name}");
    }
    // A port that has died shows as what it has become, without anybody having looked at the name.
    let died = port_with_send(&space);
    let once = send_once(&space, died);
    destroy(&space, died);
    let names = space.port_names().unwrap();
    for name in [died, once] {
        assert!(names.contains(&NameRow { name, kind: TypeBits::DEAD_NAME.bits() }));
    }
    // More than one page of them.
    for _ in 0..5000 {
        dead_name(&space);
    }
    assert_eq!(space.port_names().unwrap().len(), names.len() + 5000);
}

fn s1_8_insert_right(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let control = world.pass(&b, other.task_self(), Disposition::CopySend, &a);
    let insert = |name, right, disposition| space.of(control).port_insert_right(name, right, disposition);
    let (mine, second) = (port(&space), port(&space));
    let at = Name(0x6000_0003);
    use Disposition::*;
    insert(at, mine, MakeSend).unwrap();
    assert_eq!(kind(&other, at), TypeBits::SEND);
    // Once more joins; another name for the same port, or the same for another port, does not.
    insert(at, mine, MakeSend).unwrap();
    assert_eq!(sends(&other, at), 2);
    assert_eq!(insert(Name(0x6000_0103), mine, MakeSend), Err(Code::KERN_RIGHT_EXISTS));
    assert_eq!(insert(at, second, MakeSend), Err(Code::KERN_NAME_EXISTS));
    assert_eq!(insert(at, mine, MakeSendOnce), Err(Code::KERN_NAME_EXISTS), "a send-once right shares with nothing");
    assert_eq!(notification(&space, mine), notify::Notification::SendOnce, "what could not be put there is given up");
    insert(Name(0x6000_0203), mine, MakeSendOnce).unwrap();
    insert(at, mine, MoveReceive).unwrap();
    assert_eq!((kind(&other, at), sends(&other, at)), (TypeBits::SEND_RECEIVE, 2));
    assert_gone(&space, mine);
    // Into one's own space, under the receive right's name.
    space.port_insert_right(second, second, MakeSend).unwrap();
    assert_eq!(kind(&space, second), TypeBits::SEND_RECEIVE);
    for (name, right, disposition, code) in [
        (at, NOTHING, 20, Code::KERN_INVALID_NAME),
        (at, Name::NULL, 20, Code::KERN_INVALID_CAPABILITY),
        (at, Name::DEAD, 20, Code::KERN_INVALID_CAPABILITY),
        (at, second, 99, Code::KERN_INVALID_VALUE),
        (at, second, 22, Code::KERN_INVALID_VALUE),
        (at, second, 18, Code::KERN_INVALID_RIGHT),
        (Name::NULL, second, 20, Code::KERN_INVALID_VALUE),
        (Name(122), second, 20, Code::KERN_INVALID_VALUE),
        (Name(123), second, 20, Code::KERN_FAILURE),
    ] {
        assert_eq!(space.of(control).port_insert_right_raw(name, right, disposition), Err(code), "{name} {right} {disposition}");
    }
}

fn s1_8_extract_right(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let control = world.pass(&b, other.task_self(), Disposition::CopySend, &a);
    let extract = |name, disposition| space.of(control).port_extract_right(name, disposition);
    let theirs = port_with_send(&other);
    use Disposition::*;
    let (name, kind_of) = extract(theirs, CopySend).unwrap();
    assert_eq!((kind_of, sends(&space, name), sends(&other, theirs)), (received::SEND.into(), 1, 1));
    assert_eq!(extract(theirs, MakeSend), Ok((name, received::SEND.into())), "joins");
    assert_eq!(sends(&space, name), 2);
    let (once, kind_of) = extract(theirs, MakeSendOnce).unwrap();
    assert_eq!((kind_of, kind(&space, once)), (received::SEND_ONCE.into(), TypeBits::SEND_ONCE));
    assert_eq!(extract(theirs, MoveSend), Ok((name, received::SEND.into())));
    assert_eq!(kind(&other, theirs), TypeBits::RECEIVE);
    assert_eq!(extract(theirs, MoveReceive), Ok((name, received::RECEIVE.into())));
    assert_gone(&other, theirs);
    assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND_RECEIVE, 3));
    assert_eq!(extract(theirs, MoveReceive), Err(Code::KERN_INVALID_NAME));
    assert_eq!(extract(other.task_self(), MoveReceive), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(extract(dead_name(&other), CopySend), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(extract(Name::NULL, CopySend), Err(Code::KERN_INVALID_NAME));
}

fn s1_8_receive_status(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, told, members) = (port(&space), port(&space), set(&space));
    let bytes = space.port_get_attributes(name, flavor::RECEIVE_STATUS).unwrap();
    let words = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
    assert_eq!(words(&bytes), [0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
    space.port_insert_member(name, members).unwrap();
    space.port_set_seqno(name, 7).unwrap();
    add_send(&space, name);
    add_send(&space, name);
    space.port_set_qlimit(name, 9).unwrap();
    fill(&space, name, 3);
    send_once(&space, name);
    send_once(&space, name);
    request(&space, name, notify::PORT_DESTROYED, 0, told);
    request(&space, name, notify::NO_SENDERS, 0, told);
    let bytes = space.port_get_attributes(name, flavor::RECEIVE_STATUS).unwrap();
    // In a set, seqno, make-send count, limit, messages, send-once rights, send rights, port-destroyed, no-senders, flags.
    assert_eq!(words(&bytes), [1, 7, 2, 9, 3, 2, 1, 1, 1, 0]);
    assert_eq!(space.port_get_receive_status(NOTHING).map(drop), Err(Code::KERN_INVALID_NAME));
    assert_eq!(space.port_get_receive_status(space.task_self()).map(drop), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(space.port_get_receive_status(members).map(drop), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_8_set_mscount_and_seqno(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, told) = (port(&space), port(&space));
    request(&space, name, notify::NO_SENDERS, 5, told);
    // Values are stored, and nothing fires because of them.
    space.port_set_mscount(name, 10).unwrap();
    space.port_set_seqno(name, u32::MAX).unwrap();
    let status = space.port_get_receive_status(name).unwrap();
    assert_eq!((status.make_send_count, status.seqno), (10, u32::MAX));
    world.assert_silent(&task, told);
    let calls: [NameCall; 2] = [|space, name| space.port_set_mscount(name, 1), |space, name| space.port_set_seqno(name, 1)];
    for call in calls {
        assert_eq!(call(&space, space.task_self()), Err(Code::KERN_INVALID_RIGHT));
        assert_eq!(call(&space, NOTHING), Err(Code::KERN_INVALID_NAME));
    }
}

fn s1_8_attributes(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let get = |flavor| space.port_get_attributes(name, flavor);
    assert_eq!(get(flavor::LIMITS_INFO), Ok(5u32.to_le_bytes().to_vec()));
    space.port_set_attributes(name, flavor::LIMITS_INFO, &12u32.to_le_bytes()).unwrap();
    assert_eq!(get(flavor::LIMITS_INFO), Ok(12u32.to_le_bytes().to_vec()));
    let status = get(flavor::RECEIVE_STATUS).unwrap();
    let extended = get(flavor::INFO_EXT).unwrap();
    assert_eq!((status.len(), extended.len(), &extended[..40]), (40, 68, &status[..]));
    assert_eq!(get(flavor::DNREQUESTS_SIZE).map(|bytes| bytes.len()), Ok(4));
    space.port_guard(name, 0x77, 0).unwrap();
    assert_eq!(get(flavor::GUARD_INFO), Ok(0x77u64.to_le_bytes().to_vec()));
    // Of those that serve Darwin the settable ones are taken.
    for flavor in [flavor::TEMPOWNER, flavor::IMPORTANCE_RECEIVER, flavor::DENAP_RECEIVER] {
        assert_eq!(space.port_set_attributes(name, flavor, &1u32.to_le_bytes()), Ok(()));
    }
    for flavor in [0, 10, 99] {
        assert_eq!(get(flavor), Err(Code::KERN_INVALID_ARGUMENT), "{flavor}");
        assert_eq!(space.port_set_attributes(name, flavor, &[0; 4]), Err(Code::KERN_INVALID_ARGUMENT), "{flavor}");
    }
    assert_eq!(space.port_set_attributes(name, flavor::RECEIVE_STATUS, &status), Err(Code::KERN_INVALID_ARGUMENT), "reading only");
    assert_eq!(space.port_set_attributes(name, flavor::LIMITS_INFO, &[1, 2]), Err(Code::KERN_FAILURE), "too short");
    assert_eq!(space.port_get_attributes(NOTHING, flavor::LIMITS_INFO), Err(Code::KERN_INVALID_NAME));
    assert_eq!(space.port_get_attributes(space.task_self(), flavor::LIMITS_INFO), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_8_set_status(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let members = set(&space);
    let mut ports: Vec<Name> = (0..40).map(|_| port(&space)).collect();
    for &name in &ports {
        space.port_insert_member(name, members).unwrap();
    }
    let sorted = |mut names: Vec<Name>| {
        names.sort();
        names
    };
    assert_eq!(space.port_get_set_status(members).map(sorted), Ok(sorted(ports.clone())));
    destroy(&space, ports.pop().unwrap());
    assert_eq!(space.port_get_set_status(members).map(sorted), Ok(sorted(ports.clone())));
    assert_eq!(space.port_get_set_status(ports[0]), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(space.port_get_set_status(NOTHING), Err(Code::KERN_INVALID_NAME));
}

fn s1_8_guards(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port(&space);
    space.port_guard(name, 0xfeed, 0).unwrap();
    assert_eq!(space.port_guard(name, 0xfeed, 0), Err(Code::KERN_INVALID_ARGUMENT), "guarded already");
    // Neither way of destroying it by name works; knowing the guard does.
    assert!(space.port_mod_refs(name, RightKind::Receive, -1).is_err());
    assert!(space.port_destroy(name).is_err());
    assert_eq!(space.port_destruct(name, 0, 1), Err(Code::KERN_INVALID_ARGUMENT));
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    assert_eq!(space.port_unguard(name, 1), Err(Code::KERN_INVALID_ARGUMENT));
    assert_eq!(space.port_swap_guard(name, 1, 2), Err(Code::KERN_INVALID_ARGUMENT));
    space.port_swap_guard(name, 0xfeed, 0xbeef).unwrap();
    assert_eq!(space.port_unguard(name, 0xfeed), Err(Code::KERN_INVALID_ARGUMENT));
    space.port_unguard(name, 0xbeef).unwrap();
    assert_eq!(space.port_unguard(name, 0xbeef), Err(Code::KERN_INVALID_ARGUMENT), "not guarded");
    assert_eq!(space.port_swap_guard(name, 0, 2), Err(Code::KERN_INVALID_ARGUMENT));
    // With a context there is no place for a guard.
    space.port_set_context(name, 4).unwrap();
    assert_eq!(space.port_guard(name, 5, 0), Err(Code::KERN_INVALID_ARGUMENT));
    space.port_set_context(name, 0).unwrap();
    // Strict: the guard is a secret, and the context cannot be changed without it.
    space.port_guard(name, 0x5ec, 1).unwrap();
    assert_eq!(space.port_get_context(name), Ok(0));
    assert_eq!(space.port_set_context(name, 1), Err(Code::KERN_INVALID_ARGUMENT));
    space.port_destruct(name, 0, 0x5ec).unwrap();
    assert_gone(&space, name);
    assert_eq!(space.port_guard(port(&space), 1, 8), Err(Code::KERN_INVALID_ARGUMENT), "unknown flag");
    assert_eq!(space.port_unguard(NOTHING, 1), Err(Code::KERN_INVALID_NAME));
    assert_eq!(space.port_unguard(space.task_self(), 1), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_8_context(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let space = a.raw();
    let name = port_with_send(&space);
    assert_eq!(space.port_get_context(name), Ok(0));
    space.port_set_context(name, u64::MAX - 1).unwrap();
    assert_eq!(space.port_get_context(name), Ok(u64::MAX - 1));
    let held = world.pass(&a, name, Disposition::CopySend, &b);
    assert_eq!(b.raw().port_get_context(held), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(b.raw().port_set_context(held, 1), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(space.port_get_context(NOTHING), Err(Code::KERN_INVALID_NAME));
}

fn s1_8_peek(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    assert_eq!(space.port_peek(name, 0, 0).map(drop), Err(Code::KERN_FAILURE));
    space.port_set_seqno(name, 40).unwrap();
    for id in 0..3 {
        send(&space, to(name, id).body(&vec![0; 4 * id as usize]));
    }
    let first = space.port_peek(name, 3 << 24, 0).unwrap();
    assert_eq!((first.id, first.seqno, first.size, first.trailer.len()), (0, 40, 24 + 8, 52));
    let third = space.port_peek(name, 0, 42).unwrap();
    assert_eq!((third.id, third.seqno, third.size, third.trailer.len()), (2, 42, 32 + 8, 8));
    for seqno in [39, 43] {
        assert_eq!(space.port_peek(name, 0, seqno).map(drop), Err(Code::KERN_FAILURE), "{seqno}");
    }
    let status = space.port_get_receive_status(name).unwrap();
    assert_eq!((status.queued, status.seqno), (3, 40), "nothing was taken");
    assert_eq!(space.port_peek(space.task_self(), 0, 0).map(drop), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(space.port_peek(NOTHING, 0, 0).map(drop), Err(Code::KERN_INVALID_NAME));
    assert_eq!(receive(&space, name).header().id, 0);
}

fn s1_8_introspection(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let name = port_with_send(&space);
    let held = world.pass(&a, name, Disposition::CopySend, &b);
    other.port_mod_refs(held, RightKind::Send, 3).unwrap();
    assert_eq!(space.port_get_srights(name), Ok(2), "one per holder");
    assert_eq!(other.port_get_srights(held), Err(Code::KERN_INVALID_RIGHT));
    // One object behind both names, and nothing to do with the kernel's own.
    let (plain, object) = space.port_kobject(name).unwrap();
    assert_eq!((plain, other.port_kobject(held)), (kobject::NONE, Ok((kobject::NONE, object))));
    for (name, is) in [(space.task_self(), kobject::TASK), (space.task_name(), kobject::TASK_NAME), (space.host_self(), kobject::HOST)] {
        assert_eq!(space.port_kobject(name).map(|(kind, _)| kind), Ok(is));
    }
    let rows = other.port_space_info().unwrap();
    let row = rows.iter().find(|row| row.name == held).unwrap();
    assert_eq!((row.urefs, row.object, row.receiver, row.kind), (4, object, a.id(), TypeBits::SEND.bits()));
    assert_eq!(rows.len(), other.port_names().unwrap().len());
    // Of another task, by its control right.
    let control = world.pass(&b, other.task_self(), Disposition::CopySend, &a);
    assert_eq!(space.of(control).port_space_info().map(|seen| seen.len()), Ok(rows.len()));
    send(&space, MsgBuffer::new(1).remote(name, Disposition::MoveSend));
    assert_eq!(world.port(&a, name).send_rights, 2);
}
