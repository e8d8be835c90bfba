//! A live trace: entries as the kernel process tells of them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libtask::{HostControl, Task, TraceBatch, TraceFilter, Tracer};
use umach_abi::Code;
use umach_describe::Description;
use umach_describe::interface::base_of;
use umach_name_api::Names;

use super::book::ids_of;
use super::entry::{Entry, Link};
use super::filter::What;
use crate::exit::complain;
use crate::plane::{Counts, Plane};
use crate::programs::programs_of;
use crate::system::name_server;
use crate::view::View;

/// Bytes of each body that are traced. Longer ones are told of by their beginning.
const PREVIEW: u32 = 4096;
/// Until the routes of what is traced are expected to have ended.
const SWITCH: Duration = Duration::from_secs(1);

/// What is to be traced.
pub(crate) struct Wish<'a> {
    pub(crate) what: &'a [What],
    pub(crate) interface: Option<&'a str>,
    /// Also what rights in messages lead to.
    pub(crate) follow: bool,
    /// What goes over links may do so.
    pub(crate) keep_routes: bool,
    /// Also of ports that nobody asked for it is told under which names they are known.
    pub(crate) with_names: bool,
}

/// A trace that is on.
pub(crate) struct Live {
    host: HostControl,
    tracer: Tracer,
    /// Nanoseconds of the monotonic clock when it began.
    began: u64,
    pending: VecDeque<Entry>,
    programs: Programs,
    lost: u64,
    messages: u64,
    /// What links had counted, if they go on.
    links: Option<Vec<Link>>,
}

impl Live {
    /// Begins one, and waits until what is wanted goes through the kernel process.
    pub(crate) fn begin(task: &Task, wish: &Wish<'_>) -> Result<Live> {
        let &Wish { what, interface, follow, keep_routes, with_names } = wish;
        let host = task.host_control().context(NEEDS)?;
        let mut filter = TraceFilter { preview: PREVIEW, keep_routes, follow, ..TraceFilter::default() };
        let mut pending = VecDeque::new();
        let mut programs = Programs::default();
        if let Some(name) = interface {
            // Whoever describes it says its numbers; else they are those that its name makes.
            let mut base = base_of(name);
            for row in host.tasks()? {
                programs.look(row.task, row.pid, &mut pending);
            }
            for entry in &pending {
                if let Entry::Interface { description } = entry
                    && description.name == name
                {
                    base = description.base;
                }
            }
            let known: BTreeSet<&str> = pending.iter().filter_map(interface_of).collect();
            if !known.contains(name) {
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                complain(&format!("no program here describes an interface {name:?} (they describe: {known})"));
            }
            filter.ids = ids_of(base);
        }
        if with_names {
            pending.extend(names_of_ports(task));
        }
        let mut found = Vec::new();
        for one in what {
            match one {
                What::Port(port) => filter.ports.push(*port),
                What::Who(who) => found.push(*who),
                What::Name(name) => {
                    let port = port_of(task, name)?;
                    filter.ports.push(port);
                    pending.push_back(Entry::Port { port, name: name.clone() });
                }
            }
        }
        if !found.is_empty() {
            let view = View::with(task)?;
            for who in found {
                filter.tasks.extend(view.find(who)?.iter().map(|task| task.row.task));
            }
        }
        check_ports(&host, &filter)?;
        let links = keep_routes.then(|| counted(&host)).transpose()?;
        let began = now();
        let tracer = host.trace(&filter).map_err(|error| match error.code() {
            Code::KERN_RESOURCE_SHORTAGE => {
                anyhow::Error::from(error).context("as many traces as there can be are on already; end one of them")
            }
            Code::KERN_INVALID_HOST => anyhow::Error::from(error).context(NEEDS),
            _ => error.into(),
        })?;
        if !keep_routes {
            await_switch(&host, &filter)?;
        }
        Ok(Live { host, tracer, began, pending, programs, lost: 0, messages: 0, links })
    }

