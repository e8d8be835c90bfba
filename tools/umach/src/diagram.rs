//! Sequence diagrams: who said what to whom, in order. One description, three pictures: text for a terminal, Mermaid, SVG.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// A sequence of steps between actors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagram {
    actors: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A message; `answer` draws it dashed.
    Arrow { from: usize, to: usize, text: String, answer: bool },
    /// Something that happens at one actor.
    Note { at: usize, text: String },
    /// The actor is gone.
    End { at: usize, text: String },
    /// What comes up to the next [`Step::Again`] happens several times.
    Repeat { text: String },
    /// The end of that.
    Again,
}

impl Step {
    /// The columns that it touches.
    fn columns(&self) -> Vec<usize> {
        match self {
            Step::Arrow { from, to, .. } => vec![*from, *to],
            Step::Note { at, .. } | Step::End { at, .. } => vec![*at],
            Step::Repeat { .. } | Step::Again => Vec::new(),
        }
    }
}

impl Diagram {
    /// A diagram with these actors, from left to right.
    pub(crate) fn new(actors: &[&str]) -> Diagram {
        Diagram { actors: actors.iter().map(|actor| (*actor).to_owned()).collect(), steps: Vec::new() }
    }
    /// An actor's column; one that is new comes last.
    fn column(&mut self, actor: &str) -> usize {
        self.actors.iter().position(|known| known == actor).unwrap_or_else(|| {
            self.actors.push(actor.to_owned());
            self.actors.len() - 1
        })
    }
    /// A message.
    pub(crate) fn message(&mut self, from: &str, to: &str, text: &str) {
        self.arrow(from, to, text, false);
    }
    /// An answer.
    pub(crate) fn answer(&mut self, from: &str, to: &str, text: &str) {
        self.arrow(from, to, text, true);
    }
    fn arrow(&mut self, from: &str, to: &str, text: &str, answer: bool) {
        let (from, to) = (self.column(from), self.column(to));
        self.steps.push(if from == to {
            Step::Note { at: from, text: text.to_owned() }
        } else {
            Step::Arrow { from, to, text: text.to_owned(), answer }
        });
    }
    /// Something that happens at one actor.
    pub(crate) fn note(&mut self, at: &str, text: &str) {
        let at = self.column(at);
        self.steps.push(Step::Note { at, text: text.to_owned() });
    }
    /// The actor ends here.
    pub(crate) fn end(&mut self, at: &str, text: &str) {
        let at = self.column(at);
        self.steps.push(Step::End { at, text: text.to_owned() });
    }

