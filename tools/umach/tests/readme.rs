//! The README's commands and code are real: each `umach` line of it is run here, and its program is libtask's documentation test.

mod common;

use common::Place;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn shell_commands_of_the_readme_work() {
    let place = Place::new();
    fs::write(place.join("file"), "content").unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_umach")).parent().unwrap();
    let path =
        std::env::join_paths([folder.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap()))).unwrap();
    let mut run = 0;
    for line in blocks("sh").concat().lines() {
        let command = line.split('#').next().unwrap().trim();
        // The test command is what runs this; the rest is a command of umach, built already.
        let command = match command.strip_prefix("cargo ") {
            Some("xtask test") => continue,
            Some(cargo) => cargo.replacen("run --release --", "umach", 1),
            None => command.to_owned(),
        };
        assert!(command.starts_with("umach "), "a command of another kind: {command}");
        let mut shell = place.umach(&[]);
        let shell = {
            let environment: Vec<_> =
                shell.get_envs().map(|(name, value)| (name.to_owned(), value.map(|value| value.to_owned()))).collect();
            shell = std::process::Command::new("sh");
            shell.args(["-euc", &command]).current_dir(place.path()).env("PATH", &path);
            for (name, value) in environment {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            shell
        };
        let output = common::finish(shell).ok();
        assert!(!output.out.is_empty(), "{command} says nothing");
        run += 1;
    }
    assert!(run >= 3, "{run} commands in the README");
}

#[test]
fn commands_in_the_readmes_table_exist() {
    let place = Place::new();
    let help = place.run(&["--help"]).ok().out;
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut seen = 0;
    for row in readme.lines().filter(|line| line.starts_with("| `umach ")) {
        let command = row.trim_start_matches("| `umach ").split([' ', '`']).next().unwrap();
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        seen += 1;
    }
    assert!(seen >= 8);
}

#[test]
fn program_of_the_readme_is_libtasks_documentation_test() {
    let library = fs::read_to_string(root().join("libtask/src/lib.rs")).unwrap();
    let documentation: String = library
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    for program in blocks("rust") {
        assert!(documentation.contains(&program), "not in libtask's documentation:\n{program}");
    }
}

#[test]
fn files_that_the_readme_names_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for name in readme.split('`').filter(|word| word.starts_with("docs/") || word.starts_with("libtask/")) {
        assert!(root().join(name).exists(), "{name}");
    }
}

#[test]
fn readme_is_two_screens() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 124, "{} lines", readme.lines().count());
}
