//! `umach-bench`: the measurements without the rest of `umach`.

use std::process::ExitCode;

fn main() -> ExitCode {
    umach_bench::main(&[], std::env::args_os().skip(1).collect())
}
