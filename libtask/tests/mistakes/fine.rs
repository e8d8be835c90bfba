//! Generated code asks nothing of its user's lints or imports.
#![deny(missing_docs, unreachable_pub, unused, rust_2018_idioms, clippy::all)]
#![forbid(unsafe_code)]
#![no_implicit_prelude]

/// Adds.
#[::libtask::interface(name = "test.Adder", version = 2, base = 900)]
pub trait Adder {
    /// Adds.
    #[id(1)]
    fn add(&self, a: u64, b: ::std::option::Option<u64>) -> ::std::result::Result<u64, ::std::string::String>;
    /// Tells.
    #[id(2)]
    #[oneway]
    fn tell(&self, message: &str, caller: &::libtask::Caller);
    /// Streams.
    #[id(3)]
    fn count(&self, items: ::libtask::Sink<Item>);
    /// Answers later.
    #[id(4)]
    #[deadline = "2min"]
    fn wait(&self, answer: ::libtask::Later<Item>);
}

/// One.
#[::libtask::data]
pub struct Item {
    /// Its number.
    pub number: u32,
}

/// Mostly nothing.
fn main() {}
