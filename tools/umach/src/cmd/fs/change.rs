//! `umach fs mkdir`, `mv`, `rm`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, bail, ensure};
use clap::Args;
use umach_file_api::{Dir, FileError, Kind};

use super::Session;
use super::place::{Place, PlaceParser};
use crate::system::At;

/// Makes directories.
#[derive(Args)]
#[command(after_help = "Example:\n  umach fs mkdir -p /a/b/c")]
pub(super) struct Mkdir {
    /// Which.
    #[arg(value_name = "PATH", required = true, value_parser = PlaceParser)]
    places: Vec<Place>,
    /// Those above too; one that is there already is no error.
    #[arg(short, long)]
    parents: bool,
    #[command(flatten)]
    at: At,
}

/// Moves or renames a file or directory within one file server.
#[derive(Args)]
#[command(after_help = "\
If the target is a directory, the source goes into it; if it is a file, it is replaced.

Example:
  umach fs mv /draft.txt /final.txt")]
pub(super) struct Mv {
    /// What.
    #[arg(value_parser = PlaceParser)]
    from: Place,
    /// Where to.
    #[arg(value_parser = PlaceParser)]
    to: Place,
    /// Fails if the target exists.
    #[arg(short = 'n', long)]
    no_clobber: bool,
    #[command(flatten)]
    at: At,
}

/// Removes files, links and empty directories; with -r also what is in them.
#[derive(Args)]
#[command(after_help = "Example:\n  umach fs rm -r scratch:/old")]
pub(super) struct Rm {
    /// What.
    #[arg(value_name = "PATH", required = true, value_parser = PlaceParser)]
    places: Vec<Place>,
    /// Directories with all that is in them.
    #[arg(short, long)]
    recursive: bool,
    /// What is not there is no error.
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    at: At,
}

impl Mkdir {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.at)?;
        for place in &self.places {
            let root = session.root(place)?;
            if self.parents {
                make_all(&root, &place.path)?;
            } else {
                root.mkdir(OsStr::from_bytes(&place.path))?;
            }
        }
        Ok(())
    }
}

/// Makes each directory on the way that is not there.
pub(super) fn make_all(root: &Dir, path: &[u8]) -> Result<()> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    for end in ends.filter(|end| *end > 0) {
        let part = OsStr::from_bytes(&path[..end]);
        match root.mkdir(part) {
            Err(FileError::Exists(_)) if root.stat(part)?.kind == Kind::Directory => {}
            other => other?,
        }
    }
    Ok(())
}

impl Mv {
    pub(super) fn run(self) -> Result<()> {
        let Mv { from, mut to, no_clobber, at } = self;
        ensure!(from.service == to.service, "{from} and {to} are on different file servers; use umach fs get and put");
        let Some(name) = from.file_name() else { bail!("{from} is the exported directory itself") };
        let root = Session::open(&at)?.root(&from)?;
        if to.path.is_empty() || root.stat(OsStr::from_bytes(&to.path)).is_ok_and(|stat| stat.kind == Kind::Directory) {
            to = to.join(name.as_bytes());
        }
        let (from, to) = (OsStr::from_bytes(&from.path), OsStr::from_bytes(&to.path));
        if no_clobber { root.rename_new(from, &root, to) } else { root.rename(from, &root, to) }?;
        Ok(())
    }
}

impl Rm {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.at)?;
        for place in &self.places {
            ensure!(!place.path.is_empty(), "{place} is the exported directory itself; that cannot be removed from here");
            let root = session.root(place)?;
            let path = OsStr::from_bytes(&place.path);
            let removed = match (self.recursive, root.link_stat(path)) {
                (true, Ok(stat)) if stat.kind == Kind::Directory => {
                    let (folder, name) = place.split();
                    let folder = if folder.is_empty() { root } else { root.subdir(OsStr::from_bytes(folder))? };
                    remove_tree(&folder, OsStr::from_bytes(name))
                }
                (_, Ok(_)) => root.remove(path),
                (_, Err(error)) => Err(error),
            };
            match removed {
                Err(FileError::NotFound(_)) if self.force => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Removes a directory and all that is in it, holding a handle of each directory on the way: nobody can lead it elsewhere by putting a link
/// in a directory's place. A worklist, since trees can be deeper than stacks.
fn remove_tree(parent: &Dir, name: &OsStr) -> Result<(), FileError> {
    let mut path: Vec<(Dir, Vec<std::ffi::OsString>)> = Vec::new();
    let enter = |parent: &Dir, name: &OsStr| -> Result<_, FileError> {
        let dir = parent.subdir(name)?;
        let mut folders = Vec::new();
        for entry in dir.list().collect::<Result<Vec<_>, _>>()? {
            if entry.kind() == Kind::Directory {
                folders.push(entry.name().to_owned());
            } else {
                dir.remove(entry.name())?;
            }
        }
        Ok((dir, folders))
    };
    path.push(enter(parent, name)?);
    let mut names = vec![name.to_owned()];
    while let Some((dir, folders)) = path.last_mut() {
        if let Some(folder) = folders.pop() {
            let inner = enter(dir, &folder)?;
            path.push(inner);
            names.push(folder);
        } else {
            path.pop();
            let done = names.pop().unwrap_or_default();
            path.last().map_or(parent, |(dir, _)| dir).remove(&done)?;
        }
    }
    Ok(())
}