    /// What comes up to [`Diagram::end_repeat`] happens so often. Not within another.
    pub(crate) fn begin_repeat(&mut self, text: &str) {
        self.steps.push(Step::Repeat { text: text.to_owned() });
    }
    /// The end of what repeats.
    pub(crate) fn end_repeat(&mut self) {
        self.steps.push(Step::Again);
    }
    /// The picture in a file: an image if that is called .svg, else Mermaid text.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let svg = path.extension().is_some_and(|extension| extension == "svg");
        let content = if svg { self.to_svg() } else { self.to_mermaid() };
        std::fs::write(path, content).with_context(|| format!("write the diagram {}", path.display()))
    }

    /// Character columns of the lifelines, far enough apart for every text.
    fn positions(&self) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let mut at = vec![length(self.actors.first().map_or("", String::as_str)) / 2 + 1];
        for right in 1..self.actors.len() {
            let names = (length(&self.actors[right - 1]) + length(&self.actors[right])) / 2 + 3;
            let mut position = at[right - 1] + names;
            for step in &self.steps {
                match step {
                    Step::Arrow { from, to, text, .. } if *from.max(to) == right => {
                        position = position.max(at[*from.min(to)] + length(text) + 5);
                    }
                    Step::Note { at: column, text } | Step::End { at: column, text } if column + 1 == right => {
                        position = position.max(at[*column] + length(text) + 4);
                    }
                    _ => {}
                }
            }
            at.push(position);
        }
        at
    }

    /// For a terminal.
    pub(crate) fn to_text(&self) -> String {
        let at = self.positions();
        let mut alive = vec![true; self.actors.len()];
        let mut out = String::new();
        let mut names = Canvas::default();
        for (actor, position) in self.actors.iter().zip(&at) {
            names.put(position.saturating_sub(actor.chars().count() / 2), actor);
        }
        names.end_line(&mut out);
        for step in &self.steps {
            let mut line = Canvas::default();
            for (position, _) in at.iter().zip(&alive).filter(|(_, alive)| **alive) {
                line.put(*position, "│");
            }
            match step {
                Step::Arrow { from, to, text, answer } => {
                    let (left, right) = (at[*from.min(to)], at[*from.max(to)]);
                    let stroke = if *answer { "┄" } else { "─" };
                    line.put(left + 1, &stroke.repeat(right - left - 1));
                    line.put(left + 3, text);
                    if from < to {
                        line.put(right - 1, "▶");
                    } else {
                        line.put(left + 1, "◀");
                    }
                }
                Step::Note { at: column, text } => line.put(at[*column], &format!("● {text}")),
                Step::End { at: column, text } => {
                    line.put(at[*column], &format!("✖ {text}"));
                    alive[*column] = false;
                }
                Step::Repeat { text } => line.put(at.first().map_or(0, |first| first + 1), &format!("╭╴{text} ")),
                Step::Again => line.put(at.first().map_or(0, |first| first + 1), "╰╴"),
            }
            line.end_line(&mut out);
        }
        out
    }

    /// As Mermaid text.
    pub(crate) fn to_mermaid(&self) -> String {
        // A semicolon or hash ends or escapes a statement in Mermaid.
        let clean = |text: &str| text.replace('#', "#35;").replace(';', "#59;");
        let mut out = String::from("sequenceDiagram\n");
        for (number, actor) in self.actors.iter().enumerate() {
            let _ = writeln!(out, "    participant A{number} as {}", clean(actor));
        }
        for step in &self.steps {
            let _ = match step {
                Step::Arrow { from, to, text, answer } => {
                    writeln!(out, "    A{from}{}A{to}: {}", if *answer { "-->>" } else { "->>" }, clean(text))
                }
                Step::Note { at, text } => writeln!(out, "    Note over A{at}: {}", clean(text)),
                Step::End { at, text } => writeln!(out, "    Note over A{at}: ✖ {}", clean(text)),
                Step::Repeat { text } => writeln!(out, "    loop {}", clean(text)),
                Step::Again => writeln!(out, "    end"),
            };
        }
        out
    }

    /// As an SVG image.
    pub(crate) fn to_svg(&self) -> String {
        const CHARACTER: usize = 8;
        const LINE: usize = 26;
        let clean = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let at: Vec<usize> = self.positions().into_iter().map(|column| (column + 2) * CHARACTER).collect();
        let y = |row: usize| 60 + row * LINE;
        let end_of = |actor: usize| self.steps.iter().position(|step| matches!(step, Step::End { at, .. } if *at == actor));
        let longest_last = self
            .steps
            .iter()
            .map(|step| if let Step::Note { text, .. } | Step::End { text, .. } = step { text.chars().count() } else { 0 })
            .max();
        let width = at.last().unwrap_or(&0) + (longest_last.unwrap_or(0) + 6) * CHARACTER;
        let height = y(self.steps.len()) + 10;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"monospace\" font-size=\"13\">\n<style>text{{paint-order:stroke;stroke:white;stroke-width:4px;stroke-linejoin:round}}.head{{stroke:none}}</style>\n<defs><marker id=\"tip\" markerWidth=\"9\" markerHeight=\"7\" refX=\"9\" refY=\"3.5\" \
             orient=\"auto\"><path d=\"M0 0L9 3.5L0 7z\"/></marker></defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        for (actor, name) in self.actors.iter().enumerate() {
            let (x, half) = (at[actor], name.chars().count() * CHARACTER / 2 + 8);
            let bottom = end_of(actor).map_or(height - 10, y);
            let _ = writeln!(out, "<line x1=\"{x}\" y1=\"38\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#999\"/>");
            let _ = writeln!(
                out,
                "<rect x=\"{}\" y=\"12\" width=\"{}\" height=\"26\" rx=\"4\" fill=\"#eef\" stroke=\"#669\"/>\
                 <text class=\"head\" x=\"{x}\" y=\"30\" text-anchor=\"middle\">{}</text>",
                x.saturating_sub(half),
                2 * half,
                clean(name)
            );
        }
        for (row, step) in self.steps.iter().enumerate() {
            let y = y(row);
            let _ = match step {
                Step::Arrow { from, to, text, answer } => {
                    let dash = if *answer { " stroke-dasharray=\"4 3\"" } else { "" };
                    writeln!(
                        out,
                        "<line x1=\"{}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"black\" marker-end=\"url(#tip)\"{dash}/>\
                         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                        at[*from],
                        at[*to],
                        (at[*from] + at[*to]) / 2,
                        y - 4,
                        clean(text)
                    )
                }
                Step::Note { at: actor, text } => {
                    writeln!(
                        out,
                        "<circle cx=\"{0}\" cy=\"{y}\" r=\"4\"/><text x=\"{1}\" y=\"{2}\">{3}</text>",
                        at[*actor],
                        at[*actor] + 10,
                        y + 4,
                        clean(text)
                    )
                }
                Step::End { at: actor, text } => writeln!(
                    out,
                    "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#b00\">✖</text><text x=\"{}\" y=\"{}\" fill=\"#b00\">{}</text>",
                    at[*actor],
                    y + 4,
                    at[*actor] + 10,
                    y + 4,
                    clean(text)
                ),
                Step::Repeat { text } => {
                    let inside = &self.steps[row + 1..];
                    let rows = inside.iter().position(|step| matches!(step, Step::Again)).unwrap_or(inside.len());
                    let columns = inside[..rows].iter().flat_map(Step::columns);
                    let (left, right) = (columns.clone().min().unwrap_or(0), columns.max().unwrap_or(0));
                    let (left, right) = (at[left].saturating_sub(24), at[right] + 24);
                    writeln!(
                        out,
                        "<rect x=\"{left}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\" fill=\"none\" stroke=\"#669\" \
                         stroke-dasharray=\"2 3\"/><text x=\"{}\" y=\"{}\" font-size=\"11\" font-weight=\"bold\" fill=\"#446\">⟳ {}</text>",
                        y - 12,
                        right - left,
                        (rows + 1) * LINE,
                        left + 6,
                        y + 1,
                        clean(text)
                    )
                }
                Step::Again => Ok(()),
            };
        }
        out.push_str("</svg>\n");
        out
    }
}

