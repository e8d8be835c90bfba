//! Receive rights travel round a ring of five processes, with messages in them, while three others keep sending to them and some members
//! die. No message is lost unless its port died, each sender's order is kept, and each sender is told of each death exactly once.

use std::time::{Duration, Instant};

use libtask::{Child, Message, Notification, PortOptions, ReceiveRight, SendRight};
use umach_tests::World;
use umach_tests::scenario::{BATON, Baton, FINISH, NUMBER, NUMBERS, PORTS, RIGHTS, Report, SAFE, SOON, baton, pass_on};

use crate::stage::{Stage, ended, succeeded};

const MEMBERS: usize = 5;
const SENDERS: usize = 3;

/// What is known so far.
#[derive(Default)]
struct Book {
    /// What was taken: port, hop, sender, number. Reports of different members may overtake each other; the hop tells their order.
    taken: Vec<(usize, u32, usize, u32)>,
    /// The last hop seen, by port.
    hop: [u32; PORTS],
    sent: [Option<Vec<u32>>; SENDERS],
    deaths: [Option<Vec<u32>>; SENDERS],
    /// Ports that came back after the last hop.
    home: [Option<ReceiveRight>; SAFE],
    /// Ports that came back because their holder died.
    rescued: usize,
}

impl Book {
    /// Numbers seen, by port and sender; each sender's must be in order, from hop to hop.
    fn seen(&mut self) -> [[u32; SENDERS]; PORTS] {
        self.taken.sort_by_key(|&(port, hop, ..)| (port, hop));
        let mut seen = [[0; SENDERS]; PORTS];
        for &(port, hop, sender, number) in &self.taken {
            let next = &mut seen[port][sender];
            assert_eq!(number, *next, "port {port}, sender {sender}, hop {hop}: a message is lost, doubled or out of order");
            *next += 1;
        }
        seen
    }
    fn note(&mut self, report: Report) {
        match report {
            Report::Took { port, hop, sender, number } => {
                let last = &mut self.hop[port as usize];
                *last = hop.max(*last);
                self.taken.push((port as usize, hop, sender as usize, number));
            }
            Report::Sent(sender, counts) => self.sent[sender as usize] = Some(counts),
            Report::Deaths(sender, counts) => self.deaths[sender as usize] = Some(counts),
            other => panic!("{other:?}"),
        }
    }
    fn note_all(&mut self, stage: &Stage) {
        while let Some((report, _)) = stage.overhear() {
            self.note(report);
        }
    }
    /// Takes what is in the ports that are back for good. Everything that members took from them was reported before.
    fn empty_home(&mut self) {
        for port in 0..SAFE {
            while let Some(message) = self.home[port].as_ref().and_then(|right| right.try_receive().expect("receive")) {
                assert_eq!(message.id(), NUMBER);
                let (sender, number): (u32, u32) = message.body().expect("a number");
                self.taken.push((port, u32::MAX, sender as usize, number));
            }
        }
    }
}

