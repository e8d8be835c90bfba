//! Messages waited for with `epoll`: on ports, on a set, beside threads that wait otherwise, whichever way messages take.

use std::time::Instant;

use libtask::{Disposition, Poller, PortSet, Received};
use rustix::event::{Timespec, epoll};
use umach_tests::{Chance, Mode, World};

use super::*;

/// Messages to each port.
const MESSAGES: u32 = 300;
const CALL: i32 = 10;
const TELL: i32 = 11;
const MORE: i32 = 12;

#[test]
fn event_loop_misses_no_message_whatever_way_it_comes() {
    for direct in [Direct::Off, Direct::Always, Direct::Random { seed: 5 }] {
        for mode in Mode::ALL {
            let world = World::start_with(*mode, &[], Some(direct));
            play(&world);
            world.end();
        }
    }
}

struct Loop {
    poller: Poller,
    epoll: std::os::fd::OwnedFd,
}

impl Loop {
    fn new(task: &Task) -> Loop {
        let poller = task.poller().expect("a poller");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("make an epoll");
        epoll::add(&epoll, &poller, epoll::EventData::new_u64(1), epoll::EventFlags::IN).expect("watch the poller");
        Loop { poller, epoll }
    }

    /// Whether it became readable within so many milliseconds.
    fn is_rung(&self, within: u32) -> bool {
        let mut events = Vec::with_capacity(1);
        let timeout = Timespec { tv_sec: (within / 1000).into(), tv_nsec: i64::from(within % 1000) * 1_000_000 };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).expect("wait") > 0
    }

    /// The next message of any of these.
    fn next(&self, ports: &[&ReceiveRight], set: &PortSet) -> Received {
        let end = Instant::now() + SOON;
        loop {
            let came = ports.iter().find_map(|port| port.try_receive().expect("receive"));
            if let Some(message) = came.or_else(|| set.try_receive().expect("receive")) {
                return message;
            }
            assert!(Instant::now() < end, "no message comes");
            if !self.poller.arm().expect("arm") {
                assert!(self.is_rung(20_000), "a message is there, perhaps, and nobody rings");
                self.poller.drain().expect("drain");
            }
        }
    }
}

fn right_of(world: &World, port: &ReceiveRight, to: &Task) -> SendRight {
    SendRight::from_raw(to, world.pass(port.task(), port.name(), Disposition::MakeSend, to))
}

fn play(world: &World) {
    let server = world.task("server");
    let ports: Vec<ReceiveRight> = (0..6).map(|_| server.new_port().expect("make a port")).collect();
    let [first, second, third, fourth, beside, after] = &ports[..] else { unreachable!() };
    let set = server.new_set().expect("make a set");
    set.insert(third).expect("join");
    set.insert(fourth).expect("join");
    let polled = Loop::new(&server);
    assert!(!polled.is_rung(0), "nothing was asked");
    thread::scope(|scope| {
        // A thread that waits by itself, and takes messages off the same rings.
        let waiter = scope.spawn(|| {
            for number in 0..MESSAGES {
                assert_eq!(beside.receive_within(SOON).expect("a message").body::<u32>().expect("a number"), number);
            }
        });
        for (at, port) in ports[..5].iter().enumerate() {
            let client = world.task("client");
            let (right, more) = (right_of(world, port, &client), right_of(world, if at == 4 { after } else { fourth }, &client));
            scope.spawn(move || {
                let mut chance = Chance::new(at as u64 + 1);
                for number in 0..MESSAGES {
                    // Slow enough that the loop sleeps, and at times not.
                    if chance.below(4) == 0 {
                        thread::sleep(Duration::from_micros(chance.below(2000)));
                    }
                    if at == 0 && number % 8 == 0 {
                        let answer = right.call_within(Message::new(CALL).body(&number), SOON).expect("an answer");
                        assert_eq!(answer.body::<u32>().expect("a number"), number);
                    } else if at == 1 && number % 16 == 0 {
                        // With a right, so through the kernel process in any case.
                        right.send_within(Message::new(TELL).body(&number).copy_send(&more), SOON).expect("send");
                    } else {
                        right.send_within(Message::new(TELL).body(&number), SOON).expect("send");
                    }
                    if at == 4 {
                        // On the same ring, behind what the waiting thread wakes for.
                        more.send_within(Message::new(TELL).body(&number), SOON).expect("send");
                    }
                }
                drop((right, more, client));
            });
        }
        let mut counts = [0; 6];
        while counts.iter().sum::<u32>() < 5 * MESSAGES {
            let mut message = polled.next(&[first, second, after], &set);
            let at = ports.iter().position(|port| message.came_on(port)).expect("one of the ports");
            assert_eq!(message.body::<u32>().expect("a number"), counts[at], "port {at}");
            counts[at] += 1;
            if message.id() == CALL {
                let number = counts[at] - 1;
                message.reply(Message::new(MORE).body(&number)).expect("answer");
            }
        }
        waiter.join().expect("the waiter");
    });
    // What is left of before may ring a few times; then nobody does.
    let quiet = (0..20).any(|_| {
        let armed = !polled.poller.arm().expect("arm");
        let quiet = armed && !polled.is_rung(50);
        polled.poller.drain().expect("drain");
        quiet
    });
    assert!(quiet, "it rings and rings, and nothing is there");
    drop((polled, set, ports, server));
}

