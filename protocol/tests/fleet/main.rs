//! A whole fleet against senders that ask it what it lacks, over simulated networks, with real decoding.
//!
//! Everything in a run follows from its seed. A run that fails prints its seed and the command that repeats it;
//! `FLEETCAST_SIMULATION_RUNS=100000` runs more of them.

mod rounds;
mod scenario;

use fleetcast_protocol::simulation::run_seeds;
use scenario::{Scenario, Seen};

/// Runs unless the environment says otherwise.
const RUNS: u64 = 250;

#[test]
fn whoever_can_be_reached_ends_with_the_right_file_and_nothing_exceeds_its_bounds() {
    let mut seen = Seen::default();
    let Some(runs) = run_seeds("fleet whoever", RUNS, Scenario::draw, Scenario::run, |run| seen.add(run)) else {
        return;
    };
    println!("{runs} runs: {seen:#?}");
    // A few runs, for a quick look or a slow machine, need not have everything.
    if runs >= RUNS {
        seen.assert_that_everything_happened();
    }
}
