//! Who is in the fleet: most routers lose little, some much, a few are dead, and a few come late.

use super::result::Kind;
use fleetcast_protocol::random::mix;
use fleetcast_protocol::simulation::Random;
use fleetcast_tests::loss::Loss;
use std::time::Duration;

/// Routers in the tail, in ten thousandths.
const TAIL_PERMYRIAD: u64 = 1_000;
/// Loss of the tail, by the mean loss, in millionths of it.
const TAIL_LOSS: u64 = 5_000_000;
/// The least and the largest loss of the others: with them, the mean is the mean.
const LEAST_LOSS: u64 = 100_000;
const LARGEST_LOSS: u64 = 1_000_000;

/// What the fleet is drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Routers.
    pub receivers: u32,
    /// The first so many are processes: living, and there from the start.
    pub real: u32,
    /// Mean loss of the living, in millionths.
    pub loss_ppm: u32,
    /// Mean length of a burst of losses; none: each packet is lost by itself.
    pub burst_packets: Option<u32>,
    /// Shares of the routers, in ten thousandths.
    pub dead_permyriad: u32,
    pub late_permyriad: u32,
    /// Late ones join before this.
    pub late_until: Duration,
    pub seed: u64,
}

/// A router as it was drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    pub kind: Kind,
    pub loss_ppm: u32,
    pub loss: Loss,
    pub joins_at: Duration,
}

impl Population {
    /// Draws every router.
    pub fn draw(&self) -> Vec<Member> {
        (0..self.receivers).map(|index| self.member(index)).collect()
    }

    fn member(&self, index: u32) -> Member {
        let mut random = Random::new(mix(self.seed ^ mix(u64::from(index) + 1)));
        let (fate, late_fate) = (random.below(10_000), random.below(10_000));
        let share = if random.below(10_000) < TAIL_PERMYRIAD {
            TAIL_LOSS
        } else {
            LEAST_LOSS + random.below(LARGEST_LOSS - LEAST_LOSS)
        };
        let joins_at = random.time_below(self.late_until.max(Duration::from_nanos(1)));
        let loss_ppm = u32::try_from(u64::from(self.loss_ppm) * share / 1_000_000).unwrap_or(u32::MAX).min(1_000_000);
        let loss = Loss::of_receiver(self.seed, index as usize, loss_ppm);
        let loss = self.burst_packets.map_or(loss, |packets| loss.in_bursts(packets));
        let kind = if index < self.real {
            Kind::Living
        } else if fate < u64::from(self.dead_permyriad) {
            Kind::Dead
        } else if late_fate < u64::from(self.late_permyriad) {
            Kind::Late
        } else {
            Kind::Living
        };
        Member { kind, loss_ppm, loss, joins_at: if kind == Kind::Late { joins_at } else { Duration::ZERO } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn population() -> Population {
        Population {
            receivers: 20_000,
            real: 16,
            loss_ppm: 10_000,
            burst_packets: None,
            dead_permyriad: 20,
            late_permyriad: 1_000,
            late_until: Duration::from_secs(20),
            seed: 1,
        }
    }

    #[test]
    fn the_mean_loss_is_the_mean_and_the_shares_are_met() {
        let fleet = population().draw();
        let mean = fleet.iter().map(|member| f64::from(member.loss_ppm)).sum::<f64>() / fleet.len() as f64;
        assert!((mean - 10_000.0).abs() < 300.0, "{mean}");
        let share = |kind| fleet.iter().filter(|member| member.kind == kind).count();
        assert!((20..60).contains(&share(Kind::Dead)), "{} dead", share(Kind::Dead));
        assert!((1_800..2_200).contains(&share(Kind::Late)), "{} late", share(Kind::Late));
        let tail = fleet.iter().filter(|member| member.loss_ppm == 50_000).count();
        assert!((1_800..2_200).contains(&tail), "{tail} in the tail");
        assert!(fleet.iter().all(|member| member.loss_ppm == 50_000 || (1_000..10_000).contains(&member.loss_ppm)));
        assert!(fleet.iter().all(|member| (member.kind == Kind::Late) || member.joins_at.is_zero()));
        assert!(fleet[..16].iter().all(|member| member.kind == Kind::Living));
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(population().draw(), population().draw());
        assert_ne!(population().draw(), Population { seed: 2, ..population() }.draw());
    }
}
