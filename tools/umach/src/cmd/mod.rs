//! The subcommands, one file each.

mod bench;
mod call;
mod completions;
mod demo;
mod describe;
mod doctor;
mod explain;
mod fs;
mod graph;
mod kernel;
mod kill;
mod monitor;
mod names;
mod new;
mod ports;
mod ps;
mod replay;
mod rights;
mod run;
mod serve;
mod top;
mod trace;

use anyhow::Result;
use clap::Subcommand;

use crate::exit::Exit;

pub(crate) use call::Usage;

macro_rules! commands {
    ($($(#[$attribute:meta])* $Variant:ident($Arguments:ty),)*) => {
        #[derive(Subcommand)]
        pub(crate) enum Command {
            $($(#[$attribute])* $Variant($Arguments),)*
        }

        impl Command {
            pub(crate) fn run(self) -> Result<Exit> {
                match self {
                    $(Command::$Variant(command) => command.run(),)*
                }
            }
        }
    };
}

commands! {
    Demo(demo::Demo),
    New(new::New),
    Run(run::Run),
    Ps(ps::Ps),
    Ports(ports::Ports),
    Rights(rights::Rights),
    Names(names::NamesCommand),
    Graph(graph::Graph),
    Call(call::Call),
    Monitor(monitor::Monitor),
    Trace(trace::Trace),
    Replay(replay::Replay),
    Top(top::Top),
    Fs(fs::Fs),
    Kill(kill::Kill),
    Describe(describe::Describe),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Bench(bench::BenchCommand),
    Kernel(kernel::Kernel),
    Serve(serve::Serve),
    Completions(completions::Completions),
    #[command(hide = true)]
    DemoTask(demo::DemoTask),
}
