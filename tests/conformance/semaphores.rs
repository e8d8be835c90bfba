//! 1.12 Semaphores, exception ports, tasks by their processes.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use libtask::raw::MsgBuffer;
use libtask::{Code, Disposition, Name, RightKind, Task, TypeBits};
use umach_tests::{SOON, World, world_tests};

use crate::common::*;

world_tests![
    s1_12_semaphore_counts,
    s1_12_semaphore_wakes_in_order,
    s1_12_signal_all_and_waiting,
    s1_12_wait_signal,
    s1_12_semaphore_travels,
    s1_12_semaphore_destroyed,
    s1_12_semaphore_of_a_dead_task,
    s1_12_semaphore_that_nobody_can_signal,
    s1_12_waiter_that_dies,
    s1_12_semaphore_names,
    s1_12_semaphores_are_paid_for,
    s1_12_exception_ports,
    s1_12_exception_ports_are_inherited,
    s1_12_task_for_pid,
];

const NOW: Option<Duration> = Some(Duration::ZERO);
const LONG: Option<Duration> = Some(Duration::from_millis(SOON as u64));

/// Starts a thread that waits.
fn wait_in_thread(task: &Task, semaphore: Name, signal: Name) -> JoinHandle<Result<(), Code>> {
    let task = task.clone();
    std::thread::spawn(move || task.raw().semaphore_wait_signal(semaphore, signal, LONG, false))
}

fn s1_12_semaphore_counts(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let semaphore = space.semaphore_create(0, 2).unwrap();
    assert_eq!((kind(&space, semaphore), sends(&space, semaphore)), (TypeBits::SEND, 1));
    let wait = |timeout| space.semaphore_wait(semaphore, timeout);
    assert_eq!((wait(NOW), wait(LONG), wait(NOW)), (Ok(()), Ok(()), Err(Code::KERN_OPERATION_TIMED_OUT)));
    assert_eq!(wait(Some(Duration::from_millis(1))), Err(Code::KERN_OPERATION_TIMED_OUT));
    space.semaphore_signal(semaphore).unwrap();
    space.semaphore_signal(semaphore).unwrap();
    assert_eq!((wait(None), wait(NOW), wait(NOW)), (Ok(()), Ok(()), Err(Code::KERN_OPERATION_TIMED_OUT)));
    assert_eq!(space.semaphore_create(0, -1), Err(Code::KERN_INVALID_ARGUMENT));
    assert_eq!(space.semaphore_create(4, 0), Err(Code::KERN_INVALID_ARGUMENT));
    assert_eq!(space.of(space.host_self()).semaphore_create(0, 0), Err(Code::KERN_INVALID_TASK));
}

