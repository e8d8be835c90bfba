//! A bar for long copies: on a terminal, and only if there is enough to copy.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// From so many bytes on a bar is worth its line.
const LONG: u64 = 8 << 20;

/// Bytes copied so far, shown or not.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For `total` bytes.
    pub(super) fn new(total: u64) -> Progress {
        if total < LONG || !std::io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(total);
        // The template is a constant; if it were wrong, indicatif's own is as good.
        if let Ok(style) =
            ProgressStyle::with_template("{bar:32} {bytes:>10}/{total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg}")
        {
            bar.set_style(style);
        }
        Progress { bar }
    }
    /// The file that is copied now.
    pub(super) fn file(&self, name: &str) {
        self.bar.set_message(name.to_owned());
    }
    /// So many more bytes.
    pub(super) fn add(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
