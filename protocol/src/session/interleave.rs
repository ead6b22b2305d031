//! Round-robin interleaving of lanes of two lengths, in closed form.
//!
//! Within a window of blocks each block is a lane. RFC 6330's partition gives lanes of at most two lengths, the longer
//! ones first, so position and (lane, row) translate into each other with no table.

/// `lanes` lanes read round robin: the first `long_lanes` have `long` rows, the others `short` (`short <= long`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interleave {
    lanes: u64,
    long_lanes: u64,
    long: u64,
    short: u64,
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
        }
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
        let (row, lane) = if position < shared {
            (position / self.lanes, position % self.lanes)
        } else {
            let rest = position - shared;
            (self.short + rest / self.long_lanes, rest % self.long_lanes)
        };
        Some((u16::try_from(lane).ok()?, u32::try_from(row).ok()?))
    }

    /// The position at which row `row` of lane `lane` is sent, if there is such an entry.
    pub fn position(&self, lane: u16, row: u32) -> Option<u64> {
        let (lane, row) = (u64::from(lane), u64::from(row));
        let rows = if lane < self.long_lanes { self.long } else { self.short };
        if lane >= self.lanes || row >= rows {
            return None;
        }
        Some(if row < self.short {
            row * self.lanes + lane
        } else {
            self.short * self.lanes + (row - self.short) * self.long_lanes + lane
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_and_entries_are_a_bijection(lanes in 1u16..9, long_lanes in 0u16..10, short in 0u32..40, more in 0u32..5) {
            let order = Interleave::new(lanes, long_lanes, short + more, short);
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
