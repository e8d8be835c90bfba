//! The story: entries put together. Who is called what, which message answers which, how long that took, what a body says.
//!
//! A call names the port that its answer goes to, with a right to send there once; so a message sent there with such a right answers the oldest
//! call that is open there. The kernel process answers for a server that never does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use umach_abi::records::{kobject, trace};
use umach_abi::{Code, notify};
use umach_describe::value::Said;

use super::book::{Book, Reading};
use super::entry::{Entry, Fate, Link, Right, Sent, Task};
use super::known;
use crate::ids::{PortNumber, TaskNumber};

/// Messages on their way that are remembered, and open calls: no program has so many, and a trace that misses what became of them goes on for ever.
const REMEMBERED: usize = 1 << 18;

/// Something to show.
#[derive(Debug)]
pub(crate) enum Event {
    Message(Box<Message>),
    /// What became of a message, and how long it had waited.
    Fate(&'static str, Fate, Option<Duration>),
    Task(Task),
    Ended(Party, u64),
    Lost(u64),
    Link(Party, Party, Link),
    End {
        messages: u64,
        lost: u64,
    },
}

/// A task as it is called at the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    /// 0 is the kernel process, or nobody.
    pub(crate) task: u64,
    pub(crate) label: String,
}

impl Party {
    /// `T3 client`, or `kernel`.
    pub(crate) fn text(&self) -> String {
        match self.task {
            0 => self.label.clone(),
            task => format!("{} {}", TaskNumber(task), self.label).trim_end().to_owned(),
        }
    }
}

/// What a message is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Wants an answer.
    Call,
    /// Answers the message of this number, after so long.
    Answer {
        of: u64,
        after: Duration,
    },
    /// Of the kernel process.
    Notification,
    Send,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Call => "call",
            Kind::Answer { .. } => "answer",
            Kind::Notification => "notification",
            Kind::Send => "send",
        }
    }
}

/// A message, with all that is known about it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sent: Sent,
    pub(crate) kind: Kind,
    pub(crate) from: Party,
    pub(crate) to: Party,
    /// What the port is called.
    pub(crate) port: Option<String>,
    /// What the message is called; of an answer, what its call is.
    pub(crate) method: Option<String>,
    /// What it says, for people.
    pub(crate) says: String,
    /// That is only bytes.
    pub(crate) raw: bool,
    /// The same for programs.
    pub(crate) said: Option<Said>,
    /// It says that something failed.
    pub(crate) failed: bool,
    /// Names of the ports of its rights, as far as there are any.
    pub(crate) right_names: Vec<Option<String>>,
}

impl Message {
    /// `→ send P9 (files)`, or what else it carries.
    pub(crate) fn rights(&self) -> Vec<String> {
        let one = |(right, name): (&Right, &Option<String>)| {
            let what = trace::right_name(right.what);
            let size = || crate::text::bytes(right.size);
            match right.what {
                trace::MEMORY => format!("+ {} of memory", size()),
                trace::REGION => format!("+ {} in a region", size()),
                trace::FILE => "+ open file".to_owned(),
                trace::NULL | trace::DEAD_NAME => format!("→ {what}"),
                _ => match name {
                    Some(name) => format!("→ {what} {} ({name})", PortNumber(right.port)),
                    None => format!("→ {what} {}", PortNumber(right.port)),
                },
            }
        };
        let mut all: Vec<String> = self.sent.rights.iter().zip(&self.right_names).map(one).collect();
        let more = (self.sent.rights_total as usize).saturating_sub(all.len());
        all.extend((more > 0).then(|| format!("and {more} more")));
        all
    }
    /// Which way it took. What is traced goes through the kernel process; with `--no-switch`, a message with rights that has its place in a ring does so too.
    pub(crate) fn plane(&self) -> &'static str {
        if self.sent.has(trace::TICKET) { "ticket" } else { "kernel" }
    }
    /// `T3 client` of an answer is who asked.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.kind, Kind::Answer { .. })
    }
    /// How people see that something is odd about it.
    pub(crate) fn oddities(&self) -> Vec<&'static str> {
        let all = [(trace::DEAD, "to a dead port"), (trace::FULL, "waits for room"), (trace::TICKET, "through a link")];
        all.into_iter().filter(|&(flag, _)| self.sent.has(flag)).map(|(_, says)| says).collect()
    }
}

/// An open call.
#[derive(Debug)]
struct Open {
    number: u64,
    time: u64,
    method: Option<String>,
}

