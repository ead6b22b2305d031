//! Objects of one source block without FEC (Compact No-Code, RFC 5445).

use thiserror::Error;

use super::recent::Recent;
use crate::wire::{NoCodeOti, PayloadId};

/// ESIs of Compact No-Code have 16 bits, and an object is one source block here.
const MAX_SYMBOLS: usize = 1 << 16;
/// Objects collected at once. The genuine one is only displaced when this many others, each with an OTI or version of
/// its own, are touched between two of its packets.
const MAX_ASSEMBLIES: usize = 4;

/// Why bytes cannot be sent as a small object.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// There is nothing to send.
    #[error("object {toi} is empty; give it content")]
    Empty {
        /// The object's TOI.
        toi: u64,
    },
    /// Symbols of 0 bytes.
    #[error("symbol size 0; use 1344 or what the path's MTU allows")]
    SymbolSize,
    /// More symbols than the 16-bit ESI can number.
    #[error(
        "object {toi} of {len} bytes needs more than {MAX_SYMBOLS} symbols of {symbol_size} bytes; use larger symbols"
    )]
    TooLong {
        /// The object's TOI.
        toi: u64,
        /// Its length in bytes.
        len: usize,
        /// E in bytes.
        symbol_size: u16,
    },
}

/// Sender side: an object cut into the symbols of one source block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCodeObject {
    toi: u64,
    bytes: Vec<u8>,
    oti: NoCodeOti,
}

impl NoCodeObject {
    /// Cuts `bytes` into symbols of `symbol_size` bytes; the last one may be shorter and is not padded.
    pub fn new(toi: u64, bytes: Vec<u8>, symbol_size: u16) -> Result<Self, ObjectError> {
        if bytes.is_empty() {
            return Err(ObjectError::Empty { toi });
        }
        if symbol_size == 0 {
            return Err(ObjectError::SymbolSize);
        }
        let too_long = ObjectError::TooLong { toi, len: bytes.len(), symbol_size };
        let symbols = bytes.len().div_ceil(usize::from(symbol_size));
        if symbols > MAX_SYMBOLS {
            return Err(too_long);
        }
        let max_block_len = u32::try_from(symbols).map_err(|_| too_long.clone())?;
        let transfer_length = u64::try_from(bytes.len()).map_err(|_| too_long)?;
        Ok(Self { toi, bytes, oti: NoCodeOti { transfer_length, symbol_size, max_block_len } })
    }

    /// Transport object id.
    pub fn toi(&self) -> u64 {
        self.toi
    }

    /// What EXT_FTI (or the FDT) has to say of the object.
    pub fn oti(&self) -> NoCodeOti {
        self.oti
    }

    /// The whole object.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All symbols in order, at least one.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = (PayloadId, &[u8])> {
        let symbols = self.bytes.chunks(usize::from(self.oti.symbol_size));
        // `new` made sure that every index is an ESI, so nothing saturates.
        symbols.enumerate().map(|(i, symbol)| (PayloadId { sbn: 0, esi: u32::try_from(i).unwrap_or(u32::MAX) }, symbol))
    }
}

/// Receiver side: puts small objects of one TOI together.
///
/// An object is known by its *version* (what the caller knows to change with the content: the FDT instance id, the TSI;
/// or nothing) together with its OTI. [`push`](Self::push) hands it out once, when its last missing symbol arrives, and
/// then ignores its repetitions. Symbols may come in any order and more than once; the first of each counts.
///
/// **Forgeries.** Up to 4 objects are collected side by side, the least recently touched gives way, so a forged OTI or
/// version does not throw away what has been received of the genuine object. A forged symbol with the genuine OTI does
/// spoil that object: check what you get, and call [`reject`](Self::reject) when it is not genuine; the next repetition
/// then completes it afresh. Because forgeries can also displace the memory of what was handed out, receiving an object
/// twice must be harmless.
///
/// **Memory.** At most 4 × 2 × `max_len` bytes (the object and a byte per symbol), none before a valid symbol came.
#[derive(Debug, Clone)]
pub struct ObjectAssembler {
    max_len: usize,
    recent: Recent<(Option<u32>, NoCodeOti), Assembly>,
}

impl ObjectAssembler {
    /// Collects objects of 1 to `max_len` bytes; longer ones are ignored.
    pub fn new(max_len: usize) -> Self {
        Self { max_len, recent: Recent::new(MAX_ASSEMBLIES) }
    }

