//! Scenarios on the registry with rights that are words, and a random walk that checks the invariants after each step.

use super::*;
use umach_name_api::protocol::ServerSpec;

use crate::config::ServiceConfig;
use crate::job::Ending;
use crate::policy::{Allow, Rules};

type Reg = Registry<&'static str, &'static str>;

const NOW: Duration = Duration::ZERO;

fn who(uid: u32) -> Who {
    Who { task: 100 + u64::from(uid), pid: 1000 + uid, uid, gid: uid }
}

fn registry() -> Reg {
    let open = Rules { look_up: Allow::Any, register: Allow::Any, check_in: Allow::Any };
    Registry::new(Limits::default(), Policy::new(0, open))
}

fn register(registry: &mut Reg, space: SpaceId, name: &str, key: Key, right: &'static str) -> Answer<Vec<Effect>> {
    let mut fx = Vec::new();
    registry.register(space, name, key, who(1), || Ok(right), &mut fx)?;
    registry.check().unwrap();
    Ok(fx)
}

fn code<T: std::fmt::Debug>(answer: Answer<T>) -> Code {
    answer.unwrap_err().code()
}

fn names(registry: &Reg, space: SpaceId) -> Vec<(String, u32)> {
    registry.list(space, None, who(1), NOW).entries.into_iter().map(|entry| (entry.name, entry.depth)).collect()
}

fn appeared(watch: WatchId, name: &str) -> Effect {
    Effect::Tell(watch, Event::Appeared(name.into()))
}

fn vanished(watch: WatchId, name: &str) -> Effect {
    Effect::Tell(watch, Event::Vanished(name.into()))
}

