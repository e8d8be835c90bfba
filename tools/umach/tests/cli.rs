//! The command line itself: help, usage errors, exit codes, completions, doctor. Nothing here needs a kernel.

mod common;

use common::Place;

#[test]
fn help_of_every_command_has_examples_and_no_command_is_undocumented() {
    let place = Place::new();
    let help = place.run(&["--help"]).ok().out;
    assert!(help.contains("umach demo") && help.contains("Exit codes"), "{help}");
    for command in [
        "demo",
        "new",
        "run",
        "ps",
        "ports",
        "rights",
        "names",
        "graph",
        "fs",
        "kill",
        "doctor",
        "explain",
        "describe",
        "bench",
        "kernel",
        "serve",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in: {help}");
        let own = place.run(&[command, "--help"]).ok().out;
        assert!(own.contains("Example"), "{command}: {own}");
        assert!(own.contains("umach "), "{command}: {own}");
    }
    assert!(!help.contains("demo-task") && !help.contains("end-with"), "{help}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    for wrong in [
        &["nonsense"][..],
        &["ps", "--nonsense"],
        &["rights", "nobody"],
        &["run"],
        &["fs", "cat"],
        &["fs", "ls", ":/x"],
        &["completions", "tcl"],
    ] {
        let output = place.run(wrong);
        assert_eq!(output.code(), Some(2), "{wrong:?}: {output:#?}");
        assert!(!output.err.is_empty());
    }
}

#[test]
fn without_a_kernel_listings_say_so_with_exit_code_3() {
    let place = Place::new();
    for command in [
        &["ps"][..],
        &["ports"],
        &["rights"],
        &["names"],
        &["names", "--watch"],
        &["graph"],
        &["fs", "ls"],
        &["kill", "T1"],
        &["ps", "--json"],
    ] {
        let output = place.run(command);
        assert_eq!(output.code(), Some(3), "{command:?}: {output:#?}");
        assert!(output.err.contains("umach kernel") && output.out.is_empty(), "{output:#?}");
    }
}

#[test]
fn explain_finds_names_and_numbers_and_suggests() {
    let place = Place::new();
    let by_name = place.run(&["explain", "MACH_SEND_INVALID_DEST"]).ok().out;
    for part in ["MACH_SEND_INVALID_DEST", "0x10000003", "means", "causes", "try"] {
        assert!(by_name.contains(part), "{part}: {by_name}");
    }
    for number in ["0x10000003", "268435459"] {
        assert_eq!(place.run(&["explain", number]).ok().out, by_name);
    }
    let rows = place.run(&["explain", "--list", "--json"]).ok().json();
    let rows = rows.as_array().unwrap();
    for family in ["mach", "libtask", "link", "lane", "names", "files", "exit"] {
        assert!(rows.iter().any(|row| row["family"] == family), "{family}");
    }
    assert!(rows.iter().all(|row| ["name", "meaning", "cause", "advice"].iter().all(|field| !row[field].as_str().unwrap().is_empty())));
    let wrong = place.run(&["explain", "MACH_SEND_INVALID_DSET"]);
    assert_eq!(wrong.code(), Some(1));
    assert!(wrong.err.contains("did you mean MACH_SEND_INVALID_DEST"), "{wrong:#?}");
    assert_eq!(place.run(&["explain"]).code(), Some(2));
}

#[test]
fn error_lines_name_what_explains_them() {
    let place = Place::new();
    let failed = place.run(&["ps"]);
    let name = failed.err.trim_end().rsplit("umach explain ").next().unwrap().trim_end_matches(')');
    assert_eq!(name, "LIBTASK_NO_KERNEL", "{failed:#?}");
    assert!(place.run(&["explain", name]).ok().out.contains("umach kernel"));
}

#[test]
fn completions_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).ok().out;
        assert!(script.contains("doctor") && script.contains("rights"), "{shell}");
    }
}

#[test]
fn doctor_reports_the_same_in_text_and_json() {
    let place = Place::new();
    let (text, json) = (place.run(&["doctor"]), place.run(&["doctor", "--json"]));
    let json = json.json();
    let checks = json.as_array().unwrap();
    assert!(checks.len() >= 11, "{json:#}");
    for check in checks {
        let (name, state) = (check["check"].as_str().unwrap(), check["state"].as_str().unwrap());
        assert!(["ok", "warn", "fail"].contains(&state));
        assert!(text.out.lines().any(|line| line.starts_with(state) && line.contains(name)), "{name} {state}: {}", text.out);
        // What is not well says what that costs and what to do.
        assert_eq!(check["fix"].is_null(), state == "ok", "{check}");
        assert_eq!(check["means"].is_null(), state == "ok", "{check}");
    }
    let failed = checks.iter().any(|check| check["state"] == "fail");
    assert_eq!(text.code(), Some(i32::from(failed)));
}

#[test]
fn doctor_finds_what_is_wrong_with_the_runtime_folder() {
    let place = Place::new();
    let state = |value: &str| {
        let mut command = place.umach(&["doctor", "--json"]);
        let output = common::finish({
            command.env("XDG_RUNTIME_DIR", value);
            command
        });
        let rows = output.json();
        let row = rows.as_array().unwrap().iter().find(|row| row["check"] == "socket folder").unwrap().clone();
        (row["state"].as_str().unwrap().to_owned(), output.code())
    };
    assert_eq!(state(""), ("warn".into(), Some(0)));
    assert_eq!(state("/nonexistent/runtime"), ("fail".into(), Some(1)));
    let open = place.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(state(open.to_str().unwrap()), ("warn".into(), Some(0)));
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(state(open.to_str().unwrap()), ("ok".into(), Some(0)));
}
