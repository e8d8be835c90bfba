//! What must always hold, checked over the whole state. Debug builds run it; tests call it after each step.

use std::collections::{BTreeMap, HashMap};

use umach_abi::TypeBits;

use super::Core;
use super::destroy::Work;
use super::effect::FileLaneId;
use super::mail::{Carried, Mail, Right};
use super::port::{Port, PortId, Receiver};
use super::quota::Charge;
use super::route::State;
use super::send::rights_of;
use super::space::Object;
use super::task::Wait;

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Count {
    send: u32,
    once: u32,
    receive: u32,
}

impl Core {
    /// Counts every right there is and compares with what the ports believe; checks queues, sets, waiting threads and charges. The error
    /// says what is broken.
    pub fn check(&self) -> Result<(), String> {
        let mut counts: HashMap<PortId, Count> = HashMap::new();
        self.count_spaces(&mut counts)?;
        for (_, mail) in self.mails.iter() {
            count_mail(mail, &mut counts);
        }
        for work in &self.work {
            match work {
                Work::Mail(mail) => count_mail(mail, &mut counts),
                Work::Port(port) => {
                    for watch in port.watches.iter() {
                        let requests = watch.requests.values().map(|request| request.notify);
                        let all = requests.chain(watch.no_senders.iter().map(|watch| watch.notify));
                        all.for_each(|notify| counts.entry(notify).or_default().once += 1);
                    }
                }
                Work::Set(..)
                | Work::Possible(_)
                | Work::Space(..)
                | Work::Links(_)
                | Work::Link(..)
                | Work::Files(_)
                | Work::Terminate(_)
                | Work::Switch(..)
                | Work::Semaphores(_) => {}
            }
        }
        for (id, route) in self.routes.iter() {
            if matches!(route.state, State::Ended(_)) || self.is_held_orphan(super::route::RouteId(id)) {
                counts.entry(route.port).or_default().send += 1;
            }
        }
        for (_, port) in self.ports.iter() {
            for watches in port.watches.iter() {
                let notifies = watches.requests.values().map(|request| request.notify);
                let both = watches.no_senders.iter().chain(&watches.destroyed).map(|watch| watch.notify);
                notifies.chain(both).for_each(|notify| counts.entry(notify).or_default().once += 1);
                if watches.armed.iter().any(|key| !watches.requests.get(key).is_some_and(|request| request.possible)) {
                    return Err("a request is armed that is not there".into());
                }
            }
        }
        for held in [self.host, self.host_control].into_iter().chain(self.clocks).chain(self.bootstrap).chain(self.traces.ports()) {
            counts.entry(held).or_default().send += 1;
        }
        self.asked.iter().for_each(|asked| count_right(&asked.reply, &mut counts));
        self.alarms.iter().for_each(|alarm| count_right(&alarm.right, &mut counts));
        self.asked_usage.iter().for_each(|asked| count_right(&asked.reply, &mut counts));
        for (id, port) in self.ports.iter() {
            let id = PortId(id);
            let count = counts.get(&id).copied().unwrap_or_default();
            if (count.send, count.once) != (port.srights, port.sorights) {
                return Err(format!(
                    "{id:?}: counts {} send and {} send-once rights, there are {} and {}",
                    port.srights, port.sorights, count.send, count.once
                ));
            }
            let receives = u32::from(port.kobject().is_none());
            if count.receive != receives {
                return Err(format!("{id:?}: {} receive rights, receiver {:?}", count.receive, port.receiver));
            }
            self.check_port(id)?;
        }
        self.check_sets()?;
        self.check_lanes()?;
        self.check_semaphores()?;
        self.check_plane()?;
        self.check_traces()?;
        self.check_file_lanes(&self.count_files())?;
        self.ledger.check(self.charges().into_iter())
    }

    /// Open files in messages, by their lanes.
    fn count_files(&self) -> BTreeMap<FileLaneId, u32> {
        let falling = self.work.iter().filter_map(|work| if let Work::Mail(mail) = work { Some(&**mail) } else { None });
        let mut counts = BTreeMap::new();
        for carried in self.mails.iter().map(|(_, mail)| mail).chain(falling).flat_map(|mail| &mail.carried) {
            if let Carried::File(Some(token)) = carried {
                *counts.entry(token.lane).or_default() += 1;
            }
        }
        counts
    }

