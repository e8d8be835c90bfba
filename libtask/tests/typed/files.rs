//! Open files in messages.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::*;

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

fn text(file: OwnedFd) -> String {
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    text
}

/// Both ends of a connection: the second finds its end when nobody has the first any more.
fn connection() -> (OwnedFd, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    other.set_read_timeout(Some(SOON)).unwrap();
    (one.into(), other)
}

fn assert_closed(mut other: UnixStream) {
    assert_eq!(other.read(&mut [0]).unwrap(), 0, "somebody still has the other end");
}

fn assert_open(other: &UnixStream) {
    other.set_nonblocking(true).unwrap();
    let mut other = other;
    assert_eq!(other.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    other.set_nonblocking(false).unwrap();
}

#[test]
fn files_arrive_in_their_places_and_are_close_on_exec() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        for round in 0..10 {
            let message = Message::new(1).file(file("first")).memory(*b"between").file(file("second")).bytes(b"body");
            to.send(message)?;
            let mut got = port.receive_within(SOON)?;
            assert_eq!((got.parts(), got.bytes()), (3, &b"body"[..]), "round {round}");
            let second = got.take_file(2)?;
            assert_eq!(rustix_flags(&second) & 1, 1, "close-on-exec");
            assert_eq!(text(second), "second");
            assert_eq!(text(got.take_file(0)?), "first");
            assert_eq!(got.memory(1)?[..], *b"between");
            assert!(matches!(got.take_file(0), Err(Error::Part { .. })), "taken twice");
            assert!(matches!(got.take_file(1), Err(Error::Part { .. })), "memory is no file");
        }
        Ok(())
    });
}

/// `FD_CLOEXEC` is the lowest bit of what `/proc` shows as 02000000.
fn rustix_flags(fd: &OwnedFd) -> u32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    u32::from(u32::from_str_radix(flags, 8).unwrap() & 0o2000000 != 0)
}

#[test]
fn files_travel_in_calls_and_answers() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                port.serve(|request| {
                    let got = text(request.take_file(0).unwrap());
                    let answer = Message::new(2).file(file(&format!("{got} back")));
                    if request.id() == 9 { Next::ReplyAndStop(answer) } else { Next::Reply(answer) }
                })
                .unwrap();
            });
            let to = client.bootstrap().unwrap();
            for id in 0..10 {
                let mut answer = to.call_within(Message::new(id).file(file("there and")), SOON).unwrap();
                assert_eq!(text(answer.take_file(0).unwrap()), "there and back");
            }
        });
        Ok(())
    });
}

#[test]
fn file_of_a_failed_send_comes_back_and_leaves_nothing() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        port.set_queue_limit(1)?;
        let to = client.bootstrap()?;
        to.send(Message::new(0).file(file("kept")))?;
        let (one, other) = connection();
        let failed = to.send_within(Message::new(1).file(one), AT_ONCE).unwrap_err();
        assert!(failed.error.is_timed_out(), "{}", failed.error);
        let message = *failed.message.expect("it comes back");
        assert_open(&other);
        let failed = to.try_send(message).unwrap_err();
        assert_eq!(text(port.receive_within(SOON)?.take_file(0)?), "kept");
        to.send(*failed.message.expect("it comes back"))?;
        let got = port.receive_within(SOON)?.take_file(0)?;
        to.send(Message::new(2).file(file("next")))?;
        assert_eq!(text(port.receive_within(SOON)?.take_file(0)?), "next");
        drop(got);
        assert_closed(other);
        // A port that is dead: the file is the sender's to keep.
        drop(port);
        let failed = to.send(Message::new(3).file(file("kept"))).unwrap_err();
        assert!(failed.error.is_dead(), "{}", failed.error);
        assert!(failed.message.is_some());
        Ok(())
    });
}

#[test]
fn file_nobody_takes_is_closed_with_its_message() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let (one, other) = connection();
        to.send(Message::new(1).file(one))?;
        assert_open(&other);
        drop(port.receive_within(SOON)?);
        assert_closed(other);
        // One that goes with its port's queue.
        let (one, other) = connection();
        let second = server.new_port()?;
        to.send(Message::new(2).make_send(&client.new_port()?))?;
        drop(port.receive_within(SOON)?);
        server.set_bootstrap(&second.make_send()?)?;
        let (late, _control) = server.spawn_local("late")?;
        late.bootstrap()?.send(Message::new(3).file(file("first")))?;
        late.bootstrap()?.send(Message::new(3).file(one))?;
        assert_eq!(text(second.receive_within(SOON)?.take_file(0)?), "first");
        drop(second);
        assert_closed(other);
        Ok(())
    });
}

