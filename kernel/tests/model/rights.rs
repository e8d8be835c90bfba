//! The calls that make, drop and move rights, and ask for notifications (1.6, 1.8).

use umach_abi::limits::UREFS_MAX;
use umach_abi::message::u32_at;
use umach_abi::records::kobject;
use umach_abi::{Code, Disposition, Name, RightKind, control, notify};

use super::calls::{GUARDED, or_refuse, same};
use super::message::is_plain;
use super::state::*;

impl World {
    /// Everything under a name that was just freed.
    pub(crate) fn drop_holding(&mut self, holds: Holding) -> R {
        match holds {
            Holding::Port { port, sends, receive } => {
                let send = if sends > 0 { Right::Send(port) } else { Right::Null };
                let receive = if receive { Right::Receive(port) } else { Right::Null };
                self.drop_all(vec![send, receive])
            }
            Holding::Once { port } => self.drop_right(Right::Once(port)),
            Holding::Dead { .. } => Ok(()),
            Holding::Set(set) => self.destroy_set(set),
        }
    }

    /// Whether a waiting lane got a message in this operation.
    pub(crate) fn somebody_hears(&self) -> bool {
        let hears = |code: Code| code.is_ok() || code == Code::MACH_RCV_TOO_LARGE;
        self.waiting().iter().any(|lane| self.actual.get(lane).is_some_and(|answer| hears(answer.status)))
    }
    pub(crate) fn allocate(&mut self, lane: LaneIx, task: TaskIx, kind: Option<RightKind>, name: Name) -> R {
        let Some(kind @ (RightKind::Receive | RightKind::PortSet | RightKind::DeadName)) = kind else {
            return self.finish(lane, &[Code::KERN_INVALID_VALUE]);
        };
        if name != Name::NULL {
            let codes = self.refuse_picked(task, name, self.entry(task, name.0).is_some());
            if !codes.is_empty() {
                return self.finish(lane, &codes);
            }
        }
        let got = self.granted_name(lane)?;
        let holds = match kind {
            RightKind::Receive => Holding::Port { port: self.new_port(kobject::NONE, Some(task)), sends: 0, receive: true },
            RightKind::PortSet => Holding::Set(self.new_set()),
            _ => Holding::Dead { urefs: 1, was_once: false },
        };
        if name == Name::NULL {
            return self.enter_chosen(task, got, holds);
        }
        self.enter_picked(task, name, holds);
        same("chosen name", &got, &name)
    }

