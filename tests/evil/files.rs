//! Lies about open files. What the liar sent is one end of a connection, or many duplicates of it: when nobody has any of them the other end is told,
//! so nothing can be left behind unnoticed.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use libtask::{Code, Error, Message, SendRight};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};
use umach_abi::control::{FileLane, file_packet};
use umach_tests::{Chance, eventually};

use crate::peer::{Evil, fields};
use crate::{GIVE, IGNORE, SOON, Stage, TAKE};

/// An evil sender with a lane to the victim.
struct Liar<'s> {
    stage: &'s Stage<'s>,
    evil: Evil,
    lane: u64,
    end: OwnedFd,
    /// What it sends, again and again.
    file: OwnedFd,
}

impl Liar<'_> {
    fn write(&self, kind: u32, number: u32, copies: usize) -> Result<(), Errno> {
        self.write_bytes(&[kind.to_le_bytes(), number.to_le_bytes()].concat(), copies)
    }

    /// A packet with so many duplicates of the file.
    fn write_bytes(&self, bytes: &[u8], copies: usize) -> Result<(), Errno> {
        let fds: Vec<BorrowedFd<'_>> = vec![self.file.as_fd(); copies];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if copies > 0 {
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        sendmsg(&self.end, &[IoSlice::new(bytes)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
    }

    /// What the victim makes of a message with this number.
    fn taken(&mut self, number: u32) -> Result<OwnedFd, Error> {
        let lane = self.lane;
        let status = self.evil.mail_file(TAKE, lane, number);
        assert_eq!(status, Code::SUCCESS);
        self.stage.files.recv_timeout(SOON).expect("the victim goes on")
    }

    fn lost(&mut self, number: u32) {
        let lost = self.taken(number).expect_err("no file was sent");
        assert!(matches!(lost, Error::File { .. }), "{lost}");
    }

    /// The victim has given the lane up.
    fn expect_closed(&self) {
        eventually("the lane is closed", || self.write(file_packet::VOID, u32::MAX, 0) == Err(Errno::PIPE));
    }
}

type Lie = (&'static str, fn(&mut Liar<'_>));

