//! What the screen looks like. Draws frames and states; asks nobody anything.

use std::time::Duration;

use ratatui::Frame as Screenful;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState};

use super::app::{App, Screen};
use super::model::{Frame, How, PortRow, TaskRow};
use crate::foreign::line;
use crate::ids::{PortNumber, TaskNumber};
use crate::text;

/// What is told about the kernel at the top.
#[derive(Debug, Clone, Default)]
pub(super) struct Header {
    pub(super) kernel: u32,
    pub(super) socket: String,
    pub(super) mode: String,
    /// For how long the kernel process has not answered, if that is long.
    pub(super) silent: Option<Duration>,
}

/// Draws everything. `detail` is the text about the task that is looked into.
pub(super) fn draw(to: &mut Screenful<'_>, header: &Header, frame: &Frame, app: &App, detail: &str) {
    let hints = hints(frame);
    let [top, body, bottom, keys] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(4), Constraint::Length(hints.len() as u16), Constraint::Length(1)])
            .areas(to.area());
    to.render_widget(Paragraph::new(title(header, frame, app)), top);
    match app.screen {
        Screen::Task(task) => draw_detail(to, body, frame, task, detail, app.scroll),
        _ => draw_lists(to, body, frame, app),
    }
    to.render_widget(Paragraph::new(hints), bottom);
    to.render_widget(Paragraph::new(footer(app)), keys);
    match app.screen {
        Screen::Help => draw_popup(to, "keys", HELP),
        Screen::Kill(task) => {
            let name = name_of(frame, task);
            draw_popup(
                to,
                "end a task",
                &format!("End {name}?\n\nIts rights are gone at once, its process is killed.\n\ny ends it, any other key does not"),
            );
        }
        _ => {}
    }
}

const HELP: &str = "\
↑ ↓ PgUp PgDn Home End  choose a task
Enter                   look into it: its rights, ports, links
s                       sort by messages, queue, names, id
/                       show tasks whose label has this in it (Esc: all)
p, space                pause
r                       look again now
k                       end the task (asks first)
q, Ctrl-C               leave; Ctrl-Z stops it, fg goes on

DOES: serves (a thread waits for whatever comes), calls (waits for
an answer), sends (waits for room), runs, stopped.
MSG/S is sent + received; DIRECT the part of those sent that went
over links, past the kernel process. A queue's bar is what waits
in the kernel process and on links, against its limit.";

fn title(header: &Header, frame: &Frame, app: &App) -> Vec<Line<'static>> {
    let mut first = vec![
        Span::from("umach top").bold(),
        format!("  kernel {} at {}", header.kernel, header.socket).into(),
        format!("  direct {}", header.mode).dim(),
    ];
    if app.paused {
        first.push("  paused".yellow());
    }
    if let Some(silent) = header.silent {
        first.push(format!("  has not answered for {} s", silent.as_secs()).red());
    }
    let second = Line::from(format!(
        "{}, {}, {} messages/s ({} direct), by {}{}",
        text::plural(frame.tasks.len() as u64, "task"),
        text::plural(frame.ports.len() as u64, "port"),
        number(frame.messages_per_second),
        number(frame.direct_per_second),
        app.sort.word(),
        if app.filter.is_empty() { String::new() } else { format!(", only `{}`", app.filter) }
    ));
    vec![Line::from(first), second]
}

fn footer(app: &App) -> Line<'static> {
    if app.typing {
        return Line::from(vec!["/".bold(), app.filter.clone().into(), "▏".slow_blink(), "  Enter keeps it, Esc shows all".dim()]);
    }
    if !app.said.is_empty() {
        return app.said.clone().yellow().into();
    }
    let keys = match app.screen {
        Screen::Task(_) => "Esc back  ↑↓ scroll  k end it",
        _ => "? help  ↑↓ choose  Enter look into  s sort  / filter  p pause  k end  q leave",
    };
    keys.dim().into()
}

