//! What needs unsafe code or the operating system: mapping the memory, copying in and out of it, and sleeping.
#![allow(unsafe_code)]

pub(crate) mod arena;
mod copy;
pub mod futex;
pub(crate) mod mapping;
