//! Every kernel of every instruction set that this CPU has, against byte-by-byte loops over [`product`].

use super::*;

/// Lengths with every tail of every register, and up to three of the longest.
const MAX_LEN: usize = 192;

/// Deterministic bytes.
fn bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Runs `test` with every level and every length.
fn for_all(test: impl Fn(Kernels, usize)) {
    for kernels in Kernels::available() {
        for len in 0..=MAX_LEN {
            test(kernels, len);
        }
    }
}

fn add_scaled(to: &mut [u8], coefficient: u8, from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= product(coefficient, *from);
    }
}

#[test]
fn scalar_is_always_there_and_the_fastest_comes_first() {
    let all: Vec<_> = Kernels::available().collect();
    assert_eq!(all.last(), Some(&Kernels::scalar()));
    assert_eq!(all.first(), Some(&Kernels::detect()));
    #[cfg(target_arch = "aarch64")]
    assert_eq!(all[0].name(), "NEON");
    #[cfg(target_arch = "x86_64")]
    assert!(all.len() > 1 || !is_x86_feature_detected!("ssse3"));
}

#[test]
fn scale_and_add_scaled_with_all_coefficients() {
    for_all(|kernels, len| {
        let from = bytes(1, len);
        for coefficient in 0..=u8::MAX {
            let scaled: Vec<u8> = from.iter().map(|&byte| product(coefficient, byte)).collect();
            let mut to = from.clone();
            kernels.scale(&mut to, coefficient);
            assert_eq!(to, scaled, "{kernels:?} scales {len} bytes by {coefficient}");

            let mut to = bytes(2, len);
            let mut expected = to.clone();
            add_scaled(&mut expected, coefficient, &from);
            kernels.add_scaled(&mut to, coefficient, &from);
            assert_eq!(to, expected, "{kernels:?} adds {len} bytes times {coefficient}");
        }
    });
}

#[test]
fn multiply_with_all_coefficients() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for_all(|kernels, len| {
        let from = bytes(3, len);
        let mut to = bytes(4, 256 * len);
        let mut expected = to.clone();
        for (row, &coefficient) in expected.chunks_exact_mut(len.max(1)).zip(&all) {
            add_scaled(row, coefficient, &from);
        }
        if len > 0 {
            kernels.multiply(&mut to, &Factors::new(&all, 256, 256), &Rows::packed(&from, len));
        }
        assert_eq!(to, expected, "{kernels:?}, {len} bytes");
    });
}

#[test]
fn multiply_with_matrices_of_any_size_and_strided_rows() {
    for_all(|kernels, len| {
        let rows = 1 + len % 29;
        let (columns, stride, offset) = (len % 7, len + len % 5 + 3, len % 3);
        // A column is longer than its rows, and the last row of the source ends with the strip.
        let matrix = bytes(5, columns * (rows + 2));
        let from = bytes(6, columns * stride);
        let mut to = bytes(7, rows * len + 5);
        let mut expected = to.clone();
        for row in 0..rows {
            for k in 0..columns {
                let strip = &from[k * stride + offset..][..len];
                add_scaled(&mut expected[row * len..][..len], matrix[k * (rows + 2) + row], strip);
            }
        }
        let source = Rows::new(&from, stride, offset..offset + len);
        kernels.multiply(&mut to, &Factors::new(&matrix, rows, rows + 2), &source);
        assert_eq!(to, expected, "{kernels:?}: {rows} × {columns}, {len} bytes");
    });
}

#[test]
#[should_panic(expected = "too few rows")]
fn multiply_refuses_a_source_without_the_rows() {
    let source = [0; 29];
    Kernels::detect().multiply(&mut [0; 10], &Factors::new(&[1; 3], 1, 1), &Rows::new(&source, 10, 0..10));
}

#[test]
fn sums_of_any_number_of_rows() {
    for_all(|kernels, len| {
        let slab = bytes(8, 9 * len);
        for count in 0..9_u16 {
            let terms: Vec<u16> = (0..count).map(|term| term * 4 % 9).collect();
            let mut expected = vec![0; len];
            terms.iter().for_each(|&term| add_scaled(&mut expected, 1, &slab[usize::from(term) * len..][..len]));
            let mut to = bytes(9, len);
            kernels.sum(&mut to, &slab, &terms);
            assert_eq!(to, expected, "{kernels:?}: {count} rows of {len} bytes");
        }
    });
}

#[test]
#[should_panic(expected = "outside the slab")]
fn sum_refuses_a_term_outside_the_slab() {
    Kernels::detect().sum(&mut [0; 8], &[0; 31], &[0, 3]);
}

/// Rows 0 to 5 from source symbols 0 to 3 and from each other; symbol 2 is missing, symbol 3 in the tail.
fn a_program() -> Program {
    let mut program = Program::default();
    program.push(0, Some(0), []);
    program.push(1, Some(1), [0]);
    program.push(2, None, []);
    program.push(3, Some(2), [0, 1, 2]);
    program.push(4, None, [0, 3, 1]);
    program.push(0, Some(3), [4, 1]);
    program.push(5, Some(0), [0, 4, 2, 3]);
    program
}

