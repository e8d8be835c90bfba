//! Mach's rules once more, through the C interface: the programs in `programs/`, in each mode of the direct plane.

mod common;

use common::{build, compilers, modes, run};

fn program(name: &str) {
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
            program(stringify!($name));
        }
    )*};
}

programs! {
    carried,
    exceptions,
    leaks,
    memory,
    messages,
    objects,
    ports,
    traps,
    two_tasks,
}
