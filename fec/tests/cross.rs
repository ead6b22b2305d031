//! Our encoder with the crate's decoder and the crate's encoder with ours: the same blocks from the same sets, and failure on
//! the same sets.

mod common;

use common::{Buffer, Noise, cases, crate_decode, crate_plan, crate_repair, repair, shape};
use fleetcast_fec::{BlockShape, Codec, DecodeError, Kernels, MAX_ESI};
use proptest::prelude::*;

/// Distinct repair ESIs, scattered or in runs, from both ends of the range.
fn repair_esis(k: u32, count: u32, noise: &mut Noise) -> Vec<u32> {
    let mut esis: Vec<u32> = match noise.below(4) {
        0 => (k..k + count).collect(),
        1 => (MAX_ESI - count..MAX_ESI).map(|esi| esi + 1).collect(),
        2 => (0..count).map(|number| k + number * 997).collect(),
        _ => {
            let mut random: Vec<u32> = (0..4 * count).map(|_| k + noise.below(MAX_ESI - k + 1)).collect();
            random.sort_unstable();
            random.dedup();
            random
        }
    };
    noise.shuffle(&mut esis);
    esis.truncate(count as usize);
    esis
}

/// Symbols of a block of which `lost` source symbols were lost and `overhead` more repair symbols than that came: in no
/// order, some twice. Repair symbols are computed by the crate or by us.
fn receive(
    shape: BlockShape,
    source: &[u8],
    lost: u32,
    overhead: u32,
    by_crate: bool,
    noise: &mut Noise,
) -> Vec<(u32, Vec<u8>)> {
    let mut numbers: Vec<u32> = (0..shape.k()).collect();
    noise.shuffle(&mut numbers);
    let esis = repair_esis(shape.k(), lost + overhead, noise);
    let repair = if by_crate {
        let runs: Vec<(u32, u32)> = esis.iter().map(|&esi| (esi, 1)).collect();
        crate_repair(shape, source, &crate_plan(shape.k()), &runs)
    } else {
        repair(&Codec::new(), shape, source, &esis)
    };
    let symbol = |number: u32| source[number as usize * shape.symbol_size()..][..shape.symbol_size()].to_vec();
    let mut symbols: Vec<(u32, Vec<u8>)> =
        numbers.into_iter().skip(lost as usize).map(|number| (number, symbol(number))).collect();
    symbols.extend(esis.into_iter().zip(repair.chunks_exact(shape.symbol_size()).map(<[u8]>::to_vec)));
    for _ in 0..noise.below(3) {
        let again = symbols[noise.below(u32::try_from(symbols.len()).expect("few")) as usize].clone();
        symbols.push(again);
    }
    noise.shuffle(&mut symbols);
    symbols
}

/// Decodes with both and checks that they agree; tells whether the block came out.
fn decode_both(codec: &Codec, shape: BlockShape, source: &[u8], symbols: &[(u32, Vec<u8>)], noise: &mut Noise) -> bool {
    let mut buffer = Buffer::new(shape, symbols, noise);
    let before = buffer.block.clone();
    let result = codec.decode(shape, &mut buffer.block, &buffer.received, &buffer.parked);
    let expected = crate_decode(shape, symbols);
    match &expected {
        Some(block) => {
            assert!(block == source, "the crate decoded a wrong block");
            assert_eq!(result, Ok(()), "the crate decodes this set");
            assert!(buffer.block.starts_with(source), "we decoded a wrong block");
        }
        None => {
            let have = buffer.received.count() + u32::try_from(buffer.parked.len()).expect("few");
            let need = if have < shape.k() { shape.k() } else { have + 1 };
            assert_eq!(result, Err(DecodeError::NeedMore { have, need }), "the crate does not decode this set");
            assert!(buffer.block == before, "a failed decode changed the buffer");
        }
    }
    expected.is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(128)))]

    #[test]
    fn any_loss_any_overhead_either_encoder(
        k in prop_oneof![1_u32..30, 1_u32..400, 400_u32..1200],
        symbol_size in prop::sample::select(vec![8_u16, 64, 72, 1408]),
        lost_percent in prop_oneof![0_u32..=100, Just(100), 0_u32..15],
        overhead in 0_u32..=2,
        by_crate: bool,
        seed: u64,
    ) {
        let shape = shape(k, if k > 400 { symbol_size.min(72) } else { symbol_size });
        let mut noise = Noise(seed);
        let source = noise.bytes(shape.len());
        let lost = (k * lost_percent).div_ceil(100);
        let symbols = receive(shape, &source, lost, overhead, by_crate, &mut noise);
        decode_both(&Codec::new(), shape, &source, &symbols, &mut noise);
    }
}

/// Every way of decoding, on every instruction set, with sets that have no symbol to spare: some must fail.
#[test]
fn we_fail_exactly_where_the_crate_fails() {
    let scale = cases(256);
    let mut failed = 0;
    for kernels in Kernels::available() {
        let codec = Codec::with_kernels(kernels);
        // Matrix, plan, elimination: by share of K that is lost.
        for (k, lost, sets) in
            [(10, 10, 4 * scale), (30, 9, 2 * scale), (200, 33, scale / 2), (300, 40, scale / 4), (120, 60, scale)]
        {
            // Long symbols, so that bounds of memory do not choose the way.
            let shape = shape(k, 1024);
            let mut noise = Noise(u64::from(k));
            let source = noise.bytes(shape.len());
            for _ in 0..sets {
                let symbols = receive(shape, &source, lost, 0, false, &mut noise);
                failed += u32::from(!decode_both(&codec, shape, &source, &symbols, &mut noise));
            }
        }
    }
    // One set in some 250 fails: with the usual number of sets, dozens.
    assert!(failed > 0 || scale < 256, "no set failed, so nothing was compared");
}

/// A failed set and one symbol after the other until it decodes, in every way of decoding.
#[test]
fn one_more_symbol_after_a_failure_decodes() {
    let codec = Codec::new();
    for (k, lost) in [(10, 10), (200, 33), (300, 45), (120, 60)] {
        let shape = shape(k, 512);
        let mut noise = Noise(1);
        let source = noise.bytes(shape.len());
        let (mut buffer, esis) =
            std::iter::repeat_with(|| receive(shape, &source, lost, 0, false, &mut Noise(noise.next())))
                .map(|symbols| {
                    let esis: Vec<u32> = symbols.iter().map(|(esi, _)| *esi).collect();
                    (Buffer::new(shape, &symbols, &mut Noise(2)), esis)
                })
                .find(|(buffer, _)| {
                    codec.decode(shape, &mut buffer.block.clone(), &buffer.received, &buffer.parked).is_err()
                })
                .expect("one set in 250 fails");
        assert!(codec.decode(shape, &mut buffer.block, &buffer.received, &buffer.parked).is_err());
        // The same buffer goes on: the failed call has left it as it was.
        let fresh = (k + 5_000_000..).filter(|esi| !esis.contains(esi));
        for (row, esi) in (u32::try_from(buffer.block.len() / 512).expect("few rows")..).zip(fresh).take(20) {
            buffer.block.extend(repair(&codec, shape, &source, &[esi]));
            buffer.parked.push(fleetcast_fec::Parked { row, esi });
            if codec.decode(shape, &mut buffer.block, &buffer.received, &buffer.parked).is_ok() {
                break;
            }
        }
        assert!(buffer.block.starts_with(&source), "K = {k}");
    }
}
