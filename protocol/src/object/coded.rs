//! Small objects coded with RaptorQ: other senders code their FDT like their files (EXT_FTI of FEC Encoding ID 6 on
//! TOI 0).

use std::collections::BTreeMap;

use fleetcast_fec::{BlockShape, Codec, DecodeError, MAX_ESI, Parked, SYMBOL_ALIGNMENT, SymbolSet};

use super::recent::Recent;
use crate::wire::{PayloadId, RaptorQOti};

/// Objects collected at once: the same bound, for the same reason, as without FEC.
const MAX_ASSEMBLIES: usize = 4;
/// Most symbols of a block: what a forged packet can make us decode stays in the milliseconds.
const MAX_BLOCK_SYMBOLS: u64 = 1024;
/// Most symbols of an object: each takes some 100 bytes beside its own, which tiny ones would multiply.
const MAX_SYMBOLS: u64 = 4096;
/// Symbols of a block beyond K after which it starts over: a genuine set of K + 8 is never singular.
const SPARE_SYMBOLS: usize = 8;

/// Receiver side: puts small RaptorQ objects of one TOI together.
///
/// An object is known by its *version* (what the caller knows to change with the content, such as the FDT instance id)
/// together with its OTI. [`push`](Self::push) hands it out once, and then ignores its repetitions. Sub-blocks are not
/// supported: symbols of an object with N other than 1 are ignored.
///
/// **Forgeries.** As with [`ObjectAssembler`](super::ObjectAssembler): a forged OTI or version displaces nothing, a
/// forged symbol spoils the object, [`reject`](Self::reject) forgets a spoiled one.
///
/// **Memory.** At most 4 objects, each `max_len` bytes and 9 symbols more a block, and some 100 bytes a symbol, none before
/// a valid symbol came. A block has at most 1,024 symbols, and an object 4,096.
#[derive(Debug)]
pub struct CodedAssembler {
    max_len: u64,
    codec: Codec,
    recent: Recent<(Option<u32>, RaptorQOti), Assembly>,
}

impl CodedAssembler {
    /// Collects objects of 1 to `max_len` bytes; longer ones are ignored.
    pub fn new(max_len: u64) -> Self {
        Self { max_len, codec: Codec::new(), recent: Recent::new(MAX_ASSEMBLIES) }
    }

    /// Adds the payload of a packet, one symbol; the whole object when it is decoded for the first time.
    pub fn push(&mut self, version: Option<u32>, oti: &RaptorQOti, id: PayloadId, payload: &[u8]) -> Option<Vec<u8>> {
        let geometry = Geometry::new(oti, self.max_len)?;
        let k = geometry.k(id.sbn)?;
        if id.esi > MAX_ESI || !geometry.fits(id, payload.len()) {
            return None;
        }
        let assembly = self.recent.touch((version, *oti), || Assembly::new(&geometry));
        assembly.place(&self.codec, &geometry, k, id, payload)
    }

    /// Forgets the object that [`push`](Self::push) just returned, because its content turned out not to be genuine.
    pub fn reject(&mut self) {
        self.recent.forget_last_if(|assembly| matches!(assembly, Assembly::Done));
    }
}

/// How an object lies in source blocks (RFC 6330 §4.4.1.2).
struct Geometry {
    len: usize,
    /// T.
    symbol_size: usize,
    /// T to the next multiple of our codec's alignment: RaptorQ works on each byte of a symbol by itself, so a symbol
    /// with zeros behind it codes as it would without.
    padded_size: u16,
    symbols: u64,
    blocks: u64,
}

impl Geometry {
    /// `None` when the object is too long, has sub-blocks, or has blocks without symbols or with too many.
    fn new(oti: &RaptorQOti, max_len: u64) -> Option<Self> {
        let len = usize::try_from(oti.transfer_length).ok()?;
        let (symbols, blocks) = (oti.total_symbols(), u64::from(oti.blocks));
        let fits = (1..=max_len).contains(&oti.transfer_length) && oti.sub_blocks == 1 && oti.symbol_size > 0;
        if !fits || blocks == 0 || blocks > symbols || symbols.div_ceil(blocks) > MAX_BLOCK_SYMBOLS {
            return None;
        }
        if symbols > MAX_SYMBOLS {
            return None;
        }
        let padded_size = oti.symbol_size.checked_next_multiple_of(SYMBOL_ALIGNMENT)?;
        Some(Self { len, symbol_size: usize::from(oti.symbol_size), padded_size, symbols, blocks })
    }

