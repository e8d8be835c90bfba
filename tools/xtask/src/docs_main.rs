//! `xtask-docs`: documents made from code. A generated file is written whole; `--check` compares instead, so that CI notices a stale one.
//! `cargo xtask docs` runs this.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use umach_abi::control;

const GENERATED: &str = "<!-- Made by `cargo xtask docs`; edit its source, not this file. -->\n\n";

const WIRE_HEAD: &str = "\
# The wire protocol

One table in the ABI crate (`kernel/abi/src/control.rs`) describes every request; both sides' encoding, the tracer and this page come
from it. All numbers are little-endian.

A *lane* is one `SOCK_SEQPACKET` connection between a task and the kernel process. A task has one lane for each thread that is inside the
kernel at the same time. A lane carries strictly one request and then one answer; while a request is blocked (a send to a full queue, a
receive from an empty port) the kernel keeps the answer back, and `Cancel` is the only packet that may follow. Anything else ends the
connection.

```text
request  | op u16 | zero u16     | seq u32 | length u32 | zero u32   | fields, then the tail if it has one |
answer   | op u16 | attached u16 | seq u32 | length u32 | status u32 | fields, then the tail              |
```

`length` counts the whole packet; `seq` is chosen by the task and repeated in the answer; `attached` says how many file descriptors came
along (kernel to task only). When `status` is not success the fields are absent, except in answers to `Msg` and `SendMany` (and to `RouteReturn`,
which may have them). Bit 15 of an answer's `op` says that the task has events to pull (`Events`).
A `bytes` field is always the last one and takes all that is left. A `name` is a `u32`.

The first request of a task is `Hello`. A message inside `Msg` has XNU's LP64 layout (`kernel/abi/src/message.rs`).

## Requests

";

#[derive(Parser)]
struct Cli {
    /// The workspace.
    root: PathBuf,
    /// Changes nothing; fails if a document is not what the code says.
    #[arg(long)]
    check: bool,
}

fn main() -> Result<()> {
    let Cli { root, check } = Cli::parse();
    let documents = [
        ("docs/wire.md", format!("{GENERATED}{WIRE_HEAD}{}", control::document())),
        ("docs/conformance.md", format!("{GENERATED}{}", umach_tests::conformance_table())),
        ("docs/conformance-c.md", format!("{GENERATED}{}", umach_tests::rows::in_c::table(&root).context("read the C programs")?)),
    ];
    let mut stale = Vec::new();
    for (name, content) in documents {
        let content = format!("{}\n", content.trim_end());
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == content) {
            println!("{name} is up to date");
        } else if check {
            stale.push(name);
        } else {
            std::fs::create_dir_all(path.parent().unwrap_or(&root))?;
            std::fs::write(&path, content).with_context(|| format!("write {name}"))?;
            println!("{name} written");
        }
    }
    anyhow::ensure!(stale.is_empty(), "{} not what the code says; run: cargo xtask docs", stale.join(" and "));
    Ok(())
}
