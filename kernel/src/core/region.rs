//! Regions: memory objects. The bytes are outside; the core knows the size, whether it is shared, and who may name it.
//!
//! A region to be sealed starts as a *draft*, which only its maker knows and which is no right: others could otherwise hold memory that
//! still changes. The seals make it a right: a send right to a port of the kernel's, whose last send right ends the region.

use umach_abi::limits::REGION_MAX;
use umach_abi::{Code, Name, control::answer};

use super::Core;
use super::effect::{Attach, Effect, LaneId, RegionId, TaskId};
use super::mail::Right;
use super::port::{Kobject, Port, PortId, Receiver};
use super::quota::{Charge, Kind};

#[derive(Debug)]
pub(super) struct Region {
    pub(super) size: u64,
    pub(super) shared: bool,
    /// `None` while a draft.
    pub(super) port: Option<PortId>,
    /// Who waits for its seals to be looked at.
    checking: Option<LaneId>,
    pub(super) count: Charge,
    pub(super) bytes: Charge,
}

impl Core {
    pub(super) fn region_create(&mut self, lane: LaneId, task: TaskId, size: u64, shared: bool) {
        if size > REGION_MAX {
            return self.reply::<answer::RegionCreate>(lane, Err(Code::KERN_INVALID_VALUE));
        }
        let account = self.tasks[task.0].account;
        let Some(count) = self.ledger.charge(account, Kind::Regions, 1) else {
            return self.reply::<answer::RegionCreate>(lane, Err(Code::KERN_RESOURCE_SHORTAGE));
        };
        let Some(bytes) = self.ledger.charge(account, Kind::RegionBytes, size) else {
            self.ledger.release(count);
            return self.reply::<answer::RegionCreate>(lane, Err(Code::KERN_RESOURCE_SHORTAGE));
        };
        let id = RegionId(self.regions.insert(Region { size, shared, port: None, checking: None, count, bytes }));
        let name = if shared {
            match self.name_region(task, id) {
                Ok(name) => name,
                Err(code) => {
                    self.drop_region(id);
                    return self.reply::<answer::RegionCreate>(lane, Err(code));
                }
            }
        } else {
            self.tasks[task.0].drafts.push(id);
            Name::NULL
        };
        let attach = Attach::NewRegion { id, size, shared };
        self.reply_with(lane, answer::RegionCreate { region: id.to_raw(), name }, attach);
    }

    /// Makes the region a right of `task`.
    fn name_region(&mut self, task: TaskId, id: RegionId) -> Result<Name, Code> {
        let mut port = Port::new(Receiver::Kernel(Kobject::Region(id)));
        port.srights = 1;
        let port = PortId(self.ports.insert(port));
        match self.deliver(task, Right::Send(port)) {
            Ok(name) => {
                self.regions[id.0].port = Some(port);
                Ok(name)
            }
            Err(_) => {
                self.ports.remove(port.0);
                Err(Code::KERN_NO_SPACE)
            }
        }
    }

    /// A sealed region with these bytes, at the cost of `task`: a right to it on its way to somebody. `None`: the task has no room for it.
    pub(super) fn filled_region(&mut self, task: TaskId, bytes: Vec<u8>) -> Option<(Right, RegionId)> {
        let (account, size) = (self.tasks.get(task.0)?.account, bytes.len() as u64);
        let count = self.ledger.charge(account, Kind::Regions, 1)?;
        let Some(charge) = self.ledger.charge(account, Kind::RegionBytes, size) else {
            self.ledger.release(count);
            return None;
        };
        let id = RegionId(self.regions.insert(Region { size, shared: false, port: None, checking: None, count, bytes: charge }));
        let mut port = Port::new(Receiver::Kernel(Kobject::Region(id)));
        port.srights = 1;
        let port = PortId(self.ports.insert(port));
        self.regions[id.0].port = Some(port);
        self.effects.push(Effect::FillRegion { region: id, bytes });
        Some((Right::Send(port), id))
    }

    fn draft(&self, task: TaskId, raw: u64) -> Result<RegionId, Code> {
        let id = RegionId::from_raw(raw);
        let mine = self.tasks[task.0].drafts.contains(&id) && self.regions.get(id.0).is_some_and(|r| r.checking.is_none());
        if mine { Ok(id) } else { Err(Code::KERN_INVALID_OBJECT) }
    }

    pub(super) fn region_seal(&mut self, lane: LaneId, task: TaskId, raw: u64) {
        match self.draft(task, raw) {
            Ok(id) => {
                let region = &mut self.regions[id.0];
                region.checking = Some(lane);
                self.effects.push(Effect::CheckSeals { region: id, size: region.size });
            }
            Err(code) => self.reply::<answer::RegionSeal>(lane, Err(code)),
        }
    }

    pub(super) fn region_sealed(&mut self, id: RegionId, sealed: bool) {
        let Some(region) = self.regions.get_mut(id.0) else { return };
        let Some(lane) = region.checking.take() else { return };
        let Some(task) = self.lanes.get(lane.0).map(|lane| lane.task) else { return };
        let result = if sealed { self.name_region(task, id) } else { Err(Code::KERN_PROTECTION_FAILURE) };
        if result.is_ok() {
            self.tasks[task.0].drafts.retain(|&draft| draft != id);
        }
        self.reply(lane, result.map(|name| answer::RegionSeal { name }));
    }

    pub(super) fn region_abandon(&mut self, task: TaskId, raw: u64) -> Result<answer::RegionDrop, Code> {
        let id = self.draft(task, raw)?;
        self.tasks[task.0].drafts.retain(|&draft| draft != id);
        self.drop_region(id);
        Ok(answer::RegionDrop {})
    }

    pub(super) fn region_map(&mut self, lane: LaneId, task: TaskId, name: Name) {
        let kobject = self.refresh(task, name).and_then(|entry| entry.port()).and_then(|port| self.ports[port.0].kobject());
        match kobject {
            Some(Kobject::Region(id)) => {
                let region = &self.regions[id.0];
                let fields = answer::RegionMap { size: region.size, shared: region.shared as u32 };
                self.reply_with(lane, fields, Attach::Region(id));
            }
            Some(_) => self.reply::<answer::RegionMap>(lane, Err(Code::KERN_INVALID_RIGHT)),
            None => self.reply::<answer::RegionMap>(lane, Err(Code::KERN_INVALID_NAME)),
        }
    }
}
