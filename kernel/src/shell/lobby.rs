//! Those who have connected and not yet said Hello. They cost a little and have shown nothing, so there are few places, for each user and
//! in all, and one may stay for a while only. Who comes when it is full takes the place of who has waited longest: a client that means
//! it says Hello at once, so a flood of idle connections does not keep it out.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::core::LaneId;

/// Places for one user.
const PER_USER: u32 = 64;
/// Places in all.
const PLACES: usize = 512;

#[derive(Debug)]
struct Guest {
    lane: LaneId,
    uid: u32,
    until: Instant,
}

/// The waiting connections, oldest first.
#[derive(Debug)]
pub(super) struct Lobby {
    guests: BTreeMap<u64, Guest>,
    users: HashMap<u32, u32>,
    next: u64,
    stay: Duration,
}

impl Lobby {
    /// An empty one, where one may stay so long.
    pub(super) fn new(stay: Duration) -> Lobby {
        Lobby { guests: BTreeMap::new(), users: HashMap::new(), next: 0, stay }
    }

    /// Who must go before somebody of this user may come in.
    pub(super) fn crowded_out(&self, uid: u32) -> Option<LaneId> {
        if self.users.get(&uid).is_some_and(|&count| count >= PER_USER) {
            return self.guests.values().find(|guest| guest.uid == uid).map(|guest| guest.lane);
        }
        if self.guests.len() >= PLACES { self.guests.values().next().map(|guest| guest.lane) } else { None }
    }

    /// Takes a place; its number is given back to [`Lobby::leave`].
    pub(super) fn enter(&mut self, lane: LaneId, uid: u32, now: Instant) -> u64 {
        self.next += 1;
        self.guests.insert(self.next, Guest { lane, uid, until: now + self.stay });
        *self.users.entry(uid).or_default() += 1;
        self.next
    }

    /// Gives the place back.
    pub(super) fn leave(&mut self, place: u64) {
        let Some(guest) = self.guests.remove(&place) else { return };
        if let Some(count) = self.users.get_mut(&guest.uid) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&guest.uid);
            }
        }
    }

    /// When the next one has stayed too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.guests.values().next().map(|guest| guest.until)
    }

    /// Somebody who has stayed too long.
    pub(super) fn overdue(&self, now: Instant) -> Option<LaneId> {
        self.guests.values().next().filter(|guest| guest.until <= now).map(|guest| guest.lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(n: u64) -> LaneId {
        LaneId::from_raw(1 << 32 | n)
    }

    #[test]
    fn lobby_full_for_one_user_makes_room_by_its_oldest_and_leaves_others_alone() {
        let mut lobby = Lobby::new(Duration::from_secs(1));
        let now = Instant::now();
        let other = lobby.enter(lane(0), 7, now);
        for n in 1..=PER_USER as u64 {
            assert_eq!(lobby.crowded_out(8), None);
            lobby.enter(lane(n), 8, now);
        }
        assert_eq!(lobby.crowded_out(8), Some(lane(1)));
        assert_eq!(lobby.crowded_out(7), None);
        lobby.leave(other + 1);
        assert_eq!(lobby.crowded_out(8), None);
    }

    #[test]
    fn guest_who_stays_too_long_is_overdue_and_nobody_is_waited_for_in_an_empty_lobby() {
        let mut lobby = Lobby::new(Duration::from_secs(1));
        let now = Instant::now();
        assert_eq!(lobby.next_deadline(), None);
        let place = lobby.enter(lane(1), 0, now);
        assert_eq!((lobby.next_deadline(), lobby.overdue(now)), (Some(now + lobby.stay), None));
        assert_eq!(lobby.overdue(now + lobby.stay), Some(lane(1)));
        lobby.leave(place);
        assert_eq!((lobby.next_deadline(), lobby.users.len()), (None, 0));
    }
}
