//! What follows from an operation, and the account of the core's answers.

use umach_abi::Code;

use super::message::*;
use super::state::*;

impl World {
    /// Room in a queue goes to blocked senders, in order; when room is left, armed send-possible requests fire.
    pub(crate) fn fill(&mut self, port: PortIx) -> R {
        while self.ports[port].alive && !self.is_full(port) {
            let Some(&lane) = self.blocked_on(port).first() else { break };
            let State::Sending { mail, then } = std::mem::replace(&mut self.lanes[lane].state, State::Idle) else { break };
            self.post(mail)?;
            self.send_done(lane, then)?;
        }
        Ok(())
    }
    pub(crate) fn flush_notes(&mut self) -> R {
        while let Some((to, what)) = self.notes.pop_front() {
            self.post_note(to, what)?;
        }
        Ok(())
    }
    pub(crate) fn fire_possible(&mut self) {
        for task in 0..self.tasks.len() {
            let armed = self.tasks[task].space.iter().filter_map(|(name, entry)| match (entry.request, entry.holds) {
                (Some(request), Holding::Port { port, .. }) if request.armed && !self.is_full(port) => Some((*name, request)),
                _ => None,
            });
            let armed: Vec<(u32, Request)> = armed.collect();
            for (name, request) in armed {
                if let Some(entry) = self.tasks[task].space.get_mut(&name) {
                    entry.request = None;
                }
                self.notify(request.notify, What::Possible(name));
            }
        }
    }
    /// Whether a lane was told that a message is too large for it, before that went to somebody who waits elsewhere.
    pub(crate) fn is_passed_over(&self, lane: LaneIx, waiting: &[LaneIx]) -> bool {
        let source = |lane: LaneIx| match self.lanes[lane].state {
            State::Receiving { source, args } => Some((source, args.large)),
            _ => None,
        };
        let told = |lane: LaneIx| self.actual.get(&lane).map(|answer| answer.status);
        let mut earlier = waiting.iter().take_while(|other| **other != lane);
        let behind = earlier.any(|other| source(*other).map(|s| s.0) == source(lane).map(|s| s.0) && told(*other) == Some(Code::SUCCESS));
        !behind && told(lane) == Some(Code::MACH_RCV_TOO_LARGE) && source(lane).is_some_and(|(_, large)| large)
    }
    /// Notifications go out, senders move up, and who waits gets what there is.
    pub(crate) fn pump(&mut self) -> R {
        loop {
            let has_room = |port: &PortIx| self.ports[*port].alive && !self.is_full(*port) && !self.blocked_on(*port).is_empty();
            if let Some(port) = (0..self.ports.len()).find(has_room) {
                self.fill(port)?;
                continue;
            }
            self.fire_possible();
            if !self.notes.is_empty() {
                self.flush_notes()?;
                continue;
            }
            // Who waits already comes before who only now begins to receive.
            let mut served = false;
            let waiting = self.waiting();
            let first: Vec<_> = waiting.iter().copied().filter(|lane| self.is_passed_over(*lane, &waiting)).collect();
            for lane in first.into_iter().chain(waiting) {
                served |= self.serve(lane)?;
            }
            if !served {
                return Ok(());
            }
        }
    }
    pub(crate) fn settle_receives(&mut self) -> R {
        self.pump()?;
        while let Some((lane, args)) = self.resumed.pop_front() {
            if self.lanes[lane].open {
                self.receive(lane, args)?;
            }
            self.pump()?;
        }
        Ok(())
    }
    /// Does the teardown that is due, and posts what it has to tell.
    pub(crate) fn collapse(&mut self) -> R {
        self.collapsing = true;
        // Piece by piece, the newest first. Who is freed by one piece goes on before the next one falls.
        while let Some(right) = self.ruins.pop() {
            self.drop_right(right)?;
            if !self.resumed.is_empty() {
                self.settle_receives()?;
            }
        }
        self.collapsing = false;
        self.notes.append(&mut self.late);
        self.flush_notes()
    }
    /// Runs until nothing follows any more.
    pub(crate) fn settle(&mut self) -> R {
        self.settle_receives()?;
        while !self.ruins.is_empty() || !self.late.is_empty() {
            self.collapse()?;
            self.settle_receives()?;
        }
        for lane in self.waiting().into_iter().filter(|lane| !self.actual.contains_key(lane)) {
            let State::Receiving { source, args } = self.lanes[lane].state else { continue };
            if args.try_only {
                return Err(format!("lane {lane} was not answered, though it does not want to wait"));
            }
            if let Some((port, at)) = self.available(source).first() {
                let mail = &self.ports[*port].queue[*at];
                return Err(format!("lane {lane} still waits at {source:?} although this is queued at port {port}: {mail:?}"));
            }
        }
        if let Some((&lane, answer)) = self.actual.iter().next() {
            if let State::Receiving { source, .. } = self.lanes[lane].state
                && let Some(frame) = read_frames(&answer.fields)?.first()
            {
                return Err(format!("lane {lane} {}", self.unexpected(&self.available(source), frame)));
            }
            let code = answer.status;
            return Err(format!("lane {lane} was answered ({code:?}, request {}), which the model does not expect", answer.op));
        }
        Ok(())
    }

    // Answers.

    /// The lane's answer, whose status must be one of `codes`.
    pub(crate) fn take_answer(&mut self, lane: LaneIx, codes: &[Code]) -> R<Answer> {
        let Some(answer) = self.actual.remove(&lane) else { return Err(format!("lane {lane} was not answered; expected {codes:?}")) };
        if answer.seq != self.lanes[lane].seq {
            return Err(format!("lane {lane}: answer to request {}, not {}", answer.seq, self.lanes[lane].seq));
        }
        if !codes.contains(&answer.status) {
            return Err(format!("lane {lane}: answered {:?}, expected {codes:?}", answer.status));
        }
        Ok(answer)
    }
    /// The lane's request is over, with this status and nothing else.
    pub(crate) fn finish(&mut self, lane: LaneIx, codes: &[Code]) -> R {
        self.lanes[lane].state = State::Idle;
        let answer = self.take_answer(lane, codes)?;
        if answer.status.is_ok() && !answer.fields.is_empty() {
            return Err(format!("lane {lane}: {} unexpected bytes in the answer", answer.fields.len()));
        }
        Ok(())
    }
}
