//! What goes out: does what the core asks for.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use rustix::process::{Signal as Linux, pidfd_send_signal};

use super::conn::{Along, AlongList, Conn, Owed, Sent, Stage};
use super::event_loop::Shell;
use super::poll::{Ready, Token};
use super::reaper::Region;
use super::{identity, objects, sys};
use crate::core::{Attach, Effect, LaneId, RegionId, Signal, TaskId};
use crate::{machine, plane};

impl Shell {
    /// Does everything in `self.effects`, and what comes of that, until nothing is left.
    #[inline]
    pub(super) fn execute(&mut self) {
        while !self.effects.is_empty() {
            let mut now = std::mem::replace(&mut self.effects, std::mem::take(&mut self.later));
            for effect in now.drain(..) {
                match effect {
                    Effect::Answer { lane, packet, attach } if attach.is_empty() => self.answer(lane, packet, AlongList::new()),
                    Effect::Answer { lane, packet, attach } => self.answer_with(lane, packet, &attach),
                    Effect::CloseLane(lane) => self.forget_lane(lane),
                    Effect::DropRegion(region) => self.dropped.push(region),
                    Effect::CheckSeals { region, size } => {
                        let sealed = self.regions.get(region).is_some_and(|region| objects::is_sealed(region.as_fd(), size));
                        self.core.seals_checked(region, sealed, &mut self.effects);
                    }
                    // The system's clock and that of `Instant` are one.
                    Effect::Alarm(at) => self.alarm_at = at.map(|at| Instant::now() + at.saturating_sub(machine::clocks().system)),
                    Effect::ReadProcess(task) => {
                        let used = self.tasks.get(task).map(|process| machine::usage(process.peer.pid, Some(&process.pidfd)));
                        self.core.process_read(&used.unwrap_or_default(), &mut self.effects);
                    }
                    Effect::FillRegion { region, bytes } => self.fill_region(region, &bytes),
                    Effect::ReadClocks => self.core.clocks_read(machine::clocks(), &mut self.effects),
                    Effect::Signal { task, signal } => self.signal(task, signal),
                    Effect::Attention { task, control, mail } => self.plane.ring(task, control, mail),
                    Effect::DropLink(link) => self.dropped_links.push(link),
                    Effect::LinkBroken { .. } => plane::log_broken(&effect),
                    Effect::TaskGone(task) => {
                        self.plane.drop_task(task);
                        self.tasks.remove(task);
                        self.task_gone = true;
                    }
                }
            }
            self.later = now;
            // Last, so that the answer that delivers a region's last right still finds it.
            for region in self.dropped.drain(..) {
                self.regions.remove(region);
            }
            for link in self.dropped_links.drain(..) {
                for fd in self.plane.drop_link(link) {
                    self.reaper.close(fd);
                }
            }
        }
    }

    fn answer(&mut self, lane: LaneId, packet: Vec<u8>, along: AlongList) {
        let Some(conn) = self.lanes.get_mut(lane) else { return };
        debug_assert!(conn.owed.is_none(), "a lane owes one answer at most");
        self.answered = Some(lane);
        if along.is_empty()
            && packet.len() <= umach_abi::lane::ANSWER_MAX
            && let Some(memory) = conn.memory.as_deref_mut().filter(|memory| memory.is_open())
        {
            return memory.answer(&packet);
        }
        match conn.send(&packet, &along) {
            Sent::Done => {}
            Sent::Gone(why) => self.lost(lane, why),
            wait @ (Sent::Full | Sent::Short) => {
                conn.owed = Some(Box::new(Owed { packet, along }));
                self.wait_to_send(lane, &wait);
            }
        }
    }

    /// Sends the answer that waits, or lets it wait on.
    #[cold]
    pub(super) fn send_owed(&mut self, lane: LaneId) {
        let Some(conn) = self.lanes.get_mut(lane) else { return };
        let Some(owed) = conn.owed.take() else { return };
        match conn.send(&owed.packet, &owed.along) {
            Sent::Done => {
                if let Err(why) = self.poller.change(&conn.socket, Token::Lane(lane), Ready::IN) {
                    self.complain(&format_args!("a lane cannot be watched any more: {why}"));
                    self.drop_lane(lane);
                }
            }
            Sent::Gone(why) => self.lost(lane, why),
            wait @ (Sent::Full | Sent::Short) => {
                conn.owed = Some(owed);
                self.wait_to_send(lane, &wait);
            }
        }
    }

