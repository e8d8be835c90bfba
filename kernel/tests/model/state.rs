//! The world as the model sees it: plain records, and everything that can be derived is derived by looking at all of them.
//!
//! Nothing here keeps a count. How many send rights a port has is found by scanning every space, every queue, every blocked sender and
//! every special port; who receives on it, and whether a receive right is in transit, likewise. The core keeps counts and lists for
//! speed; that the two agree after each operation is the test.

use std::collections::{BTreeMap, HashMap, VecDeque};

use umach_abi::limits::QLIMIT_DEFAULT;
use umach_abi::message::TrailerRequest;
use umach_abi::{Code, Name, TypeBits};
use umach_kernel::core::{Attach, LaneId, TaskId};

/// A disagreement between core and model, in words.
pub(crate) type R<T = ()> = Result<T, String>;
pub(crate) type PortIx = usize;
pub(crate) type SetIx = usize;
pub(crate) type TaskIx = usize;
pub(crate) type LaneIx = usize;

/// A right outside a space: in a message, in a kernel record, or on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Right {
    #[default]
    Null,
    Dead,
    Send(PortIx),
    Once(PortIx),
    Receive(PortIx),
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Send references and the receive right of one port, coalesced.
    Port {
        port: PortIx,
        sends: u32,
        receive: bool,
    },
    Once {
        port: PortIx,
    },
    /// `was_once`: a send-once right whose port died without anybody asking (see mach-semantics 1.2).
    Dead {
        urefs: u32,
        was_once: bool,
    },
    Set(SetIx),
}

/// A dead-name or send-possible request on a name; it owns a send-once right for `notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) notify: PortIx,
    pub(crate) possible: bool,
    pub(crate) armed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) holds: Holding,
    pub(crate) request: Option<Request>,
    /// Says which operation made the name, whatever it is called: so the same is chosen when other operations are left out.
    pub(crate) tag: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guard {
    pub(crate) value: u64,
    pub(crate) strict: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) alive: bool,
    /// `records::kobject`.
    pub(crate) kobject: u32,
    /// The task that a control or name port stands for.
    pub(crate) stands_for: Option<TaskIx>,
    pub(crate) queue: VecDeque<Mail>,
    pub(crate) qlimit: u32,
    pub(crate) seqno: u32,
    pub(crate) mscount: u32,
    pub(crate) context: u64,
    pub(crate) guard: Option<Guard>,
    pub(crate) immovable: bool,
    pub(crate) no_senders: Option<PortIx>,
    pub(crate) destroyed: Option<PortIx>,
    /// The task that pays for the port and its queue: its receiver, or the last one while the receive right is in transit.
    pub(crate) payer: Option<TaskIx>,
    /// The core's id, once seen.
    pub(crate) object: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) alive: bool,
    pub(crate) members: Vec<PortIx>,
    pub(crate) object: Option<u64>,
}

/// What a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Deleted(u32),
    Possible(u32),
    Destroyed(PortIx),
    /// `or_once`: the port died in the same operation that dropped its last send right; which came first is the kernel's choice.
    NoSenders {
        port: PortIx,
        count: u32,
        or_once: bool,
    },
    SendOnce,
    DeadName(u32),
    /// A name of a task that ended: deleted; or dead, if its port died of the same.
    Ended {
        name: u32,
        port: PortIx,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Desc {
    Port { right: Right, kind: u8 },
    Ports { rights: Vec<Right>, kind: u8 },
    Memory { bytes: Vec<u8>, copy: u8 },
}

/// A message in a queue, or in the hands of a blocked sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) id: i32,
    pub(crate) dest: Right,
    pub(crate) reply: Right,
    /// Disposition of the reply as received.
    pub(crate) reply_kind: u8,
    pub(crate) complex: bool,
    pub(crate) descs: Vec<Desc>,
    pub(crate) body: Vec<u8>,
    /// Bytes, trailer not counted.
    pub(crate) size: usize,
    /// What it costs its receiver: a fixed part, its bytes, and a part for each right. The kernel's own are paid by the send-once rights
    /// that they go to.
    pub(crate) price: u64,
    /// The sending task; none for the kernel's own.
    pub(crate) from: Option<TaskIx>,
    /// The task whose share of the receiver's budget this takes, if that is another's.
    pub(crate) sharer: Option<TaskIx>,
    pub(crate) note: Option<What>,
    /// The operation in which it was queued. Notifications of one operation have no promised order.
    pub(crate) batch: u64,
}

