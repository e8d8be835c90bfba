//! The configuration: a small TOML file.
//!
//! ```toml
//! [limits]                        # every line is optional; these are the defaults
//! names = 4096                    # names that one user may publish
//! watchers = 64                   # watches of one task
//! user_watchers = 512             # watches of one user
//! subsets = 256                   # subsets that one user may have made
//! servers = 16                    # servers that one task may have declared (`create_server`)
//! user_servers = 64               # servers that one user may have declared
//! services = 16                   # services of one declared server; they count as names of its user, too
//!
//! [policy]                        # for names that nothing below speaks of
//! look_up = "any"                 # "any", "owner" (the name server's user), "nobody", or a list of uids
//! register = "owner"
//! check_in = "owner"
//! create_server = "nobody"        # whose commands the name server starts; see below
//! servers_stay = false            # whether a server that has served outlives all rights to its server port
//!
//! [names."org.example.*"]         # a name, or a prefix and `*`; the most specific one counts
//! register = [1000, 1001]
//!
//! [services."org.example.files"]  # started when the first message arrives
//! command = ["umach", "serve", "file", "/srv"]
//! directory = "/"                 # working directory
//! env = { RUST_LOG = "info" }     # added to the name server's own
//! queue = 64                      # messages that wait while it is not running; then senders wait
//! look_up = "any"
//! check_in = "owner"
//! check_in_within = "30s"         # a child that takes longer is killed
//! backoff = { first = "100ms", max = "60s", healthy_after = "10s" }
//! ```
//!
//! Whatever is wrong is reported with its line and with what to try; nothing unknown is skipped.
//!
//! # Whose commands
//!
//! A task that may declare servers makes the name server start commands, outside of whatever that task itself is confined to. So this is off unless `create_server`
//! says otherwise, and then:
//!
//! * A command runs as the user of the task that declared it, never as anybody else. For `owner` this is as the name server itself runs: do not allow it where
//!   tasks of the name server's user are confined (seccomp, Landlock, namespaces) and can reach it, for it leads out of there.
//! * Other users' commands take a name server that runs as root. It becomes that user (uid, gid, no other groups) before the command starts, in a session of its own,
//!   with nothing of the name server's environment, terminal or output. A name server that is not root refuses them, and so does one that was started set-uid.
//! * Commands are started by their full path, in `/`, without a shell.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use umach_abi::limits::{QLIMIT_DEFAULT, QLIMIT_MAX};
use umach_name_api::protocol::check_name;

use crate::policy::{Allow, Policy, Rules};

/// The whole file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Quotas.
    pub limits: Limits,
    /// Who may do what. Its `owner` is set when the server starts.
    pub policy: Policy,
    /// Declared services by name.
    pub services: BTreeMap<String, ServiceConfig>,
}

/// Quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Names that one user may publish, over all name spaces.
    pub names: u32,
    /// Watches of one task.
    pub watchers: u32,
    /// Watches of one user.
    pub user_watchers: u32,
    /// Subsets that one user may have made.
    pub subsets: u32,
    /// How deep subsets may be nested.
    pub depth: u32,
    /// Servers that one task may have declared.
    pub servers: u32,
    /// Servers that one user may have declared.
    pub user_servers: u32,
    /// Services of one declared server.
    pub services: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { names: 4096, watchers: 64, user_watchers: 512, subsets: 256, depth: 16, servers: 16, user_servers: 64, services: 16 }
    }
}

/// A section `[services.NAME]`: a job with one service. The rules for look-up and check-in are in the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// What to start, and how.
    pub job: JobConfig,
    /// Queue limit of its port.
    pub queue: u32,
}

impl ServiceConfig {
    /// A service with this command and defaults for the rest.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> ServiceConfig {
        ServiceConfig { job: JobConfig::new(command), queue: QLIMIT_DEFAULT }
    }
}