    /// Every charge there is.
    fn charges(&self) -> Vec<&Charge> {
        let mut all: Vec<&Charge> = Vec::new();
        for (_, task) in self.tasks.iter() {
            all.push(&task.names);
        }
        all.extend(self.lanes.iter().flat_map(|(_, lane)| std::iter::once(&lane.charge).chain(&lane.memory)));
        all.extend(self.sets.iter().map(|(_, set)| &set.charge));
        all.extend(self.regions.iter().flat_map(|(_, region)| [&region.count, &region.bytes]));
        all.extend(self.mails.iter().filter_map(|(_, mail)| mail.charge.as_ref()));
        all.extend(self.traces.charges());
        all.extend(self.alarms.iter().map(|alarm| &alarm.charge));
        self.ports.iter().for_each(|(_, port)| charges_of(port, &mut all));
        for work in &self.work {
            match work {
                Work::Mail(mail) => all.extend(&mail.charge),
                Work::Port(port) => charges_of(port, &mut all),
                Work::Set(_, set) => all.push(&set.charge),
                Work::Possible(_)
                | Work::Space(..)
                | Work::Links(_)
                | Work::Link(..)
                | Work::Files(_)
                | Work::Terminate(_)
                | Work::Switch(..)
                | Work::Semaphores(_) => {}
            }
        }
        all.extend(
            self.links
                .iter()
                .flat_map(|(_, link)| link.charges.iter().flatten().chain(link.arenas.iter().flatten().map(|arena| &arena.charge))),
        );
        all.extend(self.file_lanes.iter().flat_map(|(_, lane)| &lane.charges));
        all
    }

    fn count_spaces(&self, counts: &mut HashMap<PortId, Count>) -> Result<(), String> {
        for (id, task) in self.tasks.iter() {
            task.space.check().map_err(|what| format!("task {id:?}: {what}"))?;
            if task.names.amount() != task.space.len() as u64 {
                return Err(format!("task {id:?}: {} names charged, {} held", task.names.amount(), task.space.len()));
            }
            for (name, entry) in task.space.iter_from(0) {
                let Object::Port(port) = entry.object else { continue };
                let Some(live) = self.ports.get(port.0) else {
                    if entry.has(TypeBits::RECEIVE) {
                        return Err(format!("task {id:?}: receive right {name} to a dead port"));
                    }
                    continue;
                };
                let count = counts.entry(port).or_default();
                count.send += u32::from(entry.has(TypeBits::SEND));
                count.once += u32::from(entry.has(TypeBits::SEND_ONCE));
                count.receive += u32::from(entry.has(TypeBits::RECEIVE));
                if entry.has(TypeBits::RECEIVE) && live.receiver != Receiver::Space(super::TaskId(id), name) {
                    return Err(format!("task {id:?}: receives on {name}, port says {:?}", live.receiver));
                }
                if entry.has(TypeBits::SEND) && entry.urefs == 0 {
                    return Err(format!("task {id:?}: send right {name} without references"));
                }
                let key = (super::TaskId(id), name);
                let requested = live.watches.as_ref().is_some_and(|watches| watches.requests.contains_key(&key));
                if requested != entry.requested {
                    return Err(format!("task {id:?}: request on {name}: entry says {}, port {requested}", entry.requested));
                }
            }
            let handlers = task.exceptions.iter().flat_map(|handlers| handlers.iter().filter_map(|handler| handler.port.as_ref()));
            for port in task.bootstrap.iter().chain(task.registered.iter().flatten()).chain(handlers) {
                counts.entry(*port).or_default().send += 1;
            }
        }
        Ok(())
    }

    fn check_port(&self, id: PortId) -> Result<(), String> {
        let port = &self.ports[id.0];
        let mut bytes = 0;
        for mail in &port.queue {
            let mail = self.mails.get(mail.0).ok_or_else(|| format!("{id:?}: queues mail that does not exist"))?;
            bytes += mail.charge.as_ref().map_or(0, |charge| charge.amount());
            if mail.dest.port() != Some(id) {
                return Err(format!("{id:?}: queues mail for {:?}", mail.dest));
            }
        }
        if bytes != port.queued_bytes {
            return Err(format!("{id:?}: {} bytes queued, {} said", bytes, port.queued_bytes));
        }
        for set in &port.sets {
            let Some(set) = self.sets.get(set.0) else {
                let falling = |work: &Work| matches!(work, Work::Set(id, _) if id == set);
                if !self.work.iter().any(falling) {
                    return Err(format!("{id:?}: in a set that does not exist"));
                }
                continue;
            };
            match set.members.get(&id) {
                None => return Err(format!("{id:?}: not a member of its set")),
                Some(place) if place.is_some() != port.ready() => return Err(format!("{id:?}: readiness is wrong")),
                Some(_) => {}
            }
        }
        if let Some(waiters) = &port.waiters {
            if !waiters.receivers.is_empty() && port.ready() {
                return Err(format!("{id:?}: threads wait although messages are there"));
            }
            if !waiters.senders.is_empty() && !port.full() {
                return Err(format!("{id:?}: senders wait although there is room"));
            }
        }
        let reserved = port.reserve.as_ref().map_or(0, |reserve| reserve.amount());
        if port.kobject().is_none() && reserved != port.sorights as u64 * super::mail::NOTIFICATION {
            return Err(format!("{id:?}: {reserved} bytes reserved for {} send-once rights", port.sorights));
        }
        Ok(())
    }

