//! The verbs for tools that look deeper than tests do: the model checker, the sanitizers, the fuzzer. Bounded forms of the first and the last are
//! tests like any other, and part of `cargo xtask test`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::steps::{self, Step};

/// The fuzz targets, and in which folder each is.
const FUZZ: [(&str, &str); 7] = [
    ("records", "libtask/link/fuzz"),
    ("ring", "libtask/link/fuzz"),
    ("slot", "libtask/link/fuzz"),
    ("leases", "libtask/link/fuzz"),
    ("control", "libtask/link/fuzz"),
    ("core", "tests/fuzz"),
    ("description", "tests/fuzz"),
];

#[derive(Args)]
pub(crate) struct Loom {
    /// Executions with up to so many preemptions are tried. Each more takes about four times as long.
    #[arg(long, default_value_t = 5)]
    preemptions: u32,
    /// Only the scenarios with this in their names.
    #[arg(default_value = "")]
    filter: String,
}

#[derive(Args)]
pub(crate) struct San {
    /// Goes on after a failure; the exit code still tells.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long, for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target.
    #[arg(value_parser = FUZZ.map(|(target, _)| target))]
    target: Option<String>,
}

pub(crate) fn loom(root: &Path, args: &Loom) -> Result<bool> {
    // Scenarios with many preemptions also have longer executions than the checker expects.
    let variables = [("LOOM_MAX_PREEMPTIONS", args.preemptions.to_string()), ("LOOM_MAX_BRANCHES", "50000".to_owned())];
    steps::run(root, vec![Step::cargo("model checks", &["test", "--workspace", "--test", "loom", "--", &args.filter], &variables)], false)
}

pub(crate) fn san(root: &Path, args: &San) -> Result<bool> {
    let host = sanitizers()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let step = |name, kind: &str, verb: &[&str]| {
        let folder = target.join(format!("san-{kind}")).display().to_string();
        // With the standard library: what it orders (its locks, the ends of `Arc`s) the thread sanitizer would else not see.
        let place = ["-Zbuild-std", "--target", host.as_str(), "--target-dir", folder.as_str()];
        let variables = [
            // The stable toolchain has sanitizers and does not say so.
            ("RUSTC_BOOTSTRAP", "1".to_owned()),
            ("RUSTFLAGS", format!("-Zsanitizer={kind}")),
        ];
        Step::cargo(name, &[&verb[..1], &place, &verb[1..]].concat(), &variables)
    };
    let mut list = vec![
        step("thread sanitizer: link", "thread", &["run", "--package", "umach-link", "--example", "threads"]),
        step(
            "address sanitizer: link",
            "address",
            &[
                "test",
                "--package",
                "umach-link",
                "--test",
                "basics",
                "--test",
                "queue",
                "--test",
                "threads",
                "--test",
                "corpus",
                "--test",
                "death",
            ],
        ),
    ];
    let c = ["rustc", "--package", "umach-c", "--lib", "--crate-type", "staticlib"];
    list.push(step("thread sanitizer: C library", "thread", &c));
    // Whatever starts the C programs is as always.
    list.push(Step::cargo("binaries", &["build", "--workspace", "--bins"], &[]));
    let library = target.join("san-thread").join(&host).join("debug/libumach.a");
    C_THREADS.iter().try_for_each(|program| c_program(root, &target, &library, program, &mut list))?;
    steps::run(root, list, args.keep_going)
}

/// Children of a program with threads go on, and faults are the program's to handle.
const TSAN_OPTIONS: &str = "die_after_fork=0:handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_abort=0:handle_sigtrap=0";

/// C programs whose threads use the library at the same time.
const C_THREADS: [&str; 17] = [
    "threads",
    "two_tasks",
    "queues",
    "objects",
    "servers",
    "interrupts",
    "replies",
    "receiving",
    "sets",
    "traps",
    "thread_ports",
    "exceptions",
    "thread_exceptions",
    "leaks",
    "messages",
    "dispositions",
    "calls",
];

