//! Plays with a job and a clock in hand; most have one service.

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

const A: ServiceId = ServiceId(1);
const B: ServiceId = ServiceId(2);
const LISTEN: Step = Step::Listen(A);
const IGNORE: Step = Step::Ignore(A);

fn config() -> JobConfig {
    JobConfig {
        check_in_within: MS(5_000),
        backoff: Backoff { first: MS(100), max: MS(1_000), healthy_after: MS(10_000) },
        ..JobConfig::new(["true"])
    }
}

fn job(config: JobConfig) -> (Job<&'static str>, Vec<Step>) {
    let (mut job, mut steps) = (Job::new(config), Vec::new());
    job.add(A, "right", &mut steps);
    (job, steps)
}

fn service() -> (Job<&'static str>, Vec<Step>) {
    job(config())
}

fn who(pid: u32) -> Who {
    Who { task: pid.into(), pid, ..Who::default() }
}

fn crash() -> Ending {
    Ending { clean: false, how: "exited with status 1".into() }
}

fn clean() -> Ending {
    Ending { clean: true, how: "exited with status 0".into() }
}

/// The steps since last time.
fn drain(steps: &mut Vec<Step>) -> Vec<Step> {
    std::mem::take(steps)
}

#[test]
fn service_not_running_is_listened_to_and_started_once() {
    let (mut service, mut steps) = service();
    assert_eq!(drain(&mut steps), [LISTEN]);
    service.demanded(A, MS(1), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Start, IGNORE]);
    // A report that was under way already must not start a second one.
    service.demanded(A, MS(1), &mut steps);
    service.started(7, 7, MS(1), &mut steps);
    service.demanded(A, MS(2), &mut steps);
    assert_eq!(drain(&mut steps), []);
    assert_eq!(service.describe(A, MS(2)).0, Kind::Starting);
    assert_eq!(service.check_in(A, who(7), &mut steps), Ok("right"));
    assert_eq!(drain(&mut steps), []);
    assert_eq!((service.describe(A, MS(3)).0, service.deadline()), (Kind::Active, None));
    assert_eq!(service.check_in(A, who(8), &mut steps), Err(who(7)));
}

#[test]
fn service_that_dies_after_a_healthy_run_is_listened_to_at_once() {
    for right_first in [true, false] {
        let (mut service, mut steps) = service();
        service.demanded(A, MS(0), &mut steps);
        service.started(7, 7, MS(0), &mut steps);
        let right = service.check_in(A, who(7), &mut steps).unwrap();
        drain(&mut steps);
        if right_first {
            service.returned(A, right, &mut steps);
            service.child_ended(crash(), MS(10_000), &mut steps);
        } else {
            service.child_ended(crash(), MS(10_000), &mut steps);
            assert_eq!(drain(&mut steps), []);
            service.returned(A, right, &mut steps);
        }
        assert_eq!(drain(&mut steps), [LISTEN], "right first: {right_first}");
        assert_eq!(service.describe(A, MS(10_000)).0, Kind::OnDemand);
    }
}

#[test]
fn service_that_keeps_dying_waits_twice_as_long_up_to_the_cap_and_is_forgiven_after_a_healthy_run() {
    let (mut service, mut steps) = service();
    let mut now = MS(0);
    let mut delays = Vec::new();
    for _ in 0..7 {
        drain(&mut steps);
        service.demanded(A, now, &mut steps);
        assert_eq!(drain(&mut steps), [Step::Start, IGNORE]);
        service.started(7, 7, now, &mut steps);
        service.child_ended(crash(), now, &mut steps);
        assert_eq!(drain(&mut steps), [], "not listened to while it waits");
        assert_eq!(service.describe(A, now).0, Kind::BackingOff);
        let at = service.deadline().unwrap();
        delays.push((at - now).as_millis());
        service.tick(at - MS(1), &mut steps);
        assert_eq!(drain(&mut steps), []);
        service.tick(at, &mut steps);
        assert_eq!(drain(&mut steps), [LISTEN]);
        now = at;
    }
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 1000]);
    service.demanded(A, now, &mut steps);
    service.started(8, 8, now, &mut steps);
    let right = service.check_in(A, who(8), &mut steps).unwrap();
    now += MS(10_000);
    service.returned(A, right, &mut steps);
    service.child_ended(crash(), now, &mut steps);
    assert_eq!(service.deadline(), None);
    service.demanded(A, now, &mut steps);
    service.started(9, 9, now, &mut steps);
    service.child_ended(crash(), now, &mut steps);
    assert_eq!(service.deadline(), Some(now + MS(100)), "counted from the start again");
}

