//! Quotas: everything held for somebody is charged to somebody.
//!
//! Each task has an *account*, each user the sum over the accounts of its tasks. A [`Charge`] is the receipt for what was paid; it travels
//! with what it paid for and is given back with it. A charge that is dropped instead is a bug, and debug builds panic on it.
//!
//! An account outlives its task until the last charge on it is returned, so that a task cannot get rid of its debts by dying.
//!
//! *Sharing.* Bytes queued at somebody else take from the receiver's budget. A foreign user may take at most a `1/(n+1)` part of what is
//! free or already its own, `n` being the number of foreign users that hold a share, itself included; and within a user the same holds for
//! each task among that user's. So there is always room for one more user and for one more task, however greedy the others are, and a
//! user gains nothing by having many tasks.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::arena::{Arena, Id};

/// What a task, and a user over all of its tasks, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Ports and port sets of one task.
    pub task_ports: u64,
    /// Names of one task.
    pub task_names: u64,
    /// Bytes of messages queued for one task.
    pub task_queued_bytes: u64,
    /// Regions of one task.
    pub task_regions: u64,
    /// Bytes of regions of one task.
    pub task_region_bytes: u64,
    /// Notification requests of one task.
    pub task_notifications: u64,
    /// Lanes of one task.
    pub task_lanes: u64,
    /// Links of one task.
    pub task_links: u64,
    /// Bytes of lanes' memory of one task.
    pub task_lane_bytes: u64,
    /// Tasks of one user.
    pub user_tasks: u64,
    /// The other limits, over all tasks of a user, as a multiple of the task's. Lanes: at least two for each task of the user.
    pub user_factor: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            task_ports: 128 * 1024,
            task_names: 2 * 1024 * 1024,
            task_queued_bytes: 64 << 20,
            task_regions: 1024,
            task_region_bytes: 8 << 30,
            task_notifications: 1024 * 1024,
            task_lanes: 64,
            task_links: 4096,
            task_lane_bytes: 4 << 20,
            user_tasks: 4096,
            user_factor: 4,
        }
    }
}

/// The kinds of thing that are charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Ports,
    Names,
    QueuedBytes,
    Regions,
    RegionBytes,
    Notifications,
    Lanes,
    Links,
    LaneBytes,
}

const KINDS: usize = 9;

/// The id of an account.
pub(super) type AccountId = Id;

/// An account that queues something at another, with its user: the account may be gone before the charge is returned.
type Actor = (u32, AccountId);

/// The receipt for something paid for. Not `Clone`: it is returned exactly once, to [`Ledger::release`].
#[derive(Debug)]
#[must_use = "a charge must be kept with what it pays for and released with it"]
pub(super) struct Charge {
    account: AccountId,
    /// Who queued it, if that was somebody else: user and account.
    actor: Option<Actor>,
    amount: u64,
    kind: Kind,
}

impl Charge {
    pub(super) fn account(&self) -> AccountId {
        self.account
    }
    pub(super) fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        debug_assert!(self.amount == 0 || std::thread::panicking(), "charge dropped instead of released: {self:?}");
    }
}

#[derive(Debug)]
struct Account {
    user: u32,
    closed: bool,
    used: [u64; KINDS],
    /// Queued bytes by who queued them.
    shares: BTreeMap<Actor, u64>,
    /// The same by user, and over how many accounts.
    user_shares: BTreeMap<u32, (u64, u64)>,
}

#[derive(Debug, Default)]
struct User {
    accounts: u64,
    tasks: u64,
    used: [u64; KINDS],
}

/// All accounts.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: [u64; KINDS],
    user_limits: [u64; KINDS],
    user_tasks: u64,
    accounts: Arena<Account>,
    users: HashMap<u32, User>,
    /// Over all accounts.
    totals: [u64; KINDS],
}

