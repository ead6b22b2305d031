//! Round-robin interleaving of lanes of two lengths, in closed form.
//!
//! Within a window of blocks each block is a lane. RFC 6330's partition gives lanes of at most two lengths, the longer
//! ones first, so position and (lane, row) translate into each other with no table.
//!
//! With a seed, each row of lanes is rotated by an amount of its own. In plain round robin every n-th packet belongs to the
//! same block, so whoever times losses that way, or a link that does it by chance, would hit one block with all of them.

use crate::random::mix;

/// `lanes` lanes read round robin: the first `long_lanes` have `long` rows, the others `short` (`short <= long`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interleave {
    lanes: u64,
    long_lanes: u64,
    long: u64,
    short: u64,
    seed: Option<u32>,
}

impl Interleave {
    /// Lays out `lanes` lanes, the first `long_lanes` of them with `long` rows, the rest with `short`.
    ///
    /// A `short` above `long` is taken as `long`, more long lanes than lanes as all lanes.
    pub fn new(lanes: u16, long_lanes: u16, long: u32, short: u32) -> Self {
        Self {
            lanes: u64::from(lanes),
            long_lanes: u64::from(long_lanes.min(lanes)),
            long: u64::from(long),
            short: u64::from(short.min(long)),
            seed: None,
        }
    }

    /// The same, with every row of lanes rotated as follows from `seed`.
    #[must_use]
    pub fn with_seed(self, seed: Option<u32>) -> Self {
        Self { seed, ..self }
    }

    /// By how many of `lanes` lanes row `row` is rotated.
    fn rotation(&self, row: u64, lanes: u64) -> u64 {
        self.seed.map_or(0, |seed| mix((u64::from(seed) << 32) ^ row) % lanes.max(1))
    }

    /// Entries in all.
    pub fn len(&self) -> u64 {
        self.long_lanes * self.long + (self.lanes - self.long_lanes) * self.short
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The (lane, row) sent at `position`, if there is one.
    pub fn at(&self, position: u64) -> Option<(u16, u32)> {
        if position >= self.len() {
            return None;
        }
        // While every lane still has rows, all take turns; after that only the long ones do.
        let shared = self.short * self.lanes;
        let (row, place, lanes) = if position < shared {
            (position / self.lanes, position % self.lanes, self.lanes)
        } else {
            let rest = position - shared;
            (self.short + rest / self.long_lanes, rest % self.long_lanes, self.long_lanes)
        };
        let lane = (place + self.rotation(row, lanes)) % lanes;
        Some((u16::try_from(lane).ok()?, u32::try_from(row).ok()?))
    }

    /// The position at which row `row` of lane `lane` is sent, if there is such an entry.
    pub fn position(&self, lane: u16, row: u32) -> Option<u64> {
        let (lane, row) = (u64::from(lane), u64::from(row));
        let rows = if lane < self.long_lanes { self.long } else { self.short };
        if lane >= self.lanes || row >= rows {
            return None;
        }
        let place = |lanes: u64| (lane + lanes - self.rotation(row, lanes)) % lanes;
        Some(if row < self.short {
            row * self.lanes + place(self.lanes)
        } else {
            self.short * self.lanes + (row - self.short) * self.long_lanes + place(self.long_lanes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn with_a_seed_periodic_losses_hit_every_lane_alike() {
        let lost_by_lane = |order: Interleave| {
            let mut lost = [0; 8];
            // Every eighth packet, as an attacker who knows the window would choose.
            for position in (0..order.len()).step_by(8) {
                lost[usize::from(order.at(position).unwrap().0)] += 1;
            }
            lost
        };
        let plain = Interleave::new(8, 8, 2000, 2000);
        assert_eq!(lost_by_lane(plain), [2000, 0, 0, 0, 0, 0, 0, 0]);
        for seed in 0..20 {
            let lost = lost_by_lane(plain.with_seed(Some(seed)));
            assert!(lost.iter().all(|lost| (180..320).contains(lost)), "{lost:?}");
        }
    }

    proptest! {
        #[test]
        fn positions_and_entries_are_a_bijection(
            lanes in 1u16..9, long_lanes in 0u16..10, short in 0u32..40, more in 0u32..5, seed in prop::option::of(any::<u32>()),
        ) {
            let order = Interleave::new(lanes, long_lanes, short + more, short).with_seed(seed);
            let mut rows_sent = vec![0; usize::from(lanes)];
            for position in 0..order.len() {
                let (lane, row) = order.at(position).unwrap();
                prop_assert_eq!(order.position(lane, row), Some(position));
                // Each lane is sent in order, and no lane is ever two rows ahead of another that still has rows.
                prop_assert_eq!(rows_sent[usize::from(lane)], row);
                rows_sent[usize::from(lane)] += 1;
                for other in 0..lanes {
                    let rows = if other < long_lanes { short + more } else { short };
                    prop_assert!(rows_sent[usize::from(other)] >= row.min(rows));
                }
            }
            prop_assert_eq!(order.at(order.len()), None);
            prop_assert_eq!(order.position(lanes, 0), None);
            let total: u32 = rows_sent.iter().sum();
            prop_assert_eq!(u64::from(total), order.len());
        }
    }
}
