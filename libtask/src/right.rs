//! Rights that send: move-only values that give their right back when dropped.
//!
//! [`Held`] is one user reference in the task's space. A right that a message copies or makes another from is held by the message too, so it
//! cannot be released, and its name given to another port, between building the message and sending it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use umach_abi::control::{PortRequestNotification, PortType};
use umach_abi::{Code, Disposition, Name, RightKind, TypeBits, notify};

use crate::deliver;
use crate::direct::Shortcut;
use crate::error::{Error, Result, RightLabel, SendError};
use crate::message::Message;
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::task::Task;

/// How long [`SendRight::call`] waits.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One reference to a right in a task's space.
pub(crate) struct Held {
    task: Task,
    name: Name,
    kind: RightKind,
    /// False once the reference was moved away or released.
    live: AtomicBool,
    /// Guard that this library set on a receive right: destroying it needs it.
    guard: Mutex<Option<u64>>,
    /// What the direct plane found out about it.
    pub(crate) shortcut: Shortcut,
}

impl Held {
    pub(crate) fn new(task: &Task, kind: RightKind, name: Name) -> Arc<Held> {
        Arc::new(Held {
            task: task.clone(),
            name,
            kind,
            live: AtomicBool::new(true),
            guard: Mutex::new(None),
            shortcut: Shortcut::default(),
        })
    }
    pub(crate) fn task(&self) -> &Task {
        &self.task
    }
    pub(crate) fn name(&self) -> Name {
        self.name
    }
    pub(crate) fn kind(&self) -> RightKind {
        self.kind
    }
    pub(crate) fn label(&self) -> RightLabel {
        RightLabel::new(self.kind, self.name)
    }
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }
    /// The reference is no longer this value's: it was moved away, or somebody else answers for it.
    pub(crate) fn forget(&self) {
        self.live.store(false, Ordering::Release);
    }
    /// The same; `false` if it was so already.
    pub(crate) fn take(&self) -> bool {
        self.live.swap(false, Ordering::AcqRel)
    }
    /// The reference as another value's: this one answers for it no more.
    pub(crate) fn take_over(&self) -> Arc<Held> {
        let held = Held::new(&self.task, self.kind, self.name);
        held.set_guard(self.guard());
        held.live.store(self.take(), Ordering::Release);
        held
    }
    /// Gives the reference back now.
    pub(crate) fn release(&self) {
        if self.take() {
            self.task.release(self.kind, self.name, *self.guard.lock());
        }
    }
    pub(crate) fn guard(&self) -> Option<u64> {
        *self.guard.lock()
    }
    pub(crate) fn set_guard(&self, guard: Option<u64>) {
        *self.guard.lock() = guard;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

macro_rules! right_traits {
    ($($Right:ident $(<$I:ident>)?),*) => {$(
        impl $(<$I: ?Sized>)? $Right $(<$I>)? {
            /// The task that holds it.
            pub fn task(&self) -> &$crate::Task {
                self.held.task()
            }
            /// Its name in the task's space: a label for logs and tables, not the right.
            pub fn name(&self) -> umach_abi::Name {
                self.held.name()
            }
            /// Kind and name, as errors show it.
            pub fn label(&self) -> $crate::RightLabel {
                self.held.label()
            }
        }
        impl $(<$I: ?Sized>)? PartialEq for $Right $(<$I>)? {
            fn eq(&self, other: &$Right $(<$I>)?) -> bool {
                self.name() == other.name() && self.task() == other.task()
            }
        }
        impl $(<$I: ?Sized>)? Eq for $Right $(<$I>)? {}
        impl $(<$I: ?Sized>)? std::hash::Hash for $Right $(<$I>)? {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.name().hash(state);
            }
        }
        impl $(<$I: ?Sized>)? std::fmt::Display for $Right $(<$I>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.label(), f)
            }
        }
        impl $(<$I: ?Sized>)? std::fmt::Debug for $Right $(<$I>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.label(), f)
            }
        }
    )*};
}
pub(crate) use right_traits;

/// May send to a port. The port outlives it or not: sending to a dead port fails ([`Error::is_dead`]), and [`SendRight::notify_dead`] tells
/// when it dies. Two send rights of one task to one port are equal.
///
/// `SendRight<dyn Adder>` is a right to a port whose receiver serves the interface `Adder` ([`interface`](macro@crate::interface)); plain `SendRight` is one about which nothing is
/// said. The type is a claim of whoever handed the right on.
pub struct SendRight<I: ?Sized = ()> {
    pub(crate) held: Arc<Held>,
    to: To<I>,
}

/// Of which interface a right is. It is no value, and any thread may have it.
pub(crate) type To<I> = PhantomData<fn() -> PhantomData<I>>;