impl Ledger {
    pub(super) fn new(limits: &Limits) -> Ledger {
        let task_limits = [
            limits.task_ports,
            limits.task_names,
            limits.task_queued_bytes,
            limits.task_regions,
            limits.task_region_bytes,
            limits.task_notifications,
            limits.task_lanes,
            limits.task_links,
            limits.task_lane_bytes,
        ];
        let mut user_limits = task_limits.map(|limit| limit.saturating_mul(limits.user_factor));
        // Every task needs a lane, and one more as soon as it waits.
        let lanes = &mut user_limits[Kind::Lanes as usize];
        *lanes = (*lanes).max(limits.user_tasks.saturating_mul(2));
        Ledger {
            limits: task_limits,
            user_limits,
            user_tasks: limits.user_tasks,
            accounts: Arena::default(),
            users: HashMap::new(),
            totals: [0; KINDS],
        }
    }

    /// Opens an account for a new task of `uid`; `None` if the user has too many tasks. Closed by [`Ledger::close`].
    pub(super) fn open(&mut self, uid: u32) -> Option<AccountId> {
        let user = self.users.entry(uid).or_default();
        if user.tasks >= self.user_tasks {
            return None;
        }
        user.tasks += 1;
        user.accounts += 1;
        Some(self.accounts.insert(Account {
            user: uid,
            closed: false,
            used: [0; KINDS],
            shares: BTreeMap::new(),
            user_shares: BTreeMap::new(),
        }))
    }

    /// The task is gone; the account goes when nothing is charged to it any more.
    pub(super) fn close(&mut self, id: AccountId) {
        let account = &mut self.accounts[id];
        account.closed = true;
        self.users.get_mut(&account.user).expect("account has a user").tasks -= 1;
        self.bury(id);
    }

    fn bury(&mut self, id: AccountId) {
        let account = &self.accounts[id];
        if account.closed && account.used == [0; KINDS] {
            let uid = account.user;
            self.accounts.remove(id);
            let user = self.users.get_mut(&uid).expect("account has a user");
            user.accounts -= 1;
            if user.accounts == 0 {
                self.users.remove(&uid);
            }
        }
    }

    /// The account's task turned out to belong to another user (a spawned process said Hello).
    pub(super) fn rehome(&mut self, id: AccountId, uid: u32) {
        let account = &mut self.accounts[id];
        let used = account.used;
        let old = std::mem::replace(&mut account.user, uid);
        if old == uid {
            return;
        }
        let gone = {
            let user = self.users.get_mut(&old).expect("account has a user");
            user.tasks -= 1;
            user.accounts -= 1;
            user.used.iter_mut().zip(used).for_each(|(sum, part)| *sum -= part);
            user.accounts == 0
        };
        if gone {
            self.users.remove(&old);
        }
        let user = self.users.entry(uid).or_default();
        user.tasks += 1;
        user.accounts += 1;
        user.used.iter_mut().zip(used).for_each(|(sum, part)| *sum += part);
    }

    fn room(&self, id: AccountId, kind: Kind, amount: u64) -> bool {
        let (k, account) = (kind as usize, &self.accounts[id]);
        let user = &self.users[&account.user];
        amount <= self.limits[k].saturating_sub(account.used[k]) && amount <= self.user_limits[k].saturating_sub(user.used[k])
    }

    fn add(&mut self, id: AccountId, kind: Kind, amount: u64) {
        let account = &mut self.accounts[id];
        account.used[kind as usize] += amount;
        self.totals[kind as usize] += amount;
        self.users.get_mut(&account.user).expect("account has a user").used[kind as usize] += amount;
    }

    fn subtract(&mut self, id: AccountId, kind: Kind, amount: u64) {
        let account = &mut self.accounts[id];
        account.used[kind as usize] -= amount;
        self.totals[kind as usize] -= amount;
        self.users.get_mut(&account.user).expect("account has a user").used[kind as usize] -= amount;
        if account.closed {
            self.bury(id);
        }
    }

    /// Charges `id`; `None` if it or its user has no room.
    pub(super) fn charge(&mut self, id: AccountId, kind: Kind, amount: u64) -> Option<Charge> {
        self.room(id, kind, amount).then(|| {
            self.add(id, kind, amount);
            Charge { account: id, actor: None, amount, kind }
        })
    }

