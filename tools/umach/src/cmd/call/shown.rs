//! What a method answered, for people and programs: rights by their ports, memory by its content.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use libtask::{Received, SendRight, Task};
use serde_json::{Map, Value, json};

use crate::ids::PortNumber;

/// Memory larger than this is not shown, only its size.
const SHOWN: usize = 1 << 20;

/// The value with what its parts are: the ports of rights, the bytes of memory. The parts end with this program, unless one is saved.
pub(super) fn described(task: &Task, message: &mut Received, mut value: Value, save: Option<&Path>) -> Result<Value> {
    let mut kinds = HashMap::new();
    gather(&value, &mut kinds);
    let mut facts: HashMap<u64, Map<String, Value>> = HashMap::new();
    let mut rights: Vec<(u64, SendRight)> = Vec::new();
    let mut saved = save.is_none();
    for (part, kind) in kinds {
        let Ok(index) = usize::try_from(part) else { continue };
        let bytes = match kind.as_str() {
            "send" => {
                rights.extend(message.take_send(index).ok().map(|right| (part, right)));
                continue;
            }
            "memory" => message.take_lease(index).ok().map(|lease| lease.to_vec()),
            "region" => match message.take_region(index) {
                Ok(region) => Some(region.map()?.to_vec()),
                Err(_) => None,
            },
            "file" => {
                if let (Some(path), false, Ok(mut file)) = (save, saved, message.take_file(index).map(File::from)) {
                    let mut to = File::create(path).with_context(|| format!("make {}", path.display()))?;
                    std::io::copy(&mut file, &mut to).with_context(|| format!("copy the open file into {}", path.display()))?;
                    saved = true;
                }
                continue;
            }
            _ => continue,
        };
        let Some(bytes) = bytes else { continue };
        if let (Some(path), false) = (save, saved) {
            File::create(path).and_then(|mut to| to.write_all(&bytes)).with_context(|| format!("write {}", path.display()))?;
            saved = true;
        }
        facts.insert(part, content(&bytes));
    }
    if !saved {
        bail!("there is neither memory nor an open file in the answer that could be saved");
    }
    if !rights.is_empty() {
        let rows = task.control()?.space()?;
        for (part, right) in &rights {
            if let Some(row) = rows.iter().find(|row| row.name == right.name()) {
                facts.insert(*part, Map::from_iter([("port".to_owned(), json!(PortNumber(row.object).to_string()))]));
            }
        }
    }
    add(&mut value, &mut facts);
    Ok(value)
}

fn content(bytes: &[u8]) -> Map<String, Value> {
    let mut all = Map::from_iter([("bytes".to_owned(), json!(bytes.len()))]);
    if bytes.len() <= SHOWN {
        match str::from_utf8(bytes) {
            Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => all.insert("text".into(), json!(text)),
            _ => all.insert("hex".into(), json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())),
        };
    }
    all
}

/// A part's index and kind, if a value stands for one.
fn part_of(all: &Map<String, Value>) -> Option<(u64, &str)> {
    Some((all.get("part")?.as_u64()?, all.get("is")?.as_str()?))
}

fn gather(value: &Value, kinds: &mut HashMap<u64, String>) {
    match value {
        Value::Object(all) => match part_of(all) {
            Some((part, kind)) => drop(kinds.insert(part, kind.to_owned())),
            None => all.values().for_each(|value| gather(value, kinds)),
        },
        Value::Array(all) => all.iter().for_each(|value| gather(value, kinds)),
        _ => {}
    }
}

fn add(value: &mut Value, facts: &mut HashMap<u64, Map<String, Value>>) {
    match value {
        Value::Object(all) => match part_of(all).map(|(part, _)| part) {
            Some(part) => all.extend(facts.remove(&part).unwrap_or_default()),
            None => all.values_mut().for_each(|value| add(value, facts)),
        },
        Value::Array(all) => all.iter_mut().for_each(|value| add(value, facts)),
        _ => {}
    }
}

/// For people. `one_line`: it is one of many.
pub(super) fn plain(value: &Value, one_line: bool) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(all) if all.len() == 1 && all.get("text").is_some_and(Value::is_string) => plain(&all["text"], one_line),
        Value::Object(all) if part_of(all).is_some() => {
            let word = |name: &str| all.get(name).and_then(Value::as_str);
            if let Some(text) = word("text") {
                return text.to_owned();
            }
            let is = word("is").unwrap_or_default();
            let what = if matches!(is, "send" | "send-once" | "receive") { format!("{is} right") } else { is.to_owned() };
            let bytes = all.get("bytes").map_or_else(String::new, |bytes| format!("{bytes} bytes"));
            let more = [word("port"), word("interface"), Some(bytes.as_str()), word("hex")];
            [Some(what.as_str())].into_iter().chain(more).flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        }
        Value::Object(_) | Value::Array(_) if !one_line => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
        other => other.to_string(),
    }
}