    fn check_sets(&self) -> Result<(), String> {
        for (id, set) in self.sets.iter() {
            let ready = set.members.values().filter(|place| place.is_some()).count();
            if ready != set.ready.len() || (!set.receivers.is_empty() && ready > 0) {
                return Err(format!("set {id:?}: {ready} ready, {} listed, {} threads wait", set.ready.len(), set.receivers.len()));
            }
            for port in set.members.keys() {
                if !self.ports.get(port.0).is_some_and(|port| port.sets.contains(&super::port::SetId(id))) {
                    return Err(format!("set {id:?}: member {port:?} does not know it"));
                }
            }
        }
        Ok(())
    }

    fn check_lanes(&self) -> Result<(), String> {
        if !self.resumed.is_empty() || !self.effects.is_empty() || !self.rung.is_empty() {
            return Err("a transition left something behind".into());
        }
        for (id, lane) in self.lanes.iter() {
            let task = self.tasks.get(lane.task.0).ok_or_else(|| format!("lane {id:?} without a task"))?;
            if task.dying || !task.lanes.contains(&super::LaneId(id)) {
                return Err(format!("lane {id:?} of a task that does not have it"));
            }
            if let Some(Wait::Send { port, mail, .. }) = lane.pending.as_ref().map(|pending| &pending.what) {
                let queued = self.ports.get(port.0).and_then(|port| port.waiters.as_ref());
                if !queued.is_some_and(|w| w.senders.contains(&super::LaneId(id))) || self.mails.get(mail.0).is_none() {
                    return Err(format!("lane {id:?} waits to send and nobody knows"));
                }
            }
        }
        Ok(())
    }
}

fn charges_of<'a>(port: &'a Port, all: &mut Vec<&'a Charge>) {
    all.extend(port.charge.iter().chain(&port.reserve));
    if let Some(watches) = &port.watches {
        all.extend(watches.requests.values().map(|request| &request.charge));
        all.extend(watches.no_senders.iter().chain(&watches.destroyed).map(|watch| &watch.charge));
    }
}

fn count_mail(mail: &Mail, counts: &mut HashMap<PortId, Count>) {
    for right in mail.carried.iter().flat_map(rights_of).chain([&mail.dest, &mail.reply]) {
        count_right(right, counts);
    }
}

fn count_right(right: &Right, counts: &mut HashMap<PortId, Count>) {
    let Some(port) = right.port() else { return };
    let count = counts.entry(port).or_default();
    match right {
        Right::Send(_) => count.send += 1,
        Right::SendOnce(_) => count.once += 1,
        Right::Receive(_) => count.receive += 1,
        Right::Null | Right::Dead => {}
    }
}

/// In debug builds a kernel that ends takes everything apart, and proves that nothing was left behind.
impl Drop for Core {
    fn drop(&mut self) {
        if !cfg!(debug_assertions) || std::thread::panicking() {
            return;
        }
        let tasks: Vec<_> = self.tasks.iter().map(|(id, _)| super::TaskId(id)).collect();
        for task in tasks {
            self.kill_task(task);
        }
        self.do_work(usize::MAX);
        let left = [self.tasks.len(), self.lanes.len(), self.sets.len(), self.mails.len(), self.regions.len(), self.semaphores.len()];
        assert_eq!(left, [0; 6], "tasks, lanes, sets, messages, regions or semaphores are left after the last task");
        assert_eq!((self.links.len(), self.routes.len()), (0, 0), "links or routes are left after the last task");
        assert_eq!(self.file_lanes.len(), 0, "file lanes are left after the last task");
        assert_eq!(self.ports.len(), 4, "ports other than the host's and the clocks' are left after the last task");
        assert!(self.ledger.is_empty(), "charges are left after the last task");
    }
}
