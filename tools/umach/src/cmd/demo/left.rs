//! Whether anything is left behind: processes, descriptors, mappings, files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What this process had before, and what must be gone afterwards.
pub(super) struct Before {
    descriptors: usize,
    regions: usize,
}

impl Before {
    /// Call it before anything is started.
    pub(super) fn note() -> Before {
        Before { descriptors: descriptors(), regions: mapped_regions() }
    }

    /// What is still there: empty if all is as it was. Gives processes that are dying a moment.
    pub(super) fn left(&self, processes: &[(String, u32)], files: &[PathBuf]) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.look(processes, files);
            if left.is_empty() || Instant::now() > until {
                return left;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn look(&self, processes: &[(String, u32)], files: &[PathBuf]) -> Vec<String> {
        let mut left = Vec::new();
        for (name, pid) in processes.iter().filter(|(_, pid)| Path::new(&format!("/proc/{pid}")).exists()) {
            left.push(format!("process {pid} ({name})"));
        }
        left.extend(files.iter().filter(|file| file.symlink_metadata().is_ok()).map(|file| format!("file {}", file.display())));
        let open = descriptors();
        if open > self.descriptors {
            left.push(format!("{} open descriptors", open - self.descriptors));
        }
        let mapped = mapped_regions();
        if mapped > self.regions {
            left.push(format!("{} mapped regions", mapped - self.regions));
        }
        left
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn mapped_regions() -> usize {
    std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().filter(|line| line.contains("/memfd:umach")).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_process_and_existing_file_are_reported() {
        let before = Before::note();
        let folder = tempfile::tempdir().unwrap();
        let left = before.look(&[("self".into(), std::process::id())], &[folder.path().to_owned()]);
        assert!(left.iter().any(|what| what.starts_with("process")) && left.iter().any(|what| what.starts_with("file")), "{left:?}");
    }
}
