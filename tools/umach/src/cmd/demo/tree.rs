//! Which tree the demo walks, and how much of it.

use std::ffi::OsString;
use std::fs::{File, read_dir};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

/// A file from this size on travels as shared memory whatever the thresholds are; a tree without one gets a companion that has one.
const LARGE: u64 = 1 << 20;
/// Size of the generated large file.
const GENERATED: usize = 24 << 20;

/// How much of a tree is walked.
#[derive(Args, Debug, Clone, Copy)]
pub(super) struct Limits {
    /// At most so many files.
    #[arg(long, default_value_t = u64::MAX)]
    pub(super) files: u64,
    /// At most so many bytes.
    #[arg(long, default_value_t = u64::MAX)]
    pub(super) bytes: u64,
    /// Leaves out what is hidden, and folders that a build fills.
    #[arg(long)]
    pub(super) skip_built: bool,
}

impl Limits {
    /// For a tree that nobody chose: enough to see something, over in seconds.
    pub(super) const DEFAULT: Limits = Limits { files: 2_000, bytes: 256 << 20, skip_built: true };
    /// For a tree that was asked for.
    pub(super) const CHOSEN: Limits = Limits { files: u64::MAX, bytes: u64::MAX, skip_built: false };

    /// As arguments for the client.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut out = vec![format!("--files={}", self.files).into(), format!("--bytes={}", self.bytes).into()];
        out.extend(self.skip_built.then(|| "--skip-built".into()));
        out
    }
    /// Whether a folder of this name is walked.
    pub(super) fn enters(&self, name: &[u8]) -> bool {
        !self.skip_built || !(name == b"target" || name == b"node_modules" || name.starts_with(b"."))
    }
}

/// Whether a walk within the limits would meet a large file.
pub(super) fn has_large_file(root: &Path, limits: Limits) -> bool {
    let mut folders = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && limits.enters(entry.file_name().as_encoded_bytes()) {
                folders.push(entry.path());
            } else if kind.is_file() {
                seen += 1;
                let size = entry.metadata().map_or(0, |meta| meta.len());
                if size >= LARGE && size <= limits.bytes {
                    return true;
                }
            }
            if seen > limits.files {
                return false;
            }
        }
    }
    false
}

/// Makes a small tree with a large file in it, and says where.
pub(super) fn generate(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("scratch");
    std::fs::create_dir_all(root.join("empty")).context("make the generated tree")?;
    // Numbers, so that a page in the wrong place shows.
    let words = (0..GENERATED / 8).flat_map(|word: usize| (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let bytes: Vec<u8> = words.collect();
    for (name, part) in [("large.bin", &bytes[..]), ("page.bin", &bytes[..4096]), ("odd.bin", &bytes[..100_001]), ("nothing", &[])] {
        let path = root.join(name);
        File::create(&path).and_then(|mut file| file.write_all(part)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tree_has_a_large_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_large_file(folder.path(), Limits::CHOSEN));
        let root = generate(folder.path()).unwrap();
        assert!(has_large_file(&root, Limits::CHOSEN));
        assert!(!has_large_file(&root, Limits { bytes: 1000, ..Limits::CHOSEN }));
    }

    #[test]
    fn built_folders_are_left_out_by_default_only() {
        assert!(!Limits::DEFAULT.enters(b"target") && !Limits::DEFAULT.enters(b".git") && Limits::DEFAULT.enters(b"src"));
        assert!(Limits::CHOSEN.enters(b"target"));
    }
}
