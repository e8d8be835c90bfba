//! What the shell's tests share: a kernel of their own, and tasks that speak raw packets to it.
//!
//! Every wait has the same generous deadline, so a test that hangs fails instead, and no test passes or fails by being fast.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, send, sendmsg, socket_with, socketpair,
};
use tempfile::TempDir;
use umach_abi::control::{Call, EVENTS_WAIT, Head, Hello, Msg, PortAllocate, PortInsertRight, Reply, answer};
use umach_abi::limits::PACKET_MAX;
use umach_abi::message::{Header, Options};
use umach_abi::records::Frame;
use umach_abi::{Code, Disposition, Features, Name, RightKind, VERSION};

/// No wait of any test is longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `what` holds.
pub fn eventually(name: &str, mut what: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !what() {
        assert!(Instant::now() < end, "never happened: {name}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the descriptor can be read; false if it cannot within `time`.
pub fn readable(fd: impl AsFd, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            other => return other.expect("poll") > 0,
        }
    }
}

/// A new temporary directory that only its owner can enter.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("umach-shell").permissions(fs::Permissions::from_mode(0o700)).tempdir().expect("temporary directory")
}

/// A kernel process of this test's own; killed when dropped.
pub struct Kernel {
    pub child: Child,
    pub dir: TempDir,
}

impl Kernel {
    /// At a socket in a new directory.
    pub fn start(args: &[&str]) -> Kernel {
        Self::start_in(directory(), args)
    }

    pub fn start_in(dir: TempDir, args: &[&str]) -> Kernel {
        let socket = dir.path().join("socket");
        let mut all = vec!["--socket", socket.to_str().expect("path")];
        all.extend_from_slice(args);
        let mut child = command(dir.path(), &all).stdin(Stdio::null()).spawn().expect("start umachd");
        await_ready(&mut child, dir.path());
        Kernel { child, dir }
    }

    /// A private one: the first task's lane is the only way in.
    pub fn start_private(args: &[&str]) -> (Kernel, Wire) {
        let dir = directory();
        let (ours, theirs) = pair();
        let mut all = vec!["--lane", "0"];
        all.extend_from_slice(args);
        let mut child = command(dir.path(), &all).stdin(Stdio::from(theirs)).spawn().expect("start umachd");
        await_ready(&mut child, dir.path());
        (Kernel { child, dir }, Wire::new(ours))
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("signal the kernel");
    }
    /// A connection that has said nothing.
    pub fn connect(&self) -> Wire {
        Wire::connect(&self.socket())
    }
    /// A task.
    pub fn task(&self) -> Task {
        self.connect().hello()
    }
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("log")
    }
    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the kernel ends", || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("just seen")
    }
    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("descriptors").count()
    }
    /// Its open descriptors once it has closed what it was about to close.
    pub fn settled_descriptors(&self) -> usize {
        let mut seen = self.descriptors();
        eventually("the number of descriptors is stable", || {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.descriptors();
            std::mem::replace(&mut seen, now) == now
        });
        seen
    }
    /// A number of /proc/PID/status.
    pub fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("key of /proc/PID/status");
        line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("number")
    }
    /// Ticks of processor time it has used.
    pub fn ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        let fields: Vec<&str> = text.rsplit(')').next().expect("stat").split_whitespace().collect();
        fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum()
    }
    /// Proves that it still serves others.
    pub fn still_serves(&self) {
        let task = self.task();
        task.exchange_with_itself();
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the kernel's log:\n{}---", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
    }
}

/// `umachd`, logging to a file of the directory and telling on its output when it is ready.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).expect("log file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_umachd"));
    command.args(args).args(["--ready-fd", "1"]).env("UMACH_LOG", "debug").stdout(Stdio::piped()).stderr(log);
    command
}

/// Waits until it says so.
pub fn await_ready(child: &mut Child, dir: &Path) {
    let out = child.stdout.take().expect("piped");
    let mut line = [0; 16];
    let ready = readable(&out, DEADLINE) && rustix::io::read(&out, &mut line) == Ok(6) && &line[..6] == b"ready\n";
    if !ready {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the kernel did not become ready: {}", fs::read_to_string(dir.join("log")).unwrap_or_default());
    }
}

pub fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("socket pair")
}

/// A packet from the kernel.
pub struct Packet {
    /// Without the bit that says that there are events to pull.
    pub head: Head,
    pub events: bool,
    pub body: Vec<u8>,
    pub attached: Vec<OwnedFd>,
}

impl Packet {
    /// The fields of a successful answer.
    pub fn ok<C: Call>(&self) -> C::Answer<'_> {
        assert_eq!(self.head.status, Code::SUCCESS, "answer of request {}", self.head.op);
        self.fields::<C>()
    }
    pub fn fields<C: Call>(&self) -> C::Answer<'_> {
        assert_eq!(self.head.op, C::OP);
        Reply::take(&self.body).expect("fields of the answer")
    }
}

/// A socket to a kernel, and nothing else.
pub struct Wire {
    pub socket: OwnedFd,
}

