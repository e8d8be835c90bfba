//! What keys do: the state of the screen. Pure, so that it can be tried without a terminal.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Frame, Sort};

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Screen {
    #[default]
    List,
    /// One task in detail.
    Task(u64),
    Help,
    /// Whether this task shall be ended.
    Kill(u64),
}

/// What the world is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Stop, until the shell says to go on.
    Stop,
    /// Take the terminal over again.
    GoOn,
    Kill(u64),
    /// Draw again.
    Draw,
    /// Look at the system again.
    Sample,
}

/// The state of the screen.
#[derive(Debug, Clone, Default)]
pub(super) struct App {
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) paused: bool,
    /// Follows the task, not the line.
    pub(super) selected: Option<u64>,
    /// Lines scrolled in the detail of a task.
    pub(super) scroll: u16,
    /// Said at the bottom until the next key.
    pub(super) said: String,
}

impl App {
    /// The line of the selected task; the first if it has gone.
    pub(super) fn line(&self, frame: &Frame) -> usize {
        self.selected.and_then(|task| frame.tasks.iter().position(|row| row.task == task)).unwrap_or(0)
    }
    fn current(&self, frame: &Frame) -> Option<u64> {
        frame.tasks.get(self.line(frame)).map(|row| row.task)
    }
    fn step(&mut self, frame: &Frame, by: isize) {
        let last = frame.tasks.len().saturating_sub(1);
        let line = self.line(frame).saturating_add_signed(by).min(last);
        self.selected = frame.tasks.get(line).map(|row| row.task);
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent, frame: &Frame) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Action::Quit;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('z') {
            return Action::Stop;
        }
        self.said.clear();
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => {
                    self.typing = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => {
                    self.filter.pop();
                }
                KeyCode::Char(letter) => self.filter.push(letter),
                _ => {}
            }
            return Action::Draw;
        }
        match self.screen {
            Screen::Kill(task) => {
                self.screen = Screen::List;
                if matches!(key.code, KeyCode::Char('y' | 'Y')) { Action::Kill(task) } else { Action::Draw }
            }
            Screen::Help => {
                self.screen = Screen::List;
                Action::Draw
            }
            Screen::Task(task) => self.key_in_task(key.code, task),
            Screen::List => self.key_in_list(key.code, frame),
        }
    }
    fn key_in_task(&mut self, code: KeyCode, task: u64) -> Action {
        match code {
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(10),
            KeyCode::Char('k') => self.screen = Screen::Kill(task),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('q') => self.screen = Screen::List,
            _ => {}
        }
        Action::Draw
    }
    fn key_in_list(&mut self, code: KeyCode, frame: &Frame) -> Action {
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('r') => return Action::Sample,
            KeyCode::Up => self.step(frame, -1),
            KeyCode::Down => self.step(frame, 1),
            KeyCode::PageUp => self.step(frame, -10),
            KeyCode::PageDown => self.step(frame, 10),
            KeyCode::Home => self.step(frame, isize::MIN),
            KeyCode::End => self.step(frame, isize::MAX),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.screen = Screen::Help,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Right => {
                self.scroll = 0;
                self.screen = self.current(frame).map_or(Screen::List, Screen::Task);
            }
            KeyCode::Char('k') | KeyCode::Delete => self.screen = self.current(frame).map_or(Screen::List, Screen::Kill),
            _ => {}
        }
        Action::Draw
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Sample, Task};
    use super::*;

    fn frame() -> Frame {
        let tasks = [3, 5, 9].map(|id| (id, Task { label: format!("t{id}"), ..Task::default() }));
        Frame::new(None, &Sample { tasks: tasks.into(), ..Sample::default() }, Sort::Id, "")
    }
    fn press(app: &mut App, code: KeyCode) -> Action {
        app.key(KeyEvent::from(code), &frame())
    }

    #[test]
    fn task_is_killed_only_after_a_yes() {
        let mut app = App::default();
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Char('k'));
        assert_eq!(app.screen, Screen::Kill(5));
        assert_eq!(press(&mut app, KeyCode::Char('n')), Action::Draw);
        assert_eq!(app.screen, Screen::List);
        press(&mut app, KeyCode::Char('k'));
        assert_eq!(press(&mut app, KeyCode::Char('y')), Action::Kill(5));
    }

    #[test]
    fn selection_follows_its_task_and_stays_in_the_list() {
        let mut app = App::default();
        for (code, line) in [(KeyCode::Up, 0), (KeyCode::PageDown, 2), (KeyCode::Up, 1), (KeyCode::Home, 0), (KeyCode::End, 2)] {
            press(&mut app, code);
            assert_eq!(app.line(&frame()), line, "{code:?}");
        }
        press(&mut app, KeyCode::Enter);
        assert_eq!(app.screen, Screen::Task(9));
        assert_eq!(press(&mut app, KeyCode::Char('q')), Action::Draw, "back to the list");
        assert_eq!(press(&mut app, KeyCode::Char('q')), Action::Quit);
        app.selected = Some(1234);
        assert_eq!(app.line(&frame()), 0, "it has gone");
    }

    #[test]
    fn letters_typed_into_the_filter_are_no_commands() {
        let mut app = App::default();
        press(&mut app, KeyCode::Char('/'));
        for letter in "qks".chars() {
            assert_eq!(press(&mut app, KeyCode::Char(letter)), Action::Draw);
        }
        press(&mut app, KeyCode::Backspace);
        press(&mut app, KeyCode::Enter);
        assert_eq!((app.filter.as_str(), app.typing, app.screen), ("qk", false, Screen::List));
        press(&mut app, KeyCode::Esc);
        assert!(app.filter.is_empty());
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        app.typing = true;
        assert_eq!(app.key(quit, &frame()), Action::Quit);
    }
}
