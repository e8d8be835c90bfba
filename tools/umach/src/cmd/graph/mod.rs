//! `umach graph`: who holds what, as a picture, and whether one can ever reach another, as an assertion.

mod collect;
mod model;
mod party;
mod picture;
mod reach;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::exit::Exit;
use crate::system::At;
use crate::text::{self as output, Paint};
use crate::view::View;
use model::{Holder, Kind, Link, Model, Place, Right};
use party::Party;
use picture::Picture;
use reach::{Reached, Step};

/// Draws who holds what: tasks, ports, rights, names, links; or asserts who can reach whom.
#[derive(Args)]
#[command(after_help = "\
WHO is a task (T3, a process id, its label or the label's first word), a port (P7) or a name that the name server knows.
Left out, unless --all: what a task can send to itself, ports that only their receiver knows, and the kernel's own ports (tasks, \
regions, the host); another task's control right is always shown.

--can A B: whether A can ever reach B. A reaches B if A holds a send or send-once right to a port on which B receives, or B's \
control right, or can be handed one by a task that it reaches: who can send to a task can ask it for whatever it holds. Rights in \
queued messages count as the receiver's of that queue, and a receive right in one makes that receiver the port's. A task's control \
right gives all that the task holds, the host's control right all tasks. If B is a port or a name, its receiver is meant; a port \
without one is reached by who holds a right to it. With --unasked also tasks that can send to A, or to one that A reaches, hand over what \
they hold: then nothing that is not asked for can come either. Every task on the way may help; what comes into the system later, and \
what Linux allows processes of one user, is not considered. The path is printed, or how far A comes.
Exit code with --can: 0 it can, 1 it cannot; with --cannot the other way round. What A or B means must exist.

JSON: {tasks: [{task, label, pid}], ports: [{port, kind, controls, names, receiver, queued, queue_limit}], rights: [{holder, \
queue, place, right, port, name, references, link}], links: [{link, tasks}]}; holder is null for a right in a message, queue is \
that message's port; place is space, bootstrap, registered, exception, trace, reply or body.
With --can: {from, to, can, unasked, path: [{from, to, port, right, place, unasked}], reached: [task, ..]}.

Examples:
  umach graph
  umach graph files --format svg --output files.svg
  umach graph --format dot | dot -Tpng > all.png
  umach graph --cannot sandbox names   # in a test: fails if the sandbox could ever get at the name server")]
pub(crate) struct Graph {
    /// Only what these hold, and what others hold of them.
    #[arg(value_name = "WHO")]
    who: Vec<String>,
    /// How it is drawn [default: text on a terminal, else dot].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Writes to this file instead of standard output; .svg, .dot, .mmd and .txt choose the format.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also the kernel's own ports, and what only a port's receiver has.
    #[arg(long)]
    all: bool,
    /// Asserts that A can ever reach B.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["who", "format", "output", "all"])]
    can: Option<Vec<String>>,
    /// Asserts that A can never reach B.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["can", "who", "format", "output", "all"])]
    cannot: Option<Vec<String>>,
    /// With --can and --cannot: tasks hand over rights without being asked, too.
    #[arg(long)]
    unasked: bool,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A tree for each task.
    Text,
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
    /// An image.
    Svg,
}

#[derive(Serialize)]
struct TaskRow<'a> {
    task: u64,
    label: &'a str,
    pid: u32,
}

#[derive(Serialize)]
struct PortRow<'a> {
    port: u64,
    kind: &'static str,
    controls: Option<u64>,
    names: &'a [String],
    receiver: Option<u64>,
    queued: u32,
    queue_limit: u32,
}

#[derive(Serialize)]
struct RightRow {
    holder: Option<u64>,
    queue: Option<u64>,
    place: Place,
    right: Kind,
    port: u64,
    name: Option<u32>,
    references: u32,
    link: Option<u64>,
}

#[derive(Serialize)]
struct Everything<'a> {
    tasks: Vec<TaskRow<'a>>,
    ports: Vec<PortRow<'a>>,
    rights: Vec<RightRow>,
    links: &'a [Link],
}

#[derive(Serialize)]
struct StepRow {
    from: u64,
    to: u64,
    port: u64,
    right: Kind,
    place: Place,
    unasked: bool,
}

#[derive(Serialize)]
struct Verdict<'a> {
    from: &'a str,
    to: &'a str,
    can: bool,
    unasked: bool,
    path: Vec<StepRow>,
    reached: Vec<u64>,
}

impl Graph {
    pub(crate) fn run(self) -> Result<Exit> {
        let view = View::open(&self.at)?;
        let model = collect::collect(&view)?;
        drop(view);
        match (&self.can, &self.cannot) {
            (Some(pair), _) => self.assert(&model, pair, true),
            (_, Some(pair)) => self.assert(&model, pair, false),
            _ => self.draw(model),
        }
    }

