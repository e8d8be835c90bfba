//! What `cargo xtask install` puts down is what programs in C and C++ are built with, and run with.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder with what cargo has built.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("where this test is");
    test.ancestors().nth(2).expect("target/debug/deps/test").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace").to_owned()
}

fn install(arguments: &[&str]) -> Output {
    let built = built();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(root()).args(["install", "--no-build"]).args(built.ends_with("debug").then_some("--debug"));
    command.args(arguments).env("CARGO_TARGET_DIR", built.parent().expect("target")).env_remove("DESTDIR");
    command.output().expect("start xtask")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}

fn works(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// Built in a folder of its own, with what pkg-config says and nothing else.
fn build_and_run(prefix: &Path, compiler: &str, how: &str, flags: &str) {
    let folder = tempfile::tempdir().unwrap();
    let examples = root().join("libtask/c/examples");
    let script = format!(
        "set -e; export PKG_CONFIG_PATH={prefix}/lib/pkgconfig\n\
         {compiler} -D_GNU_SOURCE {how} {examples}/notices.c -o notices $(pkg-config {flags} --cflags --libs umach)\n\
         timeout 60 {prefix}/bin/umach run --private -- ./notices",
        prefix = prefix.display(),
        examples = examples.display(),
    );
    let said =
        succeed(Command::new("sh").args(["-c", &script]).current_dir(folder.path()).env_remove("UMACH_SOCKET").env_remove("UMACH_LANE"));
    assert!(said.contains("notices: four kinds"), "{said}");
}

#[test]
fn programs_are_built_with_what_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("a prefix/..").join("made");
    std::fs::create_dir(folder.path().join("a prefix")).unwrap();
    // Once more over itself.
    for _ in 0..2 {
        let output = install(&["--prefix", prefix.to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
    }
    let prefix = prefix.canonicalize().unwrap();
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let link = |name: &str| std::fs::read_link(prefix.join("lib").join(name)).unwrap();
    assert_eq!(link("libumach.so"), Path::new(&format!("libumach.so.{major}")));
    assert_eq!(link(&format!("libumach.so.{major}")), Path::new(concat!("libumach.so.", env!("CARGO_PKG_VERSION"))));
    let left = Command::new("find").arg(&prefix).args(["-name", "*.new"]).output().unwrap();
    assert_eq!(said(&left), "");
    if !works("pkg-config") {
        return;
    }
    for compiler in ["gcc", "clang"] {
        if works(compiler) {
            build_and_run(&prefix, compiler, "", "");
            build_and_run(&prefix, compiler, "-static", "--static");
        }
    }
    if works("g++") {
        build_and_run(&prefix, "g++", "-x c++", "");
    }
    // What a program defines itself is its own, as with the shared library.
    if works("gcc") && works("objcopy") {
        let source = "#include <mach/mach.h>\n\
            boolean_t exc_server(mach_msg_header_t *in, mach_msg_header_t *out) { return in == out; }\n\
            kern_return_t mach_port_mod_refs(ipc_space_t t, mach_port_name_t n, mach_port_right_t r, mach_port_delta_t d) { return t + n + r + d; }\n\
            int main(void) { return mach_task_self() != 0 && exc_server(0, 0) && mach_port_mod_refs(1, 2, 3, 4) == 10 ? 0 : 1; }";
        let own = tempfile::tempdir().unwrap();
        std::fs::write(own.path().join("own.c"), source).unwrap();
        for (how, flags) in [("", ""), ("-static", "--static")] {
            let script = format!(
                "set -e; export PKG_CONFIG_PATH={prefix}/lib/pkgconfig; gcc {how} own.c -o own $(pkg-config {flags} --cflags --libs umach)\n\
                 timeout 60 {prefix}/bin/umach run --private -- ./own",
                prefix = prefix.display()
            );
            succeed(Command::new("sh").args(["-c", &script]).current_dir(own.path()).env_remove("UMACH_SOCKET").env_remove("UMACH_LANE"));
        }
    }
    // Without the shared library the other is taken, in a program that has libc's as ever.
    std::fs::remove_file(prefix.join("lib/libumach.so")).unwrap();
    if works("gcc") {
        build_and_run(&prefix, "gcc", "", "--static");
    }
}

#[test]
fn package_says_where_it_will_be() {
    let folder = tempfile::tempdir().unwrap();
    let output = install(&["--prefix", "/usr", "--libdir", "lib/some-arch", "--destdir", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let usr = folder.path().join("usr");
    let package = std::fs::read_to_string(usr.join("lib/some-arch/pkgconfig/umach.pc")).unwrap();
    assert!(package.contains("prefix=/usr\nlibdir=${prefix}/lib/some-arch\n"), "{package}");
    assert!(!package.contains("rpath"), "{package}");
    assert!(
        usr.join("lib/some-arch/libumach.so").exists() && usr.join("include/umach/mach/mach.h").exists() && usr.join("bin/umachd").exists()
    );
}

#[test]
fn prefix_that_cannot_be_written_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_ok() {
        // Root may write anywhere; a file where a folder should be stops it too.
        std::fs::remove_dir_all(&closed).unwrap();
        std::fs::write(&closed, "").unwrap();
    }
    let output = install(&["--prefix", closed.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(closed.to_str().unwrap()), "{}", said(&output));
}
