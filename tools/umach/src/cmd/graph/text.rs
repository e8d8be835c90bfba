//! The graph for a terminal: a tree for each task, of what it receives on and what it can send to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::model::{Holder, Kind, Model, Place, Right};
use crate::ids::LinkNumber;
use crate::text::Paint;

/// Draws it.
pub(super) fn to_text(model: &Model, paint: Paint) -> String {
    let mut out = String::new();
    for (id, task) in &model.tasks {
        let _ = writeln!(out, "{}  {}", paint.bold(&model.task(*id)), paint.dim(&format!("process {}", task.pid)));
        let mut branches = Vec::new();
        for right in model.rights.iter().filter(|right| right.kind == Kind::Receive && right.holder == Holder::Task(*id)) {
            branches.push(received(model, right.port, paint));
        }
        branches.extend(sent(model, *id, paint));
        let last = branches.len();
        for (number, branch) in branches.into_iter().enumerate() {
            let (first, rest) = if number + 1 == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            for (line, text) in branch.lines().enumerate() {
                let _ = writeln!(out, "{}{text}", paint.dim(if line == 0 { first } else { rest }));
            }
        }
    }
    for right in model.rights.iter().filter(|right| right.kind == Kind::Receive && matches!(right.holder, Holder::Queue(_))) {
        if let Holder::Queue(queue) = right.holder {
            let _ = writeln!(out, "the receive right of {} is in a message to {}", model.port(right.port), model.port(queue));
        }
    }
    out
}

/// A port that a task receives on: who can send to it, and what is in its queue.
fn received(model: &Model, port: u64, paint: Paint) -> String {
    let mut out = format!("receives on {}", paint.cyan(&model.port(port)));
    let known = model.ports.get(&port);
    if let Some(port) = known.filter(|port| port.queued > 0) {
        let _ = write!(out, ", {} of {} queued", port.queued, port.queue_limit);
    }
    let mut holders: BTreeMap<String, Vec<&Right>> = BTreeMap::new();
    for right in model.senders(port) {
        holders.entry(holder(model, right)).or_default().push(right);
    }
    match &holders.iter().map(|(holder, rights)| format!("{holder}{}", how(rights))).collect::<Vec<_>>()[..] {
        [] => out.push_str(", to which nobody has a right"),
        all => {
            let _ = write!(out, ", from {}", all.join(", "));
        }
    }
    for right in model.rights.iter().filter(|right| right.holder == Holder::Queue(port)) {
        let what = if right.place == Place::Reply { "to reply with" } else { "in its body" };
        let _ = write!(out, "\na message there holds {}, {what}", with_end(model, right, paint));
    }
    out
}

/// What a task can send to, one line for each port.
fn sent(model: &Model, task: u64, paint: Paint) -> Vec<String> {
    let mut by_port: BTreeMap<u64, Vec<&Right>> = BTreeMap::new();
    for right in model.rights.iter().filter(|right| right.kind != Kind::Receive && right.holder == Holder::Task(task)) {
        by_port.entry(right.port).or_default().push(right);
    }
    let line = |rights: Vec<&Right>| {
        let mut line = with_end(model, rights[0], paint);
        if let Some(link) = rights.iter().find_map(|right| right.link) {
            let _ = write!(line, "{}", paint.green(&format!(", directly over {}", LinkNumber(link))));
        }
        line + &how(&rights)
    };
    by_port.into_values().map(line).collect()
}

/// `sends to P7 "files" → T2 file-server`.
fn with_end(model: &Model, right: &Right, paint: Paint) -> String {
    let port = model.ports.get(&right.port);
    if let Some(controlled) = port.and_then(|port| port.controls) {
        return paint.red(&format!("controls {}", model.task(controlled)));
    }
    let verb = match right.kind {
        Kind::Send => "sends to",
        Kind::Once => "sends once to",
        Kind::Receive => "the receive right of",
    };
    let end = match (model.receive_right(right.port).map(|receive| receive.holder), port) {
        (Some(Holder::Task(task)), _) => model.task(task),
        (Some(Holder::Queue(queue)), _) => format!("a message to {}", model.port(queue)),
        (None, Some(port)) if port.kind != "port" => format!("kernel ({})", port.kind),
        (None, _) => "nobody in the picture".to_owned(),
    };
    format!("{verb} {} → {end}", paint.cyan(&model.port(right.port)))
}

fn holder(model: &Model, right: &Right) -> String {
    match right.holder {
        Holder::Task(task) => model.task(task),
        Holder::Queue(port) => format!("a message to {}", model.port(port)),
    }
}

/// How a port's rights are held, where that is not simply one send right in a space.
fn how(rights: &[&Right]) -> String {
    let mut words: Vec<String> = Vec::new();
    let once = rights.iter().filter(|right| right.kind == Kind::Once && right.place == Place::Space).count();
    match once {
        0 => {}
        1 => words.push("once".into()),
        many => words.push(format!("once ×{many}")),
    }
    for (place, word) in
        [(Place::Bootstrap, "bootstrap"), (Place::Registered, "registered"), (Place::Exception, "exceptions"), (Place::Trace, "trace")]
    {
        if rights.iter().any(|right| right.place == place) {
            words.push(word.into());
        }
    }
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}
