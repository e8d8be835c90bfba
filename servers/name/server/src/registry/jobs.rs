//! Jobs in the registry: who said that there is one, what names it serves, and how long it lasts.
//!
//! A job of the configuration has one service at the root and lasts for ever. A job of a task's is *declared* in a name space, through whose bootstrap port it was
//! asked for; services are added to it by whoever holds its *server port*, and their names are that space's. It ends, with its names, when nobody holds the server
//! port, no process of it runs, and nothing of it is served; or, with `servers_stay`, only if nothing of it ever was; or when a holder says so; or with its
//! name space. While a process of it runs that must end, the job stays, without names, for its user to pay for.

use std::time::Duration;

use umach_abi::Code;
use umach_name_api::protocol::{Refusal, ServerSpec};

use super::{Answer, Binding, Effect, Key, ROOT, Registry, SpaceId, refuse};
use crate::config::{JobConfig, ServiceConfig};
use crate::job::{Ending, Job, ServiceId, Step, Who};
use crate::policy::Right;

/// A job. No id is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

/// A task's word that there is a job.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) space: SpaceId,
    pub(super) who: Who,
    /// Somebody holds its server port.
    held: bool,
    /// It has no names any more and waits for the end of its process.
    ended: bool,
}

/// A job and where it comes from: the configuration, or a declaration.
#[derive(Debug)]
pub(super) struct Entry<R> {
    pub(super) job: Job<R>,
    pub(super) declared: Option<Declaration>,
    /// The service that was added first: what a child learns from its environment.
    first: String,
}

/// A service of a job.
#[derive(Debug)]
pub(super) struct Service<S> {
    pub(super) job: JobId,
    space: SpaceId,
    pub(super) name: String,
    key: Key,
    pub(super) send: S,
}

/// Most bytes of a command, with all its arguments.
const COMMAND_MAX: usize = 4096;

impl<S, R> Registry<S, R> {
    // The configuration's.

    /// Adds a configured service to the root: `key`, a send right to hand out, and the receive right.
    pub fn configure(
        &mut self,
        name: &str,
        key: Key,
        send: S,
        config: ServiceConfig,
        receive: R,
        fx: &mut Vec<Effect>,
    ) -> Answer<ServiceId> {
        self.check_free(ROOT, name)?;
        let job = self.new_job(config.job, None);
        Ok(self.add_service(job, ROOT, name, key, send, receive, fx))
    }

    // Tasks'.