    /// K of a block: the first Kt mod Z blocks have one symbol more.
    fn k(&self, sbn: u32) -> Option<u32> {
        let (sbn, small) = (u64::from(sbn), self.symbols / self.blocks);
        let k = if sbn < self.symbols % self.blocks { small + 1 } else { small };
        (sbn < self.blocks).then(|| u32::try_from(k).ok())?
    }

    /// Index of a block's first symbol.
    fn first_symbol(&self, sbn: u32) -> u64 {
        let sbn = u64::from(sbn);
        sbn * (self.symbols / self.blocks) + sbn.min(self.symbols % self.blocks)
    }

    /// Whether a payload of `len` bytes can be this symbol; some senders cut the padding off the object's last one.
    fn fits(&self, id: PayloadId, len: usize) -> bool {
        let is_last = self.first_symbol(id.sbn) + u64::from(id.esi) + 1 == self.symbols;
        let cut_len = self.len - (self.len - 1) / self.symbol_size * self.symbol_size;
        len == self.symbol_size || (is_last && (cut_len..self.symbol_size).contains(&len))
    }
}

/// One object in the making.
#[derive(Debug)]
enum Assembly {
    Collecting(Vec<Block>),
    /// It was handed out.
    Done,
}

#[derive(Debug)]
enum Block {
    /// Symbols by ESI, padded to the codec's alignment.
    Collecting(BTreeMap<u32, Vec<u8>>),
    /// The block's bytes, padded as its symbols are.
    Decoded(Vec<u8>),
}

impl Assembly {
    fn new(geometry: &Geometry) -> Self {
        Self::Collecting((0..geometry.blocks).map(|_| Block::Collecting(BTreeMap::new())).collect())
    }

    fn place(&mut self, codec: &Codec, geometry: &Geometry, k: u32, id: PayloadId, payload: &[u8]) -> Option<Vec<u8>> {
        let Self::Collecting(blocks) = self else { return None };
        let block = blocks.get_mut(usize::try_from(id.sbn).ok()?)?;
        block.place(codec, BlockShape::new(k, geometry.padded_size).ok()?, id.esi, payload);
        let whole = blocks.iter().map(Block::decoded).collect::<Option<Vec<_>>>()?;
        let symbols = whole.into_iter().flat_map(|block| block.chunks_exact(usize::from(geometry.padded_size)));
        let mut bytes: Vec<u8> = symbols.flat_map(|symbol| symbol.iter().take(geometry.symbol_size)).copied().collect();
        bytes.truncate(geometry.len);
        *self = Self::Done;
        Some(bytes)
    }
}

impl Block {
    fn decoded(&self) -> Option<&Vec<u8>> {
        match self {
            Self::Collecting(_) => None,
            Self::Decoded(bytes) => Some(bytes),
        }
    }

    fn place(&mut self, codec: &Codec, shape: BlockShape, esi: u32, payload: &[u8]) {
        let Self::Collecting(symbols) = self else { return };
        if symbols.contains_key(&esi) {
            return;
        }
        let mut symbol = payload.to_vec();
        symbol.resize(shape.symbol_size(), 0);
        symbols.insert(esi, symbol);
        let k = usize::try_from(shape.k()).unwrap_or(usize::MAX);
        if symbols.len() < k {
            return;
        }
        match decode(codec, shape, symbols) {
            Ok(bytes) => *self = Self::Decoded(bytes),
            // Forged symbols can make any set singular.
            Err(_) if symbols.len() >= k + SPARE_SYMBOLS => symbols.clear(),
            Err(_) => {}
        }
    }
}

