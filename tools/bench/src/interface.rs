//! A method of a trait beside `call` with the same bodies: what `#[libtask::interface]` costs.
//!
//! Two servers, alike but for that: one serves the trait, one takes each request's body apart and puts the answer's together by hand. Both bodies are the same bytes.

use anyhow::{Result, ensure};
use libtask::{Interface, Message, Next, SendRight};

use crate::child::task_server;
use crate::place::Cpus;
use crate::process::{Direct, Kernel};
use crate::sample::take_turns;
use crate::table::{Goal, Table};
use crate::{Options, Part};

/// The parts, in the order in which they run.
pub(crate) const PARTS: &[Part] = &[Part { name: "add", run: add }, Part { name: "text", run: text }, Part { name: "kernel", run: kernel }];

/// Small methods.
#[libtask::interface(name = "umach.bench.Small", base = 7000)]
pub(crate) trait Small {
    /// The sum: 32 bytes there, 8 back, or less, as the numbers are.
    #[id(0)]
    fn add(&self, a: u64, b: u64, c: u64, d: u64) -> u64;
    /// The text's length and its first character; what is longer than `most` is refused.
    #[id(1)]
    fn text(&self, text: &str, most: u32) -> Result<(u32, char), u32>;
}

struct Server;

impl Small for Server {
    fn add(&self, a: u64, b: u64, c: u64, d: u64) -> u64 {
        sum(a, b, c, d)
    }
    fn text(&self, text: &str, most: u32) -> Result<(u32, char), u32> {
        look(text, most)
    }
}

fn sum(a: u64, b: u64, c: u64, d: u64) -> u64 {
    a.wrapping_add(b).wrapping_add(c).wrapping_add(d)
}

fn look(text: &str, most: u32) -> Result<(u32, char), u32> {
    let len = text.len() as u32;
    if len > most { Err(len) } else { Ok((len, text.chars().next().unwrap_or(' '))) }
}

/// The server of the trait.
pub(crate) fn serve() -> Result<()> {
    let (_task, port) = task_server()?;
    Ok(port.typed::<dyn Small>().serve(Server)?)
}

/// The same by hand.
pub(crate) fn serve_by_hand() -> Result<()> {
    let (_task, port) = task_server()?;
    port.serve(|request| match request.id() {
        7000 => match request.body() {
            Ok((a, b, c, d)) => Next::Reply(Message::new(7100).body(&sum(a, b, c, d))),
            Err(_) => Next::Continue,
        },
        7001 => match request.body::<(String, u32)>() {
            Ok((text, most)) => Next::Reply(Message::new(7101).body(&look(&text, most))),
            Err(_) => Next::Continue,
        },
        _ => Next::Continue,
    })?;
    Ok(())
}

type Work = fn(&SmallClient, &SendRight, bool) -> Result<()>;

fn add_once(client: &SmallClient, right: &SendRight, by_hand: bool) -> Result<()> {
    let (a, b, c, d) = (1u64 << 60, 1 << 50, 1 << 40, 3);
    let sum = match by_hand {
        true => right.call(Message::new(7000).body(&(a, b, c, d)))?.body::<u64>()?,
        false => client.add(a, b, c, d)?,
    };
    ensure!(sum == a + b + c + d, "the sum is {sum}");
    Ok(())
}

fn text_once(client: &SmallClient, right: &SendRight, by_hand: bool) -> Result<()> {
    const TEXT: &str = "thirty-two bytes of text, or so.";
    let looked = match by_hand {
        true => right.call(Message::new(7001).body(&(TEXT, 100u32)))?.body::<Result<(u32, char), u32>>()?,
        false => Ok(client.text(TEXT, 100).map_err(|error| anyhow::anyhow!("{error}"))?),
    };
    ensure!(looked == Ok((TEXT.len() as u32, 't')), "the text looks like {looked:?}");
    Ok(())
}

fn add(options: &Options, table: &mut Table) -> Result<()> {
    measure(options, table, Direct::Always, 100, add_once)
}

fn text(options: &Options, table: &mut Table) -> Result<()> {
    measure(options, table, Direct::Always, 100, text_once)
}

/// Through the kernel process, where the trait's share is smaller.
fn kernel(options: &Options, table: &mut Table) -> Result<()> {
    measure(options, table, Direct::Off, 10, add_once)
}

fn measure(options: &Options, table: &mut Table, direct: Direct, calls: usize, work: Work) -> Result<()> {
    debug_assert_eq!(<dyn Small as Interface>::BASE, 7000);
    let cpus = Cpus::new()?;
    let kernel = Kernel::start(direct)?;
    let (server, typed) = kernel.child(&["interface"])?;
    let (by_hand, raw) = kernel.child(&["interface-by-hand"])?;
    let client = typed.typed::<dyn Small>().client();
    for place in cpus.places() {
        cpus.put_apart(place, &[server.pid(), by_hand.pid(), kernel.pid()])?;
        // Each step is so many calls that the clock does not count.
        let mut floor = || (0..calls).try_for_each(|_| work(&client, &raw, true));
        let mut ours = || (0..calls).try_for_each(|_| work(&client, &raw, false));
        let mut samples = take_turns(options.scale(80, 4), options.scale(30, 4), &mut [&mut floor, &mut ours])?;
        let [floor, ours] = [0, 1].map(|n| samples[n].median() / calls as f64);
        table.row(place.name(), ours, "us", Some(floor), Some(Goal::RatioAtMost(1.15)));
    }
    Ok(())
}
