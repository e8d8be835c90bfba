//! What several tests start with.

use libtask::{LocalKernel, ReceiveRight, SendRight, Task};

/// Two tasks of an in-process kernel: the server has a port, and the client a right to send to it.
#[allow(dead_code, reason = "not each test looks at each end")]
pub(crate) struct Pair {
    pub(crate) client: Task,
    pub(crate) server: Task,
    pub(crate) port: ReceiveRight,
    pub(crate) right: SendRight,
    _kernel: LocalKernel,
}

pub(crate) fn pair(kernel: LocalKernel) -> Pair {
    let server = kernel.task("server").unwrap();
    let port = server.new_port().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let right = client.bootstrap().unwrap();
    Pair { client, server, port, right, _kernel: kernel }
}
