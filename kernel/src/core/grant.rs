//! When a route is granted, and the modes that decide it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use umach_abi::Name;
use umach_abi::TypeBits;
use umach_abi::records::undelivered;

use super::Core;
use super::effect::TaskId;
use super::event::Note;
use super::port::{PortId, Receiver};
use super::route::{Route, RouteId, State};

/// Senders whose messages to one port are counted.
const COUNTED: usize = 16;

/// When tasks are let send to each other directly. Only those that can (`Features::DIRECT_PLANE`) ever are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    /// Never.
    Off,
    /// After so many messages of one task to one port. The default, after four.
    Auto {
        /// Messages.
        after: u32,
    },
    /// After the first message.
    Always,
    /// By chance, and it ends by chance: for tests.
    Random {
        /// What chance starts from.
        seed: u64,
    },
}

impl Default for Direct {
    fn default() -> Direct {
        Direct::Auto { after: 4 }
    }
}

impl Direct {
    /// The variable that says so if nothing else does.
    pub const VARIABLE: &'static str = "UMACH_DIRECT";

    /// What the environment says, or the default.
    pub fn from_environment() -> Result<Direct, String> {
        match std::env::var(Direct::VARIABLE) {
            Ok(text) if !text.is_empty() => text.parse().map_err(|why| format!("{}={text}: {why}", Direct::VARIABLE)),
            _ => Ok(Direct::default()),
        }
    }
}

impl FromStr for Direct {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Direct, Self::Err> {
        match text {
            "off" => Ok(Direct::Off),
            "auto" => Ok(Direct::default()),
            "always" => Ok(Direct::Always),
            "random" => Ok(Direct::Random { seed: 1 }),
            _ => match text.strip_prefix("random:").map(str::parse) {
                Some(Ok(seed)) => Ok(Direct::Random { seed }),
                _ => Err("give off, auto, always, or random:SEED"),
            },
        }
    }
}

impl fmt::Display for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Direct::Off => f.write_str("off"),
            Direct::Auto { .. } => f.write_str("auto"),
            Direct::Always => f.write_str("always"),
            Direct::Random { seed } => write!(f, "random:{seed}"),
        }
    }
}

impl Core {
    /// xorshift64*: chance enough for a test mode.
    fn chance(&mut self) -> u64 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// A task has sent a message with a copy of the right `name`: perhaps it may do so without the kernel from now on.
    pub(super) fn consider_route(&mut self, from: TaskId, name: Name) {
        if self.config.direct == Direct::Off || !self.tasks[from.0].plane.agreed {
            return;
        }
        let entry = self.tasks[from.0].space.get(name).filter(|entry| entry.has(TypeBits::SEND));
        let Some(id) = entry.and_then(|entry| entry.port()) else { return };
        let Some(port) = self.ports.get(id.0) else { return };
        let Receiver::Space(to, _) = port.receiver else { return };
        let receiver = &self.tasks[to.0];
        if to == from || !receiver.plane.agreed || receiver.dying || receiver.suspended > 0 || port.qlimit == 0 {
            return;
        }
        let recalled_at = port.plane.as_ref().map_or(0, |plane| plane.recalled_at);
        let pinned = |set: &super::port::SetId| self.sets.get(set.0).is_some_and(|set| set.pinned_at > recalled_at);
        if !port.pinned && !port.sets.iter().any(pinned) {
            return;
        }
        if self.traces.is_on() && self.traces.switch(from, to, id) {
            return;
        }
        if port.plane.as_ref().is_some_and(|plane| plane.barrier > 0 || plane.live.contains_key(&from)) || !self.is_due(from, id) {
            return;
        }
        let Some(link) = self.link_between(from, to) else { return };
        let entry = &mut self.links[link.0];
        let side = entry.side_of(from).expect("the link is between them");
        let Some(index) = entry.indices[side].take() else { return };
        entry.idle = [false; 2];
        let route = RouteId(self.routes.insert(Route {
            link,
            side,
            from,
            to,
            index,
            port: id,
            name,
            local: Name::NULL,
            credit: 0,
            context: 0,
            state: State::Offered,
            opens_at: None,
            in_pulled: false,
            end_noted: false,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            back: 0,
            aside: Vec::new(),
            again: 0,
            room_noted: false,
            before: 0,
            doubts: Vec::new(),
        }));
        let entry = &mut self.links[link.0];
        entry.routes.insert(route);
        entry.unclosed += 1;
        let plane = self.ports[id.0].plane();
        plane.routes.insert(route);
        plane.live.insert(from, route);
        plane.recalled_at = 0;
        plane.counts.retain(|&(task, _)| task != from);
        self.tell_link(link, side);
        self.raise(from, Note::Out(route));
    }

    fn is_due(&mut self, from: TaskId, port: PortId) -> bool {
        let after = match self.config.direct {
            Direct::Off => return false,
            Direct::Always => return true,
            Direct::Random { .. } => return self.chance() & 1 == 0,
            Direct::Auto { after } => after,
        };
        let counts = &mut self.ports[port.0].plane().counts;
        let count = match counts.iter_mut().find(|(task, _)| *task == from) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                if counts.len() == COUNTED {
                    counts.remove(0);
                }
                counts.push((from, 1));
                1
            }
        };
        count >= after
    }

    /// In random mode: perhaps one of the caller's routes ends now, or it is asked whether a link of its is idle.
    pub(super) fn perhaps_end(&mut self, task: TaskId) {
        if !matches!(self.config.direct, Direct::Random { .. }) || self.chance() & 15 != 0 {
            return;
        }
        let links = &self.tasks[task.0].plane.links;
        if links.is_empty() {
            return;
        }
        let which = self.chance() as usize;
        let links = &self.tasks[task.0].plane.links;
        let link = *links.values().nth(which % links.len()).expect("a link of that many");
        if which & 0x300 == 0 {
            return self.ask_idle(link, self.links[link.0].side_of(task).expect("its own"));
        }
        let live = |route: &RouteId| self.routes[route.0].state == State::Live;
        let routes: Vec<RouteId> = self.links[link.0].routes.iter().copied().filter(live).collect();
        if !routes.is_empty() {
            let what = if self.chance() & 1 == 0 { undelivered::KEEP } else { undelivered::RETURN };
            let route = routes[which / 7 % routes.len()];
            self.end_route(route, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_read_as_it_is_written() {
        for text in ["off", "auto", "always", "random:7"] {
            assert_eq!(text.parse::<Direct>().unwrap().to_string(), text);
        }
        assert_eq!("auto".parse(), Ok(Direct::default()));
        for wrong in ["", "on", "random:", "random:x", "Auto"] {
            assert!(wrong.parse::<Direct>().is_err(), "{wrong} was taken");
        }
    }
}
