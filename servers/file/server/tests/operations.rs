//! What the file server does, through ports.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use common::{World, fault, pattern};
use libtask::local::Direct;
use umach_file_api::{Access, Dir, Fault, Kind, OpenOptions};

/// Everything beneath a directory: path to contents of files, link targets, nothing for directories.
fn walk(dir: &Dir, prefix: &str, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in dir.list() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.name().to_str().unwrap());
        match entry.kind() {
            Kind::Directory => {
                into.insert(path.clone(), Vec::new());
                walk(&dir.subdir(entry.name()).unwrap(), &format!("{path}/"), into);
            }
            Kind::Symlink => {
                into.insert(path, dir.read_link(entry.name()).unwrap().into_os_string().into_encoded_bytes());
            }
            _ => {
                into.insert(path, dir.open_read(entry.name()).unwrap().read_all().unwrap());
            }
        }
    }
}

#[test]
fn tree_walked_through_ports_is_the_tree_on_disk() {
    let world = World::new();
    let mut expected = BTreeMap::new();
    for d in 0..5 {
        expected.insert(format!("d{d}"), Vec::new());
        fs::create_dir(world.path().join(format!("d{d}"))).unwrap();
        for f in 0..20usize {
            let path = format!("d{d}/f{f}");
            let bytes = pattern(f * f * 997);
            fs::write(world.path().join(&path), &bytes).unwrap();
            expected.insert(path, bytes);
        }
    }
    symlink("d0/f1", world.path().join("link")).unwrap();
    expected.insert("link".into(), b"d0/f1".to_vec());
    let client = world.client("walker");
    let mut found = BTreeMap::new();
    walk(&client.root(), "", &mut found);
    assert!(found == expected);
    world.await_handles(0);
}

#[test]
fn file_of_each_size_reads_back_exactly() {
    let world = World::new();
    let root = world.client("reader").root();
    for size in [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 1 << 20, 64 << 20] {
        let bytes = pattern(size);
        fs::write(world.path().join("file"), &bytes).unwrap();
        let file = root.open_read("file").unwrap();
        assert_eq!(file.stat().unwrap().size, size as u64);
        assert!(file.read_all().unwrap() == bytes, "read_all of {size}");
        let whole = file.read_range(0, u64::MAX).unwrap();
        assert!(*whole == *bytes, "one read of {size}");
        // Over a link it is lent, up to some length, and `read_range` copies it.
        let off = matches!(Direct::from_environment(), Ok(Direct::Off));
        if off || size > 8 << 20 {
            assert_eq!(whole.is_mapped(), size > 32 * 1024, "{size} bytes are mapped, not copied");
        }
        assert!(file.read_range(size as u64, 10).unwrap().is_empty());
        assert!(file.read_range(size as u64 + 1_000_000, 10).unwrap().is_empty());
        let middle = file.read_range(size as u64 / 2, 100_000).unwrap();
        assert!(*middle == bytes[size / 2..(size / 2 + 100_000).min(size)]);
    }
}

#[test]
fn file_of_each_size_is_written_exactly() {
    let world = World::new();
    let root = world.client("writer").root();
    for size in [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 1 << 20, 64 << 20] {
        let bytes = pattern(size);
        let file = root.create("file").unwrap();
        file.write_all_at(0, &bytes).unwrap();
        if size < 1 << 20 {
            file.sync_data().unwrap();
        }
        assert!(fs::read(world.path().join("file")).unwrap() == bytes, "{size}");
        assert_eq!(file.write_at(size as u64 + 5, b"!").unwrap(), 1);
        assert_eq!(file.stat().unwrap().size, size as u64 + 6);
    }
    let one = pattern(20 << 20);
    let file = root.create("one message").unwrap();
    assert_eq!(file.write_at(0, &one).unwrap(), one.len());
    assert!(fs::read(world.path().join("one message")).unwrap() == one);
}

#[test]
fn reader_and_writer_are_the_standard_librarys() {
    let world = World::new();
    let root = world.client("streams").root();
    let file = root.create("lines").unwrap();
    let mut writer = BufWriter::new(file.writer());
    for n in 0..10_000 {
        writeln!(writer, "line {n}").unwrap();
    }
    writer.flush().unwrap();
    let lines: Vec<String> = file.reader().lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 10_000);
    assert_eq!(lines[9_999], "line 9999");
    let mut reader = BufReader::new(file.reader());
    assert_eq!(reader.seek(SeekFrom::End(-5)).unwrap(), file.stat().unwrap().size - 5);
    let mut end = String::new();
    reader.read_to_string(&mut end).unwrap();
    assert_eq!(end, "9999\n");
    let mut reader = file.reader();
    reader.seek(SeekFrom::Start(5)).unwrap();
    assert!(reader.seek(SeekFrom::Current(-6)).is_err());
    let mut writer = file.writer();
    writer.seek(SeekFrom::Start(5)).unwrap();
    writer.write_all(b"#").unwrap();
    assert!(fs::read(world.path().join("lines")).unwrap().starts_with(b"line #\nline 1"));
}

