//! Links that nothing uses are given back when there are too few, on a kernel in this process that allows a task two.

use std::time::{Duration, Instant};

use libtask::local::{Direct, Limits};
use libtask::{LocalKernel, Message, ReceiveRight, SendRight, Task};

const SOON: Duration = Duration::from_secs(30);

struct Play {
    kernel: LocalKernel,
    server: Task,
    port: ReceiveRight,
}

/// A client, and what it has sent.
struct Client {
    task: Task,
    right: SendRight,
    inbox: ReceiveRight,
    sent: u64,
}

impl Play {
    fn new() -> Play {
        let kernel = LocalKernel::with_direct(Limits { task_links: 2, user_factor: 16, ..Limits::default() }, Direct::Always);
        let server = kernel.task("server").unwrap();
        let port = server.new_port().unwrap();
        server.set_bootstrap(&port.make_send().unwrap()).unwrap();
        Play { kernel, server, port }
    }
    fn client(&self, label: &str) -> Client {
        let (task, _control) = self.server.spawn_local(label).unwrap();
        let (right, inbox) = (task.bootstrap().unwrap(), task.new_port().unwrap());
        Client { task, right, inbox, sent: 0 }
    }
    /// One message, received.
    fn talk(&self, client: &mut Client) {
        client.sent += 1;
        client.right.send_within(Message::new(1).body(&client.sent), SOON).unwrap();
        let got = self.port.receive_within(SOON).unwrap();
        assert_eq!((got.sender().task, got.body::<u64>().unwrap()), (client.task.id(), client.sent));
    }
    fn linked(&self, client: &Client) -> bool {
        let links = self.server.host_control().unwrap().links().unwrap();
        links.iter().any(|row| row.flags & 1 == 0 && [row.first, row.second].contains(&client.task.id()))
    }
    /// The client goes on talking until it has a link. The others say nothing, but look for messages, which nobody sends them.
    fn talk_until_linked(&self, client: &mut Client, others: &[&Client]) {
        let end = Instant::now() + SOON;
        while !self.linked(client) {
            assert!(Instant::now() < end, "no link");
            (0..20).for_each(|_| self.talk(client));
            others.iter().for_each(|other| assert!(other.inbox.try_receive().unwrap().is_none()));
        }
    }
}

#[test]
fn links_of_silent_clients_go_and_come_again() {
    let play = Play::new();
    let [mut first, mut second, mut third] = ["first", "second", "third"].map(|label| play.client(label));
    assert!(play.port.try_receive().unwrap().is_none());
    (0..10).for_each(|_| play.talk(&mut first));
    (0..10).for_each(|_| play.talk(&mut second));
    play.talk(&mut third);
    assert!(play.linked(&first) && play.linked(&second) && !play.linked(&third));
    play.talk_until_linked(&mut third, &[&first, &second]);
    // More than one has gone, for others to come.
    let end = Instant::now() + SOON;
    while play.linked(&first) || play.linked(&second) {
        assert!(Instant::now() < end, "a link stays that nobody uses");
        play.talk(&mut third);
        [&first, &second].iter().for_each(|other| assert!(other.inbox.try_receive().unwrap().is_none()));
    }
    (0..100).for_each(|_| play.talk(&mut second));
    assert!(play.linked(&second) && play.linked(&third) && !play.linked(&first));
    (0..100).for_each(|_| play.talk(&mut first));
    play.kernel.check().unwrap();
}

#[test]
fn link_whose_memory_is_lent_stays() {
    let play = Play::new();
    let [mut lender, mut silent, mut third] = ["lender", "silent", "third"].map(|label| play.client(label));
    assert!(play.port.try_receive().unwrap().is_none());
    (0..10).for_each(|_| play.talk(&mut lender));
    (0..10).for_each(|_| play.talk(&mut silent));
    let mut loan = lender.right.loan(100_000);
    loan.fill(7);
    assert!(loan.is_in_place());
    lender.right.send_within(Message::new(2).loan(loan), SOON).unwrap();
    let mut got = play.port.receive_within(SOON).unwrap();
    let lease = got.take_lease(0).unwrap();
    play.talk_until_linked(&mut third, &[&lender, &silent]);
    assert!(play.linked(&lender), "the server reads there");
    assert_eq!((lease.is_in_place(), lease.to_vec()), (true, vec![7; 100_000]));
    let end = Instant::now() + SOON;
    while play.linked(&silent) {
        assert!(Instant::now() < end, "a link stays that nobody uses");
        play.talk(&mut third);
        assert!(silent.inbox.try_receive().unwrap().is_none());
    }
    drop(lease);
    play.talk_until_linked(&mut silent, &[&lender]);
    assert!(!play.linked(&lender));
    play.talk(&mut lender);
}
