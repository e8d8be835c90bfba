//! `umach fs share`: a handle of a sub-tree, under a name of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use clap::Args;
use umach_file_api::Access;

use super::Session;
use super::place::{Place, PlaceParser};
use crate::system::At;
use crate::text;

/// Makes a folder known under a name of its own, for reading only unless asked otherwise.
#[derive(Args)]
#[command(after_help = "\
Whoever looks the name up gets a handle of that folder: it reaches nothing above, and can do no more than the handle allows, whatever \
is opened through it. The server checks that; there is nothing to be worked round. Others use it as any file server: `umach fs ls NAME:`.
--end takes the name away; handles that were given out stay.

Examples:
  umach fs share /docs --as docs
  umach fs share files:/inbox --as inbox --append
  umach fs share --end --as docs")]
pub(super) struct Share {
    /// Which folder.
    #[arg(value_name = "PATH", value_parser = PlaceParser, required_unless_present = "end", conflicts_with = "end")]
    place: Option<Place>,
    /// Under which name.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// Files can be added to at their ends, too.
    #[arg(long, conflicts_with = "write")]
    append: bool,
    /// Files can be changed, made and removed, too.
    #[arg(long)]
    write: bool,
    /// Takes the name away again.
    #[arg(long, conflicts_with_all = ["append", "write"])]
    end: bool,
    #[command(flatten)]
    at: At,
}

impl Share {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.at)?;
        let Some(place) = &self.place else {
            session.names.unregister(&self.name)?;
            return text::print(&format!("{} is no longer shared\n", self.name));
        };
        if self.name.contains(['/', ':']) {
            bail!("`{}` cannot be the name of a share: paths are written NAME:/path", self.name);
        }
        let (access, words) = match (self.append, self.write) {
            (_, true) => (Access::READ | Access::WRITE, "reading and writing"),
            (true, _) => (Access::READ | Access::APPEND, "reading and adding"),
            _ => (Access::READ, "reading"),
        };
        let folder = session.root(place)?.subdir(OsStr::from_bytes(&place.path)).with_context(|| place.to_string())?;
        let handle = folder.narrow(access).with_context(|| place.to_string())?;
        session.names.register(&self.name, handle.into_right())?;
        text::print(&format!("{}: is {place}, for {words}\n", self.name))
    }
}
