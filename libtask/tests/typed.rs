//! The typed layer against the in-process kernel: each feature once, and what becomes of rights when something fails.

use std::time::Duration;

use libtask::{
    Code, Error, LocalKernel, Message, Next, Notification, PortOptions, Result, RightKind, SendError, Task, TypeBits, run_local,
};

const SOON: Duration = Duration::from_secs(20);
const AT_ONCE: Duration = Duration::from_millis(30);

/// Two tasks, the second with a send right to a port of the first as its bootstrap.
fn pair(kernel: &LocalKernel) -> Result<(Task, libtask::ReceiveRight, Task)> {
    let server = kernel.task("server")?;
    let port = server.new_port()?;
    server.set_bootstrap(&port.make_send()?)?;
    let (client, _control) = server.spawn_local("client")?;
    Ok((server, port, client))
}

/// Runs with a kernel, checks its invariants at the end, and that no task is left.
fn local(test: impl FnOnce(&LocalKernel) -> Result<()>) {
    run_local(|kernel| {
        test(kernel).unwrap();
        kernel.check().unwrap();
        assert_eq!((kernel.tasks(), kernel.regions()), (0, 0), "tasks or regions left behind");
    });
}

fn names(task: &Task) -> usize {
    task.raw().port_names().unwrap().len()
}

#[test]
fn message_bytes_of_every_length_arrive_exactly() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        let to = port.make_send()?;
        for len in [0, 1, 2, 3, 4, 5, 7, 8, 100, 4095, 60_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            to.send(Message::new(len).bytes(&bytes))?;
            let received = port.receive_within(SOON)?;
            assert_eq!((received.id(), received.bytes()), (len, &bytes[..]));
            assert!(received.came_on(&port));
        }
        Ok(())
    });
}

#[test]
fn message_too_large_is_given_back() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        let failed = port.make_send()?.send(Message::new(1).bytes(&vec![0; 70_000])).unwrap_err();
        assert_eq!(failed.error.code(), Code::MACH_SEND_TOO_LARGE);
        assert!(failed.message.is_some());
        Ok(())
    });
}

#[test]
fn body_of_another_type_is_an_error_that_says_so() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        port.make_send()?.send(Message::new(5).body(&(1u32, "x")))?;
        let received = port.receive_within(SOON)?;
        assert_eq!(received.body::<(u32, String)>()?, (1, "x".to_owned()));
        let error = received.body::<u8>().unwrap_err();
        assert!(error.to_string().contains("u8"), "{error}");
        assert_eq!(error.code(), Code::MIG_TYPE_ERROR);
        Ok(())
    });
}

#[test]
fn pod_arrives_and_its_size_is_checked() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        port.make_send()?.send(Message::new(5).pod(&[1u16, 2, 3]))?;
        let received = port.receive_within(SOON)?;
        assert_eq!(received.pod::<[u16; 3]>()?, [1, 2, 3]);
        assert!(received.pod::<[u16; 4]>().is_err());
        Ok(())
    });
}

#[test]
fn call_is_answered_through_serve_until_stop() {
    local(|kernel| {
        let (_, port, client) = pair(kernel)?;
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let mut served = 0;
                port.serve(|request| match request.id() {
                    1 => {
                        served += 1;
                        Next::Reply(Message::new(2).bytes(request.bytes()))
                    }
                    2 => Next::Continue,
                    _ => Next::ReplyAndStop(Message::new(9)),
                })
                .map(|()| served)
            });
            let to = client.bootstrap()?;
            for i in 0..50u8 {
                assert_eq!(to.call_within(Message::new(1).bytes(&[i]), SOON)?.bytes(), [i]);
            }
            let error = to.call_within(Message::new(2), SOON).unwrap_err();
            assert!(error.is_server_died(), "{error}");
            assert_eq!(to.call_within(Message::new(3), SOON)?.id(), 9);
            assert_eq!(server.join().unwrap()?, 50);
            Ok(())
        })
    });
}

#[test]
fn call_after_the_port_died_says_it_is_dead() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        assert!(!to.is_dead()?);
        drop(port);
        assert!(to.is_dead()?);
        let error = to.call_within(Message::new(1), SOON).unwrap_err();
        assert!(error.is_dead(), "{error}");
        assert!(error.to_string().contains(&to.to_string()), "{error} does not name {to}");
        Ok(())
    });
}

