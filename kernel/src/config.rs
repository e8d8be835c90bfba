//! The command line of a kernel process, shared by `umachd` and `umach kernel`, and the rule for where its socket is.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::core::{Direct, Limits};
use crate::shell::{self, ShellConfig};

/// The variable that says where a kernel listens.
pub const SOCKET_VARIABLE: &str = "UMACH_SOCKET";

/// Where a kernel listens, and where a task looks for one, if nothing else is said: `$UMACH_SOCKET`, else `$XDG_RUNTIME_DIR/umach/socket`,
/// else `/tmp/umach-<uid>/socket`. The directory is made with mode 0700 and must belong to the user.
pub fn socket_path() -> PathBuf {
    socket_path_from(std::env::var_os(SOCKET_VARIABLE), std::env::var_os("XDG_RUNTIME_DIR"), rustix::process::geteuid().as_raw())
}

fn socket_path_from(socket: Option<OsString>, runtime: Option<OsString>, uid: u32) -> PathBuf {
    let set = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    match (set(socket), set(runtime)) {
        (Some(socket), _) => socket,
        (None, Some(runtime)) => runtime.join("umach/socket"),
        (None, None) => PathBuf::from(format!("/tmp/umach-{uid}/socket")),
    }
}

/// Runs a kernel: the process that holds every right, queue and notification of its tasks.
///
/// Without --lane it listens at a socket. It ends on SIGTERM or SIGINT, and with --exit-when-idle after its last task.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KernelArgs {
    /// Listen here [default: $UMACH_SOCKET, else $XDG_RUNTIME_DIR/umach/socket, else /tmp/umach-UID/socket]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Take this inherited descriptor, one end of a SOCK_SEQPACKET pair, as the first task's lane; then listen only if --socket is given
    #[arg(long, value_name = "FD")]
    pub lane: Option<RawFd>,

    /// End when the last task is gone
    #[arg(long)]
    pub exit_when_idle: bool,

    /// A name for people, in the log
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// What tasks may hold; may be given several times. Keys: task-ports, task-names, task-queued-bytes, task-regions, task-region-bytes,
    /// task-notifications, task-lanes, task-links, task-lane-bytes, user-tasks, user-factor. Values may end in K, M or G (1024 each)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub limits: Vec<String>,

    /// When tasks may send to each other directly: off, auto (after a few messages), always, or random[:SEED] for tests [default: $UMACH_DIRECT,
    /// else auto]
    #[arg(long, value_name = "MODE")]
    pub direct: Option<String>,

    /// Which log lines to write to standard error, as in RUST_LOG [default: $UMACH_LOG, else info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// Write the line "ready" to this inherited descriptor once tasks can connect, then close it
    #[arg(long, value_name = "FD")]
    pub ready_fd: Option<RawFd>,

    /// Seconds that a connection may wait before it says Hello
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, hide = true)]
    pub hello_within: f64,
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A limit.
    #[error("--limits {text}: {why}")]
    Limit {
        /// As given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// When tasks may send to each other directly.
    #[error("{0}")]
    Direct(String),
    /// A descriptor.
    #[error("{option} {number}: {source}; give the number of a descriptor that the process inherits")]
    Descriptor {
        /// Which option.
        option: &'static str,
        /// Its value.
        number: RawFd,
        /// What Linux said.
        source: std::io::Error,
    },
    /// A duration.
    #[error("--hello-within {value}: give a number of seconds above 0")]
    Seconds {
        /// As given.
        value: f64,
    },
}

impl KernelArgs {
    /// What they ask for. Takes over the descriptors that they name, so it is to be called once.
    pub fn into_config(self) -> Result<ShellConfig, ConfigError> {
        let mut limits = Limits::default();
        for text in &self.limits {
            set_limit(&mut limits, text).map_err(|why| ConfigError::Limit { text: text.clone(), why })?;
        }
        let direct = match &self.direct {
            Some(text) => text.parse().map_err(|why| ConfigError::Direct(format!("--direct {text}: {why}")))?,
            None => Direct::from_environment().map_err(ConfigError::Direct)?,
        };
        let hello_within = Duration::try_from_secs_f64(self.hello_within)
            .ok()
            .filter(|stay| !stay.is_zero() && *stay < Duration::from_secs(1 << 30))
            .ok_or(ConfigError::Seconds { value: self.hello_within })?;
        let adopt = |option, number: Option<RawFd>| {
            let take = |number| shell::adopt_descriptor(number).map_err(|source| ConfigError::Descriptor { option, number, source });
            number.map(take).transpose()
        };
        let lane = adopt("--lane", self.lane)?;
        let ready = adopt("--ready-fd", self.ready_fd.filter(|fd| Some(*fd) != self.lane))?;
        let socket = self.socket.or_else(|| lane.is_none().then(socket_path));
        Ok(ShellConfig { socket, lane, exit_when_idle: self.exit_when_idle, label: self.label, limits, direct, ready, hello_within })
    }
}

/// Sets one limit from `key=value`.
fn set_limit(limits: &mut Limits, text: &str) -> Result<(), String> {
    let (key, value) = text.split_once('=').ok_or("it is not KEY=VALUE")?;
    let limit = match key.replace('_', "-").as_str() {
        "task-ports" => &mut limits.task_ports,
        "task-names" => &mut limits.task_names,
        "task-queued-bytes" => &mut limits.task_queued_bytes,
        "task-regions" => &mut limits.task_regions,
        "task-region-bytes" => &mut limits.task_region_bytes,
        "task-notifications" => &mut limits.task_notifications,
        "task-lanes" => &mut limits.task_lanes,
        "task-links" => &mut limits.task_links,
        "task-lane-bytes" => &mut limits.task_lane_bytes,
        "user-tasks" => &mut limits.user_tasks,
        "user-factor" => &mut limits.user_factor,
        _ => return Err("no such limit; see --help".into()),
    };
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'K' | b'k') => (&value[..value.len() - 1], 10),
        Some(b'M' | b'm') => (&value[..value.len() - 1], 20),
        Some(b'G' | b'g') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{value:?} is not a number"))?;
    *limit = number.checked_mul(1 << shift).filter(|&number| number > 0).ok_or_else(|| format!("{value:?} is out of range"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_path_follows_the_variables_in_order() {
        let some = |text: &str| Some(OsString::from(text));
        assert_eq!(socket_path_from(some("/a/b"), some("/run"), 7), PathBuf::from("/a/b"));
        assert_eq!(socket_path_from(some(""), some("/run"), 7), PathBuf::from("/run/umach/socket"));
        assert_eq!(socket_path_from(None, None, 7), PathBuf::from("/tmp/umach-7/socket"));
    }

    #[test]
    fn limit_is_set_by_key_and_nonsense_is_refused() {
        let mut limits = Limits::default();
        set_limit(&mut limits, "task-ports=12").unwrap();
        set_limit(&mut limits, "task_region_bytes=3G").unwrap();
        assert_eq!((limits.task_ports, limits.task_region_bytes), (12, 3 << 30));
        for wrong in ["task-ports", "ports=1", "task-ports=x", "task-ports=", "task-ports=0", "task-ports=18446744073709551615K"] {
            assert!(set_limit(&mut limits, wrong).is_err(), "{wrong} was taken");
        }
    }
}
