//! To come.

pub(crate) const TESTS: &[&str] = &[];