impl Mail {
    pub(crate) fn port(&self) -> PortIx {
        match self.dest {
            Right::Send(port) | Right::Once(port) => port,
            _ => unreachable!("a message goes to a port"),
        }
    }
    pub(crate) fn rights(&self) -> impl Iterator<Item = Right> + '_ {
        let carried = self.descs.iter().flat_map(|desc| match desc {
            Desc::Port { right, .. } => std::slice::from_ref(right),
            Desc::Ports { rights, .. } => rights,
            Desc::Memory { .. } => &[],
        });
        [self.dest, self.reply].into_iter().chain(carried.copied())
    }
}

/// The receiving half of a `Msg` request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecvArgs {
    pub(crate) name: u32,
    pub(crate) limit: usize,
    pub(crate) large: bool,
    pub(crate) trailer: TrailerRequest,
    pub(crate) count: u32,
    pub(crate) try_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Port(PortIx),
    Set(SetIx),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Sending { mail: Mail, then: Option<RecvArgs> },
    Receiving { args: RecvArgs, source: Source },
}

#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) task: TaskIx,
    pub(crate) core: LaneId,
    pub(crate) open: bool,
    pub(crate) seq: u32,
    pub(crate) state: State,
    /// When it began to wait.
    pub(crate) since: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) alive: bool,
    pub(crate) tag: u32,
    pub(crate) core: TaskId,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
    /// The first lane: never blocks, so it serves to look at the task.
    pub(crate) probe: LaneIx,
    pub(crate) lanes: Vec<LaneIx>,
    pub(crate) control: PortIx,
    pub(crate) name_port: PortIx,
    /// Its own name for its control right.
    pub(crate) self_name: u32,
    pub(crate) space: BTreeMap<u32, Entry>,
    /// Names freed of late: the kernel must not give them out again yet.
    pub(crate) retired: VecDeque<u32>,
    pub(crate) bootstrap: Right,
    pub(crate) registered: [Right; 3],
    pub(crate) suspended: u32,
}

/// An answer that the core gave.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) op: u16,
    pub(crate) seq: u32,
    pub(crate) status: Code,
    pub(crate) fields: Vec<u8>,
    pub(crate) attach: Vec<Attach>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) tasks: Vec<Task>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) ports: Vec<Port>,
    pub(crate) sets: Vec<Set>,
    pub(crate) host: PortIx,
    /// The bootstrap port of tasks that come through the listening socket.
    pub(crate) host_bootstrap: Right,
    /// Rights taken from somewhere and not yet put anywhere: they count.
    pub(crate) limbo: Vec<Right>,
    /// The message that is being taken from its sender is paid for already.
    pub(crate) entering: Option<(PortIx, u64)>,
    /// Bytes that may be queued for one task.
    pub(crate) budget: u64,
    /// Notifications on their way, with the port that they go to.
    pub(crate) notes: VecDeque<(PortIx, What)>,
    /// Teardown is done in pieces after the request that set it off, its receive included: rights that it will destroy wait in `ruins`,
    /// what a dying port has to tell waits in `late`.
    pub(crate) ruins: Vec<Right>,
    pub(crate) late: VecDeque<(PortIx, What)>,
    pub(crate) dying: u32,
    /// Which of the notifications that look the same was too large.
    pub(crate) choice: usize,
    /// Of a message that is destroyed, the header's rights go before the others.
    pub(crate) header_first: bool,
    /// Many things fall at once.
    pub(crate) collapsing: bool,
    /// The operation's number in its list as generated, and how many names it has made: what names are recognised by.
    pub(crate) serial: u32,
    pub(crate) made: u32,
    /// Lanes whose send is done and whose receive is next.
    pub(crate) resumed: VecDeque<(LaneIx, RecvArgs)>,
    /// Counts operations.
    pub(crate) batch: u64,
    pub(crate) clock: u64,
    /// How many lanes the core answered in this operation.
    pub(crate) answered: usize,
    /// What the core answered in this operation and the model has not yet accounted for.
    pub(crate) actual: HashMap<LaneIx, Answer>,
}

/// How many freed names must not come back.
const QUARANTINE: usize = 24;

impl World {
    pub(crate) fn new_port(&mut self, kobject: u32, payer: Option<TaskIx>) -> PortIx {
        self.ports.push(Port {
            alive: true,
            kobject,
            stands_for: None,
            queue: VecDeque::new(),
            qlimit: QLIMIT_DEFAULT,
            seqno: 0,
            mscount: 0,
            context: 0,
            guard: None,
            immovable: false,
            no_senders: None,
            destroyed: None,
            payer,
            object: None,
        });
        self.ports.len() - 1
    }
    pub(crate) fn new_set(&mut self) -> SetIx {
        self.sets.push(Set { alive: true, members: Vec::new(), object: None });
        self.sets.len() - 1
    }
    /// A new operation begins.
    pub(crate) fn begin(&mut self, serial: u32) {
        self.batch += 1;
        self.serial = serial;
        self.made = 0;
    }
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A line for the list of operations: who, what, and the names he has.
    pub(crate) fn tell(&self, what: &str, lane: Option<LaneIx>) -> String {
        match lane {
            Some(lane) => format!("t{} lane {lane}: {what}", self.lanes[lane].task),
            None => what.to_owned(),
        }
    }

