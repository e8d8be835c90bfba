//! A terminal for a program under test: a pseudo-terminal, and what its screen shows.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{DEADLINE, eventually};

/// One, with a program that it controls.
pub(crate) struct Terminal {
    master: File,
    /// The program's end, held to see its modes.
    end: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    before: String,
    pub(crate) child: Child,
}

impl Terminal {
    /// Starts it on a screen of so many lines and columns.
    pub(crate) fn start(command: &Command, lines: u16, columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let end = open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&end, size(lines, columns)).unwrap();
        let before = modes(&end);
        // A session of its own, whose terminal it is: else there would be no signals from it.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.env("TERM", "xterm-256color");
        let copy = || end.try_clone().unwrap();
        let child = session.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(lines), some(columns), 0)));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let mut from = File::from(master.try_clone().unwrap());
        let (to, all) = (screen.clone(), raw.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Fails when the last of the other ends is closed.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().process(&buffer[..count]);
                all.lock().unwrap().extend(&buffer[..count]);
            }
        });
        Terminal { master: File::from(master), end, screen, raw, before, child }
    }
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
    pub(crate) fn resize(&self, lines: u16, columns: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(some(lines), some(columns));
        tcsetwinsize(&self.end, size(lines, columns)).unwrap();
    }
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
    /// What is on the screen.
    pub(crate) fn shows(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }
    /// Everything that was ever written to it.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.raw.lock().unwrap()).into_owned()
    }
    pub(crate) fn await_text(&self, text: &str) {
        let shown = || self.shows().contains(text);
        let until = std::time::Instant::now() + DEADLINE;
        while !shown() {
            assert!(std::time::Instant::now() < until, "{text:?} is not on the screen:\n{}", self.shows());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    /// Whether the program has it for itself: the other screen, no cursor, raw modes.
    pub(crate) fn is_taken(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        parser.screen().alternate_screen() && parser.screen().hide_cursor() && modes(&self.end) != self.before
    }
    /// Whether it is as the program found it.
    pub(crate) fn is_given_back(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        !parser.screen().alternate_screen() && !parser.screen().hide_cursor() && modes(&self.end) == self.before
    }
    pub(crate) fn await_given_back(&self) {
        eventually("the terminal is as it was", || self.is_given_back());
    }
    /// `S`, `T`: the state of its process.
    pub(crate) fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn some(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has a size")
}

fn size(lines: u16, columns: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Everything that `stty` would save.
fn modes(of: &OwnedFd) -> String {
    let Termios { input_modes, output_modes, control_modes, local_modes, special_codes, .. } = tcgetattr(of).unwrap();
    format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?} {special_codes:?}")
}
