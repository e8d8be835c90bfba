//! From samples to what is shown: rates, rows in order, and circles of tasks that wait for each other. Pure: no terminal, no kernel.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A system at one moment. Totals only grow, unless what counted them has gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Since the first sample.
    pub(super) seconds: f64,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) ports: BTreeMap<u64, Port>,
    pub(super) waits: Vec<Wait>,
    /// Tasks of which a thread waits for whatever comes.
    pub(super) serving: BTreeSet<u64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    pub(super) label: String,
    pub(super) pid: u32,
    pub(super) stopped: bool,
    pub(super) names: u32,
    pub(super) ports: u32,
    pub(super) links: u32,
    pub(super) queued_bytes: u64,
    pub(super) queued_limit: u64,
    /// Messages that it sent through the kernel process, ever.
    pub(super) by_kernel: u64,
    pub(super) received_from_kernel: u64,
    /// Messages that it sent over its links, ever; answers included.
    pub(super) by_links: u64,
    pub(super) bytes_by_links: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Port {
    pub(super) receiver: u64,
    pub(super) name: u32,
    pub(super) queued: u32,
    pub(super) limit: u32,
    /// Messages on their way over links.
    pub(super) ahead: u32,
    pub(super) routes: u32,
    /// Senders that wait for room.
    pub(super) blocked: u32,
    /// Messages received from its queue, ever, modulo 2^32.
    pub(super) received: u32,
    /// By route: messages received over it, likewise.
    pub(super) delivered: BTreeMap<u64, u32>,
}

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum How {
    /// The answer to a call.
    Answer,
    /// Room in a queue or ring.
    Room,
}

/// A thread of `task` waits for `on` to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    pub(super) task: u64,
    pub(super) on: u64,
    /// 0 if it waits in a slot of a link.
    pub(super) port: u64,
    pub(super) how: How,
}

/// A task as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TaskRow {
    pub(super) task: u64,
    pub(super) label: String,
    pub(super) pid: u32,
    pub(super) state: &'static str,
    pub(super) sent_per_second: f64,
    pub(super) received_per_second: f64,
    /// Of those sent, the part that went over links.
    pub(super) direct_per_second: f64,
    pub(super) direct_bytes_per_second: f64,
    pub(super) queued_bytes: u64,
    pub(super) queued_bytes_limit: u64,
    pub(super) names: u32,
    pub(super) ports: u32,
    pub(super) links: u32,
    pub(super) waits_for: Vec<u64>,
}

/// A port as it is shown.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PortRow {
    pub(super) port: u64,
    pub(super) receiver: Option<u64>,
    pub(super) name: u32,
    pub(super) received_per_second: f64,
    pub(super) queued: u32,
    pub(super) queue_limit: u32,
    pub(super) ahead: u32,
    pub(super) routes: u32,
    pub(super) blocked_senders: u32,
}

/// Tasks that wait in a circle: each for the next, the last for the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Circle {
    pub(super) tasks: Vec<u64>,
    /// None of them has a thread that serves, and it was so in the sample before: nobody will move.
    pub(super) stuck: bool,
}

/// What is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub(super) tasks: Vec<TaskRow>,
    pub(super) ports: Vec<PortRow>,
    pub(super) waits: Vec<Wait>,
    pub(super) circles: Vec<Circle>,
    pub(super) messages_per_second: f64,
    pub(super) direct_per_second: f64,
    /// Of all tasks, also of those that the filter leaves out.
    pub(super) labels: BTreeMap<u64, String>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Sort {
    /// Most messages a second.
    #[default]
    Messages,
    /// Most in its queue.
    Queue,
    /// Most names.
    Names,
    /// In the order in which they came.
    Id,
}

impl Sort {
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Messages => Sort::Queue,
            Sort::Queue => Sort::Names,
            Sort::Names => Sort::Id,
            Sort::Id => Sort::Messages,
        }
    }
    pub(super) fn word(self) -> &'static str {
        match self {
            Sort::Messages => "messages",
            Sort::Queue => "queue",
            Sort::Names => "names",
            Sort::Id => "id",
        }
    }
}