/// A command that the name server starts, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobConfig {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Working directory; the name server's own if none.
    pub directory: Option<PathBuf>,
    /// Environment, added to the name server's own.
    pub env: BTreeMap<String, String>,
    /// Started only by a message; else also whenever it has ended.
    pub on_demand: bool,
    /// As whom.
    pub identity: Identity,
    /// A child that has not checked in after this is killed.
    pub check_in_within: Duration,
    /// Delays between starts.
    pub backoff: Backoff,
}

impl JobConfig {
    /// A job with this command and defaults for the rest.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> JobConfig {
        JobConfig {
            command: command.into_iter().map(Into::into).collect(),
            directory: None,
            env: BTreeMap::new(),
            on_demand: true,
            identity: Identity::NameServer,
            check_in_within: Duration::from_secs(30),
            backoff: Backoff::default(),
        }
    }
}

/// As whom a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// As the name server, with its environment, terminal and output.
    NameServer,
    /// As the name server's user, in a session of its own.
    SameUser,
    /// As another user, with nothing of the name server's.
    OtherUser {
        /// The user.
        uid: u32,
        /// The only group.
        gid: u32,
    },
}

/// Delays between the starts of a job that keeps dying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubled after each further one.
    pub first: Duration,
    /// Never longer.
    pub max: Duration,
    /// A process that checked in and ran for so long is forgiven its failures.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(100), max: Duration::from_secs(60), healthy_after: Duration::from_secs(10) }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the name server's configuration {path}: {error}; check the path, or start without --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{file}:{line}:{column}: {problem}\n    {text}\n  try: {advice}")]
    Wrong {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        problem: String,
        /// The line itself.
        text: String,
        /// What to try.
        advice: &'static str,
    },
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Config::parse(&text, &path.display().to_string())
    }
    /// Reads a text; `file` is what errors call it.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        let wrong = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let problem = error.message().to_owned();
            ConfigError::Wrong {
                file: file.to_owned(),
                line: text[..at].matches('\n').count() + 1,
                column: text[start..at].chars().count() + 1,
                text: text[start..].lines().next().unwrap_or("").to_owned(),
                advice: advise(&problem),
                problem,
            }
        };
        Ok(toml::from_str::<File>(text).map_err(wrong)?.into_config())
    }
}

fn advise(problem: &str) -> &'static str {
    const TABLE: &[(&str, &str)] = &[
        ("unknown field", "check the spelling; the names that are known here are listed above"),
        ("missing field `command`", "add command = [\"program\", \"argument\"]"),
        ("command", "write command = [\"program\", \"argument\"]; there is no shell, so each argument is a string of its own"),
        ("duration", "write a number and a unit, such as \"250ms\", \"30s\" or \"5m\""),
        ("uid", "write \"any\", \"owner\", \"nobody\", or a list of uids such as [0, 1000]"),
        ("service name", "names have 1 to 128 bytes, without white space and control characters"),
        ("queue", "write a number of messages from 1 to 1024"),
        ("duplicate key", "each name may appear once; merge the two sections"),
    ];
    TABLE
        .iter()
        .find(|(part, _)| problem.contains(part))
        .map_or("compare with the example in the documentation of umach-name-server", |row| row.1)
}

// What the file looks like. Every check is made while a value is read, so that the error knows its place.

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct File {
    limits: Limits,
    policy: PolicyText,
    names: BTreeMap<NameText, RulesText>,
    services: BTreeMap<NameText, ServiceText>,
}

