//! What happens when rights are lost: no-senders, the death of ports and their queues, the end of tasks (1.3, 1.6).

use umach_abi::Code;
use umach_abi::limits::UREFS_MAX;

use super::state::*;

impl World {
    pub(crate) fn notify(&mut self, to: PortIx, what: What) {
        let notes = if self.dying > 0 { &mut self.late } else { &mut self.notes };
        notes.push_back((to, what));
    }
    /// Drops a right that is in nobody's hands any more.
    pub(crate) fn drop_right(&mut self, right: Right) -> R {
        match right {
            Right::Null | Right::Dead => Ok(()),
            Right::Send(port) => {
                self.lost_send(port);
                Ok(())
            }
            Right::Once(port) => {
                if self.ports[port].alive {
                    self.notify(port, What::SendOnce);
                }
                Ok(())
            }
            Right::Receive(port) => self.destroy_receive(port),
        }
    }
    /// A send right of `port` is gone: if it was the last, no-senders fires.
    pub(crate) fn lost_send(&mut self, port: PortIx) {
        if !self.ports[port].alive || self.ports[port].no_senders.is_none() || self.count_sends(port) > 0 {
            return;
        }
        if let Some(notify) = self.ports[port].no_senders.take() {
            let count = self.ports[port].mscount;
            self.notify(notify, What::NoSenders { port, count, or_once: self.collapsing });
        }
    }
    /// A message is to be destroyed, with everything in it.
    pub(crate) fn destroy_mail(&mut self, mail: &Mail) {
        let header = [mail.dest, mail.reply];
        if !self.header_first {
            self.ruins.extend(header);
        }
        self.ruins.extend(mail.rights().skip(2));
        if self.header_first {
            self.ruins.extend(header);
        }
    }
    /// Drops rights, one after the other. Each is in limbo until its turn comes, so that counts stay true.
    pub(crate) fn drop_all(&mut self, rights: Vec<Right>) -> R {
        let base = self.limbo.len();
        self.limbo.extend(rights.into_iter().rev());
        while self.limbo.len() > base {
            let Some(right) = self.limbo.pop() else { break };
            self.drop_right(right)?;
        }
        Ok(())
    }
    /// The receive right, already taken from its holder, is to be destroyed: unless somebody asked for it to be sent to him.
    pub(crate) fn destroy_receive(&mut self, port: PortIx) -> R {
        if let Some(notify) = self.ports[port].destroyed.take() {
            self.clear_receiver(port)?;
            self.notify(notify, What::Destroyed(port));
            return Ok(());
        }
        self.die(port)
    }
    /// The port has no receiver for the moment, or for ever.
    pub(crate) fn clear_receiver(&mut self, port: PortIx) -> R {
        for set in &mut self.sets {
            set.members.retain(|member| *member != port);
        }
        let record = &mut self.ports[port];
        record.mscount = 0;
        record.seqno = 0;
        record.context = 0;
        record.guard = None;
        record.immovable = false;
        for lane in self.waiting() {
            if matches!(self.lanes[lane].state, State::Receiving { source: Source::Port(p), .. } if p == port) {
                self.finish(lane, &[Code::MACH_RCV_PORT_CHANGED])?;
            }
        }
        Ok(())
    }
    /// The port dies, with everything in its queue.
    pub(crate) fn die(&mut self, port: PortIx) -> R {
        self.dying += 1;
        let dead = self.die_now(port);
        self.dying -= 1;
        dead
    }
    pub(crate) fn die_now(&mut self, port: PortIx) -> R {
        let count = self.ports[port].mscount;
        self.clear_receiver(port)?;
        if let Some(notify) = self.ports[port].no_senders.take() {
            // If all send rights are among what this operation destroys, no-senders may have come first.
            let falling = self.limbo.iter().chain(&self.ruins).filter(|right| **right == Right::Send(port)).count() as u32;
            let either = self.collapsing || falling > 0 && falling == self.count_sends(port);
            let what = if either { What::NoSenders { port, count, or_once: true } } else { What::SendOnce };
            self.notify(notify, what);
        }
        for (_, what) in self.notes.iter_mut().chain(&mut self.late) {
            if let What::NoSenders { port: p, or_once, .. } = what {
                *or_once |= *p == port;
            }
        }
        self.ports[port].alive = false;
        for lane in self.blocked_on(port) {
            let State::Sending { mail, then } = std::mem::replace(&mut self.lanes[lane].state, State::Idle) else { continue };
            self.send_done(lane, then)?;
            self.destroy_mail(&mail);
        }
        let queue = std::mem::take(&mut self.ports[port].queue);
        self.ruins.extend(queue.iter().flat_map(Mail::rights));
        for task in 0..self.tasks.len() {
            self.names_die(task, port);
        }
        Ok(())
    }
    pub(crate) fn names_die(&mut self, task: TaskIx, port: PortIx) {
        let notes = &mut self.late;
        for (name, entry) in &mut self.tasks[task].space {
            let (urefs, was_once) = match entry.holds {
                Holding::Port { port: p, sends, .. } if p == port => (sends, false),
                Holding::Once { port: p } if p == port => (1, true),
                _ => continue,
            };
            let request = entry.request.take();
            if let Some(request) = request {
                notes.push_back((request.notify, What::DeadName(*name)));
            }
            let urefs = if request.is_some() { (urefs + 1).min(UREFS_MAX) } else { urefs };
            entry.holds = Holding::Dead { urefs, was_once: was_once && request.is_none() };
        }
    }
    /// Destroys a set: members live on, waiters are told.
    pub(crate) fn destroy_set(&mut self, set: SetIx) -> R {
        self.sets[set].alive = false;
        self.sets[set].members.clear();
        for lane in self.waiting() {
            if matches!(self.lanes[lane].state, State::Receiving { source: Source::Set(s), .. } if s == set) {
                self.finish(lane, &[Code::MACH_RCV_PORT_CHANGED])?;
            }
        }
        Ok(())
    }
    /// The whole space goes; its lanes are closed by the kernel.
    pub(crate) fn end_task(&mut self, task: TaskIx) -> R {
        self.tasks[task].alive = false;
        let mut unsent = Vec::new();
        for ix in 0..self.lanes.len() {
            if self.lanes[ix].task != task || !self.lanes[ix].open {
                continue;
            }
            self.lanes[ix].open = false;
            self.actual.remove(&ix);
            if let State::Sending { mail, .. } = std::mem::replace(&mut self.lanes[ix].state, State::Idle) {
                unsent.push(mail);
            }
        }
        let owner = &mut self.tasks[task];
        self.ruins.extend([owner.bootstrap].into_iter().chain(owner.registered));
        let mut rights = Vec::new();
        for (name, entry) in std::mem::take(&mut owner.space) {
            match entry.holds {
                Holding::Port { port, sends, receive } => {
                    if sends > 0 {
                        rights.push(Right::Send(port));
                    }
                    if receive {
                        rights.push(Right::Receive(port));
                    }
                }
                Holding::Once { port } => rights.push(Right::Once(port)),
                Holding::Dead { .. } => {}
                Holding::Set(set) => self.destroy_set(set)?,
            }
            if let Some(request) = entry.request {
                let what = match entry.holds {
                    Holding::Port { port, .. } | Holding::Once { port } => What::Ended { name, port },
                    _ => What::Deleted(name),
                };
                self.notify(request.notify, what);
            }
        }
        let (control, name_port) = (self.tasks[task].control, self.tasks[task].name_port);
        // What it was sending goes first, then its names from the first to the last.
        self.ruins.extend(rights.into_iter().rev());
        unsent.iter().for_each(|mail| self.destroy_mail(mail));
        self.die(control)?;
        self.die(name_port)
    }
}
