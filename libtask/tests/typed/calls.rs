//! Calls and answers.

use super::*;

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
