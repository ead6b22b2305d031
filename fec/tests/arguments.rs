//! No argument makes the codec panic, read or write where it must not: it is fed from the network.

mod common;

use common::cases;
use fleetcast_fec::{BlockShape, Codec, Parked, RepairRow, SymbolSet};
use proptest::prelude::*;

/// Numbers around those that mean something.
fn a_number(k: u32) -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..k + 8, 3 => k..k + 400, 1 => (1_u32 << 24) - 40..(1 << 24) + 4, 1 => any::<u32>()]
}

fn arguments() -> impl Strategy<Value = (BlockShape, usize, SymbolSet, Vec<Parked>)> {
    (1_u32..150, prop::sample::select(vec![8_u16, 16, 64, 72, 128])).prop_flat_map(|(k, symbol_size)| {
        let shape = BlockShape::new(k, symbol_size).expect("a legal shape");
        let len = prop_oneof![
            4 => (0..60_usize).prop_map(move |spill| shape.len() + spill * usize::from(symbol_size)),
            1 => 0..2 * shape.len(),
        ];
        let set_len = prop_oneof![9 => Just(k), 1 => 0..2 * k];
        let bits = prop::collection::vec(any::<u8>(), 0..300);
        let parked = prop::collection::vec((a_number(k), a_number(k)), 0..200);
        // Mostly distinct rows and ESIs, so that calls get past the checks.
        let legal = any::<bool>();
        (len, set_len, 0..=255_u8, bits, parked, legal).prop_map(move |(len, set_len, density, bits, parked, legal)| {
            let mut received = SymbolSet::new(set_len);
            for (index, bit) in (0..).zip(bits) {
                if bit < density {
                    received.insert(index);
                }
            }
            let parked = if legal {
                let esis = parked.into_iter().map(|(_, esi)| k + esi % ((1 << 24) - k));
                let esis: std::collections::BTreeSet<u32> = esis.collect();
                let free = (0..).take(len / usize::from(symbol_size)).filter(|&row| !received.contains(row));
                free.zip(esis).map(|(row, esi)| Parked { row, esi }).collect()
            } else {
                parked.into_iter().map(|(row, esi)| Parked { row, esi }).collect()
            };
            (shape, len, received, parked)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2000)))]

    #[test]
    fn decode_never_panics((shape, len, received, parked) in arguments()) {
        // Symbols of no code at all decode to something, or not.
        let mut block: Vec<u8> = (0..=250).cycle().take(len).collect();
        let before = block.clone();
        let result = Codec::new().decode(shape, &mut block, &received, &parked);
        let size = shape.symbol_size();
        match result {
            Ok(()) => {
                for row in received.iter() {
                    let row = row as usize * size..(row as usize + 1) * size;
                    prop_assert_eq!(&block[row.clone()], &before[row], "a received symbol changed");
                }
            }
            Err(_) => prop_assert_eq!(block, before),
        }
    }

    #[test]
    fn encode_never_panics(k in 1_u32..150, len in 0_usize..20_000, esis in prop::collection::vec(any::<u32>(), 0..20), out in 0_usize..200) {
        let shape = BlockShape::new(k, 128).expect("a legal shape");
        let source = vec![1; len];
        let mut outs = vec![vec![0; out]; esis.len()];
        let mut rows: Vec<_> = esis.iter().zip(&mut outs).map(|(&esi, out)| RepairRow { esi: esi >> 7, out }).collect();
        let _ = Codec::new().encode(shape, &source, &mut rows);
        let mut rows: Vec<_> = rows.into_iter().filter(|row| row.out.len() == 128).collect();
        let _ = Codec::new().encode(shape, &vec![1; shape.len() - out % 128], &mut rows);
    }
}
