//! For a terminal: a line for each message, in columns; the caller stands on the left, of answers too.
//!
//! ```text
//!      TIME  FROM          TO                  SIZE  MESSAGE
//!  0.000112  T3 client   → T2 name-server      32 B  look_up("files")
//!  0.000153  T3 client   ← T2 name-server      24 B  └ 41 µs  ok  → send P9
//! ```

use std::time::Duration;

use super::story::{Event, Kind, Message, Party};
use crate::foreign::steers;
use crate::text::{Paint, bytes, duration, fitted, plural, width};

/// Columns of names begin so wide, and grow up to this.
const NAME: (usize, usize) = (18, 26);

/// How the lines are written.
pub(crate) struct Show {
    paint: Paint,
    /// Characters in a line; 0 if it may be as long as it wants.
    width: usize,
    names: [usize; 2],
    /// The call that was shown last.
    last: u64,
    /// Receives are shown too.
    all: bool,
}

/// A piece of a line.
struct Piece(fn(Paint, &str) -> String, String);

impl Show {
    pub(crate) fn new(paint: Paint, width: usize, all: bool) -> Show {
        Show { paint, width, names: [NAME.0; 2], last: 0, all }
    }

    /// The heading.
    pub(crate) fn heading(&self) -> String {
        let [from, to] = self.names;
        let text = format!("{:>11}  {:<from$}   {:<to$}  {:>8}  MESSAGE", "TIME", "FROM", "TO", "SIZE");
        format!("{}\n", self.paint.bold(&text))
    }

    /// The lines of an event, or none.
    pub(crate) fn line(&mut self, event: &Event) -> Option<String> {
        let pieces = match event {
            Event::Message(message) => self.message(message),
            Event::Fate(what, fate, waited) if self.all || !matches!(*what, "received") => {
                let waited = waited.map_or_else(String::new, |waited| format!(" after {}", duration(waited)));
                let bad = *what != "received" && *what != "arrived";
                let says = match *what {
                    "arrived" => format!("#{} had arrived over a link", fate.number),
                    what => format!("#{} {what}{waited}", fate.number),
                };
                let paint = if bad { Paint::yellow } else { Paint::dim };
                vec![self.time(fate.time), self.blank(), Piece(paint, says)]
            }
            Event::Ended(party, time) => vec![self.time(*time), Piece(Paint::dim, format!("✖ {} has ended", party.text()))],
            Event::Lost(records) => {
                let what = plural(*records, "record");
                vec![Piece(Paint::red, format!("{:>11}  {what} missing here: they came faster than they were read", ""))]
            }
            Event::Link(from, to, link) => {
                let what = format!(
                    "{:>11}  {} → {}: {} over the link, {}",
                    "",
                    from.text(),
                    to.text(),
                    plural(link.messages, "message"),
                    bytes(link.bytes)
                );
                vec![Piece(Paint::dim, what)]
            }
            Event::Fate(..) | Event::Task(_) | Event::End { .. } => return None,
        };
        Some(self.finish(pieces))
    }

    fn time(&self, time: u64) -> Piece {
        Piece(Paint::dim, format!("{:>11.6}  ", Duration::from_nanos(time).as_secs_f64()))
    }

    fn blank(&self) -> Piece {
        let [from, to] = self.names;
        Piece(Paint::plain, " ".repeat(from + 3 + to + 2 + 8 + 2))
    }

    fn column(&mut self, which: usize, party: &Party) -> String {
        let text = party.text();
        self.names[which] = self.names[which].max(width(&text)).min(NAME.1);
        fitted(&text, self.names[which])
    }