/// Circles of waiting tasks, one line each, the stuck ones first.
fn hints(frame: &Frame) -> Vec<Line<'static>> {
    const MOST: usize = 3;
    let mut circles: Vec<_> = frame.circles.iter().collect();
    circles.sort_by_key(|circle| !circle.stuck);
    let line = |circle: &&super::model::Circle| {
        let first = circle.tasks.first().copied().unwrap_or(0);
        let round: Vec<String> = circle.tasks.iter().chain([&first]).map(|task| name_of(frame, *task)).collect();
        let round = round.join(" → ");
        if circle.stuck {
            Line::from(format!("✖ stuck: {round} wait for each other; nobody will move").red().bold())
        } else {
            Line::from(format!("! {round} wait for each other").yellow())
        }
    };
    circles.iter().take(MOST).map(line).collect()
}

fn name_of(frame: &Frame, task: u64) -> String {
    let label = frame.labels.get(&task).map_or("", String::as_str);
    format!("{} {}", TaskNumber(task), line(label)).trim_end().to_owned()
}

/// `0`, `7.5`, `1,234`.
fn number(value: f64) -> String {
    match value {
        value if value < 0.05 => "0".to_owned(),
        value if value < 9.95 => format!("{value:.1}"),
        value => text::grouped(value.round() as u64),
    }
}

/// A bar of so many cells; eighths of them count. What is over the limit fills it.
fn bar(part: f64, cells: usize) -> Span<'static> {
    let eighths = (part.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    // Something is never drawn as nothing.
    let eighths = if part > 0.0 { eighths.max(1) } else { 0 };
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let full = "█".repeat(eighths / 8) + PARTS[eighths % 8];
    let empty = cells - eighths.div_ceil(8);
    let color = match part {
        part if part >= 0.9 => Color::Red,
        part if part >= 0.5 => Color::Yellow,
        _ => Color::Green,
    };
    Span::styled(full + &"·".repeat(empty), Style::new().fg(color))
}

fn draw_lists(to: &mut Screenful<'_>, area: Rect, frame: &Frame, app: &App) {
    // Tasks get what they need, up to three fifths.
    let wanted = frame.tasks.len() as u16 + 2;
    let most = (area.height * 3 / 5).max(4);
    let [tasks, ports] = Layout::vertical([Constraint::Length(wanted.min(most)), Constraint::Min(3)]).areas(area);
    draw_tasks(to, tasks, frame, app);
    draw_ports(to, ports, frame);
}

fn heading(titles: &[&'static str]) -> Row<'static> {
    Row::new(titles.iter().map(|title| Line::from(*title))).style(Style::new().add_modifier(Modifier::BOLD))
}

fn right(text: String) -> Line<'static> {
    Line::from(text).right_aligned()
}

fn draw_tasks(to: &mut Screenful<'_>, area: Rect, frame: &Frame, app: &App) {
    let wide = area.width >= 110;
    let row = |row: &TaskRow| {
        let name = |task: &u64| if wide { name_of(frame, *task) } else { TaskNumber(*task).to_string() };
        let waits = row.waits_for.iter().map(name).collect::<Vec<_>>().join(", ");
        let part = row.queued_bytes as f64 / row.queued_bytes_limit.max(1) as f64;
        let mut cells = vec![
            Line::from(TaskNumber(row.task).to_string()),
            Line::from(line(&row.label).into_owned()),
            Line::from(row.state.to_owned()),
            right(number(row.sent_per_second + row.received_per_second)),
            right(number(row.direct_per_second)),
            right(text::bytes(row.queued_bytes)),
        ];
        if wide {
            cells.extend([
                Line::from(bar(part, 8)),
                right(row.names.to_string()),
                right(row.ports.to_string()),
                right(row.links.to_string()),
                right(row.pid.to_string()),
            ]);
        }
        cells.push(Line::from(if waits.is_empty() { String::new() } else { format!("→ {waits}") }));
        Row::new(cells)
    };
    let mut widths = vec![Constraint::Length(8), Constraint::Fill(3)];
    widths.extend([7, 9, 9, 10].map(Constraint::Length));
    let mut titles = vec!["TASK", "LABEL", "DOES", "    MSG/S", "   DIRECT", "    QUEUED"];
    if wide {
        widths.extend([8, 7, 6, 5, 8].map(Constraint::Length));
        titles.extend(["QUOTA", "  NAMES", " PORTS", "LINKS", "     PID"]);
    }
    widths.push(if wide { Constraint::Fill(2) } else { Constraint::Length(10) });
    titles.push("WAITS FOR");
    let table = Table::new(frame.tasks.iter().map(row), widths)
        .header(heading(&titles))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::BOTTOM).border_style(Style::new().dim()));
    let mut state = TableState::new().with_selected((!frame.tasks.is_empty()).then(|| app.line(frame)));
    to.render_stateful_widget(table, area, &mut state);
}