/// The block's source symbols from at least K symbols, one after the other.
fn decode(codec: &Codec, shape: BlockShape, symbols: &BTreeMap<u32, Vec<u8>>) -> Result<Vec<u8>, DecodeError> {
    let mut received = SymbolSet::new(shape.k());
    let mut parked = Vec::new();
    let mut rows = vec![0; shape.len()];
    for (&esi, symbol) in symbols {
        let row = if esi < shape.k() {
            received.insert(esi);
            usize::try_from(esi).unwrap_or(usize::MAX) * shape.symbol_size()
        } else {
            let row = rows.len() / shape.symbol_size();
            parked.push(Parked { row: u32::try_from(row).unwrap_or(u32::MAX), esi });
            rows.resize(rows.len() + shape.symbol_size(), 0);
            row * shape.symbol_size()
        };
        if let Some(place) = rows.get_mut(row..row + shape.symbol_size()) {
            place.copy_from_slice(symbol);
        }
    }
    codec.decode(shape, &mut rows, &received, &parked)?;
    rows.truncate(shape.len());
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_fec::RepairRow;
    use proptest::prelude::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
    }

    fn oti(len: usize, symbol_size: u16, blocks: u8) -> RaptorQOti {
        let transfer_length = u64::try_from(len).unwrap();
        RaptorQOti { transfer_length, symbol_size, blocks, sub_blocks: 1, alignment: 1 }
    }

    /// Every source symbol and `repair` repair symbols a block.
    fn symbols(bytes: &[u8], oti: &RaptorQOti, repair: u32) -> Vec<(PayloadId, Vec<u8>)> {
        let geometry = Geometry::new(oti, u64::MAX).unwrap();
        let mut all = Vec::new();
        for sbn in 0..u32::from(oti.blocks) {
            let shape = BlockShape::new(geometry.k(sbn).unwrap(), geometry.padded_size).unwrap();
            let first = usize::try_from(geometry.first_symbol(sbn)).unwrap();
            let source = bytes.chunks(geometry.symbol_size).skip(first).take(shape.k() as usize).map(|chunk| {
                let mut symbol = chunk.to_vec();
                symbol.resize(shape.symbol_size(), 0);
                symbol
            });
            let source: Vec<_> = source.collect();
            let mut rows = vec![0; repair as usize * shape.symbol_size()];
            let outs = (shape.k()..).zip(rows.chunks_exact_mut(shape.symbol_size()));
            let mut outs: Vec<_> = outs.map(|(esi, out)| RepairRow { esi, out }).collect();
            Codec::new().encode(shape, &source.concat(), &mut outs).unwrap();
            let repair = rows.chunks_exact(shape.symbol_size()).map(<[u8]>::to_vec);
            all.extend((0..).zip(source.into_iter().chain(repair)).map(|(esi, mut symbol)| {
                symbol.truncate(geometry.symbol_size);
                (PayloadId { sbn, esi }, symbol)
            }));
        }
        all
    }

    #[test]
    fn hands_a_lossless_object_out_once_per_version() {
        let (bytes, oti) = (content(95), oti(95, 10, 2));
        let mut assembler = CodedAssembler::new(1000);
        for version in [Some(1), Some(2)] {
            for expected in [1, 0] {
                let symbols = symbols(&bytes, &oti, 0);
                let whole: Vec<_> =
                    symbols.iter().filter_map(|(id, symbol)| assembler.push(version, &oti, *id, symbol)).collect();
                assert_eq!(whole, vec![bytes.clone(); expected]);
            }
        }
    }

    #[test]
    fn a_forged_symbol_costs_one_repetition() {
        let (bytes, oti) = (content(95), oti(95, 10, 1));
        let mut assembler = CodedAssembler::new(1000);
        assert_eq!(assembler.push(None, &oti, PayloadId { sbn: 0, esi: 4 }, &[0xff; 10]), None);
        let repeat = |assembler: &mut CodedAssembler| -> Vec<_> {
            let symbols = symbols(&bytes, &oti, 0);
            symbols.iter().filter_map(|(id, symbol)| assembler.push(None, &oti, *id, symbol)).collect()
        };
        let spoiled = repeat(&mut assembler);
        assert!(spoiled.len() == 1 && spoiled[0] != bytes);
        assembler.reject();
        assert_eq!(repeat(&mut assembler), std::slice::from_ref(&bytes));
    }

    #[test]
    fn ignores_what_it_cannot_or_will_not_decode() {
        let good = oti(95, 10, 1);
        let zero = PayloadId { sbn: 0, esi: 0 };
        for (oti, id, len) in [
            (good, PayloadId { sbn: 1, esi: 0 }, 10),
            (good, PayloadId { sbn: 0, esi: 1 << 24 }, 10),
            (good, zero, 9),
            (good, zero, 11),
            (good, zero, 0),
            (good, PayloadId { sbn: 0, esi: 9 }, 4),
            (RaptorQOti { sub_blocks: 2, ..good }, zero, 10),
            (RaptorQOti { transfer_length: 0, ..good }, zero, 10),
            (RaptorQOti { transfer_length: 1001, ..good }, zero, 10),
            (RaptorQOti { transfer_length: u64::MAX, ..good }, zero, 10),
            (RaptorQOti { blocks: 11, ..good }, zero, 10),
            (RaptorQOti { blocks: 0, ..good }, zero, 10),
            (RaptorQOti { symbol_size: 0, ..good }, zero, 0),
            (RaptorQOti { symbol_size: u16::MAX, ..good }, zero, 65_535),
        ] {
            let mut assembler = CodedAssembler::new(1000);
            assert_eq!(assembler.push(None, &oti, id, &vec![1; len]), None);
            assert_eq!(assembler.recent.len(), 0, "{oti:?} {id:?} {len} took memory");
        }
        let mut assembler = CodedAssembler::new(u64::MAX);
        assert_eq!(assembler.push(None, &oti(1025, 1, 1), zero, &[0]), None);
        assert_eq!(assembler.recent.len(), 0, "a block of 1,025 symbols took memory");
        assert_eq!(assembler.push(None, &oti(4097, 1, 5), zero, &[0]), None);
        assert_eq!(assembler.recent.len(), 0, "an object of 4,097 symbols took memory");
        assert!(assembler.push(None, &oti(1024, 1, 1), zero, &[0]).is_none() && assembler.recent.len() == 1);
    }

    #[test]
    fn takes_a_last_symbol_without_its_padding() {
        let (bytes, oti) = (content(25), oti(25, 10, 1));
        let mut assembler = CodedAssembler::new(1000);
        for (id, symbol) in symbols(&bytes, &oti, 0).iter().take(2) {
            assert_eq!(assembler.push(None, &oti, *id, symbol), None);
        }
        assert_eq!(assembler.push(None, &oti, PayloadId { sbn: 0, esi: 2 }, &bytes[20..]), Some(bytes));
    }

    proptest! {
        /// Any T, any Z, any symbols in any order, as soon as each block has enough.
        #[test]
        fn decodes_from_any_sufficient_symbols(
            len in 1usize..900, symbol_size in 1u16..60, blocks in 1u8..4, key: u64, overhead in 2u32..4,
        ) {
            let (bytes, oti) = (content(len), oti(len, symbol_size, blocks));
            prop_assume!(u64::from(blocks) <= oti.total_symbols());
            let mut symbols = symbols(&bytes, &oti, 40);
            symbols.sort_by_key(|(id, _)| (u64::from(id.sbn) << 32 | u64::from(id.esi)).wrapping_mul(key | 1));
            let mut assembler = CodedAssembler::new(1000);
            let geometry = Geometry::new(&oti, 1000).unwrap();
            let mut used = vec![0; usize::from(blocks)];
            let mut whole = Vec::new();
            for (id, symbol) in &symbols {
                let used = &mut used[id.sbn as usize];
                // A set of K + 2 symbols is singular about once in 10^6.
                if *used < geometry.k(id.sbn).unwrap() + overhead {
                    *used += 1;
                    whole.extend(assembler.push(Some(3), &oti, *id, symbol));
                }
            }
            prop_assert_eq!(whole, vec![bytes]);
        }

        #[test]
        fn arbitrary_packets_never_panic(packets in prop::collection::vec(
            (any::<Option<bool>>(), prop_oneof![0u64..200, any::<u64>()], 0u16..20, 0u8..4, 0u16..3, 0u32..6, 0u32..20, 0usize..24), 0..60,
        )) {
            let mut assembler = CodedAssembler::new(150);
            for (version, transfer_length, symbol_size, blocks, sub_blocks, sbn, esi, len) in packets {
                let oti = RaptorQOti { transfer_length, symbol_size, blocks, sub_blocks, alignment: 1 };
                let whole = assembler.push(version.map(u32::from), &oti, PayloadId { sbn, esi }, &vec![1; len]);
                if let Some(whole) = whole {
                    prop_assert_eq!(u64::try_from(whole.len()), Ok(transfer_length));
                    if esi % 2 == 0 { assembler.reject(); }
                }
                prop_assert!(assembler.recent.len() <= MAX_ASSEMBLIES);
            }
        }
    }
}
