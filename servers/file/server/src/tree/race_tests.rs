//! Look-ups while somebody else renames: whatever the interleaving, nothing from outside the tree is ever seen.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// A small generator with a fixed seed, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn random_path_during_renames_never_leads_out() {
    let base = tempfile::tempdir().unwrap();
    let (tree, outside) = (base.path().join("tree"), base.path().join("outside"));
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::create_dir_all(outside.join("a/b")).unwrap();
    for directory in ["", "a", "a/b", "a/b/c"] {
        fs::write(tree.join(directory).join("f"), b"inside").unwrap();
    }
    for directory in ["", "a", "a/b"] {
        fs::write(outside.join(directory).join("f"), b"outside").unwrap();
    }
    fs::write(base.path().join("f"), b"outside").unwrap();
    symlink("../..", tree.join("a/up")).unwrap();
    symlink("a/b", tree.join("down")).unwrap();
    symlink(&outside, tree.join("absolute")).unwrap();
    let (root, done) = (Directory::open_root(&tree, false).unwrap(), AtomicBool::new(false));
    let how = OpenHow { read: true, ..OpenHow::default() };
    let mut opened = 0;
    thread::scope(|scope| {
        // Moves a directory to and fro over the tree's edge, and swaps another with a link that leads out.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::rename(tree.join("a/b"), base.path().join("b"));
                let _ = symlink("../../outside", tree.join("a/b"));
                let _ = fs::remove_file(tree.join("a/b"));
                let _ = fs::rename(base.path().join("b"), tree.join("a/b"));
            }
        });
        let mut random = Random(20);
        for _ in 0..30_000 {
            let parts: Vec<&str> = (0..1 + random.below(6))
                .map(|_| ["a", "b", "c", "..", ".", "up", "down", "absolute", "outside"][random.below(9)])
                .collect();
            let path = format!("{}/f", parts.join("/"));
            if let Ok(file) = root.open(path.as_bytes(), &how) {
                opened += 1;
                assert_eq!(file.read(0, 100).unwrap(), b"inside", "{path}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(opened > 100, "only {opened} look-ups found something: the test tests nothing");
}