/// What is known so far.
#[derive(Debug, Default)]
pub(crate) struct Story {
    tasks: HashMap<u64, String>,
    ports: HashMap<u64, String>,
    book: Book,
    /// By the port where the answer is expected.
    calls: HashMap<u64, VecDeque<Open>>,
    /// When messages were sent that are on their way.
    waiting: BTreeMap<u64, u64>,
}

impl Story {
    /// What an entry means to those who look on. Some say something about later ones only.
    pub(crate) fn tell(&mut self, entry: Entry) -> Option<Event> {
        Some(match entry {
            Entry::Task(task) => {
                self.tasks.insert(task.task, task.label.clone());
                Event::Task(task)
            }
            Entry::Port { port, name } => {
                self.ports.insert(port, name);
                return None;
            }
            Entry::Interface { description } => {
                self.book.learn(*description);
                return None;
            }
            Entry::Speaks { task, interfaces } => {
                self.book.speaks(task, interfaces);
                return None;
            }
            Entry::Sent(sent) => Event::Message(Box::new(self.message(*sent))),
            Entry::Received(fate) => self.fate("received", fate),
            Entry::Returned(fate) => self.fate("returned", fate),
            Entry::Destroyed(fate) => self.fate("destroyed", fate),
            Entry::Arrived(fate) => self.fate("arrived", fate),
            Entry::Ended { task, time } => {
                let party = self.party(task);
                self.tasks.remove(&task);
                Event::Ended(party, time)
            }
            Entry::Lost { records } => Event::Lost(records),
            Entry::Link(link) => Event::Link(self.party(link.from), self.party(link.to), link),
            Entry::End { messages, lost } => Event::End { messages, lost },
        })
    }

    fn party(&self, task: u64) -> Party {
        let label = if task == 0 { "kernel".to_owned() } else { self.tasks.get(&task).cloned().unwrap_or_default() };
        Party { task, label }
    }

    fn fate(&mut self, what: &'static str, fate: Fate) -> Event {
        let sent = self.waiting.remove(&fate.number);
        let waited = sent.map(|sent| Duration::from_nanos(fate.time.saturating_sub(sent)));
        Event::Fate(what, fate, waited)
    }

    fn message(&mut self, sent: Sent) -> Message {
        let from = self.party(sent.sender);
        let mut to = self.party(sent.receiver);
        if sent.receiver == 0 && sent.has(trace::DEAD) {
            to.label = "(dead port)".to_owned();
        } else if sent.receiver == 0 && sent.kobject == kobject::NONE {
            to.label = "(nobody yet)".to_owned();
        }
        let answered = if sent.has(trace::ONCE) { self.take_call(sent.port) } else { None };
        let kind = match &answered {
            Some(open) => Kind::Answer { of: open.number, after: Duration::from_nanos(sent.time.saturating_sub(open.time)) },
            None if sent.sender == 0 && known::is_notification(sent.id) => Kind::Notification,
            None if sent.has(trace::REPLY_ONCE) => Kind::Call,
            None => Kind::Send,
        };
        let reading = if sent.sender == 0 || sent.kobject != kobject::NONE { None } else { self.book.read(&sent) };
        let method = match (&answered, &reading) {
            (Some(Open { method: Some(method), .. }), _) => Some(method.clone()),
            (_, Some(Reading { method, .. })) => Some(method.clone()),
            _ => known::name_of(sent.id, sent.kobject, sent.sender == 0).map(str::to_owned),
        };
        let (says, said, raw, failed) = match reading {
            Some(Reading { text, said, failed, .. }) => (text, said, false, failed),
            None => {
                let (says, failed) = says(&sent, kind);
                let (says, raw) = says.map_or_else(|| preview(&sent), |says| (says, false));
                (says, None, raw, failed)
            }
        };
        if sent.has(trace::REPLY_ONCE) && sent.reply != 0 && self.calls.len() < REMEMBERED {
            let open = Open { number: sent.number, time: sent.time, method: method.clone() };
            self.calls.entry(sent.reply).or_default().push_back(open);
        }
        if sent.kobject == kobject::NONE {
            self.waiting.insert(sent.number, sent.time);
            if self.waiting.len() > REMEMBERED {
                self.waiting.pop_first();
            }
        }
        let right_names = sent.rights.iter().map(|right| self.ports.get(&right.port).cloned()).collect();
        Message { kind, from, to, port: self.ports.get(&sent.port).cloned(), method, says, raw, said, failed, right_names, sent }
    }

    fn take_call(&mut self, port: u64) -> Option<Open> {
        let open = self.calls.get_mut(&port)?;
        let call = open.pop_front();
        if open.is_empty() {
            self.calls.remove(&port);
        }
        call
    }
}

