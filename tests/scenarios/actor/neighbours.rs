//! Well-behaved tasks that live beside evil ones.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libtask::Message;
use umach_tests::scenario::{FINISH, NUMBER, PROGRESS, SOON, contents};

use crate::Actor;

/// The first round of [`contents`], which is more than a packet holds.
fn memory(number: u32) -> Vec<u8> {
    let mut bytes = contents(number, 0);
    bytes.truncate(100 << 10);
    bytes
}

fn has_right(number: u32) -> bool {
    number.is_multiple_of(5)
}

fn has_memory(number: u32) -> bool {
    number % 16 == 5
}

/// Sends numbered messages to the listener, now and then with rights and memory, and waits for what must come back.
pub(crate) fn talker(actor: &Actor) -> Result<()> {
    let listener = actor.other()?;
    let (inbox, answers) = (actor.task.new_port()?, actor.task.new_port()?);
    actor.ready(0, &inbox)?;
    for number in 0.. {
        if let Some(mut message) = inbox.try_receive()? {
            match message.id() {
                PROGRESS => message.reply(Message::new(PROGRESS).body(&number))?,
                FINISH => {
                    let heard: u32 = listener.call_within(Message::new(FINISH), SOON)?.body()?;
                    ensure!(heard == number, "{number} were said, {heard} heard");
                    return Ok(());
                }
                id => bail!("message {id}"),
            }
        }
        let mut message = Message::new(NUMBER).body(&number);
        message = if has_right(number) { message.make_send_once(&answers) } else { message.no_right() };
        if has_memory(number) {
            message = message.memory(memory(number));
        }
        if number.is_multiple_of(2) {
            ensure!(listener.call_within(message, SOON)?.body::<u32>()? == number, "the answer to another call");
        } else {
            listener.send_within(message, SOON)?;
        }
        if has_right(number) {
            ensure!(answers.receive_within(SOON)?.body::<u32>()? == number, "the answer to another message");
        }
        // Leaves processors to the others.
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Checks that nothing is lost, doubled, reordered or changed.
pub(crate) fn listener(actor: &Actor) -> Result<()> {
    let inbox = actor.task.new_port()?;
    actor.ready(0, &inbox)?;
    for expected in 0.. {
        let mut message = inbox.receive_within(2 * SOON)?;
        if message.id() == FINISH {
            message.reply(Message::new(FINISH).body(&expected))?;
            return Ok(());
        }
        let number: u32 = message.body()?;
        ensure!(number == expected, "message {number} where {expected} should come");
        let parts = 1 + usize::from(has_memory(number));
        ensure!(message.parts() == parts, "message {number} has {} parts", message.parts());
        if has_right(number) {
            message.take_send_once(0)?.send(Message::new(NUMBER).body(&number))?;
        }
        if has_memory(number) {
            ensure!(*message.memory(1)? == memory(number)[..], "the memory of message {number} is not what was sent");
        }
        if message.wants_reply() {
            message.reply(Message::new(NUMBER).body(&number))?;
        }
    }
    Ok(())
}

/// Gets a message through at once to a service that is being flooded.
pub(crate) fn polite(actor: &Actor) -> Result<()> {
    Ok(actor.other()?.try_send(Message::new(NUMBER).bytes(&[1; 4096]))?)
}
