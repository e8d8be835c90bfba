//! Tracing: being told of the messages of others that pass the kernel process.
//!
//! It takes the host's control right, so no task can spy. While something is traced its messages go through the kernel process instead of over links; the
//! tasks notice nothing but the speed. The kernel process never waits for a tracer: what finds no room is counted, and the next batch says how much was missed.

use std::ops::RangeInclusive;
use std::time::Duration;

use umach_abi::Code;
use umach_abi::control::{HostTrace, HostTraceEnd};
use umach_abi::records::{TraceHead, TraceRight, TraceRow, trace};

use crate::control::HostControl;
use crate::error::{Error, Result};
use crate::receive::ReceiveRight;
use crate::received::Received;
use crate::right::SendRight;

/// Batches that wait for a tracer before the kernel process begins to count what it cannot tell.
const QUEUE: u32 = 128;

/// What a trace covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFilter {
    /// Tasks that send or receive. Without tasks and ports, everything.
    pub tasks: Vec<u64>,
    /// Ports that are sent to; the answers to what is sent there are told of too.
    pub ports: Vec<u64>,
    /// Ids of messages; their answers may have others.
    pub ids: RangeInclusive<i32>,
    /// How many bytes of each body are told, at most 4096.
    pub preview: u32,
    /// What goes over links goes on doing so, and is not seen.
    pub keep_routes: bool,
    /// Ports at which sender or receiver of a wanted message receives, and to which that message carries a right, are wanted too: the items of a stream, a file that was
    /// opened. At most 4096 at a time.
    pub follow: bool,
}

impl Default for TraceFilter {
    fn default() -> TraceFilter {
        TraceFilter { tasks: Vec::new(), ports: Vec::new(), ids: i32::MIN..=i32::MAX, preview: 512, keep_routes: false, follow: false }
    }
}

/// Something that happened: a row, the rights that it lists, and what is told of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRecord {
    /// What, when, who, where.
    pub row: TraceRow,
    /// Rights, memory and open files in the message.
    pub rights: Vec<TraceRight>,
    /// The beginning of the body; of a [`trace::TASK`] record, the task's label.
    pub body: Vec<u8>,
}

/// Some records, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceBatch {
    /// How many found no room since the trace began.
    pub lost: u64,
    /// Those that did.
    pub records: Vec<TraceRecord>,
}

/// A trace that is on. Ends when it is dropped.
#[derive(Debug)]
pub struct Tracer {
    host: SendRight,
    port: ReceiveRight,
    trace: u64,
}

impl HostControl {
    /// Begins to trace. `KERN_RESOURCE_SHORTAGE` if there are as many traces as there can be.
    ///
    /// ```
    /// use libtask::{Message, TraceFilter, run_local};
    /// use std::time::Duration;
    ///
    /// run_local(|kernel| {
    ///     let (task, looker) = (kernel.task("worker")?, kernel.task("looker")?);
    ///     let mut tracer = looker.host_control()?.trace(&TraceFilter::default())?;
    ///     let port = task.new_port()?;
    ///     port.make_send()?.send(Message::new(7).body(&"hello"))?;
    ///     let batch = tracer.next(Duration::from_secs(5))?.expect("a batch");
    ///     let sent = batch.records.iter().find(|record| record.row.id == 7).expect("the message");
    ///     assert_eq!(sent.row.sender, task.id());
    ///     Ok::<_, libtask::Error>(())
    /// }).unwrap();
    /// ```
    pub fn trace(&self, filter: &TraceFilter) -> Result<Tracer> {
        let host = self.right().duplicate();
        let port = host.task().new_port()?;
        port.set_queue_limit(QUEUE)?;
        let to = port.make_send()?;
        let who: Vec<u8> = filter.tasks.iter().chain(&filter.ports).flat_map(|id| id.to_le_bytes()).collect();
        let call = HostTrace {
            host: host.name(),
            port: to.name(),
            flags: if filter.keep_routes { trace::KEEP_ROUTES } else { 0 } | if filter.follow { trace::FOLLOW } else { 0 },
            first: *filter.ids.start(),
            last: *filter.ids.end(),
            preview: filter.preview,
            tasks: filter.tasks.len() as u32,
            who: &who,
        };
        let trace = host.task().ask_on("tracing messages", &host.held, &call, |answer, _| answer.trace)?;
        Ok(Tracer { host, port, trace })
    }
}

