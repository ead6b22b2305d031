//! Repair symbols byte by byte against the crate, over Table 2 of RFC 6330: every K' and its neighbours.
//!
//! The bounded form runs always. All of it (some minutes):
//! `cargo test --release -p fleetcast-fec --test table -- --ignored`

mod common;

use common::{Noise, crate_plan, crate_repair, repair, shape};
use fleetcast_fec::{Codec, MAX_ESI, MAX_SOURCE_SYMBOLS};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

const SYMBOL_SIZES: [u16; 5] = [8, 64, 72, 1408, 1440];

/// Every K' of Table 2.
const K_PRIMES: &str = include_str!("k_primes.txt");

fn k_primes() -> Vec<u32> {
    let all: Vec<u32> = K_PRIMES.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    assert_eq!((all.len(), all.first(), all.last()), (477, Some(&10), Some(&MAX_SOURCE_SYMBOLS)));
    all
}

/// Compares the first and last repair symbols that there are, and some in between.
fn compare(codec: &Codec, k: u32, symbol_sizes: &[u16]) {
    let plan = crate_plan(k);
    let runs = [(k, 12), (k + 70_000, 3), ((1 << 23) + k, 3), (MAX_ESI - 11, 12)];
    let esis: Vec<u32> = runs.iter().flat_map(|&(esi, count)| esi..esi + count).collect();
    for &symbol_size in symbol_sizes {
        let shape = shape(k, symbol_size);
        let source = Noise(u64::from(k)).bytes(shape.len());
        let ours = repair(codec, shape, &source, &esis);
        let expected = crate_repair(shape, &source, &plan, &runs);
        assert!(ours == expected, "repair symbols of K = {k}, T = {symbol_size} differ from the crate's");
    }
}

fn neighbours(k_prime: u32) -> impl Iterator<Item = u32> {
    (k_prime - 1..=k_prime + 1).filter(|&k| k <= MAX_SOURCE_SYMBOLS)
}

#[test]
fn small_blocks_and_a_sample_of_large_ones() {
    let codec = Codec::new();
    let all = k_primes();
    let small = all.iter().enumerate().filter(|&(_, &k_prime)| k_prime < 300);
    for (index, &k_prime) in small {
        for (next, k) in neighbours(k_prime).enumerate() {
            compare(&codec, k, &[SYMBOL_SIZES[(index + next) % SYMBOL_SIZES.len()]]);
        }
    }
    for (index, &k_prime) in all.iter().enumerate().filter(|&(index, &k_prime)| k_prime < 3000 && index % 10 == 0) {
        compare(&codec, k_prime + 1, &[SYMBOL_SIZES[index / 10 % SYMBOL_SIZES.len()]]);
    }
    if !cfg!(target_arch = "aarch64") {
        [4000, 10_018, MAX_SOURCE_SYMBOLS].into_iter().for_each(|k| compare(&codec, k, &[8]));
    }
}

#[test]
fn every_k_below_the_first_of_the_table() {
    let codec = Codec::new();
    (1..=10).for_each(|k| compare(&codec, k, &SYMBOL_SIZES));
}

#[test]
#[ignore = "minutes: the whole table; run it with --release"]
fn full_table() {
    let all = k_primes();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let codec = Codec::new();
                while let Some(&k_prime) = all.get(next.fetch_add(1, Relaxed)) {
                    neighbours(k_prime).for_each(|k| compare(&codec, k, &SYMBOL_SIZES));
                }
            });
        }
    });
}
