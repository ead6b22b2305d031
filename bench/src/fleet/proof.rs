//! Why an emulated block counts as decoded, though no byte of it is there.
//!
//! Whether symbols determine a block depends on which they are, not on what they carry. With fewer than two symbols beyond K
//! the rank is computed, by decoding a block of the same K with symbols of 8 bytes, all zeros; with more the law of the code
//! is relied on, and its expected failures are counted. A random sample, and what lacked rank, is decoded with the image's
//! own bytes afterwards, and compared with the hash in the manifest.

use super::result::Proof;
use anyhow::{Context, bail};
use fleetcast_fec::{BlockShape, Codec, DecodeArgumentError, DecodeError, RepairRow};
use fleetcast_protocol::session::receiver::{BlockCheck, BlockOutcome, SPILL_ROWS};
use fleetcast_protocol::simulation::Random;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Symbols beyond K from which on the law is relied on.
const LAW_FROM: u32 = 2;
/// The smallest symbols that there are.
const RANK_SYMBOL_SIZE: u16 = 8;
/// Router-blocks in the sample.
const SAMPLES: usize = 128;
/// Failures that are kept to be tried with bytes; that many at once would be a bug to look into anyway.
const FAILURES: usize = 4096;

/// Decides on blocks and keeps what is needed to prove it.
pub struct Prover {
    codec: Codec,
    random: Random,
    proof: Proof,
    rows: Vec<u8>,
    /// Decoded so far: a reservoir is drawn from them.
    decoded: u64,
    samples: Vec<BlockCheck>,
    failures: Vec<BlockCheck>,
}

impl Prover {
    /// Draws its sample from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            codec: Codec::new(),
            random: Random::new(seed),
            proof: Proof::default(),
            rows: Vec::new(),
            decoded: 0,
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Computes the plan for blocks of `k` symbols ahead of time.
    pub fn prepare(&self, k: u32) {
        if let Ok(shape) = BlockShape::new(k, RANK_SYMBOL_SIZE) {
            self.codec.prepare(shape);
        }
    }

    /// How the check of a block ends.
    pub fn settle(&mut self, check: &BlockCheck) -> BlockOutcome {
        if check.received.is_full() {
            self.proof.whole += 1;
            return BlockOutcome::Verified { decoded: false, forged_symbols: 0 };
        }
        match beyond_k(check) {
            Some(beyond) if beyond >= LAW_FROM => {
                self.proof.by_law += 1;
                self.proof.law_failures_expected += failures_expected(beyond);
            }
            Some(_) => {
                self.proof.by_rank += 1;
                if !has_rank(&self.codec, check, &mut self.rows) {
                    self.proof.singular += 1;
                    if self.failures.len() < FAILURES {
                        self.failures.push(check.clone());
                    }
                    return BlockOutcome::Singular;
                }
            }
            None => return BlockOutcome::Singular,
        }
        self.sample(check);
        BlockOutcome::Verified { decoded: true, forged_symbols: 0 }
    }

    /// Algorithm R: in the end every decoded router-block was as likely to be in the sample.
    fn sample(&mut self, check: &BlockCheck) {
        self.decoded += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(check.clone());
            return;
        }
        let place = usize::try_from(self.random.below(self.decoded)).unwrap_or(usize::MAX);
        if let Some(kept) = self.samples.get_mut(place) {
            *kept = check.clone();
        }
    }

    /// Decodes the sample and the failures with the bytes of the image.
    pub fn conclude(mut self, image: &File) -> anyhow::Result<Proof> {
        for check in &self.samples {
            self.proof.sampled += 1;
            let outcome = decode(&self.codec, image, check)?;
            self.proof.sampled_right += u64::from(matches!(outcome, BlockOutcome::Verified { .. }));
        }
        for check in &self.failures {
            self.proof.failures_tried += 1;
            self.proof.failures_confirmed += u64::from(decode(&self.codec, image, check)? == BlockOutcome::Singular);
        }
        Ok(self.proof)
    }
}

/// Symbols beyond K.
fn beyond_k(check: &BlockCheck) -> Option<u32> {
    let have = u64::from(check.received.count()) + check.parked.len() as u64;
    u32::try_from(have.checked_sub(u64::from(check.range.shape.k()))?).ok()
}

/// RaptorQ fails with exactly K symbols less than once in a hundred times, and with each one more a hundredth as often.
fn failures_expected(beyond: u32) -> f64 {
    0.01f64.powi(1 + i32::try_from(beyond).unwrap_or(i32::MAX - 1))
}

/// Whether the symbols determine the block.
fn has_rank(codec: &Codec, check: &BlockCheck, rows: &mut Vec<u8>) -> bool {
    let Ok(shape) = BlockShape::new(check.range.shape.k(), RANK_SYMBOL_SIZE) else { return false };
    rows.clear();
    rows.resize(shape.len() + SPILL_ROWS as usize * shape.symbol_size(), 0);
    match codec.decode(shape, rows, &check.received, &check.parked) {
        Ok(()) => true,
        Err(DecodeError::NeedMore { .. } | DecodeError::Argument(_)) => false,
    }
}

