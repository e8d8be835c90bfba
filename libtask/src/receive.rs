//! Receiving: ports of one's own, sets of them, and the serve loop.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use umach_abi::control::{
    PortConstruct, PortDestruct, PortExtractMember, PortGetAttributes, PortGetContext, PortGetSetStatus, PortGuard, PortInsertMember,
    PortInsertRight, PortMoveMember, PortSetAttributes, PortSetContext, PortUnguard,
};
use umach_abi::message::u32_at;
use umach_abi::rights::{ConstructFlags, flavor};
use umach_abi::{Code, Disposition, Name, RightKind, notify};

use crate::deliver;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::received::Received;
use crate::right::{Held, SendOnceRight, SendRight, To, request_notification, right_traits};
use crate::task::Task;

/// How a new port should be.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortOptions {
    /// Messages that may wait in its queue before senders have to wait; 5 if not given, 1024 at most.
    pub queue_limit: Option<u32>,
    /// The port's context: a number of the receiver's own that comes with every message.
    pub context: u64,
    /// The receive right cannot be given away.
    pub immovable: bool,
}

/// What Mach tells about a port (`mach_port_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PortStatus {
    /// In a set.
    pub in_set: bool,
    /// Messages received so far.
    pub seqno: u32,
    /// Send rights that its holder has made.
    pub make_send_count: u32,
    /// Queue limit.
    pub queue_limit: u32,
    /// Messages in the queue.
    pub queued: u32,
    /// Send-once rights that exist.
    pub send_once_rights: u32,
    /// Whether send rights exist.
    pub has_send_rights: bool,
    /// A port-destroyed notification was asked for.
    pub port_destroyed_requested: bool,
    /// A no-senders notification was asked for.
    pub no_senders_requested: bool,
}

/// What a server does after a request.
#[derive(Debug)]
pub enum Next {
    /// Answers, and receives the next request in the same step.
    Reply(Message),
    /// Receives the next request. One that still wants an answer (its reply right was not taken) is dropped, and the caller told.
    Continue,
    /// Stops serving.
    Stop,
    /// Answers, and stops serving.
    ReplyAndStop(Message),
}

impl From<Option<Message>> for Next {
    fn from(reply: Option<Message>) -> Next {
        reply.map_or(Next::Continue, Next::Reply)
    }
}

impl From<Message> for Next {
    fn from(reply: Message) -> Next {
        Next::Reply(reply)
    }
}

/// May receive from a port; the port exists as long as this right does. Dropping it destroys the port and everything queued in it, and all
/// send rights to it become dead names. Threads may receive on one right at the same time.
///
/// `ReceiveRight<dyn Adder>` is a port whose holder serves the interface `Adder` ([`interface`](macro@crate::interface)).
pub struct ReceiveRight<I: ?Sized = ()> {
    pub(crate) held: Owned,
    of: To<I>,
}

/// The port ends with this.
pub(crate) struct Owned(Arc<Held>);

/// A set of receive rights to wait on together. A port may be in many sets; its messages stay its own.
pub struct PortSet {
    pub(crate) held: Arc<Held>,
}

right_traits!(ReceiveRight<I>, PortSet);

impl Deref for Owned {
    type Target = Arc<Held>;
    #[inline]
    fn deref(&self) -> &Arc<Held> {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Now, even if a message that was never sent still mentions the port.
        self.0.release();
    }
}

impl Drop for PortSet {
    fn drop(&mut self) {
        self.held.release();
    }
}

macro_rules! receives {
    ($Right:ident $(<$I:ident>)?) => {
        impl $(<$I: ?Sized>)? $Right $(<$I>)? {
            /// Waits for a message.
            pub fn receive(&self) -> Result<Received> {
                deliver::receive(&self.held, None)
            }
            /// Waits for a message at most so long ([`Error::is_timed_out`]).
            pub fn receive_within(&self, timeout: Duration) -> Result<Received> {
                deliver::receive(&self.held, Some(timeout))
            }
            /// Takes a message if there is one.
            pub fn try_receive(&self) -> Result<Option<Received>> {
                match deliver::receive(&self.held, Some(Duration::ZERO)) {
                    Ok(received) => Ok(Some(received)),
                    Err(e) if e.is_timed_out() => Ok(None),
                    Err(e) => Err(e),
                }
            }
            /// Waits for a message and takes those that are ready with it, at most `max`, in one step.
            pub fn receive_batch(&self, max: usize) -> Result<Vec<Received>> {
                deliver::receive_batch(&self.held, max, None)
            }
            /// The same with a deadline.
            pub fn receive_batch_within(&self, max: usize, timeout: Duration) -> Result<Vec<Received>> {
                deliver::receive_batch(&self.held, max, Some(timeout))
            }
        }
    };
}
receives!(ReceiveRight<I>);
receives!(PortSet);

