//! 1.9 Out-of-line memory and descriptors.

use std::io::Write;

use libtask::raw::{Descriptor, MsgBuffer, OolPart, Options, copy, guard_flags, received};
use libtask::{Code, Disposition, Name, RightKind, Task, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_9_memory_is_a_snapshot,
    s1_9_deallocate_moves,
    s1_9_size_zero,
    s1_9_copy_option,
    s1_9_port_arrays,
    s1_9_guarded_descriptors,
    s1_9_memory_that_cannot_be_sent,
];

/// A sealed region with these bytes.
fn region(task: &Task, bytes: &[u8]) -> Name {
    let space = task.raw();
    let (id, _, mut file) = space.region_create(bytes.len() as u64, false).expect("a region");
    file.write_all(bytes).expect("fill a region");
    use rustix::fs::SealFlags;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).expect("seal a region");
    space.region_seal(id).expect("the region's right")
}

fn s1_9_memory_is_a_snapshot(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let inbox = port(&other);
    let right = world.pass(&b, inbox, Disposition::MakeSend, &a);
    // Small memory is copied into the packet, large memory into a sealed object; neither changes once sent.
    for size in [1, 3, 4096, 40_000, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        let mut message = to(right, 1).memory(bytes.clone());
        assert_eq!(space.send(&mut message), Code::SUCCESS);
        if let Some(OolPart::Bytes(sent)) = message.ool.first_mut() {
            sent.fill(0xee);
        }
        let mut got = receive(&other, inbox);
        assert_eq!(got.memory_at(0), Some(&bytes[..]));
        // The receiver's memory is its own: what it writes, nobody else sees.
        send(&space, to(right, 2).memory(bytes.clone()));
        let second = receive(&other, inbox);
        if let Some(part) = got.ool.pop() {
            let mut own = match part {
                OolPart::Bytes(bytes) => bytes,
                OolPart::Mapped(memory) => memory.into_vec(),
                other => panic!("{other:?}"),
            };
            own.fill(0xdd);
        }
        assert_eq!(second.memory_at(0), Some(&bytes[..]));
    }
}

fn s1_9_deallocate_moves(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let inbox = port(&other);
    let right = world.pass(&b, inbox, Disposition::MakeSend, &a);
    let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let kept = region(&a, &bytes);
    // Lent, the region stays with the sender; moved, it leaves its space.
    send(&space, to(right, 1).region(kept, 100_000, false));
    assert_eq!(sends(&space, kept), 1);
    assert_eq!(receive(&other, inbox).memory_at(0), Some(&bytes[..]));
    send(&space, to(right, 2).region(kept, 100_000, true));
    assert_gone(&space, kept);
    assert_eq!(world.host().regions, 1, "it is in the message");
    let got = receive(&other, inbox);
    assert_eq!(world.host().regions, 0);
    assert_eq!(got.memory_at(0), Some(&bytes[..]));
    // Part of a region is memory as well.
    let part = region(&a, &bytes);
    send(&space, to(right, 3).region(part, 10, true));
    assert_eq!(receive(&other, inbox).memory_at(0), Some(&bytes[..10]));
}

fn s1_9_size_zero(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let nothing = Descriptor::Memory { address: 0xdead_beef, deallocate: false, copy: copy::VIRTUAL, size: 0, volatile: true };
    send(&space, to(inbox, 1).memory(Vec::new()).descriptor(nothing).ports(Vec::new(), Disposition::CopySend));
    let got = receive(&space, inbox);
    for (i, descriptor) in got.descriptors().into_iter().enumerate() {
        match descriptor {
            Descriptor::Memory { address, size, volatile, .. } => assert_eq!((address, size, volatile), (0, 0, i == 1)),
            Descriptor::Ports { address, count, .. } => assert_eq!((address, count), (0, 0)),
            other => panic!("{other:?}"),
        }
    }
}

fn s1_9_copy_option(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let with = |copy, size: u32| {
        let bytes = vec![3; size as usize];
        let mut message = to(inbox, 1).descriptor(Descriptor::Memory { address: 0, deallocate: false, copy, size, volatile: false });
        message.ool.push(OolPart::Bytes(bytes));
        message
    };
    for size in [8, 100_000] {
        for (option, deallocate) in [(copy::PHYSICAL, false), (copy::VIRTUAL, true)] {
            send(&space, with(option, size));
            let got = receive(&space, inbox);
            let Descriptor::Memory { deallocate: seen, copy, .. } = got.descriptors()[0] else { panic!("memory") };
            assert_eq!((seen, copy), (deallocate, option), "{size} bytes");
            assert_eq!(got.memory_at(0), Some(&vec![3; size as usize][..]));
        }
        for option in [2, 3, 255] {
            assert_eq!(try_send(&space, with(option, size)), Code::MACH_SEND_INVALID_TYPE, "{option}");
        }
    }
    let mut message = to(inbox, 1).descriptor(Descriptor::Ports { address: 0, deallocate: false, copy: 2, disposition: 19, count: 1 });
    message.ool.push(OolPart::Names(vec![inbox]));
    assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_TYPE);
    world.assert_silent(&task, inbox);
}

