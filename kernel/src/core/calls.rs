//! The `mach_port_*` calls on names and rights. Attributes, guards and peeking are in `attributes.rs`, sets in `sets.rs`.
//!
//! Codes and corner cases follow XNU; `docs/semantics.md` says where each is tested.

use umach_abi::control::{self, answer};
use umach_abi::limits::{QLIMIT_MAX, UREFS_MAX};
use umach_abi::records::{NameRow, SpaceRow};
use umach_abi::{Code, Disposition, Name, RightKind, TypeBits, rights::ConstructFlags};

use super::Core;
use super::effect::TaskId;
use super::mail::Right;
use super::notify::Notice;
use super::port::{Port, PortId, Receiver};
use super::quota::Kind;
use super::space::{Entry, Object};
use super::tasks::kobject_of;

const PEGGED: u16 = UREFS_MAX as u16;
/// Bytes of rows in one page of a listing.
const PAGE: usize = 32 * 1024;

impl Core {
    /// The task that a `task` argument means: the caller if null, else the task whose control right it is.
    pub(super) fn resolve(&mut self, caller: TaskId, name: Name) -> Result<TaskId, Code> {
        if name == Name::NULL {
            return Ok(caller);
        }
        let kobject = self.refresh(caller, name).and_then(|entry| entry.port()).and_then(|port| self.ports[port.0].kobject());
        match kobject {
            Some(super::port::Kobject::Task(task)) => Ok(task),
            _ => Err(Code::KERN_INVALID_TASK),
        }
    }

    /// The port on whose receive right `name` stands.
    pub(super) fn receive_right(&mut self, task: TaskId, name: Name) -> Result<PortId, Code> {
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        match entry.object {
            Object::Port(port) if entry.has(TypeBits::RECEIVE) => Ok(port),
            _ => Err(Code::KERN_INVALID_RIGHT),
        }
    }

    pub(super) fn port_allocate(&mut self, task: TaskId, right: u32, name: Name) -> Result<answer::PortAllocate, Code> {
        let chosen = name != Name::NULL;
        if chosen && (name.0 & 3 != 3 || !name.is_valid()) {
            return Err(Code::KERN_INVALID_VALUE);
        }
        let name = match RightKind::from_raw(right) {
            Some(RightKind::Receive) => self.new_port(task, chosen.then_some(name))?.1,
            Some(RightKind::PortSet) => self.new_set(task, chosen.then_some(name))?,
            Some(RightKind::DeadName) => {
                let dead = Entry { object: Object::None, bits: TypeBits::DEAD_NAME, urefs: 1, requested: false };
                self.place(task, chosen.then_some(name), dead)?
            }
            _ => return Err(Code::KERN_INVALID_VALUE),
        };
        Ok(answer::PortAllocate { name })
    }

    /// A name for `entry`: the chosen one, or any.
    pub(super) fn place(&mut self, task: TaskId, chosen: Option<Name>, entry: Entry) -> Result<Name, Code> {
        match chosen {
            Some(name) => self.new_name_at(task, name, entry).map(|()| name),
            None => self.new_name(task, entry).ok_or(Code::KERN_NO_SPACE),
        }
    }

    pub(super) fn new_port(&mut self, task: TaskId, chosen: Option<Name>) -> Result<(PortId, Name), Code> {
        let account = self.tasks[task.0].account;
        let charge = self.ledger.charge(account, Kind::Ports, 1).ok_or(Code::KERN_NO_SPACE)?;
        let mut port = Port::new(Receiver::Transit(None));
        port.charge = Some(charge);
        let id = PortId(self.ports.insert(port));
        let entry = Entry { object: Object::Port(id), bits: TypeBits::RECEIVE, urefs: 0, requested: false };
        match self.place(task, chosen, entry) {
            Ok(name) => {
                self.ports[id.0].receiver = Receiver::Space(task, name);
                Ok((id, name))
            }
            Err(code) => {
                let port = self.ports.remove(id.0).expect("just made");
                self.ledger.release(port.charge.expect("just charged"));
                Err(code)
            }
        }
    }