#[test]
fn names_are_made_moved_and_removed() {
    let world = World::new();
    let root = world.client("mover").root();
    root.mkdir("a").unwrap();
    root.mkdir("a/b").unwrap();
    root.mkdir("c").unwrap();
    let (a, c) = (root.subdir("a").unwrap(), root.subdir("c").unwrap());
    a.create("b/file").unwrap().append(b"one").unwrap();
    a.rename("b/file", &c, "moved").unwrap();
    assert_eq!(fs::read(world.path().join("c/moved")).unwrap(), b"one");
    root.create("other").unwrap();
    assert_eq!(fault(c.rename_new("moved", &root, "other")), Fault::Exists);
    c.rename("moved", &root, "other").unwrap();
    root.rename("other", &root, "same directory").unwrap();
    assert_eq!(fs::read(world.path().join("same directory")).unwrap(), b"one");
    assert_eq!(fault(root.remove("a")), Fault::NotEmpty);
    root.remove("a/b").unwrap();
    root.remove("a").unwrap();
    root.remove("same directory").unwrap();
    root.sync().unwrap();
    assert_eq!(fault(a.create("x")), Fault::Stale, "a removed directory's handle is stale");
    assert_eq!(fault(a.list().next().unwrap()), Fault::Stale);
    let left: Vec<_> = root.list().map(|entry| entry.unwrap().name().to_owned()).collect();
    assert_eq!(left, ["c"]);
}

#[test]
fn open_options_mean_what_they_say() {
    let world = World::new();
    let root = world.client("opener").root();
    let new = OpenOptions::new();
    assert_eq!(fault(root.open("f", new.read(true))), Fault::NotFound);
    assert_eq!(fault(root.open("f", new)), Fault::InvalidArgument, "no access at all");
    assert_eq!(fault(root.open("f", new.read(true).truncate(true))), Fault::InvalidArgument);
    root.open("f", new.write(true).create_new(true).mode(0o600)).unwrap().write_all_at(0, b"12345").unwrap();
    assert_eq!(root.stat("f").unwrap().mode, 0o600);
    assert_eq!(fault(root.open("f", new.write(true).create_new(true))), Fault::Exists);
    let reader = root.open_read("f").unwrap();
    assert_eq!(fault(reader.write_at(0, b"x")), Fault::NotPermitted);
    assert_eq!(fault(reader.truncate(0)), Fault::NotPermitted);
    let writer = root.open("f", new.write(true)).unwrap();
    assert_eq!(fault(writer.read_range(0, 1)), Fault::NotPermitted);
    let appender = root.open("f", new.append(true)).unwrap();
    assert_eq!(appender.append(b"678").unwrap(), 3);
    assert_eq!(fault(appender.write_at(0, b"x")), Fault::NotPermitted);
    assert_eq!(fault(appender.read_range(0, 1)), Fault::NotPermitted);
    assert_eq!(reader.read_all().unwrap(), b"12345678");
    writer.truncate(2).unwrap();
    assert_eq!(reader.read_all().unwrap(), b"12");
    symlink("f", world.path().join("link")).unwrap();
    assert_eq!(root.open_read("link").unwrap().read_all().unwrap(), b"12");
    assert_eq!(fault(root.open("link", new.read(true).no_follow(true))), Fault::Link);
    assert_eq!(root.stat("link").unwrap().kind, Kind::File);
    assert_eq!(root.link_stat("link").unwrap().kind, Kind::Symlink);
    assert_eq!(root.own_stat().unwrap().kind, Kind::Directory);
}

