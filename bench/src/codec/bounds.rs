//! What this machine could do at best, measured in the same run.

use super::row::BoundRow;
use super::times::{median_s, timed};
use fleetcast_fec::Kernels;
use std::hint::black_box;

/// Bytes of a second-level cache that rows are added from: more than a first-level cache, less than a second-level one.
const L2_LEN: usize = 256 << 10;
/// Bytes that a last-level cache does not hold.
const MEMORY_LEN: usize = 256 << 20;
const ROUNDS: usize = 15;

/// Speeds in bytes a second.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of adding rows that lie in a second-level cache.
    pub xor: f64,
    /// Of reading memory.
    pub memory: f64,
    /// Of reading a block again and again, as a bench does: from the last-level cache, if it fits.
    pub block: f64,
}

impl Bounds {
    /// Measures them for blocks of `block_len` bytes.
    pub fn measure(block_len: usize) -> anyhow::Result<Self> {
        let slab = vec![1_u8; L2_LEN];
        let mut sum = vec![0; 128];
        let kernels = Kernels::detect();
        // A thousand slabs' worth is some milliseconds.
        let xor_s = fastest(|| (0..64).for_each(|_| kernels.add_rows(black_box(&mut sum), black_box(&slab))))? / 64.0;
        let (memory, block) = (vec![1_u64; MEMORY_LEN / 8], vec![1_u64; block_len / 8]);
        let memory_s = fastest(|| read(&memory))?;
        let block_s = fastest(|| read(&block))?;
        Ok(Self { xor: L2_LEN as f64 / xor_s, memory: MEMORY_LEN as f64 / memory_s, block: block_len as f64 / block_s })
    }

    /// The bound of an operation that adds `additions` rows for each source symbol: all additions from the second-level
    /// cache, or the block read once, whatever takes longer.
    pub fn of(self, additions: f64) -> f64 {
        self.block.min(self.xor / additions)
    }

    /// As rows to print.
    pub fn rows(self) -> [BoundRow; 3] {
        let row = |what, bytes_s: f64| BoundRow { bench: "codec", op: "bound", what, mb_s: bytes_s / 1e6 };
        [
            row("adding rows of a second-level cache", self.xor),
            row("reading memory", self.memory),
            row("reading a block repeatedly", self.block),
        ]
    }
}

fn read(words: &[u64]) {
    black_box(words.iter().fold(0, |sum, word| sum ^ word));
}

/// Median time of `operation` in seconds, after it has run once.
fn fastest(mut operation: impl FnMut()) -> anyhow::Result<f64> {
    operation();
    let times = (0..ROUNDS)
        .map(|_| {
            timed(|| {
                operation();
                Ok(())
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(median_s(&times))
}
