//! `umach fs cat`, `get`, `put`.
//!
//! A copy is planned first (which directories, which files, how many bytes), so that its progress has an end, and then done in pieces.
//! Names that a server sends are allegations: one that is not a single component would lead out of the target and is refused.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use umach_file_api::{Dir, File, FileError, Kind, OpenOptions};

use super::change::make_all;
use super::place::{Place, PlaceParser};
use super::progress::Progress;
use super::{Session, show};
use crate::exit::complain;
use crate::system::At;
use crate::text;

/// Bytes that one message moves.
const PIECE: usize = 4 << 20;

/// Writes files to standard output.
#[derive(Args)]
#[command(after_help = "Example:\n  umach fs cat /README.md | head")]
pub(super) struct Cat {
    /// Which files.
    #[arg(value_name = "PATH", required = true, value_parser = PlaceParser)]
    places: Vec<Place>,
    #[command(flatten)]
    at: At,
}

/// Copies from a file server to here.
#[derive(Args)]
#[command(after_help = "\
If LOCAL is a directory, the copy goes into it. Files there are replaced. With -r links and special files are left out and \
counted. Permission bits are kept.

Examples:
  umach fs get /README.md
  umach fs get -r photos:/2024 ./pictures")]
pub(super) struct Get {
    /// What to copy.
    #[arg(value_parser = PlaceParser)]
    remote: Place,
    /// Where to.
    #[arg(default_value = ".")]
    local: PathBuf,
    /// Directories with all that is in them.
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    at: At,
}

/// Copies from here to a file server.
#[derive(Args)]
#[command(after_help = "\
If REMOTE is a directory, the copy goes into it. Files there are replaced. With -r links and special files are left out and \
counted. Permission bits are kept, as far as the server's umask lets them.

Examples:
  umach fs put report.pdf /inbox/
  umach fs put -r ./site web:/")]
pub(super) struct Put {
    /// What to copy.
    local: PathBuf,
    /// Where to.
    #[arg(default_value = "/", value_parser = PlaceParser)]
    remote: Place,
    /// Directories with all that is in them.
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    at: At,
}

/// What a copy will do. Paths are relative to its source and target alike; an empty one is the source itself.
#[derive(Debug, Default)]
struct Plan {
    /// Each behind the one that it is in.
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, u32)>,
    bytes: u64,
    left_out: u64,
}

impl Plan {
    fn report(&self) {
        if self.left_out > 0 {
            complain(&format!("{} links and special files left out", self.left_out));
        }
    }
}

impl Cat {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.at)?;
        let mut out = std::io::stdout().lock();
        for place in &self.places {
            let file = session.root(place)?.open_read(OsStr::from_bytes(&place.path)).with_context(|| place.to_string())?;
            pull(&file, |piece| Ok(out.write_all(piece)?))?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Hands a file's bytes on, piece by piece.
fn pull(file: &File, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut at = 0;
    loop {
        let piece = file.read_range(at, PIECE as u64)?;
        if piece.is_empty() {
            return Ok(());
        }
        sink(&piece)?;
        at += piece.len() as u64;
    }
}

impl Get {
    pub(super) fn run(self) -> Result<()> {
        let root = Session::open(&self.at)?.root(&self.remote)?;
        let path = OsStr::from_bytes(&self.remote.path);
        let stat = if self.remote.path.is_empty() { root.own_stat()? } else { root.stat(path)? };
        let target = match self.remote.file_name() {
            Some(name) if self.local.is_dir() => self.local.join(name),
            _ => self.local.clone(),
        };
        let mut plan = Plan::default();
        let source = match stat.kind {
            Kind::Directory => {
                ensure!(self.recursive, "{} is a directory; copy it with -r", self.remote);
                let dir = if self.remote.path.is_empty() { root } else { root.subdir(path)? };
                plan_remote(&dir, &mut plan)?;
                dir
            }
            Kind::File => {
                plan.files.push((PathBuf::new(), stat.mode));
                plan.bytes = stat.size;
                root
            }
            other => bail!("{} is a {}; only files and directories can be copied", self.remote, super::word(other)),
        };
        for folder in &plan.folders {
            let folder = target.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let progress = Progress::new(plan.bytes);
        for (name, mode) in &plan.files {
            let (remote, local) =
                if name.as_os_str().is_empty() { (Path::new(path), target.clone()) } else { (name.as_path(), target.join(name)) };
            progress.file(&show(remote.as_os_str().as_bytes()));
            get_file(&source, remote, &local, *mode, &progress)?;
        }
        drop(progress);
        plan.report();
        done(&plan, &self.remote.to_string(), &target.display().to_string())
    }
}

/// One line about a finished copy.
fn done(plan: &Plan, from: &str, to: &str) -> Result<()> {
    let files = plan.files.len();
    text::print(&format!("{from} -> {to}: {files} file{}, {}\n", if files == 1 { "" } else { "s" }, text::bytes(plan.bytes)))
}

fn plan_remote(root: &Dir, plan: &mut Plan) -> Result<()> {
    plan.folders.push(PathBuf::new());
    // Paths wait here, not handles: a server lets a task have only so many.
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let dir = if folder.as_os_str().is_empty() { root.duplicate() } else { root.subdir(&folder)? };
        for entry in dir.list_with_stat() {
            let entry = entry?;
            let path = folder.join(component(entry.name())?);
            match (entry.kind(), entry.stat()) {
                (Kind::Directory, _) => {
                    waiting.push(path.clone());
                    plan.folders.push(path);
                }
                (Kind::File, Some(stat)) => {
                    plan.files.push((path, stat.mode));
                    plan.bytes += stat.size;
                }
                _ => plan.left_out += 1,
            }
        }
    }
    Ok(())
}

/// A name that can only mean something in its own directory.
fn component(name: &OsStr) -> Result<&OsStr> {
    let bytes = name.as_bytes();
    let leads_out = matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') || bytes.contains(&0);
    ensure!(!leads_out, "the server lists a name that is not one: {}", show(bytes));
    Ok(name)
}

fn get_file(source: &Dir, remote: &Path, local: &Path, mode: u32, progress: &Progress) -> Result<()> {
    let what = || format!("copy to {}", local.display());
    let file = source.open_read(remote).with_context(what)?;
    // A replaced file is a new one: whoever reads the old one, or a program that runs from it, is not disturbed.
    let mut temporary = local.as_os_str().to_owned();
    temporary.push(format!(".umach-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let copy = || -> Result<()> {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        pull(&file, |piece| {
            out.write_all(piece)?;
            progress.add(piece.len());
            Ok(())
        })?;
        out.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
        fs::rename(&temporary, local)?;
        Ok(())
    };
    copy().inspect_err(|_| drop(fs::remove_file(&temporary))).with_context(what)
}

