//! The tree on real temporary directories.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::Command;

use rustix::fs::{CWD, FileType, MemfdFlags, Mode};
use tempfile::TempDir;
use umach_file_api::error::{Failure, Fault};
use umach_file_api::protocol::Kind;

use super::*;

/// `outside` has a secret; `tree` beside it is exported and holds `file` ("hello"), `sub/deep`, and links.
fn exported() -> (TempDir, Directory) {
    let base = tempfile::tempdir().unwrap();
    let tree = base.path().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::create_dir(base.path().join("outside")).unwrap();
    fs::write(base.path().join("outside/secret"), b"secret").unwrap();
    fs::write(tree.join("file"), b"hello").unwrap();
    fs::write(tree.join("sub/deep"), b"deep").unwrap();
    symlink("../outside/secret", tree.join("out")).unwrap();
    symlink("../outside", tree.join("outdir")).unwrap();
    symlink(base.path().join("tree/file"), tree.join("absolute")).unwrap();
    symlink("sub/../file", tree.join("inside")).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    symlink("loop", tree.join("loop")).unwrap();
    let root = Directory::open_root(&tree, false).unwrap();
    (base, root)
}

const READ: OpenHow =
    OpenHow { read: true, write: false, create: false, create_new: false, truncate: false, no_follow: false, mode: 0o666 };
const CREATE: OpenHow = OpenHow { write: true, create: true, ..READ };

fn fault<T: std::fmt::Debug>(result: Result<T>) -> Fault {
    let failure: Failure = result.unwrap_err();
    failure.fault().unwrap_or_else(|| panic!("errno {} has no fault", failure.errno))
}

fn names(directory: &Directory) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    let mut cursor = 0;
    for _ in 0..100_000 {
        let page = directory.list(cursor, false).unwrap();
        for entry in page.entries {
            assert!(all.insert(entry.name().as_bytes().to_vec()), "an entry came twice");
        }
        match page.next {
            Some(next) => cursor = next,
            None => return all,
        }
    }
    panic!("the listing does not end");
}

#[test]
fn path_that_leads_out_is_an_escape_whatever_its_form() {
    let (base, root) = exported();
    let secret = base.path().join("outside/secret");
    for path in ["..", "../outside/secret", "sub/../../outside/secret", "out", "outdir/secret", "absolute", "sub/../../tree/file"] {
        assert_eq!(fault(root.open(path.as_bytes(), &READ)), Fault::Escape, "{path}");
        assert_eq!(fault(root.stat(path.as_bytes(), true)), Fault::Escape, "{path}");
    }
    assert_eq!(fault(root.open(secret.as_os_str().as_bytes(), &READ)), Fault::Escape);
    assert_eq!(fault(root.open(b"/", &READ)), Fault::Escape);
    assert_eq!(fault(root.subdirectory(b"..")), Fault::Escape);
    assert_eq!(fault(root.subdirectory(b"outdir")), Fault::Escape);
    assert_eq!(fault(root.open(b"../outside/new", &CREATE)), Fault::Escape);
    assert_eq!(fault(root.open(b"outdir/new", &CREATE)), Fault::Escape);
    assert_eq!(fault(root.make_directory(b"../new", 0o755)), Fault::Escape);
    assert_eq!(fault(root.remove(b"outdir/secret")), Fault::Escape);
    assert_eq!(fault(root.rename(b"file", &root, b"../outside/moved", true)), Fault::Escape);
    assert_eq!(fault(root.rename(b"../outside/secret", &root, b"stolen", true)), Fault::Escape);
    let sub = root.subdirectory(b"sub").unwrap();
    assert_eq!(fault(sub.open(b"../file", &READ)), Fault::Escape, "a sub-tree handle does not reach its parent");
    assert_eq!(fs::read(secret).unwrap(), b"secret");
    assert_eq!(fs::read_dir(base.path().join("outside")).unwrap().count(), 1);
}

