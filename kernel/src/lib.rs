//! umach's kernel: the pure [`core`], the daemon's [`shell`], and the in-process kernel ([`local`]).
pub mod config;
pub mod core;
pub mod local;
mod machine;
mod plane;
pub mod shell;