    pub(super) fn port_construct(&mut self, task: TaskId, flags: u32, qlimit: u32, context: u64) -> Result<answer::PortConstruct, Code> {
        let flags = ConstructFlags::from_bits(flags).ok_or(Code::KERN_INVALID_ARGUMENT)?;
        if flags.contains(ConstructFlags::STRICT) && !flags.contains(ConstructFlags::CONTEXT_AS_GUARD) {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if flags.contains(ConstructFlags::QLIMIT) && qlimit > QLIMIT_MAX {
            return Err(Code::KERN_INVALID_VALUE);
        }
        let (id, name) = self.new_port(task, None)?;
        let port = &mut self.ports[id.0];
        port.context = context;
        port.guarded = flags.contains(ConstructFlags::CONTEXT_AS_GUARD);
        port.strict = flags.contains(ConstructFlags::STRICT);
        port.immovable = flags.contains(ConstructFlags::IMMOVABLE_RECEIVE);
        if flags.contains(ConstructFlags::QLIMIT) {
            port.qlimit = qlimit;
        }
        if flags.contains(ConstructFlags::INSERT_SEND_RIGHT) {
            port.mscount += 1;
            port.srights += 1;
            let entry = self.entry_mut(task, name);
            entry.bits |= TypeBits::SEND;
            entry.urefs = 1;
        }
        Ok(answer::PortConstruct { name })
    }

    pub(super) fn port_deallocate(&mut self, task: TaskId, name: Name) -> Result<(), Code> {
        if !name.is_valid() {
            return Ok(());
        }
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        match entry.object {
            Object::None => self.drop_dead_reference(task, name, entry.urefs),
            Object::Set(_) => self.destroy_entry(task, name),
            Object::Port(port) if entry.has(TypeBits::SEND_ONCE) => {
                self.free_name(task, name);
                self.notify(port, Notice::SendOnce);
            }
            Object::Port(port) if entry.has(TypeBits::SEND) => self.drop_send(task, name, port, entry.urefs),
            Object::Port(_) => return Err(Code::KERN_INVALID_RIGHT),
        }
        Ok(())
    }

    fn drop_send(&mut self, task: TaskId, name: Name, port: PortId, urefs: u16) {
        match urefs {
            1 => {
                self.remove_send_bit(task, name);
                self.release_send(port);
            }
            PEGGED => {}
            _ => self.entry_mut(task, name).urefs -= 1,
        }
    }

    pub(super) fn port_destroy(&mut self, task: TaskId, name: Name) -> Result<answer::PortDestroy, Code> {
        if !name.is_valid() {
            return Ok(answer::PortDestroy {});
        }
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        if entry.has(TypeBits::RECEIVE) && self.ports[entry.port().expect("a right has a port").0].guarded {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        self.destroy_entry(task, name);
        Ok(answer::PortDestroy {})
    }

    pub(super) fn port_destruct(&mut self, task: TaskId, name: Name, srdelta: i32, guard: u64) -> Result<answer::PortDestruct, Code> {
        let id = self.receive_right(task, name)?;
        let entry = *self.entry_mut(task, name);
        if srdelta > 0 {
            return Err(Code::KERN_INVALID_VALUE);
        }
        if srdelta != 0 && !entry.has(TypeBits::SEND) {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        let port = &self.ports[id.0];
        if port.guarded && port.context != guard {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if srdelta != 0 {
            let urefs = changed(entry.urefs, srdelta)?;
            if urefs == 0 {
                self.remove_send_bit(task, name);
                self.release_send(id);
            } else {
                self.entry_mut(task, name).urefs = urefs;
            }
        }
        self.drop_receive(task, name, id);
        Ok(answer::PortDestruct {})
    }

    /// The receive right goes; a send right under the same name becomes a dead name, or stays if a port-destroyed request saves the port.
    fn drop_receive(&mut self, task: TaskId, name: Name, id: PortId) {
        let entry = *self.entry_mut(task, name);
        let mut told = None;
        if !entry.has(TypeBits::SEND) {
            told = self.remove_name(task, name);
        } else if self.ports[id.0].watches.as_ref().is_some_and(|watches| watches.destroyed.is_some()) {
            self.entry_mut(task, name).bits = TypeBits::SEND;
        } else {
            self.tasks[task.0].space.forget(name, &entry);
            let urefs = entry.urefs.saturating_add(entry.requested as u16);
            *self.entry_mut(task, name) = Entry { object: Object::None, bits: TypeBits::DEAD_NAME, urefs, requested: false };
        }
        self.destroy_port(id);
        self.tell_deleted(told, name);
    }

    pub(super) fn port_mod_refs(&mut self, task: TaskId, name: Name, right: u32, delta: i32) -> Result<answer::PortModRefs, Code> {
        let done = Ok(answer::PortModRefs {});
        let right = RightKind::from_raw(right).ok_or(Code::KERN_INVALID_VALUE)?;
        if !name.is_valid() {
            let counted = matches!(right, RightKind::Send | RightKind::SendOnce);
            return if counted { done } else { Err(Code::KERN_INVALID_NAME) };
        }
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        if !entry.has(right.bit()) {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        if matches!(right, RightKind::Receive | RightKind::PortSet | RightKind::SendOnce) {
            match delta {
                0 => return done,
                -1 => {}
                _ => return Err(Code::KERN_INVALID_VALUE),
            }
        }
        match (right, entry.object) {
            (RightKind::PortSet, _) => self.destroy_entry(task, name),
            (RightKind::Receive, Object::Port(port)) => {
                if self.ports[port.0].guarded {
                    return Err(Code::KERN_INVALID_RIGHT);
                }
                self.drop_receive(task, name, port);
            }
            (RightKind::SendOnce, Object::Port(port)) => {
                self.free_name(task, name);
                self.notify(port, Notice::SendOnce);
            }
            (RightKind::Send, Object::Port(port)) => match changed(entry.urefs, delta)? {
                0 => {
                    self.remove_send_bit(task, name);
                    self.release_send(port);
                }
                urefs => self.entry_mut(task, name).urefs = urefs,
            },
            (RightKind::DeadName, _) => match changed(entry.urefs, delta)? {
                0 => self.free_name(task, name),
                urefs => self.entry_mut(task, name).urefs = urefs,
            },
            _ => return Err(Code::KERN_INVALID_RIGHT),
        }
        done
    }

    pub(super) fn port_get_refs(&mut self, task: TaskId, name: Name, right: u32) -> Result<answer::PortGetRefs, Code> {
        let right = RightKind::from_raw(right).ok_or(Code::KERN_INVALID_VALUE)?;
        if !name.is_valid() {
            let counted = matches!(right, RightKind::Send | RightKind::SendOnce);
            return if counted { Ok(answer::PortGetRefs { refs: 1 }) } else { Err(Code::KERN_INVALID_NAME) };
        }
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        let refs = match right {
            _ if !entry.has(right.bit()) => 0,
            RightKind::Send | RightKind::DeadName => entry.urefs as u32,
            _ => 1,
        };
        Ok(answer::PortGetRefs { refs })
    }

    pub(super) fn port_type(&mut self, task: TaskId, name: Name) -> Result<answer::PortType, Code> {
        if name == Name::DEAD {
            return Ok(answer::PortType { kind: TypeBits::DEAD_NAME.bits() });
        }
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        Ok(answer::PortType { kind: self.type_bits(task, name, &entry).bits() })
    }

    /// The rights under a name, and what is registered on it.
    fn type_bits(&self, task: TaskId, name: Name, entry: &Entry) -> TypeBits {
        let mut bits = entry.bits;
        let key = (task, name);
        if let Some(watches) = entry.port().and_then(|port| self.ports.get(port.0)?.watches.as_ref())
            && let Some(request) = watches.requests.get(&key)
        {
            bits |= TypeBits::DNREQUEST;
            bits.set(TypeBits::SPREQUEST, request.possible);
            bits.set(TypeBits::SPREQUEST_DELAYED, request.possible && !watches.armed.contains(&key));
        }
        bits
    }

    /// A page of names from `start` on, refreshed, each turned into a row; and where the next page starts (0: nowhere).
    fn page(&mut self, task: TaskId, start: u32, row: usize, mut write: impl FnMut(&Core, Name, &Entry, &mut Vec<u8>)) -> (u32, Vec<u8>) {
        let mut rows = Vec::new();
        let (names, next) = self.tasks[task.0].space.page(start, PAGE / row);
        for name in names {
            if let Some(entry) = self.refresh(task, name) {
                write(self, name, &entry, &mut rows);
            }
        }
        (next.unwrap_or(0), rows)
    }

    pub(super) fn port_names(&mut self, task: TaskId, start: u32) -> (u32, Vec<u8>) {
        self.page(task, start, NameRow::SIZE, |core, name, entry, out| {
            NameRow { name, kind: core.type_bits(task, name, entry).bits() }.write(out);
        })
    }

    pub(super) fn port_space_info(&mut self, task: TaskId, start: u32) -> (u32, u32, Vec<u8>) {
        let size = self.tasks[task.0].space.table_size();
        let (next, rows) = self.page(task, start, SpaceRow::SIZE, |core, name, entry, out| {
            let kind = core.type_bits(task, name, entry).bits();
            let port = entry.port().map(|port| (port, &core.ports[port.0]));
            let receiver = match port.map(|(_, port)| port.receiver) {
                Some(Receiver::Space(task, _)) => task.to_raw(),
                _ => 0,
            };
            let object = match entry.object {
                Object::None => 0,
                Object::Port(port) => port.0.to_raw(),
                Object::Set(set) => set.0.to_raw(),
            };
            let kobject = port.map_or(0, |(_, port)| kobject_of(port));
            SpaceRow { name, kind, urefs: entry.urefs as u32, kobject, object, receiver }.write(out);
        });
        (size, next, rows)
    }

    pub(super) fn port_insert_right(
        &mut self,
        caller: TaskId,
        task: TaskId,
        name: Name,
        right: Name,
        disposition: u32,
    ) -> Result<answer::PortInsertRight, Code> {
        let disposition = u8::try_from(disposition).ok().and_then(Disposition::from_raw).ok_or(Code::KERN_INVALID_VALUE)?;
        if !name.is_valid() {
            return Err(Code::KERN_INVALID_VALUE);
        }
        if !right.is_valid() {
            return Err(Code::KERN_INVALID_CAPABILITY);
        }
        if name.0 & 3 != 3 {
            return Err(Code::KERN_INVALID_VALUE);
        }
        let right = self.take(caller, right, disposition, false)?;
        self.insert_right(task, name, right).map(|()| answer::PortInsertRight {})
    }

    /// The right goes into `task` under `name`, or ends.
    pub(super) fn insert_right(&mut self, task: TaskId, name: Name, right: Right) -> Result<(), Code> {
        let code = if !name.is_valid() || name.0 & 3 != 3 {
            Code::KERN_INVALID_VALUE
        } else {
            self.refresh(task, name);
            match self.deliver_at(task, name, right) {
                Ok(()) => return Ok(()),
                Err((code, back)) => {
                    self.discard(back);
                    return Err(code);
                }
            }
        };
        self.discard(right);
        Err(code)
    }

    pub(super) fn port_extract_right(
        &mut self,
        caller: TaskId,
        task: TaskId,
        name: Name,
        disposition: u32,
    ) -> Result<answer::PortExtractRight, Code> {
        let (right, kind) = self.extract_right(task, name, disposition)?;
        let name = self.deliver_or_discard(caller, right)?;
        Ok(answer::PortExtractRight { name, kind: super::mail::as_received(kind) as u32 })
    }

    /// A right out of `task`, and as what it arrives.
    pub(super) fn extract_right(&mut self, task: TaskId, name: Name, disposition: u32) -> Result<(Right, RightKind), Code> {
        let disposition = u8::try_from(disposition).ok().and_then(Disposition::from_raw).ok_or(Code::KERN_INVALID_VALUE)?;
        if !name.is_valid() {
            return Err(Code::KERN_INVALID_NAME);
        }
        Ok((self.take(task, name, disposition, false)?, disposition.becomes()))
    }

    fn deliver_or_discard(&mut self, task: TaskId, right: Right) -> Result<Name, Code> {
        self.deliver(task, right).map_err(|right| {
            self.discard(right);
            Code::KERN_NO_SPACE
        })
    }

    pub(super) fn port_request_notification(
        &mut self,
        caller: TaskId,
        task: TaskId,
        r: &control::PortRequestNotification,
    ) -> Result<answer::PortRequestNotification, Code> {
        let notify = match r.notify {
            Name::NULL => None,
            Name::DEAD => return Err(Code::KERN_INVALID_CAPABILITY),
            name => {
                let disposition = u8::try_from(r.disposition).ok().and_then(Disposition::from_raw);
                let disposition = disposition.filter(|d| d.becomes() == RightKind::SendOnce).ok_or(Code::KERN_INVALID_VALUE)?;
                match self.take(caller, name, disposition, false).map_err(|code| match code {
                    Code::KERN_RESOURCE_SHORTAGE => code,
                    _ => Code::KERN_INVALID_CAPABILITY,
                })? {
                    Right::SendOnce(port) => Some(port),
                    right => {
                        self.discard(right);
                        return Err(Code::KERN_INVALID_CAPABILITY);
                    }
                }
            }
        };
        match self.request_notification(task, r.name, r.id as i32, r.sync, notify)? {
            None => Ok(answer::PortRequestNotification { previous: Name::NULL }),
            Some(previous) => {
                let previous = self.deliver_or_discard(caller, Right::SendOnce(previous))?;
                Ok(answer::PortRequestNotification { previous })
            }
        }
    }

    pub(super) fn port_kobject(&mut self, task: TaskId, name: Name) -> Result<answer::PortKobject, Code> {
        let entry = self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?;
        let port = entry.port().ok_or(Code::KERN_INVALID_RIGHT)?;
        let entry = &self.ports[port.0];
        Ok(answer::PortKobject { kind: kobject_of(entry), object: port.0.to_raw() })
    }

    pub(super) fn port_get_srights(&mut self, task: TaskId, name: Name) -> Result<answer::PortGetSrights, Code> {
        let port = self.receive_right(task, name)?;
        Ok(answer::PortGetSrights { count: self.ports[port.0].srights })
    }
}

/// User references after `delta`. A pegged count changes only when all of it goes at once; more than fits pegs.
fn changed(urefs: u16, delta: i32) -> Result<u16, Code> {
    if urefs == PEGGED {
        return Ok(if delta == -(PEGGED as i32) { 0 } else { PEGGED });
    }
    let after = urefs as i64 + delta as i64;
    if after < 0 { Err(Code::KERN_INVALID_VALUE) } else { Ok(after.min(PEGGED as i64) as u16) }
}
