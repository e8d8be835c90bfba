//! The registry: which names exist in which name space, who watches them, and what each user has used up. A pure state machine: rights
//! are values of the types `S` (something that sends) and `R` (a receive right) that are only kept and handed out, time is passed
//! in, and what the server must do next is appended to a list of [`Effect`]s.
//!
//! *Name spaces* form a tree. The root holds the configured services; a subset holds what was registered through its own bootstrap port, hides
//! an equal name further up, and falls back to its parent for the rest. A subset ends when nobody can send to its bootstrap port
//! any more and no subset of it and no server that was declared in it is left; or, with all that is in it, when its *requestor* dies, a port that its maker named.
//!
//! *Services* are names that belong to jobs ([`jobs`]).
//!
//! *Ports* are known by a key: the server's name for them, which is one per port, however many rights it has been sent. All uses of a
//! port (names that it was published under, watches that it gets events on) hang on one entry, so that one dead-name request per port
//! is enough and its death removes them all.
//!
//! Invariants ([`Registry::check`]): each registered name and each watch is a use of a known port, and each port has a use; each service is what its name is bound
//! to, and one of its job's; counts of names, watches, subsets and servers per user are those of the tables; every space but the root has a parent, which counts it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use umach_abi::Code;
use umach_name_api::protocol::{DETAIL_MAX, Declarer, Entry, Event, Kind, ListPage, PAGE, Refusal, check_name};

use crate::config::Limits;
use crate::job::{ServiceId, Step, Who};
use crate::policy::{Policy, Right};
use jobs::JobId;

pub mod jobs;

/// The server's name for a port.
pub type Key = u32;

/// A name space. The root is [`ROOT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(u64);

/// The name space that has no parent.
pub const ROOT: SpaceId = SpaceId(0);

/// A watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(u64);

/// What the server should do next, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this event, without waiting; report [`Registry::end_watch`] if the watcher's queue is full.
    Tell(WatchId, Event),
    /// A job's next step.
    Job(JobId, Step),
    /// The service with this port is gone, and its receive right with it, or as soon as that comes back.
    ServiceGone(Key),
    /// This declared server is gone: destroy its server port.
    ServerGone(JobId),
    /// This subset is gone: destroy its bootstrap port.
    SpaceGone(SpaceId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Binding {
    Registered { key: Key, who: Who },
    Service(ServiceId),
}

#[derive(Debug)]
struct Space {
    parent: Option<SpaceId>,
    depth: u32,
    /// Subsets of it, and servers that were declared in it.
    users: u32,
    /// Nobody can send to its bootstrap port.
    closed: bool,
    /// It was taken away from who may still hold its bootstrap port: no names, and none to come.
    dead: bool,
    /// The port with which it dies.
    requestor: Option<Key>,
    maker: Who,
    names: BTreeMap<String, Binding>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Name(SpaceId, String),
    Watch(WatchId),
    Requestor(SpaceId),
}

#[derive(Debug)]
struct Port<S> {
    right: S,
    uses: BTreeSet<Use>,
}

#[derive(Debug)]
struct Watch {
    space: SpaceId,
    only: Option<String>,
    key: Key,
    who: Who,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    names: u32,
    watches: u32,
    subsets: u32,
    servers: u32,
}

/// What a check-in gave.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckedIn<R> {
    /// The port of a job's service. It must come back to [`Registry::service_returned`] when its server is done.
    Declared(ServiceId, R),
    /// A port made for a name that nobody declared; it lives as long as its server.
    Fresh(R),
}

/// The registry. See the module.
#[derive(Debug)]
pub struct Registry<S, R> {
    limits: Limits,
    policy: Policy,
    spaces: HashMap<SpaceId, Space>,
    ports: HashMap<Key, Port<S>>,
    watches: BTreeMap<WatchId, Watch>,
    services: BTreeMap<ServiceId, jobs::Service<S>>,
    jobs: BTreeMap<JobId, jobs::Entry<R>>,
    usage: HashMap<u32, Usage>,
    /// Ids given out so far; none is used twice.
    last_id: u64,
}

type Answer<T> = Result<T, Refusal>;

fn refuse<T>(code: Code, reason: String) -> Answer<T> {
    Err(Refusal::new(code, reason))
}

