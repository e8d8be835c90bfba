//! The file server beside the system calls that it makes: a large file read through, and a small one opened, read and closed.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use umach_file_api::Dir;

use super::scale::{figure, section};
use super::turns::Measured;
use super::{Bench, Part};
use crate::data::{Sum, expected, fill};
use crate::peers::Kind;
use crate::process::{Direct, Kernel, Process};
use crate::report::{Goal, Unit};
use crate::sample::median;
use crate::watch;

/// Pieces in which the large file is made and, without a server, read.
const PIECE: usize = 1 << 20;
const SMALL: usize = 4096;

/// A file server, and its directory as a client has it.
struct Served {
    dir: Dir,
    _process: Process,
    _kernel: Kernel,
}

impl Served {
    fn start(directory: &Path, direct: Direct) -> Result<Served> {
        let kernel = Kernel::start(direct)?;
        let directory = directory.to_str().context("a temporary folder whose name is not text")?;
        let (process, root) = kernel.child(&["files", directory])?;
        Ok(Served { dir: Dir::from_right(root), _process: process, _kernel: kernel })
    }
    fn read_through(&self, len: usize) -> Result<u64> {
        let mut reader = self.dir.open_read("large")?.reader();
        let mut sum = Sum::default();
        loop {
            let piece = reader.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            sum.add(piece);
            let len = piece.len();
            reader.consume(len);
        }
        ensure!(sum.len() == len, "{} bytes were read of {len}", sum.len());
        Ok(sum.total())
    }
    fn open_read_close(&self) -> Result<()> {
        let read = self.dir.open_read("small")?.read_range(0, SMALL as u64)?.len();
        ensure!(read == SMALL, "{read} bytes were read of {SMALL}");
        Ok(())
    }
}

fn read_through(path: &Path, buffer: &mut [u8]) -> Result<u64> {
    let mut file = File::open(path)?;
    let mut sum = Sum::default();
    loop {
        let got = file.read(buffer)?;
        if got == 0 {
            return Ok(sum.total());
        }
        sum.add(&buffer[..got]);
    }
}

fn open_read_close(path: &Path) -> Result<()> {
    let read = File::open(path)?.read(&mut [0; SMALL])?;
    ensure!(read == SMALL, "{read} bytes were read of {SMALL}");
    Ok(())
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let (wants_large, wants_small) = (bench.wants(Part::Scale, "file-read-1g"), bench.wants(Part::Scale, "file-open-read-close"));
    if !wants_large && !wants_small {
        return Ok(());
    }
    bench.unpinned()?;
    watch::beat("a file server");
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let (large, small) = (folder.path().join("large"), folder.path().join("small"));
    std::fs::write(&small, [7; SMALL])?;
    let len = if wants_large { bench.scale(1 << 30, 8 << 20) } else { 0 };
    let total = make(&large, len).context("making a large file")?;
    let served = [Direct::Always, Direct::Off, Direct::Auto].map(|direct| Served::start(folder.path(), direct));
    let [direct, kernel, auto] = served;
    let (direct, kernel, auto) = (direct?, kernel?, auto?);

    if wants_large {
        let mut buffer = vec![0; PIECE];
        let mut rates: [Vec<f64>; 3] = Default::default();
        for round in 0..=bench.rounds(5) {
            for (n, rates) in rates.iter_mut().enumerate() {
                watch::beat("a file server");
                let start = Instant::now();
                let sum = match n {
                    0 => direct.read_through(len)?,
                    1 => kernel.read_through(len)?,
                    _ => read_through(&large, &mut buffer)?,
                };
                ensure!(sum == total, "the file was not read as it was written");
                if round > 0 {
                    rates.push(len as f64 / (1 << 20) as f64 / start.elapsed().as_secs_f64());
                }
            }
        }
        let [direct, kernel, floor] = rates.map(median);
        bench.report.sections.push(section(
            "file-read-1g",
            &format!("a cached file of {} MiB read through, every byte", len >> 20),
            Unit::MebibytesPerSecond,
            vec![Goal::TimesAtLeast(0.6, "read")],
            vec![
                figure("umach", "umach, file server", Kind::Umach, direct, None),
                figure("umach-kernel", "umach through its kernel", Kind::Umach, kernel, None),
                figure("read", "read(2)", Kind::Floor, floor, None),
            ],
        ));
    }
    if wants_small {
        let mut measured: [Measured; 4] = std::array::from_fn(|_| Measured::new(Unit::Microseconds));
        for round in 0..=bench.rounds(20) {
            for (n, measured) in measured.iter_mut().enumerate() {
                watch::beat("a file server");
                let mut step = |count: usize| {
                    let start = Instant::now();
                    (0..count).try_for_each(|_| match n {
                        0 => direct.open_read_close(),
                        1 => kernel.open_read_close(),
                        2 => auto.open_read_close(),
                        _ => open_read_close(&small),
                    })?;
                    Ok(start.elapsed())
                };
                measured.take_turn(&mut step, Duration::from_millis(10), round > 0)?;
            }
        }
        let [direct, kernel, auto, floor] = measured.map(Measured::figure);
        bench.report.sections.push(section(
            "file-open-read-close",
            "a file opened, 4 KiB read, and closed",
            Unit::Microseconds,
            Vec::new(),
            vec![
                figure("umach", "umach, file server", Kind::Umach, direct.0, Some(direct.1)),
                figure("umach-kernel", "umach through its kernel", Kind::Umach, kernel.0, Some(kernel.1)),
                // A handle that is used once is not worth a route, and gets none.
                figure("umach-auto", "umach, links as they pay", Kind::Umach, auto.0, Some(auto.1)),
                figure("system-calls", "the bare system calls", Kind::Floor, floor.0, Some(floor.1)),
            ],
        ));
    }
    Ok(())
}

/// Makes the file; gives the sum of its words. When this returns it is all in the page cache and on its way to nowhere.
fn make(path: &Path, len: usize) -> Result<u64> {
    let mut file = File::create(path)?;
    let mut piece = vec![0; PIECE];
    let mut total: u64 = 0;
    for seed in 0..(len / PIECE) as u64 {
        fill(&mut piece, seed);
        file.write_all(&piece)?;
        total = total.wrapping_add(expected(seed, PIECE));
    }
    // Written back now, it is not written back while somebody reads it.
    file.sync_all()?;
    Ok(total)
}