#[test]
fn call_that_times_out_ignores_the_late_answer() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let before = names(&client);
        let error = to.call_within(Message::new(1), AT_ONCE).unwrap_err();
        assert!(error.is_timed_out(), "{error}");
        assert_eq!(names(&client), before, "the reply port stays behind");
        let mut late = port.receive_within(SOON)?;
        // The reply right is dead now: the answer goes nowhere.
        let _ = late.reply(Message::new(11));
        let (answerer, answered) = (port, to.call_within(Message::new(2), AT_ONCE));
        assert!(answered.unwrap_err().is_timed_out());
        let mut second = answerer.receive_within(SOON)?;
        assert_eq!(second.id(), 2);
        let _ = second.reply(Message::new(12));
        Ok(())
    });
}

#[test]
fn call_whose_request_is_dropped_or_server_dies_fails_at_once() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        std::thread::scope(|scope| {
            let calls = scope.spawn(|| [to.call_within(Message::new(1), SOON), to.call_within(Message::new(2), SOON)]);
            drop(port.receive_within(SOON).unwrap());
            let held = port.receive_within(SOON).unwrap();
            // The whole task ends with the request in its hands.
            // It cannot hear the answer to that itself.
            assert!(matches!(server.control().unwrap().terminate(), Err(Error::KernelGone)));
            for (i, answer) in calls.join().unwrap().into_iter().enumerate() {
                let error = answer.unwrap_err();
                assert!(error.is_server_died(), "call {i}: {error}");
            }
            drop(held);
        });
        let gone = server.new_port().unwrap_err();
        assert!(matches!(gone, Error::KernelGone), "{gone}");
        assert!(matches!(port.receive_within(SOON), Err(Error::KernelGone)));
        Ok(())
    });
}

#[test]
fn send_to_a_full_queue_gives_the_message_back_with_its_rights() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        port.set_queue_limit(1)?;
        let to = client.bootstrap()?;
        to.try_send(Message::new(1))?;
        let mine = client.new_port()?;
        let other = client.new_port()?;
        let region = client.region(&[7; 100_000])?;
        let before = names(&client);
        let message = Message::new(2)
            .bytes(b"body")
            .make_send(&mine)
            .move_receive(other)
            .memory(b"small".to_vec())
            .memory(vec![3; 200_000])
            .lend_region(&region)
            .rights([mine.make_send()?, to.duplicate()])
            .reply_to(&mine);
        for timeout in [Duration::ZERO, AT_ONCE] {
            let SendError { error, message: back } = to.send_within(Message::new(3).make_send(&mine), timeout).unwrap_err();
            assert!(error.is_timed_out(), "{error}");
            drop(back.unwrap());
        }
        let SendError { error, message: back } = to.send_within(message, AT_ONCE).unwrap_err();
        assert!(error.is_timed_out(), "{error}");
        assert_eq!(port.receive_within(SOON)?.id(), 1);
        to.send(*back.unwrap())?;
        let mut received = port.receive_within(SOON)?;
        assert_eq!((received.id(), received.bytes(), received.parts()), (2, &b"body"[..], 6));
        assert_eq!(received.right_kind(0), Some(RightKind::Send));
        assert_eq!(received.right_kind(1), Some(RightKind::Receive));
        assert_eq!(&received.memory(2)?[..], b"small");
        assert_eq!(&received.memory(3)?[..], &[3; 200_000][..]);
        assert_eq!(&received.memory(4)?[..], &[7; 100_000][..]);
        assert_eq!(received.take_rights(5)?.into_iter().flatten().count(), 2);
        received.reply(Message::new(4))?;
        assert_eq!(mine.receive_within(SOON)?.id(), 4);
        drop(received);
        drop(mine);
        drop(region);
        // Gone: the two ports, the region.
        assert_eq!(names(&client), before - 3);
        drop(server);
        Ok(())
    });
}

#[test]
fn send_blocked_on_a_full_queue_goes_on_when_there_is_room() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        port.set_queue_limit(1)?;
        let to = client.bootstrap()?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| (0..100).try_for_each(|i| to.send_within(Message::new(i), SOON)));
            for i in 0..100 {
                assert_eq!(port.receive_within(SOON).unwrap().id(), i);
            }
            sender.join().unwrap().unwrap();
        });
        Ok(())
    });
}