    /// Adds the payload of a packet; the whole object when it is complete for the first time.
    ///
    /// `payload` may hold several consecutive symbols of a block, and may be padded; what cannot belong to an object of
    /// this OTI is ignored.
    pub fn push(&mut self, version: Option<u32>, oti: &NoCodeOti, id: PayloadId, payload: &[u8]) -> Option<Vec<u8>> {
        let len = usize::try_from(oti.transfer_length).ok().filter(|len| (1..=self.max_len).contains(len))?;
        oti.check().ok()?;
        let run = SymbolRun::new(oti, len, id, payload)?;
        let symbol_size = usize::from(oti.symbol_size);
        self.recent.touch((version, *oti), || Assembly::new(len, symbol_size)).place(&run)
    }

    /// Forgets the object that [`push`](Self::push) just returned, because its content turned out not to be genuine:
    /// it is collected again from the next repetition. Objects that are still incomplete keep their symbols.
    pub fn reject(&mut self) {
        self.recent.forget_last_if(|last| last.bytes.is_none());
    }

    /// Forgets everything: what was handed out may be handed out again.
    pub fn reset(&mut self) {
        self.recent.clear();
    }
}

/// The symbols of one packet, the first of which is known to belong to the object.
struct SymbolRun<'a> {
    /// Index of the first among the symbols of the object.
    first: usize,
    /// Consecutive symbols of one block; one that is cut short ends them.
    symbols: std::iter::Take<std::slice::Chunks<'a, u8>>,
}

impl<'a> SymbolRun<'a> {
    /// `None` when the object has no such symbol or the payload is too short for it.
    fn new(oti: &NoCodeOti, len: usize, id: PayloadId, payload: &'a [u8]) -> Option<Self> {
        let place = oti.locate(id)?;
        let first = usize::try_from(place.index).ok()?;
        let symbol_size = usize::from(oti.symbol_size);
        let left_in_object = len.checked_sub(first.checked_mul(symbol_size)?)?;
        let left_in_block = usize::try_from(place.left_in_block).unwrap_or(usize::MAX);
        let enough = payload.len() >= symbol_size.min(left_in_object);
        enough.then(|| Self { first, symbols: payload.chunks(symbol_size).take(left_in_block) })
    }
}

/// One object in the making.
#[derive(Debug, Clone)]
struct Assembly {
    /// E.
    symbol_size: usize,
    /// The object's bytes as far as they are there; `None` once it was handed out.
    bytes: Option<Vec<u8>>,
    received: Vec<bool>,
    missing: usize,
}

impl Assembly {
    fn new(len: usize, symbol_size: usize) -> Self {
        let symbols = len.div_ceil(symbol_size.max(1));
        Self { symbol_size, bytes: Some(vec![0; len]), received: vec![false; symbols], missing: symbols }
    }

    fn place(&mut self, run: &SymbolRun<'_>) -> Option<Vec<u8>> {
        let bytes = self.bytes.as_mut()?;
        let slots = bytes.chunks_mut(self.symbol_size.max(1)).zip(&mut self.received);
        for ((slot, received), symbol) in slots.skip(run.first).zip(run.symbols.clone()) {
            let Some(symbol) = symbol.get(..slot.len()) else { break };
            if !*received {
                slot.copy_from_slice(symbol);
                *received = true;
                self.missing -= 1;
            }
        }
        if self.missing > 0 {
            return None;
        }
        self.received = Vec::new();
        self.bytes.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
    }

    fn object(len: usize, symbol_size: u16) -> NoCodeObject {
        NoCodeObject::new(1, content(len), symbol_size).unwrap()
    }

    /// Pushes a whole repetition of `object`; what was completed.
    fn repeat(assembler: &mut ObjectAssembler, version: Option<u32>, object: &NoCodeObject) -> Vec<Vec<u8>> {
        object.symbols().filter_map(|(id, symbol)| assembler.push(version, &object.oti(), id, symbol)).collect()
    }

    #[test]
    fn cuts_an_object_into_symbols() {
        let object = object(25, 10);
        assert_eq!(object.oti(), NoCodeOti { transfer_length: 25, symbol_size: 10, max_block_len: 3 });
        let symbols: Vec<_> = object.symbols().map(|(id, symbol)| (id.sbn, id.esi, symbol.len())).collect();
        assert_eq!(symbols, [(0, 0, 10), (0, 1, 10), (0, 2, 5)]);
        assert_eq!((object.toi(), object.bytes().len(), object.symbols().len()), (1, 25, 3));
    }

