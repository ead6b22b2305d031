//! Which source symbols to fetch: as many as are lacking, in as few ranges as possible.
//!
//! A fountain needs no particular symbols, so of all that are missing the longest runs are fetched: each range costs a
//! request. Neighbouring runs are fetched in one request, with the symbols between them that are there already, as long as
//! that costs little.

use fleetcast_fec::SymbolSet;
use std::cmp::Reverse;
use std::ops::Range;

/// Symbols that are fetched although they are there: at most one for this many that are needed.
const NEEDED_PER_SPARE: u32 = 8;

/// Ranges of source symbols, in order and apart, that contain `need` symbols missing in `received`, or all that are missing
/// when those are fewer.
///
/// They are no more than the longest runs of missing symbols would be, and hold at most an eighth more symbols than `need`.
pub fn plan(received: &SymbolSet, need: u32) -> Vec<Range<u32>> {
    let mut pieces = longest(runs(received), need);
    pieces.sort_unstable_by_key(|piece| piece.start);
    join(pieces, need / NEEDED_PER_SPARE)
}

/// The runs of missing symbols, in order.
fn runs(received: &SymbolSet) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for symbol in received.missing() {
        match runs.last_mut() {
            Some(run) if run.end == symbol => run.end += 1,
            _ => runs.push(symbol..symbol + 1),
        }
    }
    runs
}

/// The longest runs, as many as are needed; the last one is cut to what is still lacking.
fn longest(mut runs: Vec<Range<u32>>, need: u32) -> Vec<Range<u32>> {
    // The sort is stable: of equal ones the first.
    runs.sort_by_key(|run| Reverse(run.end - run.start));
    let mut lacking = need;
    runs.retain_mut(|run| {
        run.end = run.start + (run.end - run.start).min(lacking);
        lacking -= run.end - run.start;
        run.start < run.end
    });
    runs
}

/// Joins neighbours, the nearest first, while the symbols between them are no more than `spare` in all.
fn join(pieces: Vec<Range<u32>>, spare: u32) -> Vec<Range<u32>> {
    let gaps = pieces.iter().zip(pieces.iter().skip(1)).map(|(before, after)| after.start - before.end);
    let mut nearest: Vec<(u32, usize)> = gaps.zip(1..).collect();
    nearest.sort_unstable();
    let mut left = spare;
    let mut joins = vec![false; pieces.len()];
    for (gap, index) in nearest {
        let Some(rest) = left.checked_sub(gap) else { break };
        left = rest;
        joins[index] = true;
    }
    let mut joined: Vec<Range<u32>> = Vec::with_capacity(pieces.len());
    for (piece, joins) in pieces.into_iter().zip(joins) {
        match joined.last_mut() {
            Some(last) if joins => last.end = piece.end,
            _ => joined.push(piece),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn received(k: u32, missing: impl Fn(u32) -> bool) -> SymbolSet {
        let mut set = SymbolSet::new(k);
        (0..k).filter(|&symbol| !missing(symbol)).for_each(|symbol| {
            set.insert(symbol);
        });
        set
    }

    #[test]
    fn takes_the_longest_runs_and_no_more_than_is_needed() {
        let set = received(100, |symbol| matches!(symbol, 3 | 10..20 | 50..53 | 99));
        assert_eq!(plan(&set, 0), []);
        assert_eq!(plan(&set, 4), vec![10..14; 1]);
        assert_eq!(plan(&set, 11), [10..20, 50..51]);
        assert_eq!(plan(&set, 14), [3..4, 10..20, 50..53]);
        // All there are, also when more would be needed.
        assert_eq!(plan(&set, 40), [3..4, 10..20, 50..53, 99..100]);
    }

    #[test]
    fn joins_the_nearest_neighbours_as_long_as_an_eighth_more_pays_for_it() {
        // Every second symbol is missing: 16 needed ones may cost 2 more.
        let set = received(64, |symbol| symbol % 2 == 0);
        let ranges = plan(&set, 16);
        assert_eq!(ranges[..2], [0..5, 6..7]);
        assert_eq!(ranges.len(), 14);
        // Two apart: no pair may be joined for fewer than 16.
        let set = received(64, |symbol| symbol % 3 == 0);
        assert_eq!(plan(&set, 15).len(), 15);
        assert_eq!(plan(&set, 16)[0], 0..4);
    }

    #[test]
    fn a_block_of_which_nothing_is_there_is_one_range() {
        assert_eq!(plan(&SymbolSet::new(2_000), 2_002), vec![0..2_000; 1]);
    }

    proptest! {
        /// Enough symbols, few ranges, within the block, apart and in order, and little that is there already.
        #[test]
        fn enough_symbols_in_few_ranges(
            k in 1u32..600, pattern in prop::collection::vec(any::<bool>(), 600), need in 0u32..700,
        ) {
            let set = received(k, |symbol| pattern[symbol as usize]);
            let missing: Vec<u32> = set.missing().collect();
            let ranges = plan(&set, need);
            let covered: Vec<u32> = ranges.iter().cloned().flatten().collect();
            let useful = covered.iter().filter(|symbol| missing.contains(symbol)).count();
            let wanted = need.min(u32::try_from(missing.len()).unwrap());
            prop_assert!(useful >= wanted as usize);
            prop_assert!(covered.len() <= (need + need / NEEDED_PER_SPARE) as usize);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(ranges.iter().all(|range| !range.is_empty() && range.end <= k));
            // Without joining, no choice of runs has fewer ranges than the longest ones.
            let mut lengths: Vec<u32> = runs(&set).iter().map(|run| run.end - run.start).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            let mut sum = 0;
            let fewest = lengths.iter().take_while(|&&len| { let go_on = sum < wanted; sum += len; go_on }).count();
            prop_assert!(ranges.len() <= fewest, "{} ranges, {fewest} would do", ranges.len());
        }
    }
}
