//! Port sets: who is in which.

use umach_abi::control::answer;
use umach_abi::{Code, Name, TypeBits};

use super::Core;
use super::effect::TaskId;
use super::port::{PortId, PortSet, SetId};
use super::quota::Kind;
use super::space::{Entry, Object};

/// Sets that one port can be in. Each message tells them all, so the number bounds what a message can cost.
const SETS_OF_A_PORT: usize = 256;
/// Names in one page of a set's members.
const PAGE: usize = 8192;

impl Core {
    pub(super) fn new_set(&mut self, task: TaskId, chosen: Option<Name>) -> Result<Name, Code> {
        let account = self.tasks[task.0].account;
        let charge = self.ledger.charge(account, Kind::Ports, 1).ok_or(Code::KERN_NO_SPACE)?;
        let set = PortSet {
            members: Default::default(),
            ready: Default::default(),
            turn: 0,
            receivers: Default::default(),
            owner: (task, Name::NULL),
            routed: 0,
            watched: false,
            pinned_at: 0,
            charge,
        };
        let id = SetId(self.sets.insert(set));
        let entry = Entry { object: Object::Set(id), bits: TypeBits::PORT_SET, urefs: 0, requested: false };
        match self.place(task, chosen, entry) {
            Ok(name) => {
                self.sets[id.0].owner.1 = name;
                Ok(name)
            }
            Err(code) => {
                let set = self.sets.remove(id.0).expect("just made");
                self.ledger.release(set.charge);
                Err(code)
            }
        }
    }

    fn port_set(&mut self, task: TaskId, name: Name) -> Result<SetId, Code> {
        match self.refresh(task, name).ok_or(Code::KERN_INVALID_NAME)?.object {
            Object::Set(set) => Ok(set),
            _ => Err(Code::KERN_INVALID_RIGHT),
        }
    }

    /// A member and a set, named; only receive rights can be members.
    fn pair(&mut self, task: TaskId, member: Name, set: Name) -> Result<(PortId, SetId), Code> {
        if !member.is_valid() || !set.is_valid() {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        let set = self.port_set(task, set)?;
        Ok((self.receive_right(task, member)?, set))
    }

    fn join_set(&mut self, port: PortId, set: SetId) -> Result<(), Code> {
        let sets = &mut self.ports[port.0].sets;
        if sets.len() == SETS_OF_A_PORT {
            return Err(Code::KERN_RESOURCE_SHORTAGE);
        }
        sets.push(set);
        self.sets[set.0].members.insert(port, None);
        if self.ports[port.0].ready() {
            self.sets[set.0].mark_ready(port);
            self.pump(port);
        }
        if self.ports[port.0].routed() {
            let (owner, name) = self.sets[set.0].owner;
            self.sets[set.0].routed += 1;
            self.raise_member(owner, port, name);
            if self.tasks[owner.0].plane.attention {
                self.put_off_all(port);
            }
        }
        Ok(())
    }

    fn leave_set(&mut self, port: PortId, set: SetId) {
        self.ports[port.0].sets.retain(|&other| other != set);
        self.left_set(port, set);
    }

    /// The port has forgotten the set; now the set forgets the port.
    pub(super) fn left_set(&mut self, id: PortId, set: SetId) {
        let Core { ports, sets, .. } = self;
        let (Some(set), port) = (sets.get_mut(set.0), &ports[id.0]) else { return };
        set.unmark(id);
        set.members.remove(&id);
        if port.routed() {
            set.routed -= 1;
            let (owner, name) = set.owner;
            self.raise_member(owner, id, name);
        }
    }

    pub(super) fn port_move_member(&mut self, task: TaskId, member: Name, after: Name) -> Result<answer::PortMoveMember, Code> {
        if !member.is_valid() {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        let port = self.receive_right(task, member)?;
        if after == Name::NULL {
            let sets = &self.ports[port.0].sets;
            if !sets.iter().any(|set| self.sets.get(set.0).is_some()) {
                return Err(Code::KERN_NOT_IN_SET);
            }
            self.leave_all_sets(port);
            return Ok(answer::PortMoveMember {});
        }
        if after == Name::DEAD {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        let set = self.port_set(task, after)?;
        self.leave_all_sets(port);
        self.join_set(port, set)?;
        Ok(answer::PortMoveMember {})
    }

    pub(super) fn port_insert_member(&mut self, task: TaskId, member: Name, set: Name) -> Result<answer::PortInsertMember, Code> {
        let (port, set) = self.pair(task, member, set)?;
        if self.sets[set.0].members.contains_key(&port) {
            return Err(Code::KERN_ALREADY_IN_SET);
        }
        self.join_set(port, set)?;
        Ok(answer::PortInsertMember {})
    }

    pub(super) fn port_extract_member(&mut self, task: TaskId, member: Name, set: Name) -> Result<answer::PortExtractMember, Code> {
        let (port, set) = self.pair(task, member, set)?;
        if !self.sets[set.0].members.contains_key(&port) {
            return Err(Code::KERN_NOT_IN_SET);
        }
        self.leave_set(port, set);
        Ok(answer::PortExtractMember {})
    }

    /// Names of the members from the `start`-th on, and where the next page starts (0: nowhere).
    pub(super) fn port_get_set_status(&mut self, task: TaskId, name: Name, start: u32) -> Result<(u32, Vec<u8>), Code> {
        if !name.is_valid() {
            return Err(Code::KERN_INVALID_RIGHT);
        }
        let set = self.port_set(task, name)?;
        let set = &self.sets[set.0];
        let space = &self.tasks[task.0].space;
        let members = set.members.keys().skip(start as usize).take(PAGE);
        let names: Vec<u8> = members.filter_map(|&port| space.name_of(port)).flat_map(|name| name.0.to_le_bytes()).collect();
        let end = start as usize + PAGE;
        Ok((if end < set.members.len() { end as u32 } else { 0 }, names))
    }
}