/// Does with a block what a receiver does: decodes it from the symbols that came, and compares its hash.
fn decode(codec: &Codec, image: &File, check: &BlockCheck) -> anyhow::Result<BlockOutcome> {
    let (shape, symbol_size) = (check.range.shape, check.range.shape.symbol_size());
    let mut source = vec![0; shape.len()];
    image.read_exact_at(&mut source[..check.range.len], check.range.offset).context("cannot read the image")?;
    let mut parked = vec![0; check.parked.len() * symbol_size];
    let outs = parked.chunks_mut(symbol_size).zip(&check.parked);
    let mut repair: Vec<RepairRow<'_>> = outs.map(|(out, it)| RepairRow { esi: it.esi, out }).collect();
    codec.encode(shape, &source, &mut repair).context("the sample cannot be encoded")?;
    let came = |rows: &mut Vec<u8>| -> Result<(), DecodeArgumentError> {
        rows.clear();
        rows.resize(shape.len() + SPILL_ROWS as usize * symbol_size, 0xEE);
        let mut put =
            |row: u32, symbol: &[u8]| rows[row as usize * symbol_size..][..symbol_size].copy_from_slice(symbol);
        check.received.iter().for_each(|row| put(row, &source[row as usize * symbol_size..][..symbol_size]));
        check.parked.iter().zip(parked.chunks(symbol_size)).for_each(|(it, symbol)| put(it.row, symbol));
        Ok(())
    };
    match check.settle(codec, &mut Vec::new(), came) {
        Ok(settled) => Ok(settled.outcome),
        Err(error) => bail!("the sample cannot be decoded: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_fec::{Parked, SymbolSet};
    use fleetcast_protocol::partition::Partition;
    use sha2::{Digest as _, Sha256};
    use std::io::Write as _;

    const K: u32 = 12;
    const SYMBOL: u16 = 64;

    /// A block without `missing` of its source symbols, with so many repair symbols beyond K, from ESI `first`.
    fn check(image: &[u8], missing: u32, beyond: i32, first: u32) -> BlockCheck {
        let range = Partition::new(image.len() as u64, SYMBOL, 1).unwrap().block(0).unwrap();
        let mut received = SymbolSet::new(K);
        (missing..K).for_each(|row| assert!(received.insert(row)));
        let parked = u32::try_from(i32::try_from(missing).unwrap() + beyond).unwrap();
        let row = |index: u32| if index < missing { index } else { K + index - missing };
        let parked = (0..parked).map(|index| Parked { row: row(index), esi: first + index }).collect();
        let sha256 = Some(Sha256::digest(image).into());
        BlockCheck { generation: 1, range, sha256, received, parked }
    }

    fn image() -> (Vec<u8>, File) {
        let bytes: Vec<u8> = (0..K * u32::from(SYMBOL)).map(|n| n.to_le_bytes()[0].wrapping_mul(31)).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (bytes, file)
    }

    #[test]
    fn rank_is_what_decoding_with_bytes_comes_to() {
        let (bytes, file) = image();
        let (codec, mut rows, mut singular) = (Codec::new(), Vec::new(), 0);
        for first in (K..3_000).step_by(2) {
            let check = check(&bytes, 5, i32::from(first % 4 == 0), first);
            let rank = has_rank(&codec, &check, &mut rows);
            let outcome = decode(&codec, &file, &check).unwrap();
            assert_eq!(matches!(outcome, BlockOutcome::Verified { .. }), rank, "from {first}");
            singular += u32::from(!rank);
        }
        assert!((1..60).contains(&singular), "{singular} of 1494 lack rank");
    }

    #[test]
    fn every_way_to_be_decoded_is_counted_and_tried() {
        let (bytes, file) = image();
        let mut prover = Prover::new(1);
        let verified = |outcome| matches!(outcome, BlockOutcome::Verified { .. });
        assert!(verified(prover.settle(&check(&bytes, 0, 0, K))));
        assert!(verified(prover.settle(&check(&bytes, 4, 2, K))));
        assert!(!verified(prover.settle(&check(&bytes, 4, -1, K))), "fewer than K symbols");
        let tried = (0..500).map(|n| prover.settle(&check(&bytes, 6, 0, K + n * 6)));
        let decoded = tried.filter(|outcome| verified(*outcome)).count() as u64;
        let proof = prover.conclude(&file).unwrap();
        assert_eq!((proof.whole, proof.by_law, proof.by_rank, proof.singular), (1, 1, 500, 500 - decoded));
        assert!((proof.law_failures_expected - 1e-6).abs() < 1e-12);
        assert_eq!((proof.sampled, proof.sampled_right), (SAMPLES as u64, SAMPLES as u64));
        assert_eq!((proof.failures_tried, proof.failures_confirmed), (proof.singular, proof.singular));
        assert!(proof.singular > 0, "{proof:?}");
    }

    #[test]
    fn another_image_is_found_out() {
        let (bytes, _) = image();
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(&vec![7; bytes.len()]).unwrap();
        let mut prover = Prover::new(1);
        prover.settle(&check(&bytes, 4, 2, K));
        assert_eq!(prover.conclude(&other).unwrap().sampled_right, 0);
    }
}
