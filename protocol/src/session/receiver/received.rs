//! Which source symbols of a block are there, in little memory while few are missing.
//!
//! Symbols come nearly in order, so what is there is nearly always "all up to here but these": two bytes a hole, where a
//! bitmap takes a bit a symbol. A million simulated receivers fit one machine by that, and a device pays less too.

use fleetcast_fec::SymbolSet;
use std::ops::Range;

/// Holes are listed while they take no more memory than a bitmap: one in this many symbols.
const SYMBOLS_PER_HOLE: usize = 16;

/// A set of source symbols of a block of K.
#[derive(Debug, Clone)]
pub struct Received {
    k: u32,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// All below `end` but the `holes`, which ascend.
    Holes { end: u32, holes: Vec<u16> },
    /// One bit a symbol.
    Bits(SymbolSet),
}

impl Received {
    /// No symbol of `k`.
    pub fn new(k: u32) -> Self {
        Self { k, form: Form::Holes { end: 0, holes: Vec::new() } }
    }

    /// How many symbols are there.
    pub fn count(&self) -> u32 {
        match &self.form {
            Form::Holes { end, holes } => end - u32::try_from(holes.len()).unwrap_or(*end),
            Form::Bits(set) => set.count(),
        }
    }

    /// Whether all are.
    pub fn is_full(&self) -> bool {
        self.count() == self.k
    }

    /// Whether symbol `esi` is there.
    pub fn contains(&self, esi: u32) -> bool {
        match &self.form {
            Form::Holes { end, holes } => esi < *end && hole_at(holes, esi).is_none(),
            Form::Bits(set) => set.contains(esi),
        }
    }

    /// Adds symbol `esi`; whether it is new, and one of the block's.
    pub fn insert(&mut self, esi: u32) -> bool {
        match &mut self.form {
            Form::Holes { end, .. } if esi >= *end => {
                if esi < self.k {
                    self.extend(esi..esi + 1, &[]);
                }
                esi < self.k
            }
            Form::Holes { holes, .. } => hole_at(holes, esi).map(|index| holes.remove(index)).is_some(),
            Form::Bits(set) => set.insert(esi),
        }
    }

    /// Takes symbol `esi` out; whether it was there.
    pub fn remove(&mut self, esi: u32) -> bool {
        self.bits().remove(esi)
    }

    /// Symbols from here on are all missing, as far as it is known without looking at each.
    pub fn end(&self) -> u32 {
        match &self.form {
            Form::Holes { end, .. } => *end,
            Form::Bits(set) => set.len(),
        }
    }

    /// Adds the symbols `esis` but for those `lost`, which ascend. All of `esis` must lie in the block, from
    /// [`end`](Self::end) on.
    pub fn extend(&mut self, esis: Range<u32>, lost: &[u32]) {
        // What is missing past the last one that came is no hole: it lies past the end.
        let (mut lost, mut stop) = (lost, esis.end);
        while let Some((last, before)) = lost.split_last().filter(|(last, _)| **last + 1 == stop) {
            (lost, stop) = (before, *last);
        }
        if stop <= esis.start {
            return;
        }
        if let Form::Holes { end, holes } = &mut self.form {
            let more = (esis.start - *end) as usize + lost.len();
            let last_hole_fits = stop <= u32::from(u16::MAX);
            if last_hole_fits && (holes.len() + more) * SYMBOLS_PER_HOLE <= self.k as usize {
                let new = (*end..esis.start).chain(lost.iter().copied());
                holes.reserve_exact(more);
                holes.extend(new.filter_map(|esi| u16::try_from(esi).ok()));
                *end = stop;
                return;
            }
        }
        let set = self.bits();
        let mut lost = lost.iter().peekable();
        for esi in esis.start..stop {
            if lost.next_if_eq(&&esi).is_none() {
                set.insert(esi);
            }
        }
    }

    /// Those of `esis` that are missing, ascending.
    pub fn missing_of(&self, esis: Range<u32>) -> Vec<u32> {
        match &self.form {
            Form::Holes { end, holes } => {
                let first = holes.partition_point(|hole| u32::from(*hole) < esis.start);
                let holes = holes.iter().skip(first).map(|hole| u32::from(*hole)).take_while(|esi| *esi < esis.end);
                holes.chain(esis.start.max(*end)..esis.end.min(self.k)).collect()
            }
            Form::Bits(set) => (esis.start..esis.end.min(self.k)).filter(|esi| !set.contains(*esi)).collect(),
        }
    }

