//! The codec against the crate's own encoder and decoder, and every wrong argument.

use super::*;
use crate::{MAX_ESI, SYMBOL_ALIGNMENT};
use proptest::prelude::*;
use proptest::sample::subsequence;
use raptorq::{Encoder, EncodingPacket, ObjectTransmissionInformation, PayloadId, SourceBlockDecoder};
use std::collections::HashMap;
use std::ops::Range;

/// Deterministic bytes that are not those of another seed.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

fn shape(k: u32, symbol_size: u16) -> BlockShape {
    BlockShape::new(k, symbol_size).expect("a legal shape")
}

/// The OTI of an object that is this one block: Z = 1, N = 1.
fn transmission_information(shape: BlockShape) -> ObjectTransmissionInformation {
    let symbol_size = u16::try_from(shape.symbol_size()).expect("16 bits");
    let alignment = u8::try_from(SYMBOL_ALIGNMENT).expect("8 bits");
    ObjectTransmissionInformation::new(shape.len() as u64, symbol_size, 1, 1, alignment)
}

/// The repair symbols `esis` of `source`, one after the other.
fn repair(shape: BlockShape, source: &[u8], esis: &[u32]) -> Vec<u8> {
    let mut out = vec![0xEE; esis.len() * shape.symbol_size()];
    let chunks = out.chunks_mut(shape.symbol_size());
    let mut rows: Vec<_> = esis.iter().zip(chunks).map(|(&esi, out)| RepairRow { esi, out }).collect();
    Codec::new().encode(shape, source, &mut rows).expect("good arguments");
    out
}

/// A block buffer in which some symbols have been received, and what lies where.
#[derive(Debug, Clone)]
struct Reception {
    shape: BlockShape,
    source: Vec<u8>,
    block: Vec<u8>,
    received: SymbolSet,
    parked: Vec<Parked>,
}

impl Reception {
    /// `source` without the rows `lost`; all other bytes of the buffer, `spill` rows at its end included, are garbage.
    fn new(shape: BlockShape, lost: &[u32], spill: usize, seed: u64) -> Self {
        let source = bytes(seed, shape.len());
        let mut block = bytes(!seed, shape.len() + spill * shape.symbol_size());
        let mut received = SymbolSet::new(shape.k());
        for row in (0..shape.k()).filter(|row| !lost.contains(row)) {
            received.insert(row);
            let range = row as usize * shape.symbol_size()..(row as usize + 1) * shape.symbol_size();
            block[range.clone()].copy_from_slice(&source[range]);
        }
        Self { shape, source, block, received, parked: Vec::new() }
    }

    /// Parks the repair symbols `esis` in `rows`, pair by pair.
    fn park(&mut self, esis: &[u32], rows: &[u32]) {
        let symbols = repair(self.shape, &self.source, esis);
        for ((symbol, &esi), &row) in symbols.chunks(self.shape.symbol_size()).zip(esis).zip(rows) {
            let range = self.range(row);
            self.block[range].copy_from_slice(symbol);
            self.parked.push(Parked { row, esi });
        }
    }

    fn range(&self, row: u32) -> Range<usize> {
        let start = row as usize * self.shape.symbol_size();
        start..start + self.shape.symbol_size()
    }

    /// Rows that hold no source symbol: the holes, then the spill rows.
    fn free_rows(&self) -> Vec<u32> {
        let rows = u32::try_from(self.block.len() / self.shape.symbol_size()).expect("few rows");
        (0..rows).filter(|&row| !self.received.contains(row)).collect()
    }

    fn decode(&mut self) -> Result<(), DecodeError> {
        Codec::new().decode(self.shape, &mut self.block, &self.received, &self.parked)
    }

