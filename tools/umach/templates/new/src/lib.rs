//! What the server and its clients agree on.

pub mod server;

use libtask::SendRight;

/// The name under which the server is found.
pub const SERVICE: &str = "{{name}}";

/// Greets.
#[libtask::interface]
pub trait Greeter {
    /// A greeting for somebody.
    #[id(1)]
    fn greet(&self, name: String) -> String;
    /// A new notebook. Who holds the right has the notebook: it can be handed on in a message, and nobody else gets at it.
    #[id(2)]
    fn notebook(&self) -> Result<SendRight<dyn Notebook>, String>;
}

/// Remembers lines.
#[libtask::interface]
pub trait Notebook {
    /// Adds a line, and says how many there are now.
    #[id(1)]
    fn write(&mut self, line: String) -> u32;
    /// All lines.
    #[id(2)]
    fn read(&self) -> Vec<String>;
}
