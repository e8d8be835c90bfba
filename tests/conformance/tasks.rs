//! 1.10 Special ports and tasks.

use libtask::raw::{kobject, notify, special};
use libtask::{Code, Disposition, Name, RightKind, SendRight, Task, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_10_special_ports,
    s1_10_registered_ports,
    s1_10_self_ports,
    s1_10_end_of_a_task_ends_its_space,
    s1_10_new_task_inherits_special_and_registered_ports_only,
];

fn s1_10_special_ports(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    assert_eq!((special::KERNEL, special::HOST, special::NAME, special::BOOTSTRAP), (1, 2, 3, 4));
    let get = |which| space.task_get_special_port(which);
    assert_eq!(get(special::KERNEL), Ok(space.task_self()));
    assert_eq!(get(special::HOST), Ok(space.host_self()));
    assert_eq!(get(special::NAME), Ok(space.task_name()));
    assert_eq!(get(special::BOOTSTRAP), Ok(Name::NULL), "none was given");
    // A right of one's own each time.
    assert_eq!((sends(&space, space.task_self()), sends(&space, space.host_self())), (2, 2));
    // The bootstrap port can be set, here or by the control right; what is set is copied.
    let (first, second) = (port_with_send(&space), port_with_send(&other));
    space.task_set_special_port(special::BOOTSTRAP, first).unwrap();
    assert_eq!((get(special::BOOTSTRAP), sends(&space, first)), (Ok(first), 2));
    let control = world.pass(&a, space.task_self(), Disposition::CopySend, &b);
    other.of(control).task_set_special_port(special::BOOTSTRAP, second).unwrap();
    let name = get(special::BOOTSTRAP).unwrap();
    send(&space, to(name, 8));
    assert_eq!(receive(&other, second).header().id, 8);
    assert_eq!(space.port_get_srights(first), Ok(1), "the one before was released");
    space.task_set_special_port(special::BOOTSTRAP, Name::NULL).unwrap();
    assert_eq!(get(special::BOOTSTRAP), Ok(Name::NULL));
    // The others are the kernel's to say.
    for which in [special::KERNEL, special::HOST, special::NAME] {
        assert!(space.task_set_special_port(which, first).is_err(), "{which}");
    }
    for which in [0, 7, 99] {
        assert_eq!(get(which), Err(Code::KERN_INVALID_ARGUMENT));
        assert_eq!(space.task_set_special_port(which, first), Err(Code::KERN_INVALID_ARGUMENT));
    }
    assert!(space.task_set_special_port(special::BOOTSTRAP, set(&space)).is_err());
    // A name right shows the task and controls nothing.
    let name = world.pass(&a, space.task_name(), Disposition::CopySend, &b);
    assert_eq!(other.of(name).task_info().map(|row| row.task), Ok(a.id()));
    assert_eq!(other.of(name).task_get_special_port(special::KERNEL), Err(Code::KERN_INVALID_TASK));
}

fn s1_10_registered_ports(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    assert_eq!(space.ports_lookup(), Ok([Name::NULL; 3]));
    let (first, second) = (port_with_send(&space), port_with_send(&space));
    space.ports_register([first, Name::NULL, second]).unwrap();
    assert_eq!((sends(&space, first), space.port_get_srights(first)), (1, Ok(2)), "copied");
    assert_eq!(space.ports_lookup(), Ok([first, Name::NULL, second]));
    assert_eq!(sends(&space, first), 2);
    // All three at once; one that is not a send right changes nothing.
    assert!(space.ports_register([second, second, set(&space)]).is_err());
    assert_eq!(space.ports_lookup(), Ok([first, Name::NULL, second]));
    space.ports_register([second, Name::NULL, Name::NULL]).unwrap();
    assert_eq!(space.port_get_srights(first), Ok(1));
    assert_eq!(space.ports_lookup(), Ok([second, Name::NULL, Name::NULL]));
    space.ports_register([Name::NULL; 3]).unwrap();
    assert_eq!((space.ports_lookup(), space.port_get_srights(second)), (Ok([Name::NULL; 3]), Ok(1)));
}

fn s1_10_self_ports(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    // The names that every task starts with are cached: asking again adds no reference.
    for (name, is) in [(space.task_self(), kobject::TASK), (space.task_name(), kobject::TASK_NAME), (space.host_self(), kobject::HOST)] {
        assert_eq!((kind(&space, name), sends(&space, name)), (TypeBits::SEND, 1));
        assert_eq!(space.port_kobject(name).map(|(kind, _)| kind), Ok(is));
    }
    assert_eq!((space.task_self(), sends(&space, space.task_self())), (space.target(), 1));
    let info = space.task_info().unwrap();
    assert_eq!((info.task, info.pid), (task.id(), std::process::id()));
    // The control right of oneself is a right like any other, and can be lost.
    let own = space.task_self();
    space.port_deallocate(own).unwrap();
    assert_eq!(space.of(Name::NULL).port_type(own), Err(Code::KERN_INVALID_NAME));
}

