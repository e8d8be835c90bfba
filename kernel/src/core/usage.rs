//! What Linux knows of a task's process: memory and times. The core asks for it ([`Effect::ReadProcess`]) and is told at once.

use umach_abi::Code;
use umach_abi::task_info::{self, Usage};

use super::Core;
use super::effect::{Effect, Effects, TaskId};
use super::mail::Right;

/// Somebody who wants to know of a task, by a message.
#[derive(Debug)]
pub(super) struct AskedUsage {
    pub(super) caller: TaskId,
    pub(super) task: TaskId,
    /// Which of `task_info`'s arrays, and how long it may be.
    pub(super) flavor: u32,
    pub(super) room: usize,
    /// Where the answer goes, and its id.
    pub(super) reply: Right,
    pub(super) id: i32,
}

impl Core {
    pub(super) fn ask_usage(&mut self, asked: AskedUsage) {
        self.effects.push(Effect::ReadProcess(asked.task));
        self.asked_usage.push_back(asked);
    }

    /// What [`Effect::ReadProcess`] found: the effects are carried out in order, so it is for who asked first.
    pub fn process_read(&mut self, used: &Usage, effects: &mut Effects) {
        if let Some(asked) = self.asked_usage.pop_front() {
            let told = self.task_words(asked.task, asked.flavor, asked.room, used);
            self.answer_usage(asked, told);
        }
        self.settle(0, effects);
    }

    /// The array of one flavour.
    pub(super) fn task_words(&self, task: TaskId, flavor: u32, room: usize, used: &Usage) -> Result<Vec<u32>, Code> {
        self.tasks.get(task.0).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        let words = task_info::words(flavor, &self.task_row(task), used);
        words.and_then(|words| task_info::fitting(flavor, words, room)).ok_or(Code::KERN_INVALID_ARGUMENT)
    }
}