fn s1_12_semaphore_wakes_in_order(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    for (policy, order) in [(0, [0, 1, 2]), (1, [0, 1, 2]), (2, [2, 1, 0])] {
        let semaphore = space.semaphore_create(policy, 0).unwrap();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waiting = |count| world.await_blocked_receives(&task, count);
        let threads: Vec<_> = (0..3u32)
            .map(|number| {
                let (task, log) = (task.clone(), woken.clone());
                let thread = std::thread::spawn(move || {
                    task.raw().semaphore_wait(semaphore, LONG).unwrap();
                    log.lock().unwrap().push(number);
                });
                waiting(number + 1);
                thread
            })
            .collect();
        for count in 1..=3 {
            space.semaphore_signal(semaphore).unwrap();
            umach_tests::eventually("one thread wakes", || woken.lock().unwrap().len() == count);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(woken.lock().unwrap()[..], order);
        assert_eq!(space.semaphore_wait(semaphore, NOW), Err(Code::KERN_OPERATION_TIMED_OUT));
        space.semaphore_destroy(semaphore).unwrap();
    }
}

fn s1_12_signal_all_and_waiting(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let semaphore = space.semaphore_create(0, 0).unwrap();
    assert_eq!(space.semaphore_signal_all(semaphore), Ok(()));
    assert_eq!(space.semaphore_signal_waiting(semaphore), Err(Code::KERN_NOT_WAITING));
    assert_eq!(space.semaphore_wait(semaphore, NOW), Err(Code::KERN_OPERATION_TIMED_OUT), "neither counted");
    let threads: Vec<_> = (0..4).map(|_| wait_in_thread(&task, semaphore, Name::NULL)).collect();
    world.await_blocked_receives(&task, 4);
    assert_eq!(space.semaphore_signal_waiting(semaphore), Ok(()));
    world.await_blocked_receives(&task, 3);
    assert_eq!(space.semaphore_signal_all(semaphore), Ok(()));
    assert!(threads.into_iter().all(|thread| thread.join().unwrap().is_ok()));
    assert_eq!(space.semaphore_wait(semaphore, NOW), Err(Code::KERN_OPERATION_TIMED_OUT));
}

fn s1_12_wait_signal(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (wait, signal) = (space.semaphore_create(0, 0).unwrap(), space.semaphore_create(0, 0).unwrap());
    let thread = wait_in_thread(&task, wait, signal);
    // The signal comes once the thread waits.
    space.semaphore_wait(signal, LONG).unwrap();
    assert_eq!(space.task_info().unwrap().blocked_receives, 1);
    space.semaphore_signal(wait).unwrap();
    assert_eq!(thread.join().unwrap(), Ok(()));
    // The same one: the thread wakes itself.
    assert_eq!(space.semaphore_wait_signal(wait, wait, LONG, false), Ok(()));
    // Also when it need not wait, or may not.
    assert_eq!(space.semaphore_wait_signal(wait, signal, NOW, false), Err(Code::KERN_OPERATION_TIMED_OUT));
    assert_eq!(space.semaphore_wait(signal, NOW), Ok(()));
    // If whoever would signal cannot be told, nobody waits.
    let control = space.task_self();
    space.port_mod_refs(signal, RightKind::Send, 1).unwrap();
    space.of(control).semaphore_destroy(signal).unwrap();
    assert_eq!(space.semaphore_wait_signal(wait, signal, LONG, false), Err(Code::KERN_TERMINATED));
    space.semaphore_signal(wait).unwrap();
    assert_eq!(space.semaphore_wait_signal(wait, signal, LONG, false), Ok(()), "what it waited for counts more");
}

fn s1_12_semaphore_travels(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let semaphore = space.semaphore_create(0, 0).unwrap();
    let inbox = port(&other);
    let way = world.pass(&b, inbox, Disposition::MakeSend, &a);
    let mut message = MsgBuffer::new(1).remote(way, Disposition::CopySend).port(semaphore, Disposition::CopySend);
    assert_eq!(space.send_timeout(&mut message, SOON), Code::SUCCESS);
    let theirs = receive(&other, inbox).port_at(0).unwrap();
    let thread = wait_in_thread(&b, theirs, Name::NULL);
    world.await_blocked_receives(&b, 1);
    space.semaphore_signal(semaphore).unwrap();
    assert_eq!(thread.join().unwrap(), Ok(()));
    other.semaphore_signal(theirs).unwrap();
    assert_eq!(space.semaphore_wait(semaphore, LONG), Ok(()));
    // Destroying it there does nothing but drop the right: it is another task's.
    assert_eq!(other.semaphore_destroy(theirs), Ok(()));
    assert_gone(&other, theirs);
    assert_eq!(space.semaphore_signal(semaphore), Ok(()));
}

fn s1_12_semaphore_destroyed(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let semaphore = space.semaphore_create(0, 0).unwrap();
    let theirs = world.pass(&a, semaphore, Disposition::CopySend, &b);
    let threads = [wait_in_thread(&b, theirs, Name::NULL), wait_in_thread(&b, theirs, Name::NULL)];
    world.await_blocked_receives(&b, 2);
    space.semaphore_destroy(semaphore).unwrap();
    assert_gone(&space, semaphore);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Err(Code::KERN_TERMINATED));
    }
    // The right stays one, to nothing.
    assert_eq!(kind(&other, theirs), TypeBits::SEND);
    assert_eq!(other.semaphore_signal(theirs), Err(Code::KERN_TERMINATED));
    assert_eq!(other.semaphore_signal_all(theirs), Err(Code::KERN_TERMINATED));
    assert_eq!(other.semaphore_wait(theirs, NOW), Err(Code::KERN_TERMINATED));
    assert_eq!(other.semaphore_wait(theirs, None), Err(Code::KERN_TERMINATED));
    // By the owner's control right it can be destroyed from elsewhere.
    let again = space.semaphore_create(0, 0).unwrap();
    let control = world.pass(&a, space.task_self(), Disposition::CopySend, &b);
    let theirs = world.pass(&a, again, Disposition::CopySend, &b);
    other.of(control).semaphore_destroy(theirs).unwrap();
    assert_eq!(space.semaphore_signal(again), Err(Code::KERN_TERMINATED));
}

