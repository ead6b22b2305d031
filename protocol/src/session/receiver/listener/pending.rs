//! Manifests that are being put together, packet by packet, while anybody may send forged ones.
//!
//! An object is known by its TSI and its OTI. Only symbols that came take memory; what was touched least recently gives
//! way, so a manifest whose packets leave back to back survives a flood that is dozens of times as dense. A symbol that
//! comes again replaces the earlier one: a forged symbol spoils its manifest only until the genuine one is repeated.

use crate::manifest::MAX_MANIFEST_LEN;
use crate::wire::{NoCodeOti, PayloadId};
use std::collections::BTreeMap;

/// Manifests put together at the same time.
const MAX_PENDING: usize = 64;
/// Bytes of all of them, with what each symbol costs beside its bytes.
const MAX_BYTES: usize = 1 << 20;
/// What a symbol costs beside its bytes, about.
const SYMBOL_OVERHEAD: usize = 96;
/// Smaller symbols are not taken: ours have 256 bytes at least, and a manifest of tiny ones costs more than it holds.
const MIN_SYMBOL_SIZE: u16 = 64;

/// One symbol of a manifest.
#[derive(Debug)]
struct Symbol {
    bytes: Box<[u8]>,
    /// The attempt it came in, see [`Pending::attempt`].
    attempt: u32,
}

/// One manifest in the making.
#[derive(Debug)]
struct Pending {
    tsi: u64,
    oti: NoCodeOti,
    symbols: BTreeMap<u64, Symbol>,
    /// Bytes of the symbols, as [`MAX_BYTES`] counts them.
    cost: usize,
    /// Counts how often the whole was handed out, and `fresh` the symbols that came since.
    attempt: u32,
    fresh: u64,
    /// It was handed out and not rejected: its repetitions say nothing new.
    taken: bool,
}

impl Pending {
    fn new(tsi: u64, oti: NoCodeOti) -> Self {
        Self { tsi, oti, symbols: BTreeMap::new(), cost: 0, attempt: 0, fresh: 0, taken: false }
    }

    /// Keeps a symbol; whether the whole may now be another than the one handed out last.
    fn place(&mut self, index: u64, bytes: &[u8]) -> bool {
        let symbol = Symbol { bytes: bytes.into(), attempt: self.attempt };
        let old = self.symbols.insert(index, symbol);
        self.fresh += u64::from(old.as_ref().is_none_or(|old| old.attempt != self.attempt));
        let is_new = old.as_ref().is_none_or(|old| *old.bytes != *bytes);
        if old.is_none() {
            self.cost += bytes.len() + SYMBOL_OVERHEAD;
        }
        is_new || self.fresh >= self.oti.total_symbols()
    }

    /// The whole, if all of it is there.
    fn take(&mut self) -> Option<Vec<u8>> {
        if (self.symbols.len() as u64) < self.oti.total_symbols() {
            return None;
        }
        self.taken = true;
        self.attempt = self.attempt.wrapping_add(1);
        self.fresh = 0;
        Some(self.symbols.values().flat_map(|symbol| symbol.bytes.iter().copied()).collect())
    }
}

/// Manifests in the making.
#[derive(Debug, Default)]
pub(super) struct PendingManifests {
    /// Least recently touched first.
    all: Vec<Pending>,
}

impl PendingManifests {
    /// Takes the payload of a packet of the manifest of `tsi`, and returns the manifest when all of it is there and it
    /// was not returned before, or was rejected and came anew, whole or in part.
    pub fn push(&mut self, tsi: u64, oti: &NoCodeOti, id: PayloadId, payload: &[u8]) -> Option<Vec<u8>> {
        let len = usize::try_from(oti.transfer_length).ok().filter(|len| (1..=MAX_MANIFEST_LEN).contains(len))?;
        oti.check().ok().filter(|()| oti.symbol_size >= MIN_SYMBOL_SIZE || len < usize::from(MIN_SYMBOL_SIZE))?;
        let place = oti.locate(id)?;
        let symbol_size = usize::from(oti.symbol_size);
        let start = usize::try_from(place.index).ok()?.checked_mul(symbol_size)?;
        let symbol = payload.get(..symbol_size.min(len.checked_sub(start)?))?;
        let pending = self.touch(tsi, oti);
        if pending.taken {
            return None;
        }
        let is_new = pending.place(place.index, symbol);
        let whole = if is_new { pending.take() } else { None };
        self.keep_within_bounds();
        whole
    }

