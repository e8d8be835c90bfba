//! The third task: it has no way to the file server and no path, only what it is handed.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtask::{Message, Task};
use umach_file_api::File;
use umach_name_api::Names;

use super::script::{READ_BACK, READ_THIS, READER};

/// Waits for one open file, reads it, answers with its bytes.
pub(super) fn run() -> Result<()> {
    let task = Task::current()?;
    let port = Names::from_bootstrap(&task)?.check_in(READER)?;
    let mut message = port.receive_within(Duration::from_secs(120))?;
    ensure!(message.id() == READ_THIS, "the reader got message {}, which is in no script", message.id());
    let file = File::from_right(message.take_send(0)?);
    let mut bytes = Vec::new();
    while let left @ 1.. = READ_BACK.saturating_sub(bytes.len() as u64) {
        let piece = file.read_range(bytes.len() as u64, left)?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    message.reply(Message::new(READ_THIS + 100).memory(bytes))?;
    Ok(())
}