#[test]
fn path_that_stays_beneath_is_followed() {
    let (_base, root) = exported();
    for path in ["file", "./file", "sub/../file", "inside", "sub//../file"] {
        assert_eq!(root.open(path.as_bytes(), &READ).unwrap().read(0, 100).unwrap(), b"hello", "{path}");
    }
    assert_eq!(fault(root.open(b"inside", &OpenHow { no_follow: true, ..READ })), Fault::Link);
    assert_eq!(root.read_link(b"inside").unwrap(), b"sub/../file");
    assert_eq!(root.read_link(b"out").unwrap(), b"../outside/secret");
    assert_eq!(fault(root.read_link(b"file")), Fault::InvalidArgument);
}

#[test]
fn magic_link_of_proc_is_not_followed() {
    let root = Directory::open_root("/proc/self".as_ref(), false).unwrap();
    assert_eq!(fault(root.open(b"exe", &READ)), Fault::Link);
    assert_eq!(fault(root.subdirectory(b"root")), Fault::Link);
    assert_eq!(fault(root.open(b"cwd/etc/passwd", &READ)), Fault::Link);
}

#[test]
fn each_mistake_has_its_own_fault() {
    let (_base, root) = exported();
    let long = [b'n'; 256];
    assert_eq!(fault(root.open(b"none", &READ)), Fault::NotFound);
    assert_eq!(fault(root.open(b"", &READ)), Fault::BadName);
    assert_eq!(fault(root.open(b"a\0b", &READ)), Fault::BadName);
    assert_eq!(fault(root.open(&long, &READ)), Fault::NameTooLong);
    assert_eq!(fault(root.open(b"sub", &READ)), Fault::IsDirectory);
    assert_eq!(fault(root.open(b"file/x", &READ)), Fault::NotDirectory);
    assert_eq!(fault(root.subdirectory(b"file")), Fault::NotDirectory);
    assert_eq!(fault(root.open(b"loop", &READ)), Fault::Link);
    assert_eq!(fault(root.open(b"dangling", &READ)), Fault::NotFound);
    assert_eq!(fault(root.open(b"dangling", &CREATE)), Fault::Link);
    assert_eq!(fault(root.open(b"file", &OpenHow { create_new: true, ..CREATE })), Fault::Exists);
    assert_eq!(fault(root.make_directory(b"sub", 0o755)), Fault::Exists);
    assert_eq!(fault(root.make_directory(b"a/b", 0o755)), Fault::NotFound);
    assert_eq!(fault(root.remove(b"sub")), Fault::NotEmpty);
    assert_eq!(fault(root.remove(b"none")), Fault::NotFound);
    assert_eq!(fault(root.remove(b"sub/..")), Fault::BadName);
    assert_eq!(fault(root.rename(b"none", &root, b"x", true)), Fault::NotFound);
    assert_eq!(fault(root.rename(b"file", &root, b"sub/deep", false)), Fault::Exists);
    assert_eq!(fault(root.rename(b"sub", &root, b"sub/inner", true)), Fault::InvalidArgument);
    let file = root.open(b"file", &READ).unwrap();
    assert_eq!(fault(file.read(u64::MAX, 1)), Fault::InvalidArgument);
    assert_eq!(fault(file.write(u64::MAX - 1, b"xx")), Fault::InvalidArgument);
    assert_eq!(fault(root.open(b"file", &CREATE).unwrap().truncate(u64::MAX)), Fault::InvalidArgument);
}