    /// Decodes and checks what must hold whatever the outcome: the block on success, an untouched buffer else.
    fn decode_checked(&mut self) -> Result<(), DecodeError> {
        let before = self.clone();
        let result = self.decode();
        match result {
            Ok(()) => assert!(self.block.starts_with(&self.source), "rows 0..K are the source block"),
            Err(_) => {
                let used = before.received.iter().chain(before.parked.iter().map(|symbol| symbol.row));
                for row in used {
                    let range = self.range(row);
                    assert_eq!(self.block[range.clone()], before.block[range], "row {row} changed");
                }
            }
        }
        result
    }

    /// Whether the crate alone, fed from the original symbols, decodes this set.
    fn crate_decodes(&self) -> bool {
        let source_len = self.shape.len() as u64;
        let mut decoder = SourceBlockDecoder::new(0, &transmission_information(self.shape), source_len);
        let esis: Vec<u32> = self.parked.iter().map(|symbol| symbol.esi).collect();
        let symbols = repair(self.shape, &self.source, &esis);
        let source = self.source.chunks(self.shape.symbol_size());
        let packets = (0..).zip(source).filter(|(row, _)| self.received.contains(*row));
        let packets = packets.chain(esis.into_iter().zip(symbols.chunks(self.shape.symbol_size())));
        decoder
            .decode(packets.map(|(esi, symbol)| EncodingPacket::new(PayloadId::new(0, esi), symbol.to_vec())))
            .is_some()
    }
}

/// What a property test loses and receives.
#[derive(Debug, Clone)]
struct Case {
    k: u32,
    symbol_size: u16,
    lost: Vec<u32>,
    /// Symbols received beyond K.
    extra: u32,
    spill: usize,
    /// Of the bytes, the choice of ESIs and every order.
    seed: u64,
}

fn k_of_a_block() -> impl Strategy<Value = u32> {
    prop_oneof![prop::sample::select(vec![1, 2, 3, 9, 10, 11, 100]), 1u32..300]
}

fn a_case() -> impl Strategy<Value = Case> {
    let lost_percent = prop_oneof![1 => Just(0), 6 => 0usize..20, 3 => 0usize..100, 2 => Just(100)];
    (k_of_a_block(), prop::sample::select(vec![8u16, 64, 72, 1344]), lost_percent, 0u32..40, 0usize..4, any::<u64>())
        .prop_flat_map(|(k, symbol_size, lost_percent, extra, more_spill, seed)| {
            let count = (k as usize * lost_percent).div_ceil(100);
            subsequence((0..k).collect::<Vec<_>>(), count).prop_map(move |lost| Case {
                k,
                symbol_size,
                lost,
                extra,
                spill: extra as usize + more_spill,
                seed,
            })
        })
}

/// Consecutive repair ESIs from K, up to 2^24 − 1, or in between (then they may wrap), shuffled.
fn esis_for(k: u32, count: u32, seed: u64) -> Vec<u32> {
    let span = MAX_ESI - k + 1;
    let start = match seed % 3 {
        0 => 0,
        1 => span - count,
        _ => u32::try_from(seed % u64::from(span)).expect("less than span"),
    };
    let mut esis: Vec<u32> = (0..count).map(|number| k + (start + number) % span).collect();
    shuffle(&mut esis, seed);
    esis
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let noise = bytes(seed ^ 0x5EED, items.len() * 4);
    for (index, word) in (1..items.len()).zip(noise.chunks_exact(4)) {
        let number = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        items.swap(index, number as usize % (index + 1));
    }
}

