//! Paths from clients: checked before Linux sees them, split where only a last component may be acted on.

use umach_file_api::error::{Failure, Fault};
use umach_file_api::protocol::{NAME_MAX, PATH_MAX};

use super::Result;

/// Refuses what cannot be a path beneath a handle. `..` passes: whether it leads out is for `openat2` to say.
pub(super) fn check(path: &[u8]) -> Result<()> {
    if path.is_empty() || path.contains(&0) {
        return Err(Fault::BadName.into());
    }
    if path[0] == b'/' {
        return Err(Fault::Escape.into());
    }
    if path.len() > PATH_MAX || path.split(|&b| b == b'/').any(|component| component.len() > NAME_MAX) {
        return Err(Fault::NameTooLong.into());
    }
    Ok(())
}

/// Splits into the parent's path (`.` if there is none) and the last component, which must be a plain name. Slashes at the end stay with
/// it: for Linux they mean "only if it is a directory", and none of mkdirat, renameat and unlinkat follows a link for them.
pub(super) fn split(path: &[u8]) -> Result<(&[u8], &[u8])> {
    check(path)?;
    let end = path.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    let start = path[..end].iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    if matches!(&path[start..end], b"" | b"." | b"..") {
        return Err(Failure::from(Fault::BadName));
    }
    let parent = if start == 0 { b"." } else { &path[..start] };
    Ok((parent, &path[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_split_at_its_last_component() {
        for (path, parent, last) in
            [("a", ".", "a"), ("a/b", "a/", "b"), ("a/b/", "a/", "b/"), ("a//b//", "a//", "b//"), ("../x", "../", "x")]
        {
            assert_eq!(split(path.as_bytes()), Ok((parent.as_bytes(), last.as_bytes())), "{path}");
        }
    }

    #[test]
    fn unusable_path_is_refused_with_its_reason() {
        let long = vec![b'n'; NAME_MAX + 1];
        let deep = vec![b"a/".as_slice(); PATH_MAX].concat();
        for (path, fault) in [
            (b"".as_slice(), Fault::BadName),
            (b"a\0b", Fault::BadName),
            (b".", Fault::BadName),
            (b"a/..", Fault::BadName),
            (b"a/./", Fault::BadName),
            (b"/etc", Fault::Escape),
            (&long, Fault::NameTooLong),
            (&deep, Fault::NameTooLong),
        ] {
            assert_eq!(split(path), Err(fault.into()), "{path:?}");
        }
    }
}