/// May send one message, usually an answer. Dropping it unused sends Mach's send-once notification in its place, so whoever waits knows.
pub struct SendOnceRight {
    pub(crate) held: Arc<Held>,
}

/// What a send right becomes when its port dies. It comes in dead-name notifications; dropping it gives the reference back.
pub struct DeadName {
    pub(crate) held: Arc<Held>,
}

right_traits!(SendRight<I>, SendOnceRight, DeadName);

impl SendRight {
    pub(crate) fn adopt(task: &Task, name: Name) -> SendRight {
        SendRight::of(Held::new(task, RightKind::Send, name))
    }
    /// Takes over one user reference of a send right that [`crate::raw`] holds. Whether it is one shows when it is used.
    pub fn from_raw(task: &Task, name: Name) -> SendRight {
        SendRight::adopt(task, name)
    }
    /// The same right as one to a port that serves `I`. Nothing is asked: who is wrong about it gets answers that say so.
    pub fn typed<I: ?Sized>(self) -> SendRight<I> {
        SendRight::of(self.held)
    }
}

impl<I: ?Sized> SendRight<I> {
    pub(crate) fn of(held: Arc<Held>) -> SendRight<I> {
        SendRight { held, to: PhantomData }
    }
    /// The same right without a word about what it is to.
    pub fn untyped(self) -> SendRight {
        SendRight::of(self.held)
    }

    /// Sends, waiting for room in the port's queue for as long as it takes.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        deliver::send(&self.held, Disposition::CopySend, message, None)
    }
    /// Sends, waiting for room at most so long. On a timeout the message is given back.
    pub fn send_within(&self, message: Message, timeout: Duration) -> Result<(), SendError> {
        deliver::send(&self.held, Disposition::CopySend, message, Some(timeout))
    }
    /// Sends if the queue has room now; else the message is given back.
    pub fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.send_within(message, Duration::ZERO)
    }
    /// Sends and waits for the answer, 30 seconds at most ([`CALL_TIMEOUT`]). If the server drops the request unanswered or dies with it, that is told at
    /// once ([`Error::is_server_died`]). After a timeout a late answer is dropped by the kernel.
    pub fn call(&self, message: Message) -> Result<Received> {
        self.call_within(message, CALL_TIMEOUT)
    }
    /// The same with another deadline.
    pub fn call_within(&self, message: Message, timeout: Duration) -> Result<Received> {
        Ok(deliver::call(&self.held, message, Some(timeout))?)
    }
    /// The same without one.
    pub fn call_forever(&self, message: Message) -> Result<Received> {
        Ok(deliver::call(&self.held, message, None)?)
    }
    /// The same with the message given back if the request itself could not be sent.
    pub fn try_call(&self, message: Message, timeout: Duration) -> Result<Received, SendError> {
        deliver::call(&self.held, message, Some(timeout))
    }
    /// Another handle to the same right. No request: the task's reference is shared, and given back by the last.
    pub fn duplicate(&self) -> SendRight<I> {
        SendRight::of(self.held.clone())
    }
    /// Asks for a dead-name notification on `notify` when the port dies. Fails with `KERN_INVALID_ARGUMENT` if it is dead already.
    pub fn notify_dead<N: ?Sized>(&self, notify: &ReceiveRight<N>) -> Result<DeadNameRequest> {
        let previous = self.request_notification("asking for a dead-name notification", notify::DEAD_NAME, 0, notify)?;
        Ok(DeadNameRequest { held: Arc::downgrade(&self.held), id: notify::DEAD_NAME, previous })
    }
    /// Asks for a notification on `notify` when the port's queue has room (at once if it has).
    pub fn notify_possible<N: ?Sized>(&self, notify: &ReceiveRight<N>) -> Result<DeadNameRequest> {
        let previous = self.request_notification("asking for a send-possible notification", notify::SEND_POSSIBLE, 1, notify)?;
        Ok(DeadNameRequest { held: Arc::downgrade(&self.held), id: notify::SEND_POSSIBLE, previous })
    }
    fn request_notification<N: ?Sized>(
        &self,
        what: &'static str,
        id: i32,
        sync: u32,
        notify: &ReceiveRight<N>,
    ) -> Result<Option<SendOnceRight>> {
        request_notification(&self.held, what, id, sync, Some(&notify.held))
    }
    /// Whether the port has died.
    pub fn is_dead(&self) -> Result<bool> {
        if self.name() == Name::DEAD {
            return Ok(true);
        }
        is_dead(&self.held)
    }
    /// Gives the reference up as a bare name, for [`crate::raw`]. The caller answers for one user reference.
    pub fn into_raw(self) -> Result<Name> {
        let name = self.name();
        if Arc::strong_count(&self.held) > 1 {
            // Shared with other handles: they keep theirs.
            self.task().raw().port_mod_refs(name, RightKind::Send, 1).map_err(|code| Error::on(code, "sharing", RightKind::Send, name))?;
        } else {
            self.held.forget();
        }
        Ok(name)
    }
}