impl Frame {
    /// What has happened between two samples. Without an earlier one there are no rates.
    pub(super) fn new(before: Option<&Sample>, now: &Sample, sort: Sort, filter: &str) -> Frame {
        let seconds = before.map(|before| now.seconds - before.seconds).filter(|seconds| *seconds > 0.0);
        let rate = |count: u64| seconds.map_or(0.0, |seconds| count as f64 / seconds);
        let mut tasks: Vec<TaskRow> = now.tasks.iter().map(|(id, task)| task_row(*id, task, before, now, &rate)).collect();
        let wanted: BTreeSet<u64> = tasks.iter().filter(|row| matches(row, filter)).map(|row| row.task).collect();
        let (messages_per_second, direct_per_second) =
            tasks.iter().fold((0.0, 0.0), |(all, direct), row| (all + row.sent_per_second, direct + row.direct_per_second));
        tasks.retain(|row| wanted.contains(&row.task));
        let mut ports: Vec<PortRow> = now
            .ports
            .iter()
            .filter(|(_, port)| filter.is_empty() || wanted.contains(&port.receiver))
            .map(|(id, port)| port_row(*id, port, before.and_then(|before| before.ports.get(id)), &rate))
            .collect();
        order(&mut tasks, &mut ports, sort);
        let earlier = before.map(circles).unwrap_or_default();
        let circles = circles(now).into_iter().map(|tasks| {
            let serves = tasks.iter().any(|task| now.serving.contains(task));
            Circle { stuck: !serves && earlier.contains(&tasks), tasks }
        });
        let labels = now.tasks.iter().map(|(id, task)| (*id, task.label.clone())).collect();
        Frame { circles: circles.collect(), tasks, ports, waits: now.waits.clone(), messages_per_second, direct_per_second, labels }
    }
    /// A task that is shown.
    pub(super) fn task(&self, id: u64) -> Option<&TaskRow> {
        self.tasks.iter().find(|row| row.task == id)
    }
}

fn matches(row: &TaskRow, filter: &str) -> bool {
    let filter = filter.to_lowercase();
    row.label.to_lowercase().contains(&filter)
        || row.pid.to_string() == filter
        || crate::ids::TaskNumber(row.task).to_string().to_lowercase() == filter
}

fn task_row(id: u64, task: &Task, before: Option<&Sample>, now: &Sample, rate: &dyn Fn(u64) -> f64) -> TaskRow {
    // One that is new has done all it did since; a link that has gone takes its counts with it.
    let known = before.and_then(|before| before.tasks.get(&id));
    let since = |of: fn(&Task) -> u64| rate(of(task).saturating_sub(known.map_or(0, of)));
    let direct = since(|task| task.by_links);
    let waits_for: BTreeSet<u64> = now.waits.iter().filter(|wait| wait.task == id).map(|wait| wait.on).collect();
    let waits = |how| now.waits.iter().any(|wait| wait.task == id && wait.how == how);
    TaskRow {
        task: id,
        label: task.label.clone(),
        pid: task.pid,
        state: match () {
            () if task.stopped => "stopped",
            () if task.pid == 0 => "new",
            () if waits(How::Answer) => "calls",
            () if waits(How::Room) => "sends",
            () if now.serving.contains(&id) => "serves",
            () => "runs",
        },
        sent_per_second: since(|task| task.by_kernel) + direct,
        received_per_second: since(|task| task.received_from_kernel) + received_directly(id, before, now, rate),
        direct_per_second: direct,
        direct_bytes_per_second: since(|task| task.bytes_by_links),
        queued_bytes: task.queued_bytes,
        queued_bytes_limit: task.queued_limit,
        names: task.names,
        ports: task.ports,
        links: task.links,
        waits_for: waits_for.into_iter().collect(),
    }
}

