//! The name server.
pub mod config;
pub mod policy;
pub mod registry;
pub mod service;