fn draw_ports(to: &mut Screenful<'_>, area: Rect, frame: &Frame) {
    let cells = if area.width >= 110 { 24 } else { 10 };
    let row = |row: &PortRow| {
        let waiting = row.queued.saturating_add(row.ahead);
        let mut queue =
            vec![bar(f64::from(waiting) / f64::from(row.queue_limit.max(1)), cells), format!(" {waiting}/{}", row.queue_limit).into()];
        if row.blocked_senders > 0 {
            queue.push(format!(" +{} wait", row.blocked_senders).red());
        }
        Row::new([
            Line::from(PortNumber(row.port).to_string()),
            Line::from(row.receiver.map_or("-".to_owned(), |task| name_of(frame, task))),
            right(number(row.received_per_second)),
            Line::from(queue),
            right(row.routes.to_string()),
        ])
    };
    let widths =
        [Constraint::Length(7), Constraint::Fill(2), Constraint::Length(9), Constraint::Length(cells as u16 + 22), Constraint::Length(6)];
    let titles = ["PORT", "RECEIVER", "    MSG/S", "QUEUE", "ROUTES"];
    // What does not fit is said.
    let room = usize::from(area.height.saturating_sub(1));
    let shown = if frame.ports.len() > room { room.saturating_sub(1) } else { frame.ports.len() };
    to.render_widget(Table::new(frame.ports.iter().take(shown).map(row), widths).header(heading(&titles)), area);
    if shown < frame.ports.len() {
        let last = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
        to.render_widget(Paragraph::new(format!("and {} more", frame.ports.len() - shown).dim()), last);
    }
}

fn draw_detail(to: &mut Screenful<'_>, area: Rect, frame: &Frame, task: u64, detail: &str, scroll: u16) {
    let row = frame.task(task);
    let mut lines = vec![Line::from(name_of(frame, task).bold())];
    match row {
        None if frame.labels.contains_key(&task) => lines.push("the filter leaves it out".yellow().into()),
        None => lines.push("it has ended".red().into()),
        Some(row) => {
            lines.push(Line::from(format!(
                "process {}, {}, {} sent/s ({} directly, {}/s), {} received/s, {} queued",
                row.pid,
                row.state,
                number(row.sent_per_second),
                number(row.direct_per_second),
                text::bytes(row.direct_bytes_per_second as u64),
                number(row.received_per_second),
                text::bytes(row.queued_bytes)
            )));
            for wait in frame.waits.iter().filter(|wait| wait.task == task || wait.on == task) {
                let what = if wait.how == How::Answer { "an answer of" } else { "room at" };
                lines.push(Line::from(format!("{} waits for {what} {}", name_of(frame, wait.task), name_of(frame, wait.on))));
            }
        }
    }
    lines.push(Line::default());
    let fixed = lines.len() as u16;
    let [head, rest] = Layout::vertical([Constraint::Length(fixed), Constraint::Min(1)]).areas(area);
    to.render_widget(Paragraph::new(lines), head);
    let longest = (detail.lines().count() as u16).saturating_sub(rest.height);
    to.render_widget(Paragraph::new(detail.to_owned()).scroll((scroll.min(longest), 0)), rest);
}

