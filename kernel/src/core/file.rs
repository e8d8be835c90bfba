//! File lanes: how open files of tasks travel with messages.
//!
//! The kernel never holds a task's descriptor, because closing one can take for ever. A *file lane* is a socket pair between two tasks, which carries
//! descriptors one way; the kernel makes it and keeps neither end. The message that a file belongs to has a *token* in its place: lane and number,
//! which the kernel takes from the lane's sender only and gives to the lane's receiver only.
//!
//! * The receiver's end goes first, into the receiver's inbox, and then the sender's end with the answer: whatever the sender writes, the kernel is not
//!   among those who hold it.
//! * A file whose message is destroyed, or received by a task that the lane does not lead to, is *void*: the receiver is told when it asks for
//!   news, and closes it. That there is some, an event tells it.
//! * A lane is over when its sender has ended (or has given it up) and no message with a file of it is left; one that was handed out in an answer counts
//!   until the thread that got the answer asks for something else, since until then it may not have taken the file.
//!
//! Both tasks pay for a lane, as for a link.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use umach_abi::Code;
use umach_abi::Name;
use umach_abi::control::answer;
use umach_abi::limits::LANE_FILES_MAX;
use umach_abi::message::{self, Descriptor, Header};
use umach_abi::records::{FileLaneRow, FileRow, file_news};

use super::Core;
use super::destroy::Work;
use super::effect::{Attach, FileLaneId, LaneId, TaskId};
use super::event::Note;
use super::port::Receiver;
use super::quota::{Charge, Kind};

/// Rows of news in one answer, and of a listing.
const PAGE: usize = 256;

/// A way for open files from one task to another.
#[derive(Debug)]
pub(super) struct FileLane {
    pub(super) from: TaskId,
    pub(super) to: TaskId,
    /// Files in messages that were not received.
    pub(super) queued: u32,
    /// Files in answers that may not have been read.
    pub(super) unread: u32,
    /// Files whose messages are gone, of which the receiver has not heard.
    pub(super) void: u32,
    /// Nothing more is sent.
    pub(super) retired: bool,
    /// Its end is among the receiver's news.
    pub(super) ended: bool,
    pub(super) charges: [Charge; 2],
}

/// A file in a message: it is received, or void, or goes back to its sender.
#[derive(Debug)]
#[must_use = "a file's lane counts it"]
pub(super) struct FileToken {
    pub(super) lane: FileLaneId,
    pub(super) number: u32,
}

/// What a task has to do with file lanes.
#[derive(Debug, Default)]
pub(super) struct TaskFiles {
    /// It has an inbox.
    pub(super) inbox: bool,
    /// A note that there is something to look at waits to be pulled.
    pub(super) noted: bool,
    /// Lanes that it may send on, by the other task.
    pub(super) out: BTreeMap<TaskId, FileLaneId>,
    /// Lanes that lead to it.
    pub(super) into: BTreeSet<FileLaneId>,
    /// To be told, in order.
    pub(super) news: VecDeque<News>,
}

/// What has become of a file, or of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    Void(FileLaneId, u32),
    Ended(FileLaneId),
}

impl Core {
    pub(super) fn file_inbox(&mut self, lane: LaneId, task: TaskId) {
        if std::mem::replace(&mut self.tasks[task.0].files.inbox, true) {
            return self.reply::<answer::FileInbox>(lane, Err(Code::KERN_NAME_EXISTS));
        }
        self.reply_with(lane, answer::FileInbox {}, Attach::FileInbox(task));
    }

    /// The lane to whoever receives where `name` leads.
    pub(super) fn file_lane(&mut self, lane: LaneId, task: TaskId, name: Name, except: u64) {
        match self.find_file_lane(task, name, except) {
            Ok((id, None)) => self.reply(lane, Ok(answer::FileLane { lane: id.to_raw(), fresh: 0 })),
            Ok((id, Some(to))) => {
                let fields = answer::FileLane { lane: id.to_raw(), fresh: 1 };
                self.reply_with(lane, fields, Attach::NewFileLane { lane: id, to });
            }
            Err(code) => self.reply::<answer::FileLane>(lane, Err(code)),
        }
    }