/// Cases of a property test: `PROPTEST_CASES` where it is set, as under emulation.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(192)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_sufficient_set_gives_the_block_back(case in a_case()) {
        let shape = shape(case.k, case.symbol_size);
        let mut reception = Reception::new(shape, &case.lost, case.spill, case.seed);
        let lost = u32::try_from(case.lost.len()).expect("at most K");
        let esis = esis_for(case.k, lost + case.extra, case.seed);
        let mut rows = reception.free_rows();
        shuffle(&mut rows, case.seed);
        reception.park(&esis, &rows);
        shuffle(&mut reception.parked, !case.seed);

        let decodable = reception.crate_decodes();
        let result = reception.decode_checked();
        if decodable {
            prop_assert_eq!(result, Ok(()));
        } else {
            let have = case.k + case.extra;
            prop_assert_eq!(result, Err(DecodeError::NeedMore { have, need: have + 1 }));
            prop_assert!(case.extra < 4, "{} symbols above K fail once in 256^{} times", case.extra, case.extra + 1);
        }
    }

    #[test]
    fn too_few_symbols_ask_for_more(case in a_case(), short in 1u32..5) {
        prop_assume!(!case.lost.is_empty());
        let shape = shape(case.k, case.symbol_size);
        let mut reception = Reception::new(shape, &case.lost, case.spill, case.seed);
        let lost = u32::try_from(case.lost.len()).expect("at most K");
        let esis = esis_for(case.k, lost.saturating_sub(short), case.seed);
        let rows = reception.free_rows();
        reception.park(&esis, &rows);
        let have = case.k - lost + lost.saturating_sub(short);
        prop_assert_eq!(reception.decode_checked(), Err(DecodeError::NeedMore { have, need: case.k }));
    }
}

#[test]
fn every_symbol_size_survives_any_loss() {
    for (k, symbol_size) in [(1, 8), (2, 1344), (10, 72), (11, 64), (100, 1344), (1000, 72), (1000, 1344)] {
        for lost_percent in [1, 50, 100] {
            let lost: Vec<u32> = (0..k).filter(|row| row % 100 < lost_percent).collect();
            let mut reception = Reception::new(shape(k, symbol_size), &lost, 4, u64::from(k));
            let rows = reception.free_rows();
            let esis: Vec<u32> = (k..).take(rows.len()).collect();
            reception.park(&esis, &rows);
            assert_eq!(reception.decode_checked(), Ok(()), "K = {k}, T = {symbol_size}, {lost_percent} % lost");
        }
    }
}

#[test]
fn a_complete_block_needs_nothing_and_stays_as_it_is() {
    let mut reception = Reception::new(shape(50, 64), &[], 2, 1);
    reception.park(&[50, 99], &[50, 51]);
    let before = reception.block.clone();
    assert_eq!(reception.decode(), Ok(()));
    assert_eq!(reception.block, before);
}

#[test]
fn a_singular_set_asks_for_one_more_and_then_decodes() {
    // About one set of K symbols in 250 is singular.
    let singular = (0..).map(|start| (10..20).map(|esi| esi + 10 * start).collect::<Vec<u32>>()).find_map(|esis| {
        let all: Vec<u32> = (0..10).collect();
        let mut reception = Reception::new(shape(10, 16), &all, 3, 7);
        reception.park(&esis, &all);
        (!reception.crate_decodes()).then_some((reception, esis))
    });
    let (mut reception, esis) = singular.expect("the search ends at 24 bits, long after one in 250");
    assert_eq!(reception.decode_checked(), Err(DecodeError::NeedMore { have: 10, need: 11 }));

    let more: Vec<u32> = (MAX_ESI - 2..=MAX_ESI).collect();
    assert!(more.iter().all(|esi| !esis.contains(esi)));
    reception.park(&more, &[10, 11, 12]);
    assert_eq!(reception.decode_checked(), Ok(()));
}

