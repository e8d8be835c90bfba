//! For whoever starts a name server: how to learn its bootstrap port.

use std::time::Duration;

use libtask::interface::{Handled, handle};
use libtask::{ReceiveRight, SendRight, Task};

use crate::client::Names;
use crate::error::{Error, Result};
use crate::protocol::{NameSpace, Spawner};

/// A port to start a name server on. The server's process is spawned with [`Ready::bootstrap`] as its bootstrap port, and sends its own there
/// when it serves.
///
/// ```no_run
/// # fn start(task: &libtask::Task, bootstrap: &libtask::SendRight) {}
/// # let task = libtask::Task::current()?;
/// let ready = umach_name_api::Ready::new(&task)?;
/// start(&task, &ready.bootstrap()?); // spawns the name server
/// let names = ready.wait(std::time::Duration::from_secs(10))?;
/// task.set_bootstrap(names.right())?;
/// # Ok::<(), umach_name_api::Error>(())
/// ```
#[derive(Debug)]
pub struct Ready {
    port: ReceiveRight<dyn Spawner>,
}

/// Keeps what the name server says.
struct Listener(Option<Names>);

impl Spawner for Listener {
    fn ready(&mut self, root: SendRight<dyn NameSpace>) {
        self.0 = Some(Names::at(root));
    }
}

impl Ready {
    /// Makes the port.
    pub fn new(task: &Task) -> Result<Ready> {
        Ok(Ready { port: task.new_port_of()? })
    }
    /// The bootstrap port to spawn the name server with.
    pub fn bootstrap(&self) -> Result<SendRight> {
        Ok(self.port.make_send()?.untyped())
    }
    /// Waits for the name server. Fails at once if it dies first, provided that every right from [`Ready::bootstrap`] went to it.
    pub fn wait(self, timeout: Duration) -> Result<Names> {
        self.port.on_no_senders(&self.port)?;
        let mut listener = Listener(None);
        match handle::<dyn Spawner, _>(&mut listener, self.port.receive_within(timeout)?) {
            Handled::Done | Handled::Stop => listener.0.ok_or(Error::NotStarted),
            Handled::Notification(_) => Err(Error::NotStarted),
        }
    }
}
