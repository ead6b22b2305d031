//! Plans against the constraint matrix A itself, written out from RFC 6330 §5.3.3.

use super::*;
use crate::gf256::{ZERO_ROW, product};

fn power(exponent: usize) -> u8 {
    (0..exponent).fold(1, |power, _| product(power, 2))
}

/// A · C must be (S + H zeros, the symbols): checked on every row, for columns of `width` bytes.
fn assert_solves(code: &Parameters, isis: &[u32], symbols: &[Vec<u8>], intermediate: &[u8], width: usize) {
    let column = |index: usize| &intermediate[index * width..][..width];
    let sum = |columns: &[u16]| {
        let mut sum = vec![0; width];
        for &index in columns {
            sum.iter_mut().zip(column(usize::from(index))).for_each(|(to, from)| *to ^= from);
        }
        sum
    };
    for row in 0..code.s {
        let mut columns = Vec::new();
        code.ldpc_row(row, &mut columns);
        assert_eq!(sum(&columns), vec![0; width], "LDPC row {row}");
    }
    for (&isi, symbol) in isis.iter().zip(symbols) {
        let mut columns = Vec::new();
        code.encoding_row(isi, &mut columns);
        assert_eq!(&sum(&columns), symbol, "ISI {isi}");
    }
    // MT · GAMMA, entry by entry along the diagonals of GAMMA.
    let n = code.k_prime + code.s;
    let powers: Vec<u8> = (0..255).map(power).collect();
    let mut gamma = vec![vec![0; width]; n];
    for (i, sum) in gamma.iter_mut().enumerate() {
        for j in 0..=i {
            let coefficient = powers[(i - j) % 255];
            for (to, from) in sum.iter_mut().zip(column(j)) {
                *to ^= product(coefficient, *from);
            }
        }
    }
    for row in 0..code.h {
        let mut sum = column(n + row).to_vec();
        for (j, gamma) in gamma.iter().enumerate() {
            let is_one = j + 1 < n && code.hdpc_pair(j).map(usize::from).contains(&row);
            let coefficient = if j + 1 == n { power(row) } else { u8::from(is_one) };
            sum.iter_mut().zip(gamma).for_each(|(to, from)| *to ^= product(coefficient, *from));
        }
        assert_eq!(sum, vec![0; width], "HDPC row {row}");
    }
}

fn some_symbols(count: usize, width: usize) -> Vec<Vec<u8>> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| (0..width).map(|_| next()).collect()).collect()
}

fn intermediate(plan: &Plan, symbols: &[Vec<u8>], row_of: &[u32], width: usize) -> Vec<u8> {
    let bytes = symbols.concat();
    let source = Source { bytes: &bytes, tail: &[], stride: width, offset: 0, row_of };
    let mut slab = vec![0xEE; plan.rows() * width];
    plan.run(Kernels::detect(), &source, &mut slab, width);
    slab.truncate(plan.code().l * width);
    slab
}

#[test]
fn encoding_plans_solve_the_constraint_matrix() {
    for k in [1, 10, 26, 101, 500, 1002] {
        let code = Parameters::for_k(k);
        let plan = Plan::for_encoding(code);
        let isis: Vec<u32> = (0..).take(code.k_prime).collect();
        let symbols = some_symbols(code.k_prime, 3);
        let intermediate = intermediate(&plan, &symbols, &isis, 3);
        assert_solves(&code, &isis, &symbols, &intermediate, 3);
    }
}

#[test]
fn a_source_symbol_that_lies_nowhere_is_zero() {
    let code = Parameters::for_k(20);
    let plan = Plan::for_encoding(code);
    let mut symbols = some_symbols(20, 8);
    let mut row_of: Vec<u32> = (0..20).collect();
    row_of[7] = ZERO_ROW;
    let with_hole = intermediate(&plan, &symbols, &row_of, 8);
    symbols[7].fill(0);
    row_of[7] = 7;
    assert_eq!(with_hole, intermediate(&plan, &symbols, &row_of, 8));
}

#[test]
fn a_plan_of_repair_symbols_gives_the_same_intermediate_symbols() {
    for k in [10, 48, 200] {
        let code = Parameters::for_k(k);
        let rows: Vec<u32> = (0..).take(code.k_prime).collect();
        let source = some_symbols(code.k_prime, 4);
        let expected = intermediate(&Plan::for_encoding(code), &source, &rows, 4);
        // From ISI 2K' on, with more symbols than are needed.
        let isis: Vec<u32> = (0..).skip(2 * code.k_prime).take(code.k_prime + 3).collect();
        let repair: Vec<Vec<u8>> = isis
            .iter()
            .map(|&isi| {
                let (mut columns, mut symbol) = (Vec::new(), vec![0; 4]);
                code.encoding_row(isi, &mut columns);
                Kernels::scalar().sum(&mut symbol, &expected, &columns);
                symbol
            })
            .collect();
        // All at once, and one after the other.
        let mut at_once = Elimination::new(code, &isis);
        let plan = Plan::new(&mut at_once).expect("3 symbols more than K'");
        let row_of: Vec<u32> = (0..).take(isis.len()).collect();
        assert_eq!(intermediate(&plan, &repair, &row_of, 4), expected);

        let mut stepwise = Elimination::new(code, &isis[..k / 2]);
        let mut row_of: Vec<u32> = (0..).take(k / 2).collect();
        let plan = (0_u32..).zip(&isis).skip(k / 2).find_map(|(row, &isi)| {
            if stepwise.add_symbol(isi) {
                row_of.push(row);
            }
            assert!(!stepwise.add_symbol(isi), "a repeat does not help");
            Plan::new(&mut stepwise)
        });
        assert_eq!(intermediate(&plan.expect("3 symbols more than K'"), &repair, &row_of, 4), expected);
    }
}

#[test]
fn the_transposed_plan_gives_the_matrix_of_repair_symbols() {
    for kernels in Kernels::available() {
        for k in [10, 101] {
            let code = Parameters::for_k(k);
            let plan = Plan::for_encoding(code);
            // Unit symbols through the plan give the matrix column by column; 5 repair symbols.
            let n = code.k_prime;
            let unit: Vec<Vec<u8>> = (0..n).map(|row| (0..n).map(|column| u8::from(row == column)).collect()).collect();
            let rows: Vec<u32> = (0..).take(n).collect();
            let all = intermediate(&plan, &unit, &rows, n);
            let mut slab = vec![0; plan.rows() * 5];
            let mut expected = vec![0; n * 5];
            for (number, isi) in (0..).skip(n + 100).take(5).enumerate() {
                let (mut columns, mut coefficients) = (Vec::new(), vec![0; n]);
                code.encoding_row(isi, &mut columns);
                kernels.sum(&mut coefficients, &all, &columns);
                for (symbol, &coefficient) in coefficients.iter().enumerate() {
                    expected[symbol * 5 + number] = coefficient;
                }
                columns.iter().for_each(|&column| slab[usize::from(column) * 5 + number] = 1);
            }
            let mut matrix = vec![0; n * 5];
            plan.run_transposed(kernels, &mut slab, &mut matrix, 5);
            assert_eq!(matrix, expected, "{kernels:?}, K' = {n}");
        }
    }
}

#[test]
fn every_plan_fits_its_codes() {
    // The largest K' has the least room between L and 2^16.
    let plan = Plan::for_encoding(Parameters::for_k(56_403));
    assert!(plan.rows() < usize::from(u16::MAX), "{} rows", plan.rows());
}