fn s1_10_end_of_a_task_ends_its_space(world: &World) {
    let (a, end) = (world.task("a"), world.task("ending"));
    let (space, id) = (a.raw(), end.id());
    let told = port(&space);
    let told_of_port = port(&space);
    let counted = port(&space);
    // The ending task holds: a port that others can send to, with a message in it; a send right; a send-once right; the receive right of a
    // port that wants to be saved; a set; and it is the destination of a blocked send.
    let service = port(&end.raw());
    let name = world.pass(&end, service, Disposition::MakeSend, &a);
    request(&space, name, notify::DEAD_NAME, 0, told);
    world.pass(&a, counted, Disposition::MakeSend, &end);
    request(&space, counted, notify::NO_SENDERS, 0, told);
    world.pass(&a, told, Disposition::MakeSendOnce, &end);
    let saved = port_with_send(&space);
    request(&space, saved, notify::PORT_DESTROYED, 0, told_of_port);
    world.pass(&a, saved, Disposition::MoveReceive, &end);
    let members = set(&end.raw());
    end.raw().port_insert_member(service, members).unwrap();
    let control = world.pass(&end, end.raw().task_self(), Disposition::CopySend, &a);
    request(&space, control, notify::DEAD_NAME, 0, told);
    fill(&space, name, 4);
    send(&space, to(name, 5).port(told, Disposition::MakeSendOnce));
    let blocked = send_in_thread(&a, to(name, 6).port(told, Disposition::MakeSendOnce));
    world.await_blocked_sends(&a, 1);
    drop(end);
    world.end_task(id);
    assert_eq!(blocked.join().unwrap().0, Code::SUCCESS);
    let seen: Vec<_> = (0..6).map(|_| notification(&space, told)).collect();
    let count = |wanted| seen.iter().filter(|one| **one == wanted).count();
    use notify::Notification::*;
    assert_eq!((count(DeadName(name)), count(DeadName(control)), count(NoSenders(1)), count(SendOnce)), (1, 1, 1, 3), "{seen:?}");
    assert_eq!(notification(&space, told_of_port), PortDestroyed(saved));
    assert_eq!((kind(&space, name), kind(&space, control)), (TypeBits::DEAD_NAME, TypeBits::DEAD_NAME));
    world.assert_silent(&a, told);
    assert_eq!(space.of(control).port_names().map(drop), Err(Code::KERN_INVALID_TASK));
}

/// A task made by another one, whose control right stays with its maker.
fn spawn(maker: &Task) -> (Task, libtask::TaskControl) {
    maker.spawn_local("child").expect("make a task")
}

fn s1_10_new_task_inherits_special_and_registered_ports_only(world: &World) {
    let parent = world.task("parent");
    let space = parent.raw();
    let (bootstrap, registered) = (port_with_send(&space), port_with_send(&space));
    space.task_set_special_port(special::BOOTSTRAP, bootstrap).unwrap();
    space.ports_register([Name::NULL, registered, Name::NULL]).unwrap();
    port_with_send(&space);
    let (child, control) = spawn(&parent);
    let other = child.raw();
    let info = other.task_info().unwrap();
    assert_eq!((info.parent, info.names), (parent.id(), 3), "its control, name and host rights");
    let names = other.port_names().unwrap();
    assert!(names.iter().all(|row| row.kind == TypeBits::SEND.bits()));
    let to_parent = child.bootstrap().unwrap();
    assert_eq!(child.label().unwrap(), "child");
    let from_child: SendRight = to_parent;
    from_child.send(libtask::Message::new(3)).unwrap();
    let got = receive(&space, bootstrap);
    assert_eq!((got.header().id, got.trailer().unwrap().task), (3, child.id()));
    let [nothing, second, third] = other.ports_lookup().unwrap();
    assert_eq!((nothing, third), (Name::NULL, Name::NULL));
    send(&other, to(second, 4));
    assert_eq!(receive(&space, registered).header().id, 4);
    // Whoever made it controls it.
    assert_eq!(control.info().unwrap().task, child.id());
    assert_eq!(control.raw().port_get_refs(second, RightKind::Send), Ok(1));
    drop((from_child, child));
    umach_tests::eventually("the maker sees the end", || control.right().is_dead().unwrap());
    // Without a process yet, a task can be ended by its maker; without inheritance, it starts with nothing.
    let (name, _, lane) = space.task_create(1, "unborn").unwrap();
    drop(lane);
    umach_tests::eventually("the unborn task is gone", || space.port_type(name) == Ok(TypeBits::DEAD_NAME));
}
