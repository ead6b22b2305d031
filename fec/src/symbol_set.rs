//! Which symbols of a block are there: one bit a symbol.

const WORD_BITS: u32 = u64::BITS;

/// A set of symbol indices below a fixed length.
///
/// An index out of range is never in the set and never gets into it, so an index off the wire needs no check of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolSet {
    /// Bit `i % 64` of word `i / 64` is index `i`. Bits at and above `len` are always zero.
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl SymbolSet {
    /// An empty set over the indices `0..len`.
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; word_count(len)], len, count: 0 }
    }

    /// The set over `0..len` that [`as_words`](Self::as_words) gave, or `None` when `words` cannot be such a set: a wrong
    /// number of words, or bits at or above `len`.
    pub fn from_words(len: u32, words: &[u64]) -> Option<Self> {
        let tail_bits = len % WORD_BITS;
        let stray = match words.last() {
            Some(last) if tail_bits != 0 => last >> tail_bits,
            _ => 0,
        };
        if words.len() != word_count(len) || stray != 0 {
            return None;
        }
        let count = words.iter().map(|word| word.count_ones()).sum();
        Some(Self { words: words.to_vec(), len, count })
    }

    /// The bits, lowest index first: index `i` is bit `i % 64` of word `i / 64`.
    pub fn as_words(&self) -> &[u64] {
        &self.words
    }

    /// Adds `index`; true when it was not there before, false when it was or is out of range.
    pub fn insert(&mut self, index: u32) -> bool {
        if index >= self.len {
            return false;
        }
        let Some(word) = self.words.get_mut(word_of(index)) else { return false };
        let newly = *word & bit_of(index) == 0;
        *word |= bit_of(index);
        self.count += u32::from(newly);
        newly
    }

    /// Takes `index` out; true when it was there.
    pub fn remove(&mut self, index: u32) -> bool {
        let Some(word) = self.words.get_mut(word_of(index)) else { return false };
        let was_there = *word & bit_of(index) != 0;
        *word &= !bit_of(index);
        self.count -= u32::from(was_there);
        was_there
    }

    /// Whether `index` is in the set; false when it is out of range.
    pub fn contains(&self, index: u32) -> bool {
        self.words.get(word_of(index)).is_some_and(|word| word & bit_of(index) != 0)
    }

    /// How many indices are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many indices the set can hold: they are `0..len`.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no index is in the set (which says nothing about [`len`](Self::len)).
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether every index of `0..len` is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// The indices in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits(0)
    }

    /// The indices of `0..len` that are not in the set, ascending.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        let len = self.len;
        self.bits(u64::MAX).take_while(move |&index| index < len)
    }

    /// The set bits of every word XOR `flip`, ascending.
    fn bits(&self, flip: u64) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.words).flat_map(move |(number, word)| {
            let mut left = word ^ flip;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                // Clears the lowest set bit; the word is used up when there is none.
                left &= left.checked_sub(1)?;
                Some(number * WORD_BITS + bit)
            })
        })
    }
}

fn word_count(len: u32) -> usize {
    len.div_ceil(WORD_BITS) as usize
}

fn word_of(index: u32) -> usize {
    (index / WORD_BITS) as usize
}

fn bit_of(index: u32) -> u64 {
    1 << (index % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn out_of_range_is_never_in_the_set() {
        let mut set = SymbolSet::new(65);
        for index in [65, 66, 127, 128, u32::MAX] {
            assert!(!set.insert(index));
            assert!(!set.contains(index));
            assert!(!set.remove(index));
        }
        assert_eq!((set.count(), set.is_empty(), set.is_full()), (0, true, false));
    }

    #[test]
    fn a_set_over_nothing_is_empty_and_full() {
        let set = SymbolSet::new(0);
        assert!(set.is_empty() && set.is_full());
        assert_eq!((set.iter().count(), set.missing().count()), (0, 0));
    }

    #[test]
    fn words_of_the_wrong_number_or_with_stray_bits_are_refused() {
        assert_eq!(SymbolSet::from_words(64, &[]), None);
        assert_eq!(SymbolSet::from_words(64, &[0, 0]), None);
        assert_eq!(SymbolSet::from_words(0, &[0]), None);
        assert_eq!(SymbolSet::from_words(3, &[0b1000]), None);
        let all = SymbolSet::from_words(64, &[u64::MAX]).expect("64 bits in one word");
        assert!(all.is_full());
        assert!(SymbolSet::from_words(3, &[0b111]).expect("3 bits").is_full());
    }

    proptest! {
        #[test]
        fn behaves_like_a_tree_set(len in 0u32..300, steps in prop::collection::vec((any::<bool>(), 0u32..320), 0..400)) {
            let mut set = SymbolSet::new(len);
            let mut oracle = BTreeSet::new();
            for (insert, index) in steps {
                if insert {
                    prop_assert_eq!(set.insert(index), index < len && oracle.insert(index));
                } else {
                    prop_assert_eq!(set.remove(index), oracle.remove(&index));
                }
                prop_assert_eq!(set.contains(index), oracle.contains(&index));
            }
            prop_assert_eq!(set.count() as usize, oracle.len());
            prop_assert_eq!(set.is_full(), oracle.len() == len as usize);
            prop_assert!(set.iter().eq(oracle.iter().copied()));
            prop_assert!(set.missing().eq((0..len).filter(|index| !oracle.contains(index))));
            prop_assert_eq!(SymbolSet::from_words(len, set.as_words()), Some(set));
        }
    }
}
