//! Ends: of ports, sets, messages, regions and tasks.
//!
//! What others can see at once (the port is dead, waiting threads are told) happens at once. The rest is *work*: a list of things that
//! fall apart one piece at a time, so that the end of a task with a hundred thousand rights, or of a port whose queue holds ports whose
//! queues hold ports, neither recurses nor makes anybody wait.

use std::collections::BTreeSet;

use umach_abi::Code;

use super::Core;
use super::effect::{Effect, LaneId, LinkId, RegionId, TaskId};
use super::mail::{Carried, Mail};
use super::notify::Notice;
use super::port::{Port, PortId, PortSet, Receiver, SetId};
use super::route::RouteId;
use super::semaphore::SemaphoreId;

/// Something that is falling apart.
#[derive(Debug)]
pub(super) enum Work {
    /// A message: its rights, last first.
    Mail(Box<Mail>),
    /// A dead port: its requests, then its queue.
    Port(Box<Port>),
    /// A dead set: its members forget it.
    Set(SetId, Box<PortSet>),
    /// A queue with room again, whose armed requests have not all fired.
    Possible(PortId),
    /// A dead task's space, from this index on.
    Space(TaskId, u32),
    /// A dead task's links.
    Links(TaskId),
    /// A dead task's file lanes.
    Files(TaskId),
    /// A dead task's semaphores.
    Semaphores(BTreeSet<SemaphoreId>),
    /// A task that asked for its own end, once its request is done with.
    Terminate(TaskId),
    /// A link that is over: its routes, from the one behind this on.
    Link(LinkId, Option<RouteId>),
    /// A new trace: the routes that it covers end, from this slot on.
    Switch(u64, u32),
}

impl Core {
    /// The receive right ends. A port-destroyed request gets the right instead.
    pub(super) fn destroy_port(&mut self, id: PortId) {
        let Some(port) = self.ports.get_mut(id.0) else { return };
        if let Some(watch) = port.watches.as_mut().and_then(|watches| watches.destroyed.take()) {
            port.tidy();
            self.clear_receiver(id);
            self.ledger.release(watch.charge);
            return self.notify(watch.notify, Notice::PortDestroyed(id));
        }
        if let Receiver::Space(receiver, _) = port.receiver
            && port.plane.as_ref().is_some_and(|plane| plane.watched)
        {
            self.ring_mail(receiver);
        }
        self.leave_all_sets(id);
        let mut port = self.ports.remove(id.0).expect("just seen");
        if self.traces.is_on() {
            self.end_traces(|_, port| port == id);
        }
        if let Some(waiters) = port.waiters.take() {
            for lane in waiters.receivers {
                self.finish_receive(lane, Code::MACH_RCV_PORT_CHANGED);
            }
            for lane in waiters.senders {
                let mail = self.sent(lane);
                let mail = self.mails.remove(mail.0).expect("parked mail exists");
                self.destroy_mail(mail);
            }
        }
        port.receiver = Receiver::Transit(None);
        self.work.push_back(Work::Port(Box::new(port)));
    }

    /// A set ends; its members live on.
    pub(super) fn destroy_set(&mut self, id: SetId) {
        let Some(mut set) = self.sets.remove(id.0) else { return };
        if set.watched {
            self.ring_mail(set.owner.0);
        }
        for lane in std::mem::take(&mut set.receivers) {
            self.finish_receive(lane, Code::MACH_RCV_PORT_CHANGED);
        }
        self.work.push_back(Work::Set(id, Box::new(set)));
    }

    fn dismantle_set(&mut self, id: SetId, mut set: Box<PortSet>) {
        match set.members.pop_first() {
            Some((member, _)) => {
                if let Some(port) = self.ports.get_mut(member.0) {
                    port.sets.retain(|&other| other != id);
                    if port.routed() {
                        self.raise_member(set.owner.0, member, set.owner.1);
                    }
                }
                self.work.push_front(Work::Set(id, set));
            }
            None => self.ledger.release(set.charge),
        }
    }

    pub(super) fn leave_all_sets(&mut self, id: PortId) {
        for set in std::mem::take(&mut self.ports[id.0].sets) {
            self.left_set(id, set);
        }
    }

    /// Does at most `budget` pieces of work. The newest comes first, so that what a request set off is done before older ruins.
    pub(super) fn do_work(&mut self, budget: usize) {
        for _ in 0..budget {
            match self.work.pop_front() {
                Some(Work::Mail(mail)) => self.dismantle_mail(mail),
                Some(Work::Port(port)) => self.dismantle_port(port),
                Some(Work::Set(id, set)) => self.dismantle_set(id, set),
                Some(Work::Possible(port)) => self.fire_send_possible(port),
                Some(Work::Space(task, at)) => self.dismantle_space(task, at),
                Some(Work::Links(task)) => self.fall_links(task),
                Some(Work::Files(task)) => self.fall_file_lanes(task),
                Some(Work::Semaphores(semaphores)) => self.fall_semaphores(semaphores),
                Some(Work::Terminate(task)) => self.task_terminate(task),
                Some(Work::Link(link, after)) => self.fall_link(link, after),
                Some(Work::Switch(trace, from)) => self.switch_routes(trace, from),
                None => return,
            }
            self.resume_receives();
        }
    }

