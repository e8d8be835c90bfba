//! The graph as nodes and arrows, and those as DOT and as Mermaid text. What is drawn is the same everywhere: holders point to ports, ports to their
//! receivers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::model::{Holder, Kind, Model};
use crate::foreign::line;
use crate::ids::{PortNumber, TaskNumber};

/// A node's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Task(u64),
    Port(u64),
}

/// What an arrow means; of several between the same two nodes, the first here is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrow {
    Receives,
    Controls,
    /// A send right whose messages go over a link.
    Direct,
    Send,
    Once,
    /// A right in a message that is queued at the port.
    InMessage,
}

/// Nodes with their lines of text, and arrows.
pub(super) struct Picture {
    pub(super) nodes: BTreeMap<Key, Vec<String>>,
    pub(super) arrows: BTreeMap<(Key, Key), Arrow>,
}

impl Picture {
    pub(super) fn new(model: &Model) -> Picture {
        let mut picture = Picture { nodes: BTreeMap::new(), arrows: BTreeMap::new() };
        for (id, task) in &model.tasks {
            let title = if task.label.is_empty() { "(no label)".to_owned() } else { line(&task.label).into_owned() };
            picture.nodes.insert(Key::Task(*id), vec![title, format!("{} · process {}", TaskNumber(*id), task.pid)]);
        }
        for right in &model.rights {
            let controls = model.ports.get(&right.port).and_then(|port| port.controls);
            let holder = match right.holder {
                Holder::Task(task) => Key::Task(task),
                Holder::Queue(port) => picture.port(model, port),
            };
            let subject = match controls {
                Some(task) => Key::Task(task),
                None => picture.port(model, right.port),
            };
            match (right.kind, right.holder) {
                (_, Holder::Queue(_)) => picture.arrow(holder, subject, Arrow::InMessage),
                (Kind::Receive, _) => picture.arrow(subject, holder, Arrow::Receives),
                _ if controls.is_some() => picture.arrow(holder, subject, Arrow::Controls),
                (Kind::Once, _) => picture.arrow(holder, subject, Arrow::Once),
                (Kind::Send, _) if right.link.is_some() => picture.arrow(holder, subject, Arrow::Direct),
                (Kind::Send, _) => picture.arrow(holder, subject, Arrow::Send),
            }
        }
        picture
    }
    fn port(&mut self, model: &Model, id: u64) -> Key {
        self.nodes.entry(Key::Port(id)).or_insert_with(|| {
            let port = model.ports.get(&id);
            let mut lines: Vec<String> = port.into_iter().flat_map(|port| port.names.clone()).collect();
            lines.push(match port {
                Some(port) if port.kind != "port" => format!("{} {}", PortNumber(id), port.kind),
                _ => PortNumber(id).to_string(),
            });
            lines.extend(port.filter(|port| port.queued > 0).map(|port| format!("{}/{} queued", port.queued, port.queue_limit)));
            lines
        });
        Key::Port(id)
    }
    fn arrow(&mut self, from: Key, to: Key, arrow: Arrow) {
        let drawn = self.arrows.entry((from, to)).or_insert(arrow);
        *drawn = (*drawn).min(arrow);
    }

    /// For Graphviz.
    pub(super) fn to_dot(&self) -> String {
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = String::from("digraph umach {\n    rankdir=LR;\n    node [fontname=\"sans-serif\", fontsize=11];\n");
        for (key, lines) in &self.nodes {
            let label = lines.iter().map(|line| quote(line)).collect::<Vec<_>>().join("\\n");
            let style = match key {
                Key::Task(_) => "shape=box, style=\"rounded,filled\", fillcolor=\"#eef\"",
                Key::Port(_) => "shape=ellipse, style=filled, fillcolor=\"#fff8e0\"",
            };
            let _ = writeln!(out, "    {} [{style}, label=\"{label}\"];", id(*key));
        }
        for ((from, to), arrow) in &self.arrows {
            let style = match arrow {
                Arrow::Receives => "penwidth=2, arrowhead=diamond, tooltip=\"receives\"",
                Arrow::Controls => "color=\"#b00020\", tooltip=\"controls\"",
                Arrow::Direct => "color=\"#1565c0\", penwidth=2, tooltip=\"sends directly over a link\"",
                Arrow::Send => "tooltip=\"can send\"",
                Arrow::Once => "style=dashed, tooltip=\"can send once\"",
                Arrow::InMessage => "style=dotted, tooltip=\"a right in a queued message\"",
            };
            let _ = writeln!(out, "    {} -> {} [{style}];", id(*from), id(*to));
        }
        out.push_str("}\n");
        out
    }

    /// For Mermaid.
    pub(super) fn to_mermaid(&self) -> String {
        let clean = |text: &str| text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;");
        let mut out = String::from("flowchart LR\n");
        for (key, lines) in &self.nodes {
            let label = lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("<br>");
            let _ = match key {
                Key::Task(_) => writeln!(out, "    {}[\"{label}\"]", id(*key)),
                Key::Port(_) => writeln!(out, "    {}([\"{label}\"])", id(*key)),
            };
        }
        for ((from, to), arrow) in &self.arrows {
            let line = match arrow {
                Arrow::Receives => "==o",
                Arrow::Controls => "--x|controls|",
                Arrow::Direct => "==>",
                Arrow::Send => "-->",
                Arrow::Once => "-.->|once|",
                Arrow::InMessage => "-.->|in a message|",
            };
            let _ = writeln!(out, "    {} {line} {}", id(*from), id(*to));
        }
        out
    }
}

/// An identifier that both languages take.
fn id(key: Key) -> String {
    match key {
        Key::Task(task) => TaskNumber(task).to_string().replace('.', "_"),
        Key::Port(port) => PortNumber(port).to_string().replace('.', "_"),
    }
}