/// Messages that came to a task's ports over links. Answers to its calls are not among them: they come to no port.
fn received_directly(task: u64, before: Option<&Sample>, now: &Sample, rate: &dyn Fn(u64) -> f64) -> f64 {
    let ports = now.ports.iter().filter(|(_, port)| port.receiver == task);
    ports.map(|(id, port)| rate(over_routes(port, before.and_then(|before| before.ports.get(id))))).sum()
}

/// Messages over routes that were there before, too: how far a new one's count had got is not known.
fn over_routes(port: &Port, before: Option<&Port>) -> u64 {
    let Some(before) = before else { return 0 };
    let both = port.delivered.iter().filter_map(|(route, now)| Some((now, before.delivered.get(route)?)));
    both.map(|(now, then)| u64::from(grown(*now, *then))).sum()
}

/// How far a count modulo 2^32 has got; one that runs backwards was set anew.
fn grown(now: u32, then: u32) -> u32 {
    let grown = now.wrapping_sub(then);
    if grown < 1 << 31 { grown } else { 0 }
}

fn port_row(id: u64, port: &Port, before: Option<&Port>, rate: &dyn Fn(u64) -> f64) -> PortRow {
    let queued = before.map_or(0, |before| u64::from(grown(port.received, before.received)));
    PortRow {
        port: id,
        receiver: (port.receiver != 0).then_some(port.receiver),
        name: port.name,
        received_per_second: rate(queued + over_routes(port, before)),
        queued: port.queued,
        queue_limit: port.limit,
        ahead: port.ahead,
        routes: port.routes,
        blocked_senders: port.blocked,
    }
}

fn order(tasks: &mut [TaskRow], ports: &mut [PortRow], sort: Sort) {
    // What is alike stays in the order of ids.
    let busy = |row: &TaskRow| row.sent_per_second + row.received_per_second;
    match sort {
        Sort::Messages => tasks.sort_by(|one, other| busy(other).total_cmp(&busy(one))),
        Sort::Queue => tasks.sort_by_key(|row| std::cmp::Reverse(row.queued_bytes)),
        Sort::Names => tasks.sort_by_key(|row| std::cmp::Reverse(row.names)),
        Sort::Id => {}
    }
    let waiting = |row: &PortRow| row.queued.saturating_add(row.ahead).saturating_add(row.blocked_senders);
    match sort {
        Sort::Messages => ports
            .sort_by(|one, other| other.received_per_second.total_cmp(&one.received_per_second).then(waiting(other).cmp(&waiting(one)))),
        Sort::Queue => ports.sort_by_key(|row| std::cmp::Reverse(waiting(row))),
        Sort::Names | Sort::Id => {}
    }
}

/// Every elementary circle would be too many: one for each group of tasks that all wait for each other, through others perhaps. A circle starts with its
/// lowest task.
pub(super) fn circles(sample: &Sample) -> Vec<Vec<u64>> {
    let mut edges: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for wait in &sample.waits {
        edges.entry(wait.task).or_default().insert(wait.on);
    }
    let mut found: Vec<Vec<u64>> = Vec::new();
    let mut done: BTreeSet<u64> = BTreeSet::new();
    for start in edges.keys() {
        if done.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(&edges, *start) {
            done.extend(&circle);
            found.push(circle);
        }
    }
    found
}

