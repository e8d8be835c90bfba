//! Events of a name space.

use std::time::Duration;

use libtask::Stream;

use crate::error::{Error, Result};
use crate::protocol::Event;

/// A stream of [`Event`]s, made by [`crate::Names::watch`].
///
/// The queue holds 1024 events. A watcher that lets it fill up is dropped by the name server, which never waits for anybody; behind the events
/// that are in the queue the stream then gives [`Error::WatchEnded`]. Dropping the watch ends it.
#[derive(Debug)]
pub struct Watch {
    events: Stream<Event>,
}

impl Watch {
    pub(crate) fn new(events: Stream<Event>) -> Watch {
        Watch { events }
    }
    /// The next event, waiting for it as long as it takes.
    pub fn wait(&mut self) -> Result<Event> {
        self.events.wait()?.ok_or(Error::WatchEnded)
    }
    /// The next event, waiting for it at most so long; `None` if there was none.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Event>> {
        match self.events.wait_within(timeout) {
            Ok(Some(event)) => Ok(Some(event)),
            Ok(None) => Err(Error::WatchEnded),
            Err(error) if error.is_timed_out() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
    /// The next event if there is one now.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.next_within(Duration::ZERO)
    }
}

/// Events as they come. When the watch ends there is one error that says so, and then nothing.
impl Iterator for Watch {
    type Item = Result<Event>;
    fn next(&mut self) -> Option<Result<Event>> {
        if self.events.is_ended() {
            return None;
        }
        Some(self.wait())
    }
}
