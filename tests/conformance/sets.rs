//! 1.7 Port sets.

use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_7_port_in_many_sets,
    s1_7_move_member,
    s1_7_insert_and_extract_member,
    s1_7_no_nesting,
    s1_7_messages_stay_with_the_port,
    s1_7_members_are_served_in_turn,
    s1_7_destroying_a_set,
    s1_7_deallocate_destroys_a_set,
    s1_7_status_says_in_some_set,
];

fn s1_7_port_in_many_sets(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let sets = [set(&space), set(&space), set(&space)];
    for members in sets {
        space.port_insert_member(name, members).unwrap();
        assert_eq!(space.port_get_set_status(members), Ok(vec![name]));
    }
    // One message is one message, whichever set it is taken from.
    fill(&space, name, 3);
    for (id, members) in sets.into_iter().enumerate() {
        assert_eq!(receive(&space, members).header().id, id as i32);
    }
    for members in sets {
        world.assert_silent(&task, members);
    }
    // A thread on any of them gets it.
    let waiting = receive_in_thread(&task, sets[2]);
    world.await_blocked_receives(&task, 1);
    send(&space, to(name, 9));
    assert_eq!(waiting.join().unwrap().unwrap().header().id, 9);
    space.port_extract_member(name, sets[1]).unwrap();
    assert_eq!([0, 1, 2].map(|i| space.port_get_set_status(sets[i]).unwrap().len()), [1, 0, 1]);
}