#[test]
fn escape_is_refused_with_that_word() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    symlink(outside.path(), world.path().join("out")).unwrap();
    fs::create_dir(world.path().join("sub")).unwrap();
    let root = world.client("prisoner").root();
    let sub = root.subdir("sub").unwrap();
    for path in ["..", "../..", "/", "/etc/passwd", "out/secret", "sub/../../x"] {
        assert_eq!(fault(root.open_read(path)), Fault::Escape, "{path}");
        assert_eq!(fault(root.subdir(path)), Fault::Escape, "{path}");
        assert_eq!(fault(root.stat(path)), Fault::Escape, "{path}");
    }
    assert_eq!(fault(sub.open_read("../sub/x")), Fault::Escape);
    assert_eq!(fault(root.rename("sub", &root, "../sub")), Fault::Escape);
    assert_eq!(fault(root.rename("out/secret", &root, "mine")), Fault::Escape);
    assert_eq!(fault(root.create("out/new")), Fault::Escape);
    let line = root.open_read("out/secret").unwrap_err().to_string();
    assert!(line.contains("open \"out/secret\"") && line.contains("outside the exported tree"), "{line}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn name_of_any_bytes_goes_through() {
    let world = World::new();
    let root = world.client("bytes").root();
    let name = OsStr::from_bytes(b"\xff\xfe caf\xe9\n\t'\"\\");
    root.create(name).unwrap().append(b"x").unwrap();
    let listed: Vec<_> = root.list().map(|entry| entry.unwrap().name().to_owned()).collect();
    assert_eq!(listed, [name]);
    assert_eq!(root.open_read(name).unwrap().read_all().unwrap(), b"x");
    root.remove(name).unwrap();
    assert_eq!(fault(root.create(OsStr::from_bytes(&[b'n'; 256]))), Fault::NameTooLong);
    assert_eq!(fault(root.create(OsStr::from_bytes(&b"d/".repeat(5000)))), Fault::NameTooLong);
    assert_eq!(fault(root.create("nul\0byte")), Fault::BadName);
    assert_eq!(fault(root.create("")), Fault::BadName);
    assert_eq!(root.list().count(), 0);
}

#[test]
fn hundred_thousand_entries_are_listed_once_each() {
    let world = World::new();
    // Hard links to one file are the quickest way to so many names.
    let first = world.path().join("0");
    fs::write(&first, b"").unwrap();
    let mut expected = BTreeSet::from(["0".to_string()]);
    let mut original = first.clone();
    for n in 1..100_000 {
        let name = n.to_string();
        let path = world.path().join(&name);
        // A file system limits the links of one file.
        if fs::hard_link(&original, &path).is_err() {
            fs::write(&path, b"").unwrap();
            original = path;
        }
        expected.insert(name);
    }
    let root = world.client("lister").root();
    let mut found = BTreeSet::new();
    for entry in root.list() {
        let entry = entry.unwrap();
        assert_eq!(entry.kind(), Kind::File);
        assert!(found.insert(entry.name().to_str().unwrap().to_owned()), "{:?} twice", entry.name());
    }
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    let some: Vec<_> = root.list_with_stat().take(10).map(Result::unwrap).collect();
    assert!(some.iter().all(|entry| entry.stat().is_some_and(|stat| stat.inode == entry.inode())));
}

#[test]
fn narrowed_handle_permits_what_it_says_and_never_more() {
    let world = World::new();
    fs::create_dir(world.path().join("sub")).unwrap();
    fs::write(world.path().join("sub/f"), b"text").unwrap();
    let root = world.client("narrow").root();
    let read_only = root.read_only().unwrap();
    let sub = read_only.subdir("sub").unwrap();
    assert_eq!(sub.open_read("f").unwrap().read_all().unwrap(), b"text");
    for (what, fault) in [
        ("create", fault(sub.create("new"))),
        ("open for writing", fault(sub.open("f", OpenOptions::new().write(true)))),
        ("open for appending", fault(sub.open("f", OpenOptions::new().append(true)))),
        ("create by reading", fault(sub.open("new", OpenOptions::new().read(true).create(true)))),
        ("mkdir", fault(sub.mkdir("new"))),
        ("remove", fault(sub.remove("f"))),
        ("rename", fault(sub.rename("f", &sub, "g"))),
        ("rename into", fault(root.rename("sub/f", &sub, "g"))),
        ("widen", fault(sub.narrow(Access::READ | Access::WRITE))),
    ] {
        assert_eq!(fault, Fault::NotPermitted, "{what}");
    }
    assert_eq!(fault(root.narrow(Access::empty())), Fault::InvalidArgument);
    let file = root.open("sub/f", OpenOptions::new().read(true).write(true)).unwrap();
    let narrowed = file.read_only().unwrap();
    assert_eq!(narrowed.read_all().unwrap(), b"text");
    assert_eq!(fault(narrowed.write_at(0, b"x")), Fault::NotPermitted);
    assert_eq!(fault(narrowed.narrow(Access::WRITE)), Fault::NotPermitted);
    let appender = file.narrow(Access::APPEND).unwrap();
    appender.append(b"+").unwrap();
    assert_eq!(fault(appender.truncate(0)), Fault::NotPermitted);
    // A file is no directory, and the other way round.
    let as_dir = Dir::from_right(file.duplicate().into_right());
    assert_eq!(fault(as_dir.open_read("x")), Fault::NotDirectory);
    let as_file = umach_file_api::File::from_right(root.duplicate().into_right());
    assert_eq!(fault(as_file.read_all()), Fault::IsDirectory);
}

