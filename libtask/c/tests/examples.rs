//! The examples are built with each compiler that is here and run, in each mode of the direct plane.

mod common;

use common::{build, compilers, modes, run};

/// Builds these examples and runs a script with them; what it says must have these lines.
fn example(sources: &[&str], script: &str, lines: &[&str]) {
    for compiler in compilers() {
        let folder = tempfile::tempdir().unwrap();
        for source in sources {
            build(compiler, &format!("examples/{source}.c"), folder.path());
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
