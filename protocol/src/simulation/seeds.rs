//! Runs of a world from many seeds, or again from the one that failed.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Repeats one run, and prints it.
const SEED: &str = "FLEETCAST_SIMULATION_SEED";
/// Makes more runs, or fewer.
const RUNS: &str = "FLEETCAST_SIMULATION_RUNS";

/// Draws a scenario from each of `runs` seeds (or as the environment says), lives through it, and gives what came of it to
/// `add`. Returns how many were run; `None` when it was the one that the environment asks for.
///
/// # Panics
/// When a run does: with its seed, and the command that repeats it, in which `test` stands for the test's binary and name.
pub fn run_seeds<S: Debug, T: Debug>(
    test: &str,
    runs: u64,
    draw: impl Fn(u64) -> S,
    run: impl Fn(&S) -> T,
    mut add: impl FnMut(&T),
) -> Option<u64> {
    if let Some(seed) = number(SEED) {
        let scenario = draw(seed);
        println!("{scenario:#?}");
        println!("{:#?}", run(&scenario));
        return None;
    }
    let runs = number(RUNS).unwrap_or(runs);
    for seed in 0..runs {
        match catch_unwind(AssertUnwindSafe(|| run(&draw(seed)))) {
            Ok(outcome) => add(&outcome),
            Err(_) => panic!(
                "run {seed} failed; repeat it with\n    {SEED}={seed} cargo test -p fleetcast-protocol --test {test}"
            ),
        }
    }
    Some(runs)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
