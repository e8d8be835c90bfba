//! Whom a word on the command line means: a task, a port, a name of the name server, or what tasks call themselves.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::model::Model;
use crate::ids::Who;

/// Tasks, or a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Party {
    Tasks(BTreeSet<u64>),
    Port(u64),
}

impl Party {
    /// Finds it. `T3`, a process id and `P7` come first, then the name server's names, then labels: the whole label, or its first word.
    pub(super) fn find(model: &Model, text: &str) -> Result<Party> {
        if let Ok(who) = text.parse::<Who>() {
            let wanted = |(id, pid): (u64, u32)| match who {
                Who::Task(task) => id == task,
                Who::Pid(process) => pid == process,
            };
            let found: BTreeSet<u64> =
                model.tasks.iter().map(|(id, task)| (*id, task.pid)).filter(|task| wanted(*task)).map(|(id, _)| id).collect();
            ensure!(!found.is_empty(), "no task {text} (umach ps lists them)");
            return Ok(Party::Tasks(found));
        }
        if let Some(port) = port_number(text) {
            ensure!(model.ports.contains_key(&port), "no port {text} (umach ports lists them)");
            return Ok(Party::Port(port));
        }
        if let Some((port, _)) = model.ports.iter().find(|(_, port)| port.names.iter().any(|name| name == text)) {
            return Ok(Party::Port(*port));
        }
        let labelled = |matches: &dyn Fn(&str) -> bool| {
            let tasks = model.tasks.iter().filter(|(_, task)| matches(&task.label));
            tasks.map(|(id, _)| *id).collect::<BTreeSet<u64>>()
        };
        let whole = labelled(&|label| label == text);
        let found = if whole.is_empty() { labelled(&|label| label.split(' ').next() == Some(text)) } else { whole };
        ensure!(
            !found.is_empty(),
            "`{text}` is no task (T3, a process id, a label), port (P7) or name here; see umach ps, ports and names"
        );
        Ok(Party::Tasks(found))
    }
    /// The tasks that it stands for: a port's is its receiver.
    pub(super) fn tasks(&self, model: &Model) -> BTreeSet<u64> {
        match self {
            Party::Tasks(tasks) => tasks.clone(),
            Party::Port(port) => model.receiver(*port).into_iter().collect(),
        }
    }
}

/// `P7`, `P7.2`.
fn port_number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix(['P', 'p'])?;
    let (index, generation) = digits.split_once('.').unwrap_or((digits, "1"));
    Some(u64::from(generation.parse::<u32>().ok()?) << 32 | u64::from(index.parse::<u32>().ok()?))
}
