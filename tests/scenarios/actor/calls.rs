//! A service that crashes, and those who call it.

use anyhow::{Result, ensure};
use libtask::Message;
use umach_name_api::{Names, SERVICE_VARIABLE};
use umach_tests::scenario::{NUMBER, Report, SOON};

use crate::{Actor, die};

/// Crashes with every N-th request: before or after it has answered it.
pub(crate) fn frail(actor: &Actor) -> Result<()> {
    let crash_after = actor.number(0)?;
    let port = Names::from_bootstrap(&actor.task)?.check_in(&std::env::var(SERVICE_VARIABLE)?)?;
    actor.report(&Report::Ready(std::process::id()))?;
    for taken in 1..=crash_after {
        let mut request = port.receive_within(2 * SOON)?;
        let id: u32 = request.body()?;
        actor.report(&Report::Handled(id))?;
        if taken == crash_after && id.is_multiple_of(2) {
            die();
        }
        request.reply(Message::new(NUMBER).body(&id))?;
    }
    die()
}

/// Calls with consecutive numbers.
pub(crate) fn caller(actor: &Actor) -> Result<()> {
    let (first, count) = (actor.number(0)?, actor.number(1)?);
    let service = Names::from_bootstrap(&actor.task)?.look_up(actor.text(2)?)?;
    let (mut answered, mut told) = (vec![], vec![]);
    for id in first..first + count {
        match service.call_within(Message::new(NUMBER).body(&id), SOON) {
            Ok(answer) => {
                ensure!(answer.body::<u32>()? == id, "the answer to another request");
                answered.push(id);
            }
            Err(error) if error.is_server_died() => told.push(id),
            Err(error) => return Err(error.into()),
        }
    }
    actor.report(&Report::Calls { answered, told })
}
