//! Requests, handed to the registry.
//!
//! A request is an allegation: any task that holds a bootstrap port may send any bytes and any rights. What is no request never comes here; whatever else is wrong gives a
//! refusal with its reason.

use libtask::{Caller, Name, ReceiveRight, SendRight, Sink};
use umach_abi::Code;
use umach_name_api::protocol::{Event, ListPage, NameSpace, Refusal, ServerSpec};

use crate::job::Who;
use crate::registry::jobs::JobId;
use crate::registry::{CheckedIn, SpaceId};
use crate::server::{Role, Server, new_bootstrap};

type Answer<T> = Result<T, Refusal>;

/// A request on the bootstrap port of `space`, or on the server port of `job`, which was declared there.
pub(crate) struct Requests<'s> {
    pub(crate) server: &'s mut Server,
    pub(crate) space: SpaceId,
    pub(crate) job: Option<JobId>,
}

impl Requests<'_> {
    fn own_job(&self) -> Answer<JobId> {
        self.job.ok_or_else(|| Refusal::new(Code::BOOTSTRAP_NOT_PRIVILEGED, "this is a bootstrap port and not a server port"))
    }
}

fn who(caller: &Caller) -> Who {
    let sender = caller.sender();
    Who { task: sender.task, pid: sender.pid, uid: sender.uid, gid: sender.gid }
}

fn told<T>(caller: &Caller, answer: Answer<T>) -> Answer<T> {
    answer.inspect_err(|refusal| {
        tracing::debug!(code = ?refusal.code(), reason = refusal.reason, sender = ?caller.sender(), "refused");
    })
}

impl NameSpace for Requests<'_> {
    fn check_in(&mut self, name: &str, caller: &Caller) -> Answer<ReceiveRight> {
        told(caller, self.server.check_in(self.space, self.job, name, who(caller)))
    }
    fn register(&mut self, name: &str, right: SendRight, caller: &Caller) -> Answer<()> {
        let Requests { server, space, .. } = self;
        let register = || {
            let right = server.foreign(right)?;
            let key = right.name().0;
            server.registry.register(*space, name, key, who(caller), || kept(right, &server.notify), &mut server.effects)
        };
        told(caller, register())
    }
    fn look_up(&mut self, name: &str, caller: &Caller) -> Answer<SendRight> {
        told(caller, self.server.registry.look_up(self.space, name, who(caller)).map(SendRight::duplicate))
    }
    fn unregister(&mut self, name: &str, caller: &Caller) -> Answer<()> {
        told(caller, self.server.registry.unregister(self.space, self.job, name, who(caller), &mut self.server.effects))
    }
    fn list(&mut self, after: Option<&str>, caller: &Caller) -> Answer<ListPage> {
        Ok(self.server.registry.list(self.space, after, who(caller), self.server.now()))
    }
    fn watch(&mut self, only: Option<&str>, caller: &Caller, events: Sink<Event>) -> Answer<()> {
        let Requests { server, space, .. } = self;
        let watch = || {
            let right = server.foreign(events.right().duplicate())?;
            let key = right.name().0;
            let id = server.registry.watch(*space, only.map(str::to_owned), key, who(caller), || kept(right, &server.notify))?;
            server.watchers.insert(id, events);
            Ok(())
        };
        told(caller, watch())
    }
    fn subset(&mut self, requestor: Option<SendRight>, caller: &Caller) -> Answer<SendRight<dyn NameSpace>> {
        told(caller, self.server.subset(self.space, requestor, who(caller)))
    }
    fn create_server(&mut self, spec: ServerSpec, caller: &Caller) -> Answer<SendRight<dyn NameSpace>> {
        told(caller, self.server.create_server(self.space, spec, who(caller)))
    }
    fn create_service(&mut self, name: &str, caller: &Caller) -> Answer<SendRight> {
        told(caller, self.own_job().and_then(|job| self.server.create_service(job, name, who(caller))))
    }
    fn unprivileged(&mut self, caller: &Caller) -> Answer<SendRight<dyn NameSpace>> {
        let space = self.job.map_or(Ok(self.space), |job| self.server.registry.open_space_of(job));
        told(caller, space.and_then(|space| self.server.right_to(space)))
    }
    fn undo_server(&mut self, caller: &Caller) -> Answer<()> {
        told(caller, self.own_job().map(|job| self.server.registry.undo_server(job, &mut self.server.effects)))
    }
}

