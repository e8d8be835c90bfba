//! iceoryx2: publish and subscribe both ways, in one of two ways to wait: an event for each sample, or looking until there is one.
//!
//! What it has written is on files, so its server must end in order: it is told to, and only killed if it does not listen.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, Node, NodeBuilder, SemanticString, ServiceName, SignalHandlingMode, ipc,
    set_log_level,
};
use iceoryx2::sample::Sample;

use super::exchange::{Exchange, Receiving, Sending, serve};
use super::{CALL_MAX, Contestant, Kind, Peer, Pids, Skill};
use crate::data::{Sum, expected, fill};
use crate::process::{Process, patience};

const fn peer(name: &'static str, label: &'static str, burns: bool) -> Contestant {
    let skills = &[Skill::Call, Skill::Stream, Skill::Bulk];
    Contestant { name, label, kind: Kind::Peer, skills, largest: CALL_MAX, burns, start, serve: serve_role }
}

const POLL: &str = "iceoryx2-poll";
/// The same as with events, but what is sent is first somewhere else.
const COPY: &str = "iceoryx2-copy";

pub(super) const CONTESTANTS: &[Contestant] = &[
    peer("iceoryx2", "iceoryx2, events", false),
    Contestant { skills: &[Skill::Bulk], ..peer(COPY, "iceoryx2, copied in", false) },
    peer(POLL, "iceoryx2, busy poll", true),
];

/// Samples that may wait, small ones and large ones.
const SMALL: usize = 256;
const LARGE: usize = 2;
const LARGEST: usize = 64 << 20;

type Bytes = Sample<ipc::Service, [u8], ()>;

/// One way's end that sends.
struct ToTopic {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Arc<Notifier<ipc::Service>>>,
}

/// The end that receives.
struct FromTopic {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Arc<Listener<ipc::Service>>>,
    sample: Option<Bytes>,
    patience: Duration,
}

/// What makes a node's ends.
struct Maker {
    node: Node<ipc::Service>,
    events: bool,
    patience: Duration,
}

fn name(way: &str) -> Result<ServiceName> {
    way.try_into().map_err(|why| failed("a name", why))
}

fn failed(what: &str, why: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("iceoryx2: {what}: {why:?}")
}

/// Where a contestant's processes meet: a folder, and a start of names in `/dev/shm` that is nobody else's. Both go with the client.
struct Meeting {
    folder: tempfile::TempDir,
    prefix: String,
}

impl Meeting {
    fn new() -> Result<Meeting> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Of processes that are no more, for they were killed.
        remove(|name| {
            let pid = name.strip_prefix(START).and_then(|rest| rest.split('-').next());
            pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
        });
        let prefix = format!("{START}{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Ok(Meeting { folder: tempfile::tempdir().context("making a temporary folder")?, prefix })
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // A part of what a node makes stays after its last process has ended in order.
        remove(|name| name.starts_with(&self.prefix));
    }
}

/// How names of shared memory start.
const START: &str = "umach-bench-";

/// Removes shared memory with such names.
fn remove(is_such: impl Fn(&str) -> bool) {
    for file in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if is_such(&file.file_name().to_string_lossy()) {
            // Gone already is as good.
            let _ = std::fs::remove_file(file.path());
        }
    }
}

impl Maker {
    fn new(folder: &str, prefix: &str, events: bool, patience: Duration) -> Result<Maker> {
        set_log_level(LogLevel::Fatal);
        let mut config = Config::default();
        config.global.prefix = FileName::new(prefix.as_bytes()).map_err(|why| failed("a prefix", why))?;
        config.global.set_root_path(&iceoryx2::prelude::Path::new(folder.as_bytes()).map_err(|why| failed("a folder", why))?);
        let node = NodeBuilder::new().config(&config).signal_handling_mode(SignalHandlingMode::Disabled).create::<ipc::Service>();
        Ok(Maker { node: node.map_err(|why| failed("a node", why))?, events, patience })
    }
    fn samples(
        &self,
        way: &str,
        room: usize,
    ) -> Result<iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()>> {
        self.node
            .service_builder(&name(way)?)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(room)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
            .map_err(|why| failed("a service", why))
    }
    fn event(&self, way: &str) -> Result<iceoryx2::service::port_factory::event::PortFactory<ipc::Service>> {
        self.node.service_builder(&name(way)?).event().open_or_create().map_err(|why| failed("an event", why))
    }
    fn to(&self, way: &str, room: usize, largest: usize, notifier: Option<Arc<Notifier<ipc::Service>>>) -> Result<ToTopic> {
        let publisher = self
            .samples(way, room)?
            .publisher_builder()
            .initial_max_slice_len(largest)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(|why| failed("a publisher", why))?;
        Ok(ToTopic { publisher, notifier })
    }
    fn from(&self, way: &str, room: usize, listener: Option<Arc<Listener<ipc::Service>>>) -> Result<FromTopic> {
        let subscriber = self.samples(way, room)?.subscriber_builder().create().map_err(|why| failed("a subscriber", why))?;
        Ok(FromTopic { subscriber, listener, sample: None, patience: self.patience })
    }
    fn notifier(&self, way: &str) -> Result<Option<Arc<Notifier<ipc::Service>>>> {
        let notifier = self.events.then(|| self.event(way)?.notifier_builder().create().map_err(|why| failed("a notifier", why)));
        Ok(notifier.transpose()?.map(Arc::new))
    }
    fn listener(&self, way: &str) -> Result<Option<Arc<Listener<ipc::Service>>>> {
        let listener = self.events.then(|| self.event(way)?.listener_builder().create().map_err(|why| failed("a listener", why)));
        Ok(listener.transpose()?.map(Arc::new))
    }
}

