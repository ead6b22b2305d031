//! A fleet in a few numbers.

use super::{DeviceState, Heard, Stand};

/// Least and most repair that is sized from reports, in hundredths of a percent.
const REPAIR_PERMYRIAD: (u32, u32) = (100, 5_000);
/// Repair beyond what the loss takes, in hundredths of a percent: losses vary from block to block.
const REPAIR_MARGIN_PERMYRIAD: u32 = 150;

/// A fleet in a few numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    receiving: u64,
    verified: u64,
    activated: u64,
    committed: u64,
    failed: u64,
    silent: u64,
    /// Reported losses in parts per million, from the least.
    losses_ppm: Vec<u32>,
}

impl Tally {
    pub(super) fn add(&mut self, stand: &Stand, heard: Option<&Heard>) {
        *match stand {
            Stand::Said(DeviceState::Receiving) => &mut self.receiving,
            Stand::Said(DeviceState::Verified) => &mut self.verified,
            Stand::Said(DeviceState::Activated) => &mut self.activated,
            Stand::Said(DeviceState::Committed) => &mut self.committed,
            Stand::Said(DeviceState::Failed { .. }) => &mut self.failed,
            Stand::Silent => &mut self.silent,
        } += 1;
        self.losses_ppm.extend(heard.and_then(|heard| heard.report.loss_ppm));
    }

    pub(super) fn sort(&mut self) {
        self.losses_ppm.sort_unstable();
    }

    /// The states by name, and how many devices are in each.
    pub fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("receiving", self.receiving),
            ("verified", self.verified),
            ("activated", self.activated),
            ("committed", self.committed),
            ("failed", self.failed),
            ("silent", self.silent),
        ]
    }

    /// Devices in all.
    pub fn total(&self) -> u64 {
        self.counts().iter().map(|(_, count)| count).sum()
    }

    /// Devices that hold the image, verified.
    pub fn done(&self) -> u64 {
        self.verified + self.activated + self.committed
    }

    /// Whether at least `permyriad` in ten thousand devices are done. Of no devices none are.
    pub fn reaches(&self, permyriad: u32) -> bool {
        self.total() > 0 && u128::from(self.done()) * 10_000 >= u128::from(self.total()) * u128::from(permyriad)
    }

    /// The loss that `percent` of the reporting devices do not exceed, in parts per million; `None` when none was reported.
    pub fn loss_ppm(&self, percent: usize) -> Option<u32> {
        let rank = (self.losses_ppm.len() * percent).div_ceil(100).saturating_sub(1);
        self.losses_ppm.get(rank).copied()
    }
}

/// Planned repair for a loss, in hundredths of a percent of the source symbols: what the loss takes of source and repair symbols, and
/// a margin, within bounds that no lie can leave.
pub fn repair_for_loss(loss_ppm: u32) -> u32 {
    let loss = u64::from(loss_ppm.min(999_999));
    let taken = (loss * 10_000).div_ceil(1_000_000 - loss);
    let (least, most) = REPAIR_PERMYRIAD;
    u32::try_from(taken).unwrap_or(u32::MAX).saturating_add(REPAIR_MARGIN_PERMYRIAD).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_fleet_is_reached_or_not() {
        let tally = Tally { committed: 98, verified: 1, silent: 1, ..Tally::default() };
        assert_eq!((tally.total(), tally.done()), (100, 99));
        assert!(tally.reaches(9_900) && !tally.reaches(9_901) && tally.reaches(0));
        assert!(!Tally::default().reaches(0));
    }

    #[test]
    fn repair_follows_the_loss_of_nearly_all_devices_within_bounds() {
        let tally = Tally { losses_ppm: (1..=100).map(|n| n * 1_000).collect(), ..Tally::default() };
        assert_eq!(
            (tally.loss_ppm(95), tally.loss_ppm(100), tally.loss_ppm(0)),
            (Some(95_000), Some(100_000), Some(1_000))
        );
        assert_eq!(Tally::default().loss_ppm(95), None);
        // 2 % of loss take 2.05 % of repair.
        assert_eq!([0, 20_000, 100_000, 400_000, 1_000_000].map(repair_for_loss), [150, 355, 1_262, 5_000, 5_000]);
    }
}
