//! The limits of processes: those of this one, which the kernel process and tasks inherit when they are started from here.

use std::fs;
use std::path::Path;

use rustix::process::Resource;

use super::{Finding, State};
use crate::text;

pub(super) fn checks() -> Vec<Finding> {
    vec![open_files(), processes(), file_size(), locked_memory()]
}

fn show(limit: Option<u64>) -> String {
    limit.map_or("unlimited".to_owned(), |limit| limit.to_string())
}

fn open_files() -> Finding {
    const CHECK: &str = "open files";
    // Of the kernel process: a lane and a pidfd for each task, and a descriptor for each region that is alive.
    const PLENTY: u64 = 4096;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let found = format!("RLIMIT_NOFILE {} now, {} at most", show(limit.current), show(limit.maximum));
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= PLENTY);
    if enough(limit.current) || enough(limit.maximum) {
        return Finding::ok(CHECK, found);
    }
    Finding::noted(
        CHECK,
        State::Warn,
        found,
        "the kernel process needs two descriptors a task and one a region: it will turn tasks away",
        "raise it: `ulimit -Hn 65536` as root, `LimitNOFILE=` in a systemd unit, or /etc/security/limits.conf",
    )
}

/// Each task is a process, with threads that count as well; a container's own limit is usually the lower one.
fn processes() -> Finding {
    const CHECK: &str = "processes";
    /// A system with some servers and clients, and room to start more.
    const PLENTY: u64 = 64;
    let user = rustix::process::getrlimit(Resource::Nproc).current;
    let group = cgroup_pids();
    let left = group.and_then(|(used, limit)| Some(limit?.saturating_sub(used)));
    let group = group.map_or("no limit of a control group to be seen".to_owned(), |(used, limit)| {
        format!("{used} of {} in this control group", show(limit))
    });
    let found = format!("RLIMIT_NPROC {}, {group}", show(user));
    // Linux counts all of the user's against the first; root is not bound by it.
    let root = rustix::process::geteuid().is_root();
    if left.is_none_or(|left| left >= PLENTY) && (root || user.is_none_or(|user| user >= PLENTY)) {
        return Finding::ok(CHECK, found);
    }
    Finding::noted(
        CHECK,
        State::Warn,
        found,
        "tasks are processes: few more can be started, and spawning one fails with EAGAIN",
        "raise it: `ulimit -u`, `TasksMax=` in a systemd unit, or the container's limit of processes",
    )
}

/// Processes in our control group, and how many there may be.
fn cgroup_pids() -> Option<(u64, Option<u64>)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let place = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = Path::new("/sys/fs/cgroup").join(place.trim_start_matches('/'));
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned());
    Some((read("pids.current")?.parse().ok()?, read("pids.max")?.parse().ok()))
}

/// Memory that tasks share is files without a name, which RLIMIT_FSIZE limits too; beyond it a process gets SIGXFSZ.
fn file_size() -> Finding {
    const CHECK: &str = "file size";
    const LARGEST: u64 = umach_abi::link::lease::ARENA_MAX;
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if limit < LARGEST => Finding::noted(
            CHECK,
            State::Warn,
            format!("RLIMIT_FSIZE {}", text::bytes(limit)),
            "shared memory is made as files without a name: large messages and regions above the limit fail or kill their sender",
            "ulimit -f unlimited",
        ),
        limit => Finding::ok(CHECK, format!("RLIMIT_FSIZE {}: shared memory can be as large as the quotas allow", show(limit))),
    }
}

fn locked_memory() -> Finding {
    let limit = rustix::process::getrlimit(Resource::Memlock).current.map_or("unlimited".to_owned(), text::bytes);
    Finding::ok("locked memory", format!("RLIMIT_MEMLOCK {limit}; nothing is locked, so it does not matter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_whatever_they_are() {
        let found = checks();
        assert_eq!(
            found.iter().map(|finding| finding.check).collect::<Vec<_>>(),
            ["open files", "processes", "file size", "locked memory"]
        );
        assert!(found.iter().all(|finding| finding.found.contains("RLIMIT_")), "{found:?}");
    }
}