#[test]
fn equal_symbols_are_many_but_not_sufficient() {
    // Different ESIs of a small block often give the same sum of the same symbols. Such a set is far from full rank, as
    // only an attacker would choose it, and it has enough rows for the path without HDPC rows too.
    let k = 3;
    let shape = shape(k, 16);
    let source = bytes(8, shape.len());
    let esis: Vec<u32> = (k..100_000).collect();
    let symbols = repair(shape, &source, &esis);
    let mut by_symbol: HashMap<&[u8], Vec<u32>> = HashMap::new();
    for (symbol, esi) in symbols.chunks(16).zip(esis) {
        by_symbol.entry(symbol).or_default().push(esi);
    }
    let equal = by_symbol.into_values().max_by_key(Vec::len).expect("there are symbols");
    assert!(equal.len() >= 24, "{} of 100,000 are equal", equal.len());
    for count in 3..24 {
        let mut reception = Reception::new(shape, &[0, 1, 2], 21, 8);
        let rows = reception.free_rows();
        reception.park(&equal[..count as usize], &rows);
        assert_eq!(reception.decode_checked(), Err(DecodeError::NeedMore { have: count, need: count + 1 }));
    }
}

#[test]
fn repair_symbols_are_those_of_the_crate_over_a_whole_object() {
    // 3 blocks of 34, 33 and 33 symbols; the last symbol of the object is short.
    let (symbol_size, blocks) = (72, 3);
    let object = bytes(3, 99 * usize::from(symbol_size) + 5);
    let oti = ObjectTransmissionInformation::new(object.len() as u64, symbol_size, blocks, 1, 8);
    let encoder = Encoder::new(&object, oti);
    let mut rest = object.as_slice();
    for (block_encoder, k) in encoder.get_block_encoders().iter().zip([34, 33, 33]) {
        let shape = shape(k, symbol_size);
        let (source, after) = rest.split_at(shape.len().min(rest.len()));
        rest = after;
        for start in [0, 1, 1000, MAX_ESI - k - 199] {
            let expected: Vec<u8> =
                block_encoder.repair_packets(start, 200).iter().flat_map(|packet| packet.data().to_vec()).collect();
            let esis: Vec<u32> = (k + start..k + start + 200).collect();
            assert_eq!(repair(shape, source, &esis), expected, "K = {k}, start = {start}");
        }
    }
    assert!(rest.is_empty());
}

#[test]
fn rows_come_in_any_order_with_gaps_and_repeats() {
    let shape = shape(30, 24);
    let source = bytes(4, shape.len());
    let one_by_one = |esi: u32| repair(shape, &source, &[esi]);
    let esis = [MAX_ESI, 40, 41, 42, 30, 31, 41, 41, MAX_ESI - 1, MAX_ESI, 33];
    let together = repair(shape, &source, &esis);
    for (symbol, esi) in together.chunks(24).zip(esis) {
        assert_eq!(symbol, one_by_one(esi), "ESI {esi}");
    }
}

#[test]
fn the_last_symbol_may_be_short_by_less_than_a_symbol() {
    let shape = shape(12, 16);
    let esis = [12, 13, 500];
    for missing in 0..16 {
        let mut source = bytes(5, shape.len());
        source.truncate(shape.len() - missing);
        let short = repair(shape, &source, &esis);
        source.resize(shape.len(), 0);
        assert_eq!(short, repair(shape, &source, &esis), "{missing} bytes missing");
    }
}

#[test]
fn clones_share_plans_and_work_in_parallel() {
    let codec = Codec::new();
    let shapes = [shape(60, 64), shape(61, 64)];
    std::thread::scope(|scope| {
        for number in 0..4 {
            let codec = codec.clone();
            scope.spawn(move || {
                for shape in shapes {
                    let source = bytes(number, shape.len());
                    let mut out = vec![0; 64];
                    codec.encode(shape, &source, &mut [RepairRow { esi: 70, out: &mut out }]).expect("good arguments");
                    assert_eq!(out, repair(shape, &source, &[70]));
                }
            });
        }
    });
}

/// The largest K that there is: a second in a release build, far too long with the crate's debug assertions.
#[test]
#[cfg_attr(debug_assertions, ignore = "only in release builds")]
fn the_largest_block_survives() {
    let shape = shape(crate::MAX_SOURCE_SYMBOLS, 8);
    let lost: Vec<u32> = (0..shape.k()).filter(|row| row % 3 == 0).collect();
    let mut reception = Reception::new(shape, &lost, 2, 6);
    let rows = reception.free_rows();
    let esis = esis_for(shape.k(), u32::try_from(rows.len()).expect("few rows"), 1);
    reception.park(&esis, &rows);
    assert_eq!(reception.decode_checked(), Ok(()));
}

