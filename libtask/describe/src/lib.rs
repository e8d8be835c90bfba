//! Descriptions of interfaces: what methods there are, with which numbers, of which types, in a form that programs and people can read.
//!
//! `#[libtask::interface]` makes a [`fixed::Interface`] of a trait, at compile time, and encodes it into bytes with a mark in front, which are in the binary. [`scan`] finds
//! them there; a server answers them to whoever asks. A [`Description`] is the same to work with: [`Description::to_rust`]
//! prints it, [`Description::changes_since`] tells which changes of one break whom,
//! and [`value`] makes bodies of JSON and JSON of bodies.
//!
//! A description is whatever somebody put into a file or a message, so reading one never panics, and takes time and memory in proportion to its bytes.
//!
//! In reading order: [`types`], [`interface`], [`fixed`] (the form at compile time), [`read`](Description::read), [`scan`], then what is done with them.
#![forbid(unsafe_code)]

mod check;
pub mod fixed;
mod format;
pub mod interface;
mod read;
mod scan;
mod show;
pub mod types;
pub mod value;

pub use check::Change;
pub use interface::{Argument, Description, Method, Role, Stream};
pub use postcard_schema;
pub use read::Broken;
pub use scan::{Found, scan};
pub use show::{signature, type_text};
pub use types::{Field, Right, Shape, Type, Variant};
