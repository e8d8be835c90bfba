//! A peer's violation.

use std::fmt;

use umach_abi::records::violation;

/// What the peer did, by the number of the rule that it broke: what was found, and what would have been right (the bound, where there is a range).
/// It goes to the kernel process as it is, with the request that ends the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// One of [`umach_abi::records::violation`].
    pub rule: u32,
    /// What was there.
    pub found: u64,
    /// What should have been.
    pub expected: u64,
}

impl Evidence {
    /// Evidence that `rule` was broken.
    pub fn new(rule: u32, found: impl Into<u64>, expected: impl Into<u64>) -> Evidence {
        Evidence { rule, found: found.into(), expected: expected.into() }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer of the link broke a rule ({}): found {:#x}, expected {:#x}",
            violation::name(self.rule),
            self.found,
            self.expected
        )
    }
}

impl std::error::Error for Evidence {}
