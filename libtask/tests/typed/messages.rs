//! Messages: bodies, sizes, queues, deadlines.

use super::*;

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
