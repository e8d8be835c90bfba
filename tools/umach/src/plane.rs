//! A look at the direct plane: the links between tasks, the routes over them, and what both sides of each link say.
//!
//! The kernel process tells who is linked with whom and which routes there are. How much is on its way, and what was counted, stands in the memory
//! of each link: the word of its two tasks, shown as such. A link that ends meanwhile has no memory to show, and that is no error.

use std::fs;

use anyhow::Result;
use libtask::{HostControl, LinkSide, LinkSnapshot};
use serde::Serialize;
use umach_abi::Code;
use umach_abi::link::{bell, counter};
use umach_abi::records::{FileLaneRow, LinkRow, RouteRow};
use umach_kernel::core::Direct;

use crate::ids::RouteNumber;

/// Links and routes as they were.
pub(crate) struct Plane {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<RouteRow>,
    pub(crate) file_lanes: Vec<FileLaneRow>,
}

/// A link, and what its tasks say.
pub(crate) struct Link {
    pub(crate) row: LinkRow,
    snapshot: Option<LinkSnapshot>,
}

/// What one side of a link counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) by_ticket: u64,
    pub(crate) bells: u64,
    pub(crate) sleeps: u64,
    pub(crate) spins: u64,
    pub(crate) no_credit: u64,
    pub(crate) no_space: u64,
    pub(crate) kernel_plane: u64,
    pub(crate) leases: u64,
    pub(crate) lent_bytes: u64,
    pub(crate) leases_back: u64,
}

impl Plane {
    /// Asks the kernel process.
    pub(crate) fn list(host: &HostControl) -> Result<Plane> {
        let mut links: Vec<Link> = host.links()?.into_iter().map(|row| Link { row, snapshot: None }).collect();
        links.sort_by_key(|link| link.row.link);
        let mut routes = host.routes()?;
        routes.sort_by_key(|route| (route.port, route.sender, route.route));
        let mut file_lanes = host.file_lanes()?;
        file_lanes.sort_by_key(|lane| lane.lane);
        Ok(Plane { links, routes, file_lanes })
    }
    /// Looks into each link too.
    pub(crate) fn look(host: &HostControl) -> Result<Plane> {
        let mut plane = Plane::list(host)?;
        for link in &mut plane.links {
            link.snapshot = match host.link_snapshot(link.row.link) {
                Ok(snapshot) => Some(snapshot),
                Err(error) if error.code() == Code::KERN_NOT_FOUND => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(plane)
    }
    fn link(&self, id: u64) -> Option<&Link> {
        self.links.iter().find(|link| link.row.link == id)
    }
    /// Open files on their way between two tasks; nothing if there is no lane for them.
    pub(crate) fn files_between(&self, sender: u64, receiver: u64) -> Option<u32> {
        let lanes = self.file_lanes.iter().filter(|lane| (lane.sender, lane.receiver) == (sender, receiver));
        lanes.map(|lane| lane.queued + lane.void).reduce(|one, other| one + other)
    }
    /// How many links a task has.
    pub(crate) fn links_of(&self, task: u64) -> usize {
        self.links.iter().filter(|link| link.tasks().contains(&task)).count()
    }
    /// Whether a thread of the task sleeps until something comes over a link (or from the kernel process, which does not see it wait).
    pub(crate) fn sleeps(&self, task: u64) -> bool {
        let sides = self.links.iter().flat_map(|link| [0, 1].map(|half| (link.tasks()[half], link.side(half))));
        sides.into_iter().any(|(of, side)| of == task && side.is_some_and(|side| side.bell == bell::FUTEX))
    }
    /// The routes to a port.
    pub(crate) fn routes_to(&self, port: u64) -> impl Iterator<Item = &RouteRow> {
        self.routes.iter().filter(move |route| route.port == port)
    }
    /// The route that what is sent to a right takes.
    pub(crate) fn route_of(&self, task: u64, name: u32, port: u64) -> Option<&RouteRow> {
        self.routes.iter().find(|route| (route.sender, route.name.0, route.port) == (task, name, port) && route.state < ENDED)
    }
    /// Messages of a route that are in the ring: sent, and not taken out by the receiver. `None` if that cannot be seen.
    pub(crate) fn in_ring(&self, route: &RouteRow) -> Option<u32> {
        let ring = self.sender_of(route)?.in_ring.as_ref()?;
        Some(ring.get(&route.index).copied().unwrap_or(0))
    }
    /// Messages of a route that are sent and not received, wherever they are.
    pub(crate) fn ahead(&self, route: &RouteRow) -> Option<u32> {
        let link = self.link(route.link)?;
        link.snapshot.as_ref()?.ahead(usize::from(link.row.second == route.sender), route.index)
    }
    /// Messages of a route that were received, ever, modulo 2^32.
    pub(crate) fn delivered(&self, route: &RouteRow) -> Option<u32> {
        let link = self.link(route.link)?;
        Some(link.snapshot.as_ref()?.delivered(usize::from(link.row.second == route.sender), route.index))
    }
    /// Whether the sender waits until the receiver has taken something: it is as far ahead as it may be, or the ring is full.
    pub(crate) fn waits(&self, route: &RouteRow) -> Option<&'static str> {
        let side = self.sender_of(route)?;
        match () {
            () if side.wants_credit(route.index) => Some("credit"),
            () if side.wants_space => Some("space"),
            () => None,
        }
    }
    fn sender_of(&self, route: &RouteRow) -> Option<&LinkSide> {
        let link = self.link(route.link)?;
        link.side(usize::from(link.row.second == route.sender))
    }
    /// What all sides of all links counted.
    pub(crate) fn total(&self) -> Counts {
        let sides = self.links.iter().flat_map(|link| [0, 1].map(|half| link.side(half).map(Counts::new)));
        sides.flatten().fold(Counts::default(), |sum, side| Counts {
            messages: sum.messages.saturating_add(side.messages),
            bytes: sum.bytes.saturating_add(side.bytes),
            by_ticket: sum.by_ticket.saturating_add(side.by_ticket),
            bells: sum.bells.saturating_add(side.bells),
            sleeps: sum.sleeps.saturating_add(side.sleeps),
            spins: sum.spins.saturating_add(side.spins),
            no_credit: sum.no_credit.saturating_add(side.no_credit),
            no_space: sum.no_space.saturating_add(side.no_space),
            kernel_plane: sum.kernel_plane.saturating_add(side.kernel_plane),
            leases: sum.leases.saturating_add(side.leases),
            lent_bytes: sum.lent_bytes.saturating_add(side.lent_bytes),
            leases_back: sum.leases_back.saturating_add(side.leases_back),
        })
    }
}

impl Link {
    /// Its tasks, the one that writes the first half first.
    pub(crate) fn tasks(&self) -> [u64; 2] {
        [self.row.first, self.row.second]
    }
    /// Live routes out of each half's task.
    pub(crate) fn routes_out(&self) -> [u32; 2] {
        [self.row.forth, self.row.back]
    }
    /// What each half's task lends from: how many arenas, and how many bytes they have.
    pub(crate) fn arenas(&self) -> [(u32, u64); 2] {
        [(self.row.arenas_first, self.row.arena_bytes_first), (self.row.arenas_second, self.row.arena_bytes_second)]
    }
    /// What the task of a half says.
    pub(crate) fn side(&self, half: usize) -> Option<&LinkSide> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.sides[half])
    }
}

