//! Handles: what a port of this server stands for, and what its holder may do with it.
//!
//! The table is keyed by an id that is the port's context, so the kernel itself says with each message which handle it is for; ids are never
//! used again. A handle lives until the no-senders notification of its port, which comes after the last message to it, and a worker that
//! is still busy with one keeps it alive a little longer.
//!
//! 1. **A handle only narrows**: [`Handle::require`] guards each operation, and a new handle's access is a part of the old one's.
//! 2. **One port, one charge, at most one descriptor** per handle, all released together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libtask::{Name, PortOptions, PortSet, ReceiveRight, SendRight, Task};
use umach_file_api::error::{Failure, Fault};
use umach_file_api::protocol::{Access, Stat};

use crate::charge::Charge;
use crate::tree::{Directory, OpenFile};

/// What a handle stands for. Handles that were narrowed from another share it.
#[derive(Debug, Clone)]
pub enum Node {
    /// A directory.
    Directory(Arc<Directory>),
    /// An open file.
    File(Arc<OpenFile>),
}

impl Node {
    /// Facts about it.
    pub fn stat(&self) -> Result<Stat, Failure> {
        match self {
            Node::Directory(directory) => directory.stat(b"", true),
            Node::File(file) => file.stat(),
        }
    }
}

/// One handle.
#[derive(Debug)]
pub struct Handle {
    node: Node,
    access: Access,
    port: ReceiveRight,
    /// Absent for the root, which is the server's own.
    _charge: Option<Charge>,
}

/// Whether `have` includes `want`; who may write anywhere may also append.
pub fn permits(have: Access, want: Access) -> bool {
    let have = if have.contains(Access::WRITE) { have | Access::APPEND } else { have };
    have.contains(want)
}

impl Handle {
    /// What it stands for.
    pub fn node(&self) -> &Node {
        &self.node
    }
    /// What it permits.
    pub fn access(&self) -> Access {
        self.access
    }
    /// Refuses what it does not permit.
    pub fn require(&self, want: Access) -> Result<(), Failure> {
        if permits(self.access, want) { Ok(()) } else { Err(Fault::NotPermitted.into()) }
    }
    /// The directory that it stands for.
    pub fn directory(&self) -> Result<&Arc<Directory>, Failure> {
        match &self.node {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Fault::NotDirectory.into()),
        }
    }
    /// The file that it stands for.
    pub fn file(&self) -> Result<&Arc<OpenFile>, Failure> {
        match &self.node {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(Fault::IsDirectory.into()),
        }
    }
}

/// All handles.
#[derive(Debug)]
pub struct Handles {
    task: Task,
    set: PortSet,
    next: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<u64, Arc<Handle>>,
    /// A send right to a port of ours comes back under the receive right's name: that is how a handle in a message is recognised.
    by_name: HashMap<Name, u64>,
}

impl Handles {
    /// No handles; their ports go into `set`.
    pub fn new(task: &Task, set: PortSet) -> Handles {
        // 0 is the context of ports that were never given one.
        Handles { task: task.clone(), set, next: AtomicU64::new(1), table: Mutex::default() }
    }
    /// The set that all ports are in.
    pub fn set(&self) -> &PortSet {
        &self.set
    }
    /// A new handle; gives the only send right to it. It closes when that and all copies are gone.
    pub fn open(&self, node: Node, access: Access, charge: Charge) -> libtask::Result<SendRight> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let port = self.task.new_port_with(PortOptions { context: id, ..PortOptions::default() })?;
        let right = port.make_send()?;
        // To the port itself, so that it comes after every message.
        port.on_no_senders_since(0, &port)?;
        self.insert(id, Handle { node, access, port, _charge: Some(charge) })?;
        Ok(right)
    }
    /// A handle on a port that exists already and stays until the server ends.
    pub fn install(&self, node: Node, access: Access, port: ReceiveRight) -> libtask::Result<()> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        port.set_context(id)?;
        self.insert(id, Handle { node, access, port, _charge: None })
    }
    fn insert(&self, id: u64, handle: Handle) -> libtask::Result<()> {
        self.set.insert(&handle.port)?;
        let mut table = self.table();
        table.by_name.insert(handle.port.name(), id);
        table.by_id.insert(id, Arc::new(handle));
        Ok(())
    }
    /// The handle that a message's context names.
    pub fn get(&self, id: u64) -> Option<Arc<Handle>> {
        self.table().by_id.get(&id).cloned()
    }
    /// The handle that a right is to, if it is one of ours.
    pub fn find<I: ?Sized>(&self, right: &SendRight<I>) -> Option<Arc<Handle>> {
        let table = self.table();
        table.by_name.get(&right.name()).and_then(|id| table.by_id.get(id)).cloned()
    }
    /// Nobody can send to it any more.
    pub fn close(&self, id: u64) {
        let closed = {
            let mut table = self.table();
            let closed = table.by_id.remove(&id);
            if let Some(handle) = &closed {
                table.by_name.remove(&handle.port.name());
            }
            closed
        };
        // Closing a file can take time, and releasing the port is a request: not under the lock.
        drop(closed);
    }
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