/// One line of characters that later ones are written over.
#[derive(Default)]
struct Canvas {
    cells: Vec<char>,
}

impl Canvas {
    fn put(&mut self, at: usize, text: &str) {
        for (offset, character) in text.chars().enumerate() {
            if self.cells.len() <= at + offset {
                self.cells.resize(at + offset + 1, ' ');
            }
            self.cells[at + offset] = character;
        }
    }
    fn end_line(self, out: &mut String) {
        out.push_str(self.cells.into_iter().collect::<String>().trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagram {
        let mut diagram = Diagram::new(&["client", "names", "files"]);
        diagram.message("client", "names", "look up \"files\"");
        diagram.answer("names", "client", "a send right");
        diagram.message("client", "files", "read <a & b>; 3");
        diagram.end("files", "killed");
        diagram.note("client", "dead name");
        diagram
    }

    #[test]
    fn text_has_every_step_and_ends_lifelines() {
        let text = sample().to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert!(lines[1].contains("look up \"files\"") && lines[1].contains('▶'));
        assert!(lines[2].contains("◀┄a send right"), "{text}");
        assert_eq!((lines[1].matches('│').count(), lines[4].matches('│').count(), lines[5].matches('│').count()), (3, 2, 1), "{text}");
    }

    #[test]
    fn repeat_is_a_loop_in_each_picture() {
        let mut diagram = Diagram::new(&["a", "b"]);
        diagram.begin_repeat("5 times");
        diagram.message("a", "b", "again");
        diagram.end_repeat();
        assert!(diagram.to_mermaid().contains("    loop 5 times\n    A0->>A1: again\n    end\n"));
        assert!(diagram.to_svg().contains("⟳ 5 times") && diagram.to_text().contains("╭╴5 times"));
    }

    #[test]
    fn mermaid_and_svg_escape_what_they_must() {
        assert!(sample().to_mermaid().contains("A0->>A2: read <a & b>#59; 3"));
        let svg = sample().to_svg();
        assert!(svg.contains("read &lt;a &amp; b&gt;; 3") && svg.trim_end().ends_with("</svg>"));
    }
}