macro_rules! serves {
    ($($Right:ident),*) => {$(
        impl $Right {
            /// Receives and answers until the handler says [`Next::Stop`] (`Ok`) or the port is gone (`Err`, see [`Error::is_port_gone`]).
            ///
            /// The handler returns what to do: [`Next`], a [`Message`] to answer with, or `Option<Message>`. The answer and the next receive are one request
            /// to the kernel process. An answer never waits: a caller that has gone away or does not read loses it.
            pub fn serve<N: Into<Next>>(&self, handler: impl FnMut(&mut Received) -> N) -> Result<()> {
                deliver::serve(&self.held, handler)
            }
        }
    )*};
}
serves!(ReceiveRight, PortSet);

impl ReceiveRight {
    pub(crate) fn adopt(task: &Task, name: Name) -> ReceiveRight {
        ReceiveRight::holding(Held::new(task, RightKind::Receive, name))
    }
    /// Takes over a receive right that [`crate::raw`] holds.
    pub fn from_raw(task: &Task, name: Name) -> ReceiveRight {
        ReceiveRight::adopt(task, name)
    }
    /// The same port as one whose messages are those of `I`.
    pub fn typed<I: ?Sized>(self) -> ReceiveRight<I> {
        self.convert()
    }

    pub(crate) fn construct(task: &Task, options: PortOptions) -> Result<ReceiveRight> {
        let mut flags = ConstructFlags::empty();
        flags.set(ConstructFlags::QLIMIT, options.queue_limit.is_some());
        flags.set(ConstructFlags::IMMOVABLE_RECEIVE, options.immovable);
        let qlimit = options.queue_limit.unwrap_or(0);
        let call = PortConstruct { task: task.0.task_self, flags: flags.bits(), qlimit, context: options.context };
        let name = task.ask("making a port", &call, |answer, _| answer.name)?;
        Ok(ReceiveRight::adopt(task, name))
    }
}

impl<I: ?Sized> ReceiveRight<I> {
    pub(crate) fn holding(held: Arc<Held>) -> ReceiveRight<I> {
        ReceiveRight { held: Owned(held), of: PhantomData }
    }
    fn convert<O: ?Sized>(self) -> ReceiveRight<O> {
        ReceiveRight { held: self.held, of: PhantomData }
    }
    /// The same port without a word about what comes there.
    pub fn untyped(self) -> ReceiveRight {
        self.convert()
    }

    fn space(&self) -> Name {
        self.task().0.task_self
    }

    /// Makes a send right.
    pub fn make_send(&self) -> Result<SendRight<I>> {
        let call = PortInsertRight { task: self.space(), name: self.name(), right: self.name(), disposition: Disposition::MakeSend as u32 };
        self.task().ask_on("making a send right", &self.held, &call, |_, _| ())?;
        // Send and receive rights of one task share their name.
        Ok(SendRight::adopt(self.task(), self.name()).typed())
    }
    /// Makes a send-once right. Cheaper: let the message make it ([`Message::make_send_once`], [`Message::reply_to`]).
    pub fn make_send_once(&self) -> Result<SendOnceRight> {
        let call =
            umach_abi::control::PortExtractRight { task: self.space(), name: self.name(), disposition: Disposition::MakeSendOnce as u32 };
        let name = self.task().ask_on("making a send-once right", &self.held, &call, |answer, _| answer.name)?;
        Ok(SendOnceRight::adopt(self.task(), name))
    }

    /// Sets how many messages may wait before senders have to wait (1024 at most).
    pub fn set_queue_limit(&self, limit: u32) -> Result<()> {
        let call = PortSetAttributes { task: self.space(), name: self.name(), flavor: flavor::LIMITS_INFO, info: &limit.to_le_bytes() };
        self.task().ask_on("setting the queue limit", &self.held, &call, |_, _| ())
    }
    /// What the kernel process knows about the port.
    pub fn status(&self) -> Result<PortStatus> {
        let call = PortGetAttributes { task: self.space(), name: self.name(), flavor: flavor::RECEIVE_STATUS };
        self.task().ask_on("reading a port's status", &self.held, &call, |answer, _| PortStatus::read(answer.info))
    }

    /// Asks to be told on `notify` (which may be this very port) when the last send right is gone, those in messages included. Once; and
    /// at once if that is so already. A port whose holder has not made a send right yet waits for the first.
    ///
    /// The request that this one replaces, if there was one, gives its send-once right back.
    pub fn on_no_senders<N: ?Sized>(&self, notify: &ReceiveRight<N>) -> Result<Option<SendOnceRight>> {
        let status = self.status()?;
        let sync = u32::from(!status.has_send_rights && status.make_send_count == 0);
        self.on_no_senders_since(sync, notify)
    }
    /// The same in Mach's own terms: not before the holder has made `make_send_count` send rights.
    pub fn on_no_senders_since<N: ?Sized>(&self, make_send_count: u32, notify: &ReceiveRight<N>) -> Result<Option<SendOnceRight>> {
        request_notification(&self.held, "asking for a no-senders notification", notify::NO_SENDERS, make_send_count, Some(&notify.held))
    }
    /// Asks that, whenever this receive right would be destroyed (its task dies, say), it be sent to `notify` instead.
    pub fn on_destroyed<N: ?Sized>(&self, notify: &ReceiveRight<N>) -> Result<Option<SendOnceRight>> {
        request_notification(&self.held, "asking for a port-destroyed notification", notify::PORT_DESTROYED, 0, Some(&notify.held))
    }