    pub(crate) fn deallocate(&mut self, lane: LaneIx, task: TaskIx, name: Name) -> R {
        if !name.is_valid() {
            return self.finish(lane, &[Code::SUCCESS]);
        }
        let entry = or_refuse!(self, lane, self.lookup(task, name));
        match entry.holds {
            Holding::Port { sends: 0, .. } => return self.finish(lane, &[Code::KERN_INVALID_RIGHT]),
            Holding::Port { port, sends, receive } => {
                self.finish(lane, &[Code::SUCCESS])?;
                if sends < UREFS_MAX {
                    self.change_sends(task, name.0, port, sends, sends - 1, receive);
                }
            }
            Holding::Once { .. } | Holding::Set(_) => {
                self.finish(lane, &[Code::SUCCESS])?;
                self.free_name(task, name.0);
                self.drop_holding(entry.holds)?;
            }
            Holding::Dead { urefs, was_once } => {
                self.finish(lane, &[Code::SUCCESS])?;
                match urefs {
                    1 => self.free_name(task, name.0),
                    UREFS_MAX => {}
                    _ => self.set_holding(task, name.0, Holding::Dead { urefs: urefs - 1, was_once }),
                }
            }
        }
        Ok(())
    }
    pub(crate) fn change_sends(&mut self, task: TaskIx, name: u32, port: PortIx, before: u32, after: u32, receive: bool) {
        if after == 0 && !receive {
            self.free_name(task, name);
        } else {
            self.set_holding(task, name, Holding::Port { port, sends: after, receive });
        }
        if before > 0 && after == 0 {
            self.lost_send(port);
        }
    }
    /// The receive right under a name is to go; send rights under it stay as a dead name, or as they are if the port lives on.
    pub(crate) fn lose_receive(&mut self, task: TaskIx, name: u32, port: PortIx, sends: u32) -> R {
        if sends > 0 {
            self.set_holding(task, name, Holding::Port { port, sends, receive: false });
        } else {
            self.free_name(task, name);
        }
        self.drop_right(Right::Receive(port))
    }
    pub(crate) fn destruct(&mut self, lane: LaneIx, task: TaskIx, name: Name, srdelta: i32, guard: u64) -> R {
        let entry = or_refuse!(self, lane, self.lookup(task, name));
        let Holding::Port { port, sends, receive: true } = entry.holds else {
            return self.finish(lane, &[Code::KERN_INVALID_RIGHT]);
        };
        let mut codes = Vec::new();
        if srdelta > 0 || srdelta < 0 && srdelta.unsigned_abs() > sends {
            codes.push(Code::KERN_INVALID_VALUE);
        }
        if srdelta < 0 && sends == 0 {
            codes.push(Code::KERN_INVALID_RIGHT);
        }
        if self.ports[port].guard.is_some_and(|own| own.value != guard) {
            codes.push(Code::KERN_INVALID_ARGUMENT);
        }
        if !codes.is_empty() {
            return self.finish(lane, &codes);
        }
        self.finish(lane, &[Code::SUCCESS])?;
        let delta = if sends == UREFS_MAX && srdelta != -(UREFS_MAX as i32) { 0 } else { srdelta };
        let left = sends.saturating_add_signed(delta);
        if left < sends {
            self.change_sends(task, name.0, port, sends, left, true);
            if self.somebody_hears() {
                self.pump()?;
            }
        }
        self.lose_receive(task, name.0, port, left)
    }
    pub(crate) fn mod_refs(&mut self, lane: LaneIx, task: TaskIx, name: Name, kind: Option<RightKind>, delta: i32) -> R {
        let Some(kind) = kind else { return self.finish(lane, &[Code::KERN_INVALID_VALUE]) };
        if !name.is_valid() {
            return match kind {
                RightKind::Send | RightKind::SendOnce => self.finish(lane, &[Code::SUCCESS]),
                _ => self.finish(lane, &[Code::KERN_INVALID_NAME]),
            };
        }
        let entry = or_refuse!(self, lane, self.lookup(task, name));
        let changed = |count: u32| match delta {
            d if count == UREFS_MAX && d != -(UREFS_MAX as i32) => Some(count),
            d => Some(count.checked_add_signed(d)?.min(UREFS_MAX)),
        };
        let invalid = [Code::KERN_INVALID_VALUE];
        match (entry.holds, kind) {
            (Holding::Set(_), RightKind::PortSet) | (Holding::Once { .. }, RightKind::SendOnce) => match delta {
                0 => self.finish(lane, &[Code::SUCCESS]),
                -1 => {
                    self.finish(lane, &[Code::SUCCESS])?;
                    self.free_name(task, name.0);
                    self.drop_holding(entry.holds)
                }
                _ => self.finish(lane, &invalid),
            },
            (Holding::Port { port, sends, receive: true }, RightKind::Receive) => match delta {
                0 => self.finish(lane, &[Code::SUCCESS]),
                -1 if self.ports[port].guard.is_some() => self.finish(lane, &GUARDED),
                -1 => {
                    self.finish(lane, &[Code::SUCCESS])?;
                    self.lose_receive(task, name.0, port, sends)
                }
                _ => self.finish(lane, &invalid),
            },
            (Holding::Port { port, sends, receive }, RightKind::Send) if sends > 0 => match changed(sends) {
                None if sends < UREFS_MAX => self.finish(lane, &invalid),
                left => {
                    self.finish(lane, &[Code::SUCCESS])?;
                    self.change_sends(task, name.0, port, sends, left.unwrap_or(sends), receive);
                    Ok(())
                }
            },
            (Holding::Dead { urefs, was_once }, RightKind::DeadName) => match changed(urefs) {
                None if urefs < UREFS_MAX => self.finish(lane, &invalid),
                Some(0) => {
                    self.free_name(task, name.0);
                    self.finish(lane, &[Code::SUCCESS])
                }
                left => {
                    self.set_holding(task, name.0, Holding::Dead { urefs: left.unwrap_or(urefs), was_once });
                    self.finish(lane, &[Code::SUCCESS])
                }
            },
            _ => self.finish(lane, &[Code::KERN_INVALID_RIGHT]),
        }
    }