#[test]
fn encode_refuses_wrong_arguments() {
    let shape = shape(10, 16);
    let encode = |source_len: usize, esi: u32, out_len: usize| {
        let mut out = vec![7; out_len];
        let result = Codec::new().encode(shape, &vec![1; source_len], &mut [RepairRow { esi, out: &mut out }]);
        assert_eq!(result.is_err(), out.iter().all(|&byte| byte == 7), "only a refused call leaves the row alone");
        result
    };
    for len in [0, 144, 161, 1600] {
        let error = EncodeError::SourceLength { len, k: 10, symbol_size: 16 };
        assert_eq!(encode(len, 10, 16), Err(error));
        assert_eq!(Codec::new().encode(shape, &vec![1; len], &mut []), Err(error), "checked without rows too");
    }
    for len in [1, 15, 17, 32] {
        assert_eq!(encode(160, 11, len), Err(EncodeError::RowLength { esi: 11, len, symbol_size: 16 }));
    }
    for esi in [0, 9, MAX_ESI + 1, u32::MAX] {
        assert_eq!(encode(160, esi, 16), Err(EncodeError::Esi { esi, k: 10 }));
    }
    assert_eq!(encode(145, 10, 16), Ok(()));
    assert_eq!(encode(160, MAX_ESI, 16), Ok(()));
    assert_eq!(Codec::new().encode(shape, &[1; 160], &mut []), Ok(()));
}

#[test]
fn decode_refuses_wrong_arguments() {
    let shape = shape(10, 16);
    let mut received = SymbolSet::new(10);
    for row in 0..8 {
        received.insert(row);
    }
    let decode = |len: usize, received: &SymbolSet, parked: &[(u32, u32)]| {
        let mut block = vec![7; len];
        let parked: Vec<Parked> = parked.iter().map(|&(row, esi)| Parked { row, esi }).collect();
        let result = Codec::new().decode(shape, &mut block, received, &parked);
        assert!(block.iter().all(|&byte| byte == 7), "the block was touched");
        match result {
            Err(DecodeError::Argument(error)) => error,
            other => panic!("not refused as the caller's mistake: {other:?}"),
        }
    };
    for len in [0, 144, 159, 161, 175] {
        let error = DecodeArgumentError::BlockLength { len, k: 10, symbol_size: 16 };
        assert_eq!(decode(len, &received, &[(8, 10), (9, 11)]), error);
    }
    for len in [0, 9, 11] {
        let error = DecodeArgumentError::ReceivedLength { len, k: 10 };
        assert_eq!(decode(160, &SymbolSet::new(len), &[]), error);
    }
    for row in [11, 12, u32::MAX] {
        let error = DecodeArgumentError::RowOutOfRange { row, esi: 11, rows: 11 };
        assert_eq!(decode(176, &received, &[(8, 10), (row, 11)]), error);
    }
    assert_eq!(decode(160, &received, &[(8, 10), (7, 11)]), DecodeArgumentError::RowReceived { row: 7, esi: 11 });
    assert_eq!(decode(176, &received, &[(10, 10), (8, 11), (10, 12)]), DecodeArgumentError::DuplicateRow { row: 10 });
    for esi in [0, 9, MAX_ESI + 1, u32::MAX] {
        assert_eq!(decode(160, &received, &[(8, 10), (9, esi)]), DecodeArgumentError::Esi { esi, k: 10 });
    }
    assert_eq!(decode(176, &received, &[(8, 11), (9, 10), (10, 11)]), DecodeArgumentError::DuplicateEsi { esi: 11 });
}
