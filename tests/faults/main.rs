//! The kernel process runs with system calls that fail, with every errno that a hostile or unlucky world can cause at them. Whatever a
//! conversation meets meanwhile (a refusal, a lost connection), it ends within its deadline, and once the failures stop everything works
//! again; the kernel process never ends, never panics, and keeps no descriptor.
//!
//! `strace` makes the calls fail (`inject=…:error=…:when=FIRST..LAST+STEP`), from the first call after start-up on. Where it is missing or may not
//! trace, the tests say so and pass.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtask::{Message, Next, Task};
use rustix::process::{Pid, Signal, kill_process};
use umach_tests::crash::{can_trace, pattern};
use umach_tests::kernel::umachd;

const SOON: Duration = Duration::from_secs(10);
/// Conversations until the failures have been used up.
const CONVERSATIONS: usize = 60;

/// A call, how it fails, and at which of its invocations.
type Fault = (&'static str, &'static str, &'static str);

#[test]
fn sends_that_fail_lose_nothing_of_others() {
    survive(&[
        ("sendto", "EAGAIN", "2..40+3"),
        ("sendto", "ENOBUFS", "2..40+3"),
        ("sendto", "ENOMEM", "3..40+4"),
        ("sendto", "EINTR", "2..40+2"),
        ("sendto", "EPIPE", "5..20+5"),
        ("sendmsg", "EAGAIN", "1..9+2"),
        ("sendmsg", "ENOBUFS", "1..9+2"),
        ("sendmsg", "ENOMEM", "1..9+3"),
        ("sendmsg", "ETOOMANYREFS", "1..9+2"),
        ("sendmsg", "EINTR", "1..9+2"),
    ]);
}

#[test]
fn receives_and_waits_that_fail_are_tried_again() {
    survive(&[
        ("recvfrom", "EINTR", "1..40+2"),
        ("recvfrom", "EAGAIN", "1..40+3"),
        ("recvfrom", "ENOMEM", "2..40+3"),
        ("recvfrom", "ENOBUFS", "2..40+3"),
        ("recvfrom", "ECONNRESET", "4..30+9"),
        ("epoll_wait", "EINTR", "2..60+3"),
        ("epoll_pwait2", "EINTR", "2..60+3"),
    ]);
}

#[test]
fn connections_that_cannot_be_taken_come_later() {
    survive(&[
        ("accept4", "EMFILE", "1..4"),
        ("accept4", "ENFILE", "1..4"),
        ("accept4", "ENOMEM", "1..3"),
        ("accept4", "ENOBUFS", "1..3"),
        ("accept4", "EINTR", "1..5+2"),
        ("accept4", "ECONNABORTED", "1..5+2"),
        ("getsockopt", "ENOMEM", "2..6+2"),
        ("setsockopt", "ENOMEM", "12..30+3"),
        ("epoll_ctl", "ENOMEM", "3..9+2"),
        ("epoll_ctl", "ENOSPC", "3..9+3"),
    ]);
}

#[test]
fn objects_that_cannot_be_made_are_refused() {
    survive(&[
        ("socketpair", "EMFILE", "2..6"),
        ("socketpair", "ENOMEM", "2..6+2"),
        ("memfd_create", "EMFILE", "1..3"),
        ("memfd_create", "ENOMEM", "1..5+2"),
        ("ftruncate", "ENOSPC", "1..3"),
        ("ftruncate", "EINTR", "1..3"),
        ("fcntl", "EINTR", "2..8+2"),
        ("fstat", "ENOMEM", "2..6+2"),
    ]);
}

/// A lane that is used much asks for memory. Without it everything goes on over its socket; when there is some again, a lane gets it.
#[test]
fn lanes_that_get_no_memory_go_on_without() {
    if !can_trace() {
        return;
    }
    for (call, errno) in [("memfd_create", "EMFILE"), ("memfd_create", "ENOMEM"), ("ftruncate", "ENOSPC")] {
        if let Err(error) = use_lanes_much((call, errno, "1..3")) {
            panic!("{call}, {errno}: {error:#}");
        }
    }
}

fn use_lanes_much(fault: Fault) -> Result<()> {
    let mut kernel = Traced::start_with(fault, &["--seccomp-bpf", "-f", "-e", "trace=memfd_create,ftruncate,fcntl"])?;
    let end = Instant::now() + 3 * SOON;
    let mut tasks = Vec::new();
    while kernel.refused() < 3 || kernel.made() == 0 {
        kernel.ensure_alive()?;
        ensure!(Instant::now() < end, "{} refused, {} made:\n{}", kernel.refused(), kernel.made(), kernel.log());
        let Ok(task) = Task::connect(&kernel.socket()) else { continue };
        for _ in 0..2000 {
            drop(task.new_port().context("a request on a lane without memory")?);
        }
        tasks.push(task);
    }
    drop(tasks);
    kernel.ensure_alive()?;
    ensure!(!kernel.log().contains("panicked"), "{}", kernel.log());
    Ok(())
}

fn survive(faults: &[Fault]) {
    if !can_trace() {
        return;
    }
    for &fault in faults {
        if let Err(error) = survive_one(fault) {
            panic!("{fault:?}: {error:#}");
        }
    }
}

/// A kernel process under `strace`.
struct Traced {
    child: Child,
    directory: tempfile::TempDir,
}

impl Traced {
    fn start(fault: Fault) -> Result<Traced> {
        Traced::start_with(fault, &[])
    }

    fn start_with((call, errno, when): Fault, options: &[&str]) -> Result<Traced> {
        let directory = tempfile::Builder::new().prefix("umach-faults").permissions(fs::Permissions::from_mode(0o700)).tempdir()?;
        let log = fs::File::create(directory.path().join("log"))?;
        let mut command = Command::new("strace");
        // With -D the tracer is the grandchild, so that the process started here is the kernel's.
        let trace = if options.is_empty() { "/dev/null".into() } else { directory.path().join("trace") };
        command.args(["-D", "-qq", "-o"]).arg(trace).args(options);
        command.args(["-e", &format!("inject={call}:error={errno}:when={when}")]);
        command.arg(umachd()).arg("--socket").arg(directory.path().join("socket"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env_remove("UMACH_LANE").env_remove("UMACH_LOG");
        Ok(Traced { child: command.spawn().context("start strace")?, directory })
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("log")).unwrap_or_default()).into_owned()
    }

    /// Memory of lanes that could not be made, and that was made.
    fn refused(&self) -> usize {
        self.trace().matches("(INJECTED)").count()
    }

    fn made(&self) -> usize {
        let trace = self.trace();
        let sealed = |line: &&str| line.contains("F_ADD_SEALS") && line.ends_with("= 0");
        trace.lines().filter(sealed).count()
    }

    fn trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.path().join("trace")).unwrap_or_default()).into_owned()
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_nonzero()))?.count())
    }

    fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the kernel process ended: {ended:?}\n{}", self.log());
        Ok(())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn survive_one(fault: Fault) -> Result<()> {
    let mut kernel = Traced::start(fault)?;
    let end = Instant::now() + SOON;
    while Task::connect(&kernel.socket()).is_err() {
        kernel.ensure_alive()?;
        ensure!(Instant::now() < end, "the kernel process is not there:\n{}", kernel.log());
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut last = Ok(());
    let mut good = 0;
    for _ in 0..CONVERSATIONS {
        let started = Instant::now();
        last = converse(&kernel);
        kernel.ensure_alive()?;
        ensure!(started.elapsed() < 4 * SOON, "a conversation took {:?}, ending with {last:?}", started.elapsed());
        good = if last.is_ok() { good + 1 } else { 0 };
        if good == 3 {
            break;
        }
    }
    last.with_context(|| format!("nothing works any more:\n{}", kernel.log()))?;
    // Everybody has hung up: as many descriptors as a fresh one has, and those of the look itself.
    let end = Instant::now() + SOON;
    let fresh = 12;
    while kernel.descriptors()? > fresh {
        ensure!(Instant::now() < end, "{} descriptors are left", kernel.descriptors()?);
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(kernel.pid(), Signal::TERM)?;
    let end = Instant::now() + SOON;
    let status = loop {
        if let Some(status) = kernel.child.try_wait()? {
            break status;
        }
        ensure!(Instant::now() < end, "it does not end on SIGTERM");
        std::thread::sleep(Duration::from_millis(1));
    };
    ensure!(status.success() && !kernel.log().contains("panicked"), "it ended with {status}:\n{}", kernel.log());
    Ok(())
}

/// Two tasks that do a bit of everything. Any step may fail; none may hang, and what arrives must be what was sent.
fn converse(kernel: &Traced) -> Result<()> {
    let server = Task::connect(&kernel.socket())?;
    let client = Task::connect(&kernel.socket())?;
    let port = server.new_port()?;
    let host = server.host_control()?;
    host.set_bootstrap(Some(&port.make_send()?))?;
    drop(host);
    let third = Task::connect(&kernel.socket())?;
    let service = third.bootstrap()?;
    let serving = std::thread::spawn(move || {
        let mut left = 3;
        while left > 0 {
            let Ok(mut request) = port.receive_within(Duration::from_millis(300)) else { return };
            left -= 1;
            let body = request.bytes().to_vec();
            let memory = request.memory(0).map(|memory| memory.to_vec());
            let next = match memory {
                Ok(memory) => Next::Reply(Message::new(1).bytes(&body).memory(memory)),
                Err(_) => Next::Reply(Message::new(1).bytes(&body)),
            };
            if let Next::Reply(message) = next {
                let _ = request.reply(message);
            }
        }
    });
    let talk = || -> Result<()> {
        let answer = service.call_within(Message::new(1).bytes(b"small"), SOON)?;
        ensure!(answer.bytes() == b"small");
        let mut answer = service.call_within(Message::new(1).bytes(b"large").memory(pattern(100_000)), SOON)?;
        ensure!(*answer.memory(0)? == pattern(100_000)[..], "memory arrived wrong");
        let extra = client.new_port()?;
        extra.make_send()?.send_within(Message::new(1).make_send(&extra), SOON)?;
        let mut carried = extra.receive_within(SOON)?;
        drop(carried.take_send(0)?);
        Ok(())
    };
    let talked = talk();
    drop((service, third, client));
    serving.join().ok().context("the server panicked")?;
    talked
}
