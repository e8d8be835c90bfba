//! Who may do what with which name, by the uid that the kernel vouches for.
//!
//! Rules belong to name patterns of the root name space. The most specific pattern that matches a name gives *all* its rules; rules of
//! different patterns are never mixed, so that reading one table of the configuration says everything about a name. Nobody is
//! exempt, not even root: `owner` is the user that the name server runs as.
//!
//! Whose commands the name server starts is one rule for all names ([`Policy::run_for`]); [`crate::config`] says what that means.
//!
//! Subsets have no policy of their own. Holding a subset's bootstrap port is the permission to use it, and a name registered there
//! deceives nobody outside; the way up to the root's names goes through the root's policy.

use crate::config::Identity;

/// Who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Everybody.
    Any,
    /// The user that the name server runs as.
    Owner,
    /// Nobody.
    Nobody,
    /// These uids.
    Users(Vec<u32>),
}

impl Allow {
    /// Whether `uid` is meant.
    pub fn includes(&self, uid: u32, owner: u32) -> bool {
        match self {
            Allow::Any => true,
            Allow::Owner => uid == owner,
            Allow::Nobody => false,
            Allow::Users(uids) => uids.contains(&uid),
        }
    }
}

/// What can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Find the name, see it in lists and events.
    LookUp,
    /// Publish a right under it.
    Register,
    /// Become its server.
    CheckIn,
}

/// The rules of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Who may find it.
    pub look_up: Allow,
    /// Who may publish it.
    pub register: Allow,
    /// Who may serve it.
    pub check_in: Allow,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { look_up: Allow::Any, register: Allow::Owner, check_in: Allow::Owner }
    }
}

impl Rules {
    fn allow(&self, right: Right) -> &Allow {
        match right {
            Right::LookUp => &self.look_up,
            Right::Register => &self.register,
            Right::CheckIn => &self.check_in,
        }
    }
}

/// All the rules.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name server's own user.
    pub owner: u32,
    /// For names that no pattern matches.
    pub otherwise: Rules,
    /// Who may declare servers.
    pub create_server: Allow,
    /// A declared server that has served stays when nobody holds its server port any more.
    pub servers_stay: bool,
    /// Patterns: a name, or a prefix followed by `*`.
    patterns: Vec<(String, Rules)>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::new(0, Rules::default())
    }
}

impl Policy {
    /// A policy with only the rules for any name.
    pub fn new(owner: u32, otherwise: Rules) -> Policy {
        Policy { owner, otherwise, create_server: Allow::Nobody, servers_stay: false, patterns: Vec::new() }
    }
    /// Adds the rules of a pattern; they replace earlier ones of the same pattern.
    pub fn add(&mut self, pattern: &str, rules: Rules) {
        self.patterns.retain(|(known, _)| known != pattern);
        self.patterns.push((pattern.to_owned(), rules));
        // Most specific first: exact names, then prefixes from long to short.
        self.patterns.sort_by_key(|(pattern, _)| (pattern.ends_with('*'), std::cmp::Reverse(pattern.len())));
    }
    /// The rules of `name`.
    pub fn rules(&self, name: &str) -> &Rules {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        self.patterns.iter().find(|(pattern, _)| matches(pattern)).map_or(&self.otherwise, |(_, rules)| rules)
    }
    /// As whom to start a command that a task of this user declares; or why not at all.
    pub fn run_for(&self, uid: u32, gid: u32) -> Result<Identity, String> {
        // Of messages whose sender nobody can vouch for, and not a user in Linux either.
        if uid == u32::MAX {
            return Err("the kernel process cannot say whose request this is".to_owned());
        }
        if !self.create_server.includes(uid, self.owner) {
            return Err(format!("this name server starts no commands for uid {uid} (create_server in [policy] of its configuration)"));
        }
        match uid == self.owner {
            true => Ok(Identity::SameUser),
            false if self.owner == 0 => Ok(Identity::OtherUser { uid, gid }),
            false => Err(format!("the name server runs as uid {} and can start nothing as uid {uid}", self.owner)),
        }
    }
    /// Whether `uid` has `right` to `name`.
    pub fn allows(&self, right: Right, name: &str, uid: u32) -> bool {
        self.rules(name).allow(right).includes(uid, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(uid: u32) -> Rules {
        Rules { register: Allow::Users(vec![uid]), ..Rules::default() }
    }

    #[test]
    fn most_specific_pattern_gives_the_rules_in_any_order_of_adding() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut policy = Policy::new(7, Rules::default());
            for i in order {
                let (pattern, uid) = [("org.*", 1), ("org.a.*", 2), ("org.a.b", 3)][i];
                policy.add(pattern, only(uid));
            }
            let who = |name| (0..10).filter(|&uid| policy.allows(Right::Register, name, uid)).collect::<Vec<u32>>();
            assert_eq!(who("org.x"), [1]);
            assert_eq!(who("org.a.x"), [2]);
            assert_eq!(who("org.a.b"), [3]);
            assert_eq!(who("net.x"), [7]);
        }
    }

    #[test]
    fn nobody_means_not_even_root_or_the_owner() {
        let mut policy = Policy::new(0, Rules::default());
        policy.add("x", Rules { look_up: Allow::Nobody, register: Allow::Nobody, check_in: Allow::Nobody });
        for right in [Right::LookUp, Right::Register, Right::CheckIn] {
            assert!(!policy.allows(right, "x", 0));
        }
        assert!(policy.allows(Right::CheckIn, "y", 0));
        assert!(!policy.allows(Right::CheckIn, "y", 1));
    }

    #[test]
    fn command_runs_as_its_own_user_or_not_at_all() {
        let policy = |owner, create_server| Policy { create_server, ..Policy::new(owner, Rules::default()) };
        assert!(policy(7, Policy::default().create_server).run_for(7, 7).is_err(), "off unless it is allowed");
        assert_eq!(policy(7, Allow::Owner).run_for(7, 8), Ok(Identity::SameUser));
        assert!(policy(7, Allow::Owner).run_for(0, 0).is_err(), "nor for root");
        assert!(policy(7, Allow::Any).run_for(8, 8).unwrap_err().contains("can start nothing as uid 8"));
        assert_eq!(policy(0, Allow::Any).run_for(8, 9), Ok(Identity::OtherUser { uid: 8, gid: 9 }));
        assert_eq!(policy(0, Allow::Users(vec![8])).run_for(8, 9), Ok(Identity::OtherUser { uid: 8, gid: 9 }));
        assert!(policy(0, Allow::Users(vec![8])).run_for(0, 0).is_err());
        // Whoever is not known is nobody, whatever is allowed.
        assert!(policy(0, Allow::Any).run_for(u32::MAX, u32::MAX).is_err());
    }
}
