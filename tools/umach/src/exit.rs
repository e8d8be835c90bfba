//! Exit codes, in one place.

use std::process::{ExitCode, ExitStatus};

use std::os::unix::process::ExitStatusExt;

/// How `umach` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Done.
    pub(crate) const DONE: Exit = Exit(0);
    /// Something failed, or a check did.
    pub(crate) const FAILED: Exit = Exit(1);
    /// No kernel is running where we looked. (2 is clap's: wrong usage.)
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
        eprintln!("umach: {error:#}");
        if is_no_kernel(error) { Exit::NO_KERNEL } else { Exit::FAILED }
    }
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
