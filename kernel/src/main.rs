//! `umachd`: a kernel process and nothing else.

use std::process::ExitCode;

use clap::Parser;
use umach_kernel::config::KernelArgs;
use umach_kernel::shell;

#[derive(Debug, Parser)]
#[command(name = "umachd", version)]
struct Cli {
    #[command(flatten)]
    kernel: KernelArgs,
}

fn main() -> ExitCode {
    let args = Cli::parse().kernel;
    let fail = |why: &dyn std::fmt::Display| {
        eprintln!("umachd: {why}");
        ExitCode::FAILURE
    };
    if let Err(why) = shell::init_log(args.log.as_deref()) {
        return fail(&why);
    }
    let config = match args.into_config() {
        Ok(config) => config,
        Err(why) => return fail(&why),
    };
    match shell::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}