fn s1_9_port_arrays(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let names: Vec<Name> = (0..4).map(|_| port_with_send(&space)).collect();
    use Disposition::*;
    for (disposition, arrives) in
        [(CopySend, received::SEND), (MakeSendOnce, received::SEND_ONCE), (MoveSend, received::SEND), (MoveReceive, received::RECEIVE)]
    {
        send(&space, to(inbox, 1).ports(names.clone(), disposition));
        let got = receive(&space, inbox);
        let Descriptor::Ports { deallocate, copy, disposition: seen, count, .. } = got.descriptors()[0] else { panic!("an array") };
        assert_eq!((deallocate, copy, seen, count), (true, copy::VIRTUAL, arrives, 4), "{disposition:?}");
        let arrived = got.ports_at(0).unwrap();
        if disposition == MakeSendOnce {
            assert!(arrived.iter().all(|&name| kind(&space, name) == TypeBits::SEND_ONCE));
        } else {
            assert_eq!(arrived, names);
        }
    }
    assert!(names.iter().all(|&name| kind(&space, name) == TypeBits::SEND_RECEIVE && sends(&space, name) == 2));
    // One disposition for all: a name that it does not fit ends the message.
    let message = to(inbox, 1).ports([names[0], dead_name(&space), set(&space)], CopySend);
    assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_RIGHT);
    let many = vec![names[1]; 3000];
    send(&space, to(inbox, 2).ports(many.clone(), CopySend).ports(many.clone(), CopySend));
    let got = receive(&space, inbox);
    assert_eq!((got.ports_at(0), got.ports_at(1)), (Some(&many[..]), Some(&many[..])));
    assert_eq!(sends(&space, names[1]), 6002);
}

fn s1_9_guarded_descriptors(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let guarded = |guard| {
        let name = port(&space);
        space.port_guard(name, guard, 1).unwrap();
        name
    };
    let take = || {
        let (code, got) = receive_with(&space, inbox, Options::RCV_GUARDED_DESC, 4096);
        assert_eq!(code, Code::SUCCESS);
        let Descriptor::Guarded { context, flags, disposition, name } = got.descriptors()[0] else { panic!("a guarded descriptor") };
        assert_eq!((disposition, kind(&space, name)), (received::RECEIVE, TypeBits::RECEIVE));
        (name, context, flags)
    };
    // Whoever knows a strict guard can move the right after all.
    let name = guarded(0x11);
    assert_eq!(try_send(&space, to(inbox, 1).guarded(name, 0x12, 0)), Code::MACH_SEND_INVALID_RIGHT);
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    send(&space, to(inbox, 1).guarded(name, 0x11, 0));
    let (name, _, flags) = take();
    assert_eq!((flags, space.port_get_context(name)), (0, Ok(0)));
    // The receiver can be given one that it cannot move, guarded with a value that the message tells it.
    send(&space, to(inbox, 1).guarded(name, 0, guard_flags::IMMOVABLE_RECEIVE));
    let (name, context, flags) = take();
    assert_eq!(flags, guard_flags::IMMOVABLE_RECEIVE);
    assert_ne!(context, 0);
    assert_eq!(try_send(&space, to(inbox, 1).port(name, Disposition::MoveReceive)), Code::MACH_SEND_INVALID_RIGHT);
    assert!(space.port_mod_refs(name, RightKind::Receive, -1).is_err());
    space.port_destruct(name, 0, context).unwrap();
    // The sender says that it has taken the guard off: then there must be none.
    let name = port(&space);
    send(&space, to(inbox, 1).guarded(name, 0, guard_flags::UNGUARDED_ON_SEND));
    take();
    let name = guarded(0x13);
    assert_eq!(try_send(&space, to(inbox, 1).guarded(name, 0, guard_flags::UNGUARDED_ON_SEND)), Code::MACH_SEND_INVALID_RIGHT);
    // Only receive rights, and only known flags.
    let plain = port_with_send(&space);
    for (disposition, flags) in [(17, 0), (19, 0), (20, 0), (16, 4), (16, 0x8000)] {
        let message = to(inbox, 1).descriptor(Descriptor::Guarded { context: 0, flags, disposition, name: plain });
        assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_TYPE, "{disposition} {flags:#x}");
    }
    world.assert_silent(&task, inbox);
}

fn s1_9_memory_that_cannot_be_sent(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let inbox = port_with_send(&space);
    let sealed = region(&task, &[1; 5000]);
    let (_, shared, _) = space.region_create(5000, true).unwrap();
    let refused = |message: MsgBuffer| assert_eq!(try_send(&space, message), Code::MACH_SEND_INVALID_MEMORY);
    refused(to(inbox, 1).region(sealed, 5001, false));
    refused(to(inbox, 1).region(shared, 5000, false));
    refused(to(inbox, 1).region(inbox, 10, false));
    refused(to(inbox, 1).region(Name(0x7000_0003), 10, false));
    let (code, mut message) = (Code::MACH_SEND_INVALID_MEMORY, to(inbox, 1).memory(*b"four"));
    message.ool.clear();
    assert_eq!(try_send(&space, message), code);
    // Not sealed, or not whole, it does not become a right.
    let (id, name, file) = space.region_create(5000, false).unwrap();
    assert_eq!((name, space.region_seal(id)), (Name::NULL, Err(Code::KERN_PROTECTION_FAILURE)));
    drop(file);
    space.region_drop(id).unwrap();
    assert_eq!(space.region_seal(id), Err(Code::KERN_INVALID_OBJECT));
    world.assert_silent(&task, inbox);
}
