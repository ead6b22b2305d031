use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[test]
fn takes_k_source_symbols_and_is_ready() {
    let mut block = Block::new(3);
    for esi in 0..3 {
        assert!(!block.is_ready(true));
        assert_eq!(block.place(esi), Some(Placement { relocate: None, row: esi }));
        assert_eq!(block.place(esi), None);
    }
    assert!(block.is_ready(false));
}

#[test]
fn waits_for_two_more_than_k_unless_it_is_quiet() {
    let mut block = Block::new(10);
    for esi in 10..20 {
        assert!(block.place(esi).is_some());
    }
    assert!(block.waits_for_quiet());
    block.place(20);
    assert!(!block.is_ready(false));
    block.place(21);
    assert!(block.is_ready(false));
    block.start_check();
    assert_eq!(block.place(22), None);
    block.need_more();
    assert!(!block.is_ready(true));
    block.place(22);
    assert!(block.is_ready(true));
}

#[test]
fn starts_over_when_every_row_is_taken_and_the_set_is_singular() {
    let mut block = Block::new(4);
    for esi in 100..108 {
        assert!(block.place(esi).is_some());
    }
    assert_eq!(block.place(108), None);
    block.start_check();
    block.need_more();
    assert_eq!(block.have(), 0);
    assert_eq!(block.state(), BlockState::Receiving);
}

#[test]
fn restores_what_lies_in_free_rows_of_its_own() {
    let mut block = Block::new(10);
    let held = |esi, row| Held { esi, row };
    let good = [held(3, 3), held(40, 13), held(41, 5)];
    assert_eq!(block.restore(&good), 3);
    // A repeat, a taken row, a row of another symbol, and rows that do not exist.
    let bad = [held(3, 3), held(42, 3), held(43, 13), held(4, 6), held(44, 14), held(45, u32::MAX), held(41, 7)];
    assert_eq!(block.restore(&bad), 0);
    assert_eq!((block.have(), block.lacking()), (3, 7));
    assert_eq!(block.place(41), None, "held already");
    assert_eq!(block.place(46).map(|placement| placement.row), Some(12));
    assert_eq!(block.place(5), Some(Placement { relocate: Some(Tenant { esi: 41, to: 11 }), row: 5 }));
}

proptest! {
    /// Staging is modelled as a map from row to the symbol that lies there; whatever arrives in whatever order, the
    /// rows the block believes in hold what it says.
    #[test]
    fn rows_hold_what_the_block_says(k in 1u32..40, arrivals in prop::collection::vec(0u32..80, 0..200)) {
        let mut block = Block::new(k);
        let mut rows: HashMap<u32, u32> = HashMap::new();
        for esi in arrivals {
            let before = block.have();
            if let Some(placement) = block.place(esi) {
                if let Some(Tenant { esi: tenant, to }) = placement.relocate {
                    prop_assert!(!block.received.contains(to) && to < k + SPILL_ROWS);
                    prop_assert_eq!(rows[&placement.row], tenant);
                    rows.insert(to, tenant);
                }
                prop_assert!(placement.row < k + SPILL_ROWS);
                rows.insert(placement.row, esi);
            } else {
                prop_assert_eq!(block.have(), before);
            }
            prop_assert!(block.have() >= before);
            let (received, parked) = block.symbols();
            for esi in received.iter() {
                prop_assert_eq!(rows[&esi], esi);
            }
            for symbol in parked {
                prop_assert!(!received.contains(symbol.row));
                prop_assert_eq!(rows[&symbol.row], symbol.esi);
            }
        }
    }
}
