//! The rows.

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Held by the row's tests.
    Held,
    /// Deliberately different.
    Different(&'static str),
    /// A rule of another dialect.
    OtherDialect(&'static str),
    /// Serves Darwin only.
    DarwinOnly(&'static str),
    /// Held by tests elsewhere.
    Elsewhere(&'static str),
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Section.
    pub section: (u32, u32),
    /// Text.
    pub text: &'static str,
    /// Status.
    pub status: Status,
    /// Tests.
    pub tests: &'static [&'static str],
}

/// All.
pub const ROWS: &[Row] = &[];

/// The table.
pub fn conformance_table() -> String {
    String::new()
}