impl Put {
    pub(super) fn run(self) -> Result<()> {
        let root = Session::open(&self.at)?.root(&self.remote)?;
        let meta = fs::metadata(&self.local).with_context(|| self.local.display().to_string())?;
        let is_folder = |place: &Place| {
            place.path.is_empty() || root.stat(OsStr::from_bytes(&place.path)).is_ok_and(|stat| stat.kind == Kind::Directory)
        };
        // `put -r .` and `put -r /` have no name to go under: what is in them goes into the target.
        let target = match self.local.file_name() {
            Some(name) if is_folder(&self.remote) => self.remote.join(name.as_bytes()),
            _ => self.remote.clone(),
        };
        let mut plan = Plan::default();
        if meta.is_dir() {
            ensure!(self.recursive, "{} is a directory; copy it with -r", self.local.display());
            plan_local(&self.local, &mut plan)?;
        } else {
            ensure!(meta.is_file(), "{} is neither a file nor a directory", self.local.display());
            plan.files.push((PathBuf::new(), meta.permissions().mode()));
            plan.bytes = meta.len();
        }
        let remote = |name: &Path| if name.as_os_str().is_empty() { target.clone() } else { target.join(name.as_os_str().as_bytes()) };
        for folder in &plan.folders {
            make_all(&root, &remote(folder).path)?;
        }
        let progress = Progress::new(plan.bytes);
        for (name, mode) in &plan.files {
            let local = if name.as_os_str().is_empty() { self.local.clone() } else { self.local.join(name) };
            progress.file(&show(local.as_os_str().as_bytes()));
            put_file(&root, &local, &remote(name), *mode, &progress)?;
        }
        drop(progress);
        plan.report();
        done(&plan, &self.local.display().to_string(), &target.to_string())
    }
}

fn plan_local(root: &Path, plan: &mut Plan) -> Result<()> {
    plan.folders.push(PathBuf::new());
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let full = root.join(&folder);
        for entry in fs::read_dir(&full).with_context(|| format!("list {}", full.display()))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, folder.join(entry.file_name()));
            if kind.is_dir() {
                waiting.push(path.clone());
                plan.folders.push(path);
            } else if kind.is_file() {
                let meta = entry.metadata()?;
                plan.files.push((path, meta.permissions().mode()));
                plan.bytes += meta.len();
            } else {
                plan.left_out += 1;
            }
        }
    }
    Ok(())
}

fn put_file(root: &Dir, local: &Path, remote: &Place, mode: u32, progress: &Progress) -> Result<()> {
    let mut source = fs::File::open(local).with_context(|| format!("open {}", local.display()))?;
    let (folder, name) = remote.split();
    ensure!(!name.is_empty(), "{remote} is the exported directory itself");
    // Beside its target, then in its place: a copy that breaks off leaves the old file as it was.
    let temporary: OsString = {
        let mut path = folder.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(format!(".umach-put-{}-{}", std::process::id(), remote.path.len()).as_bytes());
        OsStr::from_bytes(&path).to_owned()
    };
    let copying = || format!("copy to {remote}");
    let options = OpenOptions::new().write(true).create_new(true).mode(mode & 0o777);
    let file = root.open(&temporary, options).with_context(copying)?;
    let mut copy = || -> Result<()> {
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        loop {
            let count = source.read(&mut piece).with_context(|| format!("read {}", local.display()))?;
            if count == 0 {
                break;
            }
            file.write_all_at(at, &piece[..count])?;
            at += count as u64;
            progress.add(count);
        }
        root.rename(&temporary, root, OsStr::from_bytes(&remote.path))?;
        Ok(())
    };
    copy().inspect_err(|_| discard(root, &temporary)).with_context(copying)
}

/// Removes what a failed copy left; the failure itself is what gets reported.
fn discard(root: &Dir, temporary: &OsStr) {
    match root.remove(temporary) {
        Ok(()) | Err(FileError::NotFound(_)) => {}
        Err(error) => complain(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_leads_out_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(component(OsStr::new(name)).is_err(), "{name:?}");
        }
        assert!(component(OsStr::new("..a")).is_ok());
    }

    #[test]
    fn local_plan_lists_folders_before_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/f"), "xyz").unwrap();
        std::os::unix::fs::symlink("f", folder.path().join("link")).unwrap();
        let mut plan = Plan::default();
        plan_local(folder.path(), &mut plan).unwrap();
        assert_eq!(plan.folders, [PathBuf::new(), "a".into(), "a/b".into()]);
        assert_eq!((plan.files.len(), plan.bytes, plan.left_out), (1, 3, 1));
    }
}