    #[test]
    fn refuses_objects_that_cannot_be_sent() {
        assert_eq!(NoCodeObject::new(3, vec![], 10), Err(ObjectError::Empty { toi: 3 }));
        assert_eq!(NoCodeObject::new(3, vec![1], 0), Err(ObjectError::SymbolSize));
        assert_eq!(NoCodeObject::new(3, vec![1; 65_536], 1).unwrap().symbols().len(), 65_536);
        assert!(matches!(NoCodeObject::new(3, vec![1; 65_537], 1), Err(ObjectError::TooLong { .. })));
    }

    #[test]
    fn hands_an_object_out_once_per_version() {
        let mut assembler = ObjectAssembler::new(1000);
        let object = object(95, 10);
        for version in [None, Some(1), Some(2)] {
            assert_eq!(repeat(&mut assembler, version, &object), [content(95)]);
            assert!(repeat(&mut assembler, version, &object).is_empty());
        }
        assert!(repeat(&mut assembler, Some(1), &object).is_empty());
        assembler.reset();
        assert_eq!(repeat(&mut assembler, Some(1), &object), [content(95)]);
    }

    #[test]
    fn completes_over_two_repetitions() {
        let mut assembler = ObjectAssembler::new(1000);
        let object = object(95, 10);
        for (id, symbol) in object.symbols().filter(|(id, _)| id.esi % 3 != 1) {
            assert_eq!(assembler.push(None, &object.oti(), id, symbol), None);
        }
        assert_eq!(repeat(&mut assembler, None, &object), [content(95)]);
    }

    #[test]
    fn a_forged_symbol_costs_one_repetition() {
        let mut assembler = ObjectAssembler::new(1000);
        let object = object(95, 10);
        assert_eq!(assembler.push(None, &object.oti(), PayloadId { sbn: 0, esi: 4 }, &[0xff; 10]), None);
        let spoiled = repeat(&mut assembler, None, &object);
        assert_eq!(spoiled.len(), 1);
        assert_ne!(spoiled[0], content(95));
        assembler.reject();
        assert_eq!(repeat(&mut assembler, None, &object), [content(95)]);
    }

    #[test]
    fn forged_objects_do_not_displace_the_genuine_one() {
        let mut assembler = ObjectAssembler::new(1000);
        let object = object(95, 10);
        let mut genuine = Vec::new();
        for (n, (id, symbol)) in object.symbols().enumerate() {
            // Between two genuine packets: three others that were never seen before, the first one complete.
            for forged in 1..4u32 {
                let len = u64::from(forged) * 150 + u64::try_from(n).unwrap();
                let oti = NoCodeOti { transfer_length: len, symbol_size: 200, max_block_len: 3 };
                if assembler.push(Some(forged), &oti, PayloadId { sbn: 0, esi: 0 }, &[0xff; 200]).is_some() {
                    assembler.reject();
                }
            }
            genuine.extend(assembler.push(None, &object.oti(), id, symbol));
        }
        assert_eq!(genuine, [content(95)]);
    }

    #[test]
    fn after_any_flood_one_repetition_is_enough() {
        let mut assembler = ObjectAssembler::new(1000);
        let object = object(95, 10);
        for n in 0..1000u32 {
            let oti = NoCodeOti { transfer_length: 500, symbol_size: 10, max_block_len: 50 + n };
            assert_eq!(assembler.push(Some(n), &oti, PayloadId { sbn: 0, esi: 1 }, &[0xff; 10]), None);
            assert!(assembler.recent.len() <= MAX_ASSEMBLIES);
        }
        assert_eq!(repeat(&mut assembler, None, &object), [content(95)]);
    }

    #[test]
    fn rejecting_keeps_what_is_incomplete_and_what_was_accepted() {
        let mut assembler = ObjectAssembler::new(1000);
        let (genuine, accepted, forged) = (object(95, 10), object(20, 10), object(7, 10));
        assert_eq!(repeat(&mut assembler, None, &accepted), [content(20)]);
        let last = genuine.symbols().last().unwrap();
        for (id, symbol) in genuine.symbols().filter(|(id, _)| *id != last.0) {
            assert_eq!(assembler.push(None, &genuine.oti(), id, symbol), None);
        }
        for _ in 0..2 {
            assert_eq!(repeat(&mut assembler, None, &forged), [content(7)]);
            assembler.reject();
        }
        assembler.reject(); // Nothing was just returned: no effect.
        assert!(repeat(&mut assembler, None, &accepted).is_empty());
        assert_eq!(assembler.push(None, &genuine.oti(), last.0, last.1), Some(content(95)));
    }