    pub(crate) fn insert_right(
        &mut self,
        lane: LaneIx,
        me: TaskIx,
        task: TaskIx,
        name: Name,
        right: Name,
        disposition: Option<Disposition>,
    ) -> R {
        let mut codes = Vec::new();
        if disposition.is_none() || !name.is_valid() || name.0 & 3 != 3 {
            codes.extend([Code::KERN_INVALID_VALUE, Code::KERN_FAILURE]);
        }
        if !right.is_valid() {
            codes.extend([Code::KERN_INVALID_CAPABILITY, Code::KERN_INVALID_VALUE]);
        }
        let entry = self.entry(me, right.0);
        let takes = disposition.is_some_and(|d| self.can_take(me, right.0, d));
        match entry {
            None => codes.push(Code::KERN_INVALID_NAME),
            Some(Entry { holds: Holding::Dead { .. }, .. }) => codes.extend([Code::KERN_INVALID_CAPABILITY, Code::KERN_INVALID_RIGHT]),
            Some(_) if !takes => codes.extend([Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_CAPABILITY]),
            Some(_) if disposition.is_some_and(|d| self.is_short(me, right.0, d)) => codes.push(Code::KERN_RESOURCE_SHORTAGE),
            Some(_) => {}
        }
        let (Some(entry), Some(disposition), true) = (entry, disposition, codes.is_empty()) else { return self.finish(lane, &codes) };
        let (port, emptied) = match (entry.holds, disposition) {
            (Holding::Port { port, sends, .. }, Disposition::MoveReceive) => (port, sends == 0),
            (Holding::Port { port, sends, receive }, Disposition::MoveSend) => (port, sends == 1 && !receive),
            (Holding::Port { port, .. }, _) => (port, false),
            (Holding::Once { port }, _) => (port, true),
            _ => return Err("model: inserted from nothing".into()),
        };
        let emptied = emptied && me == task;
        let once = disposition.becomes() == RightKind::SendOnce;
        let leaves = |held: u32| emptied && held == right.0;
        let held = if once { None } else { self.find_name(task, port).filter(|held| !leaves(*held)) };
        let used = self.entry(task, name.0).is_some() && !(emptied && name == right);
        let same_slot = emptied && right.index() == name.index() && right != name;
        let picked = if held == Some(name.0) || same_slot { Vec::new() } else { self.refuse_picked(task, name, false) };
        let clash = match held {
            Some(held) if held != name.0 => Some(Code::KERN_RIGHT_EXISTS),
            None if used => Some(Code::KERN_NAME_EXISTS),
            None => picked.first().copied(),
            _ => None,
        };
        if let Some(code) = clash {
            // The right travelled with the request, as it does in XNU: a refused one is gone.
            self.finish(lane, &[&[code], &picked[..]].concat())?;
            let taken = self.take(me, right.0, disposition)?;
            return self.drop_right(taken);
        }
        self.finish(lane, &[Code::SUCCESS])?;
        let taken = self.take(me, right.0, disposition)?;
        if self.entry(task, name.0).is_none() {
            let holds = if once { Holding::Once { port } } else { Holding::Port { port, sends: 0, receive: false } };
            self.enter_picked(task, name, holds);
        }
        if once { Ok(()) } else { self.copy_out(task, taken, name, "inserted right") }
    }

