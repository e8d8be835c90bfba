//! `umach new`: a small working project.
//!
//! Its files are templates beside this program's source. In them `{{name}}` is the package's name, `{{crate}}` the same as Rust writes it, `{{checkout}}`
//! where the libraries are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::exit::Exit;
use crate::text;

/// Where this program was built.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Path in the project, and content.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("../../templates/new/Cargo.toml")),
    (".gitignore", include_str!("../../templates/new/gitignore")),
    ("README.md", include_str!("../../templates/new/README.md")),
    ("src/lib.rs", include_str!("../../templates/new/src/lib.rs")),
    ("src/server.rs", include_str!("../../templates/new/src/server.rs")),
    ("src/bin/server.rs", include_str!("../../templates/new/src/bin/server.rs")),
    ("src/bin/client.rs", include_str!("../../templates/new/src/bin/client.rs")),
    ("tests/greeter.rs", include_str!("../../templates/new/tests/greeter.rs")),
];

/// Makes a small working project: an interface, a server, a client, a test.
#[derive(Args)]
#[command(after_help = "\
The project uses the libraries of the checkout that this program was built from, by path; --checkout names another one. It gets \
the checkout's Cargo.lock, so it builds with what is there already, also with `cargo build --offline`.
DIR is made, or must be an empty folder. Its last component is the package's name, unless --name gives one.
JSON: one object {directory, name, checkout, files: [..], next: [..]}.

Examples:
  umach new hello
  umach new --name greeter ~/projects/first")]
pub(crate) struct New {
    /// Where.
    directory: PathBuf,
    /// The package's name, and the name under which its server is found.
    #[arg(long, value_parser = parse_name)]
    name: Option<String>,
    /// The checkout whose libraries it uses [default: the one that this program was built from].
    #[arg(long, value_name = "DIR")]
    checkout: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    directory: String,
    name: &'a str,
    checkout: String,
    files: Vec<&'static str>,
    next: &'a [String],
}

/// A package's name: a letter, then letters, digits, - and _; and none that Rust or Cargo keeps for itself.
fn parse_name(text: &str) -> Result<String, String> {
    const TAKEN: [&str; 12] =
        ["test", "core", "std", "alloc", "proc_macro", "self", "super", "crate", "libtask", "server", "client", "umach_name_api"];
    let first = text.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic());
    if !first || !text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')) {
        return Err(format!("`{text}` cannot be a package's name: take a letter first, then letters, digits, - and _ (--name gives one)"));
    }
    if TAKEN.contains(&text.replace('-', "_").as_str()) {
        return Err(format!("`{text}` is taken; choose another name with --name"));
    }
    Ok(text.to_owned())
}

impl New {
    pub(crate) fn run(self) -> Result<Exit> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let last = std::path::absolute(&self.directory)?.file_name().map(|name| name.to_string_lossy().into_owned());
                parse_name(&last.unwrap_or_default()).map_err(anyhow::Error::msg)?
            }
        };
        let checkout = find_checkout(self.checkout.as_deref())?;
        let there = fs::read_dir(&self.directory);
        match there {
            Ok(mut entries) => ensure!(entries.next().is_none(), "{} is not empty; give a new folder", self.directory.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| self.directory.display().to_string()),
        }
        for (path, template) in FILES {
            let path = self.directory.join(path);
            write(&path, &filled(template, &name, &checkout)?)?;
        }
        let lock = checkout.join("Cargo.lock");
        if lock.exists() {
            fs::copy(&lock, self.directory.join("Cargo.lock")).with_context(|| format!("copy {}", lock.display()))?;
        }
        self.report(&name, &checkout)
    }

    fn report(&self, name: &str, checkout: &Path) -> Result<Exit> {
        let directory = self.directory.display().to_string();
        let next = [
            format!("cd {directory}"),
            "cargo test".to_owned(),
            "cargo build".to_owned(),
            "umach run -- sh -c 'target/debug/server & target/debug/client'".to_owned(),
        ];
        if self.json {
            let files = FILES.iter().map(|(path, _)| *path).collect();
            text::print_json(&Made { directory, name, checkout: checkout.display().to_string(), files, next: &next })?;
            return Ok(Exit::DONE);
        }
        let steps: String = next.iter().map(|step| format!("  {step}\n")).collect();
        text::print(&format!(
            "made {directory}: an interface (src/lib.rs), a server, a client, and a test\n\nNext:\n{steps}\nREADME.md there says more.\n"
        ))?;
        Ok(Exit::DONE)
    }
}

fn find_checkout(given: Option<&Path>) -> Result<PathBuf> {
    let path = given.unwrap_or(Path::new(CHECKOUT));
    let found = path.canonicalize().ok().filter(|path| path.join("libtask/Cargo.toml").exists());
    match found {
        Some(found) => Ok(found),
        None if given.is_some() => bail!("{} is no checkout of umach", path.display()),
        None => bail!("the checkout that this program was built from is gone; name one with --checkout DIR"),
    }
}

fn filled(template: &str, name: &str, checkout: &Path) -> Result<String> {
    let checkout = checkout.to_str().context("the checkout's path is not UTF-8, which Cargo.toml needs")?;
    ensure!(!checkout.contains(['"', '\\', '\n']), "the checkout's path has characters in it that Cargo.toml cannot have");
    Ok(template.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_")).replace("{{checkout}}", checkout))
}

fn write(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_packages_names() {
        for good in ["hello", "a-b_c9", "Greeter"] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "9a", "a b", "ä", "a.b", "test", "proc-macro", "server", ".."] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates_are_filled_and_nothing_is_left_open() {
        for (path, template) in FILES {
            let filled = filled(template, "my-app", Path::new("/x")).unwrap();
            assert!(!filled.contains("{{"), "{path}: {filled}");
            assert!(!filled.contains("use my-app"), "{path}: {filled}");
        }
        assert!(super::filled("", "a", Path::new("/with\"quote")).is_err());
    }
}