impl SendOnceRight {
    pub(crate) fn adopt(task: &Task, name: Name) -> SendOnceRight {
        SendOnceRight { held: Held::new(task, RightKind::SendOnce, name) }
    }
    /// Makes it a right that the kernel process knows, if it is one that lives in a link.
    pub(crate) fn make_known(&mut self) -> Result<()> {
        let task = self.held.task().clone();
        if let Some(name) = task.0.plane.make_explicit(&task, self.held.name())?
            && name != self.held.name()
        {
            task.0.plane.forget_reply(self.held.name());
            self.held.forget();
            *self = SendOnceRight::adopt(&task, name);
        }
        Ok(())
    }
    /// Sends the one message. Never waits.
    pub fn send(self, message: Message) -> Result<(), SendError> {
        deliver::send(&self.held, Disposition::MoveSendOnce, message, Some(Duration::ZERO))
    }
    /// Asks for a dead-name notification on `notify` when the port dies.
    pub fn notify_dead<N: ?Sized>(&mut self, notify: &ReceiveRight<N>) -> Result<DeadNameRequest> {
        self.make_known()?;
        let previous = request_notification(&self.held, "asking for a dead-name notification", notify::DEAD_NAME, 0, Some(&notify.held))?;
        Ok(DeadNameRequest { held: Arc::downgrade(&self.held), id: notify::DEAD_NAME, previous })
    }
    /// Gives the right up as a bare name, for [`crate::raw`].
    pub fn into_raw(self) -> Name {
        self.held.forget();
        self.name()
    }
    /// Takes over a send-once right that [`crate::raw`] holds.
    pub fn from_raw(task: &Task, name: Name) -> SendOnceRight {
        SendOnceRight::adopt(task, name)
    }
}

impl DeadName {
    pub(crate) fn adopt(task: &Task, name: Name) -> DeadName {
        DeadName { held: Held::new(task, RightKind::DeadName, name) }
    }
    /// Whether `right` is what died.
    pub fn was<I: ?Sized>(&self, right: &SendRight<I>) -> bool {
        self.name() == right.name() && self.task() == right.task()
    }
}

/// A notification that was asked for. Dropping this changes nothing: the request stands until it fires or the right is released.
#[must_use = "keep it to cancel the request, or drop it on purpose with `let _ =`"]
pub struct DeadNameRequest {
    /// Does not keep the right: releasing it ends the request.
    held: Weak<Held>,
    id: i32,
    previous: Option<SendOnceRight>,
}

impl DeadNameRequest {
    /// The send-once right of the request that this one replaced, if there was one. Left here it is dropped, and its port told so.
    pub fn take_previous(&mut self) -> Option<SendOnceRight> {
        self.previous.take()
    }
    /// Withdraws the request. Its send-once right comes back (`None`: it has fired, or the right was released); dropping that sends a
    /// send-once notification.
    pub fn cancel(self) -> Result<Option<SendOnceRight>> {
        match self.held.upgrade() {
            Some(held) => request_notification(&held, "withdrawing a notification request", self.id, 0, None),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for DeadNameRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held.upgrade() {
            Some(held) => write!(f, "notification {} requested on {}", self.id, held.label()),
            None => write!(f, "notification {} requested on a right released since", self.id),
        }
    }
}

/// Whether the port behind a right to send has died.
pub(crate) fn is_dead(held: &Held) -> Result<bool> {
    let task = held.task();
    let call = PortType { task: task.0.task_self, name: held.name() };
    let kind = task.ask_on("asking for a right's type", held, &call, |answer, _| answer.kind)?;
    Ok(TypeBits::from_bits_retain(kind).contains(TypeBits::DEAD_NAME))
}

/// Swaps the send-once right that is told about `held`.
pub(crate) fn request_notification(
    held: &Held,
    what: &'static str,
    id: i32,
    sync: u32,
    notify: Option<&Held>,
) -> Result<Option<SendOnceRight>> {
    let task = held.task();
    if notify.is_some_and(|notify| notify.task() != task) {
        return Err(Error::on(Code::KERN_INVALID_CAPABILITY, what, held.kind(), held.name()));
    }
    let call = PortRequestNotification {
        task: task.0.task_self,
        name: held.name(),
        id: id as u32,
        sync,
        notify: notify.map_or(Name::NULL, Held::name),
        disposition: Disposition::MakeSendOnce as u32,
    };
    let previous = task.ask_on(what, held, &call, |answer, _| answer.previous)?;
    Ok(previous.is_valid().then(|| SendOnceRight::adopt(task, previous)))
}
