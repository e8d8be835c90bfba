//! 1.11 The kernel's own ports: requests that are none, and what cannot be served.

use libtask::raw::{Descriptor, MsgBuffer, NDR, notify};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{Chance, World, world_tests};

use crate::common::*;
use crate::kernel_ports::*;

world_tests![
    s1_11_malformed_requests,
    s1_11_what_is_not_served,
    s1_11_failed_requests_keep_no_rights,
    s1_11_replies_that_find_no_room,
    s1_11_random_requests,
];

/// The ids of all subsystems.
const SUBSYSTEMS: [(i32, i32); 5] = [(200, 35), (1000, 3), (3200, 43), (3400, 65), (617_200, 7)];

/// A request that is not of the routine's form is refused before anything happens, whatever the routine.
fn s1_11_malformed_requests(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let refused = [Code::MIG_BAD_ARGUMENTS, Code::MIG_TYPE_ERROR, Code::KERN_NOT_SUPPORTED, Code::MIG_BAD_ID];
    let names = space.port_names().unwrap().len();
    for (first, count) in SUBSYSTEMS {
        for id in first..first + count {
            let to = if first == 200 { space.host_self() } else { space.task_self() };
            let longer = simple(id, &[0; 64]);
            let file = MsgBuffer::new(id).descriptor(Descriptor::File { lane: 0, number: 0 });
            let many = (0..3).fold(MsgBuffer::new(id), |message, _| message.port(space.host_self(), Disposition::CopySend));
            let arrays = MsgBuffer::new(id).ports(vec![space.host_self(); 4], Disposition::CopySend).body(&[0; 4]);
            let empty = MsgBuffer::new(id).memory(Vec::new()).body(&NDR).body(&[0; 12]);
            for request in [longer, file, many, arrays, empty, MsgBuffer::new(id).body(&[1; 4])] {
                let code = code(&ask(&space, to, request));
                assert!(refused.contains(&code), "{id}: {code:?}");
            }
        }
    }
    assert_eq!(space.port_names().unwrap().len(), names);
}

fn s1_11_what_is_not_served(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    // Ids of XNU's whose work cannot be done here, also of whole subsystems (vm_map, mach_vm, threads).
    for id in [3219, 3402, 3411, 3436, 3464, 204, 216, 617_204, 3800, 4800, 3600, 400] {
        assert_eq!(own(&space, id, &[]), Code::KERN_NOT_SUPPORTED, "{id}");
    }
    // Ids of nobody's, and of what XNU's kernel has no more.
    for id in
        [3202, 3225, 3400, 3416, 3422, 208, 214, 0, 64, 71, 199, 235, 3199, 3243, 3465, 617_199, 617_207, 1_000_000, -1, i32::MAX - 100]
    {
        assert_eq!(own(&space, id, &[]), Code::MIG_BAD_ID, "{id}");
    }
    // Without a reply port, the call is made and nobody is told; an answer that cannot be delivered is forgotten.
    let name = port(&space);
    let mut message = simple(3210, &[name.0, 5]).remote(space.task_self(), Disposition::CopySend);
    assert_eq!(space.send_timeout(&mut message, 0), Code::SUCCESS);
    assert_eq!(space.port_get_receive_status(name).unwrap().make_send_count, 5);
    send(&space, to(space.task_self(), 3200));
    send(&space, to(space.task_self(), 77));
}

fn s1_11_failed_requests_keep_no_rights(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    let once = |id| {
        let message = MsgBuffer::new(id).port(told, Disposition::MakeSendOnce).body(&NDR).body(&[0; 12]);
        code(&ask(&space, space.task_self(), message))
    };
    for id in [3213, 3214, 3410, 3413, 3402, 9999] {
        assert_ne!(once(id), Code::SUCCESS, "{id}");
        assert_eq!(notification(&space, told), notify::Notification::SendOnce, "{id}");
    }
    // A receive right that goes nowhere dies.
    let (doomed, name) = (port(&space), Name::new(900, 3));
    let watcher = world.task("b");
    let held = world.pass(&task, doomed, Disposition::MakeSend, &watcher);
    let message = with_words(MsgBuffer::new(3214).port(doomed, Disposition::MoveReceive), &[name.0 & !3]);
    assert_eq!(code(&ask(&space, space.task_self(), message)), Code::KERN_INVALID_VALUE);
    umach_tests::eventually("the port is dead", || kind(&watcher.raw(), held) == TypeBits::DEAD_NAME);
    world.settle();
}

