//! Sends that wait for room.

use futures_util::future::{join, join3};
use libtask::{Message, Notification, PortOptions};
use umach_tests::world_tests;

use super::*;

world_tests!(
    sends_wait_for_room_and_keep_their_order,
    messages_that_fill_the_ring_wait_too,
    many_futures_wait_for_room_of_one_port,
    notification_that_the_program_asked_for_still_comes,
    send_given_up_gives_its_message_back,
);

fn narrow(limit: u32) -> PortOptions {
    PortOptions { queue_limit: Some(limit), ..PortOptions::default() }
}

fn sends_wait_for_room_and_keep_their_order(world: &World) {
    const MESSAGES: u32 = 300;
    let (server, port, client, right) = pair_with(world, narrow(2));
    let own = client.new_port().expect("make a port");
    for kind in Kind::ALL {
        let sending = async {
            for number in 0..MESSAGES {
                // Some with a right, so through the kernel process in any case.
                let message = Message::new(1).body(&number);
                let message = if number % 7 == 0 { message.make_send(&own) } else { message };
                right.send_async(message).await.expect("send");
            }
        };
        let receiving = async {
            for number in 0..MESSAGES {
                if number % 16 == 0 {
                    kind.sleep(Duration::from_millis(1)).await;
                }
                assert_eq!(port.receive_async().await.expect("a message").body::<u32>().expect("a number"), number, "{kind:?}");
            }
        };
        kind.run(&[&server, &client], soon(kind, "messages", join(sending, receiving)));
    }
}

fn messages_that_fill_the_ring_wait_too(world: &World) {
    const MESSAGES: u32 = 400;
    let (server, port, client, right) = pair_with(world, narrow(1000));
    for kind in [Kind::Tokio, Kind::Hand] {
        let sending = async {
            for number in 0..MESSAGES {
                right.send_async(Message::new(1).bytes(&[number as u8; 4000])).await.expect("send");
            }
        };
        let receiving = async {
            kind.sleep(Duration::from_millis(20)).await;
            for number in 0..MESSAGES {
                assert_eq!(port.receive_async().await.expect("a message").bytes(), [number as u8; 4000], "{kind:?}");
            }
        };
        kind.run(&[&server, &client], soon(kind, "messages", join(sending, receiving)));
    }
}

fn many_futures_wait_for_room_of_one_port(world: &World) {
    const SENDERS: u32 = 40;
    let (server, port, client, right) = pair_with(world, narrow(1));
    for kind in Kind::ALL {
        let sending = futures_util::future::join_all((0..SENDERS).map(|number| right.send_async(Message::new(1).body(&number))));
        let receiving = async {
            let mut seen = vec![false; SENDERS as usize];
            for _ in 0..SENDERS {
                kind.sleep(Duration::from_micros(300)).await;
                let number: u32 = port.receive_async().await.expect("a message").body().expect("a number");
                assert!(!std::mem::replace(&mut seen[number as usize], true), "{kind:?}: twice");
            }
        };
        // A thread beside them.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| (0..20).for_each(|_| right.send_within(Message::new(1).body(&u32::MAX), LONG).expect("send")));
            drop(thread);
            let both = async {
                let mut threads = 0;
                let counted = async {
                    let mut seen = [false; SENDERS as usize];
                    while threads < 20 || seen.iter().any(|seen| !seen) {
                        let number: u32 = port.receive_async().await.expect("a message").body().expect("a number");
                        match seen.get_mut(number as usize) {
                            Some(seen) => assert!(!std::mem::replace(seen, true), "{kind:?}: twice"),
                            None => threads += 1,
                        }
                    }
                };
                let more = futures_util::future::join_all((0..SENDERS).map(|number| right.send_async(Message::new(1).body(&number))));
                join(counted, more).await.1
            };
            for sent in kind.run(&[&server, &client], soon(kind, "messages", both)) {
                sent.expect("send");
            }
        });
        for sent in kind.run(&[&server, &client], soon(kind, "messages", join(sending, receiving))).0 {
            sent.expect("send");
        }
    }
}

fn notification_that_the_program_asked_for_still_comes(world: &World) {
    let (server, port, client, right) = pair_with(world, narrow(1));
    let notices = client.new_port().expect("make a port");
    for kind in Kind::ALL {
        right.send_within(Message::new(1), LONG).expect("send");
        // A queue is full for the second at the latest.
        let full = right.try_send(Message::new(2)).expect_err("full");
        assert!(full.error.is_timed_out());
        let _ = right.notify_possible(&notices).expect("ask");
        let sending = right.send_async(Message::new(3));
        let receiving = async {
            kind.sleep(Duration::from_millis(10)).await;
            for id in [1, 3] {
                assert_eq!(port.receive_async().await.expect("a message").id(), id, "{kind:?}");
            }
        };
        let told = notices.receive_async();
        let (sent, (), told) = kind.run(&[&server, &client], soon(kind, "messages", join3(sending, receiving, told)));
        sent.expect("send");
        assert!(
            matches!(told.expect("a message").notification(), Some(Notification::SendPossible(name)) if *name == right.name()),
            "{kind:?}"
        );
    }
}

fn send_given_up_gives_its_message_back(world: &World) {
    let (server, port, client, right) = pair_with(world, narrow(1));
    for kind in Kind::ALL {
        right.send_within(Message::new(1), LONG).expect("send");
        let message = kind.run(&[&server, &client], async {
            let mut send = right.send_async(Message::new(2).bytes(b"kept"));
            assert!(futures_util::poll!(&mut send).is_pending());
            kind.sleep(Duration::from_millis(2)).await;
            assert!(futures_util::poll!(&mut send).is_pending());
            send.into_message().expect("not sent")
        });
        assert_eq!(port.receive_within(LONG).expect("a message").id(), 1);
        right.send_within(message, LONG).expect("send");
        assert_eq!(port.receive_within(LONG).expect("a message").bytes(), b"kept");
        assert!(port.try_receive().expect("receive").is_none(), "{kind:?}: sent twice");
    }
}