#[test]
fn rights_of_every_kind_arrive_and_work() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let a = client.new_port()?;
        let b = client.new_port()?;
        let b_sender = b.make_send()?;
        b_sender.send(Message::new(77))?; // travels with the receive right
        let once = a.make_send_once()?;
        let message = Message::new(1)
            .move_send(a.make_send()?)
            .copy_send(&b_sender)
            .make_send_once(&a)
            .move_send_once(once)
            .no_right()
            .move_receive(b);
        to.send(message)?;
        let mut got = port.receive_within(SOON)?;
        assert_eq!(
            (0..6).map(|i| got.right_kind(i)).collect::<Vec<_>>(),
            [
                Some(RightKind::Send),
                Some(RightKind::Send),
                Some(RightKind::SendOnce),
                Some(RightKind::SendOnce),
                None,
                Some(RightKind::Receive),
            ]
        );
        got.take_send(0)?.send(Message::new(10))?;
        got.take_send_once(2)?.send(Message::new(12))?;
        got.take_send_once(3)?.send(Message::new(13))?;
        let ids: Vec<_> = (0..3).map(|_| a.receive_within(SOON).unwrap().id()).collect();
        assert_eq!(ids, [10, 12, 13]);
        let moved = got.take_receive(5)?;
        assert_eq!(moved.task(), &server);
        assert_eq!(moved.receive_within(SOON)?.id(), 77);
        got.take_send(1)?.send(Message::new(11))?;
        assert_eq!(moved.receive_within(SOON)?.id(), 11);
        let error = got.take_send(0).unwrap_err();
        assert!(error.to_string().contains("taken already"), "{error}");
        assert!(got.take_send(9).unwrap_err().to_string().contains("absent"));
        Ok(())
    });
}

#[test]
fn right_whose_port_dies_on_the_way_arrives_dead() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let mine = client.new_port()?;
        client.bootstrap()?.send(Message::new(1).make_send(&mine).rights([mine.make_send()?]))?;
        drop(mine);
        let mut got = port.receive_within(SOON)?;
        assert_eq!(got.right_kind(0), Some(RightKind::DeadName));
        assert!(got.take_send(0).unwrap_err().to_string().contains("died on the way"));
        assert_eq!(got.take_rights(1)?, [None]);
        Ok(())
    });
}

#[test]
fn right_of_another_task_is_refused_with_the_message_whole() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let foreign = server.new_port()?;
        let SendError { error, message } = client.bootstrap()?.send(Message::new(1).make_send(&foreign)).unwrap_err();
        assert_eq!(error.code(), Code::KERN_INVALID_CAPABILITY);
        assert!(message.is_some());
        assert!(port.try_receive()?.is_none());
        Ok(())
    });
}

#[test]
fn right_dropped_before_the_send_is_refused() {
    local(|kernel| {
        let (_server, _port, client) = pair(kernel)?;
        let mine = client.new_port()?;
        let message = Message::new(1).make_send(&mine);
        drop(mine);
        let failed = client.bootstrap()?.send(message).unwrap_err();
        assert_eq!(failed.error.code(), Code::KERN_INVALID_NAME);
        Ok(())
    });
}

#[test]
fn rights_received_and_dropped_leave_no_name() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let mine = client.new_port()?;
        let before = names(&server);
        for _ in 0..20 {
            to.send(Message::new(1).make_send(&mine).make_send_once(&mine).rights([mine.make_send()?]).memory(vec![1; 50_000]))?;
            drop(port.receive_within(SOON)?);
        }
        assert_eq!(names(&server), before);
        // Each dropped send-once right told its port.
        for _ in 0..20 {
            assert!(matches!(mine.receive_within(SOON)?.notification(), Some(Notification::SendOnce)));
        }
        Ok(())
    });
}

#[test]
fn send_right_duplicated_is_released_with_the_last_handle() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let other = to.duplicate();
        assert_eq!(to, other);
        let name = to.name();
        drop(to);
        other.send(Message::new(1))?;
        assert_eq!(port.receive_within(SOON)?.id(), 1);
        drop(other);
        assert_eq!(client.raw().port_type(name), Err(Code::KERN_INVALID_NAME));
        Ok(())
    });
}

