//! What needs unsafe code: memory shared by two processes, message queues that no safe crate wraps, and libumach called as C does. Nothing else of the bench does.

pub(crate) mod clib;
pub(crate) mod queues;
pub(crate) mod shared;