#[test]
fn kernel_that_ends_is_told_to_who_polls() {
    let kernel = umach_tests::kernel::Kernel::start(Mode::Process, &[], Some(Direct::Always));
    let task = kernel.task("polls");
    let polled = Loop::new(&task);
    assert!(!polled.poller.arm().expect("arm"));
    kernel.kill();
    assert!(polled.is_rung(20_000), "nobody tells");
    assert!(matches!(polled.poller.drain(), Err(libtask::Error::KernelGone)));
}

/// A call by `mach_msg` whose time is up before the answer: that comes to the reply port some time, and rings.
#[test]
fn answer_that_comes_late_to_a_reply_port_is_rung_for() {
    use libtask::raw::MsgBuffer;
    use umach_abi::message::Options;
    for direct in [Direct::Off, Direct::Always] {
        let world = World::start_with(Mode::Process, &[], Some(direct));
        let (server, client) = (world.task("server"), world.task("client"));
        let port = server.new_port().expect("make a port");
        let right = right_of(&world, &port, &client);
        let reply = client.new_port().expect("make a port");
        let polled = Loop::new(&client);
        // From the second on, the library answers the reply port over the link.
        for round in 0..4 {
            let mut call = MsgBuffer::new(round).remote(right.name(), Disposition::CopySend).local(reply.name(), Disposition::MakeSendOnce);
            let options = Options::SEND | Options::RCV | Options::RCV_TIMEOUT;
            let code = client.raw().mach_msg(&mut call, options, 1000, reply.name(), 1, libtask::Name::NULL);
            assert_eq!(code, libtask::Code::MACH_RCV_TIMED_OUT, "round {round}");
            let mut request = port.receive_within(SOON).expect("a request");
            assert_eq!(request.id(), round);
            while polled.poller.arm().expect("arm") {
                assert!(reply.try_receive().expect("receive").is_none());
            }
            request.reply(Message::new(round + 100)).expect("answer");
            assert!(polled.is_rung(20_000), "round {round}: the answer is there and nobody rings");
            polled.poller.drain().expect("drain");
            let mut answer = reply.try_receive().expect("receive");
            let end = Instant::now() + SOON;
            while answer.is_none() {
                // It rang for something else.
                assert!(Instant::now() < end, "round {round}: no answer");
                if !polled.poller.arm().expect("arm") {
                    assert!(polled.is_rung(20_000), "round {round}: the answer is there and nobody rings");
                }
                answer = reply.try_receive().expect("receive");
            }
            assert_eq!(answer.expect("just seen").id(), round + 100);
        }
        drop((polled, reply, right, port, server, client));
        world.end();
    }
}

/// A thread sleeps on the ring, is woken by a message, takes it and goes; what came behind it is the event loop's.
#[test]
fn message_behind_one_that_another_thread_took_is_rung_for() {
    let world = World::start_with(Mode::Process, &[], Some(Direct::Always));
    let (server, client) = (world.task("server"), world.task("client"));
    let (beside, polled_port) = (server.new_port().expect("make a port"), server.new_port().expect("make a port"));
    let rights = [&beside, &polled_port].map(|port| right_of(&world, port, &client));
    let set = server.new_set().expect("make a set");
    let polled = Loop::new(&server);
    for number in 0..100u32 {
        while polled.poller.arm().expect("arm") {
            assert!(polled_port.try_receive().expect("receive").is_none(), "a message that was not sent");
        }
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| beside.receive_within(SOON).expect("a message"));
            // Long enough to be asleep, mostly.
            thread::sleep(Duration::from_millis(2));
            for right in &rights {
                right.send_within(Message::new(TELL).body(&number), SOON).expect("send");
            }
            assert_eq!(sleeper.join().expect("the sleeper").body::<u32>().expect("a number"), number);
        });
        assert!(polled.is_rung(20_000), "round {number}: a message is there and nobody rings");
        polled.poller.drain().expect("drain");
        assert_eq!(polled.next(&[&polled_port], &set).body::<u32>().expect("a number"), number);
    }
    drop((polled, set, rights, beside, polled_port, server, client));
    world.end();
}
