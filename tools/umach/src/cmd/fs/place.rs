//! How a remote path is written: `NAME:/path`, or `/path` for the service `files`. The first slash means nothing: a path is always looked up
//! beneath the exported directory.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The service that a path without a name belongs to.
const DEFAULT_SERVICE: &str = "files";

/// A service and a path beneath what it exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) service: String,
    /// Bytes, without a slash in front or behind; empty for the exported directory itself.
    pub(super) path: Vec<u8>,
}

impl Place {
    /// For clap. A name has no slash in it, so `./a:b` and `/a:b` are paths.
    pub(super) fn parse(text: &OsStr) -> Result<Place, String> {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':').filter(|at| !bytes[..*at].contains(&b'/'));
        let (service, path) = match colon {
            Some(0) => return Err("the service name before `:` is empty".into()),
            Some(at) => (String::from_utf8(bytes[..at].to_vec()).map_err(|_| "the service name is not UTF-8")?, &bytes[at + 1..]),
            None => (DEFAULT_SERVICE.to_owned(), bytes),
        };
        let mut path = path;
        loop {
            path = match path {
                [b'/', rest @ ..] | [b'.', b'/', rest @ ..] | [rest @ .., b'/'] => rest,
                [b'.'] => &[],
                _ => break,
            };
        }
        Ok(Place { service, path: path.to_vec() })
    }
    /// The same service, one component further down.
    pub(super) fn join(&self, name: &[u8]) -> Place {
        let separator: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
        Place { service: self.service.clone(), path: [&self.path, separator, name].concat() }
    }
    /// The last component; none for the exported directory itself.
    pub(super) fn file_name(&self) -> Option<OsString> {
        let name = self.path.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty());
        name.map(|name| OsString::from_vec(name.to_vec()))
    }
    /// Folder and last component.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.path[..at], &self.path[at + 1..]),
            None => (&[], &self.path),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:/{}", self.service, OsStr::from_bytes(&self.path).display())
    }
}

/// clap's way in: a parser for arguments that need not be UTF-8.
#[derive(Clone)]
pub(super) struct PlaceParser;

impl clap::builder::TypedValueParser for PlaceParser {
    type Value = Place;

    fn parse_ref(&self, command: &clap::Command, argument: Option<&clap::Arg>, value: &OsStr) -> Result<Place, clap::Error> {
        Place::parse(value).map_err(|why| {
            let name = argument.map_or_else(|| "PATH".to_owned(), ToString::to_string);
            let text = format!("invalid value '{}' for '{name}': {why}\n", value.display());
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> (String, String) {
        let place = Place::parse(OsStr::new(text)).unwrap();
        (place.service, String::from_utf8(place.path).unwrap())
    }

    #[test]
    fn place_has_service_and_path() {
        for (text, service, path) in [
            ("photos:/2024/a b", "photos", "2024/a b"),
            ("photos:", "photos", ""),
            ("/", "files", ""),
            ("", "files", ""),
            (".", "files", ""),
            ("./a/", "files", "a"),
            ("/a:b/c", "files", "a:b/c"),
            ("a//", "files", "a"),
        ] {
            assert_eq!(place(text), (service.to_owned(), path.to_owned()), "{text}");
        }
        assert!(Place::parse(OsStr::new(":/x")).is_err());
    }

    #[test]
    fn place_is_taken_apart_and_joined() {
        let place = Place::parse(OsStr::new("s:/a/b")).unwrap();
        assert_eq!(place.split(), (&b"a"[..], &b"b"[..]));
        assert_eq!((place.join(b"c").to_string(), place.file_name()), ("s:/a/b/c".into(), Some("b".into())));
        assert_eq!(Place::parse(OsStr::new("s:")).unwrap().file_name(), None);
    }
}
