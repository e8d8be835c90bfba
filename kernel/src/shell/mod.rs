//! The shell around the core: sockets, descriptors, signals. The daemon as a library.
pub mod objects;