const LIES: &[Lie] = &[
    ("a number that was never written", |liar| liar.lost(7)),
    ("the number of another file", |liar| {
        liar.write(file_packet::FILE, 3, 1).unwrap();
        liar.lost(4);
        liar.taken(3).expect("this one was written");
        liar.lost(3);
    }),
    ("a number that is void", |liar| {
        liar.write(file_packet::FILE, 3, 1).unwrap();
        liar.write(file_packet::VOID, 3, 0).unwrap();
        liar.write(file_packet::FILE, 4, 1).unwrap();
        liar.taken(4).expect("a file");
        liar.lost(3);
    }),
    ("a lane that is not its own", |liar| {
        let (own, honest) = (liar.lane, liar.stage.honest.duplicate());
        let (one, other) = UnixStream::pair().unwrap();
        honest.send_within(Message::new(TAKE).file(one), SOON).expect("an honest file");
        liar.stage.files.recv_timeout(SOON).expect("the victim goes on").expect("an honest file");
        drop(other);
        for lane in (1 << 32..1 << 33).step_by(1 << 32).flat_map(|base: u64| base..base + 64).filter(|lane| *lane != own) {
            liar.lane = lane;
            liar.lost(1);
        }
        liar.lane = own;
    }),
    ("one number twice", |liar| {
        liar.write(file_packet::FILE, 3, 1).unwrap();
        liar.write(file_packet::FILE, 3, 1).unwrap();
        liar.lost(4);
        liar.expect_closed();
        liar.lost(3);
    }),
    ("files without end", |liar| {
        let mut number = 1;
        while liar.write(file_packet::FILE, number, 1).is_ok() {
            number += 1;
            assert!(number < 10_000, "the lane takes everything");
        }
        liar.lost(number);
        liar.expect_closed();
    }),
    ("many files in one packet", |liar| {
        liar.write(file_packet::FILE, 1, 253).unwrap();
        liar.lost(1);
        liar.expect_closed();
    }),
    ("two files in one packet", |liar| {
        liar.write(file_packet::FILE, 1, 2).unwrap();
        liar.lost(1);
        liar.expect_closed();
    }),
    ("a packet without a file", |liar| {
        liar.write(file_packet::FILE, 1, 0).unwrap();
        liar.lost(1);
        liar.expect_closed();
    }),
    ("a void packet with a file", |liar| {
        liar.write(file_packet::VOID, 1, 1).unwrap();
        liar.lost(1);
        liar.expect_closed();
    }),
    ("a packet of another size", |liar| {
        liar.write_bytes(&file_packet::FILE.to_le_bytes(), 1).unwrap();
        liar.lost(1);
        liar.expect_closed();
    }),
    ("garbage", |liar| {
        let mut chance = Chance::new(7);
        for round in 0..50u32 {
            let bytes: Vec<u8> = (0..1 + chance.below(40)).map(|_| chance.below(256) as u8).collect();
            if liar.write_bytes(&bytes, chance.below(4) as usize).is_err() {
                break;
            }
            liar.lost(round);
        }
        liar.expect_closed();
    }),
    ("an empty packet", |liar| {
        liar.write_bytes(&[], 1).unwrap();
        liar.write(file_packet::FILE, 1, 1).unwrap();
        liar.lost(1);
    }),
    ("more than one lane after the other", |liar| {
        for _ in 0..40 {
            let (lane, end) = liar.evil.file_lane(liar.lane);
            (liar.lane, liar.end) = (lane, end.expect("a fresh one"));
            liar.write(file_packet::FILE, 1, 1).unwrap();
            liar.taken(1).expect("a file");
        }
    }),
    ("lanes that nobody hears of", |liar| {
        // Faster than the victim looks, perhaps: then the inbox is full, and the liar is refused.
        for _ in 0..300 {
            let (name, except) = (liar.evil.victim, liar.lane);
            let packet = liar.evil.call(&FileLane { name, except });
            match packet.status {
                Code::SUCCESS => liar.lane = fields::<FileLane>(&packet).lane,
                status => assert_eq!(status, Code::KERN_RESOURCE_SHORTAGE),
            }
        }
        // The victim was told, and makes room.
        refresh(liar.stage);
    }),
    ("its end, closed", |liar| {
        liar.write(file_packet::FILE, 1, 1).unwrap();
        liar.write(file_packet::FILE, 2, 1).unwrap();
        let (one, _) = UnixStream::pair().unwrap();
        liar.end = one.into();
        liar.taken(2).expect("what was written is there");
        liar.lost(3);
        liar.taken(1).expect("what was written is there");
    }),
    ("files that nobody wants", |liar| {
        for number in 0..200 {
            liar.write(file_packet::FILE, number, 1).unwrap();
            let lane = liar.lane;
            let end = Instant::now() + SOON;
            while liar.evil.mail_file(IGNORE, lane, number) != Code::SUCCESS {
                assert!(Instant::now() < end, "the victim does not receive");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }),
];

pub(crate) fn suffer(stage: &Stage<'_>) {
    for (name, tell) in LIES {
        let (file, mut other) = UnixStream::pair().unwrap();
        let mut evil = Evil::child_of(&stage.victim);
        let (lane, end) = evil.file_lane(0);
        let mut liar = Liar { stage, evil, lane, end: end.expect("a lane"), file: file.into() };
        eprintln!("{name}");
        tell(&mut liar);
        stage.still_serves();
        drop(liar);
        // The dead liar's lane is closed when another task's first file comes.
        refresh(stage);
        other.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(other.read(&mut [0]).unwrap_or_else(|why| panic!("{name}: a file is left behind: {why}")), 0);
        stage.still_serves();
    }
    stubborn_file(stage);
    unread_files(stage);
}

/// A new task sends the victim a file.
fn refresh(stage: &Stage<'_>) {
    eventually("an honest file arrives", || {
        let child = crate::child_of(&stage.victim);
        let (one, _other) = UnixStream::pair().unwrap();
        let sent = child.bootstrap().expect("a right").send_within(Message::new(TAKE).file(one), SOON);
        sent.is_ok_and(|()| {
            stage.files.recv_timeout(SOON).expect("the victim goes on").expect("an honest file");
            true
        })
    });
}

/// A connection with data that nobody reads and a linger time of an hour: whoever closes it last waits.
fn stubborn_file(stage: &Stage<'_>) {
    let mut evil = Evil::child_of(&stage.victim);
    let (lane, end) = evil.file_lane(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stubborn = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unread, _) = listener.accept().unwrap();
    stubborn.set_nonblocking(true).unwrap();
    sockopt::set_socket_linger(&stubborn, Some(Duration::from_secs(3600))).unwrap();
    while std::io::Write::write(&mut &stubborn, &[0; 65536]).is_ok() {}
    let mut liar = Liar { stage, evil, lane, end: end.unwrap(), file: stubborn.into() };
    liar.write(file_packet::FILE, 1, 1).unwrap();
    // The last one is the victim's.
    let (one, _) = UnixStream::pair().unwrap();
    liar.file = one.into();
    let lane = liar.lane;
    assert_eq!(liar.evil.mail_file(IGNORE, lane, 1), Code::SUCCESS);
    stage.still_serves();
    // It lets go when the connection breaks.
    drop(unread);
}

/// A receiver that takes no file out: its sender is refused, keeps its files, and goes on with others.
fn unread_files(stage: &Stage<'_>) {
    let mut evil = Evil::child_of(&stage.victim);
    let inbox = evil.file_inbox();
    assert_eq!(evil.mail(GIVE, true), Code::SUCCESS);
    let to_evil = stage.given.recv_timeout(SOON).expect("the right arrives");
    let (file, mut other) = UnixStream::pair().unwrap();
    let file = OwnedFd::from(file);
    let refused = send_until_refused(&to_evil, &file);
    stage.still_serves();
    drop(inbox);
    let (sent, failed) = send_until_refused(&to_evil, &file);
    assert!(sent <= refused.0, "{sent} more");
    assert!(failed.message.is_some(), "{}", failed.error);
    drop((refused, failed, evil, file));
    eventually("its port is dead", || to_evil.send(Message::new(1)).is_err());
    other.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(other.read(&mut [0]).expect("a file is left behind"), 0);
}

fn send_until_refused(to: &SendRight, file: &OwnedFd) -> (u32, libtask::SendError) {
    for sent in 0..1000 {
        if let Err(failed) = to.send_within(Message::new(1).file(file.try_clone().unwrap()), Duration::from_millis(20)) {
            return (sent, failed);
        }
    }
    panic!("a receiver that does not read takes everything");
}