impl ToTopic {
    fn notify(&self) -> Result<()> {
        if let Some(notifier) = &self.notifier {
            notifier.notify().map_err(|why| failed("an event", why))?;
        }
        Ok(())
    }
}

impl Sending for ToTopic {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let sample = self.publisher.loan_slice_uninit(message.len()).map_err(|why| failed("a loan", why))?;
        sample.write_from_slice(message).send().map_err(|why| failed("sending", why))?;
        self.notify()
    }
    fn bulk(&mut self, _: &[u8]) -> Result<()> {
        bail!("bulk goes by large samples")
    }
    fn end(&mut self) -> bool {
        // If it cannot be told, it is killed.
        let _ = self.send(&[0]);
        true
    }
}

impl FromTopic {
    /// The next sample, which is kept until the one after it.
    fn next(&mut self) -> Result<&Bytes> {
        self.sample = None;
        let start = Instant::now();
        loop {
            for _ in 0..1000 {
                if let Some(sample) = self.subscriber.receive().map_err(|why| failed("receiving", why))? {
                    return Ok(self.sample.insert(sample));
                }
                match &self.listener {
                    Some(listener) => {
                        listener.timed_wait(|_| (), Duration::from_secs(1)).map_err(|why| failed("waiting for an event", why))?;
                        if start.elapsed() > self.patience {
                            break;
                        }
                    }
                    None => std::hint::spin_loop(),
                }
            }
            ensure!(start.elapsed() < self.patience, "nothing came within {} s", self.patience.as_secs());
        }
    }
}

impl Receiving for FromTopic {
    fn receive(&mut self) -> Result<&[u8]> {
        let sample = self.next()?;
        // One byte is the last.
        Ok(if sample.len() < 8 { &[] } else { sample.payload() })
    }
}

/// Bulk has ends and a process of its own, for its samples are large.
struct Client {
    small: Box<dyn Peer>,
    large: ToTopic,
    sums: FromTopic,
    summer: Process,
    /// Where bytes are first that are copied in.
    copied: Option<Vec<u8>>,
    _meetings: [Meeting; 2],
}

/// A client's two ends and the process at the other.
fn ends(contestant: &Contestant, meeting: &Meeting, role: &str, room: usize, largest: usize) -> Result<(ToTopic, FromTopic, Process)> {
    let folder = meeting.folder.path().to_str().context("a temporary folder whose name is not text")?;
    let maker = Maker::new(folder, &meeting.prefix, contestant.name != POLL, patience(false))?;
    // All is there before the server is, so that nothing it sends is lost.
    let to = maker.to("there", room, largest, maker.notifier("there")?)?;
    let mut from = maker.from("back", SMALL, maker.listener("back")?)?;
    let server = Process::start(&["peer", contestant.name, role, folder, &meeting.prefix], Stdio::null(), Stdio::null())?;
    from.receive().context("waiting for the server's first words")?;
    Ok((to, from, server))
}

fn start(contestant: &Contestant) -> Result<Box<dyn Peer>> {
    let meetings = [Meeting::new()?, Meeting::new()?];
    let (to, from, server) = ends(contestant, &meetings[0], "small", SMALL, CALL_MAX)?;
    let small = Exchange::boxed(to, from, server);
    let (large, sums, summer) = ends(contestant, &meetings[1], "large", LARGE, LARGEST)?;
    let copied = (contestant.name == COPY).then(Vec::new);
    Ok(Box::new(Client { small, large, sums, summer, copied, _meetings: meetings }))
}

impl Drop for Client {
    fn drop(&mut self) {
        self.large.end();
        self.summer.end_by_itself();
    }
}

impl Peer for Client {
    fn pids(&self) -> Pids {
        let mut pids = self.small.pids();
        pids.servers.push(self.summer.pid());
        pids
    }
    fn calls(&mut self, count: usize, size: usize) -> Result<()> {
        self.small.calls(count, size)
    }
    fn stream(&mut self, count: usize, size: usize) -> Result<()> {
        self.small.stream(count, size)
    }
    fn bulk(&mut self, seed: u64, len: usize) -> Result<(u64, Duration)> {
        let start = if let Some(bytes) = &mut self.copied {
            bytes.resize(len, 0);
            fill(bytes, seed);
            let start = Instant::now();
            let sample = self.large.publisher.loan_slice_uninit(len).map_err(|why| failed("a loan", why))?;
            sample.write_from_slice(bytes).send().map_err(|why| failed("sending", why))?;
            start
        } else {
            let mut sample = self.large.publisher.loan_slice(len).map_err(|why| failed("a loan", why))?;
            fill(sample.payload_mut(), seed);
            let start = Instant::now();
            sample.send().map_err(|why| failed("sending", why))?;
            start
        };
        self.large.notify()?;
        let sum = self.sums.receive()?.try_into().map(u64::from_le_bytes).context("a sum has eight bytes")?;
        let took = start.elapsed();
        ensure!(sum == expected(seed, len), "{len} bytes did not arrive as they were sent");
        Ok((sum, took))
    }
}

fn serve_role(contestant: &Contestant, args: &[String]) -> Result<()> {
    let [role, folder, prefix] = args else { bail!("a role, a folder and the start of names are wanted") };
    let maker = Maker::new(folder, prefix, contestant.name != POLL, patience(true))?;
    let room = if role == "small" { SMALL } else { LARGE };
    let mut from = maker.from("there", room, maker.listener("there")?)?;
    let mut to = maker.to("back", SMALL, CALL_MAX, maker.notifier("back")?)?;
    to.send(&[0; 32])?;
    if role == "small" {
        return serve(&mut to, &mut from);
    }
    loop {
        let bytes = from.receive()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let sum = Sum::of(bytes);
        to.send(&sum.to_le_bytes())?;
    }
}
