//! The examples are built with each compiler that is here and run, in each mode of the direct plane.

mod common;

use common::{build, compilers, modes, run};

/// Builds these examples (files joined by `+` are one program, called after the first) and runs a script with them; what it says must have these lines.
fn example(sources: &[&str], script: &str, lines: &[&str]) {
    for compiler in compilers() {
        let folder = tempfile::tempdir().unwrap();
        for source in sources {
            let files: Vec<String> = source.split('+').map(|file| format!("examples/{file}.c")).collect();
            build(compiler, &files.iter().map(String::as_str).collect::<Vec<_>>(), folder.path());
        }
        for mode in modes() {
            let said = run(folder.path(), script, &mode);
            for line in lines {
                assert!(said.lines().any(|said| said == *line), "{line:?} is missing ({compiler}, {mode}):\n{said}");
            }
        }
    }
}

#[test]
fn client_and_server_by_hand() {
    example(&["adder_server", "adder_client"], "./adder_server & ./adder_client && wait $!", &["adder: 1000 sums", "adder: stopped"]);
}

#[test]
fn client_and_server_in_the_shape_of_mig() {
    example(
        &["calc_server", "calc_client+calc_user"],
        "./calc_server & ./calc_client && wait $!",
        &["calc: 1000 sums, 20 texts", "calc: stopped"],
    );
}

#[test]
fn port_sets_with_timeouts() {
    example(&["sets"], "./sets", &["sets: 800 messages in order"]);
}

#[test]
fn notifications() {
    example(&["notices"], "./notices", &["notices: four kinds"]);
}

#[test]
fn parent_that_hands_rights_to_children() {
    example(&["family"], "./family", &["family: all are well"]);
}

#[test]
fn rust_and_c_tasks_together() {
    let rust = env!("CARGO_BIN_EXE_umach-adder-from-rust");
    example(&["adder_server"], &format!("./adder_server & {rust} && wait $!"), &["adder: 1000 sums from Rust", "adder: stopped"]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn crash_handler() {
    let lines = [
        "crash: told of exception 6, codes 2 and 0x0, of the child",
        "crash: the child went on behind its breakpoint",
        "crash: told of exception 1, codes 1 and 0x10, of the child",
        "crash: the child read 42 from nowhere",
        "crash: the child died of its third fault",
    ];
    example(&["crash"], "./crash", &lines);
}