fn draw_popup(to: &mut Screenful<'_>, title: &str, content: &str) {
    let area = to.area();
    let width = (content.lines().map(|line| line.chars().count()).max().unwrap_or(0) as u16 + 4).min(area.width);
    let height = (content.lines().count() as u16 + 2).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    to.render_widget(Clear, place);
    let block = Block::bordered().title(format!(" {title} ")).padding(ratatui::widgets::Padding::horizontal(1));
    to.render_widget(Paragraph::new(content.to_owned()).block(block), place);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::{Port, Sample, Sort, Task, Wait};
    use super::*;

    fn sample(seconds: f64, messages: u64) -> Sample {
        let task = |label: &str, by_links: u64| Task {
            label: label.into(),
            pid: 42,
            by_links,
            queued_bytes: 3 << 20,
            queued_limit: 4 << 20,
            ..Task::default()
        };
        let wait = |task, on| Wait { task, on, port: 0, how: How::Answer };
        let id = |slot: u64| 1 << 32 | slot;
        Sample {
            seconds,
            tasks: BTreeMap::from([(id(1), task("name-server", 0)), (id(2), task("client", messages)), (id(3), task("printer", 0))]),
            ports: BTreeMap::from([
                (id(7), Port { receiver: id(1), queued: 4, limit: 5, blocked: 2, ..Port::default() }),
                (id(8), Port { receiver: id(3), limit: 5, ..Port::default() }),
            ]),
            waits: vec![wait(id(2), id(3)), wait(id(3), id(2))],
            ..Sample::default()
        }
    }
    fn drawn(width: u16, height: u16, app: &App, detail: &str) -> String {
        let frame = Frame::new(Some(&sample(0.0, 0)), &sample(2.0, 5000), Sort::Messages, &app.filter);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let header = Header { kernel: 99, socket: "/run/umach".into(), mode: "auto".into(), silent: None };
        terminal.draw(|to| draw(to, &header, &frame, app, detail)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn list_shows_tasks_ports_bars_waits_and_circles_at_every_size() {
        for (width, height) in [(80, 24), (140, 40), (80, 12)] {
            let screen = drawn(width, height, &App::default(), "");
            for part in [
                "kernel 99",
                "name-server",
                "client",
                "2,500",
                "→ T3 printer",
                "████",
                "4/5 +2 wait",
                "stuck: T2 client → T3 printer → T2 client",
                "q leave",
            ] {
                assert!(screen.contains(part), "{part} at {width}x{height}:\n{screen}");
            }
            // The busiest comes first.
            assert!(screen.find("T2 ").unwrap() < screen.find("T1 ").unwrap(), "{screen}");
        }
    }

    #[test]
    fn screens_on_top_say_what_they_are_for() {
        let with = |screen| App { screen, ..App::default() };
        let help = drawn(80, 24, &with(Screen::Help), "");
        assert!(help.contains("┌ keys") && help.contains("Ctrl-C") && help.contains("against its limit."), "{help}");
        let kill = drawn(80, 24, &with(Screen::Kill(1 << 32 | 2)), "");
        assert!(kill.contains("End T2 client?"), "{kill}");
        let look = drawn(80, 24, &with(Screen::Task(1 << 32 | 2)), "NAME  RIGHTS\n0x103 send");
        assert!(
            look.contains("0x103 send") && look.contains("T2 client waits for an answer of T3 printer") && look.contains("Esc back"),
            "{look}"
        );
        let gone = drawn(80, 24, &with(Screen::Task(77)), "");
        assert!(gone.contains("it has ended"), "{gone}");
        let typing = drawn(80, 24, &App { typing: true, filter: "cli".into(), ..App::default() }, "");
        assert!(typing.contains("/cli") && typing.contains("only `cli`") && !typing.contains("T1 "), "{typing}");
    }

    #[test]
    fn bar_is_as_long_as_its_part() {
        let text = |part| bar(part, 4).content.into_owned();
        assert_eq!([text(0.0), text(0.5), text(1.0), text(7.0)], ["····", "██··", "████", "████"]);
        assert_eq!(text(0.0001), "▏···");
    }
}
