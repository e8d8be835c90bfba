//! Who asks the system: a thread that takes samples when told to, so that nobody else waits for the kernel process.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Watcher;
use super::model::{Frame, Sample, Sort};
use crate::cmd::rights;
use crate::ids::Who;

/// What the thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Look again, and into this task.
    Look(Option<u64>),
    /// End a task.
    Kill(u64),
}

/// What it did.
#[derive(Debug)]
pub(super) struct Answer {
    before: Option<Sample>,
    now: Sample,
    /// The rights of a task, as `umach rights` lists them.
    detail: Option<(u64, String)>,
    /// A task that was to be ended.
    pub(super) ended: Option<(u64, Result<()>)>,
}

/// The thread as others see it, and its last answer.
pub(super) struct Asker {
    questions: Sender<Ask>,
    answers: Receiver<Result<Answer>>,
    last: Answer,
    /// Questions without an answer, and since when the oldest of them waits.
    open: Option<(u32, Instant)>,
}

impl Asker {
    pub(super) fn start(mut watcher: Watcher) -> Result<Asker> {
        let last = Answer { before: watcher.before.clone(), now: watcher.now.clone(), detail: None, ended: None };
        let (questions, asked) = channel();
        let (tell, answers) = channel();
        let work = move || {
            while let Ok(ask) = asked.recv() {
                if tell.send(watcher.answer(ask)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("asker".into()).spawn(work).context("start a thread")?;
        Ok(Asker { questions, answers, last, open: None })
    }
    pub(super) fn ask(&mut self, ask: Ask) {
        let (count, since) = self.open.unwrap_or((0, Instant::now()));
        self.open = Some((count + 1, since));
        // If the thread has panicked, `answer` tells.
        let _ = self.questions.send(ask);
    }
    /// An answer, if one came.
    pub(super) fn answer(&mut self) -> Option<Result<&mut Answer>> {
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => return Some(disconnected()),
        };
        self.open = self.open.filter(|(count, _)| *count > 1).map(|(count, _)| (count - 1, Instant::now()));
        match answer {
            Ok(mut answer) => {
                answer.detail = answer.detail.or_else(|| self.last.detail.take());
                self.last = answer;
                Some(Ok(&mut self.last))
            }
            Err(error) => Some(Err(error)),
        }
    }
    /// Since when an answer has been missing.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.open.map(|(_, since)| since)
    }
    pub(super) fn frame(&self, sort: Sort, filter: &str) -> Frame {
        Frame::new(self.last.before.as_ref(), &self.last.now, sort, filter)
    }
    /// What is known of a task's rights.
    pub(super) fn detail(&self, task: u64) -> &str {
        self.last.detail.as_ref().filter(|(of, _)| *of == task).map_or("", |(_, text)| text)
    }
}

fn disconnected<T>() -> Result<T> {
    bail!("the thread that asks the kernel process has ended")
}

impl Watcher {
    fn answer(&mut self, ask: Ask) -> Result<Answer> {
        let ended = match ask {
            Ask::Kill(task) => Some((task, self.kill(task))),
            Ask::Look(_) => {
                self.look()?;
                None
            }
        };
        let detail = if let Ask::Look(Some(task)) = ask { Some((task, self.detail(task))) } else { None };
        Ok(Answer { before: self.before.clone(), now: self.now.clone(), detail, ended })
    }
    fn kill(&self, task: u64) -> Result<()> {
        for task in self.view.find(Who::Task(task))? {
            self.view.control(task)?.terminate()?;
        }
        Ok(())
    }
    fn detail(&self, task: u64) -> String {
        let listed = self.view.find(Who::Task(task)).and_then(|tasks| rights::listing(&self.view, &tasks));
        listed.unwrap_or_else(|error| format!("{error:#}\n"))
    }
}
