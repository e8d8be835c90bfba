//! The client: looks the server up, and calls it. With `--stay` it then waits until the server ends.

use std::process::ExitCode;
use std::time::Duration;

use libtask::{SendRight, Task};
use umach_name_api::Names;
use {{crate}}::{GreeterClient, SERVICE};

fn main() -> anyhow::Result<ExitCode> {
    let task = Task::current()?;
    task.set_label("client")?;
    let names = Names::from_bootstrap(&task)?;
    // The server may have been started a moment ago.
    let right = names.look_up_within(SERVICE, Duration::from_secs(10))?;
    let greeter = GreeterClient::from(right.duplicate().typed());
    println!("{}", greeter.greet("world".to_owned())?);

    let notebook = greeter.notebook()?.client();
    notebook.write("bread".to_owned())?;
    notebook.write("milk".to_owned())?;
    println!("in the notebook: {}", notebook.read()?.join(", "));

    if std::env::args().any(|argument| argument == "--stay") {
        return stay(&names, &right);
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the server's port dies, of which the kernel tells at once.
fn stay(names: &Names, right: &SendRight) -> anyhow::Result<ExitCode> {
    let server = names.list()?.into_iter().find(|entry| entry.name == SERVICE).map_or(0, |entry| entry.pid);
    let notices = right.task().new_port()?;
    let _request = right.notify_dead(&notices)?;
    println!("the server is process {server}; waiting for it to end");
    notices.receive()?;
    eprintln!("{SERVICE} (process {server}) has died");
    Ok(ExitCode::FAILURE)
}