#[test]
fn handle_says_which_interface_it_serves() {
    let world = World::new();
    let root = world.client("curious").root();
    let file = root.create("f").unwrap();
    assert_eq!(root.right().describe().unwrap().name, "umach.Directory");
    assert_eq!(file.right().describe().unwrap().name, "umach.File");
    // Opened through a typed client, the answer says what the new handle permits.
    let client = root.right().duplicate().client();
    let (sub, opened) = client.narrow(b"", Some(Access::READ)).unwrap();
    assert_eq!((opened.access, opened.stat.kind), (Access::READ, Kind::Directory));
    assert!(sub.client().open(b"f", OpenOptions::new().read(true)).is_ok());
    let widened = file.narrow(Access::from_bits_retain(0x81));
    assert_eq!(fault(widened), Fault::NotPermitted, "a bit that is nothing is permitted by nobody");
}

#[test]
fn read_only_server_gives_out_nothing_else() {
    let world = World::with(|config| config.read_only = true);
    fs::write(world.path().join("f"), b"text").unwrap();
    let root = world.client("reader").root();
    assert_eq!(root.open_read("f").unwrap().read_all().unwrap(), b"text");
    assert_eq!(fault(root.create("new")), Fault::NotPermitted);
    assert_eq!(fault(root.remove("f")), Fault::NotPermitted);
}

#[test]
fn file_that_changes_while_it_is_read_is_read_to_its_end() {
    let world = World::new();
    let root = world.client("racer").root();
    fs::write(world.path().join("f"), pattern(1 << 20)).unwrap();
    let file = root.open_read("f").unwrap();
    let disk = fs::OpenOptions::new().write(true).open(world.path().join("f")).unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..200u64 {
            disk.set_len((n * 7919 * 131) % (2 << 20)).unwrap();
        }
        disk.set_len(100_000).unwrap();
    });
    for _ in 0..50 {
        assert!(file.read_range(0, 4 << 20).unwrap().len() <= 2 << 20);
    }
    writer.join().unwrap();
    assert_eq!(file.read_all().unwrap().len(), 100_000);
}

#[test]
fn descriptor_is_the_file_itself_with_the_handles_permissions() {
    let world = World::new();
    let bytes = pattern(300_000);
    fs::write(world.path().join("file"), &bytes).unwrap();
    let root = world.client("mapper").root();
    let handle = root.open_read("file").unwrap();
    let mut file = handle.descriptor().unwrap();
    drop(handle);
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EBADF), "for reading only");
    // Its position is its own, and it can be mapped.
    let again = root.open_read("file").unwrap().descriptor().unwrap();
    assert_eq!((&again).stream_position().unwrap(), 0);
    let map = memmap2::MmapOptions::new().map_raw_read_only(&again).unwrap();
    assert_eq!(map.len(), bytes.len());
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let mut mapped = vec![0; bytes.len()];
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut mapped, map.as_ptr() as u64).unwrap();
    assert!(mapped == bytes);

    let both = root.open("file", OpenOptions::new().read(true).write(true)).unwrap();
    let mut file = both.descriptor().unwrap();
    file.write_all(b"changed").unwrap();
    assert_eq!(&both.read_range(0, 7).unwrap()[..], b"changed");
    let mut narrowed = both.read_only().unwrap().descriptor().unwrap();
    assert!(narrowed.write(b"x").is_err(), "a narrower handle gives a narrower descriptor");
    let write = root.open("file", OpenOptions::new().write(true)).unwrap().descriptor().unwrap();
    assert!((&write).read(&mut [0]).is_err());
    // Who can only add could do more with a descriptor.
    let add = root.open("file", OpenOptions::new().append(true)).unwrap();
    assert_eq!(fault(add.descriptor()), Fault::NotPermitted);
    world.await_handles(2);
    drop((both, add));
    world.await_handles(0);
}