#[test]
fn file_is_created_written_appended_cut_and_renamed() {
    let (base, root) = exported();
    let file = root.open(b"sub/new", &CREATE).unwrap();
    assert_eq!(file.write(0, b"0123456789").unwrap(), 10);
    assert_eq!(file.write(3, b"abc").unwrap(), 3);
    assert_eq!(file.append(b"!!").unwrap(), 2);
    assert_eq!(file.write(0, b"").unwrap(), 0);
    file.sync(true).unwrap();
    assert_eq!(file.read(0, 100).unwrap(), b"012abc6789!!");
    assert_eq!(file.read(11, 100).unwrap(), b"!");
    assert_eq!(file.read(12, 100).unwrap(), b"");
    file.truncate(4).unwrap();
    file.truncate(6).unwrap();
    assert_eq!(file.stat().unwrap().size, 6);
    root.make_directory(b"there/", 0o755).unwrap();
    let there = root.subdirectory(b"there").unwrap();
    root.rename(b"sub/new", &there, b"moved", false).unwrap();
    assert_eq!(fs::read(base.path().join("tree/there/moved")).unwrap(), b"012a\0\0");
    assert_eq!(root.open(b"there/moved", &OpenHow { truncate: true, ..CREATE }).unwrap().stat().unwrap().size, 0);
    there.sync().unwrap();
    root.remove(b"there/moved").unwrap();
    root.remove(b"there").unwrap();
    assert!(there.is_removed());
    assert_eq!(fault(there.list(0, false)), Fault::Stale);
    assert_eq!(fault(there.make_directory(b"x", 0o755)), Fault::NotFound);
    assert!(!root.is_removed());
}

#[test]
fn link_is_removed_itself_and_not_its_target() {
    let (base, root) = exported();
    root.remove(b"out").unwrap();
    root.remove(b"outdir").unwrap();
    root.rename(b"absolute", &root, b"renamed", true).unwrap();
    assert!(base.path().join("outside/secret").exists());
    assert!(base.path().join("tree/renamed").is_symlink());
    symlink("../outside", base.path().join("tree/again")).unwrap();
    assert_eq!(fault(root.remove(b"again/")), Fault::NotDirectory);
}

#[test]
fn special_file_is_listed_and_never_opened() {
    let (base, root) = exported();
    let tree = base.path().join("tree");
    rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    for (name, kind) in [("fifo", Kind::Fifo), ("socket", Kind::Socket)] {
        // Each of these would wait for ever, or wake a peer, if the server opened it.
        assert_eq!(fault(root.open(name.as_bytes(), &READ)), Fault::NotRegular);
        assert_eq!(fault(root.open(name.as_bytes(), &OpenHow { read: false, ..CREATE })), Fault::NotRegular);
        assert_eq!(fault(root.open(name.as_bytes(), &OpenHow { truncate: true, ..CREATE })), Fault::NotRegular);
        assert_eq!(root.stat(name.as_bytes(), false).unwrap().kind, kind);
    }
    root.remove(b"fifo").unwrap();
    assert!(fs::symlink_metadata(tree.join("socket")).unwrap().file_type().is_socket());
    let dev = Directory::open_root("/dev".as_ref(), false).unwrap();
    assert_eq!(fault(dev.open(b"null", &READ)), Fault::NotRegular);
    assert_eq!(fault(dev.open(b"full", &CREATE)), Fault::NotRegular);
}

#[test]
fn name_that_is_no_utf8_is_kept_byte_for_byte() {
    let (base, root) = exported();
    let name = b"caf\xe9-\xff\xfe\n";
    root.open(name, &CREATE).unwrap().write(0, b"x").unwrap();
    assert!(names(&root).contains(name.as_slice()));
    assert!(base.path().join("tree").join(OsStr::from_bytes(name)).exists());
}

#[test]
fn listing_of_many_entries_gives_each_once() {
    let base = tempfile::tempdir().unwrap();
    let expected: BTreeSet<Vec<u8>> = (0..20_000).map(|i| format!("entry-number-{i}").into_bytes()).collect();
    let original = base.path().join("entry-number-0");
    fs::write(&original, b"").unwrap();
    for name in &expected {
        let path = base.path().join(OsStr::from_bytes(name));
        if path != original {
            symlink("x", path).unwrap();
        }
    }
    let root = Directory::open_root(base.path(), false).unwrap();
    let first = root.list(0, true).unwrap();
    let len = postcard::to_stdvec(&first).unwrap().len();
    assert!((umach_file_api::protocol::PAGE_MAX / 4..umach_file_api::protocol::PAGE_MAX).contains(&len), "{len} bytes");
    assert!(first.entries.iter().all(|entry| entry.stat().is_some_and(|stat| stat.inode == entry.inode() && stat.kind == entry.kind())));
    assert_eq!(names(&root), expected);
}

