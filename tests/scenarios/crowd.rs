//! A server with a thousand clients in ten processes, and links for no more. Once a few others come and go on calling, the links of those that do
//! nothing are given back: the server, the clients and the kernel process have their memory again. Then all of them call once more, and each client's
//! numbers follow each other from beginning to end.

use std::fs;
use std::time::{Duration, Instant};

use libtask::{Message, SendRight};
use umach_tests::kernel::Limit;
use umach_tests::scenario::{FINISH, NUMBER, Report, SOON};
use umach_tests::{World, eventually};

use crate::stage::{Stage, succeeded};

const PROCESSES: usize = 10;
const CLIENTS: usize = 1000;
/// Come later, and go on calling.
const NEWCOMERS: usize = 5;
/// All that the server may have: the clients and the director. Its user has enough for the clients' halves, and for links with the director.
pub(crate) const LIMITS: &[Limit] = &[("task-links", CLIENTS as u64 + 1), ("user-factor", 8)];
/// Links that the server has in the end: those that are used, and those of clients that were told to call only now.
const FEW: usize = 4 * NEWCOMERS;
/// How long links are idle before they are let go of, and some more.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn play(world: &World) {
    let stage = Stage::new(world);
    let (server, to_server) = stage.cast_with_inbox(&["counter"], None);
    let crowds: Vec<_> = (0..PROCESSES).map(|_| stage.cast(&["crowd", &(CLIENTS / PROCESSES).to_string()], Some(&to_server))).collect();
    let clients = gather(&stage, CLIENTS);
    // The first call makes the route, the second one goes over it.
    call(&stage, &clients, 2);
    assert!(links_of(server.pid()) >= CLIENTS, "each client has its link");
    let most: usize = crowds.iter().map(|crowd| links_of(crowd.pid())).sum();
    let open = world.kernel().descriptors().expect("a kernel process");

    let late = stage.cast(&["crowd", &NEWCOMERS.to_string()], Some(&to_server));
    let newcomers = gather(&stage, NEWCOMERS);
    let end = Instant::now() + PATIENCE;
    while links_of(server.pid()) > FEW || links_of(late.pid()) < NEWCOMERS {
        assert!(Instant::now() < end, "{} links are left in the server", links_of(server.pid()));
        call(&stage, &newcomers, 20);
    }
    eventually("the clients have unmapped their sides", || {
        crowds.iter().map(|crowd| links_of(crowd.pid())).sum::<usize>() + CLIENTS <= most + FEW
    });
    eventually("the kernel process has closed its descriptors", || {
        world.kernel().descriptors().expect("a kernel process") + CLIENTS <= open + 2 * FEW
    });

    call(&stage, &clients, 3);
    call(&stage, &newcomers, 3);
    for client in clients.iter().chain(&newcomers).chain([&to_server]) {
        client.send_within(Message::new(FINISH), SOON).expect("send");
    }
    crowds.into_iter().chain([late]).for_each(|crowd| succeeded("a crowd", crowd));
    succeeded("the server", server);
}

fn gather(stage: &Stage, count: usize) -> Vec<SendRight> {
    let ready = |_| {
        let (report, mut message) = stage.hear();
        assert!(matches!(report, Report::Ready(_)), "{report:?}");
        message.take_send(0).expect("a right to an inbox")
    };
    (0..count).map(ready).collect()
}

/// Has each call so often, and waits until all have.
fn call(stage: &Stage, clients: &[SendRight], times: u32) {
    for client in clients {
        client.send_within(Message::new(NUMBER).body(&times), SOON).expect("send");
    }
    for _ in clients {
        let (report, _) = stage.hear();
        assert!(matches!(report, Report::Sent(..)), "{report:?}");
    }
}

/// Links that a process has mapped.
fn links_of(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("look at an actor");
    maps.lines().filter(|line| line.contains("memfd:umach-link")).count()
}