#[test]
fn send_right_moved_while_shared_leaves_the_other_handle_its_own() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let other = to.duplicate();
        to.send(Message::new(1).move_send(other))?;
        drop(port.receive_within(SOON)?);
        to.send(Message::new(2))?;
        assert_eq!(port.receive_within(SOON)?.id(), 2);
        // Not shared: it is moved, and the reference is gone from here.
        let name = to.name();
        let mine = client.new_port()?;
        let to_mine = mine.make_send()?;
        to_mine.send(Message::new(3).move_send(to))?;
        assert_eq!(client.raw().port_type(name), Err(Code::KERN_INVALID_NAME));
        Ok(())
    });
}

#[test]
fn into_raw_and_back_keeps_one_reference() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let shared = to.duplicate();
        let name = to.into_raw()?;
        assert_eq!(client.raw().port_get_refs(name, RightKind::Send), Ok(2));
        drop(shared);
        assert_eq!(client.raw().port_get_refs(name, RightKind::Send), Ok(1));
        libtask::SendRight::from_raw(&client, name).send(Message::new(4))?;
        assert_eq!(port.receive_within(SOON)?.id(), 4);
        assert_eq!(client.raw().port_type(name), Err(Code::KERN_INVALID_NAME));
        Ok(())
    });
}

#[test]
fn notification_of_a_dead_name_comes_once_and_says_which() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let inbox = client.new_port()?;
        let mut request = to.notify_dead(&inbox)?;
        assert!(request.take_previous().is_none());
        drop(port);
        let got = inbox.receive_within(SOON)?;
        match got.notification() {
            Some(Notification::DeadName(dead)) => assert!(dead.was(&to)),
            other => panic!("{other:?}"),
        }
        assert_eq!(got.sender().pid, 0);
        assert!(inbox.try_receive()?.is_none());
        drop(got);
        let name = to.name();
        assert_eq!(client.raw().port_get_refs(name, RightKind::DeadName), Ok(1));
        drop(to);
        assert_eq!(client.raw().port_type(name), Err(Code::KERN_INVALID_NAME));
        Ok(())
    });
}

#[test]
fn notification_requests_are_replaced_cancelled_and_deleted() {
    local(|kernel| {
        let (_server, _port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let (first, second) = (client.new_port()?, client.new_port()?);
        let _ = to.notify_dead(&first)?;
        let request = to.notify_dead(&second)?;
        drop(request); // with the previous one's send-once right
        assert!(matches!(first.receive_within(SOON)?.notification(), Some(Notification::SendOnce)));
        let request = to.notify_dead(&first)?;
        drop(request.cancel()?.expect("still armed"));
        assert!(matches!(first.receive_within(SOON)?.notification(), Some(Notification::SendOnce)));
        let _ = to.notify_dead(&first)?;
        let name = to.name();
        drop(to);
        assert!(matches!(first.receive_within(SOON)?.notification(), Some(Notification::PortDeleted(deleted)) if *deleted == name));
        Ok(())
    });
}

#[test]
fn notification_of_a_task_is_none() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        // The same id and body as the kernel's own, from a task.
        let body = [&libtask::raw::NDR[..], &5u32.to_le_bytes()].concat();
        client.bootstrap()?.send(Message::new(libtask::raw::notify::NO_SENDERS).raw_body(&body))?;
        let got = port.receive_within(SOON)?;
        assert!(got.notification().is_none());
        assert_eq!(got.raw_body(), body);
        assert_eq!(got.sender().task, client.id());
        Ok(())
    });
}

#[test]
fn no_senders_waits_for_the_first_sender_and_then_for_the_last() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        assert!(port.on_no_senders(&port)?.is_none());
        assert!(port.try_receive()?.is_none(), "told before there was a sender");
        let send = port.make_send()?;
        let more = port.make_send()?;
        drop(send);
        assert!(port.try_receive()?.is_none());
        more.send(Message::new(5))?;
        drop(more);
        assert_eq!(port.receive_within(SOON)?.id(), 5, "the last message comes before the notice");
        match port.receive_within(SOON)?.notification() {
            Some(Notification::NoSenders { make_send_count: 2 }) => {}
            other => panic!("{other:?}"),
        }
        // Nobody is left: asking again is answered at once.
        port.on_no_senders(&port)?;
        assert!(matches!(port.receive_within(SOON)?.notification(), Some(Notification::NoSenders { .. })));
        Ok(())
    });
}

