//! The name by which programs ask for the library at run time: it changes when they have to be built anew.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libumach.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
}