/// The steps that build one of libtask/c/tests/programs under the thread sanitizer, and run it in each mode of the direct plane.
fn c_program(root: &Path, target: &Path, library: &Path, program: &str, list: &mut Vec<Step>) -> Result<()> {
    let c = root.join("libtask/c");
    let folder = target.join("san-thread/c");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let (object, made) = (folder.join(format!("{program}.o")), folder.join(program));
    let mut compile = Command::new("gcc");
    compile.args(["-fsanitize=thread", "-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-c", "-I"]).arg(c.join("include"));
    compile.arg(c.join(format!("tests/programs/{program}.c"))).arg("-o").arg(&object);
    list.push(Step::new("thread sanitizer: compile C", compile));
    // With Rust's runtime and not gcc's own: there can be one, and Rust's knows all that both compilers call.
    let mut link = Command::new("gcc");
    link.arg("-o").arg(&made).arg(&object).arg(library).arg("-Wl,--whole-archive").arg(runtime("tsan")?);
    link.args(["-Wl,--no-whole-archive", "-Wl,--export-dynamic", "-lpthread", "-lm", "-ldl", "-lrt", "-lgcc_s"]);
    list.push(Step::new("thread sanitizer: link C", link));
    for mode in ["off", "always", "random:20260731"] {
        let mut run = Command::new(target.join("debug/umach"));
        run.args(["run", "--private", "--"]).arg(&made).env("UMACH_DIRECT", mode).env_remove("UMACH_SOCKET");
        run.env("TSAN_OPTIONS", TSAN_OPTIONS);
        list.push(Step::new("thread sanitizer: C program", run));
    }
    Ok(())
}

/// Whether the toolchain brings the sanitizers' runtimes and the standard library's source; gives the host's triple.
fn sanitizers() -> Result<String> {
    let host = rustc(&["-vV"])?.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
    let host = host.context("rustc -vV does not name the host")?;
    ["asan", "tsan"].into_iter().try_for_each(|name| runtime(name).map(drop))?;
    let source = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust/library/Cargo.toml");
    ensure!(source.is_file(), "the standard library's source is missing; `rustup component add rust-src` brings it");
    Ok(host)
}

/// A sanitizer's runtime.
fn runtime(name: &str) -> Result<PathBuf> {
    let folder = rustc(&["--print", "target-libdir"])?;
    let folder = Path::new(folder.trim());
    let file = format!("_rt.{name}.a");
    let mut entries = folder.read_dir().with_context(|| format!("read {}", folder.display()))?.flatten();
    let found = entries.find(|entry| entry.file_name().to_string_lossy().ends_with(&file)).map(|entry| entry.path());
    found.with_context(|| {
        format!(
            "this toolchain brings no {name} runtime (*{file} in {}); use rustup's for x86_64 or aarch64 Linux with glibc",
            folder.display()
        )
    })
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).args(arguments).output().context("start rustc")?;
    ensure!(output.status.success(), "rustc {} ended with {}", arguments.join(" "), output.status);
    String::from_utf8(output.stdout).context("rustc's output")
}

pub(crate) fn fuzz(root: &Path, args: &Fuzz) -> Result<bool> {
    let probe = Command::new("cargo").args(["fuzz", "--version"]).output().context("start cargo")?;
    if !probe.status.success() {
        bail!("cargo-fuzz is not installed; `cargo install cargo-fuzz` brings it");
    }
    let wanted = FUZZ.into_iter().filter(|(target, _)| args.target.as_deref().is_none_or(|only| only == *target));
    let mut list = Vec::new();
    for (target, folder) in wanted {
        // What it finds goes into the first folder; what is checked in only grows by hand.
        let found = root.join("target/fuzz").join(target);
        std::fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let (found, known) = (found.display().to_string(), format!("{folder}/corpus/{target}"));
        let seconds = format!("-max_total_time={}", args.seconds);
        // Threads that have just ended have not given back all their memory, so leaks are not looked for, neither meanwhile nor at the end.
        let run = [
            "fuzz",
            "run",
            "--fuzz-dir",
            folder,
            target,
            &found,
            &known,
            "--",
            &seconds,
            "-max_len=4096",
            "-timeout=10",
            "-detect_leaks=0",
            // A minute is too short to begin with inputs of a few bytes.
            "-len_control=0",
        ];
        list.push(Step::cargo("fuzz", &run, &[("RUSTC_BOOTSTRAP", "1".to_owned()), ("ASAN_OPTIONS", "detect_leaks=0".to_owned())]));
    }
    steps::run(root, list, false)
}
