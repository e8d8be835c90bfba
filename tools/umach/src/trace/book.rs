//! The interfaces that are known, and what messages say by them.
//!
//! Descriptions come from the programs of the tasks that are traced. Two may have the same numbers, so those that sender or receiver speak come first. All of
//! it is allegation: whoever wrote a program may describe it wrongly, and a body may be something else than its id says.

use std::collections::HashMap;

use serde_json::Value;
use umach_describe::interface::{ANSWER, DESCRIBE, FAILURE, ITEM};
use umach_describe::value::Said;
use umach_describe::{Description, Method, Shape, Type};

use super::entry::Sent;
use crate::ids::PortNumber;
use umach_abi::Code;

/// Characters of a text, and elements of a list, that are shown.
const TEXT: usize = 60;
const ELEMENTS: usize = 6;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Book {
    interfaces: Vec<Description>,
    speaks: HashMap<u64, Vec<usize>>,
}

/// What a message says by a description.
#[derive(Debug)]
pub(crate) struct Reading {
    /// `Adder.add`
    pub(crate) method: String,
    /// For people.
    pub(crate) text: String,
    /// For programs, if the body is what it should be and was told whole.
    pub(crate) said: Option<Said>,
    pub(crate) failed: bool,
}

impl Book {
    /// One more interface; they are numbered from 0 on.
    pub(crate) fn learn(&mut self, description: Description) {
        self.interfaces.push(description);
    }
    /// A task speaks these.
    pub(crate) fn speaks(&mut self, task: u64, interfaces: Vec<usize>) {
        self.speaks.insert(task, interfaces);
    }
    fn which(&self, sent: &Sent) -> Option<(&Description, &Method)> {
        let spoken = [sent.receiver, sent.sender].into_iter().filter_map(|task| self.speaks.get(&task)).flatten();
        let first = spoken.filter_map(|&number| self.interfaces.get(number));
        first.chain(&self.interfaces).find_map(|one| one.which(sent.id).map(|(_, method)| (one, method)))
    }
    /// What a message says, if somebody described it.
    pub(crate) fn read(&self, sent: &Sent) -> Option<Reading> {
        let (body, whole) = sent.said();
        if let Some(reading) = of_all(sent.id, body) {
            return Some(reading);
        }
        let (interface, method) = self.which(sent)?;
        let name = format!("{}.{}", interface.name, method.name);
        let read = match interface.read_message(sent.id, body) {
            Some((_, _, Ok(said))) => Ok(said),
            Some((_, _, Err(_))) if body.len() < whole => Err(format!("{} bytes, of which the first {} were traced", whole, body.len())),
            Some((_, _, Err(wrong))) => Err(format!("not what it should be: {wrong}")),
            None => return None,
        };
        let (text, failed, said) = match read {
            Ok(said) => {
                let text = match &said {
                    Said::Arguments(Value::Object(all)) => arguments(method, all, sent),
                    Said::Result(Value::Null) if method.gives_nothing() => "ok".to_owned(),
                    said => text_of(said.value(), sent),
                };
                (text, matches!(said, Said::Error(_)), Some(said))
            }
            Err(why) => (format!("({why})"), true, None),
        };
        Some(Reading { method: name, text, said, failed })
    }
}

/// Messages that every interface has.
fn of_all(id: i32, body: &[u8]) -> Option<Reading> {
    let named = |method: &str, text: String, failed| Some(Reading { method: method.to_owned(), text, said: None, failed });
    match id {
        DESCRIBE => named("describe", "()".into(), false),
        _ if id == DESCRIBE + ANSWER => named("describe", "a description".into(), false),
        FAILURE => {
            let plain = |shape| Type { name: String::new(), shape };
            let read = plain(Shape::Tuple(vec![plain(Shape::U32), plain(Shape::String)])).read(body);
            let text = match read.ok().as_ref().and_then(|value| Some((value[0].as_u64()?, value[1].as_str()?))) {
                Some((code, why)) => format!("{}: {why}", Code(code as u32)),
                None => "a failure".to_owned(),
            };
            named("failure", text, true)
        }
        _ => None,
    }
}

/// Whether a message of this id is an interface's whose requests begin at `base`.
pub(crate) fn ids_of(base: i32) -> std::ops::RangeInclusive<i32> {
    base..=base.saturating_add(ITEM + ANSWER - 1)
}

/// `("files")`, `(offset: 0, size: 10)`.
fn arguments(method: &Method, all: &serde_json::Map<String, Value>, sent: &Sent) -> String {
    let one = all.len() == 1;
    let known = method.arguments.iter().filter_map(|argument| all.get_key_value(&argument.name));
    // A stream's end is none of the arguments.
    let others = all.iter().filter(|(name, _)| method.arguments.iter().all(|argument| argument.name != **name));
    let each = known.chain(others).map(|(name, value)| {
        let text = text_of(value, sent);
        if one { text } else { format!("{name}: {text}") }
    });
    format!("({})", each.collect::<Vec<_>>().join(", "))
}

/// A value as people write it; rights by the ports that they lead to.
pub(crate) fn text_of(value: &Value, sent: &Sent) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => quoted(text),
        Value::Array(all) => {
            let mut shown: Vec<String> = all.iter().take(ELEMENTS).map(|value| text_of(value, sent)).collect();
            if all.len() > ELEMENTS {
                shown.push(format!("… {} more", all.len() - ELEMENTS));
            }
            format!("[{}]", shown.join(", "))
        }
        Value::Object(all) => {
            let only = |name: &str| all.get(name).filter(|_| all.len() == 1);
            if let (Some(part), Some(is)) = (all.get("part").and_then(Value::as_u64), all.get("is").and_then(Value::as_str)) {
                let port =
                    usize::try_from(part).ok().and_then(|part| sent.rights.get(part)).map(|right| right.port).filter(|port| *port != 0);
                let interface = all.get("interface").and_then(Value::as_str).map_or_else(String::new, |name| format!(" {name}"));
                return match port {
                    Some(port) => format!("{}{interface}", PortNumber(port)),
                    None => format!("{is}{interface}"),
                };
            }
            if let Some(Value::String(hex)) = only("hex") {
                return if hex.len() <= 32 { format!("x'{hex}'") } else { crate::text::plural(hex.len() as u64 / 2, "byte") };
            }
            if let Some(Value::String(text)) = only("text") {
                return quoted(text);
            }
            let each = all.iter().map(|(name, value)| match value {
                Value::Object(_) | Value::Array(_) if all.len() == 1 => format!("{name} {}", text_of(value, sent)),
                value => format!("{name}: {}", text_of(value, sent)),
            });
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(TEXT).collect();
    let more = if text.chars().count() > TEXT { "…" } else { "" };
    format!("{}{more}", Value::String(shown))
}