#[test]
fn port_destroyed_notification_carries_the_port() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let saved = client.new_port()?;
        let to_saved = saved.make_send()?;
        let guardian = server.new_port()?;
        client.bootstrap()?.send(Message::new(1).make_send(&saved).move_receive(saved))?;
        let mut got = port.receive_within(SOON)?;
        let adopted = got.take_receive(1)?;
        adopted.on_destroyed(&guardian)?;
        to_saved.send(Message::new(42))?;
        drop(adopted);
        let mut notice = guardian.receive_within(SOON)?;
        assert!(matches!(notice.notification(), Some(Notification::PortDestroyed)));
        let back = notice.take_receive(0)?;
        assert_eq!(back.receive_within(SOON)?.id(), 42, "its queue came with it");
        Ok(())
    });
}

#[test]
fn send_possible_fires_when_there_is_room() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        port.set_queue_limit(1)?;
        let to = client.bootstrap()?;
        let inbox = client.new_port()?;
        to.try_send(Message::new(1))?;
        let _ = to.notify_possible(&inbox)?;
        assert!(inbox.try_receive()?.is_none());
        drop(port.receive_within(SOON)?);
        assert!(matches!(inbox.receive_within(SOON)?.notification(), Some(Notification::SendPossible(name)) if *name == to.name()));
        Ok(())
    });
}

#[test]
fn port_set_receives_from_all_and_tells_them_apart() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let set = task.new_set()?;
        let a = task.new_port_with(PortOptions { context: 1, ..PortOptions::default() })?;
        let b = task.new_port_with(PortOptions { queue_limit: Some(50), ..PortOptions::default() })?;
        b.set_context(2)?;
        set.insert(&a)?;
        set.insert(&b)?;
        assert_eq!(set.insert(&a).unwrap_err().code(), Code::KERN_ALREADY_IN_SET);
        let mut members = set.members()?;
        members.sort();
        assert_eq!(members, [a.name(), b.name()].into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
        a.make_send()?.send(Message::new(1))?;
        let first = set.receive_within(SOON)?;
        assert!(first.came_on(&a) && !first.came_on(&b));
        assert_eq!(first.context(), 1);
        b.make_send()?.send(Message::new(2))?;
        assert_eq!(set.receive_within(SOON)?.context(), 2);
        set.remove(&a)?;
        assert_eq!(set.members()?, [b.name()]);
        assert_eq!(set.remove(&a).unwrap_err().code(), Code::KERN_NOT_IN_SET);
        let to_b = b.make_send()?;
        (0..10).try_for_each(|i| to_b.send(Message::new(i)))?;
        let batch = set.receive_batch_within(64, SOON)?;
        assert_eq!(batch.iter().map(|m| m.id()).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert!(set.try_receive()?.is_none());
        assert!(b.status()?.in_set);
        Ok(())
    });
}

#[test]
fn receive_on_a_port_destroyed_meanwhile_ends() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let set = task.new_set()?;
        let port = task.new_port()?;
        set.insert(&port)?;
        let name = port.name();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| set.receive_within(AT_ONCE).unwrap_err());
            assert!(waiting.join().unwrap().is_timed_out());
            let waiting = scope.spawn(|| port.receive_within(SOON).unwrap_err());
            while task.control().unwrap().info().unwrap().blocked_receives == 0 {
                std::thread::yield_now();
            }
            task.raw().port_mod_refs(name, RightKind::Receive, -1).unwrap();
            let error = waiting.join().unwrap();
            assert!(error.is_port_gone(), "{error}");
        });
        assert_eq!(port.into_raw(), name);
        Ok(())
    });
}

#[test]
fn port_guarded_is_destroyed_by_its_value_only() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        let name = port.name();
        port.guard(99)?;
        assert!(task.raw().port_mod_refs(name, RightKind::Receive, -1).is_err());
        assert!(port.unguard(98).is_err());
        drop(port);
        assert_eq!(task.raw().port_type(name), Err(Code::KERN_INVALID_NAME));
        let port = task.new_port()?;
        port.guard(5)?;
        port.unguard(5)?;
        port.destroy()?;
        Ok(())
    });
}

