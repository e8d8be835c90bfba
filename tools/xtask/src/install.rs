//! `cargo xtask install`: the C library, its headers, what pkg-config says of it, and the programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

#[derive(Args)]
pub(crate) struct Install {
    /// Where to: `lib`, `include` and `bin` are below it.
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// As cargo builds it without `--release`: quicker to build, slower to run.
    #[arg(long)]
    debug: bool,
    /// Installs what was built before.
    #[arg(long)]
    no_build: bool,
}

const PROGRAMS: [&str; 2] = ["umach", "umachd"];
const LIBRARIES: [&str; 2] = ["libumach.so", "libumach.a"];

pub(crate) fn install(root: &Path, args: &Install) -> Result<bool> {
    fs::create_dir_all(&args.prefix).with_context(|| format!("make {}", args.prefix.display()))?;
    let prefix = args.prefix.canonicalize()?;
    if !args.no_build {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // All that the workspace has, for another selection would mean other features, and building what they depend on again.
        build.current_dir(root).args(["build", "--workspace", "--lib", "--bins"]).args((!args.debug).then_some("--release"));
        ensure!(build.status().context("run cargo")?.success(), "the build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let built = target.join(if args.debug { "debug" } else { "release" });
    let headers = root.join("libtask/c/include");
    for file in LIBRARIES {
        // Where a test build leaves it, if it was not built by itself.
        let from = [built.join(file), built.join("deps").join(file)].into_iter().find(|path| path.exists());
        copy(&from.with_context(|| format!("{file} is not in {}; build it first", built.display()))?, &prefix.join("lib").join(file))?;
    }
    for program in PROGRAMS {
        copy(&built.join(program), &prefix.join("bin").join(program))?;
    }
    for folder in ["mach", "mach_debug", "servers"] {
        for header in fs::read_dir(headers.join(folder))? {
            let header = header?;
            copy(&header.path(), &prefix.join("include/umach").join(folder).join(header.file_name()))?;
        }
    }
    write(&prefix.join("lib/pkgconfig/umach.pc"), &package(&prefix))?;
    println!("installed in {}; PKG_CONFIG_PATH={}/lib/pkgconfig", prefix.display(), prefix.display());
    Ok(true)
}

/// The library is found at run time where it is now, unless the program says otherwise.
fn package(prefix: &Path) -> String {
    format!(
        "prefix={}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include/umach\n\n\
         Name: umach\nDescription: Mach's message passing for Linux programs\nVersion: {}\n\
         Cflags: -I${{includedir}}\nLibs: -L${{libdir}} -Wl,-rpath,${{libdir}} -lumach\nLibs.private: -lgcc_s -lutil -lrt -lpthread -lm -ldl\n",
        prefix.display(),
        env!("CARGO_PKG_VERSION")
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder)?;
    // A library that programs have mapped is replaced, not overwritten.
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("copy {} to {}", from.display(), fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("put {} in place", to.display()))
}

fn write(to: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
    fs::write(to, text).with_context(|| format!("write {}", to.display()))
}
