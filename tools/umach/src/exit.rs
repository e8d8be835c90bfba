//! Exit codes, in one place.

use std::io::Write as _;
use std::process::{ExitCode, ExitStatus};

use std::os::unix::process::ExitStatusExt;

use umach_abi::Explanation;
use umach_file_api::FileError;

use crate::cmd::Usage;
use crate::foreign::lines;

/// How `umach` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Done.
    pub(crate) const DONE: Exit = Exit(0);
    /// Something failed, or a check did.
    pub(crate) const FAILED: Exit = Exit(1);
    /// Wrong usage. (Most of it is clap's to find.)
    pub(crate) const USAGE: Exit = Exit(2);
    /// No kernel is running where we looked.
    pub(crate) const NO_KERNEL: Exit = Exit(3);
    /// `run`: the command was found and could not be started.
    pub(crate) const NOT_STARTED: Exit = Exit(126);
    /// `run`: no such command.
    pub(crate) const NOT_FOUND: Exit = Exit(127);

    /// A child's end, as shells report it: its code, or 128 and the signal.
    pub(crate) fn of(status: ExitStatus) -> Exit {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Exit(u8::try_from(code).unwrap_or(u8::MAX))
    }

    /// Says what failed and with which code that ends. A reader that went away (`umach ps | head`) is no failure.
    pub(crate) fn report(error: &anyhow::Error) -> Exit {
        let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
        if io.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe) {
            return Exit::DONE;
        }
        match explanation(error) {
            Some(known) => complain(&format!("{error:#} (umach explain {})", known.name)),
            None => complain(&format!("{error:#}")),
        }
        match () {
            () if is_no_kernel(error) => Exit::NO_KERNEL,
            () if error.downcast_ref::<Usage>().is_some() => Exit::USAGE,
            () => Exit::FAILED,
        }
    }
}

/// Writes a line about ourselves to standard error. A terminal that is gone hears nothing.
pub(crate) fn complain(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "umach: {}", lines(what));
}

/// What each exit code says, for `umach explain`.
pub(crate) const EXITS: &[Explanation] = &[
    Explanation {
        name: "EXIT_DONE",
        number: Some(0),
        meaning: "umach did what it was asked to do",
        cause: "it worked; a warning of umach doctor is no failure",
        advice: "nothing",
    },
    Explanation {
        name: "EXIT_FAILED",
        number: Some(1),
        meaning: "something failed, or a check or an assertion did not hold",
        cause: "the line on standard error says what failed, on what, and why",
        advice: "look up the code at the end of that line with umach explain",
    },
    Explanation {
        name: "EXIT_USAGE",
        number: Some(2),
        meaning: "the command line was wrong; nothing was done",
        cause: "an unknown command or option, a value of the wrong form, or two options that exclude each other",
        advice: "see umach COMMAND --help",
    },
    Explanation {
        name: "EXIT_NO_KERNEL",
        number: Some(3),
        meaning: "no kernel is running where umach looked",
        cause: "none was started, or it listens elsewhere: the socket is --socket, else $UMACH_SOCKET, else the user's default",
        advice: "start one with `umach kernel &`, or work inside `umach run -- bash`",
    },
    Explanation {
        name: "EXIT_NOT_STARTED",
        number: Some(126),
        meaning: "umach run: the command was found and could not be started",
        cause: "it is not executable, or no program for this machine",
        advice: "chmod +x it, or check what it is with `file`",
    },
    Explanation {
        name: "EXIT_NOT_FOUND",
        number: Some(127),
        meaning: "umach run: there is no such command",
        cause: "it is not in PATH, or the path is wrong",
        advice: "give its path",
    },
];

/// What is known about the failure: the innermost cause that has an explanation.
fn explanation(error: &anyhow::Error) -> Option<&'static Explanation> {
    error.chain().filter_map(explanation_of).last()
}

fn explanation_of(cause: &(dyn std::error::Error + 'static)) -> Option<&'static Explanation> {
    if let Some(error) = cause.downcast_ref::<libtask::Error>() {
        return error.explanation();
    }
    if let Some(failed) = cause.downcast_ref::<libtask::SendError>() {
        return failed.error.explanation();
    }
    if let Some(error) = cause.downcast_ref::<umach_name_api::Error>() {
        return error.explanation();
    }
    if let Some(error) = cause.downcast_ref::<FileError>() {
        return error.explanation();
    }
    // A file error that went through a reader or writer of the standard library.
    cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<FileError>()?.explanation()
}

/// Of something that ended with one already.
impl From<ExitCode> for Exit {
    fn from(code: ExitCode) -> Exit {
        if code == ExitCode::SUCCESS { Exit::DONE } else { Exit::FAILED }
    }
}

/// Whether it failed because no kernel listens where we looked.
pub(crate) fn is_no_kernel(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(libtask::Error::NoKernel { .. })))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}