impl Server {
    fn check_in(&mut self, space: SpaceId, job: Option<JobId>, name: &str, who: Who) -> Answer<ReceiveRight> {
        let fresh = || {
            let port = self.task.new_port().map_err(unable)?;
            let right = port.make_send().map_err(unable)?;
            Ok((port.name().0, kept(right, &self.notify)?, port))
        };
        match self.registry.check_in(space, job, name, who, fresh, &mut self.effects)? {
            CheckedIn::Fresh(port) => Ok(port),
            // If the answer cannot be sent the right is dropped with it, and comes back like every other.
            CheckedIn::Declared(id, port) => match port.on_destroyed(&self.notify) {
                Ok(_) => Ok(port),
                Err(error) => {
                    // Without the request the port could be lost: it stays here.
                    self.registry.service_returned(id, port, &mut self.effects);
                    Err(unable(error))
                }
            },
        }
    }

    fn subset(&mut self, space: SpaceId, requestor: Option<SendRight>, who: Who) -> Answer<SendRight<dyn NameSpace>> {
        let requestor = requestor.map(|right| self.foreign(right)).transpose()?;
        let id = self.registry.subset(space, who)?;
        if let Some(right) = requestor {
            let key = right.name().0;
            if let Err(refusal) = self.registry.set_requestor(id, key, || kept(right, &self.notify)) {
                self.registry.space_ended(id, &mut self.effects);
                return Err(refusal);
            }
        }
        let mut opened = || {
            let port = new_bootstrap(&self.task)?;
            // Armed before the first right exists: it waits for that one.
            port.on_no_senders(&port)?;
            let right = port.make_send()?;
            self.open_space(id, port)?;
            Ok(right.typed())
        };
        opened().map_err(|error| {
            self.registry.space_ended(id, &mut self.effects);
            unable(error)
        })
    }

    /// Another right to a name space's bootstrap port, to which somebody has one.
    fn right_to(&self, space: SpaceId) -> Answer<SendRight<dyn NameSpace>> {
        let port = self.spaces.get(&space).ok_or_else(|| Refusal::new(Code::BOOTSTRAP_NOT_PRIVILEGED, "the name space has ended"))?;
        Ok(port.make_send().map_err(unable)?.typed())
    }

    fn create_server(&mut self, space: SpaceId, spec: ServerSpec, who: Who) -> Answer<SendRight<dyn NameSpace>> {
        let program = spec.command.first().cloned().unwrap_or_default();
        let job = self.registry.create_server(space, spec, who)?;
        let mut opened = || {
            let port = new_bootstrap(&self.task)?;
            port.on_no_senders(&port)?;
            let right = port.make_send()?;
            self.open_server(job, port)?;
            Ok(right.typed())
        };
        let right = opened().map_err(|error| {
            self.registry.undo_server(job, &mut self.effects);
            unable(error)
        })?;
        tracing::info!(program, uid = who.uid, pid = who.pid, "server declared");
        Ok(right)
    }

    fn create_service(&mut self, job: JobId, name: &str, who: Who) -> Answer<SendRight> {
        let fresh = || {
            let port = self.task.new_port().map_err(unable)?;
            let right = port.make_send().map_err(unable)?;
            Ok((port.name().0, right, port))
        };
        let (id, right) = self.registry.create_service(job, name, who, fresh, &mut self.effects)?;
        self.roles.insert(right.name(), Role::Service(id));
        Ok(right.duplicate())
    }

    /// A send right that came with a request. The server's own ports cannot be published or sent events to: a bootstrap port that
    /// the server itself held a right to would never end.
    fn foreign(&self, right: SendRight) -> Answer<SendRight> {
        let wrong = |what: &str| Err(Refusal::new(Code::KERN_INVALID_CAPABILITY, what));
        match self.roles.get(&right.name()) {
            Some(Role::Space(_) | Role::Server(_) | Role::Notify | Role::Stop | Role::Started) => {
                wrong("the right is to a port of the name server itself")
            }
            _ if right.name() == Name::DEAD => wrong("the right that came along is dead"),
            Some(Role::Service(_)) | None => Ok(right),
        }
    }
}

/// Arms the dead-name request that comes with every right that is kept.
fn kept(right: SendRight, notify: &ReceiveRight) -> Answer<SendRight> {
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

/// The kernel process refused the server something.
fn unable(error: libtask::Error) -> Refusal {
    Refusal::new(Code::BOOTSTRAP_NO_MEMORY, format!("the name server could not do it: {error}"))
}