#[test]
fn name_registered_is_found_once_and_refused_twice() {
    let mut registry = registry();
    assert_eq!(code(registry.look_up(ROOT, "a", who(1))), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    register(&mut registry, ROOT, "a", 3, "right").unwrap();
    assert_eq!(registry.look_up(ROOT, "a", who(2)), Ok(&"right"));
    assert_eq!(code(register(&mut registry, ROOT, "a", 4, "other")), Code::BOOTSTRAP_NAME_IN_USE);
    assert_eq!(code(registry.check_in(ROOT, None, "a", who(1), || unreachable!(), &mut Vec::new())), Code::BOOTSTRAP_SERVICE_ACTIVE);
}

#[test]
fn bad_name_is_refused_before_the_right_is_touched() {
    let mut registry = registry();
    for bad in ["", "a b", &"x".repeat(129)] {
        let answer = registry.register(ROOT, bad, 3, who(1), || unreachable!("not asked for"), &mut Vec::new());
        assert_eq!(code(answer), Code::KERN_INVALID_ARGUMENT, "{bad:?}");
    }
}

#[test]
fn port_death_takes_all_its_names_and_watches_and_nothing_else() {
    let mut registry = registry();
    register(&mut registry, ROOT, "a", 3, "dies").unwrap();
    register(&mut registry, ROOT, "b", 3, "never asked for: the port is known").unwrap();
    register(&mut registry, ROOT, "c", 4, "lives").unwrap();
    let watch = registry.watch(ROOT, None, 5, who(2), || Ok("watcher")).unwrap();
    let dying = registry.watch(ROOT, None, 3, who(2), || unreachable!()).unwrap();
    assert_eq!(registry.look_up(ROOT, "b", who(1)), Ok(&"dies"));
    let mut fx = Vec::new();
    registry.port_died(3, &mut fx);
    registry.check().unwrap();
    fx.retain(|effect| !matches!(effect, Effect::Tell(id, _) if *id == dying));
    assert_eq!(fx, [vanished(watch, "a"), vanished(watch, "b")]);
    assert_eq!(names(&registry, ROOT), [("c".to_owned(), 0)]);
    assert_eq!(registry.watcher(dying), None);
    registry.port_died(3, &mut fx);
}

#[test]
fn failure_to_keep_the_right_leaves_nothing() {
    let mut registry = registry();
    let dead = || refuse(Code::KERN_INVALID_CAPABILITY, "dead".into());
    assert_eq!(code(registry.register(ROOT, "a", 3, who(1), dead, &mut Vec::new())), Code::KERN_INVALID_CAPABILITY);
    assert_eq!(code(registry.watch(ROOT, None, 3, who(1), dead)), Code::KERN_INVALID_CAPABILITY);
    registry.check().unwrap();
    assert_eq!(names(&registry, ROOT), []);
}

#[test]
fn unregister_is_for_its_user_and_the_servers_owner() {
    let mut registry = registry();
    register(&mut registry, ROOT, "a", 3, "right").unwrap();
    let mut fx = Vec::new();
    assert_eq!(code(registry.unregister(ROOT, None, "a", who(2), &mut fx)), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(registry.unregister(ROOT, None, "a", who(0), &mut fx), Ok(()));
    assert_eq!(code(registry.unregister(ROOT, None, "a", who(0), &mut fx)), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    register(&mut registry, ROOT, "a", 3, "right").unwrap();
    assert_eq!(registry.unregister(ROOT, None, "a", who(1), &mut fx), Ok(()));
    registry.check().unwrap();
}

#[test]
fn policy_hides_a_name_from_look_up_list_and_events() {
    let mut policy = Policy::new(0, Rules::default());
    policy.add("secret.*", Rules { look_up: Allow::Users(vec![1]), register: Allow::Users(vec![1]), check_in: Allow::Nobody });
    let mut registry: Reg = Registry::new(Limits::default(), policy);
    let one = registry.watch(ROOT, None, 5, who(1), || Ok("one")).unwrap();
    registry.watch(ROOT, None, 6, who(2), || Ok("two")).unwrap();
    assert_eq!(register(&mut registry, ROOT, "secret.x", 3, "right").unwrap(), [appeared(one, "secret.x")]);
    assert_eq!(code(registry.look_up(ROOT, "secret.x", who(2))), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(registry.list(ROOT, None, who(2), NOW).entries, []);
    assert_eq!(registry.list(ROOT, None, who(1), NOW).entries.len(), 1);
    let answer = registry.check_in(ROOT, None, "secret.y", who(1), || unreachable!(), &mut Vec::new());
    assert_eq!(code(answer), Code::BOOTSTRAP_NOT_PRIVILEGED);
    // A user who may not register at the root may in a subset of their own.
    let subset = registry.subset(ROOT, who(2)).unwrap();
    assert_eq!(code(registry.register(ROOT, "x", 9, who(2), || Ok("r"), &mut Vec::new())), Code::BOOTSTRAP_NOT_PRIVILEGED);
    assert_eq!(registry.register(subset, "x", 9, who(2), || Ok("r"), &mut Vec::new()), Ok(()));
    assert_eq!(code(registry.look_up(subset, "secret.x", who(2))), Code::BOOTSTRAP_NOT_PRIVILEGED);
}

#[test]
fn subset_falls_back_hides_and_stays_private() {
    let mut registry = registry();
    register(&mut registry, ROOT, "both", 3, "outer").unwrap();
    register(&mut registry, ROOT, "outer", 3, "outer").unwrap();
    let subset = registry.subset(ROOT, who(1)).unwrap();
    register(&mut registry, subset, "both", 4, "inner").unwrap();
    register(&mut registry, subset, "inner", 4, "inner").unwrap();
    let below = registry.subset(subset, who(1)).unwrap();
    assert_eq!(registry.look_up(below, "both", who(1)), Ok(&"inner"));
    assert_eq!(registry.look_up(below, "outer", who(1)), Ok(&"outer"));
    assert_eq!(registry.look_up(ROOT, "both", who(1)), Ok(&"outer"));
    assert_eq!(code(registry.look_up(ROOT, "inner", who(1))), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    assert_eq!(names(&registry, below), [("both".into(), 1), ("inner".into(), 1), ("outer".into(), 2)]);
    assert_eq!(code(registry.unregister(subset, None, "outer", who(1), &mut Vec::new())), Code::BOOTSTRAP_UNKNOWN_SERVICE);
}

#[test]
fn events_follow_what_a_look_up_finds() {
    let mut registry = registry();
    let subset = registry.subset(ROOT, who(1)).unwrap();
    let outer = registry.watch(ROOT, None, 10, who(1), || Ok("outer")).unwrap();
    let inner = registry.watch(subset, None, 11, who(1), || Ok("inner")).unwrap();
    let only = registry.watch(subset, Some("other".into()), 12, who(1), || Ok("only")).unwrap();
    assert_eq!(register(&mut registry, ROOT, "a", 3, "r").unwrap(), [appeared(outer, "a"), appeared(inner, "a")]);
    assert_eq!(register(&mut registry, subset, "a", 4, "r").unwrap(), [appeared(inner, "a")]);
    let mut fx = Vec::new();
    // Hidden from the subset: only the root's watcher is told.
    registry.port_died(3, &mut fx);
    assert_eq!(std::mem::take(&mut fx), [vanished(outer, "a")]);
    register(&mut registry, ROOT, "a", 5, "r").unwrap();
    registry.port_died(4, &mut fx);
    assert_eq!(std::mem::take(&mut fx), [vanished(inner, "a"), appeared(inner, "a")]);
    assert_eq!(register(&mut registry, subset, "other", 6, "r").unwrap(), [appeared(inner, "other"), appeared(only, "other")]);
}

#[test]
fn subset_without_senders_ends_with_its_names_but_waits_for_its_own_subsets() {
    let mut registry = registry();
    let subset = registry.subset(ROOT, who(1)).unwrap();
    let below = registry.subset(subset, who(2)).unwrap();
    register(&mut registry, subset, "a", 3, "r").unwrap();
    registry.watch(subset, None, 4, who(1), || Ok("w")).unwrap();
    let mut fx = Vec::new();
    registry.space_ended(subset, &mut fx);
    registry.check().unwrap();
    assert_eq!(fx, []);
    assert_eq!(registry.look_up(below, "a", who(2)), Ok(&"r"));
    registry.space_ended(below, &mut fx);
    registry.check().unwrap();
    fx.retain(|effect| matches!(effect, Effect::SpaceGone(_)));
    assert_eq!(fx, [Effect::SpaceGone(below), Effect::SpaceGone(subset)]);
    assert!(registry.usage.is_empty() && registry.ports.is_empty() && registry.watches.is_empty());
    registry.space_ended(ROOT, &mut fx);
    assert_eq!(names(&registry, ROOT), []);
    register(&mut registry, ROOT, "still", 3, "r").unwrap();
}

#[test]
fn quotas_stop_one_user_and_not_the_next() {
    let open = Rules { look_up: Allow::Any, register: Allow::Any, check_in: Allow::Any };
    let limits = Limits { names: 3, watchers: 2, user_watchers: 3, subsets: 2, depth: 1, ..Limits::default() };
    let mut registry: Reg = Registry::new(limits, Policy::new(0, open));
    for i in 0..3 {
        register(&mut registry, ROOT, &format!("n{i}"), 3, "r").unwrap();
    }
    assert_eq!(code(register(&mut registry, ROOT, "n3", 3, "r")), Code::BOOTSTRAP_NO_MEMORY);
    assert_eq!(code(registry.check_in(ROOT, None, "n3", who(1), || unreachable!(), &mut Vec::new())), Code::BOOTSTRAP_NO_MEMORY);
    assert_eq!(registry.register(ROOT, "n3", 3, who(2), || Ok("r"), &mut Vec::new()), Ok(()));
    let task = |task| Who { task, ..who(1) };
    registry.watch(ROOT, None, 4, task(1), || Ok("w")).unwrap();
    registry.watch(ROOT, None, 4, task(1), || Ok("w")).unwrap();
    assert_eq!(code(registry.watch(ROOT, None, 4, task(1), || Ok("w"))), Code::BOOTSTRAP_NO_MEMORY);
    registry.watch(ROOT, None, 4, task(2), || Ok("w")).unwrap();
    assert_eq!(code(registry.watch(ROOT, None, 4, task(2), || Ok("w"))), Code::BOOTSTRAP_NO_MEMORY);
    registry.watch(ROOT, None, 4, who(2), || Ok("w")).unwrap();
    let first = registry.subset(ROOT, who(1)).unwrap();
    assert_eq!(code(registry.subset(first, who(1))), Code::BOOTSTRAP_NO_MEMORY, "too deep");
    registry.subset(ROOT, who(1)).unwrap();
    assert_eq!(code(registry.subset(ROOT, who(1))), Code::BOOTSTRAP_NO_MEMORY);
    registry.space_ended(first, &mut Vec::new());
    registry.subset(ROOT, who(1)).unwrap();
    registry.check().unwrap();
}

#[test]
fn declared_service_hands_its_right_out_and_takes_it_back() {
    let mut registry = registry();
    let mut fx = Vec::new();
    let id = registry.configure("svc", 9, "send", ServiceConfig::new(["server"]), "receive", &mut fx).unwrap();
    let listen = [Effect::Job(registry.job_of(id).unwrap(), Step::Listen(id))];
    assert_eq!(std::mem::take(&mut fx), listen);
    assert_eq!(registry.look_up(ROOT, "svc", who(1)), Ok(&"send"));
    assert_eq!(registry.list(ROOT, None, who(1), NOW).entries[0].kind, Kind::OnDemand);
    assert_eq!(code(register(&mut registry, ROOT, "svc", 3, "r")), Code::BOOTSTRAP_NAME_IN_USE);
    assert_eq!(code(registry.unregister(ROOT, None, "svc", who(0), &mut fx)), Code::BOOTSTRAP_NOT_PRIVILEGED);
    let answer = registry.check_in(ROOT, None, "svc", who(1), || unreachable!(), &mut fx);
    assert_eq!(answer, Ok(CheckedIn::Declared(id, "receive")));
    let entry = registry.list(ROOT, None, who(1), NOW).entries.remove(0);
    assert_eq!((entry.kind, entry.pid, entry.uid), (Kind::Active, 1001, 1));
    assert_eq!(code(registry.check_in(ROOT, None, "svc", who(1), || unreachable!(), &mut fx)), Code::BOOTSTRAP_SERVICE_ACTIVE);
    registry.service_returned(id, "receive", &mut fx);
    assert_eq!(fx, listen);
    registry.check().unwrap();
    assert_eq!(registry.look_up(ROOT, "svc", who(1)), Ok(&"send"));
}

#[test]
fn check_in_of_an_unknown_name_makes_one_that_lives_with_its_port() {
    let mut registry = registry();
    let mut fx = Vec::new();
    let answer = registry.check_in(ROOT, None, "new", who(1), || Ok((8, "send", "receive")), &mut fx);
    assert_eq!(answer, Ok(CheckedIn::Fresh("receive")));
    assert_eq!(registry.look_up(ROOT, "new", who(1)), Ok(&"send"));
    registry.port_died(8, &mut fx);
    assert_eq!(names(&registry, ROOT), []);
}

#[test]
fn list_pages_give_every_name_once_in_order() {
    let mut registry = registry();
    let subset = registry.subset(ROOT, who(1)).unwrap();
    let total = 2 * PAGE + 7;
    for i in 0..total {
        let space = if i % 3 == 0 { subset } else { ROOT };
        register(&mut registry, space, &format!("n{i:05}"), 3, "r").unwrap();
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = registry.list(subset, after.as_deref(), who(1), NOW);
        assert!(page.entries.len() <= PAGE);
        all.extend(page.entries.into_iter().map(|entry| entry.name));
        after = all.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(all, (0..total).map(|i| format!("n{i:05}")).collect::<Vec<_>>());
}

fn spec(uid: u32) -> ServerSpec {
    ServerSpec { command: vec!["/bin/server".into()], uid, on_demand: true }
}

/// A registry of uid 1 where everybody may do everything.
fn declaring() -> Reg {
    let open = Rules { look_up: Allow::Any, register: Allow::Any, check_in: Allow::Any };
    let mut policy = Policy::new(1, open);
    policy.create_server = Allow::Any;
    Registry::new(Limits::default(), policy)
}

fn service(registry: &mut Reg, job: JobId, name: &str, key: Key) -> Answer<ServiceId> {
    let mut fx = Vec::new();
    let made = registry.create_service(job, name, who(1), || Ok((key, "send", "receive")), &mut fx).map(|(id, _)| id);
    registry.check().unwrap();
    made
}

fn crashed() -> Ending {
    Ending { clean: false, how: "exited with status 1".into() }
}

#[test]
fn declared_server_makes_services_that_only_its_port_checks_in() {
    let mut registry = declaring();
    let watch = registry.watch(ROOT, None, 5, who(2), || Ok("watcher")).unwrap();
    let job = registry.create_server(ROOT, spec(1), who(1)).unwrap();
    let other = registry.create_server(ROOT, spec(1), who(1)).unwrap();
    let mut fx = Vec::new();
    let made = registry.create_service(job, "svc", who(1), || Ok((8, "send", "receive")), &mut fx).map(|(id, right)| (id, *right));
    let (id, right) = made.unwrap();
    assert_eq!((right, std::mem::take(&mut fx)), ("send", vec![appeared(watch, "svc"), Effect::Job(job, Step::Listen(id))]));
    assert_eq!(registry.look_up(ROOT, "svc", who(2)), Ok(&"send"));
    let entry = registry.list(ROOT, None, who(2), NOW).entries.remove(0);
    assert_eq!((entry.kind, entry.declared_by.map(|by| (by.pid, by.uid))), (Kind::OnDemand, Some((1001, 1))));
    // Whoever does not hold the port is not privileged, the declarer itself included.
    for server in [None, Some(other)] {
        let answer = registry.check_in(ROOT, server, "svc", who(1), || unreachable!(), &mut fx);
        assert_eq!(code(answer), Code::BOOTSTRAP_NOT_PRIVILEGED);
        assert_eq!(code(registry.unregister(ROOT, server, "svc", who(1), &mut fx)), Code::BOOTSTRAP_NOT_PRIVILEGED);
    }
    assert_eq!(code(service(&mut registry, other, "svc", 9)), Code::BOOTSTRAP_NAME_IN_USE);
    assert_eq!(registry.check_in(ROOT, Some(job), "svc", who(1), || unreachable!(), &mut fx), Ok(CheckedIn::Declared(id, "receive")));
    assert_eq!(code(service(&mut registry, other, "svc", 9)), Code::BOOTSTRAP_SERVICE_ACTIVE);
    let answer = registry.check_in(ROOT, Some(job), "svc", who(1), || unreachable!(), &mut fx);
    assert_eq!(code(answer), Code::BOOTSTRAP_SERVICE_ACTIVE);
    registry.service_returned(id, "receive", &mut fx);
    fx.clear();
    assert_eq!(registry.unregister(ROOT, Some(job), "svc", who(1), &mut fx), Ok(()));
    assert_eq!(fx, [vanished(watch, "svc"), Effect::ServiceGone(8)]);
    assert_eq!(code(registry.look_up(ROOT, "svc", who(2))), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    registry.check().unwrap();
}

#[test]
fn declared_server_lasts_while_it_is_held_runs_or_serves() {
    let mut registry = declaring();
    let gone = |registry: &Reg| registry.jobs.is_empty() && registry.usage.is_empty();
    let mut fx = Vec::new();
    // Held by nobody from the start.
    let job = registry.create_server(ROOT, spec(1), who(1)).unwrap();
    service(&mut registry, job, "svc", 8).unwrap();
    registry.server_unheld(job, &mut fx);
    assert_eq!(fx.pop(), Some(Effect::ServerGone(job)));
    assert!(gone(&registry) && names(&registry, ROOT).is_empty());
    // With a process: until that has ended.
    let job = registry.create_server(ROOT, spec(1), who(1)).unwrap();
    let id = service(&mut registry, job, "svc", 8).unwrap();
    registry.service_demanded(id, NOW, &mut fx);
    registry.job_started(job, Ok((7, 7)), NOW, &mut fx);
    registry.server_unheld(job, &mut fx);
    assert_eq!(names(&registry, ROOT).len(), 1);
    registry.job_ended(job, crashed(), NOW, &mut fx);
    assert!(gone(&registry) && names(&registry, ROOT).is_empty());
    // With a service out: until that is back.
    let job = registry.create_server(ROOT, spec(1), who(1)).unwrap();
    let id = service(&mut registry, job, "svc", 8).unwrap();
    registry.check_in(ROOT, Some(job), "svc", who(1), || unreachable!(), &mut fx).unwrap();
    registry.server_unheld(job, &mut fx);
    assert_eq!(names(&registry, ROOT).len(), 1);
    registry.service_returned(id, "receive", &mut fx);
    assert!(gone(&registry) && names(&registry, ROOT).is_empty());
    registry.check().unwrap();
}

#[test]
fn server_that_has_served_stays_if_it_is_so_configured() {
    let mut registry = declaring();
    registry.policy.servers_stay = true;
    let mut fx = Vec::new();
    let job = registry.create_server(ROOT, ServerSpec { on_demand: false, ..spec(1) }, who(1)).unwrap();
    let id = service(&mut registry, job, "svc", 8).unwrap();
    registry.check_in(ROOT, Some(job), "svc", who(1), || unreachable!(), &mut fx).unwrap();
    // The declarer served it itself, and dies.
    registry.server_unheld(job, &mut fx);
    fx.clear();
    registry.service_returned(id, "receive", &mut fx);
    assert_eq!(fx, [Effect::Job(job, Step::Start), Effect::Job(job, Step::Listen(id))]);
    registry.server_held(job);
    registry.job_started(job, Ok((7, 7)), NOW, &mut fx);
    registry.check().unwrap();
    // The new one undoes the service and leaves.
    assert_eq!(registry.unregister(ROOT, Some(job), "svc", who(1), &mut fx), Ok(()));
    registry.job_ended(job, Ending { clean: true, how: String::new() }, NOW, &mut fx);
    registry.server_unheld(job, &mut fx);
    assert!(registry.jobs.is_empty() && registry.usage.is_empty());
    // One that never served does not stay.
    let job = registry.create_server(ROOT, spec(1), who(1)).unwrap();
    service(&mut registry, job, "svc", 8).unwrap();
    registry.server_unheld(job, &mut fx);
    assert!(registry.jobs.is_empty());
}

#[test]
fn server_that_is_undone_is_charged_until_its_process_is_gone() {
    let mut registry = declaring();
    let mut fx = Vec::new();
    let job = registry.create_server(ROOT, ServerSpec { on_demand: false, ..spec(1) }, who(1)).unwrap();
    let id = service(&mut registry, job, "svc", 8).unwrap();
    service(&mut registry, job, "other", 9).unwrap();
    registry.service_demanded(id, NOW, &mut fx);
    registry.job_started(job, Ok((7, 7)), NOW, &mut fx);
    fx.clear();
    registry.undo_server(job, &mut fx);
    registry.check().unwrap();
    assert_eq!(fx, [Effect::Job(job, Step::Kill), Effect::ServiceGone(8), Effect::ServiceGone(9)]);
    assert_eq!((names(&registry, ROOT).len(), registry.usage[&1].servers), (0, 1));
    assert_eq!(code(service(&mut registry, job, "more", 10)), Code::BOOTSTRAP_NOT_PRIVILEGED);
    fx.clear();
    registry.job_ended(job, crashed(), NOW, &mut fx);
    registry.server_unheld(job, &mut fx);
    assert_eq!(fx, [Effect::ServerGone(job)]);
    assert!(registry.usage.is_empty());
}

#[test]
fn server_keeps_its_subset_and_its_subset_keeps_no_server() {
    let mut registry = declaring();
    let mut fx = Vec::new();
    let subset = registry.subset(ROOT, who(1)).unwrap();
    let job = registry.create_server(subset, spec(1), who(1)).unwrap();
    service(&mut registry, job, "svc", 8).unwrap();
    assert_eq!((names(&registry, subset).len(), names(&registry, ROOT).len()), (1, 0));
    registry.space_ended(subset, &mut fx);
    registry.check().unwrap();
    assert_eq!(names(&registry, subset).len(), 1, "its server port leads there");
    assert_eq!(code(registry.create_server(subset, spec(1), who(1))), Code::BOOTSTRAP_NOT_PRIVILEGED);
    fx.clear();
    registry.server_unheld(job, &mut fx);
    registry.check().unwrap();
    assert_eq!(fx, [Effect::ServiceGone(8), Effect::ServerGone(job), Effect::SpaceGone(subset)]);
    assert!(registry.usage.is_empty());
}

#[test]
fn subset_dies_with_its_requestor_and_takes_along_what_is_in_it() {
    let mut registry = declaring();
    let mut fx = Vec::new();
    let outer = registry.watch(ROOT, None, 6, who(2), || Ok("watcher")).unwrap();
    let subset = registry.subset(ROOT, who(1)).unwrap();
    registry.set_requestor(subset, 50, || Ok("requestor")).unwrap();
    let below = registry.subset(subset, who(2)).unwrap();
    register(&mut registry, subset, "a", 3, "r").unwrap();
    register(&mut registry, below, "b", 4, "r").unwrap();
    registry.watch(below, None, 5, who(1), || Ok("w")).unwrap();
    let idle = registry.create_server(below, spec(1), who(1)).unwrap();
    let busy = registry.create_server(subset, spec(1), who(1)).unwrap();
    let id = service(&mut registry, busy, "svc", 8).unwrap();
    registry.service_demanded(id, NOW, &mut fx);
    registry.job_started(busy, Ok((7, 7)), NOW, &mut fx);
    fx.clear();
    registry.port_died(50, &mut fx);
    registry.check().unwrap();
    // Whoever watched is told no more: the watch is over.
    assert_eq!(
        fx,
        [
            Effect::ServerGone(idle),
            Effect::SpaceGone(below),
            Effect::Job(busy, Step::Kill),
            Effect::ServiceGone(8),
            Effect::SpaceGone(subset),
        ]
    );
    assert!(registry.watcher(outer).is_some());
    for space in [subset, below] {
        assert!(names(&registry, space).is_empty());
        assert_eq!(code(register(&mut registry, space, "c", 9, "r")), Code::BOOTSTRAP_UNKNOWN_SERVICE);
        assert_eq!(code(registry.subset(space, who(1))), Code::BOOTSTRAP_UNKNOWN_SERVICE);
    }
    // Until the process of a server in it is reaped it is charged, with nothing in it.
    fx.clear();
    registry.job_ended(busy, crashed(), NOW, &mut fx);
    assert_eq!(fx, [Effect::ServerGone(busy), Effect::SpaceGone(subset)]);
    assert_eq!((registry.spaces.len(), registry.usage.get(&1)), (1, None));
    // One that ends before its requestor lets go of it.
    let subset = registry.subset(ROOT, who(1)).unwrap();
    registry.set_requestor(subset, 50, || Ok("requestor")).unwrap();
    registry.space_ended(subset, &mut fx);
    registry.check().unwrap();
    registry.port_died(50, &mut fx);
    // A requestor that is dead when it is named.
    let subset = registry.subset(ROOT, who(1)).unwrap();
    let dead = || refuse(Code::KERN_INVALID_CAPABILITY, "dead".into());
    assert_eq!(code(registry.set_requestor(subset, 51, dead)), Code::KERN_INVALID_CAPABILITY);
    registry.space_ended(subset, &mut fx);
    registry.check().unwrap();
}

#[test]
fn servers_of_others_bad_commands_and_too_many_are_refused() {
    let mut registry = declaring();
    registry.limits = Limits { servers: 2, user_servers: 3, services: 2, names: 3, ..Limits::default() };
    let mut create = |spec: ServerSpec, who: Who| registry.create_server(ROOT, spec, who);
    let command = |words: &[&str]| ServerSpec { command: words.iter().map(|word| (*word).to_owned()).collect(), ..spec(1) };
    for uid in [0, 2, u32::MAX] {
        let theirs = Who { uid, ..who(1) };
        assert_eq!(code(create(spec(uid), who(1))), Code::BOOTSTRAP_NOT_PRIVILEGED, "as uid {uid}");
        assert_eq!(code(create(spec(uid), theirs)), Code::BOOTSTRAP_NOT_PRIVILEGED, "by uid {uid}: the name server is uid 1");
    }
    for words in [&[][..], &[""], &["server"], &["./server"], &["/x", "a\0b"], &["/x", &"a".repeat(4096)]] {
        assert_eq!(code(create(command(words), who(1))), Code::KERN_INVALID_ARGUMENT, "{words:?}");
    }
    let task = |task| Who { task, ..who(1) };
    let first = create(spec(1), task(1)).unwrap();
    create(spec(1), task(1)).unwrap();
    assert_eq!(code(create(spec(1), task(1))), Code::BOOTSTRAP_NO_MEMORY, "of one task");
    let third = create(spec(1), task(2)).unwrap();
    assert_eq!(code(create(spec(1), task(2))), Code::BOOTSTRAP_NO_MEMORY, "of one user");
    service(&mut registry, first, "a", 20).unwrap();
    service(&mut registry, first, "b", 21).unwrap();
    assert_eq!(code(service(&mut registry, first, "c", 22)), Code::BOOTSTRAP_NO_MEMORY, "of one server");
    service(&mut registry, third, "c", 22).unwrap();
    assert_eq!(code(service(&mut registry, third, "d", 23)), Code::BOOTSTRAP_NO_MEMORY, "names of one user");
    assert_eq!(code(service(&mut registry, third, "a b", 23)), Code::KERN_INVALID_ARGUMENT);
    registry.server_unheld(first, &mut Vec::new());
    registry.create_server(ROOT, spec(1), task(2)).unwrap();
    registry.check().unwrap();
}

#[test]
fn random_walk_keeps_the_invariants_and_ends_empty() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let mut registry = declaring();
    registry.policy.servers_stay = true;
    let mut spaces = vec![ROOT];
    let mut watches = Vec::new();
    let mut jobs: Vec<JobId> = Vec::new();
    let mut next_key = 100;
    for _ in 0..20_000 {
        let space = spaces[random(spaces.len())];
        let (name, key, user) = (format!("n{}", random(12)), random(10) as Key, who(random(3) as u32));
        let mut fx = Vec::new();
        let job = (!jobs.is_empty()).then(|| jobs[random(jobs.len())]);
        let service =
            if registry.services.is_empty() { None } else { registry.services.keys().nth(random(registry.services.len())).copied() };
        match (random(18), job, service) {
            (9, ..) => jobs.extend(registry.create_server(space, ServerSpec { on_demand: key > 3, ..spec(user.uid) }, user)),
            (10 | 11, Some(job), _) => {
                next_key += 1;
                drop(registry.create_service(job, &name, user, || Ok((next_key, "s", "r")), &mut fx).map(|_| ()));
            }
            (12, Some(job), _) => registry.server_unheld(job, &mut fx),
            (13, Some(job), _) => registry.undo_server(job, &mut fx),
            (14, Some(job), _) => registry.job_ended(job, crashed(), NOW, &mut fx),
            (15, _, Some(service)) => registry.service_demanded(service, NOW, &mut fx),
            (16, _, Some(service)) => registry.service_returned(service, "r", &mut fx),
            (17, job, _) => drop(registry.check_in(space, job, &name, user, || refuse(Code::KERN_FAILURE, String::new()), &mut fx)),
            (0..3, ..) => drop(registry.register(space, &name, key, user, || Ok("r"), &mut fx)),
            (3, job, _) => drop(registry.unregister(space, job, &name, user, &mut fx)),
            (4, ..) => registry.port_died(key, &mut fx),
            (5, ..) => watches.extend(registry.watch(space, Some(name).filter(|_| key > 5), key, user, || Ok("w"))),
            (6, ..) if !watches.is_empty() => registry.end_watch(watches.swap_remove(random(watches.len()))),
            (7, ..) => {
                if let Ok(made) = registry.subset(space, user) {
                    spaces.push(made);
                    if key > 5 {
                        drop(registry.set_requestor(made, key, || Ok("q")));
                    }
                }
            }
            _ => registry.space_ended(space, &mut fx),
        }
        let mut started = Vec::new();
        for effect in fx {
            match effect {
                Effect::SpaceGone(gone) => spaces.retain(|space| *space != gone),
                Effect::ServerGone(gone) => jobs.retain(|job| *job != gone),
                Effect::Job(job, Step::Start) => {
                    let mut more = Vec::new();
                    let child = if random(4) == 0 { Err("cannot".to_owned()) } else { Ok((100 + random(3) as u64, 7)) };
                    registry.job_started(job, child, NOW, &mut more);
                    started.push(more);
                }
                Effect::Tell(..) | Effect::Job(..) | Effect::ServiceGone(..) => {}
            }
        }
        while let Some(fx) = started.pop() {
            for effect in fx {
                match effect {
                    Effect::SpaceGone(gone) => spaces.retain(|space| *space != gone),
                    Effect::ServerGone(gone) => jobs.retain(|job| *job != gone),
                    Effect::Job(_, Step::Start) => panic!("started twice"),
                    _ => {}
                }
            }
        }
        registry.check().unwrap();
    }
    let mut fx = Vec::new();
    for job in jobs {
        registry.undo_server(job, &mut fx);
        registry.job_ended(job, crashed(), NOW, &mut fx);
    }
    spaces.into_iter().for_each(|space| registry.space_ended(space, &mut fx));
    (0..10).for_each(|key| registry.port_died(key, &mut fx));
    registry.check().unwrap();
    assert!(registry.usage.is_empty() && registry.spaces.len() == 1 && registry.ports.is_empty() && registry.jobs.is_empty());
}