#[test]
fn port_status_counts() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port_with(PortOptions { queue_limit: Some(9), ..PortOptions::default() })?;
        let to = port.make_send()?;
        to.send(Message::new(1).make_send_once(&port))?;
        let status = port.status()?;
        assert_eq!((status.queue_limit, status.queued, status.make_send_count, status.has_send_rights), (9, 1, 1, true));
        assert_eq!(status.send_once_rights, 1);
        assert_eq!(port.receive_within(SOON)?.seqno(), 0);
        assert_eq!(port.status()?.seqno, 1);
        Ok(())
    });
}

#[test]
fn memory_small_and_large_arrives_as_a_snapshot() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        for len in [0usize, 1, 31, 4096, 32 * 1024, 32 * 1024 + 1, 1 << 20] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            to.send(Message::new(1).memory(bytes.clone()).memory(&bytes[..len.min(10)]).bytes(b"after"))?;
            let mut got = port.receive_within(SOON)?;
            let memory = got.memory(0)?;
            assert_eq!(memory.is_mapped(), len > 32 * 1024);
            assert!(*memory == bytes[..], "{len} bytes differ");
            assert_eq!(got.memory(1)?.into_vec(), &bytes[..len.min(10)]);
            assert_eq!(got.bytes(), b"after");
            assert!(got.memory(0).is_err());
        }
        Ok(())
    });
}

#[test]
fn memory_in_many_pieces_beyond_the_packet_arrives() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let message = (0..8u8).fold(Message::new(1), |message, i| message.memory(vec![i; 30_000]));
        client.bootstrap()?.send(message)?;
        let mut got = port.receive_within(SOON)?;
        for i in 0..8 {
            assert_eq!(got.memory(i)?[..], [i as u8; 30_000][..]);
        }
        Ok(())
    });
}

#[test]
fn region_travels_as_right_and_as_memory() {
    local(|kernel| {
        use std::io::Write;
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let mut writer = client.region_writer(10_000)?;
        writer.write_all(b"start").unwrap();
        assert_eq!(writer.write(&vec![1; 20_000]).unwrap(), 9_995, "a region does not grow");
        assert_eq!(writer.write(b"x").unwrap(), 0);
        let region = writer.seal()?;
        assert_eq!(&region.map()?[..5], b"start");
        to.send(Message::new(1).region(&region).lend_region(&region))?;
        to.send(Message::new(2).move_region(region))?;
        let mut got = port.receive_within(SOON)?;
        let held = got.take_region(0)?;
        assert_eq!((held.len(), held.map()?[9_999]), (10_000, 1));
        assert_eq!(got.memory(1)?.len(), 10_000);
        let mut moved = port.receive_within(SOON)?;
        assert_eq!(moved.take_region(0)?.right(), held.right());
        Ok(())
    });
}

#[test]
fn region_never_sealed_is_dropped_and_one_partly_written_is_zero() {
    local(|kernel| {
        let task = kernel.task("t")?;
        drop(task.region_writer(5000)?);
        assert_eq!(kernel.regions(), 0);
        let empty = task.region_writer(100_000)?.seal()?;
        assert!(empty.map()?.iter().all(|&byte| byte == 0));
        assert_eq!(task.region(&[])?.map()?.len(), 0);
        Ok(())
    });
}

#[test]
fn region_shared_is_seen_by_both() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let shared = client.shared_region(8192)?;
        client.bootstrap()?.send(Message::new(1).copy_send(shared.right()).copy_send(shared.right()))?;
        let mut got = port.receive_within(SOON)?;
        let theirs = got.take_shared_region(0)?;
        theirs.write(4000, b"hello");
        let mut seen = [0; 5];
        shared.read(4000, &mut seen);
        assert_eq!(&seen, b"hello");
        assert!(got.take_region(1).is_err(), "a shared region is no sealed one");
        Ok(())
    });
}

#[test]
fn right_that_is_no_region_is_not_taken_for_one() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let mine = client.new_port()?;
        client.bootstrap()?.send(Message::new(1).make_send(&mine))?;
        let error = port.receive_within(SOON)?.take_region(0).unwrap_err();
        assert!(matches!(error, Error::Mach { .. }), "{error}");
        Ok(())
    });
}