    /// What [`push`](Self::push) just returned for `tsi` is not genuine. Its symbols stay: the next repetition replaces those
    /// that were forged.
    pub fn reject(&mut self, tsi: u64) {
        if let Some(pending) = self.all.iter_mut().rfind(|pending| pending.tsi == tsi) {
            pending.taken = false;
        }
    }

    /// Takes the next repetition of what `tsi` sends for new. What is incomplete stays as it is.
    pub fn forget(&mut self, tsi: u64) {
        self.all.retain(|pending| pending.tsi != tsi || !pending.taken);
    }

    /// The entry of a manifest, made when there is none, as the most recently touched one.
    fn touch(&mut self, tsi: u64, oti: &NoCodeOti) -> &mut Pending {
        match self.all.iter().rposition(|pending| pending.tsi == tsi && pending.oti == *oti) {
            Some(index) => self.all[index..].rotate_left(1),
            None => self.all.push(Pending::new(tsi, *oti)),
        }
        let last = self.all.len() - 1;
        &mut self.all[last]
    }

    /// Drops the least recently touched ones; never the last, which a packet was just taken for.
    fn keep_within_bounds(&mut self) {
        let mut bytes: usize = self.all.iter().map(|pending| pending.cost).sum();
        let mut dropped = 0;
        for pending in self.all.iter().take(self.all.len().saturating_sub(1)) {
            if self.all.len() - dropped <= MAX_PENDING && bytes <= MAX_BYTES {
                break;
            }
            bytes -= pending.cost;
            dropped += 1;
        }
        self.all.drain(..dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::NoCodeObject;
    use proptest::prelude::*;

    const TSI: u64 = 7;
    const SYMBOL_SIZE: u16 = 256;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
    }

    fn manifest() -> NoCodeObject {
        NoCodeObject::new(1, content(2000), SYMBOL_SIZE).unwrap()
    }

    /// A whole repetition; what was handed out, each time rejected unless it is the content.
    fn repeat(pending: &mut PendingManifests, object: &NoCodeObject) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for (id, symbol) in object.symbols() {
            if let Some(bytes) = pending.push(TSI, &object.oti(), id, symbol) {
                if bytes != object.bytes() {
                    pending.reject(TSI);
                }
                whole.push(bytes);
            }
        }
        whole
    }

    fn forged(esi: u32) -> (PayloadId, [u8; SYMBOL_SIZE as usize]) {
        (PayloadId { sbn: 0, esi }, [0xFF; SYMBOL_SIZE as usize])
    }

    #[test]
    fn hands_a_manifest_out_once_until_it_is_forgotten() {
        let (mut pending, object) = (PendingManifests::default(), manifest());
        assert_eq!(repeat(&mut pending, &object), [content(2000)]);
        assert!(repeat(&mut pending, &object).is_empty());
        pending.forget(TSI + 1);
        assert!(repeat(&mut pending, &object).is_empty());
        pending.forget(TSI);
        assert_eq!(repeat(&mut pending, &object), [content(2000)]);
    }

    #[test]
    fn every_repetition_of_a_rejected_one_counts_once() {
        let (mut pending, object) = (PendingManifests::default(), manifest());
        for _ in 0..3 {
            let whole: Vec<_> =
                object.symbols().filter_map(|(id, symbol)| pending.push(TSI, &object.oti(), id, symbol)).collect();
            assert_eq!(whole.len(), 1);
            pending.reject(TSI);
        }
    }

    #[test]
    fn forgetting_keeps_what_is_incomplete() {
        let (mut pending, object) = (PendingManifests::default(), manifest());
        for (id, symbol) in object.symbols().take(5) {
            assert_eq!(pending.push(TSI, &object.oti(), id, symbol), None);
            pending.forget(TSI);
        }
        let rest: Vec<_> =
            object.symbols().skip(5).filter_map(|(id, symbol)| pending.push(TSI, &object.oti(), id, symbol)).collect();
        assert_eq!(rest, [content(2000)]);
    }

