//! What must always hold for links and routes.

use super::Core;
use super::port::{PortId, Receiver};
use super::route::{RouteId, State};
use super::task::Wait;

impl Core {
    /// Checks that links, routes, ports and tasks agree about each other.
    pub(super) fn check_plane(&self) -> Result<(), String> {
        self.check_links()?;
        self.check_routes()?;
        for (id, port) in self.ports.iter() {
            self.check_port_plane(PortId(id))?;
            if port.plane.as_ref().is_some_and(|plane| plane.place > port.queue.len() && plane.barrier > 0) {
                return Err(format!("port {id:?}: returned messages would go behind its queue"));
            }
        }
        for (id, set) in self.sets.iter() {
            let routed = set.members.keys().filter(|port| self.ports[port.0].routed()).count();
            if routed != set.routed as usize {
                return Err(format!("set {id:?}: {routed} members have routes, it counts {}", set.routed));
            }
        }
        for (id, task) in self.tasks.iter() {
            let plane = &task.plane;
            if plane.rung || plane.control_rung || plane.mail_rung {
                return Err(format!("task {id:?}: its attention was not settled"));
            }
            if !task.dying && !plane.notes.is_empty() && !plane.waiting.is_empty() {
                return Err(format!("task {id:?}: threads wait for events that are there"));
            }
            for lane in &plane.waiting {
                let waits = self.lanes.get(lane.0).and_then(|lane| lane.pending.as_ref());
                if !waits.is_some_and(|pending| matches!(pending.what, Wait::Events { .. })) {
                    return Err(format!("task {id:?}: {lane:?} does not wait for events"));
                }
            }
            for lane in &plane.polling {
                let seen = match self.lanes.get(lane.0).and_then(|lane| lane.pending.as_ref()).map(|pending| &pending.what) {
                    Some(Wait::Poll { seen }) => *seen,
                    _ => return Err(format!("task {id:?}: {lane:?} does not poll")),
                };
                if !task.dying && (seen != plane.arrivals || !plane.notes.is_empty()) {
                    return Err(format!("task {id:?}: {lane:?} polls although there is something to do"));
                }
            }
            for (other, link) in &plane.links {
                let tasks = self.links.get(link.0).map(|link| link.tasks);
                let own = super::TaskId(id);
                if tasks != Some([own, *other]) && tasks != Some([*other, own]) {
                    return Err(format!("task {id:?}: {link:?} is not its link to {other:?}"));
                }
            }
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), String> {
        for (id, link) in self.links.iter() {
            let (mut live, mut tickets, mut used, mut unclosed) = ([0; 2], 0, [0; 2], 0);
            for route in &link.routes {
                let route = self.routes.get(route.0).ok_or_else(|| format!("link {id:?}: a route that does not exist"))?;
                if route.link.0 != id {
                    return Err(format!("link {id:?}: a route of another"));
                }
                live[route.side] += u32::from(route.state == State::Live);
                used[route.side] += 1;
                unclosed += u32::from(!matches!(route.state, State::Closed { .. }));
                tickets += route.tickets.len() as u32;
            }
            if (live, tickets, used) != (link.live, link.tickets, [link.indices[0].used(), link.indices[1].used()]) {
                return Err(format!(
                    "link {id:?}: counts {:?} live, {} tickets, there are {live:?} and {tickets}",
                    link.live, link.tickets
                ));
            }
            if unclosed != link.unclosed {
                return Err(format!("link {id:?}: counts {} routes not closed, there are {unclosed}", link.unclosed));
            }
            if link.announced && !(link.down.is_some() && link.fallen && unclosed == 0) {
                return Err(format!("link {id:?}: its end was told too early"));
            }
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), String> {
        for (id, route) in self.routes.iter() {
            let id = RouteId(id);
            let wrong = |what: &str| Err(format!("{id:?} ({:?}): {what}", route.state));
            if !self.links.get(route.link.0).is_some_and(|link| link.routes.contains(&id)) {
                return wrong("its link does not know it");
            }
            let orphaned = self.is_orphaned(id);
            if matches!(route.state, State::Closed { .. }) && self.alive(route.port) && !orphaned && !route.tickets.is_empty() {
                return wrong("it is closed, and its tickets are not mail");
            }
            if !route.aside.is_empty() && !orphaned && self.alive(route.port) && self.living(route.from) {
                return wrong("mail is set aside for nothing");
            }
            if route.tickets.values().any(|mail| self.mails.get(mail.0).is_none()) {
                return wrong("a ticket without mail");
            }
            let Some(port) = self.ports.get(route.port.0) else { continue };
            let Some(plane) = &port.plane else { return wrong("its port has no routes") };
            if !plane.routes.contains(&id) {
                return wrong("its port does not know it");
            }
            let goes = matches!(route.state, State::Offered | State::Live);
            if goes != (plane.live.get(&route.from) == Some(&id)) {
                return wrong("its port is mistaken about whether it has ended");
            }
            if orphaned != (plane.orphans.get(&route.from) == Some(&id)) && self.living(route.from) {
                return wrong("its port is mistaken about whether it is orphaned");
            }
            if goes && !matches!(port.receiver, Receiver::Space(task, _) if task == route.to) {
                return wrong("its port is elsewhere");
            }
            let sends = |task: &super::task::Task| {
                let entry = task.space.get(route.name);
                entry.is_some_and(|entry| entry.port() == Some(route.port) && entry.has(umach_abi::TypeBits::SEND))
            };
            if goes && !self.tasks.get(route.from.0).is_some_and(sends) {
                return wrong("its sender has no right");
            }
            if route.opens_at.is_some_and(|mail| self.mails.get(mail.0).is_none() || !plane.held.contains(&(mail, id))) {
                return wrong("waits for mail that is not there");
            }
        }
        Ok(())
    }

    fn check_port_plane(&self, id: PortId) -> Result<(), String> {
        let Some(plane) = &self.ports[id.0].plane else { return Ok(()) };
        let states = || plane.routes.iter().filter_map(|route| self.routes.get(route.0).map(|route| route.state));
        let live = states().filter(|state| *state == State::Live).count();
        let ended = states().filter(|state| matches!(state, State::Ended(_))).count();
        if states().count() != plane.routes.len() || (live, ended) != (plane.announced as usize, plane.barrier as usize) {
            return Err(format!(
                "{id:?}: counts {} live and {} ended routes, there are {live} and {ended}",
                plane.announced, plane.barrier
            ));
        }
        if plane.held.iter().any(|(_, route)| self.routes.get(route.0).is_none_or(|route| route.state != State::Live)) {
            return Err(format!("{id:?}: holds back a route that is not live"));
        }
        Ok(())
    }
}
