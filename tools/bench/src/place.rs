//! Which CPUs the processes of a measurement may use.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// The CPUs that this process started with, for as long as it lives; dropping it gives them back.
pub(crate) struct Cpus {
    all: CpuSet,
    numbers: Vec<usize>,
}

/// Where client, middle (relay or kernel) and server run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Place {
    /// All on one CPU.
    OneCore,
    /// On two: see [`Cpus::put`] and [`Cpus::put_apart`].
    TwoCores,
    /// Wherever Linux puts them.
    Unpinned,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::OneCore => "one-core",
            Place::TwoCores => "two-cores",
            Place::Unpinned => "unpinned",
        }
    }
}

impl Cpus {
    pub(crate) fn new() -> Result<Cpus> {
        let all = sched_getaffinity(None).context("asking for this process's CPUs")?;
        let numbers = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
        Ok(Cpus { all, numbers })
    }

    /// The places that this machine has.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places = vec![Place::OneCore, Place::TwoCores, Place::Unpinned];
        places.retain(|&place| place != Place::TwoCores || self.numbers.len() > 1);
        places
    }

    /// Puts this thread (the client) and the processes with these ids there. Of two CPUs the middle has one to itself.
    pub(crate) fn put(&self, place: Place, middles: &[u32], servers: &[u32]) -> Result<()> {
        let (ends, middle) = self.sets(place);
        set(None, &ends)?;
        middles.iter().try_for_each(|&pid| set(Some(pid), &middle))?;
        servers.iter().try_for_each(|&pid| set(Some(pid), &ends))
    }

    /// The same for those that need no middle: of two CPUs the client has one to itself, and the servers and what middles there are the other.
    pub(crate) fn put_apart(&self, place: Place, others: &[u32]) -> Result<()> {
        let (client, other) = self.sets(place);
        set(None, &client)?;
        others.iter().try_for_each(|&pid| set_threads(pid, &other))
    }

    /// CPUs of one side and of the other.
    fn sets(&self, place: Place) -> (CpuSet, CpuSet) {
        let one = |n: usize| {
            let mut set = CpuSet::new();
            set.set(self.numbers[n]);
            set
        };
        // The last CPU: the first is where most interrupts go.
        let last = self.numbers.len() - 1;
        match place {
            Place::OneCore => (one(last), one(last)),
            Place::TwoCores => (one(last), one(last - 1)),
            Place::Unpinned => (self.all, self.all),
        }
    }

    /// The CPUs, by number.
    pub(crate) fn numbers(&self) -> &[usize] {
        &self.numbers
    }
}

/// All threads of a process.
fn set_threads(pid: u32, cpus: &CpuSet) -> Result<()> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("listing the threads of process {pid}"))?;
    for thread in threads {
        let id = thread?.file_name().to_str().and_then(|id| id.parse().ok()).context("reading a thread's number")?;
        set(Some(id), cpus)?;
    }
    Ok(())
}

impl Drop for Cpus {
    fn drop(&mut self) {
        // Fails only if the CPUs were taken from this process meanwhile, and then there is nothing to give back.
        let _ = sched_setaffinity(None, &self.all);
    }
}

fn set(pid: Option<u32>, cpus: &CpuSet) -> Result<()> {
    let pid = pid.and_then(|pid| Pid::from_raw(pid as i32));
    sched_setaffinity(pid, cpus).with_context(|| format!("choosing CPUs for process {}", pid.map_or(0, |pid| pid.as_raw_nonzero().get())))
}
