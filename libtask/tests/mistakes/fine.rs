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

/// Both kinds of methods.
#[::libtask::interface(name = "test.Kitchen")]
pub trait Kitchen {
    /// Cooks.
    #[id(1)]
    async fn cook(&self, dish: &str, caller: &::libtask::Caller) -> ::std::result::Result<u64, ::std::string::String>;
    /// Counts.
    #[id(2)]
    fn count(&self) -> u32;
    /// Streams.
    #[id(3)]
    async fn items(&self, items: ::libtask::Sink<Item>);
    /// Tells.
    #[id(4)]
    #[oneway]
    async fn tell(&self, item: &Item);
    /// Is the same for all.
    #[id(5)]
    async fn kind(&self, #[pod] bytes: [u8; 4]) -> u32 {
        let first = bytes[0];
        if first == 0 {
            return 1;
        }
        if first == 2 { self.count() } else { 3 }
    }
}

/// One.
#[::libtask::data]
pub struct Item {
    /// Its number.
    pub number: u32,
}

/// Mostly nothing.
fn main() {}
