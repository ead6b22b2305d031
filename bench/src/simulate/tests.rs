//! What simulated fleets cost, and that the result hangs on the seed alone.

use super::losses::LossModel;
use super::world::{Outcome, Plan, simulate};
use fleetcast_protocol::session::DEFAULT_WINDOW_BLOCKS;
use std::time::Duration;

const IMAGE_LEN: u64 = 50_000_000;

fn plan(receivers: u32, loss: f64) -> Plan {
    Plan {
        receivers,
        image_len: IMAGE_LEN,
        loss: LossModel::independent(loss),
        feedback_loss: loss,
        rate_bps: 100_000_000,
        repair_permyriad: 0,
        window_blocks: DEFAULT_WINDOW_BLOCKS,
        passes: 1,
        rtt: Duration::from_millis(50),
        late_permyriad: 0,
        liars: 0,
        seed: 1,
        threads: 2,
    }
}

fn ratio(outcome: &Outcome) -> f64 {
    outcome.wire_bytes as f64 / IMAGE_LEN as f64
}

/// Feedback may cost a fleet a thousandth of the stream's bytes, or 64 reports a round where that is more.
fn assert_feedback_is_bounded(outcome: &Outcome) {
    let many = outcome.reports > 64 * outcome.feedback.rounds;
    assert!(!many || outcome.feedback_bytes <= outcome.wire_bytes / 1000, "{outcome:?}");
}

#[test]
fn one_setting_serves_every_loss_with_little_more_than_is_lost() {
    for (receivers, bounds) in [(32, [1.050, 1.067, 1.081, 1.119]), (2000, [1.050, 1.071, 1.086, 1.127])] {
        for (loss, bound) in [0.0, 0.01, 0.02, 0.05].into_iter().zip(bounds) {
            let outcome = simulate(&plan(receivers, loss)).unwrap();
            assert_eq!(outcome.verified, u64::from(receivers), "{loss}: {outcome:?}");
            assert!(ratio(&outcome) <= bound, "{receivers} receivers, loss {loss}: {} {outcome:?}", ratio(&outcome));
            assert_feedback_is_bounded(&outcome);
        }
    }
}

#[test]
fn the_result_hangs_on_the_seed_and_not_on_the_threads() {
    let small = |seed, threads| {
        let late = Plan { late_permyriad: 500, liars: 2, seed, threads, image_len: 5_000_000, ..plan(300, 0.02) };
        simulate(&late).unwrap()
    };
    let one = small(7, 1);
    assert_eq!(one, small(7, 1));
    assert_eq!(one, small(7, 3));
    assert_ne!(one, small(8, 1));
}

#[test]
fn bursts_and_liars_cost_no_more_than_their_bounds() {
    let burst = Plan { loss: LossModel::bursts(0.01, 10.0), ..plan(500, 0.01) };
    let outcome = simulate(&burst).unwrap();
    assert_eq!(outcome.verified, 500, "{outcome:?}");
    assert_feedback_is_bounded(&outcome);

    let outcome = simulate(&Plan { liars: 20, ..plan(500, 0.01) }).unwrap();
    assert_eq!(outcome.verified, 500, "{outcome:?}");
    // What is sent on request is half a pass at most, and everybody honest is served within it.
    assert!(outcome.feedback.requested_symbols * 2 <= IMAGE_LEN.div_ceil(1344), "{outcome:?}");
}