    pub(crate) fn request_notification(&mut self, lane: LaneIx, me: TaskIx, task: TaskIx, a: &control::PortRequestNotification) -> R {
        let status = self.actual.get(&lane).map(|answer| answer.status);
        let mut codes = Vec::new();
        // The notify right comes from the caller. It travels with the request: if that is refused, the right is gone.
        let disposition = Disposition::from_raw(a.disposition as u8).filter(|d| d.becomes() == RightKind::SendOnce);
        if a.notify != Name::NULL {
            match (disposition, self.entry(me, a.notify.0).map(|entry| entry.holds)) {
                (None, _) => codes.extend([Code::KERN_INVALID_VALUE, Code::KERN_INVALID_ARGUMENT, Code::KERN_INVALID_CAPABILITY]),
                (_, None) => codes.extend([Code::KERN_INVALID_NAME, Code::KERN_INVALID_CAPABILITY]),
                (_, Some(Holding::Dead { .. })) => codes.extend([Code::KERN_INVALID_CAPABILITY, Code::KERN_INVALID_RIGHT]),
                (Some(d), _) if self.is_short(me, a.notify.0, d) => codes.push(Code::KERN_RESOURCE_SHORTAGE),
                (Some(d), _) if !self.can_take(me, a.notify.0, d) => {
                    codes.extend([Code::KERN_INVALID_RIGHT, Code::KERN_INVALID_CAPABILITY])
                }
                _ => {}
            }
        }
        let notify = match disposition {
            Some(disposition) if a.notify != Name::NULL && codes.is_empty() => self.take(me, a.notify.0, disposition)?,
            _ => Right::Null,
        };
        self.flush_notes()?;
        let possible = a.id as i32 == notify::SEND_POSSIBLE;
        let entry = self.lookup(task, a.name);
        match a.id as i32 {
            notify::NO_SENDERS | notify::PORT_DESTROYED => {
                let port = self.receive_named(task, a.name);
                if a.id as i32 == notify::PORT_DESTROYED && a.sync != 0 {
                    codes.push(Code::KERN_INVALID_VALUE);
                }
                match port {
                    Err(more) => codes.extend(more),
                    Ok(port) if a.id as i32 == notify::PORT_DESTROYED && self.ports[port].destroyed.is_some() => {
                        // Asking again fails; whether taking the request back does is left open.
                        if a.notify != Name::NULL || status == Some(Code::KERN_FAILURE) {
                            codes.push(Code::KERN_FAILURE);
                        }
                    }
                    Ok(_) => {}
                }
            }
            notify::DEAD_NAME | notify::SEND_POSSIBLE => match entry {
                Err(more) => codes.extend(more),
                Ok(Entry { holds: Holding::Set(_), .. }) => codes.push(Code::KERN_INVALID_RIGHT),
                Ok(Entry { holds: Holding::Dead { .. }, .. }) if !possible => codes.push(Code::KERN_INVALID_ARGUMENT),
                Ok(_) => {}
            },
            _ => codes.push(Code::KERN_INVALID_VALUE),
        }
        // Taking back what was never asked for, on a dead name: nothing to do either way.
        let dead = matches!(self.entry(task, a.name.0), Some(Entry { holds: Holding::Dead { .. }, .. }));
        if a.notify == Name::NULL
            && (dead || matches!(self.entry(task, a.name.0), Some(Entry { holds: Holding::Set(_), .. })))
            && matches!(a.id as i32, notify::DEAD_NAME | notify::SEND_POSSIBLE)
        {
            return self.finish_null(lane);
        }
        if !codes.is_empty() {
            self.finish(lane, &codes)?;
            return self.drop_right(notify);
        }
        let previous = self.granted_name(lane)?;
        let notify = match notify {
            Right::Once(port) => Some(port),
            _ => None,
        };
        let old = match a.id as i32 {
            notify::NO_SENDERS | notify::PORT_DESTROYED => {
                let Ok(port) = self.receive_named(task, a.name) else { return self.previous_out(me, None, previous) };
                if a.id as i32 == notify::PORT_DESTROYED {
                    std::mem::replace(&mut self.ports[port].destroyed, notify)
                } else {
                    let old = self.ports[port].no_senders.take();
                    let count = self.ports[port].mscount;
                    match notify {
                        Some(to) if self.count_sends(port) == 0 && a.sync <= count => {
                            self.notify(to, What::NoSenders { port, count, or_once: false });
                        }
                        notify => self.ports[port].no_senders = notify,
                    }
                    old
                }
            }
            _ => self.request_on_name(task, a.name.0, notify, possible, a.sync != 0),
        };
        self.previous_out(me, old, previous)
    }
    pub(crate) fn finish_null(&mut self, lane: LaneIx) -> R {
        let answer = self.take_answer(lane, &[Code::SUCCESS, Code::KERN_INVALID_ARGUMENT, Code::KERN_INVALID_RIGHT])?;
        if answer.status.is_ok() { same("previous", &u32_at(&answer.fields, 0), &Some(0)) } else { Ok(()) }
    }
    pub(crate) fn request_on_name(&mut self, task: TaskIx, name: u32, notify: Option<PortIx>, possible: bool, now: bool) -> Option<PortIx> {
        let entry = self.entry(task, name)?;
        let old = entry.request.map(|request| request.notify);
        let mut request = notify.map(|notify| Request { notify, possible, armed: possible && now });
        match (entry.holds, notify) {
            (Holding::Dead { urefs, .. }, Some(to)) => {
                self.set_holding(task, name, Holding::Dead { urefs: (urefs + 1).min(UREFS_MAX), was_once: false });
                self.notify(to, What::DeadName(name));
                request = None;
            }
            (Holding::Once { .. }, Some(to)) if possible && now => {
                self.notify(to, What::Possible(name));
                request = None;
            }
            (Holding::Port { port, .. }, Some(to)) if possible && now && (!self.is_full(port) || !is_plain(&self.ports[port])) => {
                self.notify(to, What::Possible(name));
                request = None;
            }
            _ => {}
        }
        if let Some(entry) = self.tasks[task].space.get_mut(&name) {
            entry.request = request;
        }
        old
    }
    pub(crate) fn previous_out(&mut self, me: TaskIx, old: Option<PortIx>, previous: Name) -> R {
        self.copy_out(me, old.map_or(Right::Null, Right::Once), previous, "previous notify right")
    }
}