    /// The lane, and where it leads if it is a new one.
    fn find_file_lane(&mut self, task: TaskId, name: Name, except: u64) -> Result<(FileLaneId, Option<TaskId>), Code> {
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        let port = entry.port().ok_or(Code::KERN_INVALID_CAPABILITY)?;
        let to = match self.ports.get(port.0).map(|port| port.receiver) {
            Some(Receiver::Space(to, _)) if self.living(to) => to,
            Some(Receiver::Transit(_)) => return Err(Code::KERN_NOT_RECEIVER),
            Some(Receiver::Kernel(_)) => return Err(Code::KERN_NOT_SUPPORTED),
            _ => return Err(Code::KERN_INVALID_CAPABILITY),
        };
        if let Some(&old) = self.tasks[task.0].files.out.get(&to) {
            if old.to_raw() != except {
                return Ok((old, None));
            }
            self.retire_file_lane(old);
        }
        if !self.tasks[to.0].files.inbox {
            return Err(Code::KERN_NOT_SUPPORTED);
        }
        let [one, other] = [task, to].map(|task| self.tasks[task.0].account);
        let one = self.ledger.charge(one, Kind::Links, 1).ok_or(Code::KERN_RESOURCE_SHORTAGE)?;
        let Some(other) = self.ledger.charge(other, Kind::Links, 1) else {
            self.ledger.release(one);
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        };
        let charges = [one, other];
        let new = FileLane { from: task, to, queued: 0, unread: 0, void: 0, retired: false, ended: false, charges };
        let id = FileLaneId(self.file_lanes.insert(new));
        self.tasks[task.0].files.out.insert(to, id);
        self.tasks[to.0].files.into.insert(id);
        Ok((id, Some(to)))
    }

    /// Its socket pair could not be made, or the inbox is full or closed.
    pub(super) fn undo_file_lane(&mut self, id: FileLaneId) {
        if let Some(lane) = self.file_lanes.get(id.0) {
            let to = lane.to;
            self.remove_file_lane(id);
            self.note_files(to);
        }
    }

    /// The task should look at its inbox and ask for news.
    fn note_files(&mut self, task: TaskId) {
        if let Some(entry) = self.tasks.get_mut(task.0)
            && entry.files.inbox
            && !std::mem::replace(&mut entry.files.noted, true)
        {
            self.raise(task, Note::Files);
        }
    }

    fn tell_files(&mut self, task: TaskId, news: News) {
        self.tasks[task.0].files.news.push_back(news);
        self.note_files(task);
    }

    // Files in messages.