/// The same as `run`, byte by byte.
fn run_slowly(program: &Program, source: &Source<'_>, slab: &mut [u8], width: usize) {
    for operation in program.operations() {
        let strip = operation.source.and_then(|number| source.strip(number, width));
        let mut sum = strip.map_or(vec![0; width], <[u8]>::to_vec);
        operation.terms.iter().for_each(|&term| add_scaled(&mut sum, 1, &slab[usize::from(term) * width..][..width]));
        slab[usize::from(operation.row) * width..][..width].copy_from_slice(&sum);
    }
}

#[test]
fn programs_read_symbols_where_they_lie() {
    let program = a_program();
    for_all(|kernels, len| {
        let (stride, offset) = (len + 8, 3);
        let (symbols, tail) = (bytes(10, 5 * stride), bytes(11, stride));
        let source = Source { bytes: &symbols, tail: &tail, stride, offset, row_of: &[4, 1, ZERO_ROW, 5] };
        let strips: Vec<_> = (0..5).map(|number| source.strip(number, len)).collect();
        let row = |row: usize| Some(&symbols[row * stride + offset..][..len]);
        assert_eq!(strips, [row(4), row(1), None, Some(&tail[offset..][..len]), None]);

        let mut slab = bytes(12, 6 * len);
        let mut expected = slab.clone();
        run_slowly(&program, &source, &mut expected, len);
        kernels.run(&program, &source, &mut slab, len);
        assert_eq!(slab, expected, "{kernels:?}, {len} bytes");
    });
}

#[test]
#[should_panic(expected = "outside the slab")]
fn run_refuses_a_slab_without_the_rows() {
    let source = Source { bytes: &[], tail: &[], stride: 8, offset: 0, row_of: &[] };
    Kernels::detect().run(&a_program(), &source, &mut [0; 47], 8);
}

/// y · (M x) = (Mᵀ y) · x, for M = what `program` makes of the symbols in its rows, with unit symbols for x.
#[test]
fn the_transpose_of_a_program_is_its_transpose() {
    let program = a_program();
    let unit: Vec<u8> = (0..4).flat_map(|row| (0..4).map(move |column| u8::from(row == column))).collect();
    let source = Source { bytes: &unit, tail: &[], stride: 4, offset: 0, row_of: &[0, 1, 2, 3] };
    let mut matrix = vec![0; 6 * 4];
    run_slowly(&program, &source, &mut matrix, 4);
    for_all(|kernels, len| {
        let mut slab = bytes(13, 6 * len);
        let mut expected = bytes(14, 4 * len);
        let mut sources = expected.clone();
        for row in 0..6 {
            for symbol in 0..4 {
                add_scaled(&mut expected[symbol * len..][..len], matrix[row * 4 + symbol], &slab[row * len..][..len]);
            }
        }
        kernels.run_transposed(&program, &mut slab, &mut sources, len);
        assert_eq!(sources, expected, "{kernels:?}, {len} bytes");
    });
}

/// The matrix MT · GAMMA for pairs over `columns` columns, row by row, by its definition.
fn hdpc_matrix(sums: usize, pairs: &[[u8; 2]]) -> Vec<Vec<u8>> {
    let columns = pairs.len() + 1;
    let power = |exponent| (0..exponent).fold(1, |power, _| product(power, 2));
    let mt = |sum: usize, column: usize| match pairs.get(column) {
        Some(pair) => pair.iter().filter(|&&member| usize::from(member) == sum).fold(0, |one, _| one ^ 1),
        None => power(sum),
    };
    let entry = |sum, column| (column..columns).fold(0, |all, via| all ^ product(mt(sum, via), power(via - column)));
    (0..sums).map(|sum| (0..columns).map(|column| entry(sum, column)).collect()).collect()
}

#[test]
fn the_scheme_of_horner_is_the_product_and_its_transpose_the_transposed_product() {
    let pairs: Vec<[u8; 2]> = (0..23_u8).map(|column| [column % 5, (column / 3 + 1) % 5]).collect();
    let matrix = hdpc_matrix(5, &pairs);
    let horner = Horner::new(5, pairs);
    for_all(|kernels, len| {
        let columns = bytes(15, 24 * len);
        let mut expected = vec![0; 5 * len];
        let sums = bytes(16, 5 * len);
        let mut transposed = columns.clone();
        for sum in 0..5 {
            for column in 0..24 {
                let coefficient = matrix[sum][column];
                add_scaled(&mut expected[sum * len..][..len], coefficient, &columns[column * len..][..len]);
                add_scaled(&mut transposed[column * len..][..len], coefficient, &sums[sum * len..][..len]);
            }
        }
        let mut result = sums.clone();
        kernels.horner(&horner, &columns, &mut result, len);
        assert_eq!(result, expected, "{kernels:?}, {len} bytes");
        let mut result = columns;
        kernels.horner_transposed(&horner, &mut result, &sums, len);
        assert_eq!(result, transposed, "{kernels:?}, {len} bytes, transposed");
    });
}