impl Wire {
    pub fn new(socket: OwnedFd) -> Wire {
        Wire { socket }
    }
    pub fn connect(path: &Path) -> Wire {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("socket");
        connect(&socket, &SocketAddrUnix::new(path).expect("address")).expect("connect");
        Wire { socket }
    }
    /// Sends bytes as they are.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        send(&self.socket, bytes, SendFlags::NOSIGNAL).map(drop)
    }
    /// Sends bytes and descriptors.
    pub fn send_with(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
    }
    /// The next packet; `None` if the kernel has closed.
    pub fn receive(&self) -> Option<Packet> {
        assert!(readable(&self.socket, DEADLINE), "no answer");
        let mut bytes = vec![0; PACKET_MAX + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) if got.bytes > 0 => got.bytes,
            Ok(_) | Err(Errno::CONNRESET | Errno::PIPE) => return None,
            Err(why) => panic!("receive: {why}"),
        };
        let mut attached = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                attached.extend(fds);
            }
        }
        let (mut head, body) = Head::read(&bytes[..got]).expect("an answer's head");
        let events = head.op & EVENTS_WAIT != 0;
        head.op &= !EVENTS_WAIT;
        assert_eq!(head.attached as usize, attached.len(), "descriptors as counted");
        Some(Packet { head, events, body: body.to_vec(), attached })
    }
    /// The kernel has closed it, whatever it said before.
    pub fn closed(&self) {
        while self.receive().is_some() {}
    }
    /// Whether the kernel has closed it, seen without reading what is there.
    pub fn hung_up(&self) -> bool {
        let mut set = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        poll(&mut set, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") > 0
    }
    /// No answer, for a while.
    pub fn silent(&self) {
        assert!(!readable(&self.socket, Duration::from_millis(50)), "an answer came where none was due");
    }
    pub fn request<C: Call>(&self, request: &C, seq: u32) {
        let mut bytes = Vec::new();
        request.encode(seq, &mut bytes);
        self.send(&bytes).expect("send a request");
    }
    pub fn answer(&self) -> Packet {
        self.receive().expect("the kernel closed the lane")
    }
    pub fn call<C: Call>(&self, request: &C) -> Packet {
        self.request(request, 77);
        let packet = self.answer();
        assert_eq!((packet.head.op, packet.head.seq), (C::OP, 77));
        packet
    }
    /// Says Hello.
    pub fn hello(self) -> Task {
        self.hello_with(Features::all() - Features::DIRECT_PLANE)
    }
    /// Says Hello, and what it can do.
    pub fn hello_with(self, features: Features) -> Task {
        let packet = self.call(&Hello { version: VERSION, features: features.bits() });
        let hello = packet.ok::<Hello>();
        Task { wire: self, hello }
    }
}

/// A connection that has said Hello.
pub struct Task {
    pub wire: Wire,
    pub hello: answer::Hello,
}

impl std::ops::Deref for Task {
    type Target = Wire;
    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl Task {
    pub fn me(&self) -> Name {
        self.hello.task_self
    }
    /// A new port; the name has a send right too.
    pub fn port(&self) -> Name {
        let made = self.call(&PortAllocate { task: self.me(), right: RightKind::Receive as u32, name: Name::NULL });
        let name = made.ok::<PortAllocate>().name;
        self.call(&PortInsertRight { task: self.me(), name, right: name, disposition: Disposition::MakeSend as u32 })
            .ok::<PortInsertRight>();
        name
    }
    /// A port right after Hello, sending to it and receiving from it.
    pub fn exchange_with_itself(&self) {
        let port = self.port();
        assert_eq!(self.post(port, b"ping", 0), Code::SUCCESS);
        let (header, body) = self.take(port);
        assert_eq!((header.id, &body[..]), (4711, &b"ping"[..]));
    }
    /// Sends a message with this body; `flags` as in the request.
    pub fn post(&self, to: Name, body: &[u8], flags: u32) -> Code {
        let message = message(to, body);
        self.call(&send_request(&message, flags)).head.status
    }
    /// Receives a message without descriptors: header and body.
    pub fn take(&self, port: Name) -> (Header, Vec<u8>) {
        message_of(&self.call(&receive_request(port, 0)))
    }
}

/// A message to a send right, with a body and no descriptors.
pub fn message(to: Name, body: &[u8]) -> Vec<u8> {
    assert_eq!(body.len() % 4, 0);
    let bits = Header::make_bits(Disposition::CopySend as u8, 0, false);
    let mut message = Header { bits, remote: to, id: 4711, ..Header::default() }.to_bytes().to_vec();
    message.extend_from_slice(body);
    message
}

pub fn send_request(message: &[u8], flags: u32) -> Msg<'_> {
    let options = Options::SEND.bits();
    Msg {
        options,
        flags,
        receive: Name::NULL,
        limit: 0,
        route: 0,
        number: 0,
        count: 0,
        send_size: message.len() as u32,
        annex: 0,
        tail: message,
    }
}

pub fn receive_request(port: Name, flags: u32) -> Msg<'static> {
    let options = Options::RCV.bits();
    Msg { options, flags, receive: port, limit: 60_000, route: 0, number: 0, count: 0, send_size: 0, annex: 0, tail: &[] }
}

/// The one message of an answer.
pub fn message_of(packet: &Packet) -> (Header, Vec<u8>) {
    let frames = packet.ok::<Msg<'_>>().frames;
    let frame = Frame::read(frames).expect("a frame");
    let message = &frames[Frame::SIZE..Frame::SIZE + frame.size as usize];
    (Header::read(message).expect("a header"), message[24..].to_vec())
}
