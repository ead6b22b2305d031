//! The bytes of an image that is never whole in memory.

/// Pseudo-random bytes, a function of seed and offset: those of the lab's image of this seed.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    key: u64,
}

impl Content {
    pub fn new(seed: u64) -> Self {
        Self { key: mix(seed) }
    }

    /// `len` bytes from `offset`, which is a multiple of 8.
    pub fn read(self, offset: u64, len: usize) -> Vec<u8> {
        assert!(offset.is_multiple_of(8));
        let mut bytes = vec![0; len.next_multiple_of(8)];
        for (index, word) in (offset / 8..).zip(bytes.chunks_exact_mut(8)) {
            word.copy_from_slice(&self.word(index).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn word(self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index))
    }
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
