//! For programs: an object a line. Fields are only ever added; the help of `umach trace` lists them.

use serde_json::{Value, json};
use umach_abi::records::trace;

use super::entry::hex;
use super::story::{Event, Kind, Message, Party};

/// The object, unless there is nothing to say.
pub(crate) fn object(event: &Event) -> Value {
    match event {
        Event::Message(message) => of_message(message),
        Event::Fate(what, fate, waited) => json!({
            "event": what,
            "time_ns": fate.time,
            "number": (fate.number != 0).then_some(fate.number),
            "task": fate.receiver,
            "port": fate.port,
            "id": fate.id,
            "bytes": fate.bytes,
            "waited_ns": waited.map(|waited| waited.as_nanos() as u64),
        }),
        Event::Task(task) => json!({
            "event": "task", "task": task.task, "label": task.label, "pid": task.pid, "uid": task.uid, "parent": (task.parent != 0).then_some(task.parent),
        }),
        Event::Ended(party, time) => json!({ "event": "ended", "time_ns": time, "task": party.task, "label": party.label }),
        Event::Lost(records) => json!({ "event": "lost", "records": records }),
        Event::Link(from, to, link) => json!({
            "event": "link", "link": link.link, "from": of_party(from), "to": of_party(to),
            "messages": link.messages, "bytes": link.bytes, "by_ticket": link.tickets,
        }),
        Event::End { messages, lost } => json!({ "event": "end", "messages": messages, "lost": lost }),
    }
}

fn of_party(party: &Party) -> Value {
    json!({ "task": party.task, "label": party.label })
}

fn of_message(message: &Message) -> Value {
    let sent = &message.sent;
    let (of, after) = match message.kind {
        Kind::Answer { of, after } => (Some(of), Some(after.as_nanos() as u64)),
        _ => (None, None),
    };
    let rights: Vec<Value> = sent
        .rights
        .iter()
        .zip(&message.right_names)
        .map(|(right, name)| match right.what {
            trace::MEMORY | trace::REGION => json!({ "what": trace::right_name(right.what), "bytes": right.size }),
            trace::FILE | trace::NULL | trace::DEAD_NAME => json!({ "what": trace::right_name(right.what) }),
            what => json!({ "what": trace::right_name(what), "port": right.port, "name": name }),
        })
        .collect();
    json!({
        "event": "sent",
        "time_ns": sent.time,
        "number": sent.number,
        "kind": message.kind.name(),
        "from": of_party(&message.from),
        "to": of_party(&message.to),
        "port": sent.port,
        "port_name": message.port,
        "id": sent.id,
        "method": message.method,
        "says": message.says,
        "said": message.said.as_ref().map(|said| json!(said)),
        "failed": message.failed,
        "answers": of,
        "latency_ns": after,
        "bytes": sent.bytes,
        "annex": sent.annex,
        "body": hex::encode(&sent.body),
        "body_bytes": sent.body_bytes,
        "rights": rights,
        "rights_total": sent.rights_total,
        "plane": message.plane(),
        "queued": sent.queued,
        "waits_for_room": sent.has(trace::FULL),
        "dead_port": sent.has(trace::DEAD),
    })
}
