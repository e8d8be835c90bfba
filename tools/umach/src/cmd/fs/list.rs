//! `umach fs ls` and `umach fs stat`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use umach_file_api::{Kind, Stat};

use super::place::{Place, PlaceParser};
use super::{Session, letter, show, word};
use crate::system::At;
use crate::text::{self, Table};

/// Lists a directory.
#[derive(Args)]
#[command(after_help = "\
JSON: an array of {name, name_bytes, kind, inode, size, mode, modified}; name_bytes is null unless the name is not UTF-8; \
size, mode (a number) and modified (seconds since 1970) are null for an entry that went away meanwhile.

Examples:
  umach fs ls
  umach fs ls -l photos:/2024
  umach fs ls --json / | jq -r '.[].name'")]
pub(super) struct Ls {
    /// What to list.
    #[arg(value_name = "PATH", default_value = "/", value_parser = PlaceParser)]
    place: Place,
    /// Kind, mode, size and time too.
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Shows what is known about files.
#[derive(Args)]
#[command(after_help = "\
JSON: an array of {path, kind, inode, size, blocks, mode, links, uid, gid, modified, changed}; mode is a number, blocks are \
of 512 bytes, times are seconds since 1970.

Example:
  umach fs stat /README.md")]
pub(super) struct StatCommand {
    /// Which files.
    #[arg(value_name = "PATH", required = true, value_parser = PlaceParser)]
    places: Vec<Place>,
    /// Of a link itself, not of what it leads to.
    #[arg(short = 'P', long)]
    no_follow: bool,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct EntryRow {
    name: String,
    name_bytes: Option<Vec<u8>>,
    kind: &'static str,
    inode: u64,
    size: Option<u64>,
    mode: Option<u32>,
    modified: Option<i64>,
}

#[derive(Serialize)]
struct StatRow {
    path: String,
    kind: &'static str,
    inode: u64,
    size: u64,
    blocks: u64,
    mode: u32,
    links: u64,
    uid: u32,
    gid: u32,
    modified: i64,
    changed: i64,
}

impl Ls {
    pub(super) fn run(self) -> Result<()> {
        let root = Session::open(&self.at)?.root(&self.place)?;
        let dir = if self.place.path.is_empty() { root } else { root.subdir(OsStr::from_bytes(&self.place.path))? };
        let listing = if self.long || self.json { dir.list_with_stat() } else { dir.list() };
        let mut entries = listing.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        if self.json {
            let rows = entries.iter().map(|entry| EntryRow {
                name: entry.name().display().to_string(),
                name_bytes: entry.name().to_str().is_none().then(|| entry.name().as_bytes().to_vec()),
                kind: word(entry.kind()),
                inode: entry.inode(),
                size: entry.stat().map(|stat| stat.size),
                mode: entry.stat().map(|stat| stat.mode),
                modified: entry.stat().map(|stat| stat.modified.seconds),
            });
            return text::print_json(&rows.collect::<Vec<_>>());
        }
        let name = |entry: &umach_file_api::Entry| {
            let mark = if entry.kind() == Kind::Directory { "/" } else { "" };
            show(entry.name().as_bytes()) + mark
        };
        if !self.long {
            return text::print(&entries.iter().map(|entry| name(entry) + "\n").collect::<String>());
        }
        let mut table = Table::new(&["MODE", "LINKS", "UID", "GID", "SIZE", "MODIFIED (UTC)", "NAME"]);
        for entry in &entries {
            let fact = |of: &dyn Fn(&Stat) -> String| entry.stat().map_or_else(|| "-".to_owned(), of);
            table.row(vec![
                fact(&|stat| mode_text(entry.kind(), stat.mode)),
                fact(&|stat| stat.links.to_string()),
                fact(&|stat| stat.uid.to_string()),
                fact(&|stat| stat.gid.to_string()),
                fact(&|stat| stat.size.to_string()),
                fact(&|stat| utc(stat.modified.seconds)),
                name(entry),
            ]);
        }
        table.print()
    }
}

impl StatCommand {
    pub(super) fn run(self) -> Result<()> {
        let session = Session::open(&self.at)?;
        let mut rows = Vec::new();
        for place in &self.places {
            let (root, path) = (session.root(place)?, OsStr::from_bytes(&place.path));
            let stat = match (place.path.is_empty(), self.no_follow) {
                (true, _) => root.own_stat()?,
                (false, false) => root.stat(path)?,
                (false, true) => root.link_stat(path)?,
            };
            rows.push((place, stat));
        }
        if self.json {
            let rows = rows.iter().map(|(place, stat)| StatRow {
                path: place.to_string(),
                kind: word(stat.kind),
                inode: stat.inode,
                size: stat.size,
                blocks: stat.blocks,
                mode: stat.mode,
                links: stat.links,
                uid: stat.uid,
                gid: stat.gid,
                modified: stat.modified.seconds,
                changed: stat.changed.seconds,
            });
            return text::print_json(&rows.collect::<Vec<_>>());
        }
        for (place, stat) in rows {
            let lines = [
                ("path", format!("{}:/{}", place.service, show(&place.path))),
                ("kind", word(stat.kind).to_owned()),
                ("size", format!("{} ({} bytes, {} on disk)", text::bytes(stat.size), stat.size, text::bytes(stat.blocks * 512))),
                ("mode", format!("{} ({:o})", mode_text(stat.kind, stat.mode), stat.mode)),
                ("owner", format!("uid {}, gid {}", stat.uid, stat.gid)),
                ("links", stat.links.to_string()),
                ("inode", stat.inode.to_string()),
                ("modified", utc(stat.modified.seconds) + " UTC"),
            ];
            text::print(&lines.iter().map(|(label, value)| format!("{label:<9} {value}\n")).collect::<String>())?;
        }
        Ok(())
    }
}

/// `-rw-r--r--`, set-user and sticky bits included.
fn mode_text(kind: Kind, mode: u32) -> String {
    let mut out = String::from(letter(kind));
    for (shift, special, set, both) in [(6, 0o4000, 'S', 's'), (3, 0o2000, 'S', 's'), (0, 0o1000, 'T', 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => set,
            (true, true) => both,
        });
    }
    out
}

/// `2024-02-29 12:00:00` from seconds since 1970.
fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's civil-from-days: years that begin in March have their leap day at the end.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_written_as_ls_does() {
        assert_eq!(mode_text(Kind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode_text(Kind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(Kind::File, 0o4640), "-rwSr-----");
    }

    #[test]
    fn seconds_become_a_date() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59");
    }
}
