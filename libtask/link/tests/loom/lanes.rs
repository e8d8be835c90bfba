//! A lane's memory: requests, answers, names to release, and the end of the kernel process's looking. The socket is a flag and a bed.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use umach_abi::lane::{
    ANSWER, ANSWERED, ANSWERED_LEN, ASKED, ASKED_CPU, ASKED_LEN, LOOKS, LOOKS_CPU, NAMES, RELEASED, RELEASES_DONE, REQUEST, SLEEPS,
};
use umach_link::Fence;
use umach_link::lane::{Answering, Asking, Given, Outcome};

use crate::sys::{Cells, Faults};
use crate::{LOST_WAKE_UP, fails, holds};

type Tiny = Cells<64>;

fn memory(faults: Faults) -> Arc<Tiny> {
    let words = [RELEASED, NAMES, NAMES + 4, ASKED, ASKED_LEN, ASKED_CPU, SLEEPS, LOOKS, LOOKS_CPU, RELEASES_DONE, ANSWERED, ANSWERED_LEN];
    Arc::new(Tiny::new(faults, &words, &[REQUEST..REQUEST + 8, ANSWER..ANSWER + 8]))
}

/// What wakes a kernel process that does not look.
#[derive(Default)]
struct Socket {
    rung: Mutex<bool>,
    bed: Condvar,
}

impl Socket {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.bed.notify_all();
    }
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.bed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// The kernel process, until `serve` is content: it looks once, then rests.
fn kernel(mut lane: Answering<Tiny>, socket: &Socket, mut serve: impl FnMut(&mut Answering<Tiny>) -> bool) {
    while !serve(&mut lane) {
        lane.rest();
        if !lane.has_news() {
            socket.wait();
        }
        // What the socket tells of is there; while it is at it, it looks again.
        lane.look(1);
    }
}

/// The answer, asleep until it comes.
fn wait(lane: &Asking<Tiny>, mem: &Tiny) -> Outcome {
    loop {
        if let Some(outcome) = lane.poll().unwrap() {
            return outcome;
        }
        let seen = lane.seen();
        lane.will_sleep(true);
        if lane.poll().unwrap().is_none() {
            mem.sleep(ANSWERED, seen);
        }
        lane.will_sleep(false);
    }
}

/// A request, which the kernel process may be about to rest from.
fn request(faults: Faults) {
    let mem = memory(faults);
    let mut lane = Answering::new(mem.clone());
    lane.look(1);
    let socket = Arc::new(Socket::default());
    let task = thread::spawn({
        let socket = socket.clone();
        move || {
            if !Asking::new(mem).ask(&[1; 8], 0) {
                socket.ring();
            }
        }
    });
    kernel(lane, &socket, |lane| {
        let mut request = [0; 8];
        let taken = lane.take(&mut request).unwrap();
        taken.iter().for_each(|&len| assert_eq!(request[..len], [1; 8], "the request as it was asked"));
        taken.is_some()
    });
    task.join().unwrap();
}

/// Two requests in turn, each answered with what it asked.
fn answers<const COUNT: u8>(faults: Faults) {
    let mem = memory(faults);
    let mut kernel = Answering::new(mem.clone());
    let mut lane = Asking::new(mem.clone());
    for n in 1..=COUNT {
        let _ = lane.ask(&[n; 8], 0);
        let serving = thread::spawn(move || {
            let mut request = [0; 8];
            assert_eq!(kernel.take(&mut request).unwrap(), Some(8));
            kernel.answer(&request.map(|byte: u8| byte + 100));
            kernel
        });
        assert_eq!(wait(&lane, &mem), Outcome::Here(8));
        let mut answer = [0; 8];
        lane.read(&mut answer);
        assert_eq!(answer, [n + 100; 8]);
        kernel = serving.join().unwrap();
    }
}

#[test]
fn request_is_served_whether_the_kernel_process_looks_or_not() {
    holds(request);
}

#[test]
fn request_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Asked], ..Faults::default() }, request);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Rests], ..Faults::default() }, request);
}

#[test]
fn request_without_ordering_is_found_torn() {
    // Its length is a word of its own, and is seen to be an older one first.
    fails("the request as it was asked", Faults { relaxed: &[ASKED], ..Faults::default() }, request);
}

#[test]
fn sleeping_task_gets_its_answer() {
    holds(answers::<1>);
    holds(answers::<2>);
}

#[test]
fn answer_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Replied], ..Faults::default() }, answers::<1>);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::AnswerWanted], ..Faults::default() }, answers::<1>);
}

#[test]
fn answer_without_ordering_is_found_torn() {
    fails("Here(0)", Faults { relaxed: &[ANSWERED], ..Faults::default() }, answers::<1>);
}

/// Two names, for which nobody waits.
fn releases(faults: Faults) {
    let mem = memory(faults);
    let mut lane = Answering::new(mem.clone());
    lane.look(1);
    let socket = Arc::new(Socket::default());
    let task = thread::spawn({
        let socket = socket.clone();
        move || {
            let mut lane = Asking::new(mem);
            for name in [7, 8] {
                match lane.release(name) {
                    Given::Seen => {}
                    Given::Unseen => socket.ring(),
                    Given::Full => unreachable!("there is room for two"),
                }
            }
        }
    });
    let mut released = Vec::new();
    kernel(lane, &socket, |lane| {
        lane.take_releases(|name| released.push(name)).unwrap();
        released.len() == 2
    });
    assert_eq!(released, [7, 8], "names as they were put in");
    task.join().unwrap();
}

#[test]
fn name_is_released_whether_the_kernel_process_looks_or_not() {
    holds(releases);
}

#[test]
fn name_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Asked], ..Faults::default() }, releases);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Rests], ..Faults::default() }, releases);
}

#[test]
fn name_without_ordering_is_found_wrong() {
    fails("names as they were put in", Faults { relaxed: &[RELEASED], ..Faults::default() }, releases);
}

/// The lane ends while its task asks.
fn end(faults: Faults) {
    let mem = memory(faults);
    let mut lane = Answering::new(mem.clone());
    lane.look(1);
    let kernel = thread::spawn(move || lane.end());
    let mut lane = Asking::new(mem.clone());
    // Told over a socket that is about to close, or told here.
    if lane.ask(&[1; 8], 0) {
        assert_eq!(wait(&lane, &mem), Outcome::Elsewhere);
    }
    kernel.join().unwrap();
}

#[test]
fn task_that_asks_while_its_lane_ends_is_told() {
    holds(end);
}

#[test]
fn end_without_a_fence_is_found_lost() {
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Rests], ..Faults::default() }, end);
    fails(LOST_WAKE_UP, Faults { fences: &[Fence::Replied], ..Faults::default() }, end);
}
