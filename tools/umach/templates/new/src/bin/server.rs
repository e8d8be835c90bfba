//! The server: makes itself known under its name, and serves.

use libtask::{Error, Task};
use umach_name_api::Names;
use {{crate}}::server::Host;
use {{crate}}::{Greeter, SERVICE};

fn main() -> anyhow::Result<()> {
    let task = Task::current()?;
    task.set_label(SERVICE)?;
    let port = Names::from_bootstrap(&task)?.check_in(SERVICE)?.typed::<dyn Greeter>();
    match port.serve(Host::new(&task)) {
        // The system that it was part of has ended.
        Ok(()) | Err(Error::KernelGone) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
