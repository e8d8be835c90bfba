//! Futures of a task's rights in smol, or any other program on async-io (feature `smol`). See [`crate::aio`].

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};

use crate::aio::{Doorbell, Reactor};
use crate::error::{Error, Result};
use crate::task::Task;

/// There is one for a process.
const RUNTIME: u64 = 0;

/// Has futures of this task's rights woken by async-io, which smol and async-std are built on. Once is enough, and more than once does no harm.
///
/// ```
/// use libtask::{Message, run_local};
///
/// run_local(|kernel| -> libtask::Result<()> {
///     let task = kernel.task("hello")?;
///     let port = task.new_port()?;
///     libtask::smol::attach(&task)?;
///     async_io::block_on(async {
///         port.make_send()?.send_async(Message::new(7)).await?;
///         assert_eq!(port.receive_async().await?.id(), 7);
///         Ok(())
///     })
/// }).unwrap();
/// ```
pub fn attach(task: &Task) -> Result<()> {
    if task.is_attached(RUNTIME) {
        return Ok(());
    }
    task.attach(|bell| Ok(AsyncIo { bell: Async::new_nonblocking(bell)? }))
}

struct AsyncIo {
    bell: Async<Doorbell>,
}

impl Reactor for AsyncIo {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bell.poll_readable(cx)
    }
    fn runtime(&self) -> Option<u64> {
        Some(RUNTIME)
    }
}

/// Futures with deadlines, kept by async-io's clock.
pub trait WithDeadline<T, E: From<Error>>: Future<Output = Result<T, E>> + Sized {
    /// Ends with `MACH_RCV_TIMED_OUT` ([`Error::is_timed_out`]) when so much time has passed; the future is dropped then.
    fn with_deadline(self, timeout: Duration) -> impl Future<Output = Result<T, E>> {
        async move {
            let mut future = pin!(self);
            let mut timer = Timer::after(timeout);
            poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Pending => Pin::new(&mut timer).poll(cx).map(|_| Err(Error::late().into())),
                ready => ready,
            })
            .await
        }
    }
}

impl<F: Future<Output = Result<T, E>>, T, E: From<Error>> WithDeadline<T, E> for F {}
