//! The typed layer against the in-process kernel: each feature once, and what becomes of rights when something fails.

mod calls;
mod files;
mod memory;
mod messages;
mod notices;
mod rights;
mod tasks;

use std::time::Duration;

use libtask::{
    Code, Error, LocalKernel, Message, Next, Notification, PortOptions, Result, RightKind, SendError, Task, TypeBits, run_local,
};

const SOON: Duration = Duration::from_secs(20);
const AT_ONCE: Duration = Duration::from_millis(30);

/// Two tasks, the second with a send right to a port of the first as its bootstrap.
fn pair(kernel: &LocalKernel) -> Result<(Task, libtask::ReceiveRight, Task)> {
    let server = kernel.task("server")?;
    let port = server.new_port()?;
    server.set_bootstrap(&port.make_send()?)?;
    let (client, _control) = server.spawn_local("client")?;
    Ok((server, port, client))
}

/// Runs with a kernel, checks its invariants at the end, and that no task is left.
fn local(test: impl FnOnce(&LocalKernel) -> Result<()>) {
    run_local(|kernel| {
        test(kernel).unwrap();
        kernel.check().unwrap();
        assert_eq!((kernel.tasks(), kernel.regions()), (0, 0), "tasks or regions left behind");
    });
}

fn names(task: &Task) -> usize {
    task.raw().port_names().unwrap().len()
}
