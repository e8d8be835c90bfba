//! `umach fs` against a file server in a private system.

mod common;

use common::Place;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn write(place: &Place, name: &str, bytes: &[u8]) {
    let path = place.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Different in every page, so that a piece in the wrong place shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len / 8).flat_map(|word| (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

#[test]
fn ls_and_stat_show_what_is_there() {
    let place = Place::new();
    write(&place, "tree/b.txt", b"12345");
    write(&place, "tree/sub/c", b"");
    symlink("b.txt", place.join("tree/a link")).unwrap();
    fs::set_permissions(place.join("tree/b.txt"), PermissionsExt::from_mode(0o640)).unwrap();
    let output = place.script(
        &["--export", "tree"],
        "$UMACH fs ls; echo ---; $UMACH fs ls -l /; echo ---; $UMACH fs ls --json .; echo ---; $UMACH fs stat --json /b.txt files:/sub files:; echo ---; $UMACH fs ls sub",
    );
    let output = output.ok();
    let parts: Vec<&str> = output.out.split("---\n").collect();
    assert_eq!(parts[0], "a link\nb.txt\nsub/\n");
    assert!(parts[1].contains("-rw-r-----") && parts[1].contains("lrwxrwxrwx"), "{}", parts[1]);
    let json: serde_json::Value = serde_json::from_str(parts[2]).unwrap();
    assert_eq!((json[1]["name"].as_str(), json[1]["size"].as_u64(), json[1]["kind"].as_str()), (Some("b.txt"), Some(5), Some("file")));
    let stat: serde_json::Value = serde_json::from_str(parts[3]).unwrap();
    assert_eq!(
        (stat[0]["mode"].as_u64(), stat[1]["kind"].as_str(), stat[2]["path"].as_str()),
        (Some(0o640), Some("directory"), Some("files:/"))
    );
    assert_eq!(parts[4], "c\n");
}

#[test]
fn get_and_put_copy_trees_both_ways_without_a_difference() {
    let place = Place::new();
    write(&place, "source/large", &pattern(9 << 20));
    write(&place, "source/deep/er/small", b"x");
    write(&place, "source/empty", b"");
    fs::create_dir_all(place.join("source/hollow")).unwrap();
    symlink("small", place.join("source/deep/link")).unwrap();
    fs::set_permissions(place.join("source/deep/er/small"), PermissionsExt::from_mode(0o750)).unwrap();
    fs::create_dir(place.join("export")).unwrap();
    let output = place.script(
        &["--export", "export"],
        "$UMACH fs put -r source /; $UMACH fs get -r /source back; $UMACH fs get -r /source/deep .; $UMACH fs get /source/large one",
    );
    let output = output.ok();
    assert!(output.err.contains("1 links and special files left out"), "{output:#?}");
    for copy in ["export/source", "back"] {
        for name in ["large", "deep/er/small", "empty"] {
            assert!(
                fs::read(place.join(copy).join(name)).unwrap() == fs::read(place.join("source").join(name)).unwrap(),
                "{copy}/{name} differs"
            );
        }
        assert!(place.join(copy).join("hollow").is_dir());
        let mode = fs::metadata(place.join(copy).join("deep/er/small")).unwrap().permissions().mode();
        assert_eq!(mode & 0o700, 0o700, "{copy}");
    }
    assert!(place.join("deep/er/small").is_file());
    assert!(fs::read(place.join("one")).unwrap() == pattern(9 << 20));
    // No temporary file is left on either side.
    let names = |folder: &str| fs::read_dir(place.join(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names("export").len(), 1);
    assert!(names("back").iter().chain(&names("export/source")).all(|name| !name.display().to_string().contains("umach")));
}

#[test]
fn mkdir_mv_rm_change_the_tree() {
    let place = Place::new();
    write(&place, "tree/a", b"a");
    write(&place, "tree/b", b"b");
    let script = "$UMACH fs mkdir -p /x/y/z; $UMACH fs mkdir -p /x; $UMACH fs mv /a /x; $UMACH fs mv /x/a /x/y/renamed\n\
                  ! $UMACH fs mv -n /b /x/y/renamed; ! $UMACH fs mkdir /x; ! $UMACH fs rm /x; ! $UMACH fs rm /missing; $UMACH fs rm -f /missing\n\
                  $UMACH fs cat /x/y/renamed /b; $UMACH fs rm -r /x /b; $UMACH fs ls /";
    let output = place.script(&["--export", "tree"], script).ok();
    assert_eq!(output.out, "ab");
    assert_eq!(fs::read_dir(place.join("tree")).unwrap().count(), 0);
}

#[test]
fn rm_of_a_tree_does_not_follow_links() {
    let place = Place::new();
    write(&place, "tree/keep/file", b"keep");
    fs::create_dir_all(place.join("tree/gone/deeper")).unwrap();
    symlink("../keep", place.join("tree/gone/link")).unwrap();
    symlink("../../keep", place.join("tree/gone/deeper/link")).unwrap();
    place.script(&["--export", "tree"], "$UMACH fs rm -r /gone").ok();
    assert!(!place.join("tree/gone").exists());
    assert_eq!(fs::read(place.join("tree/keep/file")).unwrap(), b"keep");
}

#[test]
fn nothing_outside_the_exported_tree_can_be_reached() {
    let place = Place::new();
    write(&place, "secret", b"secret");
    write(&place, "tree/inside", b"inside");
    symlink("../secret", place.join("tree/way out")).unwrap();
    for path in ["../secret", "/../secret", "/sub/../../secret", "/way out", "files:/../secret"] {
        let output = place.script(&["--export", "tree"], &format!("$UMACH fs cat '{path}'"));
        assert_eq!(output.code(), Some(1), "{path}: {output:#?}");
        assert!(output.out.is_empty() && output.err.contains("umach: "), "{path}: {output:#?}");
    }
}

#[test]
fn errors_name_the_file_and_what_to_try() {
    let place = Place::new();
    fs::create_dir(place.join("tree")).unwrap();
    for (arguments, part) in [
        ("cat /missing", "missing"),
        ("cat nowhere:/x", "nowhere"),
        ("get / x", "-r"),
        ("put tree /", "-r"),
        ("mv /a other:/b", "different file servers"),
        ("rm -r /", "exported directory itself"),
    ] {
        let output = place.script(&["--export", "tree"], &format!("$UMACH fs {arguments}"));
        assert!(output.code() == Some(1) && output.err.contains(part), "{arguments}: {output:#?}");
    }
}

#[test]
fn open_gives_a_program_the_file_itself() {
    let place = Place::new();
    write(&place, "tree/deep/lines", b"one\ntwo\nthree\n");
    let script = "$UMACH fs open /deep/lines -- wc -l; $UMACH fs open -w /made -- echo written; $UMACH fs open --write /made -- echo again\n\
                  $UMACH fs open /deep/lines -- sh -c 'exit 7' || echo $?; $UMACH fs open /deep/lines -- ./no-such-program || echo $?\n\
                  ! $UMACH fs open /missing -- cat; ! $UMACH fs open ../tree/made -- cat; ! $UMACH fs open /deep -- cat";
    let output = place.script(&["--export", "tree"], script).ok();
    assert_eq!(output.out.split_whitespace().collect::<Vec<_>>(), ["3", "7", "127"], "{output:#?}");
    assert_eq!(fs::read(place.join("tree/made")).unwrap(), b"again\n");
    // It is the file: what is read can be sought in, and is not the server's any more.
    let script = "$UMACH fs open /deep/lines -- sh -c 'read first; head -c 3; tail -c 6'";
    let output = place.script(&["--export", "tree"], script).ok();
    assert!(output.out.ends_with("three\n"), "{output:#?}");
}

#[test]
fn shared_folder_is_read_and_not_written_and_leads_no_further() {
    let place = Place::new();
    write(&place, "tree/docs/a.txt", b"text");
    write(&place, "tree/secret", b"no");
    fs::write(place.join("new"), "new").unwrap();
    let script = "$UMACH fs share /docs --as docs; $UMACH fs cat docs:/a.txt; echo; $UMACH fs ls docs:; \
                  if $UMACH fs put new docs:/new 2> put; then exit 5; fi; if $UMACH fs rm docs:/a.txt; then exit 6; fi; \
                  if $UMACH fs cat docs:/../secret 2> up; then exit 7; fi; if $UMACH fs share docs: --as more --write > share 2>&1; then \
                  if $UMACH fs put new more:/new; then exit 8; fi; fi; \
                  $UMACH fs share /docs --as both --write; $UMACH fs put new both:/new; \
                  $UMACH fs share --end --as docs; if $UMACH fs ls docs:; then exit 9; fi";
    let output = place.script(&["--export", "tree"], script).ok();
    assert!(output.out.contains("text\na.txt\n"), "{output:#?}");
    let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
    assert!(read("put").contains("umach explain FILE_NOT_PERMITTED"), "{}", read("put"));
    assert_eq!(read("put").lines().count(), 1, "one thing went wrong: {}", read("put"));
    assert!(!read("up").is_empty());
    assert_eq!(read("tree/docs/new"), "new", "a share for writing is written through");
}
