//! Calls by Mach's own `mach_msg`, with a reply port of the program's own: the same over links and through the kernel.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use libtask::local::{Direct, Limits};
use libtask::raw::{MsgBuffer, Options};
use libtask::{Code, Disposition, LocalKernel, Message, Name, ReceiveRight, Received, RightKind, SendRight, Task};
use umach_abi::notify;

const SECOND: Duration = Duration::from_secs(10);
const MODES: [Direct; 3] = [Direct::Always, Direct::Off, Direct::Random { seed: 3 }];

struct Pair {
    server: Task,
    client: Task,
    port: ReceiveRight,
    right: SendRight,
    reply: Name,
    _kernel: LocalKernel,
}

fn pair(direct: Direct) -> Pair {
    let kernel = LocalKernel::with_direct(Limits::default(), direct);
    let server = kernel.task("server").unwrap();
    let port = server.new_port().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let right = client.bootstrap().unwrap();
    let reply = client.raw().port_allocate(RightKind::Receive).unwrap();
    Pair { server, client, port, right, reply, _kernel: kernel }
}

impl Pair {
    fn request(&self, id: i32) -> MsgBuffer {
        MsgBuffer::new(id)
            .remote(self.right.name(), Disposition::CopySend)
            .local(self.reply, Disposition::MakeSendOnce)
            .body(&[id as u8; 32])
    }
    /// Sends and receives in one, for at most so many milliseconds.
    fn call(&self, id: i32, timeout: u32) -> (Code, MsgBuffer) {
        let mut buffer = self.request(id);
        let options = Options::SEND | Options::RCV | Options::RCV_TIMEOUT;
        let code = self.client.raw().mach_msg(&mut buffer, options, u32::MAX, self.reply, timeout, Name::NULL);
        (code, buffer)
    }
    fn answered(&self, id: i32) {
        let (code, answer) = self.call(id, 10_000);
        let header = answer.header();
        assert_eq!((code, header.id, header.local), (Code::SUCCESS, id + 100, self.reply));
        assert_eq!(answer.body_bytes(), [id as u8; 32]);
    }
}

fn echo(request: &mut Received) -> Message {
    Message::new(request.id() + 100).raw_body(request.raw_body())
}

/// Some calls, so that there is a route.
fn warm_up(pair: &Pair) {
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                let mut request = pair.port.receive_within(SECOND).unwrap();
                let answer = echo(&mut request);
                request.reply(answer).unwrap();
            }
        });
        (0..50).for_each(|n| pair.answered(n));
    });
}

#[test]
fn answers_come_to_the_port_that_was_named() {
    for direct in MODES {
        warm_up(&pair(direct));
    }
}

#[test]
fn answer_that_comes_after_the_time_is_received_later() {
    for direct in MODES {
        let pair = pair(direct);
        warm_up(&pair);
        assert_eq!(pair.call(1, 20).0, Code::MACH_RCV_TIMED_OUT);
        assert_eq!(pair.call(2, 20).0, Code::MACH_RCV_TIMED_OUT);
        for _ in 0..2 {
            let mut request = pair.port.receive_within(SECOND).unwrap();
            let answer = echo(&mut request);
            request.reply(answer).unwrap();
        }
        let mut ids: Vec<i32> = (0..2).map(|_| pair.client.raw().receive(pair.reply, 10_000).unwrap().header().id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [101, 102]);
        assert_eq!(pair.client.raw().receive(pair.reply, 0).unwrap_err(), Code::MACH_RCV_TIMED_OUT);
    }
}

#[test]
fn request_that_is_dropped_is_told_on_the_port() {
    for direct in MODES {
        let pair = pair(direct);
        warm_up(&pair);
        thread::scope(|scope| {
            scope.spawn(|| drop(pair.port.receive_within(SECOND).unwrap()));
            let (code, answer) = pair.call(1, 10_000);
            assert_eq!((code, answer.header().id, answer.header().local), (Code::SUCCESS, notify::SEND_ONCE, pair.reply));
        });
    }
}

