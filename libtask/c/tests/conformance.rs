//! Mach's rules once more, through the C interface: the programs in `programs/`, in each mode of the direct plane. docs/conformance-c.md says which
//! rows of Mach's semantics and which codes each of their cases holds.

mod common;

use common::{build, compilers, modes, run, run_at};

/// Builds a program and runs it in each mode.
fn program(name: &str, run: impl Fn(&std::path::Path, &str, &str) -> String) {
    // The library is the same whatever compiler calls it.
    let Some(compiler) = compilers().first().copied() else { return };
    let folder = tempfile::tempdir().unwrap();
    build(compiler, &[&format!("tests/programs/{name}.c")], folder.path());
    for mode in modes() {
        let said = run(folder.path(), &format!("./{name}"), &mode);
        assert!(said.contains(" 0 failures"), "{said}");
    }
}

macro_rules! programs {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            program(stringify!($name), run);
        }
    )*};
}

programs! {
    bootstrap,
    calls,
    carried,
    dispositions,
    exceptions,
    interrupts,
    kernel,
    leaks,
    mappings,
    memory,
    messages,
    notifications,
    objects,
    ports,
    queues,
    receiving,
    replies,
    rights,
    servers,
    sets,
    thread_exceptions,
    thread_ports,
    threads,
    traps,
    two_tasks,
}

#[test]
fn lists() {
    program("lists", run);
    // Memory for one list at a time.
    program("lists", |folder, script, mode| run_at(folder, &format!("CRAMPED=1 {script}"), mode, "task-regions=1"));
}

#[test]
fn cramped() {
    program("cramped", |folder, script, mode| run_at(folder, script, mode, "task-names=60,task-ports=30,task-queued-bytes=16K"));
}