impl File {
    fn into_config(self) -> Config {
        let PolicyText { look_up, register, check_in, create_server, servers_stay } = self.policy;
        let mut policy = Policy::new(0, RulesText { look_up, register, check_in }.over(&Rules::default()));
        policy.create_server = create_server.unwrap_or(policy.create_server);
        policy.servers_stay = servers_stay;
        let otherwise = policy.otherwise.clone();
        for (NameText(pattern), rules) in self.names {
            policy.add(&pattern, rules.over(&otherwise));
        }
        let mut services = BTreeMap::new();
        for (NameText(name), service) in self.services {
            let rules = RulesText { look_up: service.look_up, register: None, check_in: service.check_in };
            // What a section leaves open comes from the pattern that the name would have had.
            let rules = rules.over(policy.rules(&name));
            policy.add(&name, rules);
            let job = JobConfig {
                directory: service.directory,
                env: service.env,
                check_in_within: service.check_in_within.map_or(Duration::from_secs(30), |time| time.0),
                backoff: service.backoff.unwrap_or_default().over(Backoff::default()),
                ..JobConfig::new(service.command.0)
            };
            services.insert(name, ServiceConfig { job, queue: service.queue.map_or(QLIMIT_DEFAULT, |queue| queue.0) });
        }
        Config { limits: self.limits, policy, services }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct PolicyText {
    look_up: Option<Allow>,
    register: Option<Allow>,
    check_in: Option<Allow>,
    create_server: Option<Allow>,
    servers_stay: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RulesText {
    look_up: Option<Allow>,
    register: Option<Allow>,
    check_in: Option<Allow>,
}

impl RulesText {
    fn over(self, base: &Rules) -> Rules {
        Rules {
            look_up: self.look_up.unwrap_or_else(|| base.look_up.clone()),
            register: self.register.unwrap_or_else(|| base.register.clone()),
            check_in: self.check_in.unwrap_or_else(|| base.check_in.clone()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceText {
    command: CommandText,
    directory: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    queue: Option<QueueText>,
    look_up: Option<Allow>,
    check_in: Option<Allow>,
    check_in_within: Option<TimeText>,
    backoff: Option<BackoffText>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct BackoffText {
    first: Option<TimeText>,
    max: Option<TimeText>,
    healthy_after: Option<TimeText>,
}

impl BackoffText {
    fn over(self, base: Backoff) -> Backoff {
        Backoff {
            first: self.first.map_or(base.first, |time| time.0),
            max: self.max.map_or(base.max, |time| time.0),
            healthy_after: self.healthy_after.map_or(base.healthy_after, |time| time.0),
        }
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct NameText(String);

impl TryFrom<String> for NameText {
    type Error = umach_name_api::protocol::BadName;
    fn try_from(name: String) -> Result<NameText, Self::Error> {
        check_name(&name).map(|()| NameText(name))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct CommandText(Vec<String>);

impl TryFrom<Vec<String>> for CommandText {
    type Error = &'static str;
    fn try_from(command: Vec<String>) -> Result<CommandText, Self::Error> {
        match command.first() {
            None => Err("the command is empty"),
            Some(program) if program.is_empty() => Err("the command's program is an empty string"),
            Some(_) if command.iter().any(|argument| argument.contains('\0')) => Err("the command contains a zero byte"),
            Some(_) => Ok(CommandText(command)),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct QueueText(u32);

impl TryFrom<u32> for QueueText {
    type Error = String;
    fn try_from(queue: u32) -> Result<QueueText, String> {
        if (1..=QLIMIT_MAX).contains(&queue) { Ok(QueueText(queue)) } else { Err(format!("a queue of {queue} messages cannot be had")) }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct TimeText(Duration);

impl TryFrom<String> for TimeText {
    type Error = String;
    fn try_from(text: String) -> Result<TimeText, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let unit = match &text[digits..] {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let number = text[..digits].parse::<u64>().ok();
        let time = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        time.map(|time| TimeText(Duration::from_millis(time))).ok_or_else(|| format!("{text:?} is not a duration"))
    }
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Allow, D::Error> {
        struct AllowVisitor;
        impl<'de> Visitor<'de> for AllowVisitor {
            type Value = Allow;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"any\", \"owner\", \"nobody\" or a list of uids")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Allow, E> {
                match word {
                    "any" => Ok(Allow::Any),
                    "owner" => Ok(Allow::Owner),
                    "nobody" => Ok(Allow::Nobody),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Allow, A::Error> {
                let mut uids = Vec::new();
                while let Some(uid) = list.next_element::<u32>()? {
                    uids.push(uid);
                }
                Ok(Allow::Users(uids))
            }
        }
        deserializer.deserialize_any(AllowVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Right;

    fn example() -> String {
        let doc = include_str!("config.rs").lines().skip_while(|line| *line != "//! ```toml").skip(1);
        doc.take_while(|line| *line != "//! ```").map(|line| line.trim_start_matches("//!").trim_start().to_owned() + "\n").collect()
    }

    fn error(text: &str) -> String {
        Config::parse(text, "names.toml").unwrap_err().to_string()
    }

    #[test]
    fn documented_example_parses_and_shows_the_defaults() {
        let config = Config::parse(&example(), "example").unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.policy.otherwise, Rules::default());
        let files = &config.services["org.example.files"];
        assert_eq!(files.job.command, ["umach", "serve", "file", "/srv"]);
        assert_eq!((files.queue, files.job.backoff, files.job.check_in_within), (64, Backoff::default(), Duration::from_secs(30)));
        assert_eq!((&config.policy.create_server, config.policy.servers_stay), (&Allow::Nobody, false));
        assert!(config.policy.allows(Right::Register, "org.example.x", 1001));
        assert!(!config.policy.allows(Right::Register, "org.example.x", 0));
    }

    #[test]
    fn empty_file_is_the_default() {
        let config = Config::parse("", "empty").unwrap();
        assert_eq!((config.limits, config.services.len()), (Limits::default(), 0));
    }

    #[test]
    fn section_leaves_open_what_its_pattern_says() {
        let config = Config::parse(
            "[policy]\nlook_up = [1]\n[names.\"a.*\"]\nlook_up = [2]\n[services.\"a.b\"]\ncommand = [\"x\"]\ncheck_in = [3]\n",
            "x",
        )
        .unwrap();
        assert!(config.policy.allows(Right::LookUp, "a.b", 2) && !config.policy.allows(Right::LookUp, "a.b", 1));
        assert!(config.policy.allows(Right::CheckIn, "a.b", 3) && !config.policy.allows(Right::CheckIn, "a.b", 0));
        assert!(config.policy.allows(Right::LookUp, "c", 1));
    }

    #[test]
    fn errors_name_file_line_column_and_what_to_try() {
        let misspelt = error("[limits]\nnames = 3\n\n[services.x]\ncomand = [\"a\"]\n");
        assert!(misspelt.starts_with("names.toml:5:1: unknown field `comand`, expected one of `command`"), "{misspelt}");
        assert!(misspelt.contains("try: check the spelling"), "{misspelt}");
        for (text, place, part, advice) in [
            ("[services.x]\nqueue = 3\n", "names.toml:1:", "missing field `command`", "add command"),
            ("[services.x]\ncommand = []\n", "names.toml:2:11", "the command is empty", "no shell"),
            ("[services.x]\ncommand = \"a b\"\n", "names.toml:2:11", "string \"a b\"", ""),
            ("[services.x]\ncommand = [\"a\"]\nqueue = 0\n", "names.toml:3:9", "queue of 0", "1 to 1024"),
            (
                "[services.x]\ncommand = [\"a\"]\nbackoff = { first = \"3 weeks\" }\n",
                "names.toml:3:21",
                "\"3 weeks\" is not a duration",
                "250ms",
            ),
            ("[names.x]\ncreate_server = \"any\"\n", "names.toml:2:1", "unknown field `create_server`", "spelling"),
            ("[policy]\nregister = \"root\"\n", "names.toml:2:12", "string \"root\"", "list of uids"),
            ("[policy]\nregister = [-1]\n", "names.toml:2:", "-1", ""),
            ("[services.\"a b\"]\ncommand = [\"a\"]\n", "names.toml:1:", "contains ' '", "without white space"),
            ("[limits\n", "names.toml:1:", "", ""),
            ("x = 1\n", "names.toml:1:1", "unknown field `x`", "spelling"),
        ] {
            let error = error(text);
            assert!(error.starts_with(place), "{text:?} gave {error}");
            assert!(error.contains(part) && error.split_once("try: ").unwrap().1.contains(advice), "{text:?} gave {error}");
        }
    }

    #[test]
    fn file_that_is_not_there_says_which() {
        let error = Config::load(Path::new("/nonexistent/names.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/names.toml") && error.contains("--config"), "{error}");
    }
}