#[test]
fn task_information_labels_and_inheritance() {
    local(|kernel| {
        let parent = kernel.task("parent")?;
        let port = parent.new_port()?;
        let to = port.make_send()?;
        assert_eq!(parent.bootstrap().unwrap_err().code(), Code::KERN_NOT_FOUND);
        parent.set_bootstrap(&to)?;
        parent.register([Some(&to), None, None])?;
        let (child, control) = parent.spawn_local("child")?;
        assert_eq!((child.label()?, control.label()?), ("child".into(), "child".into()));
        child.set_label("renamed")?;
        assert_eq!(control.label()?, "renamed");
        assert_eq!(control.info()?.task, child.id());
        assert_eq!(control.info()?.parent, parent.id());
        child.bootstrap()?.send(Message::new(1))?;
        let [first, second, third] = child.registered()?;
        first.expect("inherited").send(Message::new(2))?;
        assert!(second.is_none() && third.is_none());
        assert_eq!((port.receive_within(SOON)?.id(), port.receive_within(SOON)?.id()), (1, 2));
        control.set_bootstrap(None)?;
        assert!(child.bootstrap().is_err());
        let mine = child.new_port()?;
        assert!(control.space()?.iter().any(|row| row.name == mine.name() && row.receiver == child.id()));
        control.terminate()?;
        assert!(matches!(child.new_port(), Err(Error::KernelGone)));
        Ok(())
    });
}

#[test]
fn host_shows_tasks_and_ports() {
    local(|kernel| {
        let task = kernel.task("watcher")?;
        let port = task.new_port()?;
        let host = task.host_control()?;
        assert!(host.tasks()?.iter().any(|row| row.task == task.id()));
        assert!(host.ports()?.iter().any(|row| row.name == port.name() && row.receiver == task.id()));
        assert_eq!(host.task(task.id())?.label()?, "watcher");
        assert_eq!(task.host()?.info()?.tasks, 1);
        Ok(())
    });
}

#[test]
fn control_right_of_another_task_moves_rights_in_and_out() {
    local(|kernel| {
        let parent = kernel.task("parent")?;
        let (child, control) = parent.spawn_local("child")?;
        let port = parent.new_port()?;
        let name = libtask::Name::new(500, 3);
        control.raw().port_insert_right(name, port.name(), libtask::Disposition::MakeSend).unwrap();
        assert_eq!(child.raw().port_type(name), Ok(TypeBits::SEND));
        libtask::SendRight::from_raw(&child, name).send(Message::new(6))?;
        assert_eq!(port.receive_within(SOON)?.id(), 6);
        Ok(())
    });
}

#[test]
fn reply_given_away_is_used_by_another_task() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let (helper, _control) = server.spawn_local("helper")?;
        let helper_port = helper.new_port()?;
        let name = {
            // The server gets a right to the helper's port by a message through its own.
            helper.bootstrap()?.send(Message::new(0).make_send(&helper_port))?;
            port.receive_within(SOON)?.take_send(0)?
        };
        let to = client.bootstrap()?;
        std::thread::scope(|scope| {
            let call = scope.spawn(|| to.call_within(Message::new(1), SOON));
            let mut request = port.receive_within(SOON).unwrap();
            match request.reply_right().unwrap() {
                libtask::ReplyRight::Once(once) => name.send(Message::new(2).move_send_once(once)).unwrap(),
                other => panic!("{other:?}"),
            }
            drop(request);
            helper_port.receive_within(SOON).unwrap().take_send_once(0).unwrap().send(Message::new(3).bytes(b"from helper")).unwrap();
            let answer = call.join().unwrap().unwrap();
            assert_eq!(answer.bytes(), b"from helper");
            assert_eq!(answer.sender().task, helper.id());
        });
        Ok(())
    });
}

#[test]
fn receive_with_a_deadline_that_passes_leaves_the_lane_usable() {
    local(|kernel| {
        let task = kernel.task("t")?;
        let port = task.new_port()?;
        for _ in 0..5 {
            assert!(port.receive_within(Duration::from_millis(2)).unwrap_err().is_timed_out());
            assert!(port.try_receive()?.is_none());
        }
        port.make_send()?.send(Message::new(1))?;
        assert_eq!(port.receive_within(SOON)?.id(), 1);
        Ok(())
    });
}
