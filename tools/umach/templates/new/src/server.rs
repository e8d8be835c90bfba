//! What the server does.

use libtask::{SendRight, Task};

use crate::{Greeter, Notebook};

/// Greets, and makes notebooks.
pub struct Host {
    task: Task,
}

impl Host {
    /// A server in this task.
    pub fn new(task: &Task) -> Host {
        Host { task: task.clone() }
    }
}

impl Greeter for Host {
    fn greet(&self, name: String) -> String {
        format!("hello, {name}")
    }
    fn notebook(&self) -> Result<SendRight<dyn Notebook>, String> {
        new_notebook(&self.task).map_err(|error| error.to_string())
    }
}

/// A notebook is a port with a thread that answers there, until nobody holds a right to it any more.
fn new_notebook(task: &Task) -> libtask::Result<SendRight<dyn Notebook>> {
    let port = task.new_port_of::<dyn Notebook>()?;
    let right = port.make_send()?;
    port.on_no_senders(&port)?;
    std::thread::spawn(move || port.serve(Lines::default()));
    Ok(right)
}

/// One notebook's lines.
#[derive(Default)]
struct Lines(Vec<String>);

impl Notebook for Lines {
    fn write(&mut self, line: String) -> u32 {
        self.0.push(line);
        self.0.len() as u32
    }
    fn read(&self) -> Vec<String> {
        self.0.clone()
    }
}
