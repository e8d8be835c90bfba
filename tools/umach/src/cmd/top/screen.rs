//! The terminal: taken over, and given back however it ends: by a key, a signal, an error, or a panic (for which `ratatui` has a hook). Ctrl-Z and SIGTSTP give it
//! back too, until the shell lets the program go on.
//!
//! The system is asked by a thread of its own ([`super::asker`]), so that keys and signals are heard even while the kernel process does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event::{Event, KeyEventKind, poll, read};
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, enable_raw_mode};
use ratatui::DefaultTerminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};

use super::Watcher;
use super::app::{Action, App, Screen};
use super::asker::{Ask, Asker};
use super::draw::{Header, draw};
use super::model::Frame;
use crate::ids::TaskNumber;

/// How soon a signal is seen.
const GLANCE: Duration = Duration::from_millis(200);
/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(1);
/// How soon an answer is.
const SOON: Duration = Duration::from_millis(10);
/// A kernel process that takes longer than this is said to be silent.
const SILENT: Duration = Duration::from_secs(2);

/// Signals that came and were not looked at yet.
#[derive(Debug, Clone, Default)]
struct Signals {
    end: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    go_on: Arc<AtomicBool>,
}

impl Signals {
    fn listen() -> Result<Signals> {
        let signals = Signals::default();
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, signals.end.clone())?;
        }
        end_anyway()?;
        signal_hook::flag::register(SIGTSTP, signals.stop.clone())?;
        signal_hook::flag::register(SIGCONT, signals.go_on.clone())?;
        Ok(signals)
    }
    fn action(&self) -> Option<Action> {
        let came = |flag: &AtomicBool| flag.swap(false, Ordering::Relaxed);
        match () {
            () if self.end.load(Ordering::Relaxed) => Some(Action::Quit),
            () if came(&self.stop) => Some(Action::Stop),
            () if came(&self.go_on) => Some(Action::GoOn),
            () => None,
        }
    }
}

/// What reads the keyboard goes on reading for ever from a terminal that is gone, and hears no signal. So who was told to end and has not is ended.
fn end_anyway() -> Result<()> {
    let mut told = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let watch = move || {
        if told.forever().next().is_some() {
            std::thread::sleep(GRACE);
            let _ = ratatui::try_restore();
            std::process::exit(1);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).context("start a thread")?;
    Ok(())
}

/// Shows it until the user leaves.
pub(super) fn run(watcher: Watcher, header: Header, app: App, interval: Duration) -> Result<()> {
    let signals = Signals::listen()?;
    let asker = Asker::start(watcher)?;
    let mut terminal = ratatui::try_init().context("take over the terminal")?;
    let outcome = show(&mut terminal, asker, header, app, interval, &signals);
    ratatui::try_restore().context("give the terminal back")?;
    outcome
}

fn show(
    terminal: &mut DefaultTerminal,
    mut asker: Asker,
    mut header: Header,
    mut app: App,
    interval: Duration,
    signals: &Signals,
) -> Result<()> {
    // The first rates come soon.
    let mut next = Instant::now() + interval.min(GLANCE);
    loop {
        header.silent = asker.waits_since().map(|since| since.elapsed()).filter(|waited| *waited >= SILENT);
        let frame = asker.frame(app.sort, &app.filter);
        let detail = if let Screen::Task(task) = app.screen { asker.detail(task) } else { "" };
        terminal.draw(|to| draw(to, &header, &frame, &app, detail))?;
        let screen = app.screen;
        match wait(&mut app, &frame, &mut asker, signals, next)? {
            Action::Quit => return Ok(()),
            Action::Stop => {
                // Who leaves for good shows the cursor by dropping the terminal.
                terminal.show_cursor()?;
                ratatui::try_restore().context("give the terminal back")?;
                signal_hook::low_level::emulate_default_handler(SIGTSTP).context("stop")?;
                // Its way back is SIGCONT.
            }
            Action::GoOn => take_again(terminal)?,
            Action::Draw => {}
            Action::Kill(task) => asker.ask(Ask::Kill(task)),
            Action::Sample => {
                asker.ask(Ask::Look(if let Screen::Task(task) = app.screen { Some(task) } else { None }));
                next = Instant::now() + interval;
            }
        }
        match app.screen {
            // What it holds is wanted now.
            Screen::Task(task) if app.screen != screen => asker.ask(Ask::Look(Some(task))),
            _ => {}
        }
    }
}

/// Waits until there is something to do: a signal, a key, an answer, or the time to look again.
fn wait(app: &mut App, frame: &Frame, asker: &mut Asker, signals: &Signals, next: Instant) -> Result<Action> {
    // A second that passes in silence is shown.
    let drawn = Instant::now();
    loop {
        if let Some(action) = signals.action() {
            return Ok(action);
        }
        if let Some(answer) = asker.answer() {
            if let Some((task, outcome)) = answer?.ended.take() {
                app.said = match outcome {
                    Ok(()) => format!("{} was ended", TaskNumber(task)),
                    Err(error) => format!("{error:#}"),
                };
                return Ok(Action::Sample);
            }
            return Ok(Action::Draw);
        }
        let waits = asker.waits_since();
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() && !app.paused && waits.is_none() {
            return Ok(Action::Sample);
        }
        let patience = match waits {
            Some(since) if since.elapsed() >= GLANCE => {
                if drawn.elapsed() >= Duration::from_secs(1) {
                    return Ok(Action::Draw);
                }
                GLANCE
            }
            Some(_) => SOON,
            None if app.paused => GLANCE,
            None => left.min(GLANCE),
        };
        match poll(patience) {
            Ok(false) => continue,
            // A signal; the flags say which.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map(drop).context("read the keyboard")?,
        }
        match read().context("read the keyboard")? {
            Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(app.key(key, frame)),
            Event::Resize(..) => return Ok(Action::Draw),
            _ => {}
        }
    }
}

/// Takes the terminal over again, whatever the shell has done with it meanwhile.
fn take_again(terminal: &mut DefaultTerminal) -> Result<()> {
    // If nobody gave it back (SIGSTOP asks nobody), the modes are not as crossterm believes.
    let _ = crossterm::terminal::disable_raw_mode();
    enable_raw_mode().context("take over the terminal again")?;
    crossterm::execute!(std::io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
    // One that believes that nothing is drawn yet. (`Terminal::clear` would ask where the cursor is, and wait for an answer.)
    *terminal = DefaultTerminal::new(CrosstermBackend::new(std::io::stdout()))?;
    Ok(())
}