    // What can be derived.

    /// Every message in the world.
    pub(crate) fn mails(&self) -> impl Iterator<Item = &Mail> {
        let queued = self.ports.iter().flat_map(|port| port.queue.iter());
        let held = self.lanes.iter().filter_map(|lane| match &lane.state {
            State::Sending { mail, .. } => Some(mail),
            _ => None,
        });
        queued.chain(held)
    }
    /// Send rights: one for each name that holds some, one for each in transit or in a special port.
    pub(crate) fn count_sends(&self, port: PortIx) -> u32 {
        let alive = || self.tasks.iter().filter(|task| task.alive);
        let named = alive()
            .flat_map(|task| task.space.values())
            .filter(|entry| matches!(entry.holds, Holding::Port { port: p, sends, .. } if p == port && sends > 0))
            .count();
        let special = alive().flat_map(|task| [task.bootstrap].into_iter().chain(task.registered)).chain([self.host_bootstrap]);
        let transit = self.mails().flat_map(Mail::rights).chain(self.limbo.iter().chain(&self.ruins).copied());
        (named + special.chain(transit).filter(|right| *right == Right::Send(port)).count()) as u32
    }
    /// Send-once rights, those that the kernel holds for notifications included.
    pub(crate) fn count_onces(&self, port: PortIx) -> u32 {
        let entries = || self.tasks.iter().filter(|task| task.alive).flat_map(|task| task.space.values());
        let named = entries().filter(|entry| entry.holds == Holding::Once { port }).count();
        let requests = entries().filter(|entry| entry.request.is_some_and(|request| request.notify == port)).count();
        let lost = self.limbo.iter().chain(&self.ruins).copied();
        let transit = self.mails().flat_map(Mail::rights).chain(lost).filter(|right| *right == Right::Once(port)).count();
        let kept = self.ports.iter().filter(|p| p.alive).flat_map(|p| [p.no_senders, p.destroyed]).filter(|n| *n == Some(port)).count();
        let noted = self.notes.iter().chain(&self.late).filter(|note| note.0 == port).count();
        (named + requests + transit + kept + noted) as u32
    }
    /// The task and name under which the receive right is held; none while it is in transit.
    pub(crate) fn find_receiver(&self, port: PortIx) -> Option<(TaskIx, u32)> {
        self.tasks.iter().enumerate().filter(|(_, task)| task.alive).find_map(|(ix, task)| {
            task.space.iter().find_map(|(name, entry)| match entry.holds {
                Holding::Port { port: p, receive: true, .. } if p == port => Some((ix, *name)),
                _ => None,
            })
        })
    }
    /// The name under which a task holds send or receive rights of a port.
    pub(crate) fn find_name(&self, task: TaskIx, port: PortIx) -> Option<u32> {
        let found = |entry: &Entry| matches!(entry.holds, Holding::Port { port: p, .. } if p == port);
        self.tasks[task].space.iter().find_map(|(name, entry)| found(entry).then_some(*name))
    }
    /// The name of a set.
    pub(crate) fn sets_of(&self, port: PortIx) -> usize {
        self.sets.iter().filter(|set| set.alive && set.members.contains(&port)).count()
    }
    pub(crate) fn is_full(&self, port: PortIx) -> bool {
        self.ports[port].queue.len() >= self.ports[port].qlimit as usize
    }
    /// Lanes blocked in a send to `port`, longest first.
    pub(crate) fn blocked_on(&self, port: PortIx) -> Vec<LaneIx> {
        let waits = |lane: &Lane| matches!(&lane.state, State::Sending { mail, .. } if mail.port() == port);
        self.lanes_where(waits)
    }
    /// Lanes blocked in a receive, longest first.
    pub(crate) fn waiting(&self) -> Vec<LaneIx> {
        self.lanes_where(|lane| matches!(lane.state, State::Receiving { .. }))
    }
    fn lanes_where(&self, test: impl Fn(&Lane) -> bool) -> Vec<LaneIx> {
        let mut lanes: Vec<_> = (0..self.lanes.len()).filter(|ix| self.lanes[*ix].open && test(&self.lanes[*ix])).collect();
        lanes.sort_by_key(|ix| self.lanes[*ix].since);
        lanes
    }
    /// Whether a message to `dest` that carries the receive right of `moved` would close a circle: `dest` is that port, or its own
    /// receive right travels, through any number of messages, to that port.
    pub(crate) fn is_circular(&self, moved: PortIx, dest: PortIx) -> bool {
        let mut at = dest;
        for _ in 0..=self.ports.len() {
            if at == moved {
                return true;
            }
            let Some(carrier) = self.mails().find(|mail| mail.rights().any(|right| right == Right::Receive(at))) else { return false };
            at = carrier.port();
        }
        true
    }

