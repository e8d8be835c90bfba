//! Traces: from records of the kernel process to what people read.
//!
//! Whatever is shown goes the same way, be it live or from a file: a list of [`Entry`]s ([`entry`]), which are also the lines of a recording ([`file`]); a
//! [`Story`](story::Story) puts them together ([`story`]: who is called what, which answer belongs to which call, what a body says by the descriptions in [`book`]); then they become lines for a terminal
//! ([`show`]), JSON ([`json`]) or a picture ([`picture`]). [`live`] asks the kernel process; [`filter`] is what somebody wants to see.

pub(crate) mod book;
pub(crate) mod entry;
pub(crate) mod file;
pub(crate) mod filter;
pub(crate) mod json;
pub(crate) mod known;
pub(crate) mod live;
pub(crate) mod picture;
pub(crate) mod show;
pub(crate) mod sink;
pub(crate) mod story;

pub(crate) use entry::Entry;
