//! Both sessions against each other over a simulated network, thousands of times.
//!
//! Everything in a run follows from its seed: releases, paths, senders that stop and come back, forgers, and when the
//! receiver is killed. A run that fails prints its seed and the command that repeats it;
//! `FLEETCAST_SIMULATION_RUNS=100000` runs more of them.

mod scenario;
mod world;

use fleetcast_protocol::simulation::run_seeds;
use scenario::Scenario;
use world::{Outcome, World};

/// Runs unless the environment says otherwise.
const RUNS: u64 = 2_500;

#[test]
fn every_run_ends_with_the_sender_s_image() {
    let mut seen = Outcome::default();
    let run = |scenario: &Scenario| World::new(scenario).run();
    let Some(runs) = run_seeds("simulation", RUNS, Scenario::draw, run, |run| seen.add(run)) else { return };
    println!("{runs} runs: {seen:#?}");
    // A few runs, for a quick look or a slow machine, need not have everything.
    if runs >= RUNS {
        seen.assert_that_everything_happened();
    }
}