    // Names.

    /// Enters a name that the core chose.
    pub(crate) fn enter_chosen(&mut self, task: TaskIx, name: Name, holds: Holding) -> R {
        let label = format!("t{task} name {name}");
        if !name.is_valid() || name.0 & 3 != 3 || name.index() == 0 {
            return Err(format!("{label}: the kernel chose a name of the wrong form for {holds:?}"));
        }
        let owner = &mut self.tasks[task];
        if let Some(entry) = owner.space.get(&name.0) {
            return Err(format!("{label}: the kernel chose a name for {holds:?} that is in use for {entry:?}"));
        }
        if owner.retired.contains(&name.0) {
            return Err(format!("{label}: a name freed a moment ago came back for {holds:?}"));
        }
        self.made += 1;
        let tag = self.serial << 6 | self.made;
        owner.space.insert(name.0, Entry { holds, request: None, tag });
        Ok(())
    }
    /// Why a name that a caller chose cannot be had: bad form, in use, or its table slot is in use in another generation.
    pub(crate) fn refuse_picked(&self, task: TaskIx, name: Name, exists: bool) -> Vec<Code> {
        let mut codes = Vec::new();
        if !name.is_valid() || name.0 & 3 != 3 {
            codes.push(Code::KERN_INVALID_VALUE);
        }
        if name.index() == 0 {
            codes.push(Code::KERN_FAILURE);
        }
        let neighbour = |held: &u32| Name(*held).index() == name.index() && *held != name.0;
        if codes.is_empty() && self.tasks[task].space.keys().any(neighbour) {
            codes.extend([Code::KERN_FAILURE, Code::KERN_NAME_EXISTS]);
        }
        if codes.is_empty() && exists {
            codes.push(Code::KERN_NAME_EXISTS);
        }
        codes
    }
    /// Enters a name that a caller chose.
    pub(crate) fn enter_picked(&mut self, task: TaskIx, name: Name, holds: Holding) {
        let owner = &mut self.tasks[task];
        // A caller that chooses a generation sets where its table slot goes on from.
        owner.retired.retain(|retired| Name(*retired).index() != name.index());
        self.made += 1;
        let tag = self.serial << 6 | self.made;
        owner.space.insert(name.0, Entry { holds, request: None, tag });
    }
    /// Frees a name; a request on it is answered with port-deleted.
    pub(crate) fn free_name(&mut self, task: TaskIx, name: u32) {
        let owner = &mut self.tasks[task];
        let Some(entry) = owner.space.remove(&name) else { return };
        owner.retired.push_back(name);
        if owner.retired.len() > QUARANTINE {
            owner.retired.pop_front();
        }
        if let Some(request) = entry.request {
            self.notify(request.notify, What::Deleted(name));
        }
    }
    pub(crate) fn entry(&self, task: TaskIx, name: u32) -> Option<Entry> {
        self.tasks[task].space.get(&name).copied()
    }
    pub(crate) fn set_holding(&mut self, task: TaskIx, name: u32, holds: Holding) {
        if let Some(entry) = self.tasks[task].space.get_mut(&name) {
            entry.holds = holds;
        }
    }

    /// What `mach_port_type` says of an entry.
    pub(crate) fn type_bits(entry: &Entry) -> TypeBits {
        let mut bits = match entry.holds {
            Holding::Port { sends, receive, .. } => {
                let send = if sends > 0 { TypeBits::SEND } else { TypeBits::empty() };
                let receive = if receive { TypeBits::RECEIVE } else { TypeBits::empty() };
                send | receive
            }
            Holding::Once { .. } => TypeBits::SEND_ONCE,
            Holding::Dead { .. } => TypeBits::DEAD_NAME,
            Holding::Set(_) => TypeBits::PORT_SET,
        };
        if let Some(request) = entry.request {
            bits |= TypeBits::DNREQUEST;
            if request.possible {
                bits |= TypeBits::SPREQUEST;
                if !request.armed {
                    bits |= TypeBits::SPREQUEST_DELAYED;
                }
            }
        }
        bits
    }
}