    /// What happened next, or nothing within this time.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Entry>> {
        if self.pending.is_empty()
            && let Some(batch) = self.tracer.next(timeout)?
        {
            self.take(batch);
        }
        Ok(self.pending.pop_front())
    }

    fn take(&mut self, batch: TraceBatch) {
        let new = batch.lost.saturating_sub(self.lost);
        self.lost = self.lost.max(batch.lost);
        let began = self.began;
        let entries = batch.records.into_iter().filter_map(|record| Entry::from_record(record, began));
        for entry in entries {
            self.messages += u64::from(matches!(entry, Entry::Sent(_)));
            if let Entry::Task(task) = &entry {
                self.programs.look(task.task, task.pid, &mut self.pending);
            }
            self.pending.push_back(entry);
        }
        // They were missed behind what this batch has, as far as can be told.
        self.pending.extend((new > 0).then_some(Entry::Lost { records: new }));
    }

    /// Ends the trace: what had not been read, and how it ended.
    pub(crate) fn end(mut self) -> Result<Vec<Entry>> {
        let after = self.links.take().map(|before| Ok::<_, anyhow::Error>((before, counted(&self.host)?))).transpose()?;
        let Live { tracer, began, pending, mut programs, lost, messages, host, .. } = self;
        let mut rest = remains(pending, &mut programs, lost, messages, began, tracer.end()?);
        if let Some((before, after)) = after {
            let end = rest.pop();
            let moved: Vec<Link> = after.into_iter().filter_map(|link| since(&before, link)).collect();
            let tasks: BTreeSet<u64> = moved.iter().flat_map(|link| [link.from, link.to]).collect();
            rest.extend(tasks.into_iter().filter_map(|task| introduce(&host, task)));
            rest.extend(moved.into_iter().map(Entry::Link));
            rest.extend(end);
        }
        Ok(rest)
    }
}

/// What had not been read when the trace ended.
fn remains(mut rest: VecDeque<Entry>, programs: &mut Programs, lost: u64, mut messages: u64, began: u64, batch: TraceBatch) -> Vec<Entry> {
    let new = batch.lost.saturating_sub(lost);
    for entry in batch.records.into_iter().filter_map(|record| Entry::from_record(record, began)) {
        messages += u64::from(matches!(entry, Entry::Sent(_)));
        if let Entry::Task(task) = &entry {
            programs.look(task.task, task.pid, &mut rest);
        }
        rest.push_back(entry);
    }
    rest.extend((new > 0).then_some(Entry::Lost { records: new }));
    rest.push_back(Entry::End { messages, lost: lost + new });
    rest.into()
}

/// The programs of tasks that were looked through for descriptions.
#[derive(Debug, Default)]
struct Programs {
    /// By device, inode and age: which interfaces are in there.
    seen: HashMap<(u64, u64, i64), Vec<usize>>,
    interfaces: Vec<Description>,
    tasks: BTreeSet<u64>,
}

impl Programs {
    /// Looks through the program of a task and the libraries that it has loaded, once. What cannot be read (another user's, or gone already) is left out.
    fn look(&mut self, task: u64, pid: u32, out: &mut VecDeque<Entry>) {
        if pid == 0 || !self.tasks.insert(task) {
            return;
        }
        let mut speaks = BTreeSet::new();
        for program in programs_of(pid).unwrap_or_default() {
            let id = program.id;
            if !self.seen.contains_key(&id) {
                let found = program.interfaces().unwrap_or_default();
                let numbers = found.into_iter().map(|found| self.number(found, out)).collect();
                self.seen.insert(id, numbers);
            }
            speaks.extend(&self.seen[&id]);
        }
        if !speaks.is_empty() {
            out.push_back(Entry::Speaks { task, interfaces: speaks.into_iter().collect() });
        }
    }
    /// Under which number an interface is known, from now on at least.
    fn number(&mut self, found: Description, out: &mut VecDeque<Entry>) -> usize {
        self.interfaces.iter().position(|known| *known == found).unwrap_or_else(|| {
            self.interfaces.push(found.clone());
            out.push_back(Entry::Interface { description: Box::new(found) });
            self.interfaces.len() - 1
        })
    }
}

