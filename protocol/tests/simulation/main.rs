//! Both sessions against each other over a simulated network, thousands of times.
//!
//! Everything in a run follows from its seed: releases, paths, senders that stop and come back, forgers, and when the
//! receiver is killed. A run that fails prints its seed and the command that repeats it;
//! `FLEETCAST_SIMULATION_RUNS=100000` runs more of them.

mod scenario;
mod world;

use scenario::Scenario;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Outcome, World};

/// Runs unless the environment says otherwise.
const RUNS: u64 = 2_500;

#[test]
fn every_run_ends_with_the_sender_s_image() {
    if let Some(seed) = number("FLEETCAST_SIMULATION_SEED") {
        let scenario = Scenario::draw(seed);
        println!("{scenario:#?}");
        println!("{:#?}", World::new(&scenario).run());
        return;
    }
    let runs = number("FLEETCAST_SIMULATION_RUNS").unwrap_or(RUNS);
    let mut seen = Outcome::default();
    for seed in 0..runs {
        let run = || World::new(&Scenario::draw(seed)).run();
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outcome) => seen.add(&outcome),
            Err(_) => panic!(
                "run {seed} failed; repeat it with\n    FLEETCAST_SIMULATION_SEED={seed} \
                 cargo test -p fleetcast-protocol --test simulation"
            ),
        }
    }
    println!("{runs} runs: {seen:#?}");
    // A few runs, for a quick look or a slow machine, need not have everything.
    if runs >= RUNS {
        seen.assert_that_everything_happened();
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
