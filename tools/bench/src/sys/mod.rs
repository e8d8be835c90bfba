//! What needs unsafe code: memory shared by two processes, and message queues that no safe crate wraps. Nothing else of the bench does.

pub(crate) mod queues;
pub(crate) mod shared;
