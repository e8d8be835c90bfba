//! Operations as the generator makes them: abstract, so that a list of them still means something after some are left out.
//!
//! An operation does not name names; it says "the third of the receive rights of the second task". What that is, is decided when its
//! turn comes, from the model's state then. So a failing list can be cut down freely, and what is left is printed as it came out.

use super::rng::Rng;

/// Which names to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Receive,
    Send,
    Once,
    Set,
    Dead,
    /// Anything that can be a destination.
    Sendable,
    Any,
    Null,
    DeadConst,
    Retired,
    Bogus,
    Control,
}

/// A name of a class: the one that `n` likes best. A name is liked for what made it, not for its place among the others, so leaving out
/// operations changes few choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) class: Class,
    pub(crate) n: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescPlan {
    /// Below 70: a right; below 85: an array; below 97: memory; else nonsense.
    pub(crate) shape: u8,
    pub(crate) picks: Vec<(Pick, u8)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendPlan {
    pub(crate) dest: (Pick, u8),
    pub(crate) reply: Option<(Pick, u8)>,
    /// The reply goes by the destination's name.
    pub(crate) same: bool,
    pub(crate) descs: Vec<DescPlan>,
    pub(crate) words: u8,
    pub(crate) notify: bool,
    pub(crate) wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    Receive,
    SendReceive,
    SendMany,
    Cancel,
    Allocate,
    AllocateName,
    Construct,
    Deallocate,
    Destroy,
    Destruct,
    ModRefs,
    GetRefs,
    Type,
    InsertRight,
    ExtractRight,
    MoveMember,
    InsertMember,
    ExtractMember,
    GetSetStatus,
    GetAttributes,
    SetLimit,
    SetMscount,
    SetSeqno,
    RequestNotification,
    Guard,
    Unguard,
    SwapGuard,
    GetContext,
    SetContext,
    Peek,
    GetSrights,
    Suspend,
    Resume,
    TaskInfo,
    GetSpecial,
    SetSpecial,
    Register,
    Lookup,
    Connect,
    Create,
    End,
    CloseLane,
}

/// How often each is chosen, and which names it is about.
const WEIGHTS: &[(u32, Kind, Class, Class)] = &[
    (190, Kind::Send, Class::Sendable, Class::Any),
    (150, Kind::Receive, Class::Receive, Class::Any),
    (50, Kind::SendReceive, Class::Receive, Class::Any),
    (25, Kind::SendMany, Class::Any, Class::Any),
    (70, Kind::Cancel, Class::Any, Class::Any),
    (25, Kind::Allocate, Class::Null, Class::Any),
    (15, Kind::AllocateName, Class::Bogus, Class::Any),
    (45, Kind::Construct, Class::Any, Class::Any),
    (40, Kind::Deallocate, Class::Any, Class::Any),
    (20, Kind::Destroy, Class::Any, Class::Any),
    (8, Kind::Destruct, Class::Receive, Class::Any),
    (50, Kind::ModRefs, Class::Any, Class::Any),
    (8, Kind::GetRefs, Class::Any, Class::Any),
    (8, Kind::Type, Class::Any, Class::Any),
    (40, Kind::InsertRight, Class::Bogus, Class::Any),
    (40, Kind::ExtractRight, Class::Any, Class::Any),
    (12, Kind::MoveMember, Class::Receive, Class::Set),
    (35, Kind::InsertMember, Class::Receive, Class::Set),
    (14, Kind::ExtractMember, Class::Receive, Class::Set),
    (8, Kind::GetSetStatus, Class::Set, Class::Any),
    (30, Kind::GetAttributes, Class::Receive, Class::Any),
    (30, Kind::SetLimit, Class::Receive, Class::Any),
    (6, Kind::SetMscount, Class::Receive, Class::Any),
    (6, Kind::SetSeqno, Class::Receive, Class::Any),
    (90, Kind::RequestNotification, Class::Any, Class::Receive),
    (6, Kind::Guard, Class::Receive, Class::Any),
    (12, Kind::Unguard, Class::Receive, Class::Any),
    (4, Kind::SwapGuard, Class::Receive, Class::Any),
    (5, Kind::GetContext, Class::Receive, Class::Any),
    (5, Kind::SetContext, Class::Receive, Class::Any),
    (12, Kind::Peek, Class::Receive, Class::Any),
    (14, Kind::GetSrights, Class::Receive, Class::Any),
    (3, Kind::Suspend, Class::Any, Class::Any),
    (3, Kind::Resume, Class::Any, Class::Any),
    (14, Kind::TaskInfo, Class::Any, Class::Any),
    (8, Kind::GetSpecial, Class::Any, Class::Any),
    (6, Kind::SetSpecial, Class::Send, Class::Any),
    (6, Kind::Register, Class::Send, Class::Send),
    (4, Kind::Lookup, Class::Any, Class::Any),
    (4, Kind::Connect, Class::Any, Class::Any),
    (4, Kind::Create, Class::Any, Class::Any),
    (4, Kind::End, Class::Any, Class::Any),
    (4, Kind::CloseLane, Class::Any, Class::Any),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    /// Place in the list as generated.
    pub(crate) serial: u32,
    pub(crate) kind: Kind,
    pub(crate) task: u8,
    pub(crate) lane: u8,
    /// Below 30: on another task's behalf, by its control right.
    pub(crate) via: u8,
    pub(crate) a: Pick,
    pub(crate) b: Pick,
    pub(crate) c: Pick,
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) sends: Vec<SendPlan>,
}