fn s1_12_semaphore_of_a_dead_task(world: &World) {
    let (a, end) = (world.task("a"), world.task("ending"));
    let (space, id) = (a.raw(), end.id());
    let theirs = end.raw().semaphore_create(0, 1).unwrap();
    let held = world.pass(&end, theirs, Disposition::CopySend, &a);
    assert_eq!(space.semaphore_wait(held, NOW), Ok(()));
    let thread = wait_in_thread(&a, held, Name::NULL);
    world.await_blocked_receives(&a, 1);
    drop(end);
    world.end_task(id);
    assert_eq!(thread.join().unwrap(), Err(Code::KERN_TERMINATED));
    assert_eq!((kind(&space, held), space.semaphore_signal(held)), (TypeBits::SEND, Err(Code::KERN_TERMINATED)));
}

fn s1_12_semaphore_that_nobody_can_signal(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let semaphore = space.semaphore_create(0, 0).unwrap();
    let thread = wait_in_thread(&task, semaphore, Name::NULL);
    world.await_blocked_receives(&task, 1);
    space.port_deallocate(semaphore).unwrap();
    assert_eq!(thread.join().unwrap(), Err(Code::KERN_TERMINATED));
}

fn s1_12_waiter_that_dies(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let space = a.raw();
    let semaphore = space.semaphore_create(0, 0).unwrap();
    let (theirs, id) = (world.pass(&a, semaphore, Disposition::CopySend, &b), b.id());
    let control = world.pass(&b, b.raw().task_self(), Disposition::CopySend, &a);
    let thread = wait_in_thread(&b, theirs, Name::NULL);
    world.await_blocked_receives(&b, 1);
    if world.mode() == umach_tests::Mode::Local {
        space.of(control).task_terminate().unwrap();
        assert!(thread.join().unwrap().is_err());
        drop(b);
        world.end_task(id);
    } else {
        space.semaphore_signal(semaphore).unwrap();
        thread.join().unwrap().unwrap();
    }
    // A signal is not lost to who is gone.
    space.semaphore_signal(semaphore).unwrap();
    assert_eq!(space.semaphore_wait(semaphore, NOW), Ok(()));
}

