//! Threads of one task inside the kernel at once, what may cross threads, and forks.

use std::time::Duration;

use libtask::{Error, Message, Next, run_local};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn everything_may_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<libtask::Task>();
    crosses::<libtask::SendRight>();
    crosses::<libtask::SendOnceRight>();
    crosses::<libtask::ReceiveRight>();
    crosses::<libtask::PortSet>();
    crosses::<libtask::DeadName>();
    crosses::<libtask::DeadNameRequest>();
    crosses::<libtask::Message>();
    crosses::<libtask::Received>();
    crosses::<libtask::ReplyRight>();
    crosses::<libtask::Notification>();
    crosses::<libtask::Memory>();
    crosses::<libtask::Region>();
    crosses::<libtask::RegionWriter>();
    crosses::<libtask::SharedRegion>();
    crosses::<libtask::TaskControl>();
    crosses::<libtask::Child>();
    crosses::<libtask::Error>();
    crosses::<libtask::SendError>();
    crosses::<libtask::raw::Space<'static>>();
}

#[test]
fn threads_call_servers_of_their_own_task_at_once() {
    const SERVERS: usize = 4;
    const CLIENTS: usize = 12;
    const CALLS: u32 = 100;
    run_local(|kernel| {
        let task = kernel.task("many").unwrap();
        let port = task.new_port().unwrap();
        let to = port.make_send().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..SERVERS {
                scope.spawn(|| {
                    port.serve(|request| match request.body::<u32>() {
                        Ok(n) => Next::Reply(Message::new(0).body(&(n + 1))),
                        Err(_) => Next::Stop,
                    })
                    .unwrap();
                });
            }
            let clients: Vec<_> = (0..CLIENTS as u32)
                .map(|client| {
                    let to = &to;
                    scope.spawn(move || {
                        for i in 0..CALLS {
                            let n = client * 1000 + i;
                            assert_eq!(to.call_within(Message::new(1).body(&n), SOON).unwrap().body::<u32>().unwrap(), n + 1);
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            for _ in 0..SERVERS {
                to.send_within(Message::new(2), SOON).unwrap();
            }
        });
        kernel.check().unwrap();
    });
}

#[test]
fn threads_more_than_lanes_wait_their_turn() {
    const THREADS: usize = 90; // a task has at most 60 lanes
    run_local(|kernel| {
        let server = kernel.task("server").unwrap();
        let port = server.new_port().unwrap();
        server.set_bootstrap(&port.make_send().unwrap()).unwrap();
        let (crowd, _control) = server.spawn_local("crowd").unwrap();
        let to = crowd.bootstrap().unwrap();
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| to.call_within(Message::new(1), SOON).unwrap().id())).collect();
            for _ in 0..THREADS {
                let mut request = port.receive_within(SOON).unwrap();
                // What is answered at once goes on while every lane that may block does.
                drop(crowd.new_port().unwrap());
                request.reply(Message::new(7)).unwrap();
            }
            for caller in callers {
                assert_eq!(caller.join().unwrap(), 7);
            }
        });
        kernel.check().unwrap();
    });
}

#[test]
fn order_is_kept_per_sender_while_many_send() {
    const SENDERS: i32 = 6;
    const EACH: u32 = 200;
    run_local(|kernel| {
        let task = kernel.task("ordered").unwrap();
        let port = task.new_port().unwrap();
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let to = port.make_send().unwrap();
                scope.spawn(move || {
                    for n in 0..EACH {
                        to.send_within(Message::new(sender).body(&n), SOON).unwrap();
                    }
                });
            }
            let mut next = [0; SENDERS as usize];
            let mut left = SENDERS as u32 * EACH;
            while left > 0 {
                for message in port.receive_batch_within(16, SOON).unwrap() {
                    let expected = &mut next[message.id() as usize];
                    assert_eq!(message.body::<u32>().unwrap(), *expected);
                    *expected += 1;
                    left -= 1;
                }
            }
        });
    });
}

#[test]
fn task_with_few_lanes_allowed_still_works_and_says_when_not() {
    let limits = libtask::local::Limits { task_lanes: 2, ..Default::default() };
    let kernel = libtask::LocalKernel::with_limits(limits);
    let task = kernel.task("narrow").unwrap();
    let port = task.new_port().unwrap();
    let to = port.make_send().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| port.receive_within(SOON).unwrap().id());
        while task.control().unwrap().info().unwrap().blocked_receives == 0 {
            std::thread::yield_now();
        }
        // One lane is blocked and the other must not be.
        let error = port.receive_within(Duration::from_millis(20)).unwrap_err();
        assert!(error.is_timed_out(), "{error}");
        to.try_send(Message::new(3)).unwrap();
        assert_eq!(waiting.join().unwrap(), 3);
    });
    let limits = libtask::local::Limits { task_lanes: 1, ..Default::default() };
    let kernel = libtask::LocalKernel::with_limits(limits);
    let task = kernel.task("single").unwrap();
    let error = task.new_port().unwrap().receive_within(SOON).unwrap_err();
    assert!(matches!(error, Error::Mach { .. }) && !error.is_timed_out(), "{error}");
}