    /// Watches for room, or arms the timer. No request is read from the lane meanwhile.
    #[cold]
    fn wait_to_send(&mut self, lane: LaneId, wait: &Sent) {
        self.blind(lane);
        let Some(conn) = self.lanes.get(lane) else { return };
        let ready = if matches!(wait, Sent::Full) { Ready::OUT } else { Ready::empty() };
        if let Err(why) = self.poller.change(&conn.socket, Token::Lane(lane), ready) {
            self.complain(&format_args!("a lane cannot be watched any more: {why}"));
            self.drop_lane(lane);
        } else if ready.is_empty() {
            self.retry_soon(lane);
        }
    }

    #[cold]
    fn lost(&mut self, lane: LaneId, why: rustix::io::Errno) {
        tracing::debug!(?lane, %why, "an answer found nobody");
        self.drop_lane(lane);
    }

    /// Like a hang-up, from inside `execute`.
    fn drop_lane(&mut self, lane: LaneId) {
        self.forget_lane(lane);
        self.core.hang_up(lane, &mut self.effects);
    }

    // Answers that carry something.

    #[cold]
    fn answer_with(&mut self, lane: LaneId, packet: Vec<u8>, attach: &[Attach]) {
        let Some(conn) = self.lanes.get(lane) else {
            return self.give_up_on(attach);
        };
        // Descriptors on their way count against the user, so a task that leaves them unread could stop everybody's. It has read the last answer
        // before it asks again, or it breaks the protocol.
        if sys::unread(conn.socket.as_fd()).is_ok_and(|bytes| bytes > 0) {
            self.complain(&"a request before the last answer was read ends a task");
            match self.core.task_of(lane) {
                Some(task) => self.core.end_task(task, &mut self.effects),
                None => self.drop_lane(lane),
            }
            return self.give_up_on(attach);
        }
        let mut along = AlongList::new();
        for &one in attach {
            match self.make(lane, one) {
                Ok(made) => along.push(made),
                Err(why) => {
                    self.complain(&format_args!("{one:?} for an answer could not be made: {why}"));
                    drop(along);
                    return self.core.attach_failed(lane, one, &mut self.effects);
                }
            }
        }
        self.answer(lane, packet, along);
    }

    /// Nobody will get these: a lane among them has no far end.
    fn give_up_on(&mut self, attach: &[Attach]) {
        for one in attach {
            if let Attach::NewLane(new) = *one {
                self.core.hang_up(new, &mut self.effects);
            }
        }
    }

    fn make(&mut self, lane: LaneId, attach: Attach) -> io::Result<Along> {
        match attach {
            Attach::Region(id) => match self.regions.get(id) {
                Some(region) => Ok(Along::Region(region.clone())),
                None => Err(io::Error::new(io::ErrorKind::NotFound, "no such region")),
            },
            Attach::NewRegion { id, size, shared } => {
                let region = Rc::new(Region::new(objects::create_region(size, shared)?, size, &self.reaper));
                self.regions.insert(id, region.clone());
                Ok(Along::Region(region))
            }
            Attach::NewLane(id) => {
                let (ours, theirs) = self.sockets.pair()?;
                let for_new_task = self.core.task_of(id) != self.core.task_of(lane);
                if for_new_task {
                    identity::ask_with_packets(&ours, true)?;
                }
                self.poller.add(&ours, Token::Lane(id), Ready::IN)?;
                self.lanes.insert(id, Conn::new(ours, if for_new_task { Stage::Unidentified } else { Stage::Open }));
                Ok(Along::Lane(theirs))
            }
            Attach::LaneMemory(id) => self.make_lane_memory(id).map(Along::Lane),
            other => self.plane.attach(other).map(Along::Lane),
        }
    }

    fn fill_region(&mut self, id: RegionId, bytes: &[u8]) {
        match objects::filled_region(bytes) {
            Ok(fd) => {
                self.regions.insert(id, Rc::new(Region::new(fd, bytes.len() as u64, &self.reaper)));
            }
            Err(why) => self.complain(&format_args!("{} bytes of memory for an answer could not be made: {why}", bytes.len())),
        }
    }

    fn signal(&mut self, task: TaskId, signal: Signal) {
        let Some(process) = self.tasks.get(task) else { return }; // no process yet
        let linux = match signal {
            Signal::Stop => Linux::STOP,
            Signal::Continue => Linux::CONT,
            Signal::Kill => Linux::KILL,
        };
        match pidfd_send_signal(&process.pidfd, linux) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(why) => {
                let pid = process.peer.pid;
                self.complain(&format_args!("{signal:?} could not be sent to process {pid}: {why}"));
            }
        }
    }
}