/// The shortest way from a task back to itself.
fn shortest_circle(edges: &BTreeMap<u64, BTreeSet<u64>>, start: u64) -> Option<Vec<u64>> {
    let mut from: BTreeMap<u64, u64> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(task) = queue.pop_front() {
        for next in edges.get(&task).into_iter().flatten() {
            if *next == start {
                let mut circle = vec![task];
                while let Some(earlier) = circle.last().filter(|last| **last != start).and_then(|last| from.get(last)) {
                    circle.push(*earlier);
                }
                circle.reverse();
                return Some(circle);
            }
            if *next != start && !from.contains_key(next) {
                from.insert(*next, task);
                queue.push_back(*next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(label: &str, by_kernel: u64, by_links: u64) -> Task {
        Task { label: label.into(), pid: 1, by_kernel, by_links, ..Task::default() }
    }
    fn sample(seconds: f64, tasks: &[(u64, Task)], waits: &[(u64, u64)]) -> Sample {
        Sample {
            seconds,
            tasks: tasks.iter().cloned().collect(),
            waits: waits.iter().map(|(task, on)| Wait { task: *task, on: *on, port: 0, how: How::Answer }).collect(),
            ..Sample::default()
        }
    }

    #[test]
    fn rates_are_what_was_counted_by_the_time_that_passed() {
        let before = sample(1.0, &[(1, task("a", 100, 1000)), (2, task("b", 5, 0))], &[]);
        let now = sample(3.0, &[(1, task("a", 120, 3000)), (2, task("b", 0, 0)), (3, task("new", 8, 0))], &[]);
        let frame = Frame::new(Some(&before), &now, Sort::Messages, "");
        let sent: Vec<(u64, f64)> = frame.tasks.iter().map(|row| (row.task, row.sent_per_second)).collect();
        // The second has run backwards: its id is another's now.
        assert_eq!(sent, [(1, 1010.0), (3, 4.0), (2, 0.0)]);
        assert_eq!((frame.messages_per_second, frame.direct_per_second), (1014.0, 1000.0));
        assert!(Frame::new(None, &now, Sort::Messages, "").tasks.iter().all(|row| row.sent_per_second == 0.0));
    }

    #[test]
    fn ports_count_their_queue_and_their_routes_over_the_wrap() {
        let port =
            |received: u32, delivered: &[(u64, u32)]| Port { received, delivered: delivered.iter().copied().collect(), ..Port::default() };
        let with = |seconds, port| Sample { seconds, ports: [(9, port)].into(), ..Sample::default() };
        let before = with(0.0, port(u32::MAX, &[(1, u32::MAX - 1), (2, 7)]));
        // One route is new, one is gone, one went round.
        let now = with(1.0, port(9, &[(1, 8), (3, 1000)]));
        assert_eq!(Frame::new(Some(&before), &now, Sort::Messages, "").ports[0].received_per_second, 20.0);
    }

    #[test]
    fn filter_keeps_the_tasks_and_their_ports() {
        let mut now = sample(0.0, &[(1, task("file-server", 0, 0)), (2, task("client", 0, 0))], &[]);
        now.ports = [(5, Port { receiver: 1, ..Port::default() }), (6, Port { receiver: 2, ..Port::default() })].into();
        let frame = Frame::new(None, &now, Sort::Id, "FILE");
        assert_eq!(frame.tasks.iter().map(|row| row.task).collect::<Vec<_>>(), [1]);
        assert_eq!(frame.ports.iter().map(|row| row.port).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn circle_of_waiting_tasks_is_stuck_if_it_lasts_and_nobody_serves() {
        let tasks = [1, 2, 3, 4].map(|id| (id, task("t", 0, 0)));
        let now = sample(1.0, &tasks, &[(1, 2), (2, 3), (3, 1), (4, 1)]);
        assert_eq!(circles(&now), [vec![1, 2, 3]]);
        let before = sample(0.0, &tasks, &[(1, 2)]);
        let stuck = |before: &Sample, now: &Sample| Frame::new(Some(before), now, Sort::Id, "").circles[0].stuck;
        assert!(!stuck(&before, &now), "it is new");
        assert!(stuck(&now, &now));
        let serving = Sample { serving: [3].into(), ..now.clone() };
        assert!(!stuck(&serving, &serving));
        assert_eq!(Frame::new(Some(&now), &now, Sort::Id, "").task(4).unwrap().waits_for, [1]);
        assert_eq!(circles(&sample(0.0, &tasks, &[(2, 2), (3, 4), (4, 3)])), [vec![2], vec![3, 4]]);
        assert!(circles(&sample(0.0, &tasks, &[(1, 2), (2, 3)])).is_empty());
    }
}
