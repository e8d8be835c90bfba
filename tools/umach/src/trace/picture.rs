//! A trace as a sequence diagram. What repeats is drawn once, with how often it happened; a picture that would still be longer than anybody reads ends
//! with how much it leaves out.

use std::collections::HashMap;

use super::story::{Event, Kind, Message, Party};
use crate::diagram::Diagram;
use crate::foreign::{line, steers};
use crate::text::{duration, grouped, plural};

/// Steps that repeat together, at most.
const PERIOD: usize = 8;
/// Steps of a picture.
const STEPS: usize = 500;
/// Characters of a step's text.
const TEXT: usize = 48;

/// Something that is drawn.
#[derive(Debug)]
enum Step {
    Message { from: u64, to: u64, text: String, answer: bool, key: u64 },
    End { at: u64 },
    Lost(u64),
}

impl Step {
    /// Steps that look alike but for arguments and times.
    fn same(&self, other: &Step) -> bool {
        match (self, other) {
            (Step::Message { from, to, answer, key, .. }, Step::Message { from: f, to: t, answer: a, key: k, .. }) => {
                (from, to, answer, key) == (f, t, a, k)
            }
            _ => false,
        }
    }
}

/// What is to be drawn.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    steps: Vec<Step>,
    labels: HashMap<u64, String>,
    /// Methods and ids, numbered.
    keys: HashMap<String, u64>,
    /// In the order in which they appear.
    tasks: Vec<u64>,
}

impl Picture {
    /// Adds an event, if it is one that is drawn.
    pub(crate) fn add(&mut self, event: &Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Ended(party, _) if self.labels.contains_key(&party.task) => self.steps.push(Step::End { at: party.task }),
            Event::Lost(records) => self.steps.push(Step::Lost(*records)),
            _ => {}
        }
    }

    fn know(&mut self, party: &Party) {
        if !self.tasks.contains(&party.task) {
            self.tasks.push(party.task);
        }
        let label = if party.label.is_empty() { party.text() } else { party.label.clone() };
        // A label is its task's own words; it must not become something else in a picture.
        self.labels.insert(party.task, line(&label).into_owned());
    }

    fn message(&mut self, message: &Message) {
        self.know(&message.from);
        self.know(&message.to);
        let name = message.method.clone().unwrap_or_else(|| format!("#{}", message.sent.id));
        let rights = message.rights().join(" ");
        let text = match message.kind {
            Kind::Answer { after, .. } => {
                let says = if message.says.is_empty() || message.raw { "" } else { &message.says };
                format!("{}: {says} {rights}", duration(after))
            }
            _ => {
                let says = if message.raw { "" } else { &message.says };
                format!("{name}{}{says} {rights}", if says.starts_with('(') { "" } else { " " })
            }
        };
        let text: String = text.chars().map(|c| if steers(c) { ' ' } else { c }).collect();
        let words = text.trim_end_matches([' ', ':']).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = if words.chars().count() > TEXT { words.chars().take(TEXT - 1).chain(['…']).collect() } else { words };
        let next = self.keys.len() as u64;
        let key = *self.keys.entry(format!("{name} {}", message.failed)).or_insert(next);
        let (from, to) = (message.from.task, message.to.task);
        self.steps.push(Step::Message { from, to, text, answer: message.is_answer(), key });
    }

    /// The diagram.
    pub(crate) fn draw(&self) -> Diagram {
        let called = |task: &u64| {
            let label = self.labels.get(task).cloned().unwrap_or_default();
            let twin = self.labels.iter().any(|(other, name)| other != task && *name == label);
            if twin { Party { task: *task, label }.text() } else { label }
        };
        let names: HashMap<u64, String> = self.tasks.iter().map(|task| (*task, called(task))).collect();
        let columns: Vec<&str> = self.tasks.iter().map(|task| names[task].as_str()).collect();
        let mut diagram = Diagram::new(&columns);
        let (mut at, mut drawn) = (0, 0);
        while at < self.steps.len() && drawn < STEPS {
            let (period, times) = self.repeats(at);
            if times > 1 {
                diagram.begin_repeat(&format!("{} times", grouped(times as u64)));
            }
            for step in &self.steps[at..at + period] {
                match step {
                    Step::Message { from, to, text, answer: false, .. } => diagram.message(&names[from], &names[to], text),
                    Step::Message { from, to, text, answer: true, .. } => diagram.answer(&names[from], &names[to], text),
                    Step::End { at } => diagram.end(&names[at], "has ended"),
                    Step::Lost(records) => {
                        if let Some(first) = columns.first() {
                            diagram.note(first, &format!("{} missing", plural(*records, "record")));
                        }
                    }
                }
            }
            if times > 1 {
                diagram.end_repeat();
            }
            at += period * times;
            drawn += period;
        }
        if let Some(first) = columns.first().filter(|_| at < self.steps.len()) {
            diagram.note(first, &format!("… and {} that are not drawn", plural((self.steps.len() - at) as u64, "step")));
        }
        diagram
    }

    /// How many steps from `at` on repeat how often: the choice that leaves least to draw.
    fn repeats(&self, at: usize) -> (usize, usize) {
        let mut best = (1, 1);
        for period in 1..=PERIOD {
            let mut end = at + period;
            while end < self.steps.len() && self.steps[end].same(&self.steps[end - period]) {
                end += 1;
            }
            let times = (end - at) / period;
            if times > 2 && period * times > best.0 * best.1 {
                best = (period, times);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use umach_abi::records::trace;

    use super::super::story::Story;
    use super::super::story::tests::{sent, task};
    use super::*;

    #[test]
    fn repeats_are_folded_and_the_rest_is_counted() {
        let (mut story, mut picture) = (Story::default(), Picture::default());
        let mut add = |entry| {
            if let Some(event) = story.tell(entry) {
                picture.add(&event);
            }
        };
        add(task(1, "client"));
        add(task(2, "server"));
        add(sent(1, 0, 1, 2, 7, 0, 5, 0));
        for number in 0..1000 {
            add(sent(2 + 2 * number, number, 1, 2, 40, trace::REPLY_ONCE, 5, 9));
            add(sent(3 + 2 * number, number, 2, 1, 140, trace::ONCE, 9, 0));
        }
        let mermaid = picture.draw().to_mermaid();
        assert!(mermaid.contains("loop 1,000 times") && mermaid.lines().count() < 10, "{mermaid}");
        let mut hostile = Picture::default();
        let mut story = Story::default();
        story.tell(task(1, "x\n    A0->>A0: forged\x1b[0m"));
        hostile.add(&story.tell(sent(1, 0, 1, 2, 7, 0, 5, 0)).unwrap());
        let drawn = hostile.draw();
        assert!(!drawn.to_mermaid().contains("\n    A0->>A0") && !drawn.to_svg().contains('\x1b'));
        let mut picture = Picture::default();
        let mut story = Story::default();
        for number in 0..2000 {
            picture.add(&story.tell(sent(number, 0, 1, 2, number as i32, 0, 5, 0)).unwrap());
        }
        let text = picture.draw().to_text();
        assert!(text.contains("1,500 steps that are not drawn"), "{text}");
    }
}