fn s1_11_replies_that_find_no_room(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    // The answer to a full queue is lost, and nobody waits.
    let full = port_with_limit(&space, 1);
    send(&space, to(full, 1));
    let mut message = simple(3204, &[1]).remote(space.task_self(), Disposition::CopySend).local(full, Disposition::CopySend);
    assert_eq!(space.send_timeout(&mut message, 0), Code::SUCCESS);
    assert_eq!(receive(&space, full).header().id, 1);
    world.assert_silent(&a, full);
    // An answer to the kernel itself goes nowhere.
    let mut message = MsgBuffer::new(3100).remote(space.task_self(), Disposition::CopySend).local(space.task_self(), Disposition::CopySend);
    assert_eq!(space.send_timeout(&mut message, 0), Code::SUCCESS);
    // An answer may go to another task's port, as any reply may.
    let theirs = port(&other);
    let right = world.pass(&b, theirs, Disposition::MakeSend, &a);
    let mut message =
        simple(3201, &[space.host_self().0]).remote(space.task_self(), Disposition::CopySend).local(right, Disposition::CopySend);
    assert_eq!(space.send_timeout(&mut message, 0), Code::SUCCESS);
    assert_eq!(out(&receive(&other, theirs)), [TypeBits::SEND.bits()]);
}

/// Whatever a task sends to the kernel's own ports, the kernel goes on; the whole state is checked when the test ends.
fn s1_11_random_requests(world: &World) {
    let mut chance = Chance::new(world.mode() as u64 + 0x5eed);
    let task = world.task("a");
    let space = task.raw();
    let clock = ask(&space, space.host_self(), simple(206, &[0])).port_at(0).unwrap();
    for round in 0..3000 {
        let semaphore = if round % 50 == 0 { space.semaphore_create(0, 0).ok() } else { None };
        let targets = [space.task_self(), space.task_name(), space.host_self(), clock, semaphore.unwrap_or(clock)];
        let (first, count) = SUBSYSTEMS[chance.below(5) as usize];
        let id = first + chance.below(count as u64 + 1) as i32;
        // Neither the end of this task nor its suspension.
        if matches!(id, 3401 | 3407) {
            continue;
        }
        let names: Vec<Name> = space.port_names().unwrap().iter().map(|row| row.name).filter(|name| !targets.contains(name)).collect();
        let mut name = || match chance.below(4) {
            0 => Name(chance.below(1 << 12) as u32),
            1 => targets[chance.below(5) as usize],
            _ if names.is_empty() => Name::NULL,
            _ => names[chance.below(names.len() as u64) as usize],
        };
        let (carried, argument) = (name(), name());
        let mut message = MsgBuffer::new(id);
        match chance.below(4) {
            0 => message = message.port(carried, Disposition::CopySend),
            1 if !targets.contains(&carried) => message = message.port(carried, Disposition::MakeSendOnce),
            2 => message = message.memory(vec![chance.below(256) as u8; chance.below(64) as usize]),
            _ => {}
        }
        let words: Vec<u32> = (0..chance.below(7)).map(|_| chance.below(1 << 10) as u32).collect();
        message = with_words(message, &[&[argument.0][..], &words].concat()[chance.below(2) as usize..]);
        let reply = port(&space);
        let mut message = message.remote(targets[chance.below(5) as usize], Disposition::CopySend);
        if chance.below(4) > 0 {
            message = message.local(reply, Disposition::MakeSendOnce);
        }
        let _ = space.send_timeout(&mut message, 0);
        while space.receive(reply, 0).is_ok() {}
        let _ = space.port_mod_refs(reply, RightKind::Receive, -1);
    }
    assert!(space.port_names().is_ok());
}
