//! A whole fleet against senders that ask it what it lacks, over simulated networks, with real decoding.
//!
//! Everything in a run follows from its seed. A run that fails prints its seed and the command that repeats it;
//! `FLEETCAST_SIMULATION_RUNS=100000` runs more of them.

mod rounds;
mod scenario;

use scenario::{Scenario, Seen};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs unless the environment says otherwise.
const RUNS: u64 = 250;

#[test]
fn whoever_can_be_reached_ends_with_the_right_file_and_nothing_exceeds_its_bounds() {
    if let Some(seed) = number("FLEETCAST_SIMULATION_SEED") {
        let scenario = Scenario::draw(seed);
        println!("{scenario:#?}");
        println!("{:#?}", scenario.run());
        return;
    }
    let runs = number("FLEETCAST_SIMULATION_RUNS").unwrap_or(RUNS);
    let mut seen = Seen::default();
    for seed in 0..runs {
        match catch_unwind(AssertUnwindSafe(|| Scenario::draw(seed).run())) {
            Ok(run) => seen.add(&run),
            Err(_) => panic!(
                "run {seed} failed; repeat it with\n    FLEETCAST_SIMULATION_SEED={seed} \
                 cargo test -p fleetcast-protocol --test fleet whoever"
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
