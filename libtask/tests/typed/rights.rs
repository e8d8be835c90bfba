//! Rights, ports and sets: what arrives, what is shared, what is released.

use super::*;

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
fn message_with_a_bad_right_loses_those_before_it_and_keeps_none_behind() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let base = names(&client);
        let (before, bad, behind) = (client.new_port()?, client.new_port()?, client.new_port()?);
        let (to_before, to_bad, to_behind) = (before.make_send()?, bad.make_send()?, behind.make_send()?);
        // Gone behind the typed layer's back.
        client.raw().port_destroy(to_bad.name()).unwrap();
        let message = Message::new(1).move_receive(before).move_send(to_bad).move_receive(behind).move_send(to_behind);
        let SendError { error, message } = to.send(message).unwrap_err();
        assert_eq!(error.code(), Code::MACH_SEND_INVALID_RIGHT);
        assert!(message.is_none());
        assert!(to_before.is_dead()?, "the right before the bad one was taken and ended");
        assert!(port.try_receive()?.is_none());
        drop(to_before);
        drop(bad);
        // The send right behind the bad one is given up, not released twice: its dead name is all that stays.
        assert_eq!(names(&client), base + 1);
        Ok(())
    });
}