impl Counts {
    pub(crate) fn new(side: &LinkSide) -> Counts {
        let at = |counter: usize| side.counters[counter];
        Counts {
            messages: at(counter::MESSAGES),
            bytes: at(counter::BYTES),
            by_ticket: at(counter::TICKETS),
            bells: at(counter::BELLS),
            sleeps: at(counter::SLEEPS),
            spins: at(counter::SPUN),
            no_credit: at(counter::NO_CREDIT),
            no_space: at(counter::NO_SPACE),
            kernel_plane: at(counter::KERNEL_PLANE),
            leases: at(counter::LEASES),
            lent_bytes: at(counter::LENT_BYTES),
            leases_back: at(counter::LEASES_BACK),
        }
    }
}

/// State of a route that is over but for the messages on their way.
const ENDED: u32 = 2;

/// A word for the state of a route.
pub(crate) fn state_of_route(route: &RouteRow) -> &'static str {
    match route.state {
        0 => "live",
        1 => "behind-mail",
        ENDED => "ended",
        3 => "closed",
        _ => "unknown",
    }
}

/// A word for what a task does about a link: `sleeps` until its bell is rung; is `away`, looking at others, and told by the kernel process; or `awake`.
pub(crate) fn state_of_side(side: &LinkSide) -> &'static str {
    match side.bell {
        bell::NONE => "awake",
        bell::FUTEX => "sleeps",
        bell::KERNEL => "away",
        _ => "unknown",
    }
}

/// `R3`, with its state if that is out of the ordinary.
pub(crate) fn written(route: &RouteRow) -> String {
    match state_of_route(route) {
        "live" => RouteNumber(route.route).to_string(),
        state => format!("{} {state}", RouteNumber(route.route)),
    }
}

/// When the kernel process of this number lets tasks send to each other directly, as far as can be seen: its command line and environment say it, and
/// are shown to its own user and to root.
pub(crate) fn mode_of(pid: u32) -> Result<Direct, String> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        let bytes = fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok::<_, String>(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>())
    };
    let (arguments, environment) = (read("cmdline")?, read("environ")?);
    mode_from(&arguments, &environment).map_err(str::to_owned)
}

fn mode_from(arguments: &[String], environment: &[String]) -> Result<Direct, &'static str> {
    let option = arguments.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--direct") {
        Some("") => arguments.get(at + 1).map(String::as_str),
        Some(value) => value.strip_prefix('='),
        None => None,
    });
    let variable =
        || environment.iter().find_map(|word| word.strip_prefix(Direct::VARIABLE)?.strip_prefix('=')).filter(|text| !text.is_empty());
    option.or_else(variable).map_or(Ok(Direct::default()), str::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_the_options_then_the_variables_then_the_default() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mode = |arguments: &str, environment: &str| mode_from(&words(arguments), &words(environment));
        assert_eq!(mode("umachd --direct always --label x", "UMACH_DIRECT=off"), Ok(Direct::Always));
        assert_eq!(mode("umach kernel --direct=random:7", ""), Ok(Direct::Random { seed: 7 }));
        assert_eq!(mode("umach kernel", "A=1 UMACH_DIRECT=off B=2"), Ok(Direct::Off));
        assert_eq!(mode("umach kernel", "UMACH_DIRECT= UMACH_DIRECTION=always"), Ok(Direct::default()));
        assert!(mode("umach kernel", "UMACH_DIRECT=sometimes").is_err());
    }
}
