//! The program that is killed at each of its system calls: plays one part of a scenario against the task that started it.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtask::{Message, Task};
use rustix::process::{Signal, getpid, kill_process};
use umach_tests::crash::{BULK, ECHO, FILE, GIVE, MOVE, PLAIN, Part, SERVE, SERVE_ON, SHOW, TAKE, is_pattern, pattern, pattern_file};

/// Requests that the served part answers before it ends.
const SERVED: usize = 2;
const SOON: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let part: Part = std::env::args().nth(1).context("which part?")?.parse()?;
    let task = Task::current()?;
    let peer = task.bootstrap()?;
    match part {
        Part::Send => {
            let port = task.new_port()?;
            peer.send(Message::new(SHOW).make_send(&port))?;
            let given = task.new_port()?;
            given.make_send()?.send(Message::new(ECHO).bytes(b"queued before it moves"))?;
            peer.send(Message::new(GIVE).make_send(&given).move_receive(given))?;
            peer.send(Message::new(BULK).memory(pattern(10_000)).memory(pattern(200_000)))?;
        }
        Part::Call => {
            for round in 0..3u8 {
                let answer = peer.call(Message::new(ECHO).bytes(&[round; 100]))?;
                if answer.bytes() != [round; 100] {
                    bail!("the answer is not what was sent");
                }
            }
            let mut taken = peer.call(Message::new(TAKE))?;
            if *taken.memory(0)? != pattern(200_000)[..] {
                bail!("memory is not what was sent");
            }
            drop(taken.take_send(1)?);
        }
        Part::Serve => {
            let port = task.new_port()?;
            peer.send(Message::new(SERVE).make_send(&port))?;
            for _ in 0..SERVED {
                let mut request = port.receive_within(SOON)?;
                let body = request.bytes().to_vec();
                request.reply(Message::new(ECHO).bytes(&body))?;
            }
        }
        Part::Link => {
            // By then there is a route.
            for round in 0..8u8 {
                peer.call(Message::new(ECHO).bytes(&[round; 4]))?;
            }
            let (port, given) = (task.new_port()?, task.new_port()?);
            given.make_send()?.send(Message::new(ECHO).bytes(b"queued before it moves"))?;
            // And one to a port of this task's.
            let own = task.new_port()?;
            ensure!(own.try_receive()?.is_none(), "a message before the first");
            peer.send(Message::new(SERVE_ON).make_send(&own))?;
            for _ in 0..SERVED {
                let mut request = own.receive_within(SOON)?;
                let body = request.bytes().to_vec();
                request.reply(Message::new(ECHO).bytes(&body))?;
            }
            kill_process(getpid(), Signal::STOP)?;
            let mut request = own.receive_within(SOON)?;
            let body = request.bytes().to_vec();
            request.reply(Message::new(ECHO).bytes(&body))?;
            peer.send(Message::new(PLAIN).bytes(&[1; 40]))?;
            let answer = peer.call(Message::new(ECHO).bytes(&[9; 100]))?;
            if answer.bytes() != [9; 100] {
                bail!("the answer is not what was sent");
            }
            peer.send(Message::new(SHOW).make_send(&port))?;
            peer.send(Message::new(GIVE).make_send(&given).move_receive(given))?;
            // With the next request on its way.
            peer.send(Message::new(MOVE).move_receive(own))?;
            kill_process(getpid(), Signal::STOP)?;
        }
        Part::Files => {
            for _ in 0..2 {
                peer.send(Message::new(FILE).file(pattern_file()?).file(pattern_file()?))?;
                let mut answer = peer.call_within(Message::new(FILE).file(pattern_file()?), SOON)?;
                if !is_pattern(answer.take_file(0)?)? {
                    bail!("the file is not what was sent");
                }
            }
            // To itself, and not taken.
            let own = task.new_port()?;
            own.make_send()?.send(Message::new(FILE).file(pattern_file()?))?;
            drop(own.receive_within(SOON)?);
            own.make_send()?.send(Message::new(FILE).file(pattern_file()?))?;
        }
        Part::Hold => {
            let (a, b, notify) = (task.new_port()?, task.new_port()?, task.new_port()?);
            let set = task.new_set()?;
            set.insert(&a)?;
            set.insert(&b)?;
            let _ = peer.notify_dead(&notify)?;
            let _ = a.on_no_senders_since(1, &notify)?;
            let _ = b.on_destroyed(&notify)?;
            peer.send(Message::new(SHOW).make_send(&a))?;
            let region = task.region(&pattern(50_000))?;
            a.make_send()?.send(Message::new(BULK).lend_region(&region).make_send_once(&b))?;
            let mut got = set.receive_within(SOON)?;
            drop(got.memory(0)?);
        }
    }
    Ok(())
}