    fn dismantle_mail(&mut self, mut mail: Box<Mail>) {
        let right = match mail.carried.pop() {
            Some(Carried::Ports { mut rights, kind, at }) => {
                let right = rights.pop();
                if !rights.is_empty() {
                    mail.carried.push(Carried::Ports { rights, kind, at });
                }
                right
            }
            Some(Carried::Port { right, .. } | Carried::Guarded { right, .. } | Carried::Region(right, _)) => Some(right),
            Some(Carried::File(token)) => {
                token.into_iter().for_each(|token| self.void_file(token));
                None
            }
            Some(Carried::Bytes) => None,
            None => {
                let Mail { dest, reply, charge, .. } = *mail;
                if let Some(charge) = charge {
                    self.ledger.release(charge);
                }
                self.discard(dest);
                return self.discard(reply);
            }
        };
        self.work.push_front(Work::Mail(mail));
        if let Some(right) = right {
            self.discard(right);
        }
    }

    fn dismantle_port(&mut self, mut port: Box<Port>) {
        if let Some(route) = port.plane.as_mut().and_then(|plane| plane.routes.pop_first()) {
            self.work.push_front(Work::Port(port));
            return self.end_dead_route(route);
        }
        let watches = port.watches.as_mut();
        if let Some(((_, name), request)) = watches.and_then(|watches| watches.requests.pop_first()) {
            self.work.push_front(Work::Port(port));
            self.ledger.release(request.charge);
            return self.notify(request.notify, Notice::DeadName(name));
        }
        if let Some(watch) = port.watches.as_mut().and_then(|watches| watches.no_senders.take()) {
            self.work.push_front(Work::Port(port));
            self.ledger.release(watch.charge);
            return self.notify(watch.notify, Notice::SendOnce);
        }
        if let Some(mail) = port.queue.pop_front() {
            self.work.push_front(Work::Port(port));
            let mail = self.mails.remove(mail.0).expect("queued mail exists");
            return self.destroy_mail(mail);
        }
        for charge in [port.charge.take(), port.reserve.take()].into_iter().flatten() {
            self.ledger.release(charge);
        }
    }

    fn fall_semaphores(&mut self, mut semaphores: BTreeSet<SemaphoreId>) {
        if let Some(semaphore) = semaphores.pop_first() {
            self.end_semaphore(semaphore);
            self.work.push_front(Work::Semaphores(semaphores));
        }
    }

    fn dismantle_space(&mut self, id: TaskId, at: u32) {
        let (names, next) = self.tasks[id.0].space.page(at, 1);
        if let Some(next) = next {
            self.work.push_back(Work::Space(id, next));
        }
        if let Some(&name) = names.first() {
            if next.is_none() {
                self.work.push_back(Work::Space(id, name.index() + 1));
            }
            return self.destroy_entry(id, name);
        }
        if next.is_some() {
            return;
        }
        let task = &mut self.tasks[id.0];
        let held = std::mem::take(&mut task.registered).into_iter().chain([task.bootstrap.take()]).flatten();
        let handlers = task.exceptions.take().into_iter().flat_map(|handlers| handlers.into_iter().filter_map(|handler| handler.port));
        for port in held.chain(handlers).collect::<Vec<_>>() {
            self.release_send(port);
        }
        let task = self.tasks.remove(id.0).expect("a dying task is there until its space is empty");
        self.ledger.release(task.names);
        self.ledger.close(task.account);
        self.effects.push(Effect::TaskGone(id));
    }

    /// A task ends: its lanes close and whoever holds its control right is told at once; its rights follow as work.
    pub(super) fn kill_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id.0).filter(|task| !task.dying) else { return };
        task.dying = true;
        task.plane.notes.clear();
        self.living -= 1;
        if self.traces.is_on() {
            self.trace_death(id);
        }
        let task = &mut self.tasks[id.0];
        let (lanes, drafts) = (std::mem::take(&mut task.lanes), std::mem::take(&mut task.drafts));
        let own = [task.control, task.name_port];
        let semaphores = std::mem::take(&mut task.semaphores);
        // Threads of it that sleep on the attention page are woken, and find that its lanes are closed.
        let plane = &task.plane;
        let woken = Effect::Attention { task: id, control: plane.control.wrapping_add(1), mail: plane.mail.wrapping_add(1) };
        let woken = plane.page.then_some(woken);
        for lane in lanes {
            self.close_lane(lane);
        }
        self.effects.extend(woken);
        for region in drafts {
            self.drop_region(region);
        }
        for port in own {
            self.destroy_port(port);
        }
        self.drop_alarms(id);
        self.work.push_back(Work::Semaphores(semaphores));
        self.work.push_back(Work::Links(id));
        self.work.push_back(Work::Files(id));
        self.work.push_back(Work::Space(id, 0));
    }

    /// Closes a lane; a request blocked in it is abandoned.
    pub(super) fn close_lane(&mut self, id: LaneId) {
        if self.lanes.get(id.0).is_none() {
            return;
        }
        self.abandon(id);
        let lane = self.lanes.remove(id.0).expect("just seen");
        self.resumed.retain(|(other, _)| *other != id);
        self.files_read(lane.files);
        self.ledger.release(lane.charge);
        if let Some(memory) = lane.memory {
            self.ledger.release(memory);
        }
        if let Some(task) = self.tasks.get_mut(lane.task.0) {
            task.lanes.retain(|&other| other != id);
        }
        self.effects.push(Effect::CloseLane(id));
    }

    /// Nobody can name the region any more.
    pub(super) fn drop_region(&mut self, id: RegionId) {
        let Some(region) = self.regions.remove(id.0) else { return };
        self.ledger.release(region.count);
        self.ledger.release(region.bytes);
        if let Some(port) = region.port {
            self.destroy_port(port);
        }
        self.effects.push(Effect::DropRegion(id));
    }

    /// Lets receives begin whose send was blocked and is done.
    pub(super) fn resume_receives(&mut self) {
        while let Some((lane, want)) = self.resumed.pop_front() {
            self.begin_receive(lane, want);
        }
    }
}
