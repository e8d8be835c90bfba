//! 1.11 The kernel's own ports: subsystems task, host, clock and semaphore.

use libtask::raw::{MsgBuffer, Options, kobject, special};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;
use crate::kernel_ports::*;

world_tests![s1_11_task, s1_11_other_tasks, s1_11_host_and_clock, s1_11_exception_ports, s1_11_semaphore];

fn s1_11_task(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    // Special and registered ports.
    let (first, second) = (port_with_send(&space), port_with_send(&space));
    let set = |which, right, how| code(&ask(&space, space.task_self(), with_words(MsgBuffer::new(3410).port(right, how), &[which])));
    assert_eq!(set(special::BOOTSTRAP, first, Disposition::CopySend), Code::SUCCESS);
    assert_eq!(set(special::KERNEL, first, Disposition::CopySend), Code::KERN_NO_ACCESS);
    assert_eq!(set(99, first, Disposition::MakeSend), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(set(special::BOOTSTRAP, first, Disposition::MakeSendOnce), Code::MIG_TYPE_ERROR);
    let get = |which| ask(&space, space.task_self(), simple(3409, &[which]));
    assert_eq!(get(special::BOOTSTRAP).port_at(0), Some(first));
    assert_eq!((get(special::HOST).port_at(0), get(special::NAME).port_at(0)), (Some(space.host_self()), Some(space.task_name())));
    assert_eq!(code(&get(99)), Code::KERN_INVALID_ARGUMENT);
    let register = |names: &[Name], count| {
        let message = MsgBuffer::new(3403).ports(names.to_vec(), Disposition::CopySend);
        code(&ask(&space, space.task_self(), with_words(message, &[count])))
    };
    assert_eq!(register(&[second, Name::NULL], 2), Code::SUCCESS);
    assert_eq!(space.ports_lookup(), Ok([second, Name::NULL, Name::NULL]));
    assert_eq!(register(&[second; 4], 4), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(register(&[second], 2), Code::MIG_TYPE_ERROR);
    let looked_up = ask(&space, space.task_self(), MsgBuffer::new(3404));
    assert_eq!((looked_up.ports_at(0), beside(&looked_up)), (Some(&[second, Name::NULL, Name::NULL][..]), vec![3]));
    assert_eq!(register(&[], 0), Code::SUCCESS);
    // task_info: by the name right, too.
    let info = |flavor, room| ask(&space, space.task_name(), simple(3405, &[flavor, room]));
    let token = out(&info(15, 8));
    let row = space.task_info().unwrap();
    let id = low_high(row.task);
    assert_eq!(token, [8, row.uid, row.uid, row.gid, row.uid, row.gid, row.pid, id[0], id[1]]);
    assert_eq!(out(&info(13, 90)), [2, row.uid, row.gid]);
    for (flavor, count, suspended) in [(4, 8, 0), (5, 10, 0), (6, 8, 0), (20, 12, 11)] {
        let words = out(&info(flavor, 90));
        assert_eq!((words[0], words.len(), words[1 + suspended]), (count, 1 + count as usize, 0), "{flavor}");
    }
    assert_eq!((out(&info(3, 4)).len(), out(&info(2, 8)).len()), (5, 9));
    // Of the process: it has memory, and page faults.
    let basic = out(&info(20, 12));
    let (virtual_size, resident) = (basic[1] as u64 | (basic[2] as u64) << 32, basic[3] as u64 | (basic[4] as u64) << 32);
    assert!(resident >= 64 * 1024 && virtual_size >= resident, "{basic:?}");
    assert!(out(&info(2, 8))[1] > 0);
    assert_eq!((code(&info(15, 7)), code(&info(77, 90))), (Code::KERN_INVALID_ARGUMENT, Code::KERN_INVALID_ARGUMENT));
    assert_eq!(own_out(&space, 3455, &[]), [1], "mach_task_is_self");
    // A name right controls nothing.
    assert_eq!(code(&ask(&space, space.task_name(), simple(3409, &[1]))), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(code(&ask(&space, space.task_name(), simple(3201, &[1]))), Code::KERN_INVALID_TASK);
}

fn s1_11_other_tasks(world: &World) {
    let parent = world.task("parent");
    let space = parent.raw();
    let (child, _control) = parent.spawn_local("child").expect("make a task");
    let control = space.port_names().unwrap().into_iter().map(|row| row.name);
    let mut control = control;
    let control = control.find(|&name| space.of(name).task_info().is_ok_and(|row| row.task == child.id())).unwrap();
    let tell = |id| code(&ask(&space, control, MsgBuffer::new(id)));
    assert_eq!(out(&ask(&space, control, MsgBuffer::new(3455))), [0], "not oneself");
    assert_eq!(tell(3408), Code::KERN_FAILURE, "it is not suspended");
    // Counted for a task that is one with its process only in tests.
    if world.mode() == umach_tests::Mode::Local {
        assert_eq!((tell(3407), tell(3407)), (Code::SUCCESS, Code::SUCCESS));
        assert_eq!(space.of(control).task_info().map(|row| row.suspended), Ok(2));
        assert_eq!(out(&ask(&space, control, simple(3405, &[20, 12])))[12], 2);
        assert_eq!((tell(3408), tell(3408)), (Code::SUCCESS, Code::SUCCESS));
        assert_eq!(tell(3401), Code::SUCCESS);
        assert_eq!(kind(&space, control), TypeBits::DEAD_NAME);
        // Its own end comes after its request.
        let (ending, _control) = parent.spawn_local("ending").expect("make a task");
        let other = ending.raw();
        let mut message = MsgBuffer::new(3401).remote(other.task_self(), Disposition::CopySend);
        assert_eq!(other.mach_msg(&mut message, Options::SEND, 0, Name::NULL, 0, Name::NULL), Code::SUCCESS);
        umach_tests::eventually("the task is gone", || other.port_names().is_err());
    }
}

fn s1_11_host_and_clock(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let host = |request| ask(&space, space.host_self(), request);
    let basic = out(&host(simple(200, &[1, 68])));
    assert_eq!((basic[0], basic.len()), (12, 13));
    assert!(basic[1] >= 1 && basic[11] > 0, "processors and memory: {basic:?}");
    assert_eq!(code(&host(simple(200, &[1, 11]))), Code::KERN_FAILURE);
    assert_eq!(code(&host(simple(200, &[77, 68]))), Code::KERN_INVALID_ARGUMENT);
    let version = host(MsgBuffer::new(201));
    let text = &version.body_bytes()[12..];
    let size = words_of(text)[1] as usize;
    assert!(text[8..][..size].starts_with(b"umach ") && text[8 + size - 1] == 0, "{text:?}");
    assert_eq!(out(&host(MsgBuffer::new(202)))[0] as u64 % 4096, 0);
    assert_eq!(code(&ask(&space, space.task_self(), MsgBuffer::new(202))), Code::KERN_INVALID_ARGUMENT, "not a host");
    // Clocks.
    assert_eq!(code(&host(simple(206, &[2]))), Code::KERN_INVALID_ARGUMENT);
    let clock = |which| host(simple(206, &[which])).port_at(0).unwrap();
    let (system, calendar) = (clock(0), clock(1));
    assert_eq!(space.port_kobject(system).map(|(kind, _)| kind), Ok(kobject::CLOCK));
    let read = |clock| {
        let time = out(&ask(&space, clock, MsgBuffer::new(1000)));
        assert!(time.len() == 2 && time[1] < 1_000_000_000, "{time:?}");
        std::time::Duration::new(time[0] as u64, time[1])
    };
    let (before, now) = (read(system), std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
    assert!(read(system) >= before);
    assert!(read(calendar).abs_diff(now).as_secs() < 60, "the time of day");
    assert_eq!(out(&ask(&space, system, simple(1001, &[1, 4]))), [1, 1]);
    assert_eq!(code(&ask(&space, system, simple(1001, &[9, 4]))), Code::KERN_INVALID_VALUE);
    assert_eq!(code(&ask(&space, space.host_self(), MsgBuffer::new(1000))), Code::KERN_INVALID_ARGUMENT);
}

fn s1_11_exception_ports(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (first, second) = (port_with_send(&space), port_with_send(&space));
    let change = |id, mask, right, behavior| {
        ask(&space, space.task_self(), with_words(MsgBuffer::new(id).port(right, Disposition::CopySend), &[mask, behavior, 7]))
    };
    assert_eq!(code(&change(3413, 0b110, first, 1)), Code::SUCCESS);
    assert_eq!(code(&change(3413, 0b1000, second, 0x8000_0001)), Code::SUCCESS);
    assert_eq!(code(&change(3413, 1, first, 1)), Code::KERN_INVALID_ARGUMENT, "there is no kind 0");
    assert_eq!(code(&change(3413, 0b110, first, 9)), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(space.port_get_srights(first), Ok(3), "its name, and two kinds");
    let got = ask(&space, space.task_self(), simple(3414, &[0b11110]));
    assert_eq!(got.descriptors().len(), 32);
    let ports: Vec<_> = (0..4).map(|i| got.port_at(i).unwrap()).collect();
    assert_eq!(ports, [first, second, Name::NULL, Name::NULL]);
    assert_eq!(beside(&got), [3, 0b110, 0b1000, 0b10000, 1, 0x8000_0001, 0, 7, 7, 0]);
    let rows = space.task_get_exception_ports(0b11110).unwrap();
    assert_eq!(rows.iter().map(|row| (row.mask, row.port)).collect::<Vec<_>>(), [(0b110, first), (0b1000, second), (0b10000, Name::NULL)]);
    let swapped = change(3415, 0b100, second, 2);
    assert_eq!((swapped.port_at(0), beside(&swapped)), (Some(first), vec![1, 0b100, 1, 7]));
    assert_eq!(space.task_exception_port(2), Ok((second, 2, 7)));
}

fn s1_11_semaphore(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let create = |policy, value: i32| ask(&space, space.task_self(), simple(3418, &[policy, value as u32]));
    let semaphore = create(0, 1).port_at(0).unwrap();
    assert_eq!(space.port_kobject(semaphore).map(|(kind, _)| kind), Ok(kobject::SEMAPHORE));
    let try_wait = || space.semaphore_wait(semaphore, Some(std::time::Duration::ZERO));
    assert_eq!((try_wait(), try_wait()), (Ok(()), Err(Code::KERN_OPERATION_TIMED_OUT)));
    let tell = |id| code(&ask(&space, semaphore, MsgBuffer::new(id)));
    assert_eq!((tell(617_200), tell(617_201)), (Code::SUCCESS, Code::SUCCESS));
    assert_eq!((try_wait(), try_wait()), (Ok(()), Err(Code::KERN_OPERATION_TIMED_OUT)), "signal_all does not count");
    assert_eq!((code(&create(0, -1)), code(&create(9, 0))), (Code::KERN_INVALID_ARGUMENT, Code::KERN_INVALID_ARGUMENT));
    assert_eq!(tell(617_202), Code::KERN_NOT_SUPPORTED, "threads wait, messages do not");
    assert_eq!(code(&ask(&space, space.task_self(), MsgBuffer::new(617_200))), Code::KERN_INVALID_ARGUMENT);
    space.port_mod_refs(semaphore, RightKind::Send, 1).unwrap();
    let end = |right, how| code(&ask(&space, space.task_self(), MsgBuffer::new(3419).port(right, how)));
    assert_eq!(end(space.host_self(), Disposition::CopySend), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(end(semaphore, Disposition::MoveSend), Code::SUCCESS);
    assert_eq!((sends(&space, semaphore), tell(617_200)), (1, Code::KERN_TERMINATED));
}
