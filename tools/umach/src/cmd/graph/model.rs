//! Who holds what, as plain data: tasks, ports, and every right with where it is. Made by `collect`, drawn and asked by the others.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::foreign::line;
use crate::ids::{PortNumber, TaskNumber};

/// A system as it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) ports: BTreeMap<u64, Port>,
    pub(super) rights: Vec<Right>,
    pub(super) links: Vec<Link>,
}

/// A task.
#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    pub(super) label: String,
    pub(super) pid: u32,
}

/// A port.
#[derive(Debug, Clone, Default)]
pub(super) struct Port {
    /// What it stands for if the kernel itself receives on it.
    pub(super) kind: &'static str,
    /// The task whose control port it is.
    pub(super) controls: Option<u64>,
    /// What the name server calls it.
    pub(super) names: Vec<String>,
    pub(super) queued: u32,
    pub(super) queue_limit: u32,
}

/// Which right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Send,
    Once,
    Receive,
}

/// Who has a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Task(u64),
    /// A message in the queue of this port.
    Queue(u64),
}

/// Where its holder has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// In its space, under a name.
    Space,
    /// Kept for the task.
    Bootstrap,
    Registered,
    Exception,
    Trace,
    /// In a message: to reply with, or in its body.
    Reply,
    Body,
}

/// A right to a port.
#[derive(Debug, Clone)]
pub(super) struct Right {
    pub(super) holder: Holder,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) port: u64,
    /// The holder's name for it; 0 outside of spaces.
    pub(super) name: u32,
    pub(super) references: u32,
    /// The link over which what is sent to it goes.
    pub(super) link: Option<u64>,
}

/// Memory that two tasks share.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Link {
    pub(super) link: u64,
    pub(super) tasks: [u64; 2],
}

impl Model {
    /// Where the receive right is.
    pub(super) fn receive_right(&self, port: u64) -> Option<&Right> {
        self.rights.iter().find(|right| right.kind == Kind::Receive && right.port == port)
    }
    /// The task that receives on the port, or will, once it has received the messages in which the receive right is on its way.
    pub(super) fn receiver(&self, port: u64) -> Option<u64> {
        let (mut at, mut seen) = (port, BTreeSet::new());
        loop {
            match self.receive_right(at)?.holder {
                Holder::Task(task) => return Some(task),
                Holder::Queue(queue) if seen.insert(queue) => at = queue,
                Holder::Queue(_) => return None,
            }
        }
    }
    /// The task that has a right, or will once it has received the message in which it is.
    pub(super) fn owner(&self, right: &Right) -> Option<u64> {
        match right.holder {
            Holder::Task(task) => Some(task),
            Holder::Queue(port) => self.receiver(port),
        }
    }
    /// Rights to a port, its receive right aside.
    pub(super) fn senders(&self, port: u64) -> impl Iterator<Item = &Right> {
        self.rights.iter().filter(move |right| right.port == port && right.kind != Kind::Receive)
    }
    /// `T3 name`.
    pub(super) fn task(&self, id: u64) -> String {
        let label = self.tasks.get(&id).map_or("", |task| task.label.as_str());
        format!("{} {}", TaskNumber(id), line(label)).trim_end().to_owned()
    }
    /// `P7 "files"`.
    pub(super) fn port(&self, id: u64) -> String {
        let names = self.ports.get(&id).map_or(&[][..], |port| &port.names);
        std::iter::once(PortNumber(id).to_string()).chain(names.iter().map(|name| format!("{name:?}"))).collect::<Vec<_>>().join(" ")
    }

    /// Leaves out what is in nearly every picture alike: the kernel's own ports, unless they are another task's control port, what a task can send to
    /// itself, and ports that only their receiver knows.
    pub(super) fn without_the_usual(mut self) -> Model {
        let shown = |model: &Model, right: &Right| match model.ports.get(&right.port) {
            Some(Port { controls: Some(task), .. }) => right.holder != Holder::Task(*task),
            Some(port) => {
                port.kind == "port" && (right.kind == Kind::Receive || Some(right.holder) != model.receiver(right.port).map(Holder::Task))
            }
            None => false,
        };
        let wanted: Vec<bool> = self.rights.iter().map(|right| shown(&self, right)).collect();
        let mut wanted = wanted.into_iter();
        self.rights.retain(|_| wanted.next() == Some(true));
        let known: BTreeSet<u64> = self.rights.iter().filter(|right| right.kind != Kind::Receive).map(|right| right.port).collect();
        let named = |model: &Model, port: u64| model.ports.get(&port).is_some_and(|port| !port.names.is_empty() || port.queued > 0);
        let keep: BTreeSet<u64> = self.ports.keys().copied().filter(|port| known.contains(port) || named(&self, *port)).collect();
        self.rights.retain(|right| keep.contains(&right.port));
        self.ports.retain(|port, _| keep.contains(port));
        self
    }
    /// Only what these tasks hold, and what others hold of them.
    pub(super) fn around(mut self, tasks: &BTreeSet<u64>) -> Model {
        let concerns = |model: &Model, right: &Right| {
            let ends = [model.owner(right), model.receiver(right.port), model.ports.get(&right.port).and_then(|port| port.controls)];
            ends.into_iter().flatten().any(|task| tasks.contains(&task))
        };
        let ports: BTreeSet<u64> = self.rights.iter().filter(|right| concerns(&self, right)).map(|right| right.port).collect();
        let wanted: Vec<bool> = self
            .rights
            .iter()
            .map(|right| concerns(&self, right) || (right.kind == Kind::Receive && ports.contains(&right.port)))
            .collect();
        let mut wanted = wanted.into_iter();
        self.rights.retain(|_| wanted.next() == Some(true));
        self.ports.retain(|port, _| ports.contains(port));
        self.links.retain(|link| link.tasks.iter().any(|task| tasks.contains(task)));
        let mut seen: BTreeSet<u64> = self.rights.iter().filter_map(|right| self.owner(right)).collect();
        seen.extend(tasks);
        seen.extend(self.ports.values().filter_map(|port| port.controls));
        self.tasks.retain(|task, _| seen.contains(task));
        self
    }
}