    /// Whether `actor` may queue so many bytes at `owner`.
    pub(super) fn may_queue(&self, owner: AccountId, actor: AccountId, amount: u64) -> bool {
        if !self.room(owner, Kind::QueuedBytes, amount) {
            return false;
        }
        if owner == actor {
            return true;
        }
        let account = &self.accounts[owner];
        let uid = self.accounts[actor].user;
        let free = self.limits[Kind::QueuedBytes as usize].saturating_sub(account.used[Kind::QueuedBytes as usize]);
        let fair = |share: u64, sharers: u64| share + amount <= (free + share) / (sharers + u64::from(share == 0) + 1);
        let (user_share, tasks) = account.user_shares.get(&uid).copied().unwrap_or_default();
        let foreign = account.user_shares.keys().filter(|&&other| other != account.user).count() as u64;
        let share = account.shares.get(&(uid, actor)).copied().unwrap_or(0);
        fair(share, tasks) && (uid == account.user || fair(user_share, foreign))
    }

    /// Charges `owner` for bytes that `actor` queues at it; [`Ledger::may_queue`] was asked.
    pub(super) fn queue(&mut self, owner: AccountId, actor: AccountId, amount: u64) -> Charge {
        self.add(owner, Kind::QueuedBytes, amount);
        let actor = (owner != actor).then(|| (self.accounts[actor].user, actor));
        self.share(owner, actor, amount, true);
        Charge { account: owner, actor, amount, kind: Kind::QueuedBytes }
    }

    fn share(&mut self, owner: AccountId, actor: Option<Actor>, amount: u64, more: bool) {
        let Some(actor) = actor.filter(|_| amount > 0) else { return };
        let Account { shares, user_shares, .. } = &mut self.accounts[owner];
        let share = shares.entry(actor).or_insert(0);
        let (user_share, tasks) = user_shares.entry(actor.0).or_insert((0, 0));
        if more {
            *tasks += u64::from(*share == 0);
            *share += amount;
            *user_share += amount;
            return;
        }
        *share -= amount;
        *user_share -= amount;
        if *share == 0 {
            *tasks -= 1;
            shares.remove(&actor);
        }
        if *user_share == 0 {
            user_shares.remove(&actor.0);
        }
    }

    /// Makes a charge larger; false, and nothing done, if there is no room.
    pub(super) fn grow(&mut self, charge: &mut Charge, amount: u64) -> bool {
        let room = self.room(charge.account, charge.kind, amount);
        if room {
            self.add(charge.account, charge.kind, amount);
            charge.amount += amount;
        }
        room
    }

    /// Gives a part back.
    pub(super) fn shrink(&mut self, charge: &mut Charge, amount: u64) {
        charge.amount -= amount;
        self.share(charge.account, charge.actor, amount, false);
        self.subtract(charge.account, charge.kind, amount);
    }

    /// Moves a charge to another account, whether or not that has room: what moves was allowed before, and what comes next will be refused.
    pub(super) fn transfer(&mut self, charge: &mut Charge, to: AccountId) {
        if charge.account == to {
            return;
        }
        if charge.amount == 0 {
            charge.account = to;
            return;
        }
        self.share(charge.account, charge.actor, charge.amount, false);
        self.add(to, charge.kind, charge.amount);
        let from = std::mem::replace(&mut charge.account, to);
        charge.actor = charge.actor.filter(|&(_, actor)| actor != to);
        self.share(to, charge.actor, charge.amount, true);
        self.subtract(from, charge.kind, charge.amount);
    }

    /// Gives a charge back. One that has shrunk to nothing may have outlived its account.
    pub(super) fn release(&mut self, mut charge: Charge) {
        let amount = charge.amount;
        if amount > 0 {
            self.shrink(&mut charge, amount);
        }
    }

    pub(super) fn used(&self, id: AccountId, kind: Kind) -> u64 {
        self.accounts[id].used[kind as usize]
    }

    /// Over all accounts.
    pub(super) fn total(&self, kind: Kind) -> u64 {
        self.totals[kind as usize]
    }

    pub(super) fn limit(&self, kind: Kind) -> u64 {
        self.limits[kind as usize]
    }

