//! The terminal: taken over, and given back however it ends. `ratatui` gives it back on a panic; signals end the loop in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event::{Event, KeyEventKind, poll, read};
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Watcher;
use super::app::{Action, App, Screen};
use super::draw::{Header, draw};
use crate::cmd::rights;
use crate::ids::{TaskNumber, Who};

/// How soon a signal is seen.
const GLANCE: Duration = Duration::from_millis(200);

/// Shows it until the user leaves.
pub(super) fn run(watcher: &mut Watcher, header: &Header, app: App, interval: Duration) -> Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    let mut terminal = ratatui::try_init().context("take over the terminal")?;
    let outcome = show(&mut terminal, watcher, header, app, interval, &ended);
    ratatui::try_restore().context("give the terminal back")?;
    outcome
}

fn show(
    terminal: &mut DefaultTerminal,
    watcher: &mut Watcher,
    header: &Header,
    mut app: App,
    interval: Duration,
    ended: &AtomicBool,
) -> Result<()> {
    // The first rates come soon.
    let mut next = Instant::now() + interval.min(GLANCE);
    while !ended.load(Ordering::Relaxed) {
        let frame = watcher.frame(app.sort, &app.filter);
        let detail = if let Screen::Task(task) = app.screen { detail(watcher, task) } else { String::new() };
        terminal.draw(|to| draw(to, header, &frame, &app, &detail))?;
        let action = loop {
            if ended.load(Ordering::Relaxed) {
                break Action::Quit;
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() && !app.paused {
                break Action::Sample;
            }
            let patience = if app.paused { GLANCE } else { left.min(GLANCE) };
            match poll(patience) {
                Ok(false) => continue,
                // A signal; the flag says which.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map(drop).context("read the keyboard")?,
            }
            match read().context("read the keyboard")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => break app.key(key, &frame),
                Event::Resize(..) => break Action::Draw,
                _ => {}
            }
        };
        match action {
            Action::Quit => break,
            Action::Draw => {}
            Action::Kill(task) => {
                app.said = match kill(watcher, task) {
                    Ok(()) => format!("{} was ended", TaskNumber(task)),
                    Err(error) => format!("{error:#}"),
                };
                next = Instant::now();
            }
            Action::Sample => {
                watcher.look()?;
                next = Instant::now() + interval;
            }
        }
    }
    Ok(())
}

fn kill(watcher: &Watcher, task: u64) -> Result<()> {
    for task in watcher.view.find(Who::Task(task))? {
        watcher.view.control(task)?.terminate()?;
    }
    Ok(())
}

/// The rights of a task, as `umach rights` lists them.
fn detail(watcher: &Watcher, task: u64) -> String {
    let listed = watcher.view.find(Who::Task(task)).and_then(|tasks| rights::listing(&watcher.view, &tasks));
    listed.unwrap_or_else(|error| format!("{error:#}\n"))
}