#[test]
fn other_messages_to_the_port_come_in_their_turn() {
    for direct in MODES {
        let pair = pair(direct);
        warm_up(&pair);
        let other = ReceiveRight::from_raw(&pair.client, pair.reply);
        let to_reply = other.make_send().unwrap();
        let _ = other.into_raw();
        // The server tells on the reply port by an ordinary right, and then answers, but not before it was seen.
        pair.right.send(Message::new(7).copy_send(&to_reply)).unwrap();
        let news = pair.port.receive_within(SECOND).unwrap().take_send(0).unwrap();
        let (seen, is_seen) = channel::<()>();
        thread::scope(|scope| {
            let (port, news) = (&pair.port, &news);
            scope.spawn(move || {
                let mut request = port.receive_within(SECOND).unwrap();
                thread::sleep(Duration::from_millis(5));
                news.send(Message::new(8)).unwrap();
                is_seen.recv_timeout(SECOND).unwrap();
                let answer = echo(&mut request);
                request.reply(answer).unwrap();
            });
            let (code, first) = pair.call(1, 10_000);
            assert_eq!((code, first.header().id), (Code::SUCCESS, 8));
            seen.send(()).unwrap();
            let second = pair.client.raw().receive(pair.reply, 10_000).unwrap();
            assert_eq!((second.header().id, second.header().local), (101, pair.reply));
        });
    }
}

#[test]
fn answer_with_a_right_comes_to_the_port() {
    for direct in MODES {
        let pair = pair(direct);
        warm_up(&pair);
        for late in [false, true] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut request = pair.port.receive_within(SECOND).unwrap();
                    thread::sleep(Duration::from_millis(if late { 60 } else { 0 }));
                    request.reply(Message::new(50).make_send(&pair.port)).unwrap();
                });
                let (mut code, mut answer) = pair.call(1, if late { 20 } else { 10_000 });
                if late {
                    assert_eq!(code, Code::MACH_RCV_TIMED_OUT);
                    answer = pair.client.raw().receive(pair.reply, 10_000).unwrap();
                    code = Code::SUCCESS;
                }
                assert_eq!((code, answer.header().id, answer.header().local), (Code::SUCCESS, 50, pair.reply));
                assert_eq!(answer.port_at(0), Some(pair.right.name()));
            });
        }
        pair.answered_by_echo();
    }
}

impl Pair {
    fn answered_by_echo(&self) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut request = self.port.receive_within(SECOND).unwrap();
                let answer = echo(&mut request);
                request.reply(answer).unwrap();
            });
            self.answered(9);
        });
    }
}

#[test]
fn server_that_dies_is_told_on_the_port() {
    for direct in MODES {
        let pair = pair(direct);
        warm_up(&pair);
        let Pair { server, client, port, right, reply, _kernel } = pair;
        let caller = thread::spawn(move || {
            let mut buffer =
                MsgBuffer::new(1).remote(right.name(), Disposition::CopySend).local(reply, Disposition::MakeSendOnce).body(&[1; 32]);
            let code = client.raw().mach_msg(&mut buffer, Options::SEND | Options::RCV, u32::MAX, reply, 0, Name::NULL);
            (code, buffer.header().id)
        });
        thread::sleep(Duration::from_millis(20));
        drop((port, server));
        let (code, id) = caller.join().unwrap();
        assert_eq!((code, id), (Code::SUCCESS, notify::SEND_ONCE));
    }
}

#[test]
fn port_that_is_no_more_is_not_named() {
    for direct in MODES {
        let pair = pair(direct);
        warm_up(&pair);
        pair.client.raw().port_mod_refs(pair.reply, RightKind::Receive, -1).unwrap();
        assert_eq!(pair.call(1, 1000).0, Code::MACH_SEND_INVALID_REPLY);
    }
}

#[test]
fn port_that_is_given_away_tells_its_new_holder_that_no_answer_will_come() {
    let pair = pair(Direct::Always);
    warm_up(&pair);
    assert_eq!(pair.call(1, 20).0, Code::MACH_RCV_TIMED_OUT);
    let request = pair.port.receive_within(SECOND).unwrap();
    pair.right.send(Message::new(2).move_receive(ReceiveRight::from_raw(&pair.client, pair.reply))).unwrap();
    let moved = pair.port.receive_within(SECOND).unwrap().take_receive(0).unwrap();
    assert_eq!(moved.receive_within(SECOND).unwrap().id(), notify::SEND_ONCE);
    drop(request);
    assert!(moved.try_receive().unwrap().is_none());
}
