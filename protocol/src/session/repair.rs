//! How many repair symbols a block is given ahead of any feedback (design section 2).

use fleetcast_fec::MAX_ESI;

/// Blocks up to this many symbols get at least what [`floor_for_small_block`] asks for.
pub const SMALL_BLOCK_SYMBOLS: u32 = 1000;
/// Independent packet loss the floor is sized for.
const FLOOR_LOSS: f64 = 0.02;
/// Probability that a block fails at that loss, with the floor's symbols.
const FLOOR_FAILURE: f64 = 1e-9;
/// Symbols beyond K a decoder may need before it succeeds (RaptorQ fails at K + 1 about once in 10^5).
const DECODER_OVERHEAD: u32 = 1;

/// Repair symbols planned per block: a share of K, never less than a small block needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepairShare {
    permyriad: u32,
}

impl RepairShare {
    /// No repair at all: source symbols only.
    pub const NONE: Self = Self { permyriad: 0 };

    /// A share in hundredths of a percent of K: 500 is 5 %.
    pub fn from_permyriad(permyriad: u32) -> Self {
        Self { permyriad }
    }

    /// Planned repair symbols of a block of `k` source symbols: max(share · K, the small block's floor), and 0 for no share.
    pub fn symbols(self, k: u32) -> u32 {
        if self.permyriad == 0 {
            return 0;
        }
        let share = (u64::from(k) * u64::from(self.permyriad)).div_ceil(10_000);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let floor = if k <= SMALL_BLOCK_SYMBOLS { floor_for_small_block(k) } else { 0 };
        share.max(floor).min(MAX_ESI - k)
    }
}

/// Fewest repair symbols with which a block of `k` symbols fails at most once in 10^9 at 2 % independent loss.
///
/// A percentage does not do for small blocks: 5 % of 100 symbols is 5, and losing 6 of 105 packets is common.
pub fn floor_for_small_block(k: u32) -> u32 {
    (DECODER_OVERHEAD..).find(|&repair| failure(k, repair) <= FLOOR_FAILURE).unwrap_or(k)
}

/// P(more than `repair − overhead` of `k + repair` packets are lost), the upper tail of the binomial.
fn failure(k: u32, repair: u32) -> f64 {
    let sent = f64::from(k + repair);
    let affordable = repair - DECODER_OVERHEAD;
    // The tail is summed itself, not taken as 1 − (the rest): 1e-9 would drown in rounding.
    let odds = FLOOR_LOSS / (1.0 - FLOOR_LOSS);
    let mut term = (1.0 - FLOOR_LOSS).powf(sent);
    let mut tail = 0.0;
    for lost in 1..=k + repair {
        term *= odds * (sent - f64::from(lost) + 1.0) / f64::from(lost);
        if lost > affordable {
            tail += term;
            if term < tail * 1e-12 {
                break;
            }
        }
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_design_s_table_within_the_decoder_s_overhead() {
        for (k, table) in [(100, 16), (200, 22), (745, 44), (1000, 53)] {
            let floor = floor_for_small_block(k);
            assert!(floor.abs_diff(table) <= DECODER_OVERHEAD, "K = {k}: {floor}, the design says {table}");
        }
    }

    #[test]
    fn small_blocks_get_their_floor_and_large_ones_their_share() {
        let five_percent = RepairShare::from_permyriad(500);
        assert!(five_percent.symbols(1) >= 5);
        assert!(five_percent.symbols(100) >= 16);
        assert_eq!(five_percent.symbols(2000), 100);
        assert_eq!(five_percent.symbols(1958), 98);
        assert_eq!(RepairShare::NONE.symbols(1), 0);
        assert_eq!(RepairShare::from_permyriad(u32::MAX).symbols(56_403), MAX_ESI - 56_403);
    }
}