    /// The port's context.
    pub fn context(&self) -> Result<u64> {
        let call = PortGetContext { task: self.space(), name: self.name() };
        self.task().ask_on("reading a port's context", &self.held, &call, |answer, _| answer.context)
    }
    /// Sets the port's context, which comes with every message received from then on ([`Received::context`]).
    pub fn set_context(&self, context: u64) -> Result<()> {
        let call = PortSetContext { task: self.space(), name: self.name(), context };
        self.task().ask_on("setting a port's context", &self.held, &call, |_, _| ())
    }
    /// Guards the right: destroying it by bare name needs the same number. This value knows it.
    pub fn guard(&self, guard: u64) -> Result<()> {
        let call = PortGuard { task: self.space(), name: self.name(), guard, flags: 0 };
        self.task().ask_on("guarding a port", &self.held, &call, |_, _| ())?;
        self.held.set_guard(Some(guard));
        Ok(())
    }
    /// Takes the guard off.
    pub fn unguard(&self, guard: u64) -> Result<()> {
        let call = PortUnguard { task: self.space(), name: self.name(), guard };
        self.task().ask_on("unguarding a port", &self.held, &call, |_, _| ())?;
        self.held.set_guard(None);
        Ok(())
    }
    /// Destroys the port, as dropping it does, and says if that failed.
    pub fn destroy(self) -> Result<()> {
        if !self.held.take() {
            return Ok(());
        }
        let guard = self.held.guard().unwrap_or(0);
        let call = PortDestruct { task: self.space(), name: self.name(), srdelta: 0, guard };
        self.task().ask_on("destroying a port", &self.held, &call, |_, _| ())
    }
    /// Gives the right up as a bare name, for [`crate::raw`].
    pub fn into_raw(self) -> Name {
        self.held.forget();
        self.name()
    }
}

impl PortStatus {
    pub(crate) fn read(info: &[u8]) -> PortStatus {
        let word = |n: usize| u32_at(info, 4 * n).unwrap_or(0);
        PortStatus {
            in_set: word(0) != 0,
            seqno: word(1),
            make_send_count: word(2),
            queue_limit: word(3),
            queued: word(4),
            send_once_rights: word(5),
            has_send_rights: word(6) != 0,
            port_destroyed_requested: word(7) != 0,
            no_senders_requested: word(8) != 0,
        }
    }
}

impl PortSet {
    pub(crate) fn construct(task: &Task) -> Result<PortSet> {
        let name = task.raw().port_allocate(RightKind::PortSet).map_err(|code| Error::mach(code, "making a port set"))?;
        Ok(PortSet { held: Held::new(task, RightKind::PortSet, name) })
    }
    /// Adds a port. It may be in other sets too.
    pub fn insert<I: ?Sized>(&self, port: &ReceiveRight<I>) -> Result<()> {
        let call = PortInsertMember { task: self.task().0.task_self, member: self.member(port)?, set: self.name() };
        self.task().ask_on("adding a port to a set", &port.held, &call, |_, _| ())
    }
    /// Takes a port out of this set.
    pub fn remove<I: ?Sized>(&self, port: &ReceiveRight<I>) -> Result<()> {
        let call = PortExtractMember { task: self.task().0.task_self, member: self.member(port)?, set: self.name() };
        self.task().ask_on("taking a port out of a set", &port.held, &call, |_, _| ())
    }
    /// Takes a port out of every set and puts it into this one.
    pub fn move_in<I: ?Sized>(&self, port: &ReceiveRight<I>) -> Result<()> {
        let call = PortMoveMember { task: self.task().0.task_self, member: self.member(port)?, after: self.name() };
        self.task().ask_on("moving a port to a set", &port.held, &call, |_, _| ())
    }
    fn member<I: ?Sized>(&self, port: &ReceiveRight<I>) -> Result<Name> {
        if port.task() != self.task() {
            return Err(Error::on(Code::KERN_INVALID_RIGHT, "using another task's port with a set", RightKind::Receive, port.name()));
        }
        Ok(port.name())
    }
    /// Names of the ports in it; compare with [`ReceiveRight::name`].
    pub fn members(&self) -> Result<Vec<Name>> {
        let mut members = Vec::new();
        let mut start = 0;
        loop {
            let call = PortGetSetStatus { task: self.task().0.task_self, name: self.name(), start };
            start = self.task().ask_on("listing a set", &self.held, &call, |answer, _| {
                members.extend(answer.names.chunks_exact(4).map(|b| Name(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))));
                answer.next
            })?;
            if start == 0 {
                return Ok(members);
            }
        }
    }
    /// Gives the set up as a bare name, for [`crate::raw`].
    pub fn into_raw(self) -> Name {
        self.held.forget();
        self.name()
    }
}
