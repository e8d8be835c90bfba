//! Messages through the kernel process, beside bare sockets.

mod call;
mod idle;
mod memory;
mod rights;
mod teardown;

use crate::Part;

/// The parts, in the order in which they run.
pub(crate) const PARTS: &[Part] = &[
    Part { name: "call", run: call::run },
    Part { name: "rights", run: rights::run },
    Part { name: "memory", run: memory::run },
    Part { name: "teardown", run: teardown::run },
    Part { name: "idle", run: idle::run },
];