/// Who may trace.
const NEEDS: &str = "tracing takes the host's control right, which the kernel's own user and root get: a task cannot spy";

/// Nanoseconds of the clock that records have.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The port behind a service's name.
fn port_of(task: &Task, name: &str) -> Result<u64> {
    let right = Names::at(name_server(task)?).look_up(name).with_context(|| format!("look up {name}"))?;
    let rows = task.control()?.space()?;
    let row = rows.iter().find(|row| row.name == right.name());
    row.map(|row| row.object).with_context(|| format!("the port of {name} died just now"))
}

fn interface_of(entry: &Entry) -> Option<&str> {
    if let Entry::Interface { description } = entry { Some(&description.name) } else { None }
}

/// The ports behind all names that there are. Without a name server there are none.
fn names_of_ports(task: &Task) -> Vec<Entry> {
    let Ok(names) = name_server(task).map(Names::at) else { return Vec::new() };
    let listed = names.list().unwrap_or_default();
    // One may have vanished, or be kept from us.
    let found = |entry: umach_name_api::Entry| Some(Entry::Port { port: port_of(task, &entry.name).ok()?, name: entry.name });
    listed.into_iter().filter_map(found).collect()
}

fn check_ports(host: &HostControl, filter: &TraceFilter) -> Result<()> {
    if filter.ports.is_empty() {
        return Ok(());
    }
    let ports = host.ports()?;
    for port in &filter.ports {
        if !ports.iter().any(|row| row.object == *port) {
            bail!("no port {} (umach ports lists them)", crate::ids::PortNumber(*port));
        }
    }
    Ok(())
}

/// Waits until no message that is wanted goes over a link any more: the kernel process has ended the routes, and their receivers have still to close them.
/// One that does not look is not waited for.
fn await_switch(host: &HostControl, filter: &TraceFilter) -> Result<()> {
    let until = Instant::now() + SWITCH;
    let all = filter.tasks.is_empty() && filter.ports.is_empty();
    // A closed one has nothing on its way, whether or not its sender has been told.
    const CLOSED: u32 = 3;
    while Instant::now() < until {
        let mut routes = host.routes()?;
        routes.retain(|route| route.state != CLOSED);
        if routes.is_empty() {
            return Ok(());
        }
        let receivers = host.ports()?;
        let receives = |port: u64| receivers.iter().any(|row| row.object == port && filter.tasks.contains(&row.receiver));
        let wanted = |route: &libtask::RouteRow| {
            all || filter.ports.contains(&route.port) || filter.tasks.contains(&route.sender) || receives(route.port)
        };
        if !routes.iter().any(wanted) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Who a task is, if it is still there.
fn introduce(host: &HostControl, task: u64) -> Option<Entry> {
    let control = host.task(task).ok()?;
    let (row, label) = (control.info().ok()?, control.label().ok()?);
    Some(Entry::Task(super::entry::Task { task, label, pid: row.pid, uid: row.uid, parent: row.parent }))
}

/// What each side of each link has counted.
fn counted(host: &HostControl) -> Result<Vec<Link>> {
    let plane = Plane::look(host)?;
    let mut all = Vec::new();
    for link in &plane.links {
        for half in [0, 1] {
            let counts = link.side(half).map(Counts::new).unwrap_or_default();
            let (from, to) = (link.tasks()[half], link.tasks()[1 - half]);
            let Counts { messages, bytes, by_ticket, .. } = counts;
            all.push(Link { link: link.row.link, from, to, messages, bytes, tickets: by_ticket });
        }
    }
    Ok(all)
}

/// What was counted since; nothing if that is nothing.
fn since(before: &[Link], link: Link) -> Option<Link> {
    let old = before.iter().find(|old| (old.link, old.from) == (link.link, link.from));
    let less = |of: fn(&Link) -> u64| of(&link).saturating_sub(old.map_or(0, of));
    let (messages, bytes, tickets) = (less(|link| link.messages), less(|link| link.bytes), less(|link| link.tickets));
    (messages > 0).then_some(Link { messages, bytes, tickets, ..link })
}