    /// Declares a server in `space`.
    pub fn create_server(&mut self, space: SpaceId, spec: ServerSpec, who: Who) -> Answer<JobId> {
        if self.spaces.get(&space).is_none_or(|space| space.closed) {
            return refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, "the name space has ended".into());
        }
        let identity = self.policy.run_for(who.uid, who.gid).map_err(|why| Refusal::new(Code::BOOTSTRAP_NOT_PRIVILEGED, why))?;
        if spec.uid != who.uid {
            let reason = format!("a task of uid {} cannot declare a server that runs as uid {}", who.uid, spec.uid);
            return refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, reason);
        }
        check_command(&spec.command)?;
        let of_task = self.jobs.values().filter(|entry| entry.declared.as_ref().is_some_and(|it| it.who.task == who.task)).count() as u32;
        if of_task >= self.limits.servers || self.used(who).servers >= self.limits.user_servers {
            let (servers, user_servers) = (self.limits.servers, self.limits.user_servers);
            let reason = format!("a task may declare {servers} servers and a user {user_servers}; let go of some");
            return refuse(Code::BOOTSTRAP_NO_MEMORY, reason);
        }
        let config = JobConfig { directory: Some("/".into()), on_demand: spec.on_demand, identity, ..JobConfig::new(spec.command) };
        self.spaces.get_mut(&space).expect("looked up above").users += 1;
        self.charge(who, |usage| usage.servers += 1);
        Ok(self.new_job(config, Some(Declaration { space, who, held: true, ended: false })))
    }
    /// Adds a service to a declared server. `fresh` makes its port: key, send right and receive right. Gives the send right.
    pub fn create_service(
        &mut self,
        job: JobId,
        name: &str,
        who: Who,
        fresh: impl FnOnce() -> Answer<(Key, S, R)>,
        fx: &mut Vec<Effect>,
    ) -> Answer<(ServiceId, &S)> {
        let (space, payer) = match self.jobs.get(&job).and_then(|entry| entry.declared.as_ref()) {
            Some(declared) if !declared.ended => (declared.space, declared.who),
            _ => return refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, "the server was undone".into()),
        };
        // To make a service is to serve it, sooner or later.
        self.check_publish(space, name, who, Right::CheckIn)?;
        if let Some(binding) = self.spaces[&space].names.get(name) {
            return match self.served_by(binding) {
                Some(who) => refuse(Code::BOOTSTRAP_SERVICE_ACTIVE, format!("{name:?} is served by process {}", who.pid)),
                None => refuse(Code::BOOTSTRAP_NAME_IN_USE, format!("{name:?} is a service already")),
            };
        }
        self.check_names_quota(payer)?;
        if self.jobs[&job].job.services().count() as u32 >= self.limits.services {
            return refuse(Code::BOOTSTRAP_NO_MEMORY, format!("a server may have {} services", self.limits.services));
        }
        let (key, send, receive) = fresh()?;
        self.charge(payer, |usage| usage.names += 1);
        let id = self.add_service(job, space, name, key, send, receive, fx);
        Ok((id, &self.services[&id].send))
    }
    /// Ends a declared server, as who holds its server port may.
    pub fn undo_server(&mut self, job: JobId, fx: &mut Vec<Effect>) {
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        let Some(declared) = entry.declared.as_mut().filter(|declared| !declared.ended) else { return };
        declared.ended = true;
        let ids: Vec<ServiceId> = entry.job.services().collect();
        self.job(job, fx, |job, steps| job.end(steps));
        for id in ids {
            let (space, name) = (self.services[&id].space, self.services[&id].name.clone());
            self.unbind(space, &name, fx);
        }
        self.let_go(job, fx);
    }
    /// Nobody holds the server port any more.
    pub fn server_unheld(&mut self, job: JobId, fx: &mut Vec<Effect>) {
        if let Some(declared) = self.jobs.get_mut(&job).and_then(|entry| entry.declared.as_mut()) {
            declared.held = false;
        }
        self.let_go(job, fx);
    }
    /// A right to the server port was made for a new process.
    pub fn server_held(&mut self, job: JobId) {
        if let Some(declared) = self.jobs.get_mut(&job).and_then(|entry| entry.declared.as_mut()) {
            declared.held = true;
        }
    }
    /// The name space that a declared server's names are in, if others can still come to hold its bootstrap port.
    pub fn open_space_of(&self, job: JobId) -> Answer<SpaceId> {
        let space = self.space_of(job).filter(|id| self.spaces.get(id).is_some_and(|space| !space.closed));
        space.ok_or_else(|| Refusal::new(Code::BOOTSTRAP_NOT_PRIVILEGED, "the name space has ended"))
    }
    /// The name space that a declared server's names are in.
    pub fn space_of(&self, job: JobId) -> Option<SpaceId> {
        self.jobs.get(&job)?.declared.as_ref().map(|declared| declared.space)
    }
    /// Ends a declared server that nobody can use any more, and forgets one that has ended.
    fn let_go(&mut self, id: JobId, fx: &mut Vec<Effect>) {
        let Some(entry @ Entry { declared: Some(declared), .. }) = self.jobs.get(&id) else { return };
        if !declared.ended {
            if !self.is_wanted(entry, declared) {
                self.undo_server(id, fx);
            }
        } else if !entry.job.is_running() {
            let (space, who) = (declared.space, declared.who);
            self.jobs.remove(&id);
            fx.push(Effect::ServerGone(id));
            self.charge(who, |usage| usage.servers -= 1);
            self.release_space(space, fx);
        }
    }

    /// Whether a declared server is held, runs, serves, or stays.
    fn is_wanted(&self, entry: &Entry<R>, declared: &Declaration) -> bool {
        declared.held || entry.job.is_active() || (self.policy.servers_stay && entry.job.is_useful())
    }

    // What happens to jobs.

    /// A job: what its child learns as its service's name, and its machine.
    pub fn look_at(&self, id: JobId) -> Option<(&str, &Job<R>)> {
        self.jobs.get(&id).map(|entry| (entry.first.as_str(), &entry.job))
    }
    /// A service's job.
    pub fn job_of(&self, id: ServiceId) -> Option<JobId> {
        self.services.get(&id).map(|service| service.job)
    }
    /// A message waits on the port of a service that is listened to.
    pub fn service_demanded(&mut self, id: ServiceId, now: Duration, fx: &mut Vec<Effect>) {
        if let Some(job) = self.job_of(id) {
            self.job(job, fx, |job, steps| job.demanded(id, now, steps));
        }
    }
    /// A service's receive right came back.
    pub fn service_returned(&mut self, id: ServiceId, right: R, fx: &mut Vec<Effect>) {
        if let Some(job) = self.job_of(id) {
            self.job(job, fx, |job, steps| job.returned(id, right, steps));
            self.let_go(job, fx);
        }
    }
    /// A job's command was spawned as this task and process, or could not be.
    pub fn job_started(&mut self, id: JobId, child: Result<(u64, u32), String>, now: Duration, fx: &mut Vec<Effect>) {
        self.job(id, fx, |job, steps| match child {
            Ok((task, pid)) => job.started(task, pid, now, steps),
            Err(why) => job.start_failed(why, now, steps),
        });
        self.let_go(id, fx);
    }
    /// A job's process is dead and reaped.
    pub fn job_ended(&mut self, id: JobId, ending: Ending, now: Duration, fx: &mut Vec<Effect>) {
        self.job(id, fx, |job, steps| job.child_ended(ending, now, steps));
        self.let_go(id, fx);
    }
    /// Time has passed.
    pub fn tick(&mut self, now: Duration, fx: &mut Vec<Effect>) {
        for (id, entry) in &mut self.jobs {
            let mut steps = Vec::new();
            entry.job.tick(now, &mut steps);
            fx.extend(steps.into_iter().map(|step| Effect::Job(*id, step)));
        }
    }
    /// When [`Registry::tick`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.jobs.values().filter_map(|entry| entry.job.deadline()).min()
    }

    // Parts.

    fn new_job(&mut self, config: JobConfig, declared: Option<Declaration>) -> JobId {
        self.last_id += 1;
        let id = JobId(self.last_id);
        self.jobs.insert(id, Entry { job: Job::new(config), declared, first: String::new() });
        id
    }
    #[expect(clippy::too_many_arguments, reason = "all that a service is")]
    fn add_service(&mut self, job: JobId, space: SpaceId, name: &str, key: Key, send: S, receive: R, fx: &mut Vec<Effect>) -> ServiceId {
        self.last_id += 1;
        let id = ServiceId(self.last_id);
        self.services.insert(id, Service { job, space, name: name.to_owned(), key, send });
        let entry = self.jobs.get_mut(&job).expect("made or looked up by the caller");
        if entry.first.is_empty() {
            name.clone_into(&mut entry.first);
        }
        self.bind(space, name, Binding::Service(id), fx);
        self.job(job, fx, |job, steps| job.add(id, receive, steps));
        id
    }
    /// Forgets a service whose name is gone.
    pub(super) fn drop_service(&mut self, id: ServiceId, fx: &mut Vec<Effect>) {
        let Some(service) = self.services.remove(&id) else { return };
        let payer = self.jobs[&service.job].declared.as_ref().map(|declared| declared.who);
        if let Some(payer) = payer {
            self.charge(payer, |usage| usage.names -= 1);
        }
        fx.push(Effect::ServiceGone(service.key));
        self.job(service.job, fx, |job, steps| job.remove(id, steps));
    }
    pub(super) fn job<T>(&mut self, id: JobId, fx: &mut Vec<Effect>, change: impl FnOnce(&mut Job<R>, &mut Vec<Step>) -> T) -> Option<T> {
        let mut steps = Vec::new();
        let result = change(&mut self.jobs.get_mut(&id)?.job, &mut steps);
        fx.extend(steps.into_iter().map(|step| Effect::Job(id, step)));
        Some(result)
    }
    /// Who serves what is bound to a name, if somebody does.
    pub(super) fn served_by(&self, binding: &Binding) -> Option<Who> {
        match binding {
            Binding::Registered { who, .. } => Some(*who),
            Binding::Service(id) => self.jobs[&self.services[id].job].job.server(*id),
        }
    }
    /// The servers that were declared in a space and have not ended.
    pub(super) fn servers_of(&self, space: SpaceId) -> Vec<JobId> {
        let here = |entry: &Entry<R>| entry.declared.as_ref().is_some_and(|declared| declared.space == space && !declared.ended);
        self.jobs.iter().filter(|(_, entry)| here(entry)).map(|(id, _)| *id).collect()
    }
    /// Checks the invariants of this part.
    pub(super) fn check_jobs(&self) -> Result<(), String> {
        for (id, service) in &self.services {
            let bound = self.spaces.get(&service.space).and_then(|space| space.names.get(&service.name));
            if bound != Some(&Binding::Service(*id)) {
                return Err(format!("{id:?} is not what {:?} is bound to", service.name));
            }
            if !self.jobs.get(&service.job).is_some_and(|entry| entry.job.services().any(|one| one == *id)) {
                return Err(format!("{:?} does not know {id:?}", service.job));
            }
        }
        for (id, entry) in &self.jobs {
            if let Some(unknown) = entry.job.services().find(|service| self.job_of(*service) != Some(*id)) {
                return Err(format!("{id:?} has {unknown:?}, which is not known"));
            }
            let Some(declared) = &entry.declared else { continue };
            if declared.ended && (entry.job.services().next().is_some() || !entry.job.is_running()) {
                return Err(format!("{id:?} has ended and is still there"));
            }
            if !declared.ended && !self.is_wanted(entry, declared) {
                return Err(format!("{id:?} is of no use to anybody"));
            }
        }
        Ok(())
    }
}

/// A command that can be started: a program's full path, and not too much of it.
fn check_command(command: &[String]) -> Answer<()> {
    let wrong = |what: &str| refuse(Code::KERN_INVALID_ARGUMENT, what.to_owned());
    match command.first() {
        None => wrong("the command is empty"),
        Some(program) if !program.starts_with('/') => wrong("the command's program is not given by its full path"),
        Some(_) if command.iter().any(|argument| argument.contains('\0')) => wrong("the command contains a zero byte"),
        Some(_) if command.iter().map(|argument| argument.len() + 1).sum::<usize>() > COMMAND_MAX => wrong("the command is too long"),
        Some(_) => Ok(()),
    }
}