    /// One forged symbol a repetition, each at another place and ahead of the genuine one: a design that kept the first
    /// symbol of each place, or began anew, would never finish.
    #[test]
    fn forged_symbols_do_not_starve_a_manifest() {
        let (mut pending, object) = (PendingManifests::default(), manifest());
        for esi in 0..8 {
            let (id, bytes) = forged(esi);
            pending.push(TSI, &object.oti(), id, &bytes);
            let whole = repeat(&mut pending, &object);
            assert_eq!(whole.last(), Some(&content(2000)), "forged {esi}");
            pending.forget(TSI);
        }
    }

    /// Between any two genuine packets come dozens of forged ones, under other TSIs or with other OTIs.
    #[test]
    fn a_flood_does_not_starve_a_manifest() {
        for same_tsi in [false, true] {
            let (mut pending, object) = (PendingManifests::default(), manifest());
            let mut serial = 0;
            let mut whole = Vec::new();
            for (id, symbol) in object.symbols() {
                for _ in 0..MAX_PENDING - 2 {
                    serial += 1;
                    let (forged_id, bytes) = forged(serial % 8);
                    let oti = NoCodeOti { transfer_length: 2000 + u64::from(serial), ..object.oti() };
                    let tsi = if same_tsi { TSI } else { 1000 + u64::from(serial) };
                    assert_eq!(pending.push(tsi, &oti, forged_id, &bytes), None);
                }
                whole.extend(pending.push(TSI, &object.oti(), id, symbol));
            }
            assert_eq!(whole, [content(2000)], "same TSI: {same_tsi}");
        }
    }

    #[test]
    fn ignores_what_cannot_be_a_manifest() {
        let mut pending = PendingManifests::default();
        let good = manifest().oti();
        let zero = PayloadId { sbn: 0, esi: 0 };
        for (oti, id, len) in [
            (good, PayloadId { sbn: 0, esi: 8 }, 256),
            (good, PayloadId { sbn: 1, esi: 0 }, 256),
            (good, PayloadId { sbn: u32::MAX, esi: u32::MAX }, 256),
            (good, zero, 255),
            (good, zero, 0),
            (NoCodeOti { transfer_length: 0, ..good }, zero, 256),
            (NoCodeOti { transfer_length: MAX_MANIFEST_LEN as u64 + 1, ..good }, zero, 256),
            (NoCodeOti { transfer_length: u64::MAX, ..good }, zero, 256),
            (NoCodeOti { symbol_size: 0, ..good }, zero, 256),
            (NoCodeOti { symbol_size: 1, ..good }, zero, 256),
            (NoCodeOti { max_block_len: 0, ..good }, zero, 256),
        ] {
            assert_eq!(pending.push(TSI, &oti, id, &vec![1; len]), None);
            assert!(pending.all.is_empty(), "{oti:?} {id:?} {len} took memory");
        }
    }

    proptest! {
        /// Whatever comes, memory is bounded, and nothing but whole objects comes out.
        #[test]
        fn memory_is_bounded(
            packets in prop::collection::vec(
                (0u64..200, prop_oneof![1u64..2_000, Just(MAX_MANIFEST_LEN as u64)], prop_oneof![64u16..1400, any::<u16>()], 1u32..2000,
                 0u32..3, 0u32..1100, 0usize..1500), 0..400),
        ) {
            let mut pending = PendingManifests::default();
            for (tsi, transfer_length, symbol_size, max_block_len, sbn, esi, len) in packets {
                let oti = NoCodeOti { transfer_length, symbol_size, max_block_len };
                if let Some(whole) = pending.push(tsi, &oti, PayloadId { sbn, esi }, &vec![1; len]) {
                    prop_assert_eq!(whole, vec![1; usize::try_from(transfer_length).unwrap()]);
                    if esi % 2 == 0 { pending.reject(tsi); }
                }
                let cost: usize = pending.all.iter()
                    .flat_map(|pending| pending.symbols.values()).map(|symbol| symbol.bytes.len() + SYMBOL_OVERHEAD).sum();
                prop_assert_eq!(cost, pending.all.iter().map(|pending| pending.cost).sum::<usize>());
                prop_assert!(pending.all.len() <= MAX_PENDING && cost <= MAX_BYTES);
            }
        }
    }
}
