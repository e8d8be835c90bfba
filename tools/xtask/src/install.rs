//! `cargo xtask install`: the C library, its headers, what pkg-config says of it, and the programs.
//!
//! A package is made with `--destdir`: the files go below that folder, and say that they are below the prefix.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask install --prefix ~/umach
  cargo xtask install --prefix /usr --libdir lib/x86_64-linux-gnu --destdir /tmp/package")]
pub(crate) struct Install {
    /// Where to: `lib`, `include` and `bin` are below it.
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Where libraries are, below the prefix.
    #[arg(long, value_name = "DIR", default_value = "lib")]
    libdir: PathBuf,
    /// Puts everything below this folder, as if it were `/`: for packages. The variable DESTDIR does the same.
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// As cargo builds it without `--release`: quicker to build, slower to run.
    #[arg(long)]
    debug: bool,
    /// Installs what was built before.
    #[arg(long)]
    no_build: bool,
}

const PROGRAMS: [&str; 2] = ["umach", "umachd"];
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// As `libtask/c/build.rs` has it.
const SONAME: &str = concat!("libumach.so.", env!("CARGO_PKG_VERSION_MAJOR"));

/// Where what goes.
struct Places {
    /// What files say.
    prefix: PathBuf,
    libdir: PathBuf,
    /// Where the prefix is now.
    here: PathBuf,
}

impl Places {
    fn new(args: &Install) -> Result<Places> {
        let prefix = std::path::absolute(&args.prefix).context("the prefix")?;
        // As it is, without `..`, if it is there.
        let prefix = prefix.canonicalize().unwrap_or(prefix);
        ensure!(args.libdir.is_relative(), "--libdir {}: give a folder below the prefix", args.libdir.display());
        let destdir = args.destdir.clone().or_else(|| std::env::var_os("DESTDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from));
        let here = match destdir {
            None => prefix.clone(),
            Some(dir) => std::path::absolute(dir).context("the destination")?.join(prefix.strip_prefix("/").unwrap_or(&prefix)),
        };
        Ok(Places { prefix, libdir: args.libdir.clone(), here })
    }
    fn lib(&self) -> PathBuf {
        self.here.join(&self.libdir)
    }
}

pub(crate) fn install(root: &Path, args: &Install) -> Result<bool> {
    let places = Places::new(args)?;
    let here = &places.here;
    // Before a build of minutes.
    write(&here.join(".umach"), "").and_then(|()| fs::remove_file(here.join(".umach")).context("remove it again"))?;
    if !args.no_build {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // All that the workspace has, for another selection would mean other features, and building what they depend on again.
        build.current_dir(root).args(["build", "--workspace", "--lib", "--bins"]).args((!args.debug).then_some("--release"));
        ensure!(build.status().context("run cargo")?.success(), "the build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let built = target.join(if args.debug { "debug" } else { "release" });
    let versioned = format!("libumach.so.{VERSION}");
    let shared = newest(&built, "libumach.so")?;
    copy(&shared, &places.lib().join(&versioned))?;
    link(&versioned, &places.lib().join(SONAME))?;
    link(SONAME, &places.lib().join("libumach.so"))?;
    let archive = newest(&built, "libumach.a")?;
    put(&places.lib().join("libumach.a"), |fresh| {
        fs::copy(&archive, fresh).with_context(|| format!("copy {} to {}", archive.display(), fresh.display()))?;
        weaken(fresh, &shared)
    })?;
    for program in PROGRAMS {
        copy(&built.join(program), &here.join("bin").join(program))?;
    }
    let headers = root.join("libtask/c/include");
    for folder in ["mach", "mach/i386", "mach/machine", "mach_debug", "servers"] {
        for header in fs::read_dir(headers.join(folder))? {
            let header = header?;
            if header.path().is_dir() {
                continue;
            }
            copy(&header.path(), &here.join("include/umach").join(folder).join(header.file_name()))?;
        }
    }
    let described = places.lib().join("pkgconfig");
    write(&described.join("umach.pc"), &package(&places))?;
    println!("installed in {}; PKG_CONFIG_PATH={}", here.display(), described.display());
    Ok(true)
}

/// Where a build of the whole leaves it, or a test's; whichever is fresher.
fn newest(built: &Path, file: &str) -> Result<PathBuf> {
    let places = [built.join(file), built.join("deps").join(file)];
    let dated = places.into_iter().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)));
    let found = dated.max().map(|(_, path)| path);
    found.with_context(|| format!("{file} is not in {}; build it first", built.display()))
}

/// Whoever links statically may define what the library has too, as with the shared one: stubs that MIG made for `mach_port_allocate`, an `exc_server` of its own.
fn weaken(archive: &Path, shared: &Path) -> Result<()> {
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Some(output.stdout),
        _ => None,
    };
    let mut names = archive.as_os_str().to_owned();
    names.push(".names");
    let names = PathBuf::from(names);
    let listed = run(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(shared));
    let done = listed.is_some_and(|listed| {
        // What the shared library shows is the interface, and nothing else.
        let listed = String::from_utf8_lossy(&listed);
        let all: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
        let written = !all.is_empty() && fs::write(&names, all.join("\n")).is_ok();
        written && run(Command::new("objcopy").arg(format!("--weaken-symbols={}", names.display())).arg(archive)).is_some()
    });
    let _ = fs::remove_file(&names);
    if !done {
        eprintln!("note: without nm and objcopy (binutils) a static program cannot define what the library has too");
    }
    Ok(())
}

/// The library is found at run time where it is now, unless the system looks there anyway. Linked statically it needs what `cc` links last by itself, and these.
fn package(places: &Places) -> String {
    let system = ["/usr", "/usr/local"].iter().any(|prefix| places.prefix == Path::new(prefix));
    let run_path = if system { "" } else { " -Wl,-rpath,${libdir}" };
    format!(
        "prefix={}\nlibdir=${{prefix}}/{}\nincludedir=${{prefix}}/include/umach\n\n\
         Name: umach\nDescription: Mach's message passing for Linux programs\nURL: {}\nVersion: {VERSION}\n\
         Cflags: -I${{includedir}}\nLibs: -L${{libdir}}{run_path} -lumach\nLibs.private: -lutil -lrt -lpthread -lm -ldl\n",
        places.prefix.display(),
        places.libdir.display(),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    put(to, |fresh| fs::copy(from, fresh).map(drop).with_context(|| format!("copy {} to {}", from.display(), fresh.display())))
}

fn link(target: &str, at: &Path) -> Result<()> {
    put(at, |fresh| symlink(target, fresh).with_context(|| format!("link {} to {target}", fresh.display())))
}

fn write(to: &Path, text: &str) -> Result<()> {
    put(to, |fresh| fs::write(fresh, text).with_context(|| format!("write {}", fresh.display())))
}

/// A library that programs have mapped, or a program that runs, is replaced, not overwritten.
fn put(to: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    make_folder(to.parent().context("a file is in a folder")?)?;
    let mut fresh = to.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // From an installation that was stopped.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(|| format!("remove {}", fresh.display())),
        _ => {}
    }
    let made = make(&fresh).and_then(|()| fs::rename(&fresh, to).with_context(|| format!("put {} in place", to.display())));
    if made.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    made
}
