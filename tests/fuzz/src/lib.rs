//! Fuzz targets of what is not in a link's memory. As in `libtask/link/fuzz`, the workspace's tests replay the corpora through the same functions.
#![forbid(unsafe_code)]

pub mod core;
pub mod description;

/// A target: does something with any bytes, and panics if that shows a fault.
pub type Target = fn(&[u8]);

/// The targets, by their names.
pub const TARGETS: [(&str, Target); 2] = [("core", core::run), ("description", description::run)];

/// The input, taken from the front. At its end there are zeros.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// As many bytes as are left, at most so many.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }
    /// The next four bytes.
    pub fn word(&mut self) -> u32 {
        let mut out = [0; 4];
        let taken = self.bytes(4);
        out[..taken.len()].copy_from_slice(taken);
        u32::from_le_bytes(out)
    }
}
