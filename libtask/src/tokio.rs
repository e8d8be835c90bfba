//! Futures of a task's rights in a tokio runtime (feature `tokio`). See [`crate::aio`].

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::Handle;
use ::tokio::task::coop::unconstrained;

use crate::aio::{Doorbell, Reactor};
use crate::error::{Error, Result};
use crate::task::Task;

/// Has futures of this task's rights woken by the tokio runtime that this is called in, which must have its I/O driver enabled (`enable_io` or `enable_all`). Once is enough
/// for a runtime, and more than once does no harm; any other runtime of the process may poll such futures too.
///
/// ```
/// use libtask::{Message, run_local};
///
/// run_local(|kernel| -> libtask::Result<()> {
///     let task = kernel.task("hello")?;
///     let port = task.new_port()?;
///     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
///     runtime.block_on(async {
///         libtask::tokio::attach(&task)?;
///         port.make_send()?.send_async(Message::new(7)).await?;
///         assert_eq!(port.receive_async().await?.id(), 7);
///         Ok(())
///     })
/// }).unwrap();
/// ```
pub fn attach(task: &Task) -> Result<()> {
    let handle = Handle::try_current().map_err(|why| Error::io("attaching tokio, outside of a runtime", io::Error::other(why)))?;
    let mut hasher = DefaultHasher::new();
    handle.id().hash(&mut hasher);
    // Not to be taken for async-io's.
    let runtime = hasher.finish() | 1;
    if task.is_attached(runtime) {
        return Ok(());
    }
    task.attach(|bell| Ok(Tokio { bell: crate::sys::watch::watch(bell)?, runtime }))
}

struct Tokio {
    bell: AsyncFd<Doorbell>,
    runtime: u64,
}

impl Reactor for Tokio {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever asks has a budget of its own, or none: it is not to be told "later" because of that.
        let readable =
            pin!(unconstrained(std::future::poll_fn(|cx| self.bell.poll_read_ready(cx).map_ok(|mut ready| ready.clear_ready()))));
        readable.poll(cx)
    }
    fn runtime(&self) -> Option<u64> {
        Some(self.runtime)
    }
}

/// Futures with deadlines, kept by tokio's clock.
pub trait WithDeadline<T, E: From<Error>>: Future<Output = Result<T, E>> + Sized {
    /// Ends with `MACH_RCV_TIMED_OUT` ([`Error::is_timed_out`]) when so much time has passed; the future is dropped then.
    fn with_deadline(self, timeout: Duration) -> impl Future<Output = Result<T, E>> {
        async move {
            match ::tokio::time::timeout(timeout, self).await {
                Ok(output) => output,
                Err(_) => Err(Error::late().into()),
            }
        }
    }
}

impl<F: Future<Output = Result<T, E>>, T, E: From<Error>> WithDeadline<T, E> for F {}
