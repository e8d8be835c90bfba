//! What the scenarios' director (the test) and its actors (processes, `umach-actor ROLE ARGUMENTS`) say to each other.
//!
//! An actor's first registered right leads to the director, who takes [`Report`]s there. A second one, where a role needs it, leads to
//! what the role is played against.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use libtask::{Message, SendRight};
use serde::{Deserialize, Serialize};

/// No wait of a scenario is longer.
pub const SOON: Duration = Duration::from_secs(20);
/// Id of a [`Report`].
pub const REPORT: i32 = 200;
/// Carries an array of send rights that an actor needs.
pub const RIGHTS: i32 = 201;
/// Ends an actor.
pub const FINISH: i32 = 202;
/// Asks an actor how far it is.
pub const PROGRESS: i32 = 203;
/// Carries the receive right of a port that travels, and its [`Baton`].
pub const BATON: i32 = 204;
/// Id of everything that only has to arrive.
pub const NUMBER: i32 = 205;
/// Carries an open file.
pub const GIFT: i32 = 206;

/// From an actor to the director.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It plays. If it can be spoken to, a send right to its inbox comes along.
    Ready(u32),
    /// A client of a file server is in the middle of its work.
    Half(u32),
    /// A client of a file server was told that the server is gone, so often by notifications.
    Gone(u32, u32),
    /// A service has taken a request.
    Handled(u32),
    /// How each request of a caller ended.
    Calls {
        /// Answered.
        answered: Vec<u32>,
        /// Told that no answer will come.
        told: Vec<u32>,
    },
    /// A message was taken from a port that travels.
    Took {
        /// The port.
        port: u32,
        /// At which hop.
        hop: u32,
        /// Who sent the message.
        sender: u32,
        /// Its number.
        number: u32,
    },
    /// A sender has sent all that it can, so many messages to each port.
    Sent(u32, Vec<u32>),
    /// How often a sender was told of the death of each port.
    Deaths(u32, Vec<u32>),
    /// A flood was refused after so many messages, with this code.
    Flooded(u32, u32),
}

/// What travels with a port's receive right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baton {
    /// The port.
    pub port: u32,
    /// How often it has been passed on.
    pub hop: u32,
}

/// Ports that travel. The first [`SAFE`] are not lost with their holder: they come back to the director.
pub const PORTS: usize = 4;
/// See [`PORTS`].
pub const SAFE: usize = 2;
/// So often each is passed on.
pub const HOPS: u32 = 200;
/// The hop at which a port takes its holder with it, by port; the safe ones take theirs as well.
pub const FATAL: [Option<u32>; PORTS] = [Some(150), None, Some(60), Some(100)];
/// Messages that each sender sends to each port that lives.
pub const NUMBERS: u32 = 150;

/// A message in which a port travels; add the receive right.
pub fn baton(baton: Baton) -> Message {
    Message::new(BATON).body(&baton)
}

/// Sends a message to the first member of the ring behind `after` that lives.
pub fn pass_on(ring: &[SendRight], after: usize, mut message: Message) -> Result<()> {
    for step in 1..=ring.len() {
        match ring[(after + step) % ring.len()].send_within(message, SOON) {
            Ok(()) => return Ok(()),
            Err(failed) if failed.error.is_dead() => message = *failed.message.context("the message comes back whole")?,
            Err(failed) => bail!("passing a port on: {failed}"),
        }
    }
    bail!("the whole ring is dead")
}

/// What a client of the file server writes in a round.
pub fn contents(client: u32, round: u32) -> Vec<u8> {
    let len = match round % 3 {
        0 => 150_000,
        1 => 3_000,
        _ => round as usize,
    };
    (0..len).map(|at| (at as u32 ^ at as u32 >> 8 ^ client << 5 ^ round) as u8).collect()
}

/// Rounds of each client; the server is killed in the middle.
pub const ROUNDS: u32 = 24;
/// What the files of a round are called.
pub fn file_name(round: u32) -> String {
    format!("file-{round}")
}