#[test]
fn service_that_leaves_on_purpose_is_paced_but_not_punished() {
    let (mut service, mut steps) = service();
    let mut now = MS(0);
    for _ in 0..5 {
        service.demanded(A, now, &mut steps);
        service.started(7, 7, now, &mut steps);
        let right = service.check_in(A, who(7), &mut steps).unwrap();
        service.returned(A, right, &mut steps);
        service.child_ended(clean(), now, &mut steps);
        let at = service.deadline().unwrap();
        assert_eq!(at - now, MS(100));
        now = at;
        service.tick(now, &mut steps);
    }
}

#[test]
fn child_that_does_not_check_in_is_killed_once_and_counts_as_a_failure() {
    let (mut service, mut steps) = service();
    service.demanded(A, MS(0), &mut steps);
    service.started(7, 7, MS(10), &mut steps);
    drain(&mut steps);
    service.tick(MS(5_009), &mut steps);
    assert_eq!(drain(&mut steps), []);
    service.tick(MS(5_010), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Kill]);
    service.tick(MS(60_000), &mut steps);
    service.demanded(A, MS(60_000), &mut steps);
    assert_eq!(drain(&mut steps), [], "nothing until its death is seen");
    service.child_ended(Ending { clean: false, how: "was killed by signal 9".into() }, MS(60_001), &mut steps);
    assert_eq!(service.deadline(), Some(MS(60_101)));
    assert!(service.describe(A, MS(60_001)).2.contains("did not check in within 5s"), "{}", service.describe(A, MS(60_001)).2);
}

#[test]
fn child_that_drops_the_right_and_lives_gets_a_deadline_with_the_next_message() {
    let (mut service, mut steps) = service();
    service.demanded(A, MS(0), &mut steps);
    service.started(7, 7, MS(0), &mut steps);
    let right = service.check_in(A, who(7), &mut steps).unwrap();
    drain(&mut steps);
    service.returned(A, right, &mut steps);
    assert_eq!(drain(&mut steps), [LISTEN]);
    assert_eq!(service.deadline(), None);
    service.demanded(A, MS(100), &mut steps);
    assert_eq!(drain(&mut steps), [IGNORE], "no second process");
    assert_eq!(service.deadline(), Some(MS(5_100)));
    assert_eq!(service.check_in(A, who(7), &mut steps), Ok("right"));
    assert_eq!(service.deadline(), None);
}

#[test]
fn command_that_cannot_be_spawned_backs_off_with_its_reason() {
    let (mut service, mut steps) = service();
    service.demanded(A, MS(0), &mut steps);
    service.start_failed("cannot run \"nonsense\"".into(), MS(1), &mut steps);
    assert_eq!(drain(&mut steps), [LISTEN, Step::Start, IGNORE]);
    let (kind, pid, detail) = service.describe(A, MS(1));
    assert_eq!((kind, pid), (Kind::BackingOff, 0));
    assert!(detail.contains("nonsense") && detail.contains("100ms"), "{detail}");
}

#[test]
fn server_started_by_hand_may_serve_and_its_end_is_nobodys_failure() {
    let (mut service, mut steps) = service();
    let right = service.check_in(A, who(99), &mut steps).unwrap();
    drain(&mut steps);
    service.returned(A, right, &mut steps);
    assert_eq!(drain(&mut steps), [LISTEN]);
    assert_eq!(service.deadline(), None);
}

#[test]
fn delay_never_overflows() {
    let backoff = Backoff { first: Duration::from_secs(u64::MAX / 2), max: Duration::from_secs(u64::MAX), healthy_after: MS(0) };
    assert_eq!(delay(&backoff, u32::MAX), Duration::from_secs(u64::MAX).min(backoff.max));
    assert_eq!(delay(&Backoff::default(), u32::MAX), Backoff::default().max);
}

#[test]
fn job_with_two_services_has_one_process_and_each_service_its_own_deadline() {
    let (mut job, mut steps) = service();
    job.add(B, "other", &mut steps);
    assert_eq!(drain(&mut steps), [LISTEN, Step::Listen(B)]);
    job.demanded(A, MS(0), &mut steps);
    // Before the start of the first is reported.
    job.demanded(B, MS(0), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Start, IGNORE, Step::Ignore(B)]);
    job.started(7, 7, MS(0), &mut steps);
    assert_eq!(job.check_in(A, who(7), &mut steps), Ok("right"));
    assert_eq!(job.deadline(), Some(MS(5_000)), "somebody waits for the other one");
    assert_eq!(job.check_in(B, who(7), &mut steps), Ok("other"));
    assert_eq!((job.deadline(), drain(&mut steps)), (None, vec![]));
    // It gives one of them up, and is asked for it again.
    job.returned(B, "other", &mut steps);
    job.demanded(B, MS(1_000), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Listen(B), Step::Ignore(B)]);
    job.tick(MS(6_000), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Kill]);
    job.child_ended(crash(), MS(6_001), &mut steps);
    job.returned(A, "right", &mut steps);
    job.tick(MS(6_101), &mut steps);
    assert_eq!(drain(&mut steps), [LISTEN, Step::Listen(B)]);
}