fn s1_7_move_member(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port(&space);
    let (first, second, third) = (set(&space), set(&space), set(&space));
    let sizes = || [first, second, third].map(|members| space.port_get_set_status(members).unwrap().len());
    assert_eq!(space.port_move_member(name, Name::NULL), Err(Code::KERN_NOT_IN_SET));
    space.port_insert_member(name, first).unwrap();
    space.port_insert_member(name, second).unwrap();
    space.port_move_member(name, third).unwrap();
    assert_eq!(sizes(), [0, 0, 1], "out of all others first");
    space.port_move_member(name, third).unwrap();
    assert_eq!(sizes(), [0, 0, 1]);
    space.port_insert_member(name, first).unwrap();
    space.port_move_member(name, Name::NULL).unwrap();
    assert_eq!(sizes(), [0, 0, 0]);
    assert_eq!(space.port_move_member(name, Name::NULL), Err(Code::KERN_NOT_IN_SET));
    assert_eq!(space.port_move_member(Name(0x7000_0003), first), Err(Code::KERN_INVALID_NAME));
    assert_eq!(space.port_move_member(space.task_self(), first), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(space.port_move_member(name, name), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_7_insert_and_extract_member(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, other, members) = (port(&space), port(&space), set(&space));
    space.port_insert_member(name, members).unwrap();
    assert_eq!(space.port_insert_member(name, members), Err(Code::KERN_ALREADY_IN_SET));
    assert_eq!(space.port_extract_member(other, members), Err(Code::KERN_NOT_IN_SET));
    space.port_extract_member(name, members).unwrap();
    assert_eq!(space.port_extract_member(name, members), Err(Code::KERN_NOT_IN_SET));
    let calls: [MemberCall; 2] =
        [|space, member, set| space.port_insert_member(member, set), |space, member, set| space.port_extract_member(member, set)];
    for call in calls {
        assert_eq!(call(&space, Name(0x7000_0003), members), Err(Code::KERN_INVALID_NAME));
        assert_eq!(call(&space, name, Name(0x7000_0003)), Err(Code::KERN_INVALID_NAME));
        assert_eq!(call(&space, name, other), Err(Code::KERN_INVALID_RIGHT));
        assert_eq!(call(&space, space.task_self(), members), Err(Code::KERN_INVALID_RIGHT));
    }
    // A port that already has messages makes the set ready.
    add_send(&space, name);
    fill(&space, name, 1);
    space.port_insert_member(name, members).unwrap();
    assert_eq!(receive(&space, members).header().id, 0);
}

fn s1_7_no_nesting(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (outer, inner) = (set(&space), set(&space));
    for (member, code) in [
        (inner, Code::KERN_INVALID_RIGHT),
        (outer, Code::KERN_INVALID_RIGHT),
        (dead_name(&space), Code::KERN_INVALID_RIGHT),
        (Name::NULL, Code::KERN_INVALID_RIGHT),
        (Name::DEAD, Code::KERN_INVALID_RIGHT),
    ] {
        assert_eq!(space.port_insert_member(member, outer), Err(code), "{member}");
        assert_eq!(space.port_move_member(member, outer), Err(code), "{member}");
    }
    assert_eq!(space.port_get_set_status(outer), Ok(vec![]));
}

fn s1_7_messages_stay_with_the_port(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (name, first, second) = (port_with_send(&space), set(&space), set(&space));
    space.port_insert_member(name, first).unwrap();
    fill(&space, name, 4);
    assert_eq!(receive(&space, first).header().id, 0);
    // Out of the set, its messages go with it.
    space.port_extract_member(name, first).unwrap();
    world.assert_silent(&task, first);
    assert_eq!(receive(&space, name).header().id, 1);
    space.port_insert_member(name, second).unwrap();
    assert_eq!(receive(&space, second).header().id, 2);
    assert_eq!(space.port_get_receive_status(name).unwrap().queued, 1);
    receive(&space, name);
    // An empty set is waited on like an empty port; a port with messages that joins ends the wait.
    let waiting = receive_in_thread(&task, first);
    world.await_blocked_receives(&task, 1);
    fill(&space, name, 1);
    world.await_blocked_receives(&task, 1);
    space.port_insert_member(name, first).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap().header().id, 0);
}

fn s1_7_members_are_served_in_turn(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let members = set(&space);
    let ports = [port_with_send(&space), port_with_send(&space), port_with_send(&space)];
    for name in ports {
        space.port_insert_member(name, members).unwrap();
        fill(&space, name, 4);
    }
    // A member that is never empty does not keep the others waiting.
    let mut served = [0; 3];
    for round in 1..=3 {
        for _ in 0..3 {
            let from = receive(&space, members).header().local;
            served[ports.iter().position(|name| *name == from).unwrap()] += 1;
            send(&space, to(from, 99));
        }
        assert_eq!(served, [round; 3]);
    }
}

fn s1_7_destroying_a_set(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let ends: [NameCall; 2] = [|space, set| space.port_mod_refs(set, RightKind::PortSet, -1), |space, set| space.port_destroy(set)];
    for end in ends {
        let (members, other, name) = (set(&space), set(&space), port_with_send(&space));
        space.port_insert_member(name, members).unwrap();
        space.port_insert_member(name, other).unwrap();
        let waiting = receive_in_thread(&task, members);
        world.await_blocked_receives(&task, 1);
        end(&space, members).unwrap();
        assert_eq!(waiting.join().unwrap().map(drop), Err(Code::MACH_RCV_PORT_CHANGED));
        assert_gone(&space, members);
        // Members live on, and so do their other sets.
        fill(&space, name, 1);
        assert_eq!(receive(&space, other).header().id, 0);
        assert_eq!(kind(&space, name), TypeBits::SEND_RECEIVE);
    }
}

fn s1_7_deallocate_destroys_a_set(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (members, name) = (set(&space), port(&space));
    space.port_insert_member(name, members).unwrap();
    space.port_deallocate(members).unwrap();
    assert_gone(&space, members);
    world.settle();
    assert!(!space.port_get_receive_status(name).unwrap().in_set);
}

fn s1_7_status_says_in_some_set(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let space = a.raw();
    let (name, first, second) = (port(&space), set(&space), set(&space));
    let in_set = || space.port_get_receive_status(name).unwrap().in_set;
    assert!(!in_set());
    space.port_insert_member(name, first).unwrap();
    assert!(in_set());
    space.port_insert_member(name, second).unwrap();
    let bytes = space.port_get_attributes(name, libtask::raw::flavor::RECEIVE_STATUS).unwrap();
    assert_eq!(bytes[..4], 1u32.to_le_bytes(), "one and not how many, nor which");
    space.port_extract_member(name, first).unwrap();
    assert!(in_set());
    // Moved away it is in none, here or there.
    let there = world.pass(&a, name, Disposition::MoveReceive, &b);
    assert_eq!(space.port_get_set_status(second), Ok(vec![]));
    assert!(!b.raw().port_get_receive_status(there).unwrap().in_set);
}
