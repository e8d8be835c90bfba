//! The threads' scenarios as a plain program, without a test harness: what `cargo xtask san` runs under the thread sanitizer, which does not understand how
//! the harness's threads talk.

#[path = "../tests/threads/scenarios.rs"]
mod scenarios;

fn main() {
    let done = scenarios::all(scenarios::heap) + scenarios::all(scenarios::mapped);
    println!("{done} passed, 0 failed");
}
