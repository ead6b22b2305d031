//! What bounds a round, whoever reports.

use super::*;
use crate::partition::Partition;

const MS: Duration = Duration::from_millis(1);
const DIGEST: [u8; 32] = [9; 32];

fn config() -> FeedbackConfig {
    FeedbackConfig { port: 1, group_size: 10, rtt: 10 * MS, budget_permyriad: 5000 }
}

fn rounds() -> (Rounds, Schedule) {
    let partition = Partition::new(8 * 1000, 8, 2).unwrap();
    let mut rounds = Rounds::new(config(), &DIGEST, 7, 2);
    rounds.start_pass(Duration::ZERO);
    (rounds, Schedule::new(partition, 2, 0, 0))
}

fn report(round: u32, counts: [u32; 2]) -> Vec<u8> {
    let digest_prefix = DIGEST[..DIGEST_PREFIX_LEN].try_into().unwrap();
    Feedback { digest_prefix, tsi: 7, round, deficits: Deficits::from_counts(counts), loss_ppm: Some(5) }.to_cbor()
}

fn reporter(n: u32) -> SocketAddr {
    SocketAddr::from((n.to_be_bytes(), 1))
}

#[test]
fn the_most_that_one_asks_for_is_announced_at_once_and_then_sent() {
    let (mut rounds, schedule) = rounds();
    assert!(matches!(rounds.step(Duration::ZERO, &schedule), Step::Announce));
    assert!(matches!(rounds.step(Duration::ZERO, &schedule), Step::Listen(at) if at == 10 * MS));
    rounds.on_feedback(2 * MS, reporter(1), &report(1, [3, 9]));
    // An eighth of a round trip after the last announcement.
    assert!(matches!(rounds.step(2 * MS, &schedule), Step::Announce));
    assert_eq!(
        rounds.announced(),
        (1, Deficits::from_counts([4, 10])),
        "with the symbol more that is sent in any case"
    );
    // What is covered changes nothing.
    rounds.on_feedback(3 * MS, reporter(2), &report(1, [2, 9]));
    assert!(matches!(rounds.step(4 * MS, &schedule), Step::Listen(at) if at == 12 * MS));
    let Step::Repair(requested) = rounds.step(config().round_time(), &schedule) else { panic!() };
    assert_eq!(requested.left(), (3 + 1 + 1) - 1 + (9 + 1 + 1), "the margin of 3 is an eighth of it at most");
    assert_eq!((rounds.stats().reports, rounds.stats().largest_loss_ppm), (2, 5));
}

#[test]
fn reports_a_second_and_reporters_a_round_are_limited() {
    let (mut rounds, _) = rounds();
    let most_reporters = u32::try_from(MAX_REPORTERS).unwrap();
    for n in 0..most_reporters + 10 {
        rounds.on_feedback(MS, reporter(n), &report(1, [1, 1]));
    }
    assert_eq!((rounds.stats().reports, rounds.stats().ignored), (u64::from(most_reporters), 10));
    // Of any in the first second no more are looked at than this.
    let rest = MAX_REPORTS_PER_SECOND - most_reporters - 10;
    for _ in 0..rest + 5 {
        rounds.on_feedback(MS, reporter(0), b"noise");
    }
    rounds.on_feedback(MS, reporter(1), &report(1, [2, 2]));
    assert_eq!(rounds.stats().reports, u64::from(most_reporters), "not looked at");
    rounds.on_feedback(MS, reporter(1), &report(1, [2, 2]));
    assert_eq!(rounds.asked.largest(), 1);
}

#[test]
fn rounds_and_repair_end_at_their_limits_and_start_over_with_the_next_pass() {
    for (asked, by_rounds) in [([1, 0], true), ([400, 400], false)] {
        let (mut rounds, schedule) = rounds();
        let mut now = Duration::ZERO;
        let mut sent = 0;
        for round in 1.. {
            rounds.on_feedback(now + MS, reporter(1), &report(round, asked));
            now += config().round_time();
            match rounds.step(now, &schedule) {
                Step::Repair(requested) => sent += requested.left(),
                Step::Finished => break,
                step => panic!("{step:?}"),
            }
            rounds.open(now);
        }
        assert_eq!((rounds.stats().limited, sent), (1, if by_rounds { 2 * u64::from(MAX_ROUNDS - 1) } else { 500 }));
        assert_eq!(rounds.stats().rounds == u64::from(MAX_ROUNDS), by_rounds);
        let next = rounds.number + 1;
        rounds.start_pass(now);
        rounds.on_feedback(now + MS, reporter(1), &report(next, asked));
        assert!(matches!(rounds.step(now + config().round_time(), &schedule), Step::Repair(_)));
    }
}

#[test]
fn a_restarted_sender_s_symbols_are_others() {
    let (mut rounds, schedule) = rounds();
    let asked = Deficits::from_counts([10, 10]);
    let ids = |tsi| Requested::new(&schedule, &asked, &mut [0; 2], 100, tsi).collect::<Vec<_>>();
    assert!(ids(1).iter().all(|id| !ids(2).contains(id)));
    // Within a session they go on where they were.
    let first: Vec<_> = Requested::new(&schedule, &asked, &mut rounds.sent, 100, 7).collect();
    assert!(Requested::new(&schedule, &asked, &mut rounds.sent, 100, 7).all(|id| !first.contains(&id)));
}
