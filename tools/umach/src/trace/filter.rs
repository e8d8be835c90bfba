//! What somebody wants to see: tasks, ports, an interface. The kernel process filters for a live trace; a recording is filtered here, by the same rules.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use umach_abi::records::trace;
use umach_describe::interface::base_of;

use super::book::ids_of;
use super::entry::{Entry, Sent};
use crate::ids::{PortNumber, TaskNumber, Who};

/// One thing that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// `T3`, or a process id.
    Who(Who),
    /// `P9`.
    Port(u64),
    /// The name of a service.
    Name(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Who(Who::Task(task)) => TaskNumber(*task).fmt(f),
            What::Who(Who::Pid(pid)) => write!(f, "process {pid}"),
            What::Port(port) => PortNumber(*port).fmt(f),
            What::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<What, String> {
        if let Ok(who) = text.parse() {
            return Ok(What::Who(who));
        }
        if let Some(number) = text.strip_prefix('P').filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit())) {
            let (index, generation) = number.split_once('.').unwrap_or((number, "1"));
            let part = |part: &str| part.parse::<u32>().map_err(|_| format!("`{text}` is no port (P9, P9.2; see umach ports)"));
            return Ok(What::Port(u64::from(part(generation)?) << 32 | u64::from(part(index)?)));
        }
        umach_name_api::protocol::check_name(text).map_err(|error| error.to_string())?;
        Ok(What::Name(text.to_owned()))
    }
}

/// Lets entries of a recording through.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    what: Vec<What>,
    /// The interface that is wanted, and its ids.
    interface: Option<String>,
    ids: Option<RangeInclusive<i32>>,
    /// What entries have told.
    pids: HashMap<u64, u32>,
    names: HashMap<u64, String>,
    /// Which of `what` there is, and which tasks have to do with what went through.
    known: Vec<bool>,
    parties: HashSet<u64>,
    /// Ports at which answers to what went through are expected, and messages that did.
    replies: HashMap<u64, u32>,
    numbers: HashSet<u64>,
    /// Ports that rights in what went through lead to, and the two tasks that talked, if those are wanted that one of these receives at.
    followed: Option<HashMap<u64, [u64; 2]>>,
}

impl Sieve {
    /// Everything that is sent or received by one of these, or to one of these, and belongs to this interface.
    ///
    /// `follow`: and what rights in that lead to, if sender or receiver receives there.
    pub(crate) fn new(what: &[What], interface: Option<&str>, follow: bool) -> Sieve {
        let ids = interface.map(|name| ids_of(base_of(name)));
        Sieve {
            what: what.to_vec(),
            known: vec![false; what.len()],
            ids,
            interface: interface.map(str::to_owned),
            followed: follow.then(HashMap::new),
            ..Sieve::default()
        }
    }
    /// What the recording has not spoken of.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &What> {
        self.what.iter().zip(&self.known).filter(|(_, known)| !**known).map(|(what, _)| what)
    }
    fn know(&mut self, is: impl Fn(&What) -> bool) {
        self.what.iter().zip(&mut self.known).filter(|(what, _)| is(what)).for_each(|(_, known)| *known = true);
    }
    /// Whether the entry is wanted.
    pub(crate) fn lets_through(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Task(task) => {
                self.pids.insert(task.task, task.pid);
                self.know(|what| *what == What::Who(Who::Task(task.task)) || *what == What::Who(Who::Pid(task.pid)));
                true
            }
            Entry::Port { port, name } => {
                self.names.insert(*port, name.clone());
                self.know(|what| *what == What::Port(*port) || matches!(what, What::Name(wanted) if wanted == name));
                true
            }
            Entry::Interface { description } => {
                if self.interface.as_ref() == Some(&description.name) {
                    self.ids = Some(ids_of(description.base));
                }
                true
            }
            Entry::Sent(sent) => {
                self.know(|what| *what == What::Port(sent.port));
                self.wants(sent)
            }
            Entry::Ended { task, .. } => self.is_all() || self.parties.remove(task),
            Entry::Received(fate) | Entry::Returned(fate) | Entry::Destroyed(fate) | Entry::Arrived(fate) => {
                self.is_all() || self.numbers.remove(&fate.number)
            }
            _ => true,
        }
    }
    fn is_all(&self) -> bool {
        self.what.is_empty() && self.ids.is_none()
    }
    fn wants(&mut self, sent: &Sent) -> bool {
        if self.is_all() {
            return true;
        }
        let mut answers = false;
        if sent.has(trace::ONCE)
            && let Some(count) = self.replies.get_mut(&sent.port)
        {
            answers = true;
            *count -= 1;
            if *count == 0 {
                self.replies.remove(&sent.port);
            }
        }
        let is = |what: &What| match what {
            What::Who(Who::Task(task)) => sent.sender == *task || sent.receiver == *task,
            What::Who(Who::Pid(pid)) => [sent.sender, sent.receiver].iter().any(|task| self.pids.get(task) == Some(pid)),
            What::Port(port) => sent.port == *port,
            What::Name(name) => self.names.get(&sent.port) == Some(name),
        };
        let talk = self.followed.as_ref().and_then(|ports| ports.get(&sent.port));
        let named = self.what.is_empty() || self.what.iter().any(is) || talk.is_some_and(|talk| talk.contains(&sent.receiver));
        let wanted = answers || (named && self.ids.as_ref().is_none_or(|ids| ids.contains(&sent.id)));
        if wanted {
            self.numbers.insert(sent.number);
            self.parties.extend([sent.sender, sent.receiver]);
            if sent.has(trace::REPLY_ONCE) && sent.reply != 0 {
                *self.replies.entry(sent.reply).or_default() += 1;
            }
            if let Some(followed) = &mut self.followed {
                // Who receives there shows when something is sent there.
                let ports = sent.rights.iter().map(|right| right.port).filter(|&port| port != 0);
                followed.extend(ports.map(|port| (port, [sent.sender, sent.receiver])));
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_as_it_looks() {
        assert_eq!("T3".parse(), Ok(What::Who(Who::Task(1 << 32 | 3))));
        assert_eq!("P9.2".parse(), Ok(What::Port(2 << 32 | 9)));
        assert_eq!("77".parse(), Ok(What::Who(Who::Pid(77))));
        assert_eq!("files".parse(), Ok(What::Name("files".into())));
        assert_eq!("Pictures".parse(), Ok(What::Name("Pictures".into())));
        assert!("P9x".parse::<What>().is_err() && "".parse::<What>().is_err());
    }
}
