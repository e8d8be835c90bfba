//! Four clients call a service that crashes with every 20th request. Each call is answered or its caller told; no request is handled twice,
//! and none is lost in the queue of a service that dies.

use std::collections::BTreeSet;

use rustix::process::Signal;
use umach_tests::World;
use umach_tests::scenario::Report;

use crate::stage::{ACTOR, Stage, signal, succeeded};

const CLIENTS: u32 = 4;
const CALLS: u32 = 50;
const CRASH_AFTER: u32 = 20;
const REQUESTS: usize = (CLIENTS * CALLS) as usize;
const STARTS: u32 = CLIENTS * CALLS / CRASH_AFTER;

pub(crate) fn play(world: &World) {
    let folder = tempfile::tempdir().expect("make a folder");
    let stage = Stage::new(world);
    let config = format!(
        "[services.frail]\ncommand = [{ACTOR:?}, \"frail\", \"{CRASH_AFTER}\"]\nqueue = 16\nbackoff = {{ first = \"1ms\", max = \"5ms\" }}\n"
    );
    let (server, _names) = stage.cast_names(folder.path(), &config);
    let clients: Vec<_> =
        (0..CLIENTS).map(|n| stage.cast(&["caller", &(n * CALLS).to_string(), &CALLS.to_string(), "frail"], None)).collect();
    let (mut handled, mut answered, mut told) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut done, mut started) = (0, 0);
    // Order between senders is not promised: what a service reports may come after the report of the client that it answered.
    while done < CLIENTS || started < STARTS || handled.len() < REQUESTS {
        match stage.hear().0 {
            Report::Ready(_) => started += 1,
            Report::Handled(id) => assert!(handled.insert(id), "request {id} was handled twice"),
            Report::Calls { answered: some, told: others } => {
                answered.extend(some);
                told.extend(others);
                done += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    clients.into_iter().for_each(|client| succeeded("a client", client));
    assert!(stage.overhear().is_none(), "something was handled that nobody asked for");
    assert_eq!(started, STARTS, "each is started once, and handles all that it can");
    let all: BTreeSet<u32> = (0..CLIENTS * CALLS).collect();
    assert_eq!(handled, all, "a request that waited when a service died is handled by the next");
    assert!(answered.is_disjoint(&told));
    assert_eq!(&answered | &told, all, "each call ends in one way");
    // A crash is told to nobody but the caller whose request it was.
    assert!(told.len() as u32 <= started, "{told:?} were told of {started} crashes");
    signal(server.pid(), Signal::TERM);
    succeeded("the name server", server);
}