    /// Whether the lanes take the files that a message claims to carry. Nothing changes.
    pub(super) fn check_files(&self, task: TaskId, bytes: &[u8], header: &Header) -> Result<(), Code> {
        if !header.is_complex() {
            return Ok(());
        }
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, descriptor) in message::descriptors(bytes) {
            let Ok(Descriptor::File { lane: raw, .. }) = descriptor else { continue };
            let Some(lane) = self.file_lanes.get(FileLaneId::from_raw(raw).0).filter(|lane| lane.from == task) else { continue };
            let count = counts.entry(raw).or_insert((lane.queued + lane.void) as usize);
            *count += 1;
            if *count > LANE_FILES_MAX {
                return Err(Code::MACH_SEND_NO_BUFFER);
            }
        }
        Ok(())
    }

    /// A file goes into a message. `None`: the lane is not the sender's, or is over.
    pub(super) fn take_file(&mut self, task: TaskId, raw: u64, number: u32) -> Option<FileToken> {
        let id = FileLaneId::from_raw(raw);
        let lane = self.file_lanes.get_mut(id.0).filter(|lane| lane.from == task && !lane.ended)?;
        lane.queued += 1;
        Some(FileToken { lane: id, number })
    }

    /// The message with the file is received by this task. `None`: the file is not for it.
    pub(super) fn deliver_file(&mut self, task: TaskId, token: FileToken) -> Option<FileToken> {
        match self.file_lanes.get_mut(token.lane.0) {
            Some(lane) if lane.to == task => {
                lane.queued -= 1;
                lane.unread += 1;
                Some(token)
            }
            _ => {
                self.void_file(token);
                None
            }
        }
    }

    /// The message with the file is gone.
    pub(super) fn void_file(&mut self, FileToken { lane: id, number }: FileToken) {
        let Some(lane) = self.file_lanes.get_mut(id.0) else { return };
        lane.queued -= 1;
        lane.void += 1;
        let to = lane.to;
        self.tell_files(to, News::Void(id, number));
        self.settle_file_lane(id);
    }

    /// The message with the file goes back to its sender, who has the file as well.
    pub(super) fn return_file(&mut self, token: FileToken) {
        if let Some(lane) = self.file_lanes.get_mut(token.lane.0) {
            lane.queued -= 1;
            self.settle_file_lane(token.lane);
        }
    }

    /// A thread that was given messages with files of these lanes has read its answer, or never will.
    pub(super) fn files_read(&mut self, lanes: Vec<FileLaneId>) {
        for id in lanes {
            if let Some(lane) = self.file_lanes.get_mut(id.0) {
                lane.unread -= 1;
                self.settle_file_lane(id);
            }
        }
    }

    // Ends.

    /// Nothing more is sent on the lane.
    fn retire_file_lane(&mut self, id: FileLaneId) {
        let lane = &mut self.file_lanes[id.0];
        lane.retired = true;
        let (from, to) = (lane.from, lane.to);
        if let Some(task) = self.tasks.get_mut(from.0)
            && task.files.out.get(&to) == Some(&id)
        {
            task.files.out.remove(&to);
        }
        self.settle_file_lane(id);
    }

    fn settle_file_lane(&mut self, id: FileLaneId) {
        let lane = &mut self.file_lanes[id.0];
        if lane.retired && !lane.ended && lane.queued == 0 && lane.unread == 0 {
            lane.ended = true;
            let to = lane.to;
            self.tell_files(to, News::Ended(id));
        }
    }

    fn remove_file_lane(&mut self, id: FileLaneId) {
        let Some(lane) = self.file_lanes.remove(id.0) else { return };
        if let Some(task) = self.tasks.get_mut(lane.from.0)
            && task.files.out.get(&lane.to) == Some(&id)
        {
            task.files.out.remove(&lane.to);
        }
        if let Some(task) = self.tasks.get_mut(lane.to.0) {
            task.files.into.remove(&id);
            if lane.void > 0 || lane.ended {
                task.files.news.retain(|news| !matches!(news, News::Void(other, _) | News::Ended(other) if *other == id));
            }
        }
        lane.charges.into_iter().for_each(|charge| self.ledger.release(charge));
    }

    /// One file lane of a task that has ended.
    pub(super) fn fall_file_lanes(&mut self, task: TaskId) {
        let Some(entry) = self.tasks.get_mut(task.0) else { return };
        let next = entry.files.out.values().next().copied();
        let ends = next.or_else(|| entry.files.into.first().copied());
        let Some(id) = ends else { return };
        self.work.push_front(Work::Files(task));
        match next {
            Some(id) => self.retire_file_lane(id),
            None => self.remove_file_lane(id),
        }
    }

    // What is told.

    pub(super) fn file_news(&mut self, task: TaskId) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        for _ in 0..PAGE {
            let Some(news) = self.tasks[task.0].files.news.pop_front() else { break };
            let row = match news {
                News::Void(lane, number) => {
                    self.file_lanes[lane.0].void -= 1;
                    FileRow { lane: lane.to_raw(), number, what: file_news::VOID }
                }
                News::Ended(lane) => {
                    self.file_lanes[lane.0].ended = false; // it is no longer among the news
                    self.remove_file_lane(lane);
                    FileRow { lane: lane.to_raw(), number: 0, what: file_news::ENDED }
                }
            };
            row.write(&mut rows);
        }
        (u32::from(!self.tasks[task.0].files.news.is_empty()), rows)
    }

    pub(super) fn host_file_lanes(&self, start: u32) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let mut lanes = self.file_lanes.iter_from(start);
        for (id, lane) in lanes.by_ref().take(PAGE) {
            let (sender, receiver) = (lane.from.to_raw(), lane.to.to_raw());
            FileLaneRow { lane: id.to_raw(), sender, receiver, queued: lane.queued, void: lane.void, flags: u32::from(lane.retired) }
                .write(&mut rows);
        }
        (lanes.next().map_or(0, |(id, _)| id.index()), rows)
    }

    // What must always hold.

    /// Checks that lanes, tasks, messages and answers agree about each other. `queued`: files in messages, by lane.
    pub(super) fn check_file_lanes(&self, queued: &BTreeMap<FileLaneId, u32>) -> Result<(), String> {
        let mut unread: BTreeMap<FileLaneId, u32> = BTreeMap::new();
        for id in self.lanes.iter().flat_map(|(_, lane)| &lane.files) {
            *unread.entry(*id).or_default() += 1;
        }
        for (id, lane) in self.file_lanes.iter() {
            let id = FileLaneId(id);
            let wrong = |what: &str| Err(format!("{id:?}: {what}: {lane:?}"));
            let count = |of: &BTreeMap<FileLaneId, u32>| of.get(&id).copied().unwrap_or(0);
            if (lane.queued, lane.unread) != (count(queued), count(&unread)) {
                return wrong(&format!("{} files are queued and {} unread", count(queued), count(&unread)));
            }
            let Some(to) = self.tasks.get(lane.to.0) else { return wrong("its receiver is no more") };
            if !to.files.into.contains(&id) {
                return wrong("its receiver does not know it");
            }
            let void = to.files.news.iter().filter(|news| matches!(news, News::Void(other, _) if *other == id)).count();
            let ended = to.files.news.iter().any(|news| matches!(news, News::Ended(other) if *other == id));
            if (void as u32, ended) != (lane.void, lane.ended) {
                return wrong("its receiver's news differ");
            }
            let known = self.tasks.get(lane.from.0).is_some_and(|from| from.files.out.get(&lane.to) == Some(&id));
            if known == lane.retired {
                return wrong("its sender is mistaken about whether it is retired");
            }
        }
        Ok(())
    }
}