    fn message(&mut self, message: &Message) -> Vec<Piece> {
        let answer = message.is_answer();
        let (left, right) = if answer { (&message.to, &message.from) } else { (&message.from, &message.to) };
        let (left, right) = (self.column(0, left), self.column(1, right));
        let size = bytes(u64::from(message.sent.bytes) + u64::from(message.sent.annex));
        let mut pieces = vec![
            self.time(message.sent.time),
            Piece(Paint::cyan, left),
            Piece(Paint::plain, if answer { " ← " } else { " → " }.to_owned()),
            Piece(Paint::cyan, right),
            Piece(Paint::dim, format!("  {size:>8}  ")),
        ];
        let method = message.method.clone().unwrap_or_else(|| format!("#{}", message.sent.id));
        let named = message.method.is_some();
        let paint = if message.kind == Kind::Notification { Paint::yellow } else { Paint::bold };
        match message.kind {
            Kind::Answer { of, after } => {
                pieces.push(Piece(Paint::yellow, format!("└ {}", duration(after))));
                if of != self.last {
                    pieces.push(Piece(Paint::plain, format!("  {method}")));
                }
            }
            _ => {
                pieces.push(Piece(paint, method));
                self.last = message.sent.number;
            }
        }
        if let Some(port) =
            message.port.as_ref().filter(|_| !answer && *message.to.label != **message.port.as_ref().unwrap_or(&String::new()))
        {
            pieces.push(Piece(Paint::dim, format!(" at {port}")));
        }
        if !message.says.is_empty() {
            let apart = if message.says.starts_with('(') && named && !answer { "" } else { "  " };
            let says = format!("{apart}{}", message.says);
            pieces.push(Piece(if message.failed { Paint::red } else { Paint::plain }, says));
        }
        pieces.extend(message.rights().into_iter().map(|right| Piece(Paint::green, format!("  {right}"))));
        pieces.extend(message.oddities().into_iter().map(|odd| Piece(Paint::yellow, format!("  {odd}"))));
        if self.all {
            pieces.push(Piece(Paint::dim, format!("  #{}", message.sent.number)));
        }
        pieces
    }

    /// One line; on a terminal it is cut where that ends.
    fn finish(&self, pieces: Vec<Piece>) -> String {
        let mut left = if self.width == 0 { usize::MAX } else { self.width.max(40) };
        let mut line = String::new();
        let total: usize = pieces.iter().map(|piece| width(&piece.1)).sum();
        let cut = total > left;
        for Piece(paint, text) in pieces {
            // Nothing that a message says may move the cursor.
            let clean: String = text.chars().map(|c| if steers(c) { '·' } else { c }).collect();
            let length = width(&clean);
            if cut && length >= left {
                // Longer than there is room, so that it is cut.
                line.push_str(&paint(self.paint, &fitted(&format!("{clean}…"), left)));
                break;
            }
            line.push_str(&paint(self.paint, if length == 0 { "" } else { &clean }));
            left -= length;
        }
        let mut line = line.trim_end().to_owned();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use umach_abi::records::trace;

    use super::super::story::Story;
    use super::super::story::tests::{sent, task};
    use super::*;

    fn shown(width: usize, entries: Vec<super::super::Entry>) -> Vec<String> {
        let (mut story, mut show) = (Story::default(), Show::new(Paint::none(), width, false));
        entries.into_iter().filter_map(|entry| story.tell(entry)).filter_map(|event| show.line(&event)).collect()
    }

    #[test]
    fn columns_line_up_and_an_answer_stands_under_its_call() {
        let call = |number, time| sent(number, time, 1, 2, 40, trace::REPLY_ONCE, 5, 9);
        let lines = shown(
            0,
            vec![task(1, "client"), task(2, "server"), call(1, 1000), sent(2, 42_000, 2, 1, 140, trace::ONCE, 9, 0), call(3, 50_000)],
        );
        assert_eq!(lines[0], "   0.000001  T1 client          → T2 server               32 B  #40  \"abcdefgh\"\n");
        assert_eq!(lines[1], "   0.000042  T1 client          ← T2 server               32 B  └ 41 µs  \"abcdefgh\"\n");
    }

    #[test]
    fn line_ends_where_the_terminal_does_and_has_no_control_characters() {
        let lines = shown(60, vec![task(1, "cli\x1b[31ment"), sent(1, 0, 1, 1, 40, 0, 5, 0)]);
        assert_eq!(lines[0].trim_end().chars().count(), 60);
        assert!(!lines[0].contains('\x1b') && lines[0].trim_end().ends_with('…'), "{lines:?}");
    }
}