/// What the kernel process says in a message of its own, and whether that is a failure.
fn says(sent: &Sent, kind: Kind) -> (Option<String>, bool) {
    if sent.sender == 0 && known::is_notification(sent.id) {
        let unanswered = sent.id == notify::SEND_ONCE;
        let says = match kind {
            Kind::Answer { .. } if unanswered => "no answer: dropped, or its server died".to_owned(),
            _ => known::notice(sent.id, &sent.body).unwrap_or_default(),
        };
        return (Some(says), unanswered);
    }
    // The kernel process's answers begin with a code, unless they carry something.
    if sent.sender == 0
        && sent.rights_total == 0
        && let Some(word) = sent.body.get(8..12)
    {
        let code = Code(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        return (Some(if code.is_ok() { "ok".to_owned() } else { code.to_string() }), !code.is_ok());
    }
    (None, false)
}

/// The beginning of a body: as text if it is mostly that, else in hexadecimal digits, and whether it is those.
fn preview(sent: &Sent) -> (String, bool) {
    let (body, whole) = sent.said();
    const TEXT: usize = 60;
    const BYTES: usize = 16;
    if body.is_empty() {
        return (String::new(), false);
    }
    let text = String::from_utf8_lossy(body);
    let readable = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    let (good, all) = (text.chars().filter(readable).count(), text.chars().count());
    if good >= 3 && good * 4 >= all * 3 {
        let shown: String = text.chars().take(TEXT).map(|c| if readable(&c) { c } else { '·' }).collect();
        return (format!("\"{shown}\"{}", if all > TEXT || whole > body.len() { "…" } else { "" }), false);
    }
    let shown: Vec<String> = body.iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect();
    (format!("{}{}", shown.join(" "), if whole > BYTES { " …" } else { "" }), true)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn task(number: u64, label: &str) -> Entry {
        Entry::Task(Task { task: 1 << 32 | number, label: label.into(), pid: 1, uid: 0, parent: 0 })
    }

    #[allow(clippy::too_many_arguments)] // the fields that tests tell apart
    pub(crate) fn sent(number: u64, time: u64, from: u64, to: u64, id: i32, flags: u32, port: u64, reply: u64) -> Entry {
        let of = |task: u64| if task == 0 { 0 } else { 1 << 32 | task };
        Entry::Sent(Box::new(Sent {
            time,
            number,
            sender: of(from),
            receiver: of(to),
            port,
            reply,
            id,
            bytes: 32,
            annex: 0,
            body_bytes: 8,
            flags,
            kobject: 0,
            queued: 0,
            rights_total: 0,
            rights: Vec::new(),
            body: b"abcdefgh".to_vec(),
        }))
    }

    fn message(event: Option<Event>) -> Message {
        match event {
            Some(Event::Message(message)) => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_belong_to_their_calls_in_order() {
        let mut story = Story::default();
        story.tell(task(1, "client"));
        story.tell(task(2, "server"));
        for number in [1, 2] {
            let call = message(story.tell(sent(number, 1000 * number, 1, 2, 40, trace::REPLY_ONCE, 5, 9)));
            assert_eq!((call.kind, call.from.text().as_str()), (Kind::Call, "T1 client"));
        }
        let answer = message(story.tell(sent(3, 42_000, 2, 1, 140, trace::ONCE, 9, 0)));
        assert_eq!(answer.kind, Kind::Answer { of: 1, after: Duration::from_micros(41) });
        let nobody = message(story.tell(sent(4, 50_000, 0, 1, notify::SEND_ONCE, trace::ONCE, 9, 0)));
        assert!(nobody.failed && nobody.kind == Kind::Answer { of: 2, after: Duration::from_micros(48) });
        let late = message(story.tell(sent(5, 60_000, 2, 1, 140, trace::ONCE, 9, 0)));
        assert_eq!(late.kind, Kind::Send);
    }

    #[test]
    fn bodies_are_shown_as_what_they_seem_to_be() {
        let seen = |body: &[u8], whole: u32| {
            let Entry::Sent(mut one) = sent(1, 0, 1, 2, 3, 0, 4, 0) else { panic!() };
            (one.body, one.body_bytes) = (body.to_vec(), whole);
            preview(&one)
        };
        assert_eq!(seen(b"hello", 5), ("\"hello\"".into(), false));
        assert_eq!(seen(b"\x06\0\0\0\x05files\0\0", 12), ("\"·files\"".into(), false), "libtask's length and padding are left out");
        assert_eq!(seen(&[0, 1, 2], 3), ("00 01 02".into(), true));
        assert!(seen(&[9; 64], 64).0.ends_with('…') && seen(&[b'x'; 100], 4000).0.ends_with("\"…"));
    }
}