    #[test]
    fn ignores_what_cannot_belong_to_the_object() {
        let mut assembler = ObjectAssembler::new(1000);
        let good = NoCodeOti { transfer_length: 25, symbol_size: 10, max_block_len: 3 };
        let zero = PayloadId { sbn: 0, esi: 0 };
        for (oti, id, len) in [
            (good, PayloadId { sbn: 0, esi: 3 }, 10),
            (good, PayloadId { sbn: 1, esi: 0 }, 10),
            (good, PayloadId { sbn: u32::MAX, esi: u32::MAX }, 10),
            (good, zero, 9),
            (good, zero, 0),
            (good, PayloadId { sbn: 0, esi: 2 }, 4),
            (NoCodeOti { transfer_length: 0, ..good }, zero, 10),
            (NoCodeOti { transfer_length: 1001, ..good }, zero, 10),
            (NoCodeOti { transfer_length: u64::MAX, ..good }, zero, 10),
            (NoCodeOti { symbol_size: 0, ..good }, zero, 10),
            (NoCodeOti { max_block_len: 0, ..good }, zero, 10),
        ] {
            assert_eq!(assembler.push(None, &oti, id, &vec![1; len]), None);
            assert!(assembler.recent.len() == 0, "{oti:?} {id:?} {len} took memory");
        }
    }

    #[test]
    fn takes_padding_and_several_symbols_in_a_packet() {
        let mut assembler = ObjectAssembler::new(1000);
        // 2 blocks of 2 and 1 symbols; the payload runs past the end of its block.
        let oti = NoCodeOti { transfer_length: 25, symbol_size: 10, max_block_len: 2 };
        let bytes = content(25);
        let first = [&bytes[..20], &[0xee; 15]].concat();
        assert_eq!(assembler.push(None, &oti, PayloadId { sbn: 0, esi: 0 }, &first), None);
        let last = [&bytes[20..], &[0xee; 5]].concat();
        assert_eq!(assembler.push(None, &oti, PayloadId { sbn: 1, esi: 0 }, &last), Some(bytes));
        // A whole object whose last symbol is short.
        let object = object(25, 10);
        let whole = assembler.push(None, &object.oti(), PayloadId { sbn: 0, esi: 0 }, object.bytes());
        assert_eq!(whole, Some(content(25)));
    }

    proptest! {
        #[test]
        fn any_order_with_repeats_gives_the_object(
            len in 1usize..600, symbol_size in 1u16..40, max_block_len in 1u32..20, order in any::<prop::sample::Index>(), seed: u64,
        ) {
            let bytes = content(len);
            let oti = NoCodeOti { transfer_length: u64::try_from(len).unwrap(), symbol_size, max_block_len };
            let mut ids: Vec<PayloadId> = (0..)
                .map_while(|sbn| oti.locate(PayloadId { sbn, esi: 0 }).map(|p| (sbn, p.left_in_block)))
                .flat_map(|(sbn, n)| (0..u32::try_from(n).unwrap()).map(move |esi| PayloadId { sbn, esi }))
                .collect();
            ids.sort_by_key(|id| (u64::from(id.sbn) << 32 | u64::from(id.esi)).wrapping_mul(seed | 1));
            let again = ids[order.index(ids.len())];
            ids.insert(order.index(ids.len()), again);
            let mut assembler = ObjectAssembler::new(len);
            let complete: Vec<_> = ids.iter().filter_map(|id| {
                let at = usize::try_from(oti.locate(*id).unwrap().index).unwrap() * usize::from(symbol_size);
                assembler.push(Some(9), &oti, *id, &bytes[at..len.min(at + usize::from(symbol_size))])
            }).collect();
            prop_assert_eq!(complete, vec![bytes]);
        }

        #[test]
        fn arbitrary_packets_never_panic(
            packets in proptest::collection::vec(
                (any::<Option<bool>>(), prop_oneof![0u64..200, any::<u64>()], 0u16..20, 0u32..20, 0u32..6, 0u32..20, 0usize..60), 0..60),
        ) {
            let mut assembler = ObjectAssembler::new(150);
            for (version, transfer_length, symbol_size, max_block_len, sbn, esi, len) in packets {
                let oti = NoCodeOti { transfer_length, symbol_size, max_block_len };
                let whole = assembler.push(version.map(u32::from), &oti, PayloadId { sbn, esi }, &vec![1; len]);
                if let Some(whole) = whole {
                    prop_assert_eq!(whole, vec![1; usize::try_from(transfer_length).unwrap()]);
                    if esi % 2 == 0 { assembler.reject(); }
                }
                prop_assert!(assembler.recent.len() <= MAX_ASSEMBLIES);
            }
        }
    }
}