#[test]
fn files_of_many_ports_come_in_any_order() {
    local(|kernel| {
        let server = kernel.task("server")?;
        let ports: Vec<_> = (0..8).map(|_| server.new_port()).collect::<Result<_>>()?;
        server.register([Some(&ports[0].make_send()?), None, None])?;
        let (client, _control) = server.spawn_local("client")?;
        let to = client.registered()?[0].take().unwrap();
        let message = ports.iter().fold(Message::new(1), |message, port| message.make_send(port));
        let back = client.new_port()?;
        to.send(Message::new(0).make_send(&back))?;
        let back_right = ports[0].receive_within(SOON)?.take_send(0)?;
        back_right.send(message)?;
        let mut got = back.receive_within(SOON)?;
        let rights: Vec<_> = (0..8).map(|i| got.take_send(i)).collect::<Result<_>>()?;
        for round in 0..3 {
            for (i, right) in rights.iter().enumerate() {
                right.send(Message::new(1).file(file(&format!("{round} {i}"))))?;
            }
        }
        for (i, port) in ports.iter().enumerate().rev() {
            for round in 0..3 {
                assert_eq!(text(port.receive_within(SOON)?.take_file(0)?), format!("{round} {i}"));
            }
        }
        Ok(())
    });
}

#[test]
fn file_of_a_port_that_moved_is_lost_and_says_so() {
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let moving = server.new_port()?;
        let inbox = client.new_port()?;
        to.send(Message::new(0).make_send(&inbox))?;
        let back = port.receive_within(SOON)?.take_send(0)?;
        // The server sends a file to its own port, and gives the port away before it has received it.
        let (one, other) = connection();
        moving.make_send()?.send(Message::new(1).file(one))?;
        back.send(Message::new(2).move_receive(moving))?;
        let moved = inbox.receive_within(SOON)?.take_receive(0)?;
        let mut got = moved.receive_within(SOON)?;
        let lost = got.take_file(0).unwrap_err();
        assert!(matches!(lost, Error::File { why } if why.contains("another task")), "{lost}");
        assert_eq!(lost.code(), Code::KERN_NOT_FOUND);
        // The next message with a file brings the news of it.
        let mine = server.new_port()?;
        for _ in 0..2 {
            mine.make_send()?.send(Message::new(3).file(file("own")))?;
            assert_eq!(text(mine.receive_within(SOON)?.take_file(0)?), "own");
        }
        assert_closed(other);
        Ok(())
    });
}

#[test]
fn files_beyond_the_bound_are_refused_and_nothing_is_consumed() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        port.set_queue_limit(1000)?;
        let to = client.bootstrap()?;
        let mut sent = 0;
        let failed = loop {
            match to.send(Message::new(sent).file(file(&sent.to_string()))) {
                Ok(()) => sent += 1,
                Err(failed) => break failed,
            }
            assert!(sent < 1000, "no bound");
        };
        assert_eq!(failed.error.code(), Code::MACH_SEND_NO_BUFFER, "{}", failed.error);
        assert!(sent >= 32, "{sent}");
        for n in 0..sent {
            assert_eq!(text(port.receive_within(SOON)?.take_file(0)?), n.to_string());
        }
        to.send(*failed.message.expect("it comes back"))?;
        assert_eq!(text(port.receive_within(SOON)?.take_file(0)?), sent.to_string());
        Ok(())
    });
}

#[test]
fn raw_messages_carry_files() {
    use libtask::{Disposition, raw::MsgBuffer};
    local(|kernel| {
        let (server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let mut buffer = MsgBuffer::new(4).remote(to.name(), Disposition::CopySend).memory(*b"m").file(file("raw")).body(b"body");
        client.raw().send(&mut buffer).ok().unwrap();
        let mut got = server.raw().receive(port.name(), 20_000).unwrap();
        assert_eq!((got.memory_at(0), got.body_bytes()), (Some(&b"m"[..]), &b"body"[..]));
        assert_eq!(text(got.take_file_at(1).expect("a file")), "raw");
        assert!(got.take_file_at(1).is_none() && got.take_file_at(0).is_none());
        drop(buffer);
        Ok(())
    });
}
