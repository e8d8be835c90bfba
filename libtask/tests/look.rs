//! Looking at links from outside, by those who may and by others.

use std::time::Duration;

use libtask::local::{Direct, Limits};
use libtask::{Code, LocalKernel, Message, ReceiveRight, SendRight, Task};
use umach_abi::link::counter;

const DEADLINE: Duration = Duration::from_secs(30);

struct Pair {
    host: Task,
    server: Task,
    port: ReceiveRight,
    client: Task,
    right: SendRight,
    _kernel: LocalKernel,
}

/// Two tasks with a route from one to the other, over which nothing was sent.
fn pair() -> Pair {
    let kernel = LocalKernel::with_direct(Limits::default(), Direct::Always);
    let host = kernel.task("host").unwrap();
    let server = kernel.task("server").unwrap();
    let port = server.new_port().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let right = client.bootstrap().unwrap();
    // A port has to have been received from before there are routes to it.
    assert!(port.receive_within(Duration::ZERO).unwrap_err().is_timed_out());
    right.send_within(Message::new(0), DEADLINE).unwrap();
    assert_eq!(port.receive_within(DEADLINE).unwrap().id(), 0);
    Pair { host, server, port, client, right, _kernel: kernel }
}

#[test]
fn link_and_route_are_seen_with_what_is_on_its_way() {
    const COUNT: usize = 3;
    let pair = pair();
    for n in 0..COUNT {
        pair.right.send_within(Message::new(1).body(&(n as u64)), DEADLINE).unwrap();
    }
    let host = pair.host.host_control().unwrap();
    let (links, routes) = (host.links().unwrap(), host.routes().unwrap());
    let ([link], [route]) = (&links[..], &routes[..]) else { panic!("{links:?} {routes:?}") };
    assert_eq!((route.link, route.sender, route.state, route.tickets), (link.link, pair.client.id(), 0, 0));
    assert!(host.ports().unwrap().iter().any(|port| (port.object, port.receiver) == (route.port, pair.server.id())));
    let half = usize::from(link.second == pair.client.id());
    assert_eq!([link.first, link.second][1 - half], pair.server.id());
    assert_eq!([link.forth, link.back][half], 1);

    let seen = host.link_snapshot(link.link).unwrap();
    assert_eq!(seen.sides[half].counters[counter::MESSAGES], COUNT as u64);
    assert_eq!(seen.sides[1 - half].counters[counter::MESSAGES], 0);
    assert_eq!(seen.sides[half].in_ring, Some([(route.index, COUNT as u32)].into()));
    assert_eq!((seen.ahead(half, route.index), seen.ahead(1 - half, route.index)), (Some(COUNT as u32), Some(0)));
    for n in 0..COUNT {
        if n == 1 {
            // The receiver need not say at once how much of the ring it has read, but it says what is received.
            let seen = host.link_snapshot(link.link).unwrap();
            assert_eq!(seen.ahead(half, route.index), Some(COUNT as u32 - 1));
            let in_ring = seen.sides[half].in_ring.as_ref().unwrap();
            assert!(in_ring.values().sum::<u32>() <= COUNT as u32, "{in_ring:?}");
        }
        assert_eq!(pair.port.receive_within(DEADLINE).unwrap().body::<u64>().unwrap(), n as u64);
    }
    assert_eq!(host.link_snapshot(link.link).unwrap().sides[half].in_ring, Some([].into()));

    // Mach's calls with bare names say the same.
    let space = pair.host.raw();
    let name = space.host_control().unwrap();
    assert_eq!((space.host_links(name), space.host_routes(name)), (Ok(links.clone()), Ok(routes.clone())));
    let memory = space.host_link_map(name, link.link).unwrap();
    assert_eq!(memory.metadata().unwrap().len(), umach_abi::link::SIZE as u64);
}

#[test]
fn only_the_hosts_control_right_shows_links() {
    let pair = pair();
    let host = pair.host.host_control().unwrap();
    let link = host.links().unwrap()[0].link;
    let space = pair.client.raw();
    for name in [space.host_self(), space.task_self()] {
        assert!(space.host_links(name).is_err() && space.host_routes(name).is_err() && space.host_link_map(name, link).is_err());
    }
    assert_eq!(host.link_snapshot(link + 1).unwrap_err().code(), Code::KERN_NOT_FOUND);
    // The link ends with one of its tasks.
    drop((pair.right, pair.client));
    assert!(host.link_snapshot(link).is_err_and(|error| error.code() == Code::KERN_NOT_FOUND) || host.links().unwrap()[0].flags == 1);
    assert!(host.routes().unwrap().iter().all(|route| route.state >= 2));
    drop((pair.port, pair.server));
    assert_eq!((host.links().unwrap(), host.routes().unwrap()), (vec![], vec![]));
}
