//! A task that speaks to the kernel process in bare packets and owns its half of a link: it can write there what it likes.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libtask::{Name, RightKind, Task};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use umach_abi::control::{
    Call, EVENTS_WAIT, Events, FileInbox, FileLane, Head, Hello, LinkArena, LinkArenaReady, Msg, PortAllocate, Reply, msg_flags,
};
use umach_abi::limits::PACKET_MAX;
use umach_abi::link::{self, record};
use umach_abi::message::{Descriptor, Header, Options};
use umach_abi::records::{Event, event};
use umach_abi::{Code, Disposition, Features, VERSION};
use umach_link::{Mapping, Memory, Outgoing, RecordHead};

const SOON: Duration = Duration::from_secs(20);

/// An answer.
pub(crate) struct Packet {
    pub(crate) status: Code,
    pub(crate) body: Vec<u8>,
    attached: Vec<OwnedFd>,
}

/// The evil task.
pub(crate) struct Evil {
    lane: OwnedFd,
    /// Its right to the victim's port.
    pub(crate) victim: Name,
    /// A port of its own.
    pub(crate) own: Name,
    pub(crate) link: Option<Link>,
    /// Events that have come, in order.
    pub(crate) events: Vec<Event>,
}

/// Its link with the victim.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) memory: Arc<Mapping>,
    /// The half that it should write.
    pub(crate) mine: usize,
}

impl Link {
    /// Writes a word of the own half.
    pub(crate) fn set(&self, at: usize, value: u32) {
        self.memory.word(self.mine * link::HALF + at).store(value, Ordering::SeqCst);
    }
    /// Writes a word of the victim's half, which it should not.
    pub(crate) fn set_theirs(&self, at: usize, value: u32) {
        self.memory.word((1 - self.mine) * link::HALF + at).store(value, Ordering::SeqCst);
    }
    pub(crate) fn get(&self, at: usize) -> u32 {
        self.memory.word(self.mine * link::HALF + at).load(Ordering::SeqCst)
    }
    pub(crate) fn get_theirs(&self, at: usize) -> u32 {
        self.memory.word((1 - self.mine) * link::HALF + at).load(Ordering::SeqCst)
    }
    /// Wakes whoever sleeps on a word of either half.
    pub(crate) fn wake(&self, at: usize) {
        self.memory.wake(self.mine * link::HALF + at);
        self.memory.wake((1 - self.mine) * link::HALF + at);
    }
    /// Publishes a record, right or wrong, at the start of a ring that nothing has been written to.
    pub(crate) fn records(&self, heads: &[[u32; 6]], tail: u32) {
        let start = self.get(link::TAIL);
        for (n, head) in heads.iter().enumerate() {
            let at = (start as usize + n * link::RECORD_HEAD) & (link::RING_SIZE - 1);
            for (word, value) in head.iter().enumerate() {
                self.set(link::RING + (at + 4 * word) % link::RING_SIZE, *value);
            }
        }
        self.set(link::TAIL, tail);
        self.wake(link::TAIL);
    }
    /// An honest producer of the own ring.
    pub(crate) fn outgoing(&self) -> Outgoing<Mapping> {
        Outgoing::new(self.memory.clone(), self.mine)
    }
    /// Publishes a plain message properly.
    pub(crate) fn push(&self, out: &mut Outgoing<Mapping>, head: RecordHead, body: &[u8]) -> bool {
        match out.push(head, &[body]) {
            Ok(bell) => {
                bell.ring(&*self.memory);
                self.wake(link::TAIL);
                true
            }
            Err(_) => false,
        }
    }
}

/// Memory that the evil task lends from, and goes on writing.
pub(crate) struct Lent(OwnedFd);

impl Lent {
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        rustix::io::pwrite(&self.0, bytes, at).expect("write the memory");
    }
}

/// The head of a plain message on a route.
pub(crate) fn plain(route: u32) -> RecordHead {
    RecordHead { kind: record::MESSAGE, route, id: 1, ..RecordHead::default() }
}

impl Evil {
    /// A child of the victim's.
    pub(crate) fn child_of(victim: &Task) -> Evil {
        let space = victim.raw();
        let (control, _, lane) = space.task_create(0, "evil").expect("make a task");
        space.port_deallocate(control).expect("drop a control right");
        let lane = lane.expect("a lane");
        let mut evil = Evil { lane, victim: Name::NULL, own: Name::NULL, link: None, events: Vec::new() };
        let hello = Hello { version: VERSION, features: Features::all().bits() };
        let answer = evil.call(&hello);
        evil.victim = fields::<Hello>(&answer).bootstrap;
        let answer = evil.call(&PortAllocate { task: Name::NULL, right: RightKind::Receive as u32, name: Name::NULL });
        evil.own = fields::<PortAllocate>(&answer).name;
        evil
    }

    /// Asks the kernel process. An empty answer with a strange status if it has ended the connection.
    pub(crate) fn call<C: Call>(&mut self, request: &C) -> Packet {
        let mut packet = Vec::new();
        request.encode(9, &mut packet);
        if send(&self.lane, &packet, SendFlags::NOSIGNAL).is_err() {
            return gone();
        }
        self.answer()
    }