fn s1_12_semaphore_names(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (receive, dead, semaphore) = (port(&space), dead_name(&space), space.semaphore_create(0, 0).unwrap());
    let calls: [NameCall; 4] = [
        |space, name| space.semaphore_signal(name),
        |space, name| space.semaphore_signal_all(name),
        |space, name| space.semaphore_wait(name, NOW),
        |space, name| space.semaphore_destroy(name),
    ];
    for call in calls {
        assert_eq!(call(&space, Name::NULL), Err(Code::KERN_INVALID_NAME));
        assert_eq!(call(&space, Name::DEAD), Err(Code::KERN_INVALID_NAME));
        assert_eq!(call(&space, Name::new(900, 3)), Err(Code::KERN_INVALID_NAME));
        assert_eq!(call(&space, receive), Err(Code::KERN_INVALID_RIGHT));
        assert_eq!(call(&space, dead), Err(Code::KERN_INVALID_RIGHT));
        assert_eq!(call(&space, space.host_self()), Err(Code::KERN_INVALID_CAPABILITY));
    }
    assert_eq!(space.semaphore_wait_signal(semaphore, receive, NOW, false), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_12_semaphores_are_paid_for(world: &World) {
    let small = world.with_limits(&[("task-ports", 20)]);
    let task = small.task("a");
    let space = task.raw();
    let mut made = Vec::new();
    let refused = loop {
        match space.semaphore_create(0, 0) {
            Ok(semaphore) => made.push(semaphore),
            Err(code) => break code,
        }
        assert!(made.len() <= 20);
    };
    assert_eq!(refused, Code::KERN_RESOURCE_SHORTAGE);
    // Who has none left pays for none. What is over is paid for until its last right goes.
    let (first, last) = (made[0], *made.last().unwrap());
    space.port_mod_refs(first, RightKind::Send, 1).unwrap();
    space.semaphore_destroy(first).unwrap();
    assert_eq!(space.semaphore_create(0, 0), Err(Code::KERN_RESOURCE_SHORTAGE));
    space.port_deallocate(last).unwrap();
    assert!(space.semaphore_create(0, 0).is_ok());
    drop(task);
    small.end();
}

fn s1_12_exception_ports(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    assert_eq!(space.task_exception_port(1), Ok((Name::NULL, 0, 0)));
    let handler = port_with_send(&space);
    space.task_set_exception_ports(0b1010, handler, 1, 7).unwrap();
    assert_eq!((sends(&space, handler), space.port_get_srights(handler)), (1, Ok(3)), "copied for each kind");
    assert_eq!(space.task_exception_port(3), Ok((handler, 1, 7)));
    assert_eq!(sends(&space, handler), 2, "a right of one's own each time");
    assert_eq!(space.task_exception_port(2), Ok((Name::NULL, 0, 0)));
    let all = space.task_get_exception_ports(0x3ffe).unwrap();
    let found: Vec<_> = all.iter().map(|row| (row.mask, row.port, row.behavior, row.flavor)).collect();
    assert_eq!(found, [(0b1010, handler, 1, 7), (0x3ff4, Name::NULL, 0, 0)], "those alike are one");
    // By the control right, with a right of the caller's own.
    let control = world.pass(&a, space.task_self(), Disposition::CopySend, &b);
    let theirs = port_with_send(&other);
    let before = other.of(control).task_swap_exception_ports(0b10, theirs, 0x8000_0002, 9).unwrap();
    assert_eq!((before.len(), before[0].mask, before[0].behavior), (1, 0b10, 1));
    send(&other, to(before[0].port, 4));
    assert_eq!(receive(&space, handler).header().id, 4);
    let (name, behavior, flavor) = space.task_exception_port(1).unwrap();
    assert_eq!((behavior, flavor), (0x8000_0002, 9));
    send(&space, to(name, 5));
    assert_eq!(receive(&other, theirs).header().id, 5);
    // What is refused changes nothing.
    for (mask, port, behavior) in [(1, handler, 1), (1 << 14, handler, 1), (0b10, handler, 0), (0b10, handler, 5)] {
        assert_eq!(space.task_set_exception_ports(mask, port, behavior, 0), Err(Code::KERN_INVALID_ARGUMENT));
    }
    assert_eq!(space.task_set_exception_ports(2, set(&space), 1, 0), Err(Code::KERN_INVALID_RIGHT));
    assert_eq!(space.task_exception_port(1).map(|(_, behavior, _)| behavior), Ok(0x8000_0002));
    assert_eq!(
        (space.task_exception_port(0), space.task_exception_port(14)),
        (Err(Code::KERN_INVALID_ARGUMENT), Err(Code::KERN_INVALID_ARGUMENT))
    );
    assert_eq!(other.of(other.host_self()).task_get_exception_ports(2), Err(Code::KERN_INVALID_TASK));
    // A handler that died is a dead name; null takes it away.
    destroy(&other, theirs);
    world.settle();
    assert_eq!(space.task_exception_port(1), Ok((Name::DEAD, 0x8000_0002, 9)));
    space.task_set_exception_ports(0x3ffe, Name::NULL, 0, 0).unwrap();
    assert_eq!(space.task_exception_port(3), Ok((Name::NULL, 0, 0)));
}

fn s1_12_exception_ports_are_inherited(world: &World) {
    let parent = world.task("parent");
    let space = parent.raw();
    let handler = port_with_send(&space);
    space.task_set_exception_ports(0b100, handler, 3, 7).unwrap();
    let (child, control) = parent.spawn_local("child").unwrap();
    let (name, behavior, flavor) = child.raw().task_exception_port(2).unwrap();
    assert_eq!((behavior, flavor), (3, 7));
    send(&child.raw(), to(name, 6));
    assert_eq!(receive(&space, handler).header().id, 6);
    // The two are apart from now on.
    space.task_set_exception_ports(0b100, Name::NULL, 0, 0).unwrap();
    assert_eq!(child.raw().task_exception_port(2).map(|(_, behavior, _)| behavior), Ok(3));
    drop((child, control));
    umach_tests::eventually("the child's are gone", || space.port_get_srights(handler) == Ok(1));
}

fn s1_12_task_for_pid(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    assert_eq!(space.pid_for_task(), Ok(std::process::id()));
    assert_eq!(space.of(space.task_name()).pid_for_task(), Ok(std::process::id()));
    assert_eq!(space.task_for_pid(std::process::id()), Ok(space.task_self()));
    assert_eq!(sends(&space, space.task_self()), 2);
    // Nobody that the caller could not reach anyway.
    assert_eq!(space.task_for_pid(u32::MAX - 1), Err(Code::KERN_FAILURE));
    assert_eq!(space.task_for_pid(0), Err(Code::KERN_FAILURE));
}
