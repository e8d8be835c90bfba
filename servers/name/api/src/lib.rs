//! Client.
pub mod protocol;