#[test]
fn forged_cursor_stays_in_the_directory() {
    let (_base, root) = exported();
    let all = names(&root);
    for cursor in [1, 2, 77, u32::MAX as u64, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        // What comes is the file system's affair, but nothing that is not there.
        if let Ok(page) = root.list(cursor, false) {
            assert!(page.entries.iter().all(|entry| all.contains(entry.name().as_bytes())));
        }
    }
}

#[test]
fn copy_to_memory_is_exact_and_ends_with_the_file() {
    let (base, root) = exported();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect();
    fs::write(base.path().join("tree/big"), &bytes).unwrap();
    let file = root.open(b"big", &READ).unwrap();
    for (offset, length) in [(0, bytes.len() as u64), (1, 4096), (1_000_000, 1_000_000), (1_200_000, 10)] {
        let memory = rustix::fs::memfd_create("copy", MemfdFlags::CLOEXEC).unwrap();
        let copied = file.copy_to(&memory, offset, length).unwrap();
        let end = bytes.len().min((offset + length) as usize);
        assert_eq!(copied as usize, end - (offset as usize).min(end));
        let mut back = vec![0; copied as usize + 1];
        assert_eq!(rustix::io::pread(&memory, &mut back, 0).unwrap(), copied as usize);
        assert!(back[..copied as usize] == bytes[offset as usize..end]);
    }
}

#[test]
fn file_without_splice_is_copied_all_the_same() {
    let root = Directory::open_root("/proc/self".as_ref(), false).unwrap();
    let file = root.open(b"cmdline", &READ).unwrap();
    let expected = fs::read("/proc/self/cmdline").unwrap();
    let memory = rustix::fs::memfd_create("copy", MemfdFlags::CLOEXEC).unwrap();
    assert_eq!(file.copy_to(&memory, 0, 1 << 20).unwrap() as usize, expected.len());
    assert_eq!(file.read(0, 1 << 20).unwrap(), expected);
}

#[test]
fn one_file_system_does_not_enter_mount_points() {
    let root = Directory::open_root("/".as_ref(), true).unwrap();
    assert_eq!(fault(root.subdirectory(b"proc")), Fault::Escape);
    Directory::open_root("/".as_ref(), false).unwrap().subdirectory(b"proc").unwrap();
}

#[test]
fn full_file_system_takes_what_fits_and_then_says_no_space() {
    if std::env::var_os("UMACH_FULL_DISK").is_none() {
        // A file system of 64 KiB exists only inside a mount namespace of its own, so this test runs itself again in one.
        let me = std::env::current_exe().unwrap();
        let child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(me)
            .args(["--exact", "tree::tests::full_file_system_takes_what_fits_and_then_says_no_space", "--nocapture"])
            .env("UMACH_FULL_DISK", "1")
            .output();
        match child {
            Ok(output) if output.status.success() => assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed")),
            Ok(output) if output.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Ok(output) => eprintln!("SKIPPED: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => eprintln!("SKIPPED: unshare does not run: {error}"),
        }
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "umach"]).arg(base.path()).status().unwrap();
    assert!(status.success());
    {
        let root = Directory::open_root(base.path(), false).unwrap();
        let file = root.open(b"big", &CREATE).unwrap();
        let taken = file.write(0, &vec![7; 1 << 20]).unwrap();
        assert!((4096..=65536).contains(&taken), "{taken} bytes fitted");
        assert_eq!(fault(file.write(taken, b"more")), Fault::NoSpace);
        assert_eq!(fault(file.append(b"more")), Fault::NoSpace);
        assert_eq!(root.open(b"big", &READ).unwrap().read(0, 1 << 20).unwrap(), vec![7; taken as usize]);
        assert_eq!(fault(root.rename(b"big", &Directory::open_root("/dev/shm".as_ref(), false).unwrap(), b"x", false)), Fault::CrossDevice);
    }
    assert!(Command::new("umount").arg(base.path()).status().unwrap().success());
}