    fn answer(&mut self) -> Packet {
        let end = Instant::now() + SOON;
        loop {
            assert!(Instant::now() < end, "the kernel process does not answer the evil task");
            let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
            if matches!(poll(&mut [PollFd::new(&self.lane, PollFlags::IN)], Some(&timeout)), Ok(ready) if ready > 0) {
                break;
            }
        }
        let mut bytes = vec![0; PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = match recvmsg(self.lane.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) if got.bytes > 0 => got.bytes,
            Ok(_) | Err(Errno::CONNRESET | Errno::PIPE) => return gone(),
            Err(why) => panic!("receive: {why}"),
        };
        let mut attached = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                attached.extend(fds);
            }
        }
        let (head, body) = Head::read(&bytes[..got]).expect("an answer's head");
        assert_eq!(head.op & EVENTS_WAIT & !EVENTS_WAIT, 0);
        Packet { status: head.status, body: body.to_vec(), attached }
    }

    /// Pulls events, and takes the link if it comes.
    pub(crate) fn pull(&mut self) {
        let packet = self.call(&Events {});
        if !packet.status.is_ok() {
            return;
        }
        let mut attached = packet.attached.into_iter();
        let events: Vec<Event> = Event::all(umach_abi::control::answer::Events::take(&packet.body).expect("events").events).collect();
        for event in &events {
            let came = event::attaches(event.kind).then(|| attached.next()).flatten();
            if let (event::LINK, Some(fd)) = (event.kind, came) {
                let memory = Arc::new(Mapping::new(fd).expect("map a link"));
                self.link = Some(Link { id: event.link, memory, mine: event.index as usize & 1 });
            }
        }
        self.events.extend(events);
    }

    /// Pulls until an event of this kind has come.
    pub(crate) fn await_event(&mut self, kind: u32) -> Event {
        let end = Instant::now() + SOON;
        loop {
            if let Some(event) = self.events.iter().find(|event| event.kind == kind) {
                return *event;
            }
            assert!(Instant::now() < end, "event {kind} does not come: {:?}", self.events);
            self.pull();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Makes memory to lend from over the link: its mapping, not sealed against other writers as it should be.
    pub(crate) fn arena(&mut self, size: u64, show: bool) -> Lent {
        let link = self.link.as_ref().expect("a link").id;
        let mut made = self.call(&LinkArena { link, size });
        let arena = fields::<LinkArena>(&made).arena;
        if show {
            fields::<LinkArenaReady>(&self.call(&LinkArenaReady { link, arena }));
        }
        Lent(made.attached.pop().expect("memory"))
    }

    /// Sends a message through the kernel process, with a send right to the own port if `right`.
    pub(crate) fn mail(&mut self, id: i32, right: bool) -> Code {
        let mut bytes = Vec::new();
        let bits = Header::make_bits(Disposition::CopySend as u8, 0, right);
        let size = 24 + if right { 16 } else { 0 };
        bytes.extend_from_slice(&Header { bits, size, remote: self.victim, id, ..Header::default() }.to_bytes());
        if right {
            bytes.extend_from_slice(&1u32.to_le_bytes());
            let at = bytes.len();
            bytes.resize(at + 12, 0);
            Descriptor::Port { name: self.own, disposition: Disposition::MakeSend as u8 }.write_at(&mut bytes, at);
        }
        let request = message(Options::SEND.bits(), msg_flags::TRY_SEND, Name::NULL, &bytes);
        self.call(&request).status
    }

    /// A file lane to the victim: its number, and the end that this task owns if it is fresh. `except`: a lane that is given up.
    pub(crate) fn file_lane(&mut self, except: u64) -> (u64, Option<OwnedFd>) {
        let name = self.victim;
        let mut packet = self.call(&FileLane { name, except });
        (fields::<FileLane>(&packet).lane, packet.attached.pop())
    }

    /// Says that it takes files.
    pub(crate) fn file_inbox(&mut self) -> OwnedFd {
        self.call(&FileInbox {}).attached.pop().expect("an inbox")
    }

    /// Sends a message that is said to have a file of this number on this lane.
    pub(crate) fn mail_file(&mut self, id: i32, lane: u64, number: u32) -> Code {
        let bits = Header::make_bits(Disposition::CopySend as u8, 0, true);
        let mut bytes = Header { bits, size: 44, remote: self.victim, id, ..Header::default() }.to_bytes().to_vec();
        bytes.extend_from_slice(&1u32.to_le_bytes());
        Descriptor::File { lane, number }.push(&mut bytes);
        self.call(&message(Options::SEND.bits(), msg_flags::TRY_SEND, Name::NULL, &bytes)).status
    }

    /// Receives on the own port, if there is something.
    pub(crate) fn receive(&mut self) -> Option<Header> {
        let own = self.own;
        let packet = self.call(&message(Options::RCV.bits(), msg_flags::TRY_RECEIVE, own, &[]));
        let frames = umach_abi::control::answer::Msg::take(&packet.body).ok()?.frames;
        Header::read(frames.get(umach_abi::records::Frame::SIZE..)?)
    }

    /// Answers a call that came as mail.
    pub(crate) fn answer_mail(&mut self, to: Name) {
        let bits = Header::make_bits(Disposition::MoveSendOnce as u8, 0, false);
        let bytes = Header { bits, size: 24, remote: to, id: 7, ..Header::default() }.to_bytes();
        self.call(&message(Options::SEND.bits(), msg_flags::TRY_SEND, Name::NULL, &bytes));
    }
}

fn gone() -> Packet {
    Packet { status: Code::KERN_TERMINATED, body: Vec::new(), attached: Vec::new() }
}

pub(crate) fn fields<C: Call>(packet: &Packet) -> C::Answer<'_> {
    assert_eq!(packet.status, Code::SUCCESS, "request {}", C::OP);
    Reply::take(&packet.body).expect("the answer's fields")
}

pub(crate) fn message(options: u32, flags: u32, receive: Name, tail: &[u8]) -> Msg<'_> {
    let send_size = tail.len() as u32;
    Msg { options, flags, receive, limit: 60_000, route: 0, number: 0, count: 1, send_size, annex: 0, tail }
}
