//! Plays in which every task is a process of its own (`umach-actor`), on a private kernel process: a whole system whose file server is
//! killed, neighbours of every evil kind, receive rights that travel, and a service that crashes again and again.
//!
//! The test is the director: it starts the actors, hears their reports, and judges. Nothing is left behind at the end (see [`World::end`]):
//! no task, port, name, message, region, lane or descriptor.
//!
//! [`World::end`]: umach_tests::World::end
#![forbid(unsafe_code)]

mod crowd;
mod hostile;
mod on_demand;
mod ring;
mod stage;
mod whole;

use libtask::local::Direct;
use umach_tests::{Mode, World, run, run_with};

#[test]
fn file_server_killed_under_three_clients_is_started_again_and_they_finish() {
    run(Mode::Process, "whole", whole::play);
}

#[test]
fn evil_neighbours_change_nothing_for_a_pair_that_talks() {
    run_with(Mode::Process, hostile::LIMITS, "hostile", hostile::play);
}

#[test]
fn ports_that_travel_lose_no_message_and_each_death_is_told_once() {
    run(Mode::Process, "ring", ring::play);
}

#[test]
fn service_that_crashes_all_the_time_answers_or_fails_every_call() {
    run(Mode::Process, "on_demand", on_demand::play);
}

#[test]
fn idle_links_of_a_crowd_are_given_back_and_made_again() {
    let world = World::start_with(Mode::Process, crowd::LIMITS, Some(Direct::Always));
    crowd::play(&world);
    world.end();
}