impl Tracer {
    /// Waits for the next batch; `None` if none came in time.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<TraceBatch>> {
        match self.port.receive_within(timeout) {
            Ok(message) => read(&message).map(Some),
            Err(error) if error.is_timed_out() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends the trace, and gives what had not been read.
    pub fn end(self) -> Result<TraceBatch> {
        let mut all = TraceBatch { lost: self.stop()?, records: Vec::new() };
        while let Some(message) = self.port.try_receive()? {
            all.records.append(&mut read(&message)?.records);
        }
        Ok(all)
    }

    fn stop(&self) -> Result<u64> {
        let call = HostTraceEnd { host: self.host.name(), trace: self.trace };
        self.host.task().ask_on("ending a trace", &self.host.held, &call, |answer, _| answer.lost)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It is over already, or ends with its port.
        let _ = self.stop();
    }
}

/// The kernel process is trusted; that a message is its own is seen by its sender.
fn read(message: &Received) -> Result<TraceBatch> {
    let wrong = || Error::mach(Code::KERN_INVALID_ARGUMENT, "reading a message of a trace");
    let body = message.raw_body();
    let head = TraceHead::read(body).filter(|_| message.id() == trace::BATCH && message.sender().task == 0).ok_or_else(wrong)?;
    let mut rest = &body[TraceHead::SIZE..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let row = TraceRow::read(rest).ok_or_else(wrong)?;
        let (one, more) = rest.split_at_checked((row.size as usize).max(TraceRow::SIZE)).ok_or_else(wrong)?;
        let rights = (row.listed as usize).checked_mul(TraceRight::SIZE).ok_or_else(wrong)?;
        let (rights, body) = one[TraceRow::SIZE..].split_at_checked(rights).ok_or_else(wrong)?;
        let body = body.get(..row.preview as usize).ok_or_else(wrong)?;
        records.push(TraceRecord { row, rights: TraceRight::all(rights).collect(), body: body.to_vec() });
        rest = more;
    }
    Ok(TraceBatch { lost: head.lost, records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, Message, run_local};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn task_without_the_control_right_cannot_trace() {
        run_local(|kernel| {
            let task = kernel.task("first")?;
            let (child, _control) = task.spawn_local("child")?;
            assert_eq!(child.host_control().unwrap_err().code(), Code::KERN_NO_ACCESS);
            // The host right, which every task has, does not do.
            let host: Host = child.host()?;
            let pretended = HostControl::from_right(host.into_right());
            let error = pretended.trace(&TraceFilter::default()).unwrap_err();
            assert_eq!(error.code(), Code::KERN_INVALID_HOST, "{error}");
            Ok::<_, Error>(())
        })
        .unwrap();
    }

    #[test]
    fn call_and_answer_are_told_in_order_and_the_rest_at_the_end() {
        run_local(|kernel| {
            let (server, looker) = (kernel.task("server")?, kernel.task("looker")?);
            let port = server.new_port()?;
            server.set_bootstrap(&port.make_send()?)?;
            let (client, _control) = server.spawn_local("client")?;
            let id = client.id();
            let mut tracer = looker.host_control()?.trace(&TraceFilter { tasks: vec![id], ..TraceFilter::default() })?;
            let calls = std::thread::spawn(move || {
                let right = client.bootstrap().unwrap();
                for n in 0..10u32 {
                    right.call_within(Message::new(40).body(&n), PATIENCE).unwrap();
                }
                client
            });
            for _ in 0..10 {
                let mut call = port.receive_within(PATIENCE)?;
                call.reply(Message::new(140)).unwrap();
            }
            let client = calls.join().unwrap();
            let mut ids = Vec::new();
            let first = tracer.next(PATIENCE)?.expect("something");
            let rest = tracer.end()?;
            assert_eq!(rest.lost, 0);
            let records: Vec<_> = first.records.into_iter().chain(rest.records).collect();
            for record in records.iter().filter(|record| record.row.kind == trace::SENT) {
                ids.push(record.row.id);
            }
            assert_eq!(ids, [40, 140].repeat(10));
            let named = records.iter().filter(|record| record.row.kind == trace::TASK);
            let labels: Vec<_> = named.map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
            assert_eq!(labels, ["client", "server"]);
            assert!(records.windows(2).all(|pair| pair[0].row.time <= pair[1].row.time));
            drop(client);
            Ok::<_, Error>(())
        })
        .unwrap();
    }
}