    /// The same as one bit a symbol.
    pub fn to_set(&self) -> SymbolSet {
        match &self.form {
            Form::Holes { end, holes } => {
                let mut words = vec![u64::MAX; (end / u64::BITS) as usize];
                if self.k > 0 {
                    words.resize(self.k.div_ceil(u64::BITS) as usize, 0);
                }
                if end % u64::BITS > 0 {
                    words[(end / u64::BITS) as usize] = (1 << (end % u64::BITS)) - 1;
                }
                for hole in holes {
                    words[usize::from(hole / 64)] &= !(1 << (hole % 64));
                }
                SymbolSet::from_words(self.k, &words).unwrap_or_else(|| SymbolSet::new(self.k))
            }
            Form::Bits(set) => set.clone(),
        }
    }

    fn bits(&mut self) -> &mut SymbolSet {
        if let Form::Holes { .. } = self.form {
            self.form = Form::Bits(self.to_set());
        }
        match &mut self.form {
            Form::Bits(set) => set,
            Form::Holes { .. } => unreachable!("just made bits"),
        }
    }
}

/// Where `esi` stands among the holes, if it is one.
fn hole_at(holes: &[u16], esi: u32) -> Option<usize> {
    holes.binary_search(&u16::try_from(esi).ok()?).ok()
}

/// Two sets are equal when they hold the same symbols, in whatever form.
impl PartialEq for Received {
    fn eq(&self, other: &Self) -> bool {
        self.k == other.k && self.count() == other.count() && self.to_set() == other.to_set()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn few_holes_take_few_bytes() {
        let mut received = Received::new(1958);
        let lost: Vec<u32> = (0..1958).step_by(100).collect();
        received.extend(0..1958, &lost);
        let Form::Holes { end, holes } = &received.form else { panic!("a bitmap") };
        assert_eq!((*end, holes.len(), holes.capacity()), (1958, 20, 20));
        // One by one in the wrong order it becomes a bitmap, and holds the same.
        let mut other = Received::new(1958);
        (0..1958).rev().filter(|esi| !lost.contains(esi)).for_each(|esi| assert!(other.insert(esi)));
        assert!(matches!(other.form, Form::Bits(_)));
        assert_eq!(received, other);
    }

    #[test]
    fn a_block_with_more_symbols_than_holes_can_name_has_bits() {
        let mut received = Received::new(70_000);
        received.extend(0..70_000, &[69_000]);
        assert_eq!((received.count(), received.contains(69_000), received.contains(69_999)), (69_999, false, true));
    }

    proptest! {
        #[test]
        fn behaves_like_a_tree_set(
            k in 0u32..300,
            steps in prop::collection::vec((0u8..8, 0u32..320, prop::collection::btree_set(0u32..320, 0..20)), 0..100),
        ) {
            let mut received = Received::new(k);
            let mut oracle = BTreeSet::new();
            for (kind, esi, lost) in steps {
                match kind {
                    0 => {
                        let (start, stop) = (received.end(), esi.min(k));
                        let lost: Vec<u32> = lost.into_iter().filter(|lost| (start..stop).contains(lost)).collect();
                        if start < stop {
                            received.extend(start..stop, &lost);
                            oracle.extend((start..stop).filter(|esi| !lost.contains(esi)));
                        }
                    }
                    1 => prop_assert_eq!(received.remove(esi), oracle.remove(&esi)),
                    _ => {
                        let esi = if kind < 6 { received.end() + esi % 4 } else { esi };
                        prop_assert_eq!(received.insert(esi), esi < k && oracle.insert(esi));
                    }
                }
                prop_assert_eq!(received.count() as usize, oracle.len());
                prop_assert_eq!(received.contains(esi), oracle.contains(&esi));
                let end = esi + 50;
                let missing: Vec<u32> = (esi..end.min(k)).filter(|esi| !oracle.contains(esi)).collect();
                prop_assert_eq!(received.missing_of(esi..end), missing);
            }
            prop_assert!(received.to_set().iter().eq(oracle.iter().copied()));
            prop_assert!((received.end()..k).all(|esi| !oracle.contains(&esi)));
        }
    }
}
