//! Checking a block: decode what is missing, compare the hash, and when it does not match look for the symbols to blame.

use super::action::{BlockCheck, BlockOutcome};
use fleetcast_fec::{Codec, DecodeArgumentError, DecodeError, Parked, SymbolSet};
use sha2::{Digest, Sha256};

/// Suspects that are left out one at a time, when there are too many to leave out together: each costs a decode.
const MAX_SINGLE_SUSPECTS: usize = 32;

/// A block that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// How it ended.
    pub outcome: BlockOutcome,
    /// Rows that were computed, to be written back to staging; none unless the block is verified.
    pub computed_rows: Vec<u32>,
}

impl BlockCheck {
    /// Checks the block. `read` fills a buffer with its rows as they lie in staging, its own K and then its spill rows; it is
    /// called again for every new attempt, since `rows` is decoded in place. When the block is verified, `rows` holds it.
    ///
    /// With symbols beyond K, a few forged ones are found and done without.
    ///
    /// # Errors
    /// What `read` returned; a [`DecodeArgumentError`] would be a bug of the session.
    pub fn settle<E: From<DecodeArgumentError>>(
        &self,
        codec: &Codec,
        rows: &mut Vec<u8>,
        mut read: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Settled, E> {
        let failed = |outcome| Ok(Settled { outcome, computed_rows: Vec::new() });
        read(rows)?;
        if !decode(codec, self, rows, &self.received, &self.parked)? {
            return failed(BlockOutcome::Singular);
        }
        if self.matches(&rows[..self.range.len]) {
            let computed_rows: Vec<u32> = self.received.missing().collect();
            let decoded = !computed_rows.is_empty();
            return Ok(Settled { outcome: BlockOutcome::Verified { decoded, forged_symbols: 0 }, computed_rows });
        }
        read(rows)?;
        let suspects = codec.suspects(self.range.shape, rows, &self.received, &self.parked)?;
        for blamed in groups(&suspects, self.surplus()) {
            read(rows)?;
            let (received, parked) = self.without(blamed);
            if decode(codec, self, rows, &received, &parked)? && self.matches(&rows[..self.range.len]) {
                let forged_symbols = u32::try_from(blamed.len()).unwrap_or(u32::MAX);
                let outcome = BlockOutcome::Verified { decoded: true, forged_symbols };
                return Ok(Settled { outcome, computed_rows: received.missing().collect() });
            }
        }
        failed(BlockOutcome::Corrupt)
    }

    /// Whether the block's bytes are what was promised. Without a promise, a block that decodes is done.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        self.sha256.is_none_or(|sha256| <[u8; 32]>::from(Sha256::digest(bytes)) == sha256)
    }

    /// Symbols beyond K.
    fn surplus(&self) -> usize {
        let missing = self.received.len() - self.received.count();
        self.parked.len().saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX))
    }

    /// The symbols without those in the rows `blamed`.
    fn without(&self, blamed: &[u32]) -> (SymbolSet, Vec<Parked>) {
        let mut received = SymbolSet::new(self.received.len());
        self.received.iter().filter(|row| !blamed.contains(row)).for_each(|row| {
            received.insert(row);
        });
        (received, self.parked.iter().filter(|symbol| !blamed.contains(&symbol.row)).copied().collect())
    }
}

/// Which suspects to leave out, in turn: all when enough is left without them, and each one alone.
fn groups(suspects: &[u32], surplus: usize) -> impl Iterator<Item = &[u32]> {
    let together = (!suspects.is_empty() && suspects.len() <= surplus).then_some(suspects);
    let single = if suspects.len() <= MAX_SINGLE_SUSPECTS { suspects } else { &[] };
    together.into_iter().chain(single.chunks(1))
}

/// Whether the symbols determine the block, which is then in `rows`.
fn decode(
    codec: &Codec,
    check: &BlockCheck,
    rows: &mut [u8],
    received: &SymbolSet,
    parked: &[Parked],
) -> Result<bool, DecodeArgumentError> {
    match codec.decode(check.range.shape, rows, received, parked) {
        Ok(()) => Ok(true),
        Err(DecodeError::NeedMore { .. }) => Ok(false),
        Err(DecodeError::Argument(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_are_left_out_together_where_that_is_possible_and_then_one_by_one() {
        let tried = |suspects: &[u32], surplus| groups(suspects, surplus).map(<[u32]>::to_vec).collect::<Vec<_>>();
        assert_eq!(tried(&[], 4), Vec::<Vec<u32>>::new());
        assert_eq!(tried(&[5, 9], 2), [vec![5, 9], vec![5], vec![9]]);
        assert_eq!(tried(&[5, 9], 1), [vec![5], vec![9]]);
        assert_eq!(tried(&[7; 33], 4), Vec::<Vec<u32>>::new());
    }
}