    fn draw(self, model: Model) -> Result<Exit> {
        let mut chosen = std::collections::BTreeSet::new();
        for who in &self.who {
            chosen.extend(Party::find(&model, who)?.tasks(&model));
        }
        let mut model = if self.all { model } else { model.without_the_usual() };
        if !self.who.is_empty() {
            model = model.around(&chosen);
        }
        if self.json {
            let text = output::json(&everything(&model))?;
            return self.put(&text);
        }
        let by_name = self.output.as_ref().and_then(|path| path.extension()).and_then(|extension| extension.to_str());
        let format = self.format.unwrap_or(match by_name {
            Some("svg") => Format::Svg,
            Some("mmd") => Format::Mermaid,
            Some("txt") => Format::Text,
            None if self.output.is_none() && std::io::stdout().is_terminal() => Format::Text,
            _ => Format::Dot,
        });
        let paint = if self.output.is_none() { Paint::stdout() } else { Paint::none() };
        let text = match format {
            Format::Text => text::to_text(&model, paint),
            Format::Dot => Picture::new(&model).to_dot(),
            Format::Mermaid => Picture::new(&model).to_mermaid(),
            Format::Svg => svg::to_svg(&Picture::new(&model)),
        };
        self.put(&text)
    }
    fn put(&self, text: &str) -> Result<Exit> {
        match &self.output {
            Some(path) => std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?,
            None => output::print(text)?,
        }
        Ok(Exit::DONE)
    }

    fn assert(&self, model: &Model, pair: &[String], wanted: bool) -> Result<Exit> {
        let [from, to] = pair else { anyhow::bail!("--can takes two") };
        let (source, goal) = (Party::find(model, from)?, Party::find(model, to)?);
        let reached = reach::reach(model, &source.tasks(model), self.unasked);
        let found = arrival(model, &reached, &goal);
        let path = found.map(|task| reach::path(&reached, task)).unwrap_or_default();
        if self.json {
            let row = |step: &Step| StepRow {
                from: step.from,
                to: step.to,
                port: step.port,
                right: step.kind,
                place: step.place,
                unasked: step.unasked,
            };
            output::print_json(&Verdict {
                from,
                to,
                can: found.is_some(),
                unasked: self.unasked,
                path: path.iter().map(row).collect(),
                reached: reached.keys().copied().collect(),
            })?;
        } else {
            let mut text = String::new();
            match found {
                Some(_) => {
                    text += &format!("{from} can reach {to}:\n");
                    text.extend(path.iter().map(|step| format!("  {}\n", sentence(model, step))));
                    if path.is_empty() {
                        text += "  they are the same task\n";
                    }
                }
                None => {
                    text += &format!("{from} cannot reach {to}. It can reach only:\n");
                    text.extend(reached.keys().map(|task| format!("  {}\n", model.task(*task))));
                }
            }
            output::print(&text)?;
        }
        Ok(if found.is_some() == wanted { Exit::DONE } else { Exit::FAILED })
    }
}

/// The first task of those reached that is the goal, or holds a right to it.
fn arrival(model: &Model, reached: &Reached, goal: &Party) -> Option<u64> {
    if let Some(task) = goal.tasks(model).into_iter().find(|task| reached.contains_key(task)) {
        return Some(task);
    }
    let Party::Port(port) = goal else { return None };
    model.senders(*port).filter_map(|right| model.owner(right)).find(|task| reached.contains_key(task))
}

/// A step in words.
fn sentence(model: &Model, step: &Step) -> String {
    let (from, to) = if step.unasked { (step.to, step.from) } else { (step.from, step.to) };
    let right = match (model.ports.get(&step.port), step.kind) {
        (Some(port), _) if port.controls.is_some() => "has the control right".to_owned(),
        (Some(port), _) if port.kind == "host-control" => "has the host's control right, and so everything".to_owned(),
        (_, Kind::Once) => format!("can send once to {}", model.port(step.port)),
        _ => format!("can send to {}", model.port(step.port)),
    };
    let place = match step.place {
        Place::Reply | Place::Body => ", once it has received the message with that right",
        _ => "",
    };
    let end = format!("{} {right} of {}{place}", model.task(from), model.task(to));
    if step.unasked {
        format!("{} is handed rights by {}, which {right} of it{place}", model.task(step.from), model.task(from))
    } else {
        end
    }
}

fn everything(model: &Model) -> Everything<'_> {
    let right = |right: &Right| RightRow {
        holder: if let Holder::Task(task) = right.holder { Some(task) } else { None },
        queue: if let Holder::Queue(port) = right.holder { Some(port) } else { None },
        place: right.place,
        right: right.kind,
        port: right.port,
        name: (right.name != 0).then_some(right.name),
        references: right.references,
        link: right.link,
    };
    Everything {
        tasks: model.tasks.iter().map(|(id, task)| TaskRow { task: *id, label: &task.label, pid: task.pid }).collect(),
        ports: model
            .ports
            .iter()
            .map(|(id, port)| PortRow {
                port: *id,
                kind: port.kind,
                controls: port.controls,
                names: &port.names,
                receiver: model.receive_right(*id).and_then(|right| if let Holder::Task(task) = right.holder { Some(task) } else { None }),
                queued: port.queued,
                queue_limit: port.queue_limit,
            })
            .collect(),
        rights: model.rights.iter().map(right).collect(),
        links: &model.links,
    }
}
