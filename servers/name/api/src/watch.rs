//! Events of a name space.

use std::time::{Duration, Instant};

use libtask::{Notification, PortOptions, ReceiveRight, Received, Task};
use umach_abi::limits::QLIMIT_MAX;

use crate::error::{Error, Result};
use crate::protocol::{EVENT, Event};

/// A stream of [`Event`]s, made by [`crate::Names::watch`].
///
/// The queue holds 1024 events. A watcher that lets it fill up is dropped by the name server, which never waits for anybody; behind the events
/// that are in the queue the stream then gives [`Error::WatchEnded`]. Dropping the watch ends it.
#[derive(Debug)]
pub struct Watch {
    port: ReceiveRight,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(task: &Task) -> Result<Watch> {
        let port = task.new_port_with(PortOptions { queue_limit: Some(QLIMIT_MAX), ..PortOptions::default() })?;
        // The name server holds the only send right, so the end of senders is the end of the watch. It is told behind the last event.
        port.on_no_senders(&port)?;
        Ok(Watch { port, ended: false })
    }
    pub(crate) fn port(&self) -> &ReceiveRight {
        &self.port
    }
    /// The next event, waiting for it as long as it takes.
    pub fn wait(&mut self) -> Result<Event> {
        loop {
            self.check()?;
            let message = self.port.receive()?;
            if let Some(event) = self.read(message)? {
                return Ok(event);
            }
        }
    }
    /// The next event, waiting for it at most so long; `None` if there was none.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let started = Instant::now();
        loop {
            self.check()?;
            let message = match self.port.receive_within(timeout.saturating_sub(started.elapsed())) {
                Ok(message) => message,
                Err(error) if error.is_timed_out() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if let Some(event) = self.read(message)? {
                return Ok(Some(event));
            }
        }
    }
    /// The next event if there is one now.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.next_within(Duration::ZERO)
    }
    fn check(&self) -> Result<()> {
        if self.ended { Err(Error::WatchEnded) } else { Ok(()) }
    }
    fn read(&mut self, message: Received) -> Result<Option<Event>> {
        match message.notification() {
            Some(Notification::NoSenders { .. }) => {
                self.ended = true;
                Ok(None)
            }
            None if message.id() == EVENT => Ok(Some(message.body()?)),
            _ => Ok(None),
        }
    }
}

/// Events as they come. When the watch ends there is one error that says so, and then nothing.
impl Iterator for Watch {
    type Item = Result<Event>;
    fn next(&mut self) -> Option<Result<Event>> {
        if self.ended {
            return None;
        }
        Some(self.wait())
    }
}