impl<S, R> Registry<S, R> {
    /// An empty root.
    pub fn new(limits: Limits, policy: Policy) -> Registry<S, R> {
        let root = Space {
            parent: None,
            depth: 0,
            users: 0,
            closed: false,
            dead: false,
            requestor: None,
            maker: Who::default(),
            names: BTreeMap::new(),
        };
        Registry {
            limits,
            policy,
            spaces: HashMap::from([(ROOT, root)]),
            ports: HashMap::new(),
            watches: BTreeMap::new(),
            services: BTreeMap::new(),
            jobs: BTreeMap::new(),
            usage: HashMap::new(),
            last_id: 0,
        }
    }

    // Calls of clients.

    /// Finds the right that `name` stands for.
    pub fn look_up(&self, space: SpaceId, name: &str, who: Who) -> Answer<&S> {
        let Some((found, binding)) = self.resolve(space, name) else {
            return refuse(Code::BOOTSTRAP_UNKNOWN_SERVICE, format!("there is no {name:?}"));
        };
        if !self.may_see(found, name, who.uid) {
            return refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, format!("uid {} may not look up {name:?}", who.uid));
        }
        Ok(match binding {
            Binding::Registered { key, .. } => &self.ports[key].right,
            Binding::Service(id) => &self.services[id].send,
        })
    }
    /// Publishes the port `key`. `right` makes the value to keep; it is called only if the port is not known yet and nothing else is in the way.
    pub fn register(
        &mut self,
        space: SpaceId,
        name: &str,
        key: Key,
        who: Who,
        right: impl FnOnce() -> Answer<S>,
        fx: &mut Vec<Effect>,
    ) -> Answer<()> {
        self.check_publish(space, name, who, Right::Register)?;
        if let Some(binding) = self.spaces[&space].names.get(name) {
            let by = match binding {
                Binding::Registered { who, .. } => format!("by process {}", who.pid),
                Binding::Service(_) => "as a service; its server checks in instead".to_owned(),
            };
            return refuse(Code::BOOTSTRAP_NAME_IN_USE, format!("{name:?} is taken {by}"));
        }
        self.publish(space, name, key, who, right, fx)
    }
    /// Makes `who` the server of `name`: with the server port of `server`, if the request came there. `fresh` makes a port for a name that is not declared: key, value
    /// to keep, and receive right.
    pub fn check_in(
        &mut self,
        space: SpaceId,
        server: Option<JobId>,
        name: &str,
        who: Who,
        fresh: impl FnOnce() -> Answer<(Key, S, R)>,
        fx: &mut Vec<Effect>,
    ) -> Answer<CheckedIn<R>> {
        let active = |who: Who| refuse(Code::BOOTSTRAP_SERVICE_ACTIVE, format!("{name:?} is served by process {}", who.pid));
        let binding = self.spaces.get(&space).and_then(|space| space.names.get(name));
        if let Some(&Binding::Service(id)) = binding {
            let job = self.services[&id].job;
            if self.jobs[&job].declared.is_some() {
                // To hold the server port is the permission.
                if server != Some(job) {
                    return refuse(
                        Code::BOOTSTRAP_NOT_PRIVILEGED,
                        format!("{name:?} is checked in through the server port that it was made with"),
                    );
                }
            } else {
                self.check_publish(space, name, who, Right::CheckIn)?;
            }
            return match self.job(job, fx, |job, steps| job.check_in(id, who, steps)) {
                Some(Ok(right)) => Ok(CheckedIn::Declared(id, right)),
                Some(Err(server)) => active(server),
                None => unreachable!("a service's job is known"),
            };
        }
        self.check_publish(space, name, who, Right::CheckIn)?;
        match self.spaces[&space].names.get(name) {
            Some(binding) => active(self.served_by(binding).unwrap_or_default()),
            None => {
                self.check_names_quota(who)?;
                let (key, send, receive) = fresh()?;
                self.publish(space, name, key, who, || Ok(send), fx)?;
                Ok(CheckedIn::Fresh(receive))
            }
        }
    }
    /// Takes a registered name away. Its own user and the name server's may. A declared server's service is taken away through its server port, and ends.
    pub fn unregister(&mut self, space: SpaceId, server: Option<JobId>, name: &str, who: Who, fx: &mut Vec<Effect>) -> Answer<()> {
        match self.spaces.get(&space).and_then(|space| space.names.get(name)) {
            None => refuse(Code::BOOTSTRAP_UNKNOWN_SERVICE, format!("there is no {name:?} in this name space")),
            Some(Binding::Service(id)) => {
                let job = self.services[id].job;
                match &self.jobs[&job].declared {
                    None => refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, format!("{name:?} is declared in the name server's configuration")),
                    Some(_) if server != Some(job) => {
                        refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, format!("{name:?} is undone through the server port that it was made with"))
                    }
                    Some(_) => {
                        self.unbind(space, name, fx);
                        Ok(())
                    }
                }
            }
            Some(Binding::Registered { who: owner, .. }) if who.uid != owner.uid && who.uid != self.policy.owner => {
                refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, format!("{name:?} was registered by uid {}, not by uid {}", owner.uid, who.uid))
            }
            Some(Binding::Registered { .. }) => {
                self.unbind(space, name, fx);
                Ok(())
            }
        }
    }
    /// A page of the names that a look-up by `who` would find, behind `after`.
    pub fn list(&self, space: SpaceId, after: Option<&str>, who: Who, now: Duration) -> ListPage {
        // Nearer spaces first, so that they hide equal names further up.
        let mut found = BTreeMap::new();
        for (depth, (id, space)) in self.path(space).enumerate() {
            let behind = (after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded), std::ops::Bound::Unbounded);
            for (name, binding) in space.names.range::<str, _>(behind) {
                found.entry(name.as_str()).or_insert((id, depth as u32, binding));
            }
        }
        let mut seen = found.into_iter().filter(|(name, (id, ..))| self.may_see(*id, name, who.uid));
        let entries = seen.by_ref().take(PAGE).map(|(name, (_, depth, binding))| self.entry(name, depth, binding, now)).collect();
        ListPage { entries, more: seen.next().is_some() }
    }
    fn entry(&self, name: &str, depth: u32, binding: &Binding, now: Duration) -> Entry {
        let name = name.to_owned();
        match binding {
            Binding::Registered { who, .. } => {
                Entry { name, kind: Kind::Registered, pid: who.pid, uid: who.uid, depth, detail: String::new(), declared_by: None }
            }
            Binding::Service(id) => {
                let jobs::Entry { job, declared, .. } = &self.jobs[&self.services[id].job];
                let (kind, pid, mut detail) = job.describe(*id, now);
                detail.truncate(detail.floor_char_boundary(DETAIL_MAX));
                let declared_by = declared.as_ref().map(|declared| Declarer { pid: declared.who.pid, uid: declared.who.uid });
                let runs_as = declared_by.map_or(self.policy.owner, |declarer| declarer.uid);
                let uid = job.server(*id).map_or(runs_as, |who| who.uid);
                Entry { name, kind, pid, uid, depth, detail, declared_by }
            }
        }
    }
    /// Starts a watch whose events go to the port `key`; `right` as in [`Registry::register`].
    pub fn watch(
        &mut self,
        space: SpaceId,
        only: Option<String>,
        key: Key,
        who: Who,
        right: impl FnOnce() -> Answer<S>,
    ) -> Answer<WatchId> {
        if let Some(name) = &only {
            check_name(name).map_err(|bad| Refusal::new(Code::KERN_INVALID_ARGUMENT, bad.to_string()))?;
        }
        let of_task = self.watches.values().filter(|watch| watch.who.task == who.task).count() as u32;
        if of_task >= self.limits.watchers || self.used(who).watches >= self.limits.user_watchers {
            let Limits { watchers, user_watchers, .. } = self.limits;
            let reason = format!("a task may have {watchers} watches and a user {user_watchers}; drop some");
            return refuse(Code::BOOTSTRAP_NO_MEMORY, reason);
        }
        self.last_id += 1;
        let id = WatchId(self.last_id);
        self.attach(key, Use::Watch(id), right)?;
        self.watches.insert(id, Watch { space, only, key, who });
        self.charge(who, |usage| usage.watches += 1);
        Ok(id)
    }
    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }
    /// Where to send the events of a watch.
    pub fn watcher(&self, id: WatchId) -> Option<&S> {
        self.watches.get(&id).map(|watch| &self.ports[&watch.key].right)
    }
    /// Ends a watch: its queue is full, or it could not be told.
    pub fn end_watch(&mut self, id: WatchId) {
        if let Some(watch) = self.watches.remove(&id) {
            self.charge(watch.who, |usage| usage.watches -= 1);
            self.detach(watch.key, &Use::Watch(id));
        }
    }
    /// Makes a subset of `space`.
    pub fn subset(&mut self, space: SpaceId, who: Who) -> Answer<SpaceId> {
        let Some(depth) = self.spaces.get(&space).filter(|space| !space.dead).map(|space| space.depth + 1) else {
            return refuse(Code::BOOTSTRAP_UNKNOWN_SERVICE, "the name space has ended".into());
        };
        if depth > self.limits.depth {
            return refuse(Code::BOOTSTRAP_NO_MEMORY, format!("subsets may be nested {} deep", self.limits.depth));
        }
        if self.used(who).subsets >= self.limits.subsets {
            return refuse(Code::BOOTSTRAP_NO_MEMORY, format!("uid {} has {} subsets already", who.uid, self.limits.subsets));
        }
        self.last_id += 1;
        let id = SpaceId(self.last_id);
        self.spaces.insert(
            id,
            Space { parent: Some(space), depth, users: 0, closed: false, dead: false, requestor: None, maker: who, names: BTreeMap::new() },
        );
        self.spaces.get_mut(&space).expect("looked up above").users += 1;
        self.charge(who, |usage| usage.subsets += 1);
        Ok(id)
    }

    /// Makes a subset die with this port; `right` as in [`Registry::register`].
    pub fn set_requestor(&mut self, space: SpaceId, key: Key, right: impl FnOnce() -> Answer<S>) -> Answer<()> {
        self.attach(key, Use::Requestor(space), right)?;
        self.spaces.get_mut(&space).expect("just made").requestor = Some(key);
        Ok(())
    }

    // What the kernel tells.

    /// A port is dead.
    pub fn port_died(&mut self, key: Key, fx: &mut Vec<Effect>) {
        // Taking uses away one by one removes the port with the last of them.
        let uses = self.ports.get(&key).map(|port| port.uses.clone()).unwrap_or_default();
        for one in uses {
            match one {
                Use::Name(space, name) => self.unbind(space, &name, fx),
                Use::Watch(id) => self.end_watch(id),
                Use::Requestor(id) => self.kill_space(id, fx),
            }
        }
    }
    /// Nobody can send to the subset's bootstrap port any more.
    pub fn space_ended(&mut self, id: SpaceId, fx: &mut Vec<Effect>) {
        if let Some(space) = self.spaces.get_mut(&id).filter(|_| id != ROOT) {
            space.closed = true;
            self.forget_space(id, fx);
        }
    }
    /// The requestor of a subset is dead: so is the subset, with its subsets and all that is in them.
    fn kill_space(&mut self, id: SpaceId, fx: &mut Vec<Effect>) {
        let is_below = |one: SpaceId| self.path(one).any(|(above, _)| above == id);
        let mut below: Vec<SpaceId> = self.spaces.keys().copied().filter(|one| is_below(*one)).collect();
        // The deepest first: an end may be that of the spaces above, too.
        below.sort_by_key(|one| std::cmp::Reverse(self.spaces[one].depth));
        for id in below {
            let Some(space) = self.spaces.get_mut(&id).filter(|space| !space.dead) else { continue };
            (space.closed, space.dead) = (true, true);
            self.servers_of(id).into_iter().for_each(|server| self.undo_server(server, fx));
            self.empty_space(id, fx);
            self.forget_space(id, fx);
        }
    }
    /// A subset of it, or a server that was declared in it, is gone.
    fn release_space(&mut self, id: SpaceId, fx: &mut Vec<Effect>) {
        self.spaces.get_mut(&id).expect("a space outlives what is in it").users -= 1;
        self.forget_space(id, fx);
    }
    /// A closed space stays while a subset of it is in use, whose names fall back to it, or a server.
    fn forget_space(&mut self, id: SpaceId, fx: &mut Vec<Effect>) {
        if !self.spaces.get(&id).is_some_and(|space| space.closed && space.users == 0) {
            return;
        }
        self.empty_space(id, fx);
        let space = self.spaces.remove(&id).expect("looked up above");
        self.charge(space.maker, |usage| usage.subsets -= 1);
        // No deeper than subsets may be nested.
        self.release_space(space.parent.expect("only the root has none"), fx);
    }

    /// Ends the watches, the names and the bootstrap port of a space that is over.
    fn empty_space(&mut self, id: SpaceId, fx: &mut Vec<Effect>) {
        // It may have been undone with the last server that was in it.
        let Some(space) = self.spaces.get_mut(&id) else { return };
        let requestor = space.requestor.take();
        let names: Vec<String> = space.names.keys().cloned().collect();
        if let Some(key) = requestor {
            self.detach(key, &Use::Requestor(id));
        }
        let watches: Vec<WatchId> = self.watches.iter().filter(|(_, watch)| watch.space == id).map(|(id, _)| *id).collect();
        watches.into_iter().for_each(|watch| self.end_watch(watch));
        names.iter().for_each(|name| self.unbind(id, name, fx));
        fx.push(Effect::SpaceGone(id));
    }

    // Parts.

    /// The spaces that a look-up in `space` goes through.
    fn path(&self, space: SpaceId) -> impl Iterator<Item = (SpaceId, &Space)> {
        let known = |id: SpaceId| self.spaces.get(&id).map(|space| (id, space));
        std::iter::successors(known(space), move |(_, space)| known(space.parent?))
    }
    fn resolve(&self, space: SpaceId, name: &str) -> Option<(SpaceId, &Binding)> {
        self.path(space).find_map(|(id, space)| space.names.get(name).map(|binding| (id, binding)))
    }
    fn may_see(&self, space: SpaceId, name: &str, uid: u32) -> bool {
        space != ROOT || self.policy.allows(Right::LookUp, name, uid)
    }
    fn check_publish(&self, space: SpaceId, name: &str, who: Who, right: Right) -> Answer<()> {
        check_name(name).map_err(|bad| Refusal::new(Code::KERN_INVALID_ARGUMENT, bad.to_string()))?;
        if self.spaces.get(&space).is_none_or(|space| space.dead) {
            return refuse(Code::BOOTSTRAP_UNKNOWN_SERVICE, "the name space has ended".into());
        }
        if space == ROOT && !self.policy.allows(right, name, who.uid) {
            let what = if right == Right::Register { "register" } else { "check in" };
            return refuse(Code::BOOTSTRAP_NOT_PRIVILEGED, format!("uid {} may not {what} {name:?}", who.uid));
        }
        Ok(())
    }
    fn check_free(&self, space: SpaceId, name: &str) -> Answer<()> {
        check_name(name).map_err(|bad| Refusal::new(Code::KERN_INVALID_ARGUMENT, bad.to_string()))?;
        match self.spaces.get(&space).is_some_and(|space| space.names.contains_key(name)) {
            true => refuse(Code::BOOTSTRAP_NAME_IN_USE, format!("{name:?} is taken")),
            false => Ok(()),
        }
    }
    fn check_names_quota(&self, who: Who) -> Answer<()> {
        let limit = self.limits.names;
        if self.used(who).names >= limit {
            return refuse(Code::BOOTSTRAP_NO_MEMORY, format!("uid {} has {limit} names already; unregister some", who.uid));
        }
        Ok(())
    }
    fn publish(
        &mut self,
        space: SpaceId,
        name: &str,
        key: Key,
        who: Who,
        right: impl FnOnce() -> Answer<S>,
        fx: &mut Vec<Effect>,
    ) -> Answer<()> {
        self.check_names_quota(who)?;
        self.attach(key, Use::Name(space, name.to_owned()), right)?;
        self.charge(who, |usage| usage.names += 1);
        self.bind(space, name, Binding::Registered { key, who }, fx);
        Ok(())
    }
    fn bind(&mut self, space: SpaceId, name: &str, binding: Binding, fx: &mut Vec<Effect>) {
        self.spaces.get_mut(&space).expect("checked by the caller").names.insert(name.to_owned(), binding);
        self.tell(space, name, || Event::Appeared(name.to_owned()), fx);
    }
    /// Removes a name, if it is there; a service ends with it.
    fn unbind(&mut self, space: SpaceId, name: &str, fx: &mut Vec<Effect>) {
        let Some(binding) = self.spaces.get(&space).and_then(|space| space.names.get(name)).cloned() else {
            return;
        };
        self.tell(space, name, || Event::Vanished(name.to_owned()), fx);
        self.spaces.get_mut(&space).expect("looked up above").names.remove(name);
        match binding {
            Binding::Registered { key, who } => {
                self.detach(key, &Use::Name(space, name.to_owned()));
                self.charge(who, |usage| usage.names -= 1);
            }
            Binding::Service(id) => self.drop_service(id, fx),
        }
        // Those who could see it may now see what it hid.
        if let Some((above, _)) = self.resolve(space, name) {
            let inside = |watch: &Watch| self.path(watch.space).any(|(id, _)| id == space);
            self.tell_if(above, name, inside, || Event::Appeared(name.to_owned()), fx);
        }
    }
    fn tell(&self, space: SpaceId, name: &str, event: impl Fn() -> Event, fx: &mut Vec<Effect>) {
        self.tell_if(space, name, |_| true, event, fx);
    }
    /// Tells the watches for which a look-up of `name` finds the one of `space`.
    fn tell_if(&self, space: SpaceId, name: &str, chosen: impl Fn(&Watch) -> bool, event: impl Fn() -> Event, fx: &mut Vec<Effect>) {
        for (id, watch) in &self.watches {
            let interested = watch.only.as_ref().is_none_or(|only| only == name) && self.may_see(space, name, watch.who.uid);
            if interested && chosen(watch) && self.resolve(watch.space, name).is_some_and(|(found, _)| found == space) {
                fx.push(Effect::Tell(*id, event()));
            }
        }
    }
    fn attach(&mut self, key: Key, one: Use, right: impl FnOnce() -> Answer<S>) -> Answer<()> {
        let port = match self.ports.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(Port { right: right()?, uses: BTreeSet::new() }),
        };
        port.uses.insert(one);
        Ok(())
    }
    fn detach(&mut self, key: Key, one: &Use) {
        let port = self.ports.get_mut(&key).expect("a use hangs on a known port");
        port.uses.remove(one);
        if port.uses.is_empty() {
            self.ports.remove(&key);
        }
    }
    fn used(&self, who: Who) -> Usage {
        self.usage.get(&who.uid).copied().unwrap_or_default()
    }
    /// Changes what a user has used; a user who uses nothing takes no room here.
    fn charge(&mut self, who: Who, change: impl FnOnce(&mut Usage)) {
        let usage = self.usage.entry(who.uid).or_default();
        change(usage);
        if *usage == Usage::default() {
            self.usage.remove(&who.uid);
        }
    }

    /// Checks the invariants; says which is broken.
    pub fn check(&self) -> Result<(), String> {
        let mut usage: HashMap<u32, Usage> = HashMap::new();
        let mut uses: HashMap<Key, BTreeSet<Use>> = HashMap::new();
        let mut users: HashMap<SpaceId, u32> = HashMap::new();
        for declared in self.jobs.values().filter_map(|entry| entry.declared.as_ref()) {
            *users.entry(declared.space).or_default() += 1;
            usage.entry(declared.who.uid).or_default().servers += 1;
        }
        for (&id, space) in &self.spaces {
            match space.parent {
                Some(parent) => {
                    *users.entry(parent).or_default() += 1;
                    usage.entry(space.maker.uid).or_default().subsets += 1;
                }
                None if id == ROOT => {}
                None => return Err(format!("{id:?} has no parent")),
            }
            if let Some(key) = space.requestor {
                uses.entry(key).or_default().insert(Use::Requestor(id));
            }
            if space.dead && !(space.closed && space.names.is_empty() && space.requestor.is_none()) {
                return Err(format!("{id:?} is dead and not empty"));
            }
            for (name, binding) in &space.names {
                let payer = match binding {
                    Binding::Registered { key, who } => {
                        uses.entry(*key).or_default().insert(Use::Name(id, name.clone()));
                        Some(who)
                    }
                    Binding::Service(service) => {
                        let job = self.job_of(*service).ok_or_else(|| format!("{name:?} is bound to {service:?}, which is gone"))?;
                        self.jobs[&job].declared.as_ref().map(|declared| &declared.who)
                    }
                };
                if let Some(who) = payer {
                    usage.entry(who.uid).or_default().names += 1;
                }
            }
        }
        for (&id, watch) in &self.watches {
            if !self.spaces.contains_key(&watch.space) {
                return Err(format!("{id:?} watches {:?}, which is gone", watch.space));
            }
            usage.entry(watch.who.uid).or_default().watches += 1;
            uses.entry(watch.key).or_default().insert(Use::Watch(id));
        }
        if usage != self.usage {
            return Err(format!("usage {:?} but the tables hold {usage:?}", self.usage));
        }
        let kept: HashMap<Key, BTreeSet<Use>> = self.ports.iter().map(|(key, port)| (*key, port.uses.clone())).collect();
        if kept != uses {
            return Err(format!("ports {kept:?} but the tables hold {uses:?}"));
        }
        for (&id, space) in &self.spaces {
            let counted = users.get(&id).copied().unwrap_or(0);
            if space.users != counted || (space.closed && counted == 0) {
                return Err(format!("{id:?} with {} users, closed {}, has {counted}", space.users, space.closed));
            }
        }
        self.check_jobs()
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