    /// Whether every account is closed and every charge is back.
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.users.is_empty()
    }

    /// For the checker: whether accounts are the sums of the charges that exist, and users the sums of their accounts.
    pub(super) fn check<'a>(&self, charges: impl Iterator<Item = &'a Charge>) -> Result<(), String> {
        let mut held: HashMap<AccountId, [u64; KINDS]> = HashMap::new();
        for charge in charges.filter(|charge| charge.amount > 0) {
            held.entry(charge.account).or_default()[charge.kind as usize] += charge.amount;
        }
        for (id, account) in self.accounts.iter() {
            let held = held.remove(&id).unwrap_or_default();
            if held != account.used {
                return Err(format!("account {id:?}: {:?} charged, {held:?} held", account.used));
            }
        }
        if let Some((id, held)) = held.iter().next() {
            return Err(format!("account {id:?} is gone, {held:?} still held"));
        }
        let mut sums: HashMap<u32, [u64; KINDS]> = HashMap::new();
        for (id, account) in self.accounts.iter() {
            let sum = sums.entry(account.user).or_default();
            sum.iter_mut().zip(account.used).for_each(|(sum, part)| *sum += part);
            if account.shares.values().sum::<u64>() > account.used[Kind::QueuedBytes as usize] {
                return Err(format!("account {id:?}: shares exceed what is queued"));
            }
        }
        for (uid, user) in &self.users {
            if user.used != sums.get(uid).copied().unwrap_or_default() {
                return Err(format!("user {uid}: {:?} charged, accounts sum to {:?}", user.used, sums.get(uid)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(bytes: u64) -> Ledger {
        Ledger::new(&Limits { task_queued_bytes: bytes, user_factor: 100, ..Limits::default() })
    }

    #[test]
    fn sender_gets_a_share_and_a_newcomer_finds_room() {
        let mut ledger = ledger(1200);
        let (owner, a, b) = (ledger.open(0).unwrap(), ledger.open(1).unwrap(), ledger.open(2).unwrap());
        assert!(ledger.may_queue(owner, a, 600) && !ledger.may_queue(owner, a, 601));
        let first = ledger.queue(owner, a, 600);
        assert!(ledger.may_queue(owner, b, 200) && !ledger.may_queue(owner, b, 201));
        ledger.release(first);
        assert!(ledger.may_queue(owner, b, 600));
        assert!(ledger.may_queue(owner, owner, 1200));
    }

    #[test]
    fn user_with_many_tasks_gets_no_more_than_a_user_with_one() {
        let mut ledger = ledger(1200);
        let owner = ledger.open(0).unwrap();
        let mut charges = Vec::new();
        for _ in 0..100 {
            let greedy = ledger.open(1).unwrap();
            let mut most = 1200;
            while most > 0 && !ledger.may_queue(owner, greedy, most) {
                most -= 1;
            }
            charges.push(ledger.queue(owner, greedy, most));
        }
        let newcomer = ledger.open(2).unwrap();
        assert!(ledger.may_queue(owner, newcomer, 200));
        charges.into_iter().for_each(|charge| ledger.release(charge));
        assert!(ledger.accounts[owner].user_shares.is_empty());
    }

    #[test]
    fn charge_of_nothing_outlives_its_account() {
        let mut ledger = ledger(100);
        let (a, b) = (ledger.open(7).unwrap(), ledger.open(8).unwrap());
        let (nothing, mut moved) = (ledger.charge(a, Kind::Names, 0).unwrap(), ledger.charge(a, Kind::Names, 0).unwrap());
        ledger.close(a);
        ledger.release(nothing);
        ledger.transfer(&mut moved, b);
        ledger.release(moved);
        ledger.close(b);
        assert!(ledger.is_empty());
    }

    #[test]
    fn account_of_a_dead_task_lives_until_its_debts_are_paid() {
        let mut ledger = ledger(100);
        let a = ledger.open(7).unwrap();
        let debt = ledger.charge(a, Kind::Ports, 1).unwrap();
        ledger.close(a);
        assert_eq!(ledger.used(a, Kind::Ports), 1);
        ledger.release(debt);
        assert!(ledger.accounts.is_empty() && ledger.users.is_empty());
    }
}
