//! `UMACH_TRACE=1`: each message that this process's tasks send and receive, a line each on standard error, rights shown.

use std::io::Write;
use std::sync::OnceLock;

use umach_abi::records::Written;

use crate::error::RightLabel;
use crate::message::Message;
use crate::received::Received;
use crate::task::Task;

fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("UMACH_TRACE").is_some_and(|value| !value.is_empty() && value != "0"))
}

/// One write for the line, so that lines of several tasks do not mix.
fn print(line: String) {
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

pub(crate) fn sending(task: &Task, to: RightLabel, message: &Message) {
    if enabled() {
        print(format!("umach: {} sends to {to}: {message:?}\n", Written('T', task.id())));
    }
}

pub(crate) fn answering(task: &Task, message: &Message) {
    if enabled() {
        print(format!("umach: {} answers its caller: {message:?}\n", Written('T', task.id())));
    }
}

pub(crate) fn calling(task: &Task, to: RightLabel, message: &Message) {
    if enabled() {
        print(format!("umach: {} calls {to}: {message:?}\n", Written('T', task.id())));
    }
}

pub(crate) fn received(message: &Received) {
    if enabled() {
        print(format!("umach: {} receives: {message:?}\n", Written('T', message.task().id())));
    }
}
