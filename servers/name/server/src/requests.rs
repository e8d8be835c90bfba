//! Requests: decoded, handed to the registry, answered.
//!
//! A request is an allegation: any task that holds a bootstrap port may send any bytes and any rights. Whatever is wrong with it gives a
//! refusal with its reason; rights that came along and are not wanted are released with the message.

use libtask::{Message, Received, RightKind, SendRight};
use serde::Serialize;
use serde::de::DeserializeOwned;
use umach_abi::Code;
use umach_name_api::protocol::{Call, ListArgs, Named, REPLY, Refusal, Reply, WatchArgs};

use crate::registry::{CheckedIn, SpaceId};
use crate::server::{Role, Server, new_bootstrap};
use crate::service::Who;

type Answer = Result<Message, Refusal>;

impl Server {
    /// Serves one request that came on the bootstrap port of `space`.
    pub(crate) fn request(&mut self, space: SpaceId, mut message: Received) {
        if !message.wants_reply() {
            tracing::debug!(?message, "dropped: wants no answer");
            return;
        }
        let id = message.id();
        let answer = match Call::from_id(id) {
            Some(call) => self.dispatch(call, space, &mut message),
            None => Err(Refusal::new(Code::MIG_BAD_ID, format!("{id} is not a request of the name server"))),
        };
        let answer = answer.unwrap_or_else(|refusal| {
            tracing::debug!(code = ?refusal.code(), reason = refusal.reason, sender = ?message.sender(), "refused");
            Message::new(id.wrapping_add(REPLY)).body(&Reply::<()>::Err(refusal))
        });
        // A receive right in an answer that cannot be sent is dropped with it, and comes back like every other.
        if let Err(error) = message.reply(answer) {
            tracing::debug!(%error, "an answer that nobody waits for");
        }
    }

    fn dispatch(&mut self, call: Call, space: SpaceId, message: &mut Received) -> Answer {
        let sender = message.sender();
        let who = Who { task: sender.task, pid: sender.pid, uid: sender.uid };
        match call {
            Call::CheckIn => self.check_in(space, who, message),
            Call::Register => self.register(space, who, message),
            Call::LookUp => {
                let Named { name } = body(message)?;
                let right = self.registry.look_up(space, &name, who)?;
                Ok(done(call, &()).copy_send(right))
            }
            Call::Unregister => {
                let Named { name } = body(message)?;
                self.registry.unregister(space, &name, who, &mut self.effects)?;
                Ok(done(call, &()))
            }
            Call::List => {
                let ListArgs { after } = body(message)?;
                let now = self.now();
                Ok(done(call, &self.registry.list(space, after.as_deref(), who, now)))
            }
            Call::Watch => {
                let WatchArgs { only } = body(message)?;
                let right = self.foreign_right(message)?;
                let key = right.name().0;
                self.registry.watch(space, only, key, who, || kept(right, &self.notify))?;
                Ok(done(call, &()))
            }
            Call::Subset => self.subset(space, who),
        }
    }

    fn register(&mut self, space: SpaceId, who: Who, message: &mut Received) -> Answer {
        let Named { name } = body(message)?;
        let right = self.foreign_right(message)?;
        let key = right.name().0;
        self.registry.register(space, &name, key, who, || kept(right, &self.notify), &mut self.effects)?;
        Ok(done(Call::Register, &()))
    }

    fn check_in(&mut self, space: SpaceId, who: Who, message: &mut Received) -> Answer {
        let Named { name } = body(message)?;
        let fresh = || {
            let port = self.task.new_port().map_err(unable)?;
            let right = port.make_send().map_err(unable)?;
            Ok((port.name().0, kept(right, &self.notify)?, port))
        };
        let answer = done(Call::CheckIn, &());
        match self.registry.check_in(space, &name, who, fresh, &mut self.effects)? {
            CheckedIn::Fresh(port) => Ok(answer.move_receive(port)),
            CheckedIn::Declared(id, port) => match port.on_destroyed(&self.notify) {
                Ok(_) => Ok(answer.move_receive(port)),
                Err(error) => {
                    // Without the request the port could be lost: it stays here.
                    self.registry.service_returned(id, port, &mut self.effects);
                    Err(unable(error))
                }
            },
        }
    }

    fn subset(&mut self, space: SpaceId, who: Who) -> Answer {
        let id = self.registry.subset(space, who)?;
        let mut opened = || {
            let port = new_bootstrap(&self.task)?;
            // Armed before the first right exists: it waits for that one.
            port.on_no_senders(&port)?;
            let right = port.make_send()?;
            self.open_space(id, port)?;
            Ok(right)
        };
        match opened() {
            Ok(right) => Ok(done(Call::Subset, &()).move_send(right)),
            Err(error) => {
                self.registry.space_ended(id, &mut self.effects);
                Err(unable(error))
            }
        }
    }

    /// The send right that came with a request. The server's own ports cannot be published or sent events to: a bootstrap port that
    /// the server itself held a right to would never end.
    fn foreign_right(&self, message: &mut Received) -> Result<SendRight, Refusal> {
        let wrong = |code, what: &str| Err(Refusal::new(code, what));
        match message.right_kind(0) {
            Some(RightKind::Send) => {}
            Some(RightKind::DeadName) => return wrong(Code::KERN_INVALID_CAPABILITY, "the right that came along is dead"),
            Some(_) => return wrong(Code::MIG_TYPE_ERROR, "a send right must come along, not another kind of right"),
            None => return wrong(Code::MIG_TYPE_ERROR, "a send right must come along"),
        }
        let right = message.take_send(0).map_err(unable)?;
        match self.roles.get(&right.name()) {
            Some(Role::Space(_) | Role::Notify | Role::Stop) => {
                wrong(Code::KERN_INVALID_CAPABILITY, "the right is to a port of the name server itself")
            }
            Some(Role::Service(_)) | None => Ok(right),
        }
    }
}

/// Arms the dead-name request that comes with every right that is kept.
fn kept(right: SendRight, notify: &libtask::ReceiveRight) -> Result<SendRight, Refusal> {
    match right.notify_dead(notify) {
        Ok(request) => {
            // The request stands until the right is released.
            drop(request);
            Ok(right)
        }
        Err(error) if error.code() == Code::KERN_INVALID_ARGUMENT => {
            Err(Refusal::new(Code::KERN_INVALID_CAPABILITY, "the right that came along has just died"))
        }
        Err(error) => Err(unable(error)),
    }
}

fn body<T: DeserializeOwned>(message: &Received) -> Result<T, Refusal> {
    message.body().map_err(|error| Refusal::new(Code::MIG_BAD_ARGUMENTS, error.to_string()))
}

fn done<T: Serialize>(call: Call, value: &T) -> Message {
    Message::new(call.reply_id()).body(&Ok::<&T, Refusal>(value))
}

/// The kernel process refused the server something.
fn unable(error: libtask::Error) -> Refusal {
    Refusal::new(Code::BOOTSTRAP_NO_MEMORY, format!("the name server could not do it: {error}"))
}