pub(crate) fn play(world: &World) {
    let stage = Stage::new(world);
    // Where each safe port comes back to. Its own context says which one it is: the traveller's is cleared whenever it moves.
    let homes: Vec<ReceiveRight> = (0..SAFE)
        .map(|port| stage.task.new_port_with(PortOptions { context: port as u64, ..PortOptions::default() }).expect("make a port"))
        .collect();
    let home = stage.task.new_set().expect("make a set");
    homes.iter().for_each(|port| home.insert(port).expect("join a set"));
    let way_home = homes[0].make_send().expect("make a send right");
    let ports: Vec<ReceiveRight> = (0..PORTS)
        .map(|_| stage.task.new_port_with(PortOptions { queue_limit: Some(16), ..PortOptions::default() }).expect("make a port"))
        .collect();
    let to_ports: Vec<SendRight> = ports.iter().map(|port| port.make_send().expect("make a send right")).collect();

    let cast = |role: &str, n: usize| stage.cast_with_inbox(&[role, &n.to_string()], Some(&way_home));
    let (members, ring): (Vec<Child>, Vec<SendRight>) = (0..MEMBERS).map(|n| cast("member", n)).unzip();
    let (senders, inboxes): (Vec<Child>, Vec<SendRight>) = (0..SENDERS).map(|n| cast("sender", n)).unzip();
    let give = |to: &[SendRight], rights: &[SendRight]| {
        for inbox in to {
            inbox.send_within(Message::new(RIGHTS).rights(rights.iter().map(SendRight::duplicate)), SOON).expect("give rights");
        }
    };
    give(&ring, &ring);
    give(&inboxes, &to_ports);
    // The director must not be among those whose rights keep anything alive or are told.
    drop(to_ports);
    for (number, port) in ports.into_iter().enumerate() {
        start(&ring, &homes, port, Baton { port: number as u32, hop: 0 });
    }

    let mut book = Book::default();
    let end = Instant::now() + 2 * SOON;
    while book.sent.iter().any(Option::is_none) || book.home.iter().any(Option::is_none) {
        assert!(Instant::now() < end, "sent {:?}, taken {}, hops {:?}", book.sent, book.taken.len(), book.hop);
        // What a holder reported before it let a port go is there before the port is, so: the ports first, then the reports.
        let returned = home.receive_within(Duration::from_millis(2));
        book.note_all(&stage);
        match returned {
            Ok(message) => came_home(message, &mut book, &ring, &homes),
            Err(error) => assert!(error.is_timed_out(), "{error}"),
        }
        book.empty_home();
    }
    book.note_all(&stage);
    book.empty_home();

    // All that must be told has been, before anybody is asked; what comes now would be too much.
    world.settle();
    for inbox in &inboxes {
        inbox.send_within(Message::new(FINISH), SOON).expect("end a sender");
    }
    senders.into_iter().for_each(|sender| succeeded("a sender", sender));
    book.note_all(&stage);
    let mut dead = 0;
    for (n, mut member) in members.into_iter().enumerate() {
        if ring[n].try_send(Message::new(FINISH)).is_ok() {
            succeeded("a member", member);
        } else {
            assert!(!ended(&mut member).success(), "member {n} is gone, yet it was not killed");
            dead += 1;
        }
    }
    assert!((2..MEMBERS).contains(&dead), "{dead} members died");
    assert!(book.rescued > 0, "no safe port was held by a member that died");
    let all_seen = book.seen();
    for (sender, (sent, deaths)) in book.sent.iter().zip(&book.deaths).enumerate() {
        let (sent, deaths) = (sent.as_ref().expect("said"), deaths.as_ref().expect("said"));
        for port in 0..PORTS {
            let (seen, sent) = (all_seen[port][sender], sent[port]);
            if port < SAFE {
                assert_eq!((seen, sent, deaths[port]), (NUMBERS, NUMBERS, 0), "port {port}, sender {sender}: everything arrives");
            } else {
                assert!(seen <= sent, "port {port}, sender {sender}: {sent} were sent and {seen} seen");
                assert_eq!(deaths[port], 1, "port {port}, sender {sender}: told of its death once");
            }
        }
    }
}

/// Sends a port on its way.
fn start(ring: &[SendRight], homes: &[ReceiveRight], port: ReceiveRight, at: Baton) {
    if let Some(home) = homes.get(at.port as usize) {
        assert!(port.on_destroyed(home).expect("ask for port-destroyed").is_none());
    }
    pass_on(ring, at.port as usize, baton(at).move_receive(port)).expect("start a port");
}

fn came_home(mut message: libtask::Received, book: &mut Book, ring: &[SendRight], homes: &[ReceiveRight]) {
    match message.take_notification() {
        Some(Notification::PortDestroyed) => {
            let right = message.take_receive(0).expect("a receive right");
            let port = message.context() as usize;
            book.rescued += 1;
            start(ring, homes, right, Baton { port: port as u32, hop: book.hop[port] + 1 });
        }
        Some(other) => panic!("{other:?} was not asked for"),
        None => {
            assert_eq!(message.id(), BATON);
            let Baton { port, .. } = message.body().expect("a baton");
            book.home[port as usize] = Some(message.take_receive(0).expect("a receive right"));
        }
    }
}