#[test]
fn job_that_is_not_on_demand_waits_for_its_first_message_and_is_started_again_at_once() {
    let (mut job, mut steps) = job(JobConfig { on_demand: false, ..config() });
    assert_eq!(drain(&mut steps), [LISTEN], "not before something was asked for");
    job.demanded(A, MS(0), &mut steps);
    job.started(7, 7, MS(0), &mut steps);
    let right = job.check_in(A, who(7), &mut steps).unwrap();
    drain(&mut steps);
    // It ends well after a long time: again at once, as soon as its port is back.
    job.child_ended(clean(), MS(10_000), &mut steps);
    assert_eq!(drain(&mut steps), []);
    job.returned(A, right, &mut steps);
    assert_eq!(drain(&mut steps), [Step::Start, LISTEN]);
    job.started(8, 8, MS(10_000), &mut steps);
    // It does not check in, and is killed for it: it backs off.
    job.tick(MS(15_000), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Kill, IGNORE]);
    job.child_ended(crash(), MS(15_000), &mut steps);
    assert_eq!(drain(&mut steps), []);
    job.tick(MS(15_100), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Start, LISTEN]);
    job.start_failed("cannot".into(), MS(15_100), &mut steps);
    assert_eq!(job.deadline(), Some(MS(15_300)), "the delays double");
}

#[test]
fn job_served_by_the_task_that_declared_it_is_started_when_that_one_is_gone() {
    let (mut job, mut steps) = job(JobConfig { on_demand: false, ..config() });
    let right = job.check_in(A, who(99), &mut steps).unwrap();
    assert!(job.is_active());
    drain(&mut steps);
    job.returned(A, right, &mut steps);
    assert_eq!(drain(&mut steps), [Step::Start, LISTEN]);
}

#[test]
fn job_that_is_over_kills_its_process_once_and_starts_nothing() {
    let (mut job, mut steps) = job(JobConfig { on_demand: false, ..config() });
    job.demanded(A, MS(0), &mut steps);
    job.started(7, 7, MS(0), &mut steps);
    job.check_in(A, who(7), &mut steps).unwrap();
    drain(&mut steps);
    job.end(&mut steps);
    assert_eq!((drain(&mut steps), job.is_running()), (vec![Step::Kill], true));
    // Its port comes back too late.
    job.returned(A, "right", &mut steps);
    job.tick(MS(60_000), &mut steps);
    job.child_ended(crash(), MS(60_000), &mut steps);
    job.tick(MS(120_000), &mut steps);
    assert_eq!((drain(&mut steps), job.is_active()), (vec![], false));
}

#[test]
fn child_that_checks_in_before_its_start_is_reported_has_done_its_work() {
    let (mut service, mut steps) = service();
    service.demanded(A, MS(0), &mut steps);
    assert_eq!(service.describe(A, MS(0)).0, Kind::Starting);
    let right = service.check_in(A, who(7), &mut steps).unwrap();
    service.returned(A, right, &mut steps);
    service.started(7, 7, MS(1), &mut steps);
    assert_eq!(service.deadline(), None, "it need not do so again");
    service.child_ended(clean(), MS(2), &mut steps);
    assert_eq!((service.failures, service.deadline()), (0, Some(MS(102))), "it left on purpose");
    // Somebody else's check-in during a start is not the child's.
    service.tick(MS(102), &mut steps);
    service.demanded(A, MS(102), &mut steps);
    let right = service.check_in(A, who(99), &mut steps).unwrap();
    service.returned(A, right, &mut steps);
    service.started(8, 8, MS(103), &mut steps);
    service.child_ended(clean(), MS(104), &mut steps);
    assert_eq!(service.failures, 1);
}

#[test]
fn start_that_is_not_reported_is_the_only_one() {
    let (mut service, mut steps) = service();
    service.demanded(A, MS(0), &mut steps);
    drain(&mut steps);
    for at in [5_000, 10_000, 15_000] {
        service.tick(MS(at), &mut steps);
        service.demanded(A, MS(at), &mut steps);
        assert_eq!(drain(&mut steps), [LISTEN, IGNORE], "at {at}");
    }
    service.end(&mut steps);
    assert!(service.is_running());
    service.started(7, 7, MS(15_000), &mut steps);
    assert_eq!(drain(&mut steps), [Step::Kill], "it comes too late");
}
