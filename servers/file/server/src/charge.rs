//! Who holds how many handles: every open handle is charged to the task that opened it and to its user, and given back when it closes.
//!
//! A handle costs the server a descriptor and a port, so without limits one client could leave nothing for the others. The charge stays with
//! who opened it, also when the handle is passed on: else a client could open for ever by giving away.
//!
//! 1. **Sums agree**: the counts are those of the [`Charge`]s alive; only [`Charges::take`] and `Charge`'s drop change them.
//! 2. **Room for others**: one task, and all tasks of one user, get a share, never all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use umach_file_api::error::Fault;

/// How many handles there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandleLimits {
    /// Opened by one task.
    pub task: usize,
    /// Opened by all tasks of one user.
    pub user: usize,
    /// In all.
    pub total: usize,
}

/// The accounts.
#[derive(Debug)]
pub struct Charges {
    limits: HandleLimits,
    accounts: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    tasks: HashMap<u64, usize>,
    users: HashMap<u32, usize>,
    total: usize,
}

/// One handle's charge. Dropping it gives it back.
#[derive(Debug)]
pub struct Charge {
    charges: Arc<Charges>,
    task: u64,
    user: u32,
}

impl Charges {
    /// Empty accounts.
    pub fn new(limits: HandleLimits) -> Arc<Charges> {
        Arc::new(Charges { limits, accounts: Mutex::default() })
    }
    /// Charges one handle, or says whose limit is reached.
    pub fn take(self: &Arc<Charges>, task: u64, user: u32) -> Result<Charge, Fault> {
        let mut accounts = self.accounts();
        let of_task = accounts.tasks.get(&task).copied().unwrap_or(0);
        let of_user = accounts.users.get(&user).copied().unwrap_or(0);
        if of_task >= self.limits.task || of_user >= self.limits.user {
            return Err(Fault::TooManyHandles);
        }
        if accounts.total >= self.limits.total {
            return Err(Fault::ServerFull);
        }
        *accounts.tasks.entry(task).or_default() += 1;
        *accounts.users.entry(user).or_default() += 1;
        accounts.total += 1;
        Ok(Charge { charges: self.clone(), task, user })
    }
    /// Handles charged now.
    pub fn total(&self) -> usize {
        self.accounts().total
    }
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        // Nothing between a lock and its release can panic half-way through a change.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut accounts = self.charges.accounts();
        give_back(&mut accounts.tasks, self.task);
        give_back(&mut accounts.users, self.user);
        accounts.total -= 1;
    }
}

/// Accounts that hold nothing are removed: tasks come and go.
fn give_back<K: Eq + Hash>(accounts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = accounts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            accounts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_per_task_per_user_and_in_all() {
        let charges = Charges::new(HandleLimits { task: 2, user: 3, total: 5 });
        let take = |task, user| charges.take(task, user);
        let first = [take(1, 10).unwrap(), take(1, 10).unwrap()];
        assert_eq!(take(1, 10).unwrap_err(), Fault::TooManyHandles);
        let second = take(2, 10).unwrap();
        assert_eq!(take(3, 10).unwrap_err(), Fault::TooManyHandles);
        let third = [take(4, 11).unwrap(), take(5, 11).unwrap()];
        assert_eq!(take(6, 12).unwrap_err(), Fault::ServerFull);
        drop(first);
        assert_eq!(charges.total(), 3);
        let again = take(1, 10).unwrap();
        drop((second, third, again));
        assert_eq!(charges.total(), 0);
        let accounts = charges.accounts();
        assert!(accounts.tasks.is_empty() && accounts.users.is_empty(), "{accounts:?}");
    }
}
