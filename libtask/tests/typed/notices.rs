//! Notifications.

use super::*;

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
