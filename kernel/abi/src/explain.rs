//! How what can go wrong is explained to people: `umach explain` prints it, and errors take their advice from it.
//!
//! The texts stand beside what they explain: Mach's codes in [`crate::error`], broken rules of links in [`crate::records::violation`], malformed
//! packets in [`crate::control`], and those of other crates beside their error types.

/// What is known about one thing that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// What it is looked up by: capital letters, digits and `_`. It never changes.
    pub name: &'static str,
    /// The number that programs see, if there is one.
    pub number: Option<u32>,
    /// What happened, in one clause.
    pub meaning: &'static str,
    /// How that comes about in this system.
    pub cause: &'static str,
    /// What to try.
    pub advice: &'static str,
}

impl Explanation {
    /// Whether it has all its parts, and a name that can be looked up. For tests of tables.
    pub fn is_complete(&self) -> bool {
        let name =
            !self.name.is_empty() && self.name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        name && [self.meaning, self.cause, self.advice].iter().all(|text| !text.is_empty())
    }
}

/// A table of explanations beside an error's variants: gives the enum `EXPLANATIONS`, and `own_explanation`, whose match is exhaustive: a variant
/// without an explanation does not compile. Those in `besides` have none of their own: what they carry explains them.
#[macro_export]
macro_rules! explanations {
    ($Error:ident besides [$($Other:ident),*]: $($Variant:ident = $NAME:ident, $meaning:literal, $cause:literal, $advice:literal;)*) => {
        impl $Error {
            /// One row for each variant that has a text of its own.
            pub const EXPLANATIONS: &'static [$crate::Explanation] = &[$($crate::Explanation {
                name: stringify!($NAME),
                number: None,
                meaning: $meaning,
                cause: $cause,
                advice: $advice,
            }),*];
            /// The row of this variant; `None` for those that only carry another error.
            pub fn own_explanation(&self) -> Option<&'static $crate::Explanation> {
                let name = match self {
                    $($Error::$Variant { .. } => stringify!($NAME),)*
                    $($Error::$Other { .. } => return None,)*
                };
                Self::EXPLANATIONS.iter().find(|row| row.name == name)
            }
        }
    };
}