fn pick(rng: &mut Rng, preferred: Class) -> Pick {
    const REST: [Class; 12] = [
        Class::Receive,
        Class::Send,
        Class::Once,
        Class::Set,
        Class::Dead,
        Class::Any,
        Class::Any,
        Class::Null,
        Class::DeadConst,
        Class::Retired,
        Class::Bogus,
        Class::Control,
    ];
    let class = if rng.chance(91) { preferred } else { REST[rng.below(12) as usize] };
    Pick { class, n: rng.next() as u16 }
}

fn send_plan(rng: &mut Rng) -> SendPlan {
    let dest = (pick(rng, Class::Sendable), rng.byte());
    let reply_class = if rng.chance(70) { Class::Receive } else { Class::Sendable };
    let reply = rng.chance(35).then(|| (pick(rng, reply_class), rng.byte()));
    let count = if rng.chance(55) { 0 } else { 1 + rng.below(3) };
    let descs = (0..count).map(|_| {
        let shape = rng.below(100) as u8;
        let picks = if (70..85).contains(&shape) { rng.below(4) } else { 1 };
        let class = match rng.below(10) {
            0..5 => Class::Any,
            5..7 => Class::Receive,
            7 => Class::Send,
            8 => Class::Once,
            _ => Class::Control,
        };
        DescPlan { shape, picks: (0..picks).map(|_| (pick(rng, class), rng.byte())).collect() }
    });
    let descs = descs.collect();
    SendPlan {
        dest,
        reply,
        same: rng.chance(12),
        descs,
        words: if rng.chance(50) { 0 } else { rng.below(6) as u8 },
        notify: rng.chance(25),
        wait: rng.chance(60),
    }
}

/// The next operation.
pub(crate) fn generate(serial: u32, rng: &mut Rng) -> Op {
    let total: u32 = WEIGHTS.iter().map(|row| row.0).sum();
    let mut at = rng.below(total);
    let row = WEIGHTS.iter().find(|row| {
        let hit = at < row.0;
        at = at.wrapping_sub(row.0);
        hit
    });
    let &(_, kind, a, b) = row.unwrap_or(&WEIGHTS[0]);
    let a = if kind == Kind::Receive && rng.chance(35) { Class::Set } else { a };
    let sends = match kind {
        Kind::Send | Kind::SendReceive => 1,
        Kind::SendMany => rng.below(4),
        _ => 0,
    };
    Op {
        serial,
        kind,
        task: rng.byte(),
        lane: rng.byte(),
        via: rng.byte(),
        a: pick(rng, a),
        b: pick(rng, b),
        c: pick(rng, Class::Any),
        x: rng.next() as u32,
        y: rng.next() as u32,
        sends: (0..sends).map(|_| send_plan(rng)).collect(),
    }
}
